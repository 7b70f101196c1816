//! Records of numbers alone: written and read in one piece, not field by field.
//!
//! Headers and Stats stand in every message and every log record; a check of capacity or of bytes left for each of
//! their fields would cost several times what the fields themselves do.

/// A number with a Jute form.
pub(crate) trait Fixed: Copy {
    /// How many bytes it takes.
    const LEN: usize;

    /// Writes it over `out`, which has [`LEN`](Self::LEN) bytes.
    fn put(self, out: &mut [u8]);

    /// Reads it from the front of `bytes`; 0 where they do not suffice, which the callers rule out.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! integers {
    ($($ty:ty),*) => { $( impl Fixed for $ty {
        const LEN: usize = size_of::<$ty>();

        #[inline]
        fn put(self, out: &mut [u8]) {
            out.copy_from_slice(&self.to_be_bytes());
        }

        #[inline]
        fn get(bytes: &[u8]) -> Self {
            bytes.first_chunk().map_or(0, |bytes| <$ty>::from_be_bytes(*bytes))
        }
    } )* };
}

integers!(i32, i64);

/// Makes newtypes of integers [`Fixed`].
macro_rules! fixed {
    ($($name:ident($inner:ty)),* $(,)?) => { $( impl $crate::jute::Fixed for $name {
        const LEN: usize = <$inner as $crate::jute::Fixed>::LEN;

        #[inline]
        fn put(self, out: &mut [u8]) {
            self.0.put(out);
        }

        #[inline]
        fn get(bytes: &[u8]) -> Self {
            Self(<$inner as $crate::jute::Fixed>::get(bytes))
        }
    } )* };
}

/// As [`record!`](crate::record), for records whose fields are all [`Fixed`].
macro_rules! fixed_record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $name {
            /// Reads the record from exactly as many bytes as it takes.
            #[must_use]
            #[inline]
            pub fn from_array(bytes: &[u8; <Self as $crate::jute::Decode>::MIN_LEN]) -> Self {
                let rest = &bytes[..];
                $(
                    let (field, rest) = rest.split_at(<$ty as $crate::jute::Fixed>::LEN);
                    let $field = <$ty as $crate::jute::Fixed>::get(field);
                )*
                debug_assert!(rest.is_empty());
                Self { $( $field, )* }
            }
        }

        impl $crate::jute::Encode for $name {
            #[inline]
            fn encode(&self, out: &mut $crate::jute::BytesMut) {
                let mut bytes = [0; <Self as $crate::jute::Decode>::MIN_LEN];
                let rest = &mut bytes[..];
                $(
                    let (field, rest) = rest.split_at_mut(<$ty as $crate::jute::Fixed>::LEN);
                    $crate::jute::Fixed::put(self.$field, field);
                )*
                debug_assert!(rest.is_empty());
                out.extend_from_slice(&bytes);
            }

            #[inline]
            fn encoded_len(&self) -> usize {
                <Self as $crate::jute::Decode>::MIN_LEN
            }
        }

        impl $crate::jute::Decode for $name {
            const MIN_LEN: usize = 0 $( + <$ty as $crate::jute::Fixed>::LEN )*;

            #[inline]
            fn decode(input: &mut $crate::jute::Reader) -> Result<Self, $crate::error::DecodeError> {
                let bytes = input.array::<{ <$name as $crate::jute::Decode>::MIN_LEN }>()?;
                Ok(Self::from_array(&bytes))
            }
        }
    };
}

pub(crate) use {fixed, fixed_record};

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use crate::{
        ids::SessionId,
        jute::{Decode, Encode},
        stat::{Stat, StatPersisted},
        zxid::Zxid,
    };

    #[test]
    fn a_record_in_one_piece_is_its_fields_in_order() {
        let stat = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            ctime: 3,
            mtime: 4,
            version: 5,
            cversion: 6,
            aversion: -7,
            ephemeral_owner: SessionId(8),
            data_length: 9,
            num_children: 10,
            pzxid: Zxid(11),
        };
        let mut fields = BytesMut::new();
        [1_i64, 2, 3, 4]
            .iter()
            .for_each(|long| long.encode(&mut fields));
        [5_i32, 6, -7]
            .iter()
            .for_each(|int| int.encode(&mut fields));
        8_i64.encode(&mut fields);
        [9_i32, 10].iter().for_each(|int| int.encode(&mut fields));
        11_i64.encode(&mut fields);
        assert_eq!(stat.to_bytes(), fields);
        assert_eq!(Stat::from_bytes(fields.freeze()), Ok(stat));
        assert_eq!((Stat::MIN_LEN, StatPersisted::MIN_LEN), (68, 60));
    }
}

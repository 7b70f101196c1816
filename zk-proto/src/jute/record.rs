//! One field list gives a record its struct, its encoder, its decoder and its docs.

/// Declares a Jute `class`: a struct whose Jute form is its fields in order.
///
/// ```
/// zk_proto::record! {
///     /// A path and whether to watch it.
///     pub struct Watched {
///         /// The node.
///         pub path: zk_proto::Utf8Bytes,
///         /// Leave a watch there.
///         pub watch: bool,
///     }
/// }
/// use zk_proto::jute::Encode;
/// let record = Watched { path: "/a".into(), watch: true };
/// assert_eq!(&record.to_bytes()[..], b"\0\0\0\x02/a\x01");
/// ```
#[macro_export]
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $ty, )*
        }

        impl $crate::jute::Encode for $name {
            fn encode(&self, out: &mut $crate::jute::BytesMut) {
                let _ = &out;
                $( $crate::jute::Encode::encode(&self.$field, out); )*
            }

            fn encoded_len(&self) -> usize {
                0 $( + $crate::jute::Encode::encoded_len(&self.$field) )*
            }
        }

        impl $crate::jute::Decode for $name {
            const MIN_LEN: usize = 0 $( + <$ty as $crate::jute::Decode>::MIN_LEN )*;

            fn decode(input: &mut $crate::jute::Reader) -> Result<Self, $crate::error::DecodeError> {
                let _ = &input;
                Ok(Self {
                    $( $field: <$ty as $crate::jute::Decode>::decode(input)?, )*
                })
            }
        }
    };
}

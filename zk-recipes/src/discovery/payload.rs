//! Reading a payload of any type, also of one that says nothing.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, Visitor},
};

/// Reads a payload; none where it is absent or `null`.
pub(super) fn read<'de, D, P>(deserializer: D) -> Result<Option<P>, D::Error>
where
    D: Deserializer<'de>,
    P: Deserialize<'de>,
{
    deserializer.deserialize_option(Maybe(PhantomData))
}

struct Maybe<P>(PhantomData<P>);

impl<'de, P: Deserialize<'de>> Visitor<'de> for Maybe<P> {
    type Value = Option<P>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a payload")
    }

    fn visit_none<E>(self) -> Result<Option<P>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<P>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, payload: D) -> Result<Option<P>, D::Error> {
        P::deserialize(Payload(payload)).map(Some)
    }
}

/// A payload, of which the type `()` can be read whatever it is: whoever asks for that does not care.
struct Payload<D>(D);

/// Asks for the type that is asked for.
macro_rules! as_it_is {
    ($($method:ident($($what:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($what: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($what,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Payload<D> {
    type Error = D::Error;

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        IgnoredAny::deserialize(self.0)?;
        visitor.visit_unit()
    }

    as_it_is! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8()
        deserialize_i16()
        deserialize_i32()
        deserialize_i64()
        deserialize_i128()
        deserialize_u8()
        deserialize_u16()
        deserialize_u32()
        deserialize_u64()
        deserialize_u128()
        deserialize_f32()
        deserialize_f64()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

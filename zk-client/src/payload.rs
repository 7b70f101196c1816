//! Data on its way to a node.

use bytes::Bytes;

/// Data for a node: borrowed bytes or text, or an owned buffer.
///
/// Made by `into()` from `&[u8]`, `&[u8; N]`, `&str`, `String`, `Vec<u8>`, `Bytes` and references to them.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    inner: Inner<'a>,
}

#[derive(Debug, Clone)]
enum Inner<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.inner {
            Inner::Borrowed(bytes) => bytes,
            Inner::Owned(bytes) => bytes,
        }
    }

    /// The bytes in a buffer of their own; copies only what is borrowed.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.inner {
            Inner::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Inner::Owned(bytes) => bytes,
        }
    }
}

macro_rules! payload_from {
    ($( <$($lifetime:lifetime)?> $(const $n:ident)? $ty:ty, |$value:ident| $make:expr; )*) => { $(
        impl<'a $(, const $n: usize)?> From<$ty> for Payload<'a> {
            fn from($value: $ty) -> Self {
                Self { inner: $make }
            }
        }
    )* };
}

payload_from! {
    <'a> &'a [u8], |value| Inner::Borrowed(value);
    <'a> const N &'a [u8; N], |value| Inner::Borrowed(value);
    <'a> &'a Vec<u8>, |value| Inner::Borrowed(value);
    <'a> &'a str, |value| Inner::Borrowed(value.as_bytes());
    <'a> &'a String, |value| Inner::Borrowed(value.as_bytes());
    <'a> &'a Bytes, |value| Inner::Borrowed(value);
    <> String, |value| Inner::Owned(value.into());
    <> Vec<u8>, |value| Inner::Owned(value.into());
    <> Bytes, |value| Inner::Owned(value);
}

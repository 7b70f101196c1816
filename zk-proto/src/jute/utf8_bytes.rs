//! A string that is a slice of the frame it came in.

use std::{borrow::Borrow, fmt, ops::Deref};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Decode, Encode, Reader, primitives::put_length};
use crate::error::DecodeError;

/// Immutable UTF-8 text, cheap to clone; Jute's `ustring`.
///
/// Paths keep this raw form on the wire: ZooKeeper validates the paths of writes only after other checks
/// and those of reads not at all, and clients can see the difference.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// The text; checked when the value was made.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The constructors let nothing but UTF-8 in, so the fallback is never taken; checking again is
        // what a crate without `unsafe` pays, and short paths make it a few nanoseconds.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Text that lives as long as the program, without an allocation.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = DecodeError;

    fn try_from(bytes: Bytes) -> Result<Self, DecodeError> {
        match str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(DecodeError::NotUtf8),
        }
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<Utf8Bytes> for String {
    fn from(text: Utf8Bytes) -> Self {
        text.as_str().to_owned()
    }
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Utf8Bytes {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Encode for Utf8Bytes {
    fn encode(&self, out: &mut BytesMut) {
        put_length(out, self.0.len());
        out.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        4 + self.0.len()
    }
}

impl Decode for Utf8Bytes {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        <Option<Self>>::decode(input)?.ok_or(DecodeError::NullString)
    }
}

impl Encode for Option<Utf8Bytes> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(text) => text.encode(out),
        }
    }

    fn encoded_len(&self) -> usize {
        4 + self.as_ref().map_or(0, |text| text.0.len())
    }
}

impl Decode for Option<Utf8Bytes> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.length()? {
            None => Ok(None),
            Some(len) => Utf8Bytes::try_from(input.take(len)?).map(Some),
        }
    }
}

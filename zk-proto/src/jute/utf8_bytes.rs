//! A string that is a slice of the frame it came in.

use std::{borrow::Borrow, fmt, ops::Deref};

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::{Decode, Encode, Reader, put_buffer};
use crate::error::DecodeError;

/// Immutable UTF-8 text, cheap to clone; Jute's `ustring`.
///
/// Paths keep this raw form on the wire: ZooKeeper validates the paths of writes only after other checks
/// and those of reads not at all, and clients can see the difference.
///
/// What is not UTF-8 is decoded as Java does it, with U+FFFD for every malformed piece, and re-encoded so: servers
/// see a path they refuse later, not a broken message. Apache's own server writes characters beyond the BMP (legal
/// in ACL ids) as two halves of three bytes each, which is not UTF-8 either.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf8Bytes(ByteString);

impl Utf8Bytes {
    /// The text; checked when the value was made, never again.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// Text as it was received; copied only where it has to be mended.
    pub(crate) fn from_jute(bytes: Bytes) -> Self {
        if str::from_utf8(&bytes).is_err() {
            return Self::from(String::from_utf8_lossy(&bytes).into_owned());
        }
        // Checked a line above; a second look costs less than a second reference to the frame.
        Self(ByteString::try_from(bytes).unwrap_or_default())
    }

    /// Text that lives as long as the program, without an allocation.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }
}

impl TryFrom<Bytes> for Utf8Bytes {
    type Error = DecodeError;

    fn try_from(bytes: Bytes) -> Result<Self, DecodeError> {
        match ByteString::try_from(bytes) {
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(DecodeError::NotUtf8),
        }
    }
}

impl From<&str> for Utf8Bytes {
    fn from(text: &str) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
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
        self.as_str() == other
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
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
        put_buffer(out, self.as_bytes());
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
        4 + self.as_ref().map_or(0, |text| text.len())
    }
}

impl Decode for Option<Utf8Bytes> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.length()? {
            None => Ok(None),
            Some(len) => input.take(len).map(Utf8Bytes::from_jute).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_map_keyed_by_it_is_asked_with_plain_text() {
        let map = HashMap::from([(Utf8Bytes::from("/a"), 1)]);
        assert_eq!(map.get("/a"), Some(&1));
        assert_eq!(map.get("/b"), None);
    }

    #[test]
    fn only_utf8_gets_in_and_what_is_received_otherwise_is_mended() {
        let utf8 = |bytes: &'static [u8]| Utf8Bytes::try_from(Bytes::from_static(bytes));
        let received = |bytes: &'static [u8]| Utf8Bytes::from_jute(Bytes::from_static(bytes));
        let fine = "/grüße".as_bytes();
        assert_eq!(utf8(fine).unwrap(), "/grüße");
        assert_eq!(received(fine), "/grüße");
        assert_eq!(utf8(b"/\xff"), Err(DecodeError::NotUtf8));
        assert_eq!(received(b"/\xff"), "/\u{fffd}");
        // An emoji as Java's own server writes it: every byte of either half is malformed.
        assert_eq!(
            received(b"\xed\xa0\xbd\xed\xb8\x80"),
            "\u{fffd}".repeat(6).as_str()
        );
    }
}

//! The Jute forms of Rust's own types.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Decode, Encode, Reader};
use crate::error::DecodeError;

/// Appends a length or count; callers bound it by the frame limit long before it could exceed an `int`.
pub fn put_length(out: &mut BytesMut, len: usize) {
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
}

/// Appends a `buffer` from borrowed bytes.
pub fn put_buffer(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}

/// Appends a `ustring` from borrowed text.
pub fn put_string(out: &mut BytesMut, text: &str) {
    put_buffer(out, text.as_bytes());
}

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn encoded_len(&self) -> usize {
        1
    }
}

impl Decode for bool {
    const MIN_LEN: usize = 1;

    /// Any byte but 0 is true, as it is to Java's `readBoolean`.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.u8().map(|byte| byte != 0)
    }
}

impl Encode for i32 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(*self);
    }

    fn encoded_len(&self) -> usize {
        4
    }
}

impl Decode for i32 {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.i32()
    }
}

impl Encode for i64 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(*self);
    }

    fn encoded_len(&self) -> usize {
        8
    }
}

impl Decode for i64 {
    const MIN_LEN: usize = 8;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.i64()
    }
}

impl Encode for Option<Bytes> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(bytes) => put_buffer(out, bytes),
        }
    }

    fn encoded_len(&self) -> usize {
        4 + self.as_ref().map_or(0, Bytes::len)
    }
}

impl Decode for Option<Bytes> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.length()? {
            None => Ok(None),
            Some(len) => input.take(len).map(Some),
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        put_length(out, self.len());
        for item in self {
            item.encode(out);
        }
    }

    fn encoded_len(&self) -> usize {
        4 + self.iter().map(Encode::encoded_len).sum::<usize>()
    }
}

impl<T: Decode> Decode for Vec<T> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(<Option<Self>>::decode(input)?.unwrap_or_default())
    }
}

impl<T: Encode> Encode for Option<Vec<T>> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(items) => items.encode(out),
        }
    }

    fn encoded_len(&self) -> usize {
        self.as_ref().map_or(4, Encode::encoded_len)
    }
}

impl<T: Decode> Decode for Option<Vec<T>> {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        // Apache takes any negative count for null, unlike the length of a buffer.
        let Ok(count) = usize::try_from(input.i32()?) else {
            return Ok(None);
        };
        // The count is a claim; the bytes that follow are evidence. Reserve for the smaller of the two.
        let backed = input.remaining() / T::MIN_LEN.max(1);
        let mut items = Vec::with_capacity(count.min(backed));
        for _ in 0..count {
            items.push(T::decode(input)?);
        }
        Ok(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_but_zero_is_true() {
        for byte in 0..=u8::MAX {
            let value = bool::from_bytes(Bytes::copy_from_slice(&[byte]));
            assert_eq!(value, Ok(byte != 0));
        }
    }
}

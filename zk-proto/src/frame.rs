//! Messages on the client port: a four-byte big-endian length and a body.
//!
//! Invariant: no memory is reserved on the word of a length alone; a buffer grows with the bytes received.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{error::DecodeError, jute::Encode};

/// The largest body Apache accepts unless told otherwise (`jute.maxbuffer`), in bytes.
pub const MAX_BUFFER: usize = 0xf_ffff;

/// The largest body a server of ours accepts before a session exists, in bytes.
///
/// A connect request has 44 or 45; nothing honest comes near.
pub const MAX_BUFFER_BEFORE_SESSION: usize = 1024;

/// Takes the next whole body off the front of `input`; `None` until it has arrived.
///
/// # Errors
/// [`DecodeError::NegativeLength`] and [`DecodeError::TooLong`] (over `limit` bytes), as soon as the length
/// itself is there: the link cannot be resynchronised after either.
pub fn take_frame(input: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, DecodeError> {
    let Some(prefix) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let claimed = i32::from_be_bytes(*prefix);
    let len = usize::try_from(claimed).map_err(|_| DecodeError::NegativeLength(claimed))?;
    if len > limit {
        return Err(DecodeError::TooLong { len, limit });
    }
    if input.len() < 4 + len {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(len).freeze()))
}

/// Appends one frame whose body is `parts` one after another.
pub fn put_frame(out: &mut BytesMut, parts: &[&dyn Encode]) {
    let at = out.len();
    out.put_i32(0);
    for part in parts {
        part.encode(out);
    }
    let len = out.len() - at - 4;
    out[at..at + 4].copy_from_slice(&i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_when_its_last_byte_is_in() {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, &[&1_i32, &true]);
        let whole = wire.clone();
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(take_frame(&mut part, 16), Ok(None));
            assert_eq!(part.len(), cut, "an incomplete frame stays where it is");
        }
        assert_eq!(
            take_frame(&mut wire, 16).unwrap().unwrap().as_ref(),
            b"\0\0\0\x01\x01"
        );
        assert!(wire.is_empty());
    }

    #[test]
    fn a_length_is_judged_before_its_body_arrives() {
        let mut long = BytesMut::from(&b"\0\0\0\x11"[..]);
        assert_eq!(
            take_frame(&mut long, 16),
            Err(DecodeError::TooLong { len: 17, limit: 16 })
        );
        let mut negative = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        assert_eq!(
            take_frame(&mut negative, 16),
            Err(DecodeError::NegativeLength(-1))
        );
    }
}

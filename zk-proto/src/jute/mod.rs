//! Jute, ZooKeeper's serialization: primitives, strings, buffers, vectors and records.
//!
//! | Jute | Rust | bytes |
//! |---|---|---|
//! | `boolean` | `bool` | one byte, written as 0 or 1; any but 0 reads as true |
//! | `int` | `i32` | four, big-endian |
//! | `long` | `i64` | eight, big-endian |
//! | `buffer` | `Option<Bytes>` | `int` length (-1: null), bytes |
//! | `ustring` | [`Utf8Bytes`] | `int` length, UTF-8 |
//! | `vector<T>` | `Vec<T>` (null reads as empty), `Option<Vec<T>>` where null has a meaning | `int` count (-1: null), elements |
//! | `class` | a struct made by [`record!`](crate::record) | its fields in order |

mod fixed;
mod primitives;
mod reader;
mod record;
mod utf8_bytes;

pub(crate) use fixed::{Fixed, fixed, fixed_record};
pub use primitives::{put_buffer, put_length, put_string};
pub use reader::Reader;
pub use utf8_bytes::Utf8Bytes;

/// So that `record!` works where `bytes` is no dependency.
#[doc(hidden)]
pub use bytes::BytesMut;

use crate::error::DecodeError;

/// A value with a Jute form that can be written.
pub trait Encode {
    /// Appends the Jute form to `out`, growing it as needed.
    fn encode(&self, out: &mut BytesMut);

    /// The exact number of bytes [`encode`](Self::encode) appends.
    fn encoded_len(&self) -> usize;

    /// The Jute form in a buffer of its own.
    fn to_bytes(&self) -> bytes::Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out.freeze()
    }
}

/// A value with a Jute form that can be read.
pub trait Decode: Sized {
    /// The fewest bytes any value takes; bounds what a vector's count may reserve.
    const MIN_LEN: usize;

    /// Reads one value from the front of `input`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not this record; `input` is then at an unspecified position.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError>;

    /// Reads one value that fills `bytes` to the last byte.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and [`DecodeError::TrailingBytes`] when something is left over.
    fn from_bytes(bytes: bytes::Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

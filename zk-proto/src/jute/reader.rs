//! A bounded cursor over received bytes.

use bytes::{Buf, Bytes};

use crate::error::DecodeError;

/// Reads Jute primitives from the front of a received frame; buffers come out as slices of it.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// A reader at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Takes the next `len` bytes without copying them.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        match len.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(self.rest.split_to(len)),
            Some(needed) => Err(DecodeError::Truncated { needed }),
        }
    }

    /// Takes the next `N` bytes by value.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.first_chunk::<N>() {
            Some(bytes) => {
                let bytes = *bytes;
                self.rest.advance(N);
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated {
                needed: N - self.rest.len(),
            }),
        }
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads a Jute `int`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer than four bytes are left.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Reads a Jute `long`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer than eight bytes are left.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads a length or a count; `None` is null (-1).
    ///
    /// # Errors
    /// [`DecodeError::NegativeLength`] below -1.
    pub fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.i32()? {
            -1 => Ok(None),
            len => usize::try_from(len)
                .map(Some)
                .map_err(|_| DecodeError::NegativeLength(len)),
        }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes that are left, without taking them.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Takes all bytes that are left, without copying them.
    #[must_use]
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Ends the reading of a frame.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] when the frame holds more than was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

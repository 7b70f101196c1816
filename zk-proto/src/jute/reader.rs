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
        self.need(len)?;
        Ok(self.rest.split_to(len))
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    /// Reads a Jute `int`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer than four bytes are left.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.need(4)?;
        Ok(self.rest.get_i32())
    }

    /// Reads a Jute `long`.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer than eight bytes are left.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.need(8)?;
        Ok(self.rest.get_i64())
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

    fn need(&self, len: usize) -> Result<(), DecodeError> {
        match len.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(()),
            Some(needed) => Err(DecodeError::Truncated { needed }),
        }
    }
}

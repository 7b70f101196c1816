//! Why bytes are not the record they were taken for.

use thiserror::Error;

/// These bytes are not that record; the link they came over cannot be trusted any further.
///
/// Small and `Copy`, so that functions which return it stay cheap to inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The record goes on after the last byte received.
    #[error("record is truncated: {needed} more bytes needed")]
    Truncated {
        /// How many bytes were missing at the field that ran out.
        needed: usize,
    },
    /// A length was below -1 (-1 stands for null).
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A length exceeds what the receiver accepts (`jute.maxbuffer`).
    #[error("length {len} exceeds the limit of {limit} bytes")]
    TooLong {
        /// The length claimed.
        len: usize,
        /// The receiver's limit.
        limit: usize,
    },
    /// A string was null (-1) where `zookeeper.jute` has no meaning for null.
    #[error("null string")]
    NullString,
    /// Bytes that were to become text are not UTF-8; text that is *received* is mended instead.
    #[error("string is not UTF-8")]
    NotUtf8,
    /// An enumeration or tag has no such value.
    #[error("{what} has no value {value}")]
    UnknownValue {
        /// The field, in words of `zookeeper.jute`.
        what: &'static str,
        /// The value received.
        value: i64,
    },
    /// The record ended before its frame did.
    #[error("{0} bytes left over after the record")]
    TrailingBytes(usize),
    /// A file or stream does not begin or end with the expected mark.
    #[error("bad magic: expected {expected}")]
    BadMagic {
        /// What should have stood there.
        expected: &'static str,
    },
    /// A checksum does not match the bytes it covers.
    #[error("checksum mismatch")]
    BadChecksum,
}

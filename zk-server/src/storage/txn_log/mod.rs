//! The transaction log: `log.<zxid>` files in Apache's format (ZKLG version 2), and the one that is appended to.
//!
//! Invariants: a batch of records is one write and one fdatasync; nothing counts as synced before that fdatasync
//! (and, for a new file, the one of its directory) has returned; after a failure nothing is written any more. A
//! file's space is real zeros, written before it is needed by a job in the background: a sparse or merely
//! reserved file would put a journal commit into every fdatasync.
//!
//! A file is full when its zeros are used up: the next one begins then, as it does on
//! [`RollLog`](super::DiskOp::RollLog). Apache reads any number of log files after a snapshot. When no file has
//! been prepared in time, the current one grows by a piece of zeros in the same write: correct, only slower.

mod reader;
mod space;
mod tail;
mod truncate;
mod writer;

pub use space::BackgroundJob;

pub(super) use reader::{LogReader, ReadError};
pub(super) use tail::{Tail, examine_tail};
pub(super) use truncate::truncate;
pub(super) use writer::{Flushed, LogWriter};

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// `preAllocSize`: the most space a file is given ahead of need, in bytes; 0 for none.
    pub pre_alloc_bytes: u64,
    /// `txnLogSizeLimitInKb`: a file that exceeds this is followed by a new one, in bytes.
    pub size_limit_bytes: Option<u64>,
    /// `forceSync`: whether a batch ends with an fdatasync; without it "durable" is a lie.
    pub force_sync: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            pre_alloc_bytes: 64 << 20,
            size_limit_bytes: None,
            force_sync: true,
        }
    }
}

/// The most bytes that are ever written without an fdatasync, one record's length aside.
///
/// Recovery relies on it: damage further than this from the end of a log was durable once, so it is no torn write.
pub(super) const UNSYNCED_BYTES_MAX: usize = 4 << 20;

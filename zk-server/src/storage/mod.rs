//! What a member keeps on disk: transaction log, snapshots, epochs, and how it comes back from them.
//!
//! The layout and every byte are Apache ZooKeeper's: `version-2/log.<zxid>` (ZKLG version 2) under the log
//! directory, `version-2/snapshot.<zxid>` (ZKSN version 2), `currentEpoch` and `acceptedEpoch` under the data
//! directory.
//!
//! Invariants: nothing is reported [`Synced`](DiskDone::Synced) before the fsync that covers it has returned; a
//! failed write or fsync ends the member ([`Fatal`]) and is never retried; a log file is named after its first
//! record, and its records have ascending zxids.
//!
//! Deliberately not here: when to roll, to snapshot or to purge (the peer decides), and threads (the driver
//! owns them; everything here blocks on the thread that calls it).

mod awaiting_sync;
mod disk;
mod durable;
mod epochs;
mod executor;
#[cfg(feature = "driver")]
mod fs_disk;
mod history;
mod layout;
pub mod mem_disk;
mod purge;
mod recovery;
mod replace;
mod secret;
mod snapshot;
mod trigger;
mod txn_log;

pub use disk::{Access, DirectoryLock, Disk, DiskFile, FileInfo};
pub use durable::Durable;
pub use executor::LogExecutor;
#[cfg(feature = "driver")]
pub use fs_disk::FsDisk;
pub use history::{HistoryPieces, survey_history};
pub use layout::Directories;
pub use mem_disk::MemDisk;
pub use purge::{Purged, SNAP_RETAIN_COUNT_MIN, purge};
pub use recovery::{Recovered, RecoveryOptions, TornTail, recover};
pub use secret::SessionSecret;
pub use snapshot::{SnapshotDone, SnapshotOptions, put_head, put_piece, write_snapshot};
pub use trigger::SnapshotTrigger;
pub use txn_log::{BackgroundJob, LogOptions};

use std::time::Duration;

use bytes::Bytes;
use zk_proto::{Epoch, Zxid};

pub use crate::error::Fatal;

/// What a core may ask of the log thread; carried out strictly in order.
#[derive(Debug, Clone)]
pub enum DiskOp {
    /// Append one record; answered by the [`DiskDone::Synced`] that covers it.
    Append {
        /// The transaction's id, larger than every one before it.
        zxid: Zxid,
        /// Header, body and digest, encoded once (`zk_proto::persist`): what the record's checksum covers.
        record: Bytes,
    },
    /// The next record begins a new file; not answered.
    RollLog,
    /// Forget every record after `to`; answered by [`DiskDone::Truncated`], and a new generation begins.
    Truncate {
        /// The last record to keep.
        to: Zxid,
    },
    /// Replace one of the epoch files; answered by [`DiskDone::EpochSaved`].
    SaveEpoch {
        /// Which file.
        kind: EpochKind,
        /// Its new content.
        epoch: Epoch,
    },
    /// Nothing is missing any more that was once on this disk: a leader has synced it; answered by
    /// [`DiskDone::HistoryComplete`].
    HistoryComplete,
    /// Begin a new generation: what was asked for before cannot be acknowledged after; not answered.
    NewGeneration(u64),
    /// Answered by [`DiskDone::Barrier`] with the same number when everything before it is done and durable.
    Barrier(u64),
}

/// What became of the [`DiskOp`]s, in their order.
#[derive(Debug, Clone)]
pub enum DiskDone {
    /// Every record up to `zxid` survives a power cut.
    Synced {
        /// The generation the records were appended in.
        generation: u64,
        /// The last of them.
        zxid: Durable<Zxid>,
        /// Bytes appended since the last [`DiskOp::RollLog`]: what `snapSizeLimitInKb` is measured by.
        log_bytes: u64,
        /// How long the fsync took.
        sync_time: Duration,
    },
    /// The log ends with `to`.
    Truncated {
        /// The generation that begins with it.
        generation: u64,
        /// The last record kept.
        to: Durable<Zxid>,
    },
    /// An epoch file was replaced.
    EpochSaved {
        /// Which file.
        kind: EpochKind,
        /// Its content.
        epoch: Durable<Epoch>,
    },
    /// The next start is one with a vote.
    HistoryComplete,
    /// Everything before this barrier is durable.
    Barrier {
        /// The barrier's number.
        number: u64,
        /// The last record of the log, or the snapshot's zxid if none is left after it.
        last: Durable<Zxid>,
    },
    /// The disk failed; nothing after this is carried out.
    Failed(Fatal),
}

/// The two numbers a member must not forget about epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EpochKind {
    /// The last epoch promised to a prospective leader (`acceptedEpoch`).
    Accepted,
    /// The epoch of the last leader followed (`currentEpoch`).
    Current,
}

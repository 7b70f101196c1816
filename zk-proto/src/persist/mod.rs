//! What ZooKeeper keeps on disk: `log.<zxid>` (ZKLG) and `snapshot.<zxid>` (ZKSN), and the checksums in them.
//!
//! ```text
//! log      : FileHeader  record*  zeros
//! record   : i64 Adler32(payload)  buffer payload  0x42          payload: crate::txn::TxnLogEntry
//! snapshot : FileHeader  vector<SessionEntry>  vector<AclEntry>  NodeRecord*  string "/"  seal
//!            [i64 zxid, i32 version, i64 digest  seal]  [i64 lastProcessedZxid  seal]
//! seal     : i64 Adler32(everything before it)  string "/"
//! ```
//! (`FileTxnLog`, `FileSnap`, `SnapStream`, `SerializeUtils` and `DataTree` in Apache's server.) A learner that is
//! sent a snapshot gets the part from the sessions to the string "/", without header and seals.
//!
//! Invariants: pure functions over bytes; every length is checked against the bytes that are there before
//! anything is taken or reserved; what is written reads back the same.
//!
//! Deliberately not here: files, the choice of a snapshot, replay, and what to do about damage.

mod adler32;
mod digest;
mod file_header;
mod log;
mod snapshot;
mod snapshot_cursor;

pub use adler32::{Adler32, adler32};
pub use digest::{DIGEST_VERSION, TreeDigest, body_crc, digest_with_stat, node_digest};
pub use file_header::FileHeader;
pub use log::{
    LogCursor, LogDamage, LogDamageKind, LogRecord, LogStep, RECORD_OVERHEAD, find_record,
    put_record,
};
pub use snapshot::{
    AclEntry, DigestSection, NodeRecord, OPEN_ACL_ID, Seal, SessionEntry, SnapshotTrailer,
    TREE_END, put_node,
};
pub use snapshot_cursor::{SnapshotCursor, SnapshotStep};

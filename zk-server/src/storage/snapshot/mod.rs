//! Snapshots: `snapshot.<zxid>` files in Apache's format (ZKSN version 2).
//!
//! A file's name is the zxid of the tree in it. One of ours is a consistent cut: it holds exactly what was
//! there after that transaction. One of Apache's may be *fuzzy*: it holds some of what came later, too, and
//! becomes right when the log is replayed from its name on.
//!
//! Invariants: a snapshot appears under its name complete and durable, or not at all; it is believed only when
//! all of its seals hold.

mod packed;
mod reader;
mod writer;

pub use writer::{SnapshotDone, SnapshotOptions, put_head, put_piece, write_snapshot};

pub(super) use reader::{LoadError, load};
pub(super) use writer::write_tree;

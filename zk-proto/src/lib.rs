//! Every byte ZooKeeper puts on a wire or a disk, as typed records.
//!
//! ZooKeeper describes its records in *Jute* (`zookeeper.jute`): big-endian integers, length-prefixed
//! buffers, strings and vectors, and structs that are nothing but their fields in order. This crate holds
//! one Rust struct per record, with [`jute::Encode`] and [`jute::Decode`], and the framing around them.
//!
//! On the client port every message is a 4-byte big-endian length and a body ([`frame`]). The first body a
//! client sends is a [`connect::ConnectRequest`]; every later one is a [`header::RequestHeader`] and the
//! request that its type names ([`op::Request`]). Every body the server sends after the
//! [`connect::ConnectResponse`] is a [`header::ReplyHeader`] and a [`op::Response`], or, under the reserved
//! xid -1, a [`watch::WatcherEvent`].
//!
//! Invariants: decoding is zero-copy (buffers and strings are slices of the received frame), reserves no
//! memory on the word of a length that the bytes received do not back, and never panics. Encoding what was
//! decoded gives the same bytes.
//!
//! Deliberately not here: sockets, clocks, sessions, and every decision.

pub mod acl;
#[cfg(feature = "codec")]
pub mod codec;
pub mod connect;
pub mod create_mode;
pub mod error;
pub mod error_code;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod header;
pub mod ids;
pub mod jute;
pub mod message;
pub mod op;
pub mod op_code;
pub mod persist;
pub mod quorum;
pub mod stat;
pub mod txn;
pub mod watch;
pub mod zxid;

pub use acl::{Acl, Id, Perms};
pub use bytes::Bytes;
pub use create_mode::CreateMode;
pub use error::DecodeError;
pub use error_code::ErrorCode;
pub use ids::{Password, ServerId, SessionId, Xid};
pub use jute::{Decode, Encode, Reader, Utf8Bytes};
pub use op_code::OpCode;
pub use stat::Stat;
pub use zxid::{Epoch, Zxid};

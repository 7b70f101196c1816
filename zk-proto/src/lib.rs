//! Every byte ZooKeeper puts on a wire or a disk, as typed records.
//!
//! ZooKeeper describes its records in *Jute* (`zookeeper.jute`): big-endian integers, length-prefixed
//! buffers, strings and vectors, and structs that are nothing but their fields in order. This crate holds
//! one Rust struct per record, with [`jute::Encode`] and [`jute::Decode`], and the framing around them: what clients
//! and servers say to each other, what the members of an ensemble say to each other, and what a server keeps on disk.
//! Clients, servers, proxies and tools for data directories can be built on it, for any ZooKeeper.
//!
//! A request and its reply:
//!
//! ```
//! use bytes::BytesMut;
//! use zk_proto::{
//!     OpCode, Xid,
//!     frame::{MAX_BUFFER, put_frame, take_frame},
//!     message::{ClientMessage, ServerMessage},
//!     op::{GetDataRequest, Request, Response},
//! };
//!
//! # fn main() -> Result<(), zk_proto::DecodeError> {
//! let ask = Request::GetData(GetDataRequest { path: "/app".into(), watch: false });
//! let mut wire = BytesMut::new();
//! put_frame(&mut wire, &[&ClientMessage::request(Xid(7), &ask)]);
//! // A length of 17, the xid 7, operation 4, a path of 4 bytes, no watch.
//! assert_eq!(&wire[..], b"\0\0\0\x11\0\0\0\x07\0\0\0\x04\0\0\0\x04/app\0");
//!
//! # let mut wire = BytesMut::new();
//! # {
//! #     use zk_proto::{Stat, Zxid, header::ReplyHeader, op::GetDataResponse};
//! #     let header = ReplyHeader { xid: Xid(7), zxid: Zxid(9), err: 0 };
//! #     let found = GetDataResponse { data: Some("hello".into()), stat: Stat::default() };
//! #     put_frame(&mut wire, &[&ServerMessage::reply(header, &Response::GetData(found))]);
//! # }
//! // ... send it, and put what comes back into `wire` until a whole frame is there:
//! while let Some(body) = take_frame(&mut wire, MAX_BUFFER)? {
//!     match ServerMessage::decode_later(body)? {
//!         ServerMessage::Reply { header, body } if header.err == 0 => {
//!             assert_eq!(header.xid, Xid(7));
//!             // Only the request tells what the reply is.
//!             let Response::GetData(found) = ServerMessage::reply_body(OpCode::GetData, body)? else {
//!                 unreachable!("a getData is answered with data");
//!             };
//!             assert_eq!(found.data.as_deref(), Some(&b"hello"[..]));
//!         }
//!         other => println!("refused, or a watch fired: {other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | of | is in |
//! |---|---|
//! | the client port: frames, the first messages, headers, requests and replies, events | [`frame`], [`connect`], [`header`], [`op`], [`watch`]; whole messages in [`message`], as `tokio_util` codecs in `codec` |
//! | the words in them | [`op_code`], [`error_code`], [`create_mode`], [`acl`], [`stat`], [`zxid`], [`ids`] |
//! | transactions, in the log and in proposals | [`txn`] |
//! | the data directory: logs, snapshots, checksums, the tree's digest | [`persist`] |
//! | the ensemble: election and quorum port | [`quorum`] |
//! | Jute itself, to declare records of one's own | [`jute`], [`record!`] |
//!
//! On the client port every message is a 4-byte big-endian length and a body ([`frame`]). The first body a
//! client sends is a [`connect::ConnectRequest`]; every later one is a [`header::RequestHeader`] and the
//! request that its type names ([`op::Request`]). Every body the server sends after the
//! [`connect::ConnectResponse`] is a [`header::ReplyHeader`] and a [`op::Response`], or, under the reserved
//! xid -1, a [`watch::WatcherEvent`].
//!
//! # What holds
//!
//! * Decoding is zero-copy: buffers and strings are slices of the frame received.
//! * Decoding never panics, and reserves no memory on the word of a length that the bytes received do not back.
//! * Encoding what was decoded gives the same bytes. Where Apache's server is lenient so is this crate, and then the
//!   bytes are the regular ones: a null vector where null has no meaning reads as an empty one, malformed UTF-8 as
//!   U+FFFD, and bytes behind a message's record are ignored.
//! * Records are checked against frames, logs and snapshots of a live Apache ZooKeeper 3.9, byte for byte, and fuzzed.
//!
//! Codes and flags that a peer may extend stay raw integers in the records (`flags`, `err`, `op`); the enumerations
//! read them.
//!
//! # Features
//!
//! * `codec` (default): the module of that name, which depends on `tokio-util`. Without it the crate needs no part of tokio.
//!
//! Deliberately not here: sockets, files, clocks, sessions, and every decision.

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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

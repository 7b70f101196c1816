//! What stands before every request and reply.

use crate::{ids::Xid, jute::fixed_record, zxid::Zxid};

fixed_record! {
    /// Before every request after the connect request.
    pub struct RequestHeader {
        /// The client's number for the request, or a reserved one (see [`Xid`]).
        pub xid: Xid,
        /// The operation; raw, since a peer may send any number (see [`crate::OpCode`]).
        pub op: i32,
    }
}

fixed_record! {
    /// Before every reply and every watch event.
    pub struct ReplyHeader {
        /// The request's xid, or [`Xid::NOTIFICATION`].
        pub xid: Xid,
        /// For a write its own transaction; for a read the last one the server had applied; for an event
        /// the one that triggered it (3.9 and later, -1 before).
        pub zxid: Zxid,
        /// An [`crate::ErrorCode`], raw; where it is not 0 no body follows.
        pub err: i32,
    }
}

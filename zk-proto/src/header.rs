//! What stands before every request and reply.

use crate::{ids::Xid, record, zxid::Zxid};

record! {
    /// Before every request after the connect request.
    #[derive(Copy)]
    pub struct RequestHeader {
        /// The client's number for the request, or a reserved one (see [`Xid`]).
        pub xid: Xid,
        /// The operation; raw, since a peer may send any number (see [`crate::OpCode`]).
        pub op: i32,
    }
}

record! {
    /// Before every reply and every watch event.
    #[derive(Copy)]
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

//! create, create2, createContainer, createTTL.

use bytes::Bytes;

use crate::{acl::Acl, jute::Utf8Bytes, record, stat::Stat};

record! {
    /// Create a node: operations 1, 15 and 19.
    pub struct CreateRequest {
        /// The node; for a sequential one, its name without the counter.
        pub path: Utf8Bytes,
        /// Its data; null is kept as null.
        pub data: Option<Bytes>,
        /// Its ACL; must not be empty.
        pub acl: Vec<Acl>,
        /// A [`crate::CreateMode`]'s number; raw, since a peer may send any.
        pub flags: i32,
    }
}

record! {
    /// Create a node with a time to live: operation 21.
    pub struct CreateTtlRequest {
        /// The node; for a sequential one, its name without the counter.
        pub path: Utf8Bytes,
        /// Its data; null is kept as null.
        pub data: Option<Bytes>,
        /// Its ACL; must not be empty.
        pub acl: Vec<Acl>,
        /// 5 or 6; raw, since a peer may send any.
        pub flags: i32,
        /// The time to live in milliseconds, 1 to 2^40 - 1.
        pub ttl_ms: i64,
    }
}

record! {
    /// Answer to create.
    pub struct CreateResponse {
        /// The node's full path, with the counter of a sequential one.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Answer to create2, createContainer and createTTL.
    pub struct Create2Response {
        /// The node's full path, with the counter of a sequential one.
        pub path: Utf8Bytes,
        /// The new node's Stat.
        pub stat: Stat,
    }
}

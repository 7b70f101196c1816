//! exists, getData, setData.

use bytes::Bytes;

use crate::{jute::Utf8Bytes, record, stat::Stat};

record! {
    /// Ask for a node's Stat. The watch is left even where there is no node.
    pub struct ExistsRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Whether to leave a one-shot data watch.
        pub watch: bool,
    }
}

record! {
    /// A Stat: answer to exists, setData and setACL.
    #[derive(Copy)]
    pub struct StatResponse {
        /// The node's metadata (after the change, for a write).
        pub stat: Stat,
    }
}

record! {
    /// Read a node's data.
    pub struct GetDataRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Whether to leave a one-shot data watch.
        pub watch: bool,
    }
}

record! {
    /// Answer to getData (and to reconfig).
    pub struct GetDataResponse {
        /// The node's data; null where it was created with null.
        pub data: Option<Bytes>,
        /// Its metadata at the same zxid.
        pub stat: Stat,
    }
}

record! {
    /// Set a node's data; the answer is a [`StatResponse`].
    pub struct SetDataRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Its new data.
        pub data: Option<Bytes>,
        /// The data version it must have; -1: any.
        pub version: i32,
    }
}

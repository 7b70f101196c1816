//! getChildren, getChildren2, getAllChildrenNumber, getEphemerals.

use crate::{jute::Utf8Bytes, record, stat::Stat};

record! {
    /// List a node's children: operations 8 and 12.
    pub struct GetChildrenRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Whether to leave a one-shot child watch.
        pub watch: bool,
    }
}

record! {
    /// Answer to getChildren.
    pub struct GetChildrenResponse {
        /// The children's names, in no order that a client may rely on.
        pub children: Vec<Utf8Bytes>,
    }
}

record! {
    /// Answer to getChildren2.
    pub struct GetChildren2Response {
        /// The children's names, in no order that a client may rely on.
        pub children: Vec<Utf8Bytes>,
        /// The node's metadata at the same zxid.
        pub stat: Stat,
    }
}

record! {
    /// Count all nodes below one.
    pub struct GetAllChildrenNumberRequest {
        /// The node.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Answer to getAllChildrenNumber.
    #[derive(Copy)]
    pub struct GetAllChildrenNumberResponse {
        /// How many nodes are below it, at any depth.
        pub total: i32,
    }
}

record! {
    /// List the session's own ephemeral nodes.
    pub struct GetEphemeralsRequest {
        /// Only those whose path starts with this text.
        pub prefix: Utf8Bytes,
    }
}

record! {
    /// Answer to getEphemerals.
    pub struct GetEphemeralsResponse {
        /// The nodes' paths.
        pub ephemerals: Vec<Utf8Bytes>,
    }
}

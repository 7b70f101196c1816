//! delete, deleteContainer.

use crate::{jute::Utf8Bytes, record};

record! {
    /// Delete a node without children; the answer has no body.
    pub struct DeleteRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// The data version it must have; -1: any.
        pub version: i32,
    }
}

record! {
    /// Delete an empty container or TTL node; servers send it to themselves.
    pub struct DeleteContainerRequest {
        /// The node.
        pub path: Utf8Bytes,
    }
}

//! check: a condition inside a multi.

use crate::{jute::Utf8Bytes, record};

record! {
    /// The multi goes through only if the node exists and has this version; the answer has no body.
    pub struct CheckVersionRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// The data version it must have; -1: any.
        pub version: i32,
    }
}

//! getACL, setACL.

use crate::{acl::Acl, jute::Utf8Bytes, record, stat::Stat};

record! {
    /// Read a node's ACL.
    pub struct GetAclRequest {
        /// The node.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Answer to getACL.
    pub struct GetAclResponse {
        /// The entries; digest hashes are masked for those without ADMIN.
        pub acl: Vec<Acl>,
        /// The node's metadata at the same zxid.
        pub stat: Stat,
    }
}

record! {
    /// Set a node's ACL; the answer is a [`super::StatResponse`].
    pub struct SetAclRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// The new entries; must not be empty.
        pub acl: Vec<Acl>,
        /// The ACL version (`aversion`) it must have; -1: any.
        pub version: i32,
    }
}

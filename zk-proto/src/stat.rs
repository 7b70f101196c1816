//! What ZooKeeper knows about a node besides its data.

use crate::{ids::SessionId, jute::fixed_record, zxid::Zxid};

fixed_record! {
    /// A node's metadata, as clients see it (`Stat` in `zookeeper.jute`).
    #[derive(Default)]
    pub struct Stat {
        /// The transaction that created the node.
        pub czxid: Zxid,
        /// The transaction that last changed its data.
        pub mzxid: Zxid,
        /// When it was created, in milliseconds since the Unix epoch, by the leader's clock.
        pub ctime: i64,
        /// When its data last changed, in milliseconds since the Unix epoch, by the leader's clock.
        pub mtime: i64,
        /// How many times its data was set.
        pub version: i32,
        /// How many times a child was created or deleted.
        pub cversion: i32,
        /// How many times its ACL was set.
        pub aversion: i32,
        /// The session that owns it, for an ephemeral node; else 0.
        pub ephemeral_owner: SessionId,
        /// The length of its data in bytes.
        pub data_length: i32,
        /// How many children it has.
        pub num_children: i32,
        /// The transaction that last created or deleted a child.
        pub pzxid: Zxid,
    }
}

fixed_record! {
    /// A node's metadata, as snapshots keep it (`StatPersisted` in `zookeeper.jute`).
    ///
    /// Here `cversion` counts child creations only (clients see `2 * cversion - num_children`), and
    /// `ephemeral_owner` also marks container and TTL nodes.
    #[derive(Default)]
    pub struct StatPersisted {
        /// The transaction that created the node.
        pub czxid: Zxid,
        /// The transaction that last changed its data.
        pub mzxid: Zxid,
        /// Creation time, milliseconds since the Unix epoch.
        pub ctime: i64,
        /// Time of the last change of data, milliseconds since the Unix epoch.
        pub mtime: i64,
        /// How many times its data was set.
        pub version: i32,
        /// How many children were ever created.
        pub cversion: i32,
        /// How many times its ACL was set.
        pub aversion: i32,
        /// Owner session, or the marks of a container or TTL node.
        pub ephemeral_owner: i64,
        /// The transaction that last created or deleted a child.
        pub pzxid: Zxid,
    }
}

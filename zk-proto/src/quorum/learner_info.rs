//! Who a learner is.

use crate::{ids::ServerId, record, zxid::Zxid};

/// The version of the protocol between leader and learner since 3.4.
pub const PROTOCOL_VERSION: i32 = 0x10000;

record! {
    /// The data of FOLLOWERINFO and OBSERVERINFO (`LearnerInfo` in `zookeeper.jute`).
    #[derive(Copy)]
    pub struct LearnerInfo {
        /// The learner's `myid`.
        pub server_id: ServerId,
        /// [`PROTOCOL_VERSION`].
        pub protocol_version: i32,
        /// The version of its configuration, the zxid of the reconfig that made it; a leader whose own is older
        /// refuses the learner.
        pub config_version: Zxid,
    }
}

//! sync, reconfig.

use crate::{jute::Utf8Bytes, record};

record! {
    /// Catch up with the leader before the next read.
    pub struct SyncRequest {
        /// A node; echoed, not looked at.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Answer to sync.
    pub struct SyncResponse {
        /// The path asked with.
        pub path: Utf8Bytes,
    }
}

record! {
    /// Change the ensemble's members; the answer is a [`super::GetDataResponse`] of `/zookeeper/config`.
    pub struct ReconfigRequest {
        /// Members to add or change, comma-separated `server.N=...` lines; null for none.
        pub joining: Option<Utf8Bytes>,
        /// Ids of members to remove, comma-separated; null for none.
        pub leaving: Option<Utf8Bytes>,
        /// The whole new membership instead of a change; null for none.
        pub new_members: Option<Utf8Bytes>,
        /// The configuration version (a zxid) it must be based on; -1: any.
        pub config_id: i64,
    }
}

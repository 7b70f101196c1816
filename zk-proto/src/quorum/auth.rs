//! SASL between members, on either port.

use bytes::Bytes;

use crate::record;

/// Begins every [`QuorumAuthPacket`], where an [`InitialMessage`](super::InitialMessage) has its version.
///
/// Apache writes it as the negation of 0xa0dbcafecafe1234 and means it to be negative; it is positive.
pub const QUORUM_AUTH_MAGIC: i64 = 0xa0db_cafe_cafe_1234_u64.cast_signed().wrapping_neg();

record! {
    /// A step of the SASL conversation between two members (`QuorumAuthPacket` in `zookeeper.jute`).
    pub struct QuorumAuthPacket {
        /// [`QUORUM_AUTH_MAGIC`].
        pub magic: i64,
        /// 0: goes on, 1: succeeded, -1: failed.
        pub status: i32,
        /// The mechanism's token.
        pub token: Option<Bytes>,
    }
}

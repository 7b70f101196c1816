//! The figures of an ensemble's member.

use super::{Counter, Gauge, Sizes, Summary};

/// What a member of an ensemble counts beside what every server does (`LeaderZooKeeperServer.registerMetrics`).
#[derive(Debug, Default)]
pub struct QuorumMetrics {
    /// How many voters there are.
    pub quorum_size: Gauge,
    /// 1 while this member has no vote, since some of its history is lost.
    pub awaits_sync: Gauge,
    /// Since when this member leads, in milliseconds of its clock; 0: it does not.
    pub leads_since_ms: Gauge,
    /// Learners with a link to this leader.
    pub learners: Gauge,
    /// Followers that this leader sends every proposal.
    pub synced_followers: Gauge,
    /// Those of them that are no voters.
    pub synced_non_voting_followers: Gauge,
    /// Observers that this leader sends every transaction.
    pub synced_observers: Gauge,
    /// `sync`s that this leader has not answered.
    pub pending_syncs: Gauge,
    /// Bytes of this leader's proposals.
    pub proposal_sizes: Sizes,
    /// How often this member began to look for a leader.
    pub looking: Counter,
    /// Milliseconds from there to a vote that won.
    pub election_time: Summary,
    /// Milliseconds from there to serving.
    pub leader_unavailable_time: Summary,
}

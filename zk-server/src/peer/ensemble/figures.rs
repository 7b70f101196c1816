//! What a member of an ensemble tells of itself (`mntr`).

use std::time::Duration;

use zk_proto::quorum::LearnerMessage;

use super::{Peer, QuorumInput};
use crate::{peer::Input, time::Now, zab::LeaderInput};

/// Whether the leader's learners may have to be counted anew after this: not after what comes a thousand times a
/// second.
pub(in crate::peer) const fn changes_census(input: &Input) -> bool {
    let Input::Quorum(QuorumInput::Leader(LeaderInput::Message { message, .. })) = input else {
        return !matches!(input, Input::Submit(_) | Input::Disk(_));
    };
    match message {
        LearnerMessage::Ack(zxid) => zxid.counter() == 0,
        LearnerMessage::Request { .. } | LearnerMessage::Ping { .. } => false,
        _ => true,
    }
}

impl Peer {
    pub(in crate::peer) fn take_census(&self) {
        let leader = self.ensemble.as_ref().and_then(|it| it.member.leader());
        let (Some(leader), metrics) = (leader, &self.shared.metrics.quorum) else {
            return;
        };
        let census = leader.census();
        metrics.learners.set(census.learners);
        metrics.synced_followers.set(census.followers);
        metrics.synced_non_voting_followers.set(census.non_voting);
        metrics.synced_observers.set(census.observers);
    }

    pub(in crate::peer) fn count_syncs(&self) {
        if let Some(leader) = self.ensemble.as_ref().and_then(|it| it.member.leader()) {
            let pending = leader.pending_syncs();
            self.shared.metrics.quorum.pending_syncs.set(pending);
        }
    }

    /// The search for a leader begins.
    pub(super) fn note_search(&mut self, now: Now) {
        let metrics = &self.shared.metrics.quorum;
        metrics.looking.add(1);
        metrics.leads_since_ms.set(0);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.looking_since = now.mono;
        }
    }

    /// There is a leader.
    pub(super) fn note_election(&self, now: Now) {
        let took = self.since_search(now);
        self.shared.metrics.quorum.election_time.add(took);
    }

    /// Clients are served again.
    pub(super) fn note_service(&self, now: Now, leads: bool) {
        let took = self.since_search(now);
        let metrics = &self.shared.metrics.quorum;
        metrics.leader_unavailable_time.add(took);
        metrics.proposal_sizes.reset();
        if leads {
            metrics.leads_since_ms.set(millis(now.mono).max(1));
        }
    }

    fn since_search(&self, now: Now) -> u64 {
        let since = self.ensemble.as_ref().map(|it| it.looking_since);
        millis(now.mono.saturating_sub(since.unwrap_or_default())) as u64
    }
}

fn millis(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}

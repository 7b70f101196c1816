//! Counting towards a quorum.

use std::collections::BTreeSet;

use zk_proto::ServerId;

use super::QuorumVerifier;

/// Who has said yes, and whether that is enough (`SyncedLearnerTracker`).
///
/// During a reconfiguration it takes a quorum of the old configuration *and* of the new one.
#[derive(Debug, Clone)]
pub struct QuorumTracker {
    verifiers: Vec<QuorumVerifier>,
    acks: BTreeSet<ServerId>,
}

impl QuorumTracker {
    /// Nobody yet, under all of these configurations.
    #[must_use]
    pub fn new(verifiers: impl IntoIterator<Item = QuorumVerifier>) -> Self {
        Self {
            verifiers: verifiers.into_iter().collect(),
            acks: BTreeSet::new(),
        }
    }

    /// Counts `server`; one that may not vote is not counted, and nobody counts twice.
    pub fn add(&mut self, server: ServerId) {
        if self
            .verifiers
            .iter()
            .any(|verifier| verifier.is_voter(server))
        {
            self.acks.insert(server);
        }
    }

    /// Whether there is a quorum under every configuration.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        !self.verifiers.is_empty()
            && self
                .verifiers
                .iter()
                .all(|verifier| verifier.contains_quorum(&self.acks))
    }

    /// Whether everybody whose vote weighs anything was counted.
    #[must_use]
    pub fn has_everybody(&self) -> bool {
        let missing = |verifier: &QuorumVerifier| {
            let mut voters = verifier.voters();
            voters.any(|voter| verifier.weight(voter) > 0 && !self.acks.contains(&voter))
        };
        !self.verifiers.iter().any(missing)
    }

    /// Who was counted, by id.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.acks.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconfiguration_needs_both_quorums() {
        let old = QuorumVerifier::majority([1, 2, 3].map(ServerId)).unwrap();
        let new = QuorumVerifier::majority([3, 4, 5].map(ServerId)).unwrap();
        let mut tracker = QuorumTracker::new([old, new]);
        for (server, enough) in [(1, false), (9, false), (3, false), (3, false), (5, true)] {
            tracker.add(ServerId(server));
            assert_eq!(tracker.has_quorum(), enough, "after {server}");
        }
        assert_eq!(
            tracker.servers().map(|server| server.0).collect::<Vec<_>>(),
            [1, 3, 5]
        );
        assert!(!tracker.has_everybody());
    }
}

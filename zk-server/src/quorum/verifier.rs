//! The rule by which a set of voters is a quorum.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use zk_proto::ServerId;

/// A configuration that defines no usable quorum; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifierError {
    /// There is nobody to vote.
    #[error("the configuration names no participant")]
    NoVoters,
    /// A group or a weight is given for a server that is no participant.
    #[error("server {0} has a group or weight but is no participant")]
    UnknownServer(i64),
    /// Groups are in use and a participant is in none (`QuorumHierarchical.java`).
    #[error("groups are configured, but server {0} is in none")]
    NoGroup(i64),
    /// A server is in two groups.
    #[error("server {0} is in more than one group")]
    TwoGroups(i64),
    /// A weight is negative.
    #[error("server {server} has the negative weight {weight}")]
    NegativeWeight {
        /// The server.
        server: i64,
        /// Its weight.
        weight: i64,
    },
    /// The weights of a group are too large to be added up; Apache's add up to something else then, and each server alone
    /// may be a quorum.
    #[error("the weights of the group with server {0} add up to more than 2^63 - 1")]
    TooHeavy(i64),
}

/// Decides whether a set of voters is a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumVerifier {
    voters: BTreeSet<ServerId>,
    version: i64,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// More than half of the voters (`QuorumMaj`).
    Majority,
    /// More than half of the weight in more than half of the groups that weigh anything
    /// (`QuorumHierarchical`).
    Hierarchical {
        groups: Vec<BTreeSet<ServerId>>,
        weights: BTreeMap<ServerId, u64>,
    },
}

impl QuorumVerifier {
    /// More than half of `voters`.
    ///
    /// # Errors
    /// [`VerifierError::NoVoters`].
    pub fn majority(voters: impl IntoIterator<Item = ServerId>) -> Result<Self, VerifierError> {
        let voters: BTreeSet<_> = voters.into_iter().collect();
        if voters.is_empty() {
            return Err(VerifierError::NoVoters);
        }
        Ok(Self {
            voters,
            version: 0,
            rule: Rule::Majority,
        })
    }

    /// Hierarchical quorums: `groups` partition the voters, `weights` (1 where not given) say how much each
    /// counts within its group. A server of weight 0 never counts and never leads.
    ///
    /// # Errors
    /// [`VerifierError`] where groups and weights do not fit the voters.
    pub fn hierarchical(
        voters: impl IntoIterator<Item = ServerId>,
        groups: Vec<BTreeSet<ServerId>>,
        weights: &BTreeMap<ServerId, i64>,
    ) -> Result<Self, VerifierError> {
        let mut verifier = Self::majority(voters)?;
        let mut seen = BTreeSet::new();
        for server in groups.iter().flatten() {
            if !verifier.voters.contains(server) {
                return Err(VerifierError::UnknownServer(server.0));
            }
            if !seen.insert(*server) {
                return Err(VerifierError::TwoGroups(server.0));
            }
        }
        if let Some(lone) = verifier.voters.difference(&seen).next() {
            return Err(VerifierError::NoGroup(lone.0));
        }
        let mut counted: BTreeMap<_, _> =
            verifier.voters.iter().map(|server| (*server, 1)).collect();
        for (&server, &weight) in weights {
            let Some(slot) = counted.get_mut(&server) else {
                return Err(VerifierError::UnknownServer(server.0));
            };
            *slot = u64::try_from(weight).map_err(|_| VerifierError::NegativeWeight {
                server: server.0,
                weight,
            })?;
        }
        for group in &groups {
            let mut weights = group.iter().filter_map(|server| counted.get(server));
            let sum = weights.try_fold(0_u64, |sum, weight| sum.checked_add(*weight));
            if sum.is_none_or(|sum| i64::try_from(sum).is_err()) {
                let first = group.first().map_or(0, |server| server.0);
                return Err(VerifierError::TooHeavy(first));
            }
        }
        verifier.rule = Rule::Hierarchical {
            groups,
            weights: counted,
        };
        Ok(verifier)
    }

    /// The same rule under the version of a dynamic configuration.
    #[must_use]
    pub const fn with_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// The configuration's version (a zxid); 0 for a static one.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Whether `server` may vote.
    #[must_use]
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.voters.contains(&server)
    }

    /// Everybody who may vote, by id.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().copied()
    }

    /// How much a server counts; 0: it never leads.
    #[must_use]
    pub fn weight(&self, server: ServerId) -> u64 {
        match &self.rule {
            Rule::Majority => u64::from(self.is_voter(server)),
            Rule::Hierarchical { weights, .. } => weights.get(&server).copied().unwrap_or(0),
        }
    }

    /// Whether `servers` contain a quorum. Those that may not vote do not count.
    #[must_use]
    pub fn contains_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        match &self.rule {
            Rule::Majority => servers.intersection(&self.voters).count() > self.voters.len() / 2,
            Rule::Hierarchical { groups, weights } => {
                let weight = |group: &BTreeSet<ServerId>| -> u64 {
                    group.iter().filter_map(|server| weights.get(server)).sum()
                };
                let weighty: Vec<_> = groups.iter().filter(|group| weight(group) > 0).collect();
                let won = weighty
                    .iter()
                    .filter(|group| {
                        let present = group.intersection(servers).copied().collect();
                        weight(&present) > weight(group) / 2
                    })
                    .count();
                won > weighty.len() / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        for (voters, present, expected) in [
            (vec![1], vec![1], true),
            (vec![1, 2], vec![1], false),
            (vec![1, 2, 3], vec![1, 3], true),
            (vec![1, 2, 3, 4], vec![1, 3], false),
            (vec![1, 2, 3, 4, 5], vec![1, 3, 5], true),
            (vec![1, 2, 3], vec![7, 8, 9], false),
        ] {
            let verifier = QuorumVerifier::majority(ids(&voters)).unwrap();
            assert_eq!(
                verifier.contains_quorum(&ids(&present)),
                expected,
                "{present:?} of {voters:?}"
            );
        }
    }

    #[test]
    fn groups_vote_by_weight_and_then_among_themselves() {
        let groups = vec![ids(&[1, 2, 3]), ids(&[4, 5, 6]), ids(&[7, 8, 9])];
        let weights = [(ServerId(7), 0), (ServerId(8), 0), (ServerId(9), 0)].into();
        let verifier =
            QuorumVerifier::hierarchical(ids(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), groups, &weights)
                .unwrap();
        for (present, expected) in [
            (vec![1, 2, 4, 5], true),
            (vec![1, 2, 3, 4], false),
            (vec![1, 2, 3, 7, 8, 9], false),
        ] {
            assert_eq!(
                verifier.contains_quorum(&ids(&present)),
                expected,
                "{present:?}"
            );
        }
        assert_eq!(verifier.weight(ServerId(7)), 0);
    }

    #[test]
    fn any_two_quorums_share_a_voter() {
        let groups = vec![ids(&[1, 2]), ids(&[3]), ids(&[4, 5])];
        let weights = [(ServerId(1), 3), (ServerId(5), 2)].into();
        for verifier in [
            QuorumVerifier::majority(ids(&[1, 2, 3, 4, 5])).unwrap(),
            QuorumVerifier::hierarchical(ids(&[1, 2, 3, 4, 5]), groups, &weights).unwrap(),
        ] {
            let subset = |mask: u32| {
                ids(&(1..=5)
                    .filter(|id| mask & (1 << id) != 0)
                    .collect::<Vec<_>>())
            };
            let quorums: Vec<_> = (0..64)
                .step_by(2)
                .map(subset)
                .filter(|set| verifier.contains_quorum(set))
                .collect();
            assert!(!quorums.is_empty());
            for a in &quorums {
                assert!(quorums.iter().all(|b| !a.is_disjoint(b)), "{a:?}");
            }
        }
    }

    #[test]
    fn what_defines_no_quorum_is_refused() {
        let two_groups = vec![ids(&[1, 2]), ids(&[2])];
        let none = BTreeMap::new();
        for (groups, weights, expected) in [
            (two_groups, none.clone(), VerifierError::TwoGroups(2)),
            (vec![ids(&[1])], none.clone(), VerifierError::NoGroup(2)),
            (vec![ids(&[1, 2, 3])], none, VerifierError::UnknownServer(3)),
            (
                vec![ids(&[1, 2])],
                [(ServerId(1), -1)].into(),
                VerifierError::NegativeWeight {
                    server: 1,
                    weight: -1,
                },
            ),
        ] {
            assert_eq!(
                QuorumVerifier::hierarchical(ids(&[1, 2]), groups, &weights),
                Err(expected)
            );
        }
        let heaviest = |weights: &[i64]| {
            let weights = (1..).map(ServerId).zip(weights.iter().copied()).collect();
            QuorumVerifier::hierarchical(ids(&[1, 2, 3]), vec![ids(&[1, 2, 3])], &weights)
        };
        assert!(heaviest(&[i64::MAX - 2, 1, 1]).is_ok());
        for weights in [&[i64::MAX; 3], &[i64::MAX, 1, 0]] {
            let refused = heaviest(weights).err();
            assert_eq!(refused, Some(VerifierError::TooHeavy(1)), "{weights:?}");
        }
        assert_eq!(QuorumVerifier::majority([]), Err(VerifierError::NoVoters));
    }
}

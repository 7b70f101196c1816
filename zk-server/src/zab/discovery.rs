//! Discovery: a prospective leader and a quorum agree on a new epoch, larger than any they promised before.
//!
//! The promise is `acceptedEpoch`, on the disk before anybody hears of it.
//!
//! A quorum of the configuration in force has to promise, and to have no more history than the leader; and so has one of
//! every configuration that is on its way: if it came into force, what was committed then only its own voters need have.
//! It cannot have come into force where those of the one in force that have logged it may be no quorum any more: then it
//! is not asked. Otherwise an ensemble would stand still for ever in which each quorum of the next configuration has
//! somebody with more history than the leader, whom the others do not know and cannot elect (`tests/sim/reconfig.rs`).
//! Apache's leaders never ask it in discovery (`Leader.waitForEpochAck`), so they can lose what it has committed.

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{LearnerMessage, PROTOCOL_VERSION},
};

use std::collections::BTreeSet;

use super::mutants;
use crate::{
    quorum::{QuorumTracker, QuorumVerifier},
    storage::{DiskOp, Durable, EpochKind},
};

/// The leader hears which epochs its learners have accepted (`getEpochToPropose`).
#[derive(Debug)]
pub(super) struct EpochProposal {
    highest: Epoch,
    heard: QuorumTracker,
}

impl EpochProposal {
    pub(super) fn new(me: ServerId, accepted: Epoch, verifiers: &[QuorumVerifier]) -> Self {
        let mut heard = QuorumTracker::new(verifiers.iter().cloned());
        heard.add(me);
        Self {
            highest: accepted,
            heard,
        }
    }

    pub(super) fn hear(&mut self, server: ServerId, accepted: Epoch) {
        self.highest = self.highest.max(accepted);
        self.heard.add(server);
    }

    /// The new epoch, once a quorum was heard.
    pub(super) fn chosen(&self) -> Option<Epoch> {
        let next = match mutants::active("1343") {
            true => Epoch(self.highest.0.max(1)),
            false => Epoch(self.highest.0 + 1),
        };
        self.heard.has_quorum().then_some(next)
    }
}

/// How much history a server has: who has the most may lead (`StateSummary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StateSummary {
    pub(super) current: Epoch,
    pub(super) last: Zxid,
}

/// The leader hears who has accepted the new epoch (`waitForEpochAck`).
#[derive(Debug)]
pub(super) struct EpochAcks {
    own: StateSummary,
    heard: QuorumTracker,
    next: Option<Next>,
}

/// The configuration that takes the place of the one in force, if it was committed.
#[derive(Debug)]
struct Next {
    version: Zxid,
    in_force: QuorumVerifier,
    /// Who has promised the epoch and has not logged it.
    without: BTreeSet<ServerId>,
}

impl Next {
    /// Whether it was committed for all that is known, if these have not logged it either.
    fn is_possible(&self, others: &[ServerId]) -> bool {
        let may_have = |voter: &ServerId| !self.without.contains(voter) && !others.contains(voter);
        let with = self.in_force.voters().filter(may_have).collect();
        self.in_force.contains_quorum(&with)
    }
}

impl EpochAcks {
    /// The leader's own promise is on its disk. `next` is the version of the configuration that comes behind the first
    /// of the verifiers (`Configurations::next_version`).
    pub(super) fn new(
        me: ServerId,
        own: StateSummary,
        _accepted: Durable<Epoch>,
        verifiers: &[QuorumVerifier],
        next: Option<Zxid>,
    ) -> Self {
        Self::begin(me, own, verifiers, next)
    }

    fn begin(
        me: ServerId,
        own: StateSummary,
        verifiers: &[QuorumVerifier],
        next: Option<Zxid>,
    ) -> Self {
        let mut heard = QuorumTracker::new(verifiers.iter().cloned());
        heard.add(me);
        let next = verifiers.first().zip(next).map(|(in_force, version)| Next {
            version,
            in_force: in_force.clone(),
            without: BTreeSet::new(),
        });
        Self { own, heard, next }
    }

    /// Counts a learner's answer; false if the learner has more history than the leader.
    pub(super) fn hear(&mut self, server: ServerId, last: Zxid, current: Option<i32>) -> bool {
        let Some(current) = current else {
            return true; // It had promised this epoch before: that does not count, and is no harm.
        };
        let current = Epoch(current.into());
        if (StateSummary { current, last }) > self.own {
            return false;
        }
        // Apache's way to say that it has lost its history (`db.autocreate`).
        if last.0 != -1 {
            self.heard.add(server);
            self.note_history(server, last);
        }
        true
    }

    /// Lets go of the next configuration once it cannot have been committed.
    fn note_history(&mut self, server: ServerId, last: Zxid) {
        let Some(mut next) = self.next.take() else {
            return;
        };
        if last < next.version && !mutants::active("next-always-asked") {
            next.without.insert(server);
        }
        match next.is_possible(&[]) {
            true => self.next = Some(next),
            false => self.heard = self.heard_under(&next.in_force),
        }
    }

    /// Those who have answered, counted under this configuration only.
    fn heard_under(&self, verifier: &QuorumVerifier) -> QuorumTracker {
        let mut heard = QuorumTracker::new([verifier.clone()]);
        self.heard.servers().for_each(|server| heard.add(server));
        heard
    }

    pub(super) fn has_quorum(&self) -> bool {
        self.heard.has_quorum()
    }

    /// Whether there will be a quorum if these answer whatever helps.
    pub(super) fn may_have_quorum(&self, others: &[ServerId]) -> bool {
        let with_others = |mut heard: QuorumTracker| {
            others.iter().for_each(|server| heard.add(*server));
            heard.has_quorum()
        };
        let next = self.next.as_ref().filter(|next| !next.is_possible(others));
        with_others(self.heard.clone())
            || next.is_some_and(|next| with_others(self.heard_under(&next.in_force)))
    }
}

/// Promises an epoch to a leader; nothing may be said of it before that is done.
pub(super) const fn promise(epoch: Epoch) -> DiskOp {
    DiskOp::SaveEpoch {
        kind: EpochKind::Accepted,
        epoch,
    }
}

/// The leader's message to its learners: the new epoch.
pub(super) const fn leader_info(accepted: Durable<Epoch>) -> LearnerMessage {
    LearnerMessage::LeaderInfo {
        epoch: accepted.get(),
        protocol_version: PROTOCOL_VERSION,
    }
}

/// The learner's answer: it has promised the epoch, and this much history; `again`: it had promised it before, so that it
/// does not count.
pub(super) fn ack_epoch(
    _accepted: Durable<Epoch>,
    history: Durable<Zxid>,
    current: Epoch,
    again: bool,
) -> LearnerMessage {
    LearnerMessage::AckEpoch {
        last_zxid: history.get(),
        current_epoch: i32::try_from(current.0).ok().filter(|_| !again),
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::Zxid;

    use super::*;

    fn quorum(ids: &[i64]) -> QuorumVerifier {
        QuorumVerifier::majority(ids.iter().copied().map(ServerId)).unwrap()
    }

    fn acks(verifiers: &[QuorumVerifier], next: Option<Zxid>) -> EpochAcks {
        let own = StateSummary {
            current: Epoch(2),
            last: Zxid(6),
        };
        EpochAcks::begin(ServerId(1), own, verifiers, next)
    }

    /// {1, 2, 3} is in force, and {1, 4, 5} was logged at zxid 6, which is the leader's last.
    #[test]
    fn the_next_configuration_is_asked_unless_it_cannot_have_been_committed() {
        let verifiers = [quorum(&[1, 2, 3]), quorum(&[1, 4, 5])];
        let next = Some(Zxid(6));
        for (next, answers, enough, why) in [
            (next, &[(2, 6), (3, 6)][..], false, "it may be in force"),
            (
                next,
                &[(2, 5), (3, 6)],
                false,
                "{1, 3} may have committed it",
            ),
            (next, &[(2, 5), (3, 5)], true, "nobody but 1 ever had it"),
            (
                next,
                &[(2, 5), (3, 5), (4, 6)],
                true,
                "4 has it, for nothing",
            ),
            (
                next,
                &[(4, 5), (5, 5)],
                false,
                "the one in force is asked anyway",
            ),
            (next, &[(4, 5), (5, 5), (3, 6)], true, "both quorums"),
            (
                None,
                &[(2, 5), (3, 5)],
                false,
                "another one may lie between them",
            ),
            (None, &[(2, 5), (3, 5), (5, 5)], true, "both quorums"),
        ] {
            let mut acks = acks(&verifiers, next);
            for (server, last) in answers {
                assert!(acks.hear(ServerId(*server), Zxid(*last), Some(2)));
            }
            assert_eq!(acks.has_quorum(), enough, "{answers:?}: {why}");
        }
    }

    #[test]
    fn a_promise_to_somebody_else_says_nothing_of_the_next_configuration() {
        let mut acks = acks(&[quorum(&[1, 2]), quorum(&[1, 4])], Some(Zxid(6)));
        assert!(acks.hear(ServerId(2), Zxid(5), None) && !acks.has_quorum());
        assert!(
            !acks.hear(ServerId(4), Zxid(7), Some(2)),
            "has more history"
        );
        assert!(acks.hear(ServerId(2), Zxid(5), Some(2)) && acks.has_quorum());
    }

    #[test]
    fn there_is_hope_while_somebody_may_not_have_the_next_configuration() {
        let servers = |ids: &[i64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
        let verifiers = [quorum(&[1, 2, 3]), quorum(&[1, 4, 5])];
        for (next, awaited, hope) in [
            (Some(Zxid(6)), &[2, 3][..], true),
            (Some(Zxid(6)), &[2], false),
            (Some(Zxid(6)), &[2, 4], true),
            (None, &[2, 3], false),
            (None, &[2, 4], true),
            (None, &[4, 5], false),
        ] {
            let acks = acks(&verifiers, next);
            let awaited = servers(awaited);
            assert_eq!(acks.may_have_quorum(&awaited), hope, "{next:?} {awaited:?}");
        }
    }
}

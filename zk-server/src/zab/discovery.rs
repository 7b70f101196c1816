//! Discovery: a prospective leader and a quorum agree on a new epoch, larger than any they promised before.
//!
//! The promise is `acceptedEpoch`, on the disk before anybody hears of it.

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{LearnerMessage, PROTOCOL_VERSION},
};

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
}

impl EpochAcks {
    /// The leader's own promise is on its disk.
    pub(super) fn new(
        me: ServerId,
        own: StateSummary,
        _accepted: Durable<Epoch>,
        verifiers: &[QuorumVerifier],
    ) -> Self {
        let mut heard = QuorumTracker::new(verifiers.iter().cloned());
        heard.add(me);
        Self { own, heard }
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
        self.heard.add(server);
        true
    }

    pub(super) fn has_quorum(&self) -> bool {
        self.heard.has_quorum()
    }

    /// Who has answered.
    pub(super) const fn heard(&self) -> &QuorumTracker {
        &self.heard
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

/// The learner's answer: it has promised the epoch, and this much history; `again`: it had promised it before.
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

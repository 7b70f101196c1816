//! The promise at the end of synchronization: this server has the leader's history, for good.

use zk_proto::{Epoch, Zxid, quorum::LearnerMessage};

use crate::storage::{DiskOp, Durable, EpochKind};

/// Makes `epoch` the one this server's history belongs to: only once all of that history is on the disk
/// (ZOOKEEPER-4643: the other way round, a crash in between makes an incomplete history look complete).
pub(super) const fn save_current_epoch(_history: Durable<Zxid>, epoch: Epoch) -> DiskOp {
    DiskOp::SaveEpoch {
        kind: EpochKind::Current,
        epoch,
    }
}

/// Makes the epoch of a proposal the one this server's history belongs to, asked for in front of the proposal's own
/// record: what was proposed before must have been asked for already, since the log thread writes in this order.
pub(super) const fn save_epoch_before(proposal: Zxid) -> DiskOp {
    DiskOp::SaveEpoch {
        kind: EpochKind::Current,
        epoch: proposal.epoch(),
    }
}

/// Ends the time without a vote (`election/abstention.rs`): everything up to NEWLEADER is on the disk, and a quorum of
/// others has accepted its leader.
pub(super) const fn end_abstention(_history: Durable<Zxid>) -> DiskOp {
    DiskOp::HistoryComplete
}

/// ACK of NEWLEADER: the epoch's history is on this disk, and so is the epoch.
pub(super) const fn ack_new_leader(current: Durable<Epoch>) -> LearnerMessage {
    LearnerMessage::Ack(Zxid::new(current.get(), 0))
}

/// ACK of one proposal that is on this disk.
pub(super) fn ack_proposal(zxid: Zxid, logged: Durable<Zxid>) -> Option<LearnerMessage> {
    (zxid <= logged.get()).then_some(LearnerMessage::Ack(zxid))
}

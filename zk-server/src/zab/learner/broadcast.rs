//! Proposals and commits, from the first one of synchronization on.

use zk_proto::{Zxid, quorum::LearnerMessage};

use super::{Beginning, Learner, Phase};
#[cfg(zkmut)]
use crate::storage::Durable;
use crate::{
    storage::{DiskDone, DiskOp, EpochKind},
    time::Now,
    zab::{
        ForwardedRequest, Output, Transaction, UNASKED, follows, mutants,
        synchronization::{ack_proposal, save_epoch_before},
    },
};

/// How much is applied at once: some thousand small transactions, or some large ones.
const APPLY_AT_ONCE: usize = 8 << 20;
/// What each counts for beside its length.
const APPLIED_WEIGHT: usize = 1 << 10;

impl Learner {
    pub(super) fn log(&mut self, transaction: Transaction, acknowledge: bool) {
        let zxid = transaction.zxid;
        let len = transaction.entry.len();
        if zxid <= self.snapshot {
            return self.backlog.skip(len);
        }
        if !follows(self.logged, zxid) {
            return self.misbehaved("a gap between proposals");
        }
        // In a log, no record is where it ends.
        if transaction.entry.is_empty() {
            return self.misbehaved("a proposal of nothing");
        }
        // Once it is in the log, nobody looks at it again: this server would count the wrong quorum for good.
        self.see_configuration(&transaction);
        if self.phase == Phase::Departed {
            return;
        }
        self.logged = zxid;
        self.enter_epoch_of(zxid);
        if acknowledge {
            self.to_ack.push_back(zxid);
        }
        #[cfg(zkmut)]
        if self.forgets_to_log(&transaction) {
            return;
        }
        self.output(Output::Disk(DiskOp::Append {
            zxid,
            record: transaction.entry.clone(),
        }));
        self.backlog.append(zxid, len);
        self.unapplied.push_back(transaction);
        #[cfg(zkmut)]
        if mutants::active("follower-acks-before-fsync") {
            self.durable = Durable::forge(zxid);
            self.acknowledge();
        }
    }

    /// What was proposed in an epoch shows that a quorum followed it, and everything before it is this server's: so is the
    /// epoch, before the first record of it. Apache does not start with a history of an epoch later than `currentEpoch`.
    pub(super) fn enter_epoch_of(&mut self, zxid: Zxid) {
        if zxid.epoch() > self.epochs.current {
            self.epochs.current = zxid.epoch();
            self.output(Output::Disk(save_epoch_before(zxid)));
        }
    }

    pub(super) fn committed(&mut self, zxid: Zxid) {
        if self.phase == Phase::Departed || zxid <= self.snapshot {
            return;
        }
        // Behind a long history, all of it is here: who looked through it at every commit would never be done.
        let behind = self
            .unapplied
            .partition_point(|next| next.zxid <= self.commit);
        let next = self.unapplied.get(behind);
        if next.is_none_or(|next| next.zxid != zxid) {
            return self.misbehaved("a commit out of order");
        }
        self.commit = zxid;
        // What is behind already is applied bit by bit.
        if self.resume_at.is_none() {
            self.apply();
        }
    }

    /// Applies what is committed: not more at a time than a leader waits for, who wants to hear of this server meanwhile. Once
    /// everything is applied that was committed when the epoch began, it serves.
    pub(super) fn apply(&mut self) {
        let mut weight = 0;
        while weight < APPLY_AT_ONCE
            && self.is_behind()
            && let Some(transaction) = self.unapplied.pop_front()
        {
            weight += APPLIED_WEIGHT + transaction.entry.len();
            self.committed.push(transaction.clone());
            self.output(Output::Commit(transaction));
        }
        let next = self.unapplied.front().map(|next| next.zxid);
        let is_due = |begun: &mut Beginning| next.is_none_or(|next| next > begun.commit);
        if self.phase == Phase::Active
            && let Some(begun) = self.beginning.take_if(is_due)
        {
            self.output(Output::Serve { epoch: begun.epoch });
            self.acknowledge();
            if begun.is_new {
                self.leave_if_changed();
            }
        }
    }

    /// Whether it serves or is about to, and has not applied all that is committed.
    pub(super) fn is_behind(&self) -> bool {
        let is_committed = |next: &Transaction| next.zxid <= self.commit;
        self.phase == Phase::Active && self.unapplied.front().is_some_and(is_committed)
    }

    pub(super) fn acknowledge(&mut self) {
        if self.phase != Phase::Active && !mutants::active("4685") {
            return;
        }
        while let Some(zxid) = self.to_ack.front()
            && let Some(ack) = ack_proposal(*zxid, self.durable)
        {
            self.to_ack.pop_front();
            self.tell(ack);
        }
    }

    /// Who is not listened to is not silent. It is told that this server lives, and of whom it has heard, as if it had asked:
    /// its own questions wait, too. Not so where the disk stands still: then nobody knows whether the leader is there.
    pub(super) fn leader_waits(&mut self, now: Now) {
        if self.phase != Phase::Active {
            self.last_heard = now.mono;
        } else if self.backlog.goes_on() {
            self.last_heard = now.mono;
            self.output(Output::AnswerPing(UNASKED));
        }
    }

    pub(super) fn forward(&mut self, request: ForwardedRequest) {
        if self.phase != Phase::Active {
            return;
        }
        let ForwardedRequest {
            session,
            cxid,
            op,
            body,
            identities,
        } = request;
        self.tell(LearnerMessage::Request {
            session,
            cxid,
            op,
            body,
            identities,
        });
    }

    pub(super) fn disk_done(&mut self, done: DiskDone) {
        match done {
            DiskDone::Synced {
                generation, zxid, ..
            } if generation == self.generation => {
                self.durable = self.durable.max(zxid);
                self.backlog.synced(zxid.get());
                self.conclude();
                self.acknowledge();
            }
            DiskDone::Truncated { generation, to } => self.truncated(generation, to),
            DiskDone::EpochSaved { kind, epoch } => match (self.phase, kind) {
                (
                    Phase::Promising {
                        epoch: awaited,
                        again,
                    },
                    EpochKind::Accepted,
                ) if awaited.max(self.epochs.accepted) == epoch.get() => {
                    self.promised(epoch, awaited, again);
                }
                (Phase::SavingCurrent { epoch: awaited }, EpochKind::Current)
                    if awaited == epoch.get() =>
                {
                    self.current_saved(epoch);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

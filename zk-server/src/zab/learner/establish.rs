//! From the connection to UPTODATE: discovery and synchronization.

use zk_proto::{
    Epoch, Zxid,
    quorum::{LearnerInfo, LearnerMessage, PROTOCOL_VERSION},
};

use super::{Alignment, Beginning, Learner, Phase};
use crate::{
    reconfig::Configuration,
    storage::{DiskOp, Durable},
    time::Now,
    zab::{
        Departure, Output,
        discovery::{ack_epoch, promise},
        mutants,
        synchronization::{ack_new_leader, end_abstention, save_current_epoch},
    },
};

/// Discovery.
impl Learner {
    pub(super) fn introduce(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        self.phase = Phase::Introduced;
        self.last_heard = now.mono;
        let info = LearnerInfo {
            server_id: self.config.me,
            protocol_version: PROTOCOL_VERSION,
            config_version: self.config.configurations.version(),
        };
        let accepted_epoch = self.epochs.accepted;
        self.tell(match self.votes {
            true => LearnerMessage::FollowerInfo {
                accepted_epoch,
                info,
            },
            false => LearnerMessage::ObserverInfo {
                accepted_epoch,
                info,
            },
        });
    }

    pub(super) fn disconnected(&mut self, now: Now) {
        match self.phase {
            Phase::Connecting { .. } => {
                let retry_at = Some(now.mono + self.config.connect_retry);
                self.phase = Phase::Connecting { retry_at };
            }
            // The leader may not have been ready to lead yet.
            Phase::Introduced if now.mono < self.give_up_at => {
                let retry_at = Some(now.mono + self.config.connect_retry);
                self.phase = Phase::Connecting { retry_at };
            }
            Phase::AwaitingPlan { .. } => self.depart(Departure::Refused),
            _ => self.depart(Departure::LeaderLost),
        }
    }

    /// Promises the leader's epoch. One promised before is written again: nobody knows whether it was durable.
    pub(super) fn accept(&mut self, epoch: Epoch) {
        // The promise that an observer has made to a leader that never was must not lock it out.
        let promised = match self.votes {
            true => self.epochs.accepted,
            false => self.epochs.current,
        };
        if epoch < promised {
            return self.depart(Departure::LeaderOutdated);
        }
        // The promise of one that lacks some of its history is none: it counts as one made before.
        let again = epoch <= self.epochs.accepted || self.epochs.awaits_sync;
        // Nor is it taken back: it counts where the observer is about to become a voter.
        let kept = epoch.max(self.epochs.accepted);
        self.phase = Phase::Promising { epoch, again };
        #[cfg(zkmut)]
        if mutants::active("1291") {
            return self.promised(Durable::forge(epoch), epoch, again);
        }
        self.output(Output::Disk(promise(kept)));
    }

    pub(super) fn promised(&mut self, accepted: Durable<Epoch>, epoch: Epoch, again: bool) {
        self.epochs.accepted = accepted.get();
        let answer = ack_epoch(accepted, self.durable, self.epochs.current, again);
        self.phase = Phase::AwaitingPlan { epoch };
        self.tell(answer);
    }
}

/// Synchronization.
impl Learner {
    pub(super) fn begin_sync(&mut self, epoch: Epoch, message: LearnerMessage) {
        #[cfg(zkmut)]
        if mutants::active("4643") {
            let history = Durable::forge(self.logged);
            self.output(Output::Disk(save_current_epoch(history, epoch)));
        }
        let step = match message {
            LearnerMessage::Diff(_) => {
                self.phase = Phase::Receiving { epoch };
                return;
            }
            LearnerMessage::Trunc(to) => {
                self.output(Output::Disk(DiskOp::Truncate { to }));
                Alignment::Cutting(to)
            }
            LearnerMessage::Snap(zxid) => {
                self.output(Output::ReceiveSnapshot { zxid });
                Alignment::ReceivingSnapshot(zxid)
            }
            _ => return self.misbehaved("neither DIFF nor TRUNC nor SNAP"),
        };
        self.in_step = false;
        self.phase = Phase::Aligning { epoch, step };
    }

    pub(super) fn aligning(&self) -> Option<(Epoch, Alignment)> {
        match self.phase {
            Phase::Aligning { epoch, step } => Some((epoch, step)),
            _ => None,
        }
    }

    pub(super) fn snapshot_received(&mut self, configuration: Option<Configuration>) {
        self.replace_configurations(configuration);
        if let Some((epoch, Alignment::ReceivingSnapshot(zxid))) = self.aligning() {
            if mutants::active("3642") {
                self.in_step = true;
                self.committed.restart(zxid);
            }
            let step = Alignment::InstallingSnapshot(zxid);
            self.phase = Phase::Aligning { epoch, step };
            self.output(Output::InstallSnapshot { zxid });
        }
    }

    /// Only now may the log be cut: before, it was all that this server could come back from.
    pub(super) fn snapshot_installed(&mut self) {
        if let Some((epoch, Alignment::InstallingSnapshot(zxid))) = self.aligning() {
            let step = Alignment::CuttingToSnapshot(zxid);
            self.phase = Phase::Aligning { epoch, step };
            self.output(Output::Disk(DiskOp::Truncate { to: zxid }));
        }
    }

    pub(super) fn truncated(&mut self, generation: u64, kept: Durable<Zxid>) {
        let Some((epoch, step)) = self.aligning() else {
            return;
        };
        self.generation = generation;
        self.durable = kept;
        self.logged = kept.get();
        self.forget_configurations();
        match step {
            Alignment::CuttingToSnapshot(zxid) if kept.get() == zxid => {
                self.snapshot = zxid;
                self.committed.restart(zxid);
                self.enter_epoch_of(zxid);
                self.aligned(epoch);
            }
            // An epoch's start is no transaction: cutting to it keeps the last one before.
            Alignment::Cutting(to)
                if kept.get() == to || (to.counter() == 0 && kept.get() < to) =>
            {
                self.committed.truncate(kept.get());
                if mutants::active("5094") {
                    return self.aligned(epoch);
                }
                let step = Alignment::Reloading(kept.get());
                self.phase = Phase::Aligning { epoch, step };
                self.output(Output::Reload { generation });
            }
            _ => self.depart(Departure::HistoryMissing),
        }
    }

    pub(super) fn reloaded(&mut self, last: Zxid) {
        if let Some((epoch, Alignment::Reloading(kept))) = self.aligning() {
            match last == kept {
                true => self.aligned(epoch),
                false => self.depart(Departure::HistoryMissing),
            }
        }
    }

    pub(super) fn aligned(&mut self, epoch: Epoch) {
        self.in_step = true;
        self.commit = self.committed.last();
        self.phase = Phase::Receiving { epoch };
        while let Some(message) = self.held.pop_front() {
            if self.phase == Phase::Departed {
                return;
            }
            self.hear(message);
        }
    }

    pub(super) fn history_complete(&mut self, epoch: Epoch, zxid: Zxid) {
        if self.phase == Phase::Departed {
            return;
        }
        if zxid != Zxid::new(epoch, 0) {
            return self.misbehaved("NEWLEADER of another epoch");
        }
        // What is committed needs no acknowledgement.
        let commit = self.commit;
        self.to_ack.retain(|zxid| *zxid > commit);
        self.phase = Phase::Concluding {
            epoch,
            history: self.logged,
        };
        #[cfg(zkmut)]
        if mutants::active("4646") {
            self.tell(ack_new_leader(Durable::forge(epoch)));
            self.phase = Phase::AwaitingUpToDate { epoch };
            let history = Durable::forge(self.logged);
            return self.output(Output::Disk(save_current_epoch(history, epoch)));
        }
        self.conclude();
    }

    pub(super) fn conclude(&mut self) {
        #[cfg(zkmut)]
        if let (Phase::Concluding { epoch, .. }, true) = (self.phase, mutants::active("1282")) {
            self.phase = Phase::AwaitingUpToDate { epoch };
            return self.tell(ack_new_leader(Durable::forge(epoch)));
        }
        if let Phase::Concluding { epoch, history } = self.phase
            && self.durable.get() >= history
        {
            self.phase = Phase::SavingCurrent { epoch };
            self.output(Output::Disk(save_current_epoch(self.durable, epoch)));
            if self.epochs.awaits_sync {
                self.output(Output::Disk(end_abstention(self.durable)));
            }
        }
    }

    pub(super) fn current_saved(&mut self, epoch: Durable<Epoch>) {
        self.epochs.current = epoch.get();
        self.phase = Phase::AwaitingUpToDate { epoch: epoch.get() };
        self.tell(ack_new_leader(epoch));
    }

    pub(super) fn activate(&mut self, epoch: Epoch) {
        self.tell(LearnerMessage::Ack(Zxid::new(epoch, 0)));
        self.phase = Phase::Active;
        self.has_served = true;
        let is_new = self.establish_configuration();
        self.beginning = Some(Beginning {
            epoch,
            commit: self.commit,
            is_new,
        });
        self.apply();
        self.acknowledge();
    }
}

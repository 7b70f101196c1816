//! Bugs of the past in a learner's time between the leader's plan and UPTODATE, put back on purpose.

use zk_proto::quorum::LearnerMessage;

use super::{Learner, Phase};
use crate::{
    storage::Durable,
    zab::{Transaction, mutants::active},
};

impl Learner {
    /// Whether NEWLEADER was read, and UPTODATE was not.
    const fn awaits_uptodate(&self) -> bool {
        matches!(
            self.phase,
            Phase::Concluding { .. } | Phase::SavingCurrent { .. } | Phase::AwaitingUpToDate { .. }
        )
    }

    /// ZOOKEEPER-962, 1264, 1319 and 1551: what is proposed and committed behind NEWLEADER and before UPTODATE never
    /// happens here, and nobody notices. ZOOKEEPER-4394: a COMMIT there is nonsense.
    pub(super) fn drops(&mut self, message: &LearnerMessage) -> bool {
        if active("4394") && self.awaits_uptodate() && matches!(message, LearnerMessage::Commit(_))
        {
            self.misbehaved("a commit before UPTODATE");
            return true;
        }
        if !active("962") {
            return false;
        }
        match message {
            LearnerMessage::Proposal { zxid, .. } if self.awaits_uptodate() => self.logged = *zxid,
            LearnerMessage::Inform { zxid, .. } if self.awaits_uptodate() => {
                self.logged = *zxid;
                self.commit = *zxid;
            }
            LearnerMessage::Commit(zxid) if self.unapplied.iter().all(|it| it.zxid != *zxid) => {
                self.commit = *zxid;
            }
            _ => return false,
        }
        true
    }

    /// What is kept in memory and not logged: ZOOKEEPER-1367 what comes between SNAP and NEWLEADER, 3104 what comes between
    /// that and UPTODATE, 3911 what comes with DIFF.
    pub(super) fn forgets_to_log(&mut self, transaction: &Transaction) -> bool {
        let has_snapshot = self.snapshot.0 > 0;
        let forgets = match self.phase {
            Phase::Receiving { .. } if has_snapshot => active("1367"),
            Phase::Receiving { .. } => active("3911"),
            _ if self.awaits_uptodate() => has_snapshot && active("3104"),
            _ => false,
        };
        if forgets {
            self.durable = self.durable.max(Durable::forge(transaction.zxid));
            self.unapplied.push_back(transaction.clone());
        }
        forgets
    }
}

//! ZooKeeper atomic broadcast: how an ensemble agrees on one order of transactions.
//!
//! ```text
//!   LOOKING --Election--> LEADING | FOLLOWING | OBSERVING        (ZabState)
//!                          discovery        FOLLOWERINFO  LEADERINFO  ACKEPOCH
//!                          synchronization  DIFF | TRUNC | SNAP  NEWLEADER  ACK  UPTODATE
//!                          broadcast        PROPOSAL  ACK  COMMIT  (observers: INFORM)  PING
//! ```
//!
//! [`Member`] is a server's whole part in it: the election, and the role it has, a [`Leader`] or a [`Learner`].
//! All of them are cores: one input, then every output.
//!
//! Invariants: whatever a promise depends on is on the disk before it leaves, and the functions that make
//! promises take a [`Durable`](crate::storage::Durable) to prove it: ACKEPOCH and LEADERINFO the accepted epoch,
//! the save of the current epoch the whole history it stands for, ACK of NEWLEADER the current epoch, ACK of a
//! proposal the proposal. Transactions are logged and committed in the order of their zxids without a gap. What the
//! disk finishes for a role that has ended counts for nothing: every role has its own log generation.
//!
//! Deliberately not here: the tree (transactions are opaque bytes; [`Output::Commit`] says when to apply one),
//! sessions, and sockets. What a reconfiguration is, and who counts while one is on its way, is in
//! [`reconfig`](crate::reconfig); who carries it out is here.

mod committed_log;
mod discovery;
mod leader;
mod learner;
mod learner_link;
mod member;
mod output;
mod proposals;
mod sync_plan;
mod synchronization;
mod syncs;

use std::time::Duration;

use bytes::Bytes;
use zk_proto::{
    Decode, Epoch, OpCode, Reader, ServerId, Zxid,
    quorum::LearnerMessage,
    txn::{Txn, TxnLogEntry},
};

pub use self::{
    committed_log::{COMMITTED_LOG_COUNT, CommittedLog, follows},
    leader::{Census, Input as LeaderInput, Leader},
    learner::{Input as LearnerInput, Learner, weight},
    member::{Input, Member},
    output::{Departure, ForwardedRequest, Output},
    proposals::Proposals,
    sync_plan::{LoggedHistory, SyncPlan, plan},
};
use crate::{
    quorum::QuorumVerifier,
    reconfig::{Configuration, Configurations},
};

/// What the log on disk has without a gap: its first and its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedSpan {
    /// The first one.
    pub first: Zxid,
    /// The last one.
    pub last: Zxid,
}

/// A transaction as agreement sees it: its place in the order, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its place.
    pub zxid: Zxid,
    /// Header, body and digest, encoded once ([`zk_proto::txn::TxnLogEntry`]): log, learners and tree get the same.
    pub entry: Bytes,
}

impl Transaction {
    /// What a learner that lacks it is told: PROPOSAL and COMMIT.
    #[must_use]
    pub fn into_messages(self) -> [LearnerMessage; 2] {
        let Self { zxid, entry } = self;
        let proposal = LearnerMessage::Proposal { zxid, entry };
        [proposal, LearnerMessage::Commit(zxid)]
    }

    /// Whether this is a reconfiguration, by the type in its header.
    fn is_reconfig(&self) -> bool {
        /// Where the type is: behind session, number, zxid and time.
        const KIND: std::ops::Range<usize> = 28..32;
        self.entry.get(KIND) == Some(&OpCode::Reconfig.code().to_be_bytes()[..])
    }

    /// The configuration in it; `None` where it is no reconfiguration, or none that can be read.
    fn configuration(&self) -> Option<Configuration> {
        if !self.is_reconfig() {
            return None;
        }
        let entry = TxnLogEntry::decode(&mut Reader::new(self.entry.clone())).ok()?;
        let Txn::Reconfig(txn) = entry.txn else {
            return None;
        };
        let text = txn.data?;
        let configuration = Configuration::parse(str::from_utf8(&text).ok()?).ok()?;
        Some(configuration.with_version(self.zxid))
    }
}

/// One connection of a learner to this leader; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a member has promised and followed, as its epoch files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epochs {
    /// The last epoch it promised to a prospective leader (`acceptedEpoch`).
    pub accepted: Epoch,
    /// The epoch of the last leader whose history it has (`currentEpoch`).
    pub current: Epoch,
    /// Whether some of that history is lost: the member has no vote until a leader has synced it.
    pub awaits_sync: bool,
}

/// What a role needs to know of the ensemble and of this member.
#[derive(Debug, Clone)]
pub struct ZabConfig {
    /// This member.
    pub me: ServerId,
    /// Who belongs to the ensemble, and who may soon.
    pub configurations: Configurations,
    /// `tickTime`.
    pub tick: Duration,
    /// How long a learner may take to connect and to get in sync (`initLimit` times `tickTime`).
    pub init_limit: Duration,
    /// How far a learner may lag behind, and how long it may be silent (`syncLimit` times `tickTime`).
    pub sync_limit: Duration,
    /// How long a learner waits before it tries to connect again.
    pub connect_retry: Duration,
    /// The last counter that a zxid may have ([`COUNTER_MAX`]); then another epoch must begin.
    pub counter_max: u32,
}

/// The last counter that Apache's leader gives a zxid.
pub const COUNTER_MAX: u32 = u32::MAX - 1;

impl ZabConfig {
    /// Whose quorums are needed.
    fn verifiers(&self) -> Vec<QuorumVerifier> {
        self.configurations.verifiers()
    }

    /// Whether it follows as one whose word counts, now or soon; else it observes.
    fn follows(&self) -> bool {
        self.configurations.may_come_to_vote()
    }

    /// How long leader and learners wait for each other to show up. An election that was lost on the way shows
    /// in that nobody does; Apache waits for `initLimit` then.
    fn discovery_limit(&self) -> Duration {
        const AT_LEAST: Duration = Duration::from_millis(500);
        self.init_limit.min(AT_LEAST.max(self.tick / 2))
    }
}

/// What a learner's PING names that nobody has asked for: no transaction. It answers no ping of the leader's, and so is no
/// answer to a `sync`.
const UNASKED: Zxid = Zxid::ZERO;

/// What a role leaves behind when it ends.
#[derive(Debug)]
pub struct Remains {
    /// What is applied to the tree.
    pub committed: CommittedLog,
    /// What is logged but was never committed here: part of this member's history all the same.
    pub unapplied: Vec<Transaction>,
    /// Whether tree and log are in step, so that applying `unapplied` is enough; else the tree must be built
    /// again from the disk.
    pub in_step: bool,
    /// The last log generation the role used.
    pub generation: u64,
}

/// Whether a bug that was once fixed is put back, to prove that the simulator finds it.
#[cfg(zkmut)]
pub mod mutants;

#[cfg(not(zkmut))]
pub(crate) mod mutants {
    pub(crate) const fn active(_name: &str) -> bool {
        false
    }
}

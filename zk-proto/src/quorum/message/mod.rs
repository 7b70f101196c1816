//! What the packets of the quorum port mean.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::LearnerInfo;
use crate::{
    acl::Id,
    ids::{ServerId, SessionId, Xid},
    jute::Utf8Bytes,
    record,
    zxid::{Epoch, Zxid},
};

record! {
    /// A session a learner has heard of since its last answer to a ping.
    #[derive(Copy)]
    pub struct SessionTouch {
        /// Which.
        pub session: SessionId,
        /// Its timeout in milliseconds.
        pub timeout_ms: i32,
    }
}

/// A message between leader and learner.
///
/// Transactions stay encoded ([`TxnLogEntry`](crate::txn::TxnLogEntry)): the same bytes go to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnerMessage {
    /// To the leader: a client's write, sync or session.
    Request {
        /// The client's session.
        session: SessionId,
        /// Its number for the request.
        cxid: Xid,
        /// The operation, raw.
        op: i32,
        /// The request's record, still encoded.
        body: Bytes,
        /// The client's identities; `None` for createSession.
        identities: Option<Vec<Id>>,
    },
    /// To followers: log this transaction and acknowledge it.
    Proposal {
        /// Its zxid.
        zxid: Zxid,
        /// The transaction.
        entry: Bytes,
    },
    /// To the leader: everything up to here is durable.
    Ack(Zxid),
    /// To followers: the transaction is chosen; apply it.
    Commit(Zxid),
    /// To learners: are you there? `zxid` is the last one proposed. And back, with the sessions heard of.
    Ping {
        /// Echoed in the answer.
        zxid: Zxid,
        /// In the answer, the sessions that were heard of since the last one; `None` from the leader.
        touched: Option<Vec<SessionTouch>>,
    },
    /// To the leader: is this session alive? It moves to me.
    Revalidate(SessionTouch),
    /// To a learner: the answer.
    Revalidated {
        /// Which session.
        session: SessionId,
        /// Whether it is alive.
        valid: bool,
    },
    /// To a learner: the answer to its oldest forwarded sync.
    Sync(Zxid),
    /// To observers: a transaction that is chosen.
    Inform {
        /// Its zxid.
        zxid: Zxid,
        /// The transaction.
        entry: Bytes,
    },
    /// To followers: the reconfig is chosen; apply it and change over.
    CommitAndActivate {
        /// Its zxid.
        zxid: Zxid,
        /// Who leads the new configuration.
        designated_leader: ServerId,
    },
    /// To learners: this was all that was missing.
    NewLeader {
        /// The epoch's first zxid.
        zxid: Zxid,
        /// The leader's configuration, in the text form of a dynamic configuration file.
        config: Option<Utf8Bytes>,
    },
    /// To the leader: a follower introduces itself.
    FollowerInfo {
        /// The epoch it has accepted last.
        accepted_epoch: Epoch,
        /// Who it is.
        info: LearnerInfo,
    },
    /// To learners: serve clients.
    UpToDate,
    /// To learners: proposals and commits follow, up to here.
    Diff(Zxid),
    /// To learners: cut everything after this.
    Trunc(Zxid),
    /// To learners: a snapshot follows, of the tree as of here or later.
    Snap(Zxid),
    /// To the leader: an observer introduces itself.
    ObserverInfo {
        /// The epoch it has accepted last.
        accepted_epoch: Epoch,
        /// Who it is.
        info: LearnerInfo,
    },
    /// To learners: the new epoch.
    LeaderInfo {
        /// The epoch.
        epoch: Epoch,
        /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
        protocol_version: i32,
    },
    /// To the leader: the epoch is accepted, and saved.
    AckEpoch {
        /// The last transaction in the learner's log.
        last_zxid: Zxid,
        /// The learner's *current* epoch, not the accepted one; `None` where it had accepted this epoch before,
        /// so that the answer does not count.
        current_epoch: Option<i32>,
    },
    /// To observers: a reconfig that is chosen.
    InformAndActivate {
        /// Its zxid.
        zxid: Zxid,
        /// Who leads the new configuration.
        designated_leader: ServerId,
        /// The transaction.
        entry: Bytes,
    },
}

/// In ACKEPOCH: "does not count".
const NO_EPOCH: i32 = -1;

//! What the cores of this module want done.

use std::fmt;

use bytes::Bytes;
use zk_proto::{
    Epoch, ServerId, SessionId, Xid, Zxid,
    acl::Id,
    quorum::{LearnerMessage, Notification, ServerState, SessionTouch},
};

use super::{LinkId, Transaction};
use crate::{reconfig::Configurations, storage::DiskOp};

/// Something to be done, strictly in the order in which it is handed out.
#[derive(Debug, Clone)]
pub enum Output {
    /// To the disk.
    Disk(DiskOp),
    /// Apply this to the tree: a quorum has it. Clients that asked for it are answered.
    Commit(Transaction),
    /// Apply this to the tree: it is in this member's log, and nobody knows yet whether a quorum has it.
    /// Nobody is answered.
    Adopt(Transaction),
    /// Recover anew from the disk, then say `Reloaded`: memory is not what the log says. The log goes on with this
    /// generation.
    Reload {
        /// Which.
        generation: u64,
    },
    /// What this member is from now on. `Looking`: close every client's connection and every link of the
    /// quorum port, refuse what was not committed.
    State {
        /// What it is.
        state: ServerState,
        /// Why it looks for a leader.
        departure: Option<Departure>,
    },
    /// The configurations that this member knows have changed. What is in force is to be on the disk before anything
    /// that is asked of the disk after this; whom the member connects to, and where it is reached, follow from it.
    Configured(Configurations),
    /// The epoch is established: serve clients.
    Serve {
        /// Which epoch.
        epoch: Epoch,
    },
    /// On the election port: tell a server.
    Notify {
        /// Whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },

    /// Leader: tell a learner.
    Send {
        /// On which link.
        link: LinkId,
        /// What.
        message: LearnerMessage,
    },
    /// Leader: tell a learner of transactions that it lacks, each as [`Transaction::into_messages`] says. They may be
    /// many; what is sent on this link later stands behind them. Where the log cannot be read again, close the link.
    SendHistory {
        /// On which link.
        link: LinkId,
        /// First what the log on disk has between these: after the first one, up to the second one.
        logged: Option<(Zxid, Zxid)>,
        /// Then these transactions, in order.
        records: Vec<Transaction>,
    },
    /// Leader: cut the tree as it is now, which is as of `at`, and send the learner the snapshot: its sessions,
    /// ACLs and nodes and the signature. SNAP itself was sent; what is sent on this link later stands behind it.
    SendSnapshot {
        /// On which link.
        link: LinkId,
        /// The last transaction in it.
        at: Zxid,
    },
    /// Leader: look through the log from the last record not after this zxid on, and say `LogRead`.
    ReadLog {
        /// For which learner.
        link: LinkId,
        /// Where to start.
        from: Zxid,
    },
    /// Leader: close a learner's link.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: &'static str,
    },
    /// Leader: a learner's client wants something written, or a session made.
    Forwarded {
        /// From which learner.
        link: LinkId,
        /// What.
        request: ForwardedRequest,
    },
    /// Leader: is this session alive? It moves to that learner; say `Revalidated`.
    Revalidate {
        /// Who asks.
        link: LinkId,
        /// Which session.
        session: SessionTouch,
    },
    /// Leader: clients of a learner were heard of.
    Touched(Vec<SessionTouch>),
    /// A `sync` of this member's own clients is done, the oldest one that is not: every write that was
    /// committed before it came is applied here.
    Synced,

    /// Learner: connect to the leader's quorum port, then say `Connected` or `Disconnected`.
    Connect(ServerId),
    /// Learner: tell the leader.
    Tell(LearnerMessage),
    /// Learner: answer a ping of the leader with PING, this zxid and the sessions heard of since the last one. Zero: nobody
    /// has asked.
    AnswerPing(Zxid),
    /// Learner: a snapshot follows on the link; build the tree from it, then say `SnapshotReceived`.
    ReceiveSnapshot {
        /// The last transaction that is certainly in it.
        zxid: Zxid,
    },
    /// Learner: make the tree that was received the newest snapshot on the disk, in its order among the operations
    /// of the disk, then say `SnapshotInstalled`.
    InstallSnapshot {
        /// Its name.
        zxid: Zxid,
    },
    /// Learner: the leader's answer about a session.
    Revalidated {
        /// Which.
        session: SessionId,
        /// Whether it is alive, and now this member's.
        valid: bool,
    },
}

/// A request that a learner forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// The client's session.
    pub session: SessionId,
    /// Its number for the request.
    pub cxid: Xid,
    /// The operation, raw.
    pub op: i32,
    /// The request's record, still encoded.
    pub body: Bytes,
    /// The client's identities; `None` for createSession.
    pub identities: Option<Vec<Id>>,
}

/// Why a role ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// Leader: no quorum of learners came, agreed and got in sync within `initLimit`.
    NotEstablished,
    /// Leader: no quorum of learners was heard of within `syncLimit`.
    QuorumLost,
    /// Leader: a voter has promised a later epoch, and could never follow in this one.
    EpochOutdated(Epoch),
    /// Leader: the zxids of this epoch are used up (ZOOKEEPER-1277).
    ZxidsUsedUp,
    /// Learner: the leader could not be reached in time, or votes for another one.
    LeaderUnreachable,
    /// Learner: the link ended.
    LeaderLost,
    /// Learner: the leader ended the link when it knew this server's history. It may be longer than the leader's.
    Refused,
    /// Learner: nothing was heard of the leader for too long.
    LeaderSilent,
    /// Learner: the leader's epoch is older than the one accepted.
    LeaderOutdated,
    /// Learner: the leader said something that it may not say now.
    LeaderMisbehaved(&'static str),
    /// Learner: what the leader wants kept is not in this log.
    HistoryMissing,
    /// A new configuration gives this member another role, or another leader: this one, where it is known.
    Reconfigured(Option<ServerId>),
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotEstablished => "no quorum followed within initLimit",
            Self::QuorumLost => "no quorum was heard of within syncLimit",
            Self::EpochOutdated(_) => "a voter has promised a later epoch",
            Self::ZxidsUsedUp => "the zxids of this epoch are used up",
            Self::LeaderUnreachable => "the leader does not lead, or cannot be reached",
            Self::LeaderLost => "the link to the leader ended",
            Self::Refused => "the leader ended the link before it said what is missing",
            Self::LeaderSilent => "nothing was heard of the leader",
            Self::LeaderOutdated => "the leader's epoch is older than the one accepted",
            Self::LeaderMisbehaved(what) => return write!(f, "the leader misbehaved: {what}"),
            Self::HistoryMissing => "the log lacks what the leader wants kept",
            Self::Reconfigured(None) => "the configuration has changed",
            Self::Reconfigured(Some(leader)) => {
                return write!(
                    f,
                    "the configuration has changed; server {} leads",
                    leader.0
                );
            }
        })
    }
}

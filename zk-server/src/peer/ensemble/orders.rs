//! What a member of an ensemble is told, and what it wants done, beside what concerns any server.

use zk_proto::{
    ServerId, Zxid,
    quorum::{LearnerMessage, Notification},
};

use crate::{
    election,
    error::Fatal,
    reconfig::Configurations,
    tree::{Cut, DataTree},
    zab::{LeaderInput, LearnerInput, LinkId, LoggedSpan, Transaction},
};

/// What happens to a member of an ensemble, beside what happens to any server.
#[derive(Debug)]
pub enum QuorumInput {
    /// It begins; once.
    Start,
    /// On the election port.
    Election(election::Input),
    /// On the quorum port, while this member leads.
    Leader(LeaderInput),
    /// On this member's link to its leader.
    Learner {
        /// Which one; what an older one says is not heard.
        link: LinkId,
        /// What.
        input: LearnerInput,
    },
    /// The leader's snapshot has arrived.
    Snapshot {
        /// On which link.
        link: LinkId,
        /// The tree in it.
        tree: Box<DataTree>,
    },
    /// [`Order::InstallSnapshot`] was tried.
    Installed {
        /// What the order gave.
        cut: Cut,
        /// Whether it is on the disk.
        written: Result<(), Fatal>,
    },
    /// [`Order::SendSnapshot`] is over, however it ended.
    Sent {
        /// What the order gave.
        cut: Cut,
    },
    /// [`Order::ReadLog`] was carried out; `None` if the log is of no use.
    LogRead {
        /// What the order said.
        link: LinkId,
        /// What the log has.
        span: Option<LoggedSpan>,
    },
    /// The configuration files were tried, at the start or by [`Order::Configure`].
    Configured {
        /// Whether they say what they should, and can be changed.
        written: bool,
    },
    /// [`Order::Recover`] was carried out.
    Recovered(Result<Box<DataTree>, Fatal>),
}

/// What a member of an ensemble wants done, beside what any server wants.
#[derive(Debug)]
pub enum Order {
    /// Tell a server, on the election port. Only the newest matters.
    Notify {
        /// Whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// Tell a learner.
    Send {
        /// On which link.
        link: LinkId,
        /// What.
        message: LearnerMessage,
    },
    /// Tell a learner of transactions that it lacks, as [`Transaction::into_messages`] says; they may be many.
    SendHistory {
        /// On which link.
        link: LinkId,
        /// First what the log has after the first one of these and up to the second.
        logged: Option<(Zxid, Zxid)>,
        /// Then these transactions, in order.
        records: Vec<Transaction>,
    },
    /// Send a learner the tree; then [`QuorumInput::Sent`].
    SendSnapshot {
        /// On which link.
        link: LinkId,
        /// The tree as of the snapshot.
        cut: Cut,
    },
    /// Look through the log for a learner, from the last record not after this zxid on.
    ReadLog {
        /// On which link.
        link: LinkId,
        /// Where to begin.
        from: Zxid,
        /// How many bytes are worth it; `None`: as many as there are.
        limit: Option<u64>,
    },
    /// Close a learner's link.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Connect to a leader's quorum port.
    Connect {
        /// The link's number.
        link: LinkId,
        /// To whom.
        leader: ServerId,
    },
    /// Tell the leader.
    Tell(LearnerMessage),
    /// Close every link of the quorum port.
    CloseLinks,
    /// The configurations have changed. In its order among the operations of the disk: write down the one in force.
    /// And connect to those who belong to the ensemble now, listen where this member is reached now.
    Configure(Configurations),
    /// In its order among the operations of the disk: write the tree as the newest snapshot.
    InstallSnapshot {
        /// The tree.
        cut: Cut,
    },
    /// Give up the snapshot that is being written ([`Output::TakeSnapshot`](crate::peer::Output::TakeSnapshot)): the tree
    /// is to be exchanged.
    AbandonSnapshot,
    /// In its order among the operations of the disk: recover anew; the log goes on with this generation.
    Recover {
        /// Which.
        generation: u64,
    },
}

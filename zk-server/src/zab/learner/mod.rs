//! The learner: a follower or an observer of one leader, from the connection to its end (`Learner`, `Follower`,
//! `Observer`).
//!
//! ```text
//! Connecting -> Introduced -> Promising -> AwaitingPlan -> [Aligning] -> Receiving -> Concluding
//!    -> SavingCurrent -> AwaitingUpToDate -> Active
//! ```
//!
//! Invariants: a proposal is logged when it arrives, and acknowledged when it is on the disk; nothing is applied
//! before UPTODATE, since until then no quorum may have the leader's history; a gap ends the role.

mod backlog;
mod broadcast;
#[cfg(zkmut)]
mod bugs;
mod establish;
mod reconfigure;

use std::{collections::VecDeque, time::Duration};

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{LearnerMessage, ServerState, SessionTouch},
};

use self::backlog::Backlog;
pub use self::backlog::weight;
use super::{
    CommittedLog, Departure, Epochs, ForwardedRequest, Output, Remains, Transaction, ZabConfig,
};
use crate::{
    reconfig::Configuration,
    storage::{DiskDone, DiskOp, Durable},
    time::Now,
};

/// What happens to a learner.
#[derive(Debug, Clone)]
pub enum Input {
    /// The link to the leader is there.
    Connected,
    /// The link has ended, or could not be made.
    Disconnected,
    /// The leader said something.
    Message(LearnerMessage),
    /// Bytes of a snapshot have arrived: the leader is alive.
    Progress,
    /// The leader has more to say than is listened to now: too much of what it said waits for the disk. To be repeated
    /// while that is so.
    Waits,
    /// The tree that [`Output::ReceiveSnapshot`] asked for is complete; it is the tree from now on. The configuration in
    /// it, if there is one.
    SnapshotReceived(Option<Configuration>),
    /// It is on the disk, under its name.
    SnapshotInstalled,
    /// The tree was built again from the disk, as [`Output::Reload`] asked; this is its last zxid.
    Reloaded(Zxid),
    /// A client's request that only the leader can answer.
    Forward(ForwardedRequest),
    /// A client has come with a session that is not known to be this member's.
    Revalidate(SessionTouch),
    /// The disk has done something.
    Disk(DiskDone),
    /// The time asked for with [`Learner::next_deadline`] has come.
    Deadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No link yet; `None`: it is being made.
    Connecting { retry_at: Option<Duration> },
    /// The leader knows who this is; what is the epoch?
    Introduced,
    /// The epoch is being written; `again`: it had been promised before, or this promise is not to count.
    Promising { epoch: Epoch, again: bool },
    /// The leader knows what history is here; what is missing?
    AwaitingPlan { epoch: Epoch },
    /// The disk is made to agree with the leader; what the leader says is held back.
    Aligning { epoch: Epoch, step: Alignment },
    /// The history comes.
    Receiving { epoch: Epoch },
    /// The history is complete; it must reach the disk up to here.
    Concluding { epoch: Epoch, history: Zxid },
    /// It has; now the epoch must.
    SavingCurrent { epoch: Epoch },
    /// The leader knows; does a quorum?
    AwaitingUpToDate { epoch: Epoch },
    /// Broadcast.
    Active,
    /// The role has ended.
    Departed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alignment {
    /// SNAP: the tree arrives.
    ReceivingSnapshot(Zxid),
    /// SNAP: it is being written.
    InstallingSnapshot(Zxid),
    /// SNAP: what the log has after it is being cut off.
    CuttingToSnapshot(Zxid),
    /// TRUNC: the log is being cut.
    Cutting(Zxid),
    /// TRUNC: the tree is being built again.
    Reloading(Zxid),
}

/// An epoch that is established and not served in yet.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    epoch: Epoch,
    /// What must be applied before.
    commit: Zxid,
    /// Whether a configuration came into force with it.
    is_new: bool,
}

/// A server that follows or observes, or is about to.
#[derive(Debug)]
pub struct Learner {
    config: ZabConfig,
    leader: ServerId,
    phase: Phase,
    epochs: Epochs,
    generation: u64,
    /// Up to where this server's log is on the disk.
    durable: Durable<Zxid>,
    /// The last transaction in the log, whether on the disk or on its way.
    logged: Zxid,
    /// Logged, not applied yet.
    unapplied: VecDeque<Transaction>,
    /// The last one of them that is committed.
    commit: Zxid,
    /// What the snapshot has that the leader sent: it may send some of it once more.
    snapshot: Zxid,
    committed: CommittedLog,
    /// Proposals to be acknowledged when they are on the disk.
    to_ack: VecDeque<Zxid>,
    /// What the leader said while the disk was being aligned.
    held: VecDeque<LearnerMessage>,
    /// What of the leader's transactions is not on the disk.
    backlog: Backlog,
    in_step: bool,
    /// Whether it came as one that votes, or may be about to: what it logs and acknowledges, observers are only told.
    votes: bool,
    /// The version of the configuration that NEWLEADER brought.
    brought: Zxid,
    /// Whether it has come to UPTODATE.
    has_served: bool,
    /// What UPTODATE began, until everything that was committed then is applied.
    beginning: Option<Beginning>,
    /// When to go on applying: now, but the leader may have to say something before.
    resume_at: Option<Duration>,
    give_up_at: Duration,
    last_heard: Duration,
    outputs: VecDeque<Output>,
}

impl Learner {
    /// A server that has elected another one; all of its history is on disk and applied.
    ///
    /// `generation` is larger than that of any role before. The leader is not called for this `pause`.
    #[must_use]
    pub fn new(
        now: Now,
        config: ZabConfig,
        (leader, pause): (ServerId, Duration),
        epochs: Epochs,
        history: Durable<Zxid>,
        committed: CommittedLog,
        generation: u64,
    ) -> Self {
        let mut learner = Self {
            leader,
            phase: Phase::Connecting {
                retry_at: (!pause.is_zero()).then_some(now.mono + pause),
            },
            epochs,
            generation,
            durable: history,
            logged: history.get(),
            unapplied: VecDeque::new(),
            commit: committed.last(),
            snapshot: Zxid::ZERO,
            committed,
            to_ack: VecDeque::new(),
            held: VecDeque::new(),
            backlog: Backlog::default(),
            in_step: true,
            votes: config.follows(),
            brought: Zxid::ZERO,
            has_served: false,
            beginning: None,
            resume_at: None,
            give_up_at: now.mono + pause + config.discovery_limit(),
            last_heard: now.mono,
            outputs: VecDeque::new(),
            config,
        };
        learner.output(Output::Disk(DiskOp::NewGeneration(generation)));
        if pause.is_zero() {
            learner.output(Output::Connect(leader));
        }
        learner
    }

    /// Takes one input; take every output before the next.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(
            self.outputs.is_empty(),
            "a learner is drained before its next input"
        );
        if self.phase == Phase::Departed {
            return;
        }
        match input {
            Input::Connected => self.introduce(now),
            Input::Disconnected => self.disconnected(now),
            Input::Message(message) => {
                self.last_heard = now.mono;
                self.hear(message);
            }
            Input::Progress => self.last_heard = now.mono,
            Input::Waits => self.leader_waits(now),
            Input::SnapshotReceived(configuration) => self.snapshot_received(configuration),
            Input::SnapshotInstalled => self.snapshot_installed(),
            Input::Reloaded(last) => self.reloaded(last),
            Input::Forward(request) => self.forward(request),
            Input::Revalidate(session) => {
                if self.phase == Phase::Active {
                    self.tell(LearnerMessage::Revalidate(session));
                }
            }
            Input::Disk(done) => self.disk_done(done),
            Input::Deadline => self.deadline(now),
        }
        self.resume_at = self.is_behind().then_some(now.mono);
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`], on the clock of [`Now::mono`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Departed => None,
            Phase::Connecting { retry_at: Some(at) } => Some(at.min(self.give_up_at)),
            Phase::Connecting { retry_at: None } => Some(self.give_up_at),
            _ => {
                let silent_at = self.last_heard + self.silence_limit();
                Some(self.resume_at.map_or(silent_at, |at| at.min(silent_at)))
            }
        }
    }

    /// A server was heard to vote for another leader: if it is the one that this learner would follow, it does
    /// not lead.
    pub fn heard_vote(&mut self, from: ServerId, leader: ServerId) {
        let discovers = matches!(self.phase, Phase::Connecting { .. } | Phase::Introduced);
        if discovers && from == self.leader && leader != from {
            self.depart(Departure::LeaderUnreachable);
        }
    }

    /// Whether it serves clients.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    /// Whom it follows.
    #[must_use]
    pub const fn leader(&self) -> ServerId {
        self.leader
    }

    /// Whether it has served clients in this role.
    #[must_use]
    pub const fn has_served(&self) -> bool {
        self.has_served
    }

    /// Whether it waits for [`Input::SnapshotInstalled`].
    #[must_use]
    pub const fn is_installing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Aligning {
                step: Alignment::InstallingSnapshot(_),
                ..
            }
        )
    }

    /// How much of what the leader has said, by [`weight`], is on the disk, or needs no place there.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.backlog.settled()
    }

    /// Ends the role.
    #[must_use]
    pub fn end(self) -> Remains {
        Remains {
            committed: self.committed,
            unapplied: self.unapplied.into(),
            in_step: self.in_step,
            generation: self.generation,
        }
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn tell(&mut self, message: LearnerMessage) {
        self.output(Output::Tell(message));
    }

    fn depart(&mut self, departure: Departure) {
        self.phase = Phase::Departed;
        self.output(Output::State {
            state: ServerState::Looking,
            departure: Some(departure),
        });
    }

    fn misbehaved(&mut self, what: &'static str) {
        self.depart(Departure::LeaderMisbehaved(what));
    }

    fn silence_limit(&self) -> Duration {
        match self.phase {
            Phase::Active => self.config.sync_limit,
            _ => self.config.init_limit,
        }
    }

    fn deadline(&mut self, now: Now) {
        match self.phase {
            Phase::Connecting { .. } if now.mono >= self.give_up_at => {
                self.depart(Departure::LeaderUnreachable);
            }
            Phase::Connecting { retry_at: Some(at) } if now.mono >= at => {
                self.phase = Phase::Connecting { retry_at: None };
                self.output(Output::Connect(self.leader));
            }
            Phase::Connecting { .. } | Phase::Departed => {}
            _ if now.mono >= self.last_heard + self.silence_limit() => {
                self.depart(Departure::LeaderSilent);
            }
            _ if self.resume_at.is_some() => self.apply(),
            _ => {}
        }
    }

    fn hear(&mut self, message: LearnerMessage) {
        #[cfg(zkmut)]
        if self.drops(&message) {
            return;
        }
        match (self.phase, message) {
            (Phase::Introduced, LearnerMessage::LeaderInfo { epoch, .. }) => self.accept(epoch),
            (Phase::AwaitingPlan { epoch }, message) => self.begin_sync(epoch, message),
            (Phase::Aligning { .. }, message) => self.held.push_back(message),
            (Phase::Connecting { .. } | Phase::Introduced | Phase::Promising { .. }, _) => {
                self.misbehaved("out of turn in discovery");
            }
            (_, LearnerMessage::Proposal { zxid, entry }) => {
                self.log(Transaction { zxid, entry }, self.votes);
            }
            (_, LearnerMessage::Commit(zxid)) => self.committed(zxid),
            (
                _,
                LearnerMessage::CommitAndActivate {
                    zxid,
                    designated_leader,
                },
            ) => {
                self.committed(zxid);
                self.activate_configuration(zxid, designated_leader);
            }
            (
                _,
                LearnerMessage::InformAndActivate {
                    zxid,
                    designated_leader,
                    entry,
                },
            ) if !self.votes => {
                self.log(Transaction { zxid, entry }, false);
                self.committed(zxid);
                self.activate_configuration(zxid, designated_leader);
            }
            (_, LearnerMessage::Inform { zxid, entry }) if !self.votes => {
                self.log(Transaction { zxid, entry }, false);
                self.committed(zxid);
            }
            (Phase::Receiving { epoch }, LearnerMessage::NewLeader { zxid, config }) => {
                self.take_configuration(config.as_deref());
                self.history_complete(epoch, zxid);
            }
            (Phase::AwaitingUpToDate { epoch }, LearnerMessage::UpToDate) => self.activate(epoch),
            (Phase::Active, LearnerMessage::Ping { zxid, .. }) => {
                self.output(Output::AnswerPing(zxid));
            }
            // Before UPTODATE nobody expects an answer.
            (_, LearnerMessage::Ping { .. }) => {}
            (Phase::Active, LearnerMessage::Sync(_)) => self.output(Output::Synced),
            (Phase::Active, LearnerMessage::Revalidated { session, valid }) => {
                self.output(Output::Revalidated { session, valid });
            }
            _ => self.misbehaved("something that it may not say now"),
        }
    }
}

#[cfg(test)]
mod tests;

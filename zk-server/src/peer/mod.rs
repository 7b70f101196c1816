//! A member of the ensemble: the only composite core, and the only writer of the tree.
//!
//! One way through: what connections submit becomes a transaction ([`Prep`]), gets its zxid, is appended to
//! the log, is committed once a quorum has it on disk, is applied under the tree's write lock together with
//! its replies and events, and only then are tasks woken. A standalone server is a leader with a quorum of
//! one: its own log's `Synced` is the quorum.
//!
//! The verbs are `handle`, `poll_output`, `next_deadline`. One input, then every output must be drained
//! before the next: asserted.
//!
//! Among others, agreement ([`Member`]) says what a quorum has, and when clients are served (`ensemble`); proposing,
//! applying and answering are the same. Deliberately not here: how agreement is reached, and who moves bytes.

mod apply;
mod dump;
mod ensemble;
mod input;
mod leader;
mod local_sessions;
mod reaper;
mod replies;
mod requests;
mod sessions;
mod shared;
mod space;
mod waiting;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use zk_proto::{ServerId, SessionId, Zxid};

use self::{
    ensemble::{Ensemble, changes_census},
    reaper::Reaper,
    replies::Replies,
    waiting::Waiting,
};
pub use self::{
    ensemble::{Order, QuorumInput},
    input::{Input, Output, Submit},
    local_sessions::LocalSessions,
    reaper::ReaperOptions,
    shared::{ConnTable, MaxConns, Shared},
};
use crate::{
    prep::{Prep, PrepOptions},
    session::{Passwords, SessionTracker},
    storage::{DiskDone, DiskOp, SnapshotTrigger},
    time::Now,
    tree::{Cut, DataTree, Effects},
    zab::{COMMITTED_LOG_COUNT, CommittedLog, Epochs, Member, ZabConfig},
};

/// What a peer needs to know from the start.
#[derive(Debug)]
pub struct PeerOptions {
    /// `myid`; 1 for a standalone server, as Apache has it.
    pub server: ServerId,
    /// The unit of session expiry (`tickTime`).
    pub tick: Duration,
    /// The shortest session timeout granted, in milliseconds.
    pub min_session_timeout_ms: u32,
    /// The longest session timeout granted, in milliseconds.
    pub max_session_timeout_ms: u32,
    /// When snapshots are due.
    pub snapshots: SnapshotTrigger,
    /// How requests become transactions.
    pub prep: PrepOptions,
    /// How sessions get their passwords.
    pub passwords: Passwords,
    /// Whether sessions begin without a transaction.
    pub local_sessions: LocalSessions,
    /// Whether a member without a quorum serves reads (`readonlymode.enabled`).
    pub read_only: bool,
    /// Whether a member that leads has clients of its own (`leaderServes`).
    pub leader_serves: bool,
    /// How long a piece of the log may be, measured by a snapshot, to be sent to a learner instead of one
    /// (`snapshotSizeFactor`), and never more than 1 GiB; 0: 1 GiB, below 0: never.
    pub snapshot_size_factor: f64,
    /// How empty containers and expired TTL nodes are deleted.
    pub reaper: ReaperOptions,
    /// Answers writes before they are logged: a fault that our own checks must find.
    #[cfg(feature = "testing")]
    pub reply_before_write: bool,
}

/// The core of one member.
#[derive(Debug)]
pub struct Peer {
    options: PeerOptions,
    shared: Arc<Shared>,
    prep: Prep,
    sessions: SessionTracker,
    /// Sessions that are over, their end not proposed yet.
    ending: VecDeque<SessionId>,
    reaper: Reaper,
    replies: Replies,
    /// The others; `None` for a server that serves alone.
    ensemble: Option<Box<Ensemble>>,
    /// Proposals that are not committed, and syncs that wait behind them, in order.
    waiting: VecDeque<Waiting>,
    /// How many entries have left `waiting`.
    popped: u64,
    /// How many reads the entries of `waiting` hold.
    reads_behind: usize,
    last_proposed: Zxid,
    last_committed: Zxid,
    last_synced: Zxid,
    snapshotting: bool,
    /// How many transactions more the tree may differ, since it came from a leader that may have sent later nodes with it
    /// and has not agreed with it yet.
    tree_is_ahead: u32,
    /// Whether writes that need room are refused.
    low_space: bool,
    effects: Effects,
    encoder: BytesMut,
    outputs: VecDeque<Output>,
    stopped: bool,
}

impl Peer {
    /// A member whose disk is recovered; every session in the tree gets its full timeout from `now` on, and what
    /// has nodes and is no session any more is ended (`ZooKeeperServer.loadData`).
    #[must_use]
    pub fn new(options: PeerOptions, shared: Arc<Shared>, now: Now) -> Self {
        let tree = shared.tree.read();
        let last = tree.last_zxid();
        let mut sessions = SessionTracker::new(options.tick, options.server, now);
        for (id, timeout_ms) in tree.sessions() {
            let timeout = u64::try_from(timeout_ms).unwrap_or_default();
            sessions.track(id, Duration::from_millis(timeout), now);
        }
        let prep = Prep::new(options.prep.clone());
        let ending = orphans(&tree);
        drop(tree);
        shared.metrics.global_sessions.set(sessions.len());
        Self {
            prep,
            sessions,
            ending,
            reaper: Reaper::new(options.reaper, now),
            replies: Replies::default(),
            ensemble: None,
            waiting: VecDeque::new(),
            popped: 0,
            reads_behind: 0,
            last_proposed: last,
            last_committed: last,
            last_synced: last,
            snapshotting: false,
            tree_is_ahead: 0,
            low_space: false,
            effects: Effects::default(),
            encoder: BytesMut::new(),
            outputs: VecDeque::new(),
            stopped: false,
            options,
            shared,
        }
    }

    /// A member of an ensemble; it begins with [`QuorumInput::Start`].
    #[must_use]
    pub fn among(
        options: PeerOptions,
        shared: Arc<Shared>,
        now: Now,
        config: ZabConfig,
        epochs: Epochs,
    ) -> Self {
        let mut peer = Self::new(options, shared, now);
        let committed = CommittedLog::new(peer.last_committed, COMMITTED_LOG_COUNT);
        peer.shared.configured(&config.configurations);
        let voters = config.configurations.committed().verifier().voters();
        let metrics = &peer.shared.metrics.quorum;
        metrics.quorum_size.set(voters.count());
        metrics.awaits_sync.set(usize::from(epochs.awaits_sync));
        let member = Member::new(config, epochs, committed);
        *peer.shared.mode.write() = None;
        peer.ensemble = Some(Box::new(Ensemble::new(member)));
        peer
    }

    /// Takes one input in.
    ///
    /// # Panics
    /// When outputs of the input before were not all taken out: a bug of the driver's.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(
            self.outputs.is_empty(),
            "outputs are drained before the next input"
        );
        if self.stopped {
            return;
        }
        let recount = changes_census(&input);
        match input {
            Input::Submit(submit) => self.submit(now, submit),
            Input::Disk(done) if self.ensemble.is_some() => self.quorum_disk_done(now, done),
            Input::Disk(done) => self.disk_done(now, done),
            Input::SnapshotDone { cut } => self.snapshot_done(now, cut),
            Input::Quorum(input) => self.quorum(now, input),
            Input::Expire(session) => self.expire(now, session),
            Input::LowSpace(low) => self.low_space = low,
            Input::Deadline => self.deadline(now),
        }
        self.carry_out_agreed(now);
        if recount {
            self.take_census();
        }
        self.count_syncs();
        let outstanding = self.waiting.len() + self.reads_behind;
        self.shared.set_outstanding(outstanding);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let agreement = self
            .ensemble
            .as_ref()
            .and_then(|ensemble| ensemble.next_deadline());
        let at_once = (!self.ending.is_empty()).then_some(Duration::ZERO);
        let of_role = match self.leads() {
            true => [
                at_once,
                self.sessions.next_deadline(),
                self.reaper.next_deadline(),
            ],
            false => [self.local_deadline(), None, None],
        };
        let read_only = self.read_only_deadline();
        of_role
            .into_iter()
            .chain([agreement, read_only])
            .flatten()
            .min()
    }

    fn deadline(&mut self, now: Now) {
        if self.leads() {
            self.expire_due(now);
            self.reap_due(now);
        } else if self.local_deadline().is_some() {
            self.expire_local_due(now);
        }
        self.meet_read_only_deadline(now);
        let agreement = self
            .ensemble
            .as_ref()
            .and_then(|ensemble| ensemble.next_deadline());
        if agreement.is_some_and(|at| at <= now.mono) {
            self.agree(now, crate::zab::Input::Deadline);
        }
    }

    fn submit(&mut self, now: Now, submit: Submit) {
        match submit {
            Submit::Connect { conn, request } if self.is_read_only() => {
                self.connect_read_only(now, &conn, &request);
            }
            // Nobody is served now; the client tries another server.
            Submit::Connect { conn, .. } if !self.admits() => self.close(&conn),
            Submit::Requests { .. } if !self.admits() && !self.is_read_only() => {}
            Submit::Connect { conn, request } => self.connect(now, &conn, &request),
            Submit::Requests {
                conn,
                credentials,
                received,
                requests,
            } => self.take_requests(now, &conn, &credentials, received, requests),
            Submit::Dump { conn } => self.dump(now, &conn),
            Submit::Closed { conn } => self.closed(&conn),
        }
    }

    fn disk_done(&mut self, now: Now, done: DiskDone) {
        match done {
            DiskDone::Synced {
                zxid, log_bytes, ..
            } => {
                self.commit(now, zxid.get());
                self.synced(zxid.get(), log_bytes);
            }
            DiskDone::Failed(fatal) => self.stop(fatal),
            DiskDone::Truncated { .. }
            | DiskDone::EpochSaved { .. }
            | DiskDone::HistoryComplete
            | DiskDone::Barrier { .. } => {}
        }
    }

    /// Begins a snapshot when enough was logged since the last one; the log goes on in a new file.
    fn synced(&mut self, zxid: Zxid, log_bytes: u64) {
        let before = self.last_synced;
        // Zxids have no gaps but those between epochs.
        let counted_from = match zxid.epoch() == before.epoch() {
            true => before.0,
            false => Zxid::new(zxid.epoch(), 0).0,
        };
        let txns = u64::try_from(zxid.0 - counted_from).unwrap_or_default();
        self.last_synced = zxid;
        if !self.options.snapshots.logged(txns, log_bytes) || self.snapshotting {
            return;
        }
        self.snapshotting = true;
        let cut = self.shared.tree.write().begin_cut();
        self.outputs.push_back(Output::Disk(DiskOp::RollLog));
        self.outputs.push_back(Output::TakeSnapshot { cut });
    }

    /// A failed snapshot loses nothing: the log is kept, and the next snapshot is tried in its time.
    fn snapshot_done(&mut self, now: Now, cut: Cut) {
        self.snapshotting = false;
        self.shared.tree.write().end_cut(cut);
        self.try_exchange(now);
    }

    fn stop(&mut self, fatal: crate::error::Fatal) {
        self.stopped = true;
        self.outputs.push_back(Output::Stop(fatal));
    }
}

/// Who owns ephemeral nodes and is no session: nobody else would ever remove them.
fn orphans(tree: &DataTree) -> VecDeque<SessionId> {
    let owners = tree.ephemeral_sessions();
    let mut orphans: Vec<_> = owners
        .filter(|id| tree.session_timeout(*id).is_none())
        .collect();
    orphans.sort_unstable();
    orphans.into()
}

#[cfg(test)]
mod tests;

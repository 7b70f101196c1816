//! A peer among others: what agreement ([`Member`]) decides, carried out on tree, sessions and connections.
//!
//! Invariants: clients are served only between [`zab::Output::Serve`] and the next `State(Looking)`, which closes
//! every client's connection, so that what nobody knows becomes CONNECTIONLOSS; a tree is never exchanged while a
//! cut of it is being read.
//!
//! Deliberately not here: reconfig.

mod figures;
mod leading;
mod learning;
mod read_only;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use zk_proto::{
    Decode, Reader, ServerId, SessionId, Utf8Bytes, Xid, Zxid,
    op::Request,
    quorum::{LearnerMessage, Notification, ServerState, SessionTouch},
    txn::TxnLogEntry,
};

use self::read_only::ReadOnly;
pub(super) use self::{figures::changes_census, read_only::needs_quorum};
use super::{Output, Peer, leader::Asker, orphans};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    election,
    error::Fatal,
    session::SessionTracker,
    storage::DiskDone,
    time::Now,
    tree::{Cut, DataTree, watches::ConnId},
    zab::{self, LeaderInput, LearnerInput, LinkId, Member, Transaction},
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
        /// The log's records.
        records: Option<Vec<Transaction>>,
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
    /// Send a learner the tree; then [`QuorumInput::Sent`].
    SendSnapshot {
        /// On which link.
        link: LinkId,
        /// The tree as of the snapshot.
        cut: Cut,
    },
    /// Read the log back for a learner, from the last record not after this zxid on.
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
    /// In its order among the operations of the disk: write the tree as the newest snapshot.
    InstallSnapshot {
        /// The tree.
        cut: Cut,
    },
    /// In its order among the operations of the disk: recover anew; the log goes on with this generation.
    Recover {
        /// Which.
        generation: u64,
    },
}

/// A request behind a `sync` of its connection that is not answered.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) conn: Arc<ConnHandle>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) received: Duration,
    pub(super) requests: Vec<(Xid, Option<Request>)>,
}

/// A client that comes back to a learner and waits for the leader's word.
#[derive(Debug)]
struct Comer {
    conn: Arc<ConnHandle>,
    session: SessionId,
    timeout_ms: u32,
    read_only: Option<bool>,
}

/// What follows when the tree may be exchanged.
#[derive(Debug, Clone, Copy)]
enum Exchange {
    Received(LinkId),
    Recovered,
}

/// A peer's part in an ensemble.
#[derive(Debug)]
pub(super) struct Ensemble {
    member: Member,
    /// What the member wants, in order, and is not done.
    agreed: VecDeque<zab::Output>,
    pub(super) serving: bool,
    read_only: ReadOnly,
    /// The number of this member's newest link to a leader.
    link: LinkId,
    /// Which learner has which session.
    owners: HashMap<SessionId, LinkId>,
    comers: VecDeque<Comer>,
    syncs: VecDeque<(Asker, Utf8Bytes)>,
    pub(super) held: HashMap<ConnId, VecDeque<Held>>,
    /// When this member began to look for a leader.
    looking_since: Duration,
    /// When the leader was last told of sessions.
    touched: Duration,
    /// How many cuts of the tree learners are being sent, and the log is writing.
    cuts: usize,
    exchange: Option<(Box<DataTree>, Exchange)>,
    /// Who the members are, and since when, as `/zookeeper/config` says it.
    config: Option<(Utf8Bytes, Zxid)>,
}

impl Ensemble {
    pub(super) fn new(member: Member, config: Option<(Utf8Bytes, Zxid)>) -> Self {
        Self {
            member,
            config,
            agreed: VecDeque::new(),
            serving: false,
            read_only: ReadOnly::Off,
            link: LinkId(0),
            owners: HashMap::new(),
            comers: VecDeque::new(),
            syncs: VecDeque::new(),
            held: HashMap::new(),
            looking_since: Duration::ZERO,
            touched: Duration::ZERO,
            cuts: 0,
            exchange: None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.member.next_deadline()
    }

    pub(super) fn leads(&self) -> bool {
        self.serving && self.member.state() == ServerState::Leading
    }

    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        self.member.leader().and_then(zab::Leader::next_zxid)
    }

    pub(super) fn handle(&mut self, now: Now, input: zab::Input) {
        self.member.handle(now, input);
        while let Some(output) = self.member.poll_output() {
            self.agreed.push_back(output);
        }
    }

    /// Consecutive commits at the front, or what is there instead.
    fn next(&mut self) -> Option<Agreed> {
        /// Most transactions applied under one lock; readers get their turn in between.
        const AT_ONCE: usize = 512;
        let mut commits = Vec::new();
        while let Some(zab::Output::Commit(_)) = self.agreed.front()
            && commits.len() < AT_ONCE
        {
            if let Some(zab::Output::Commit(transaction)) = self.agreed.pop_front() {
                commits.push(transaction);
            }
        }
        match commits.is_empty() {
            true => self.agreed.pop_front().map(Agreed::Other),
            false => Some(Agreed::Commits(commits)),
        }
    }
}

enum Agreed {
    Commits(Vec<Transaction>),
    Other(zab::Output),
}

/// What the member is told, and what it decides.
impl Peer {
    /// Whether clients are served; a server without an ensemble always does.
    pub(super) fn serves(&self) -> bool {
        self.ensemble
            .as_ref()
            .is_none_or(|ensemble| ensemble.serving)
    }

    /// Whether clients are served here, and not only the ensemble.
    pub(super) fn admits(&self) -> bool {
        self.serves() && (self.options.leader_serves || !self.leads())
    }

    /// Whether this server's word counts: whether it gives zxids and ends sessions.
    pub(super) fn leads(&self) -> bool {
        self.ensemble
            .as_ref()
            .is_none_or(|ensemble| ensemble.leads())
    }

    pub(super) fn agree(&mut self, now: Now, input: zab::Input) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.handle(now, input);
        }
    }

    pub(super) fn quorum(&mut self, now: Now, input: QuorumInput) {
        match input {
            QuorumInput::Start => {
                self.note_search(now);
                self.await_read_only(now);
                self.agree(now, zab::Input::Start);
            }
            QuorumInput::Election(input) => self.agree(now, zab::Input::Election(input)),
            QuorumInput::Leader(input) => self.lead(now, input),
            QuorumInput::Learner { link, input } => {
                if self.is_current(link) {
                    self.agree(now, zab::Input::Learner(input));
                }
            }
            QuorumInput::Snapshot { link, tree } => {
                if self.is_current(link) {
                    self.exchange(now, tree, Exchange::Received(link));
                }
            }
            QuorumInput::Installed { cut, written } => self.installed(now, cut, written),
            QuorumInput::Sent { cut } => {
                self.end_cut(cut);
                self.try_exchange(now);
            }
            QuorumInput::LogRead { link, records } => self.log_read(now, link, records),
            QuorumInput::Recovered(Ok(tree)) => self.exchange(now, tree, Exchange::Recovered),
            QuorumInput::Recovered(Err(fatal)) => self.stop(fatal),
        }
    }

    fn is_current(&self, link: LinkId) -> bool {
        self.ensemble
            .as_ref()
            .is_some_and(|ensemble| ensemble.link == link)
    }

    fn lead(&mut self, now: Now, input: LeaderInput) {
        let leads = self
            .ensemble
            .as_ref()
            .is_some_and(|ensemble| ensemble.member.leader().is_some());
        match input {
            // It tries again in a moment.
            LeaderInput::Opened(link) if !leads => self.order(Order::Close { link }),
            input => self.agree(now, zab::Input::Leader(input)),
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        self.outputs.push_back(Output::Quorum(order));
    }

    /// Carries out what was agreed on, until there is nothing more.
    pub(super) fn carry_out_agreed(&mut self, now: Now) {
        while let Some(agreed) = self.ensemble.as_mut().and_then(|ensemble| ensemble.next()) {
            match agreed {
                Agreed::Commits(transactions) => self.committed(now, &transactions),
                Agreed::Other(output) => self.carry_out(now, output),
            }
        }
    }

    fn committed(&mut self, now: Now, transactions: &[Transaction]) {
        let leads = self.leads();
        match transactions.last() {
            Some(last) if leads => self.commit(now, last.zxid),
            _ => self.apply_learned(now, transactions),
        }
    }

    fn carry_out(&mut self, now: Now, output: zab::Output) {
        match output {
            zab::Output::Disk(op) => self.outputs.push_back(Output::Disk(op)),
            zab::Output::Commit(transaction) | zab::Output::Adopt(transaction) => {
                self.apply_learned(now, &[transaction]);
            }
            zab::Output::Reload { generation } => self.order(Order::Recover { generation }),
            zab::Output::State { state, departure } => {
                match departure {
                    Some(why) => tracing::info!(?state, %why, "this member"),
                    None => tracing::info!(?state, "this member"),
                }
                if state == ServerState::Looking {
                    self.leave();
                    self.note_search(now);
                    self.await_read_only(now);
                } else {
                    self.note_election(now);
                    self.end_read_only();
                }
            }
            zab::Output::Serve { epoch } => {
                tracing::info!(epoch = epoch.0, "serving");
                self.serve(now);
            }
            zab::Output::Notify { to, notification } => {
                self.order(Order::Notify { to, notification })
            }
            zab::Output::Send { link, message } => self.order(Order::Send { link, message }),
            zab::Output::SendSnapshot { link, .. } => {
                let cut = self.begin_cut();
                self.order(Order::SendSnapshot { link, cut });
            }
            zab::Output::ReadLog { link, from } => self.read_log(now, link, from),
            zab::Output::Close { link, reason } => {
                tracing::info!(link = link.0, reason, "closing a learner's link");
                self.order(Order::Close { link });
            }
            zab::Output::Forwarded { link, request } => self.forwarded(now, link, request),
            zab::Output::Revalidate { link, session } => self.revalidate(now, link, session),
            zab::Output::Touched(sessions) => self.touched(now, &sessions),
            zab::Output::Synced => self.synced_client(now),
            zab::Output::Connect(leader) => self.connect_to(leader),
            zab::Output::Tell(message) => self.order(Order::Tell(message)),
            zab::Output::AnswerPing(zxid) => self.answer_ping(now, zxid),
            zab::Output::ReceiveSnapshot { .. } => {}
            zab::Output::InstallSnapshot { .. } => {
                let cut = self.begin_cut();
                self.order(Order::InstallSnapshot { cut });
            }
            zab::Output::Revalidated { session, valid } => self.revalidated(now, session, valid),
        }
    }

    fn connect_to(&mut self, leader: ServerId) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.link = LinkId(ensemble.link.0 + 1);
            let link = ensemble.link;
            self.order(Order::Connect { link, leader });
        }
    }

    /// From now on clients are served.
    fn serve(&mut self, now: Now) {
        let ensemble = self.ensemble.as_ref();
        if let Some((text, version)) = ensemble.and_then(|ensemble| ensemble.config.clone()) {
            let mut tree = self.shared.tree.write();
            tree.set_config(&text, version, now.wall_ms);
        }
        let state = self
            .ensemble
            .as_ref()
            .map(|ensemble| ensemble.member.state());
        let leads = state == Some(ServerState::Leading);
        self.shared.set_leads(leads);
        self.note_service(now, leads);
        *self.shared.mode.write() = match state {
            Some(ServerState::Leading) => self.options.leader_serves.then_some("leader"),
            Some(ServerState::Observing) => Some("observer"),
            _ => Some("follower"),
        };
        let last = self.shared.tree.read().last_zxid();
        self.begin_book(now);
        let tree = self.shared.tree.read();
        for (id, timeout_ms) in tree.sessions() {
            let timeout = u64::try_from(timeout_ms).unwrap_or_default();
            self.sessions.track(id, Duration::from_millis(timeout), now);
        }
        self.ending = orphans(&tree);
        drop(tree);
        self.count_sessions();
        self.reaper.begin(now);
        self.last_proposed = last;
        self.last_committed = last;
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.serving = true;
            ensemble.touched = now.mono;
        }
    }

    /// Begins with no sessions, and ids that no session had.
    fn begin_book(&mut self, now: Now) {
        let mut sessions = SessionTracker::new(self.options.tick, self.options.server, now);
        sessions.keep_ids_of(&self.sessions);
        self.sessions = sessions;
    }

    /// No client is served any more.
    fn leave(&mut self) {
        *self.shared.mode.write() = None;
        self.shared.set_leads(false);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.serving = false;
            ensemble.owners.clear();
            ensemble.syncs.clear();
            ensemble.held.clear();
            // What an older link still says is not heard.
            ensemble.link = LinkId(ensemble.link.0 + 1);
            for comer in ensemble.comers.drain(..) {
                comer.conn.outbox.close();
            }
        }
        self.ending.clear();
        self.prep.clear();
        self.hang_up();
        self.order(Order::CloseLinks);
    }

    /// Closes every client's connection; what they asked for is not answered.
    fn hang_up(&mut self) {
        self.popped += self.waiting.len() as u64;
        self.waiting.clear();
        self.reads_behind = 0;
        for conn in self.shared.conns.all() {
            conn.outbox.close();
            self.outputs.push_back(Output::Wake(conn));
        }
    }

    fn begin_cut(&mut self) -> Cut {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.cuts += 1;
        }
        self.shared.tree.write().begin_cut()
    }

    fn end_cut(&mut self, cut: Cut) {
        self.shared.tree.write().end_cut(cut);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.cuts -= 1;
        }
    }

    fn exchange(&mut self, now: Now, tree: Box<DataTree>, then: Exchange) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.exchange = Some((tree, then));
        }
        self.try_exchange(now);
    }

    /// Exchanges the tree, once nobody reads a cut of the one that goes.
    pub(super) fn try_exchange(&mut self, now: Now) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        if ensemble.cuts > 0 || self.snapshotting {
            return;
        }
        let Some((tree, then)) = ensemble.exchange.take() else {
            return;
        };
        let last = tree.last_zxid();
        let link = ensemble.link;
        match then {
            Exchange::Received(of) if of != link => return,
            _ => *self.shared.tree.write() = *tree,
        }
        self.last_synced = last;
        self.agree(
            now,
            match then {
                Exchange::Received(_) => zab::Input::Learner(LearnerInput::SnapshotReceived),
                Exchange::Recovered => zab::Input::Reloaded(last),
            },
        );
    }

    fn installed(&mut self, now: Now, cut: Cut, written: Result<(), Fatal>) {
        self.end_cut(cut);
        if let Err(fatal) = written {
            return self.stop(fatal);
        }
        let installing = self.ensemble.as_ref().is_some_and(|ensemble| {
            let learner = ensemble.member.learner();
            learner.is_some_and(zab::Learner::is_installing)
        });
        if installing {
            self.agree(now, zab::Input::Learner(LearnerInput::SnapshotInstalled));
        }
        self.try_exchange(now);
    }

    pub(super) fn quorum_disk_done(&mut self, now: Now, done: DiskDone) {
        let synced = match &done {
            DiskDone::Failed(fatal) => return self.stop(fatal.clone()),
            DiskDone::Synced {
                zxid, log_bytes, ..
            } => Some((zxid.get(), *log_bytes)),
            _ => None,
        };
        self.agree(now, zab::Input::Disk(done));
        if let Some((zxid, log_bytes)) = synced.filter(|_| self.serves()) {
            self.carry_out_agreed(now);
            self.synced(zxid, log_bytes);
        }
    }

    fn answer_ping(&mut self, now: Now, zxid: Zxid) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        let since = std::mem::replace(&mut ensemble.touched, now.mono);
        let touched = self.sessions.heard_since(since);
        let touched = touched.map(|(session, timeout)| SessionTouch {
            session,
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        });
        let touched = Some(touched.collect());
        self.order(Order::Tell(LearnerMessage::Ping { zxid, touched }));
    }

    /// Proposes what the log will hold; the learners and the log get the same bytes.
    pub(super) fn propose_to_quorum(&mut self, now: Now, zxid: Zxid, entry: bytes::Bytes) {
        self.shared.metrics.quorum.proposal_sizes.add(entry.len());
        let transaction = Transaction { zxid, entry };
        self.agree(now, zab::Input::Leader(LeaderInput::Propose(transaction)));
    }

    pub(super) fn decode(&mut self, transaction: &Transaction) -> Option<TxnLogEntry> {
        match TxnLogEntry::decode(&mut Reader::new(transaction.entry.clone())) {
            Ok(entry) => Some(entry),
            Err(error) => {
                let text = format!("transaction {} cannot be read: {error}", transaction.zxid);
                self.stop(Fatal::new(text));
                None
            }
        }
    }
}

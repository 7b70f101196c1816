//! A peer among others: what agreement ([`Member`]) decides, carried out on tree, sessions and connections.
//!
//! Invariants: clients are served only between [`zab::Output::Serve`] and the next `State(Looking)`, which closes
//! every client's connection, so that what nobody knows becomes CONNECTIONLOSS; a tree is never exchanged while a
//! cut of it is being read.
//!
//! Deliberately not here: what the next configuration is, see [`reconfig`](crate::reconfig).

mod exchange;
mod figures;
mod leading;
mod learning;
mod orders;
mod read_only;
mod reconfigure;
mod service;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use zk_proto::{
    Decode, Reader, ServerId, SessionId, Utf8Bytes, Xid, Zxid, op::Request, quorum::ServerState,
    txn::TxnLogEntry,
};

pub use self::orders::{Order, QuorumInput};
use self::{exchange::Exchange, read_only::ReadOnly, reconfigure::configuration_of};
pub(super) use self::{figures::changes_census, read_only::needs_quorum};
use super::{Output, Peer, waiting::Asker};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    error::Fatal,
    storage::DiskDone,
    time::Now,
    tree::{DataTree, watches::ConnId},
    zab::{self, LeaderInput, LinkId, Member, Transaction},
};

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
    pub(super) owners: HashMap<SessionId, LinkId>,
    comers: VecDeque<Comer>,
    syncs: VecDeque<(Asker, Utf8Bytes)>,
    pub(super) held: HashMap<ConnId, VecDeque<Held>>,
    /// When this member began to look for a leader.
    looking_since: Duration,
    /// How many cuts of the tree learners are being sent, and the log is writing.
    cuts: usize,
    exchange: Option<(Box<DataTree>, Exchange)>,
    /// Whether the configuration files could not be written when that was tried last.
    unwritten: bool,
}

impl Ensemble {
    pub(super) fn new(member: Member) -> Self {
        Self {
            member,
            agreed: VecDeque::new(),
            serving: false,
            read_only: ReadOnly::Off,
            link: LinkId(0),
            owners: HashMap::new(),
            comers: VecDeque::new(),
            syncs: VecDeque::new(),
            held: HashMap::new(),
            looking_since: Duration::ZERO,
            cuts: 0,
            exchange: None,
            unwritten: false,
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
            QuorumInput::LogRead { link, span } => self.log_read(now, link, span),
            QuorumInput::Recovered(Ok(tree)) => self.exchange(now, tree, Exchange::Recovered),
            QuorumInput::Recovered(Err(fatal)) => self.stop(fatal),
            QuorumInput::Configured { written } => {
                if let Some(ensemble) = &mut self.ensemble {
                    ensemble.unwritten = !written;
                }
            }
        }
    }

    /// How much of what its leader has said this learner has settled ([`zab::Learner::settled`]); 0 for others.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let ensemble = self.ensemble.as_ref();
        let learner = ensemble.and_then(|ensemble| ensemble.member.learner());
        learner.map_or(0, zab::Learner::settled)
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
            zab::Output::Reload { generation } => {
                if self.snapshotting {
                    // Recovery removes what is half written.
                    self.order(Order::AbandonSnapshot);
                }
                self.order(Order::Recover { generation });
            }
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
            zab::Output::Configured(configurations) => self.configured(configurations),
            zab::Output::Serve { epoch } => {
                tracing::info!(epoch = epoch.0, "serving");
                // Whoever serves has a leader's history.
                self.shared.metrics.quorum.awaits_sync.set(0_usize);
                self.serve(now);
            }
            zab::Output::Notify { to, notification } => {
                self.order(Order::Notify { to, notification })
            }
            zab::Output::Send { link, message } => self.order(Order::Send { link, message }),
            zab::Output::SendHistory {
                link,
                logged,
                records,
            } => self.order(Order::SendHistory {
                link,
                logged,
                records,
            }),
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
            zab::Output::AnswerPing(zxid) => self.answer_ping(zxid),
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

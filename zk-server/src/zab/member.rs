//! One server's part in agreement: the election, and the role that it leads to (`QuorumPeer.run`).
//!
//! ```text
//!           Start                Settled                    State(Looking)
//!  Idle ---------> Looking -----------------> Leader|Learner ----------> Draining --> [Reloading] --> Looking
//! ```
//!
//! Where a new configuration names the leader, the election is left out: discovery finds out whether a quorum follows
//! it, as after any election.
//!
//! Between a role and the next election the disk is drained with a barrier: what was logged is on the disk then,
//! and what is in the log belongs to this server's history, committed or not. So it votes with what it has.

use std::{collections::VecDeque, time::Duration};

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{Notification, ServerState},
};

use super::{
    CommittedLog, Departure, Epochs, Leader, LeaderInput, Learner, LearnerInput, Output,
    Transaction, ZabConfig, mutants,
};
use crate::{
    election::{self, Election, ElectionConfig, Vote},
    reconfig::{Configuration, Configurations},
    storage::{DiskDone, DiskOp, Durable, EpochKind},
    time::Now,
};

/// What happens to a member.
#[derive(Debug, Clone)]
pub enum Input {
    /// It begins; once.
    Start,
    /// On the election port: a notification, or whether a server can be reached.
    Election(election::Input),
    /// To the leader, if this member leads.
    Leader(LeaderInput),
    /// To the learner, if this member follows or observes.
    Learner(LearnerInput),
    /// The disk has done something.
    Disk(DiskDone),
    /// The tree was built again from the disk, as [`Output::Reload`] asked; this is its last zxid.
    Reloaded(Zxid),
    /// The time asked for with [`Member::next_deadline`] has come.
    Deadline,
}

/// How long a leader is not called again whose history could not be taken; doubled each time, so often.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: u32 = 5;

#[derive(Debug)]
enum Role {
    Idle,
    /// The disk is being drained; `in_step`: the tree need not be built again.
    Draining {
        barrier: u64,
        in_step: bool,
        unapplied: Vec<Transaction>,
    },
    /// The tree is being built again.
    Reloading,
    Looking(Durable<Zxid>),
    Leader(Box<Leader>),
    Learner(Box<Learner>),
}

/// A server of an ensemble.
#[derive(Debug)]
pub struct Member {
    config: ZabConfig,
    election: Election,
    role: Role,
    /// Who leads next, by the configuration that ended the last role.
    designated: Option<ServerId>,
    /// The leader whose history this member did not come to the end of, and how often in a row.
    failed: Option<(ServerId, u32)>,
    epochs: Epochs,
    /// The latest epoch that another voter is known to have promised.
    seen: Epoch,
    /// What is applied to the tree; a role has it while it lasts.
    committed: CommittedLog,
    generation: u64,
    barriers: u64,
    outputs: VecDeque<Output>,
}

impl Member {
    /// A server that came back from its disk with these epochs, and a tree as of the end of `committed`.
    #[must_use]
    pub fn new(config: ZabConfig, epochs: Epochs, committed: CommittedLog) -> Self {
        let awaits_sync = epochs.awaits_sync && !mutants::active("damaged-votes");
        let epochs = Epochs {
            awaits_sync,
            ..epochs
        };
        Self {
            election: Election::new(election_config(&config.configurations, config.me)),
            config,
            role: Role::Idle,
            designated: None,
            failed: None,
            epochs,
            seen: Epoch(0),
            committed,
            generation: 0,
            barriers: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input; take every output before the next.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(
            self.outputs.is_empty(),
            "a member is drained before its next input"
        );
        match input {
            Input::Start => self.drain_disk(Vec::new(), true),
            Input::Election(input) => {
                if let election::Input::Notification { from, notification } = &input {
                    self.heard_vote(now, *from, notification.leader);
                    self.learn_configuration(now, notification);
                }
                self.election_input(now, input);
            }
            Input::Leader(input) => self.lead(now, input),
            Input::Learner(input) => self.learn(now, input),
            Input::Disk(done) => self.disk_done(now, done),
            Input::Reloaded(last) => self.reloaded(now, last),
            Input::Deadline => self.deadline(now),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`], on the clock of [`Now::mono`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let role = match &self.role {
            Role::Leader(leader) => leader.next_deadline(),
            Role::Learner(learner) => learner.next_deadline(),
            _ => None,
        };
        [role, self.election.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What it is.
    #[must_use]
    pub const fn state(&self) -> ServerState {
        match &self.role {
            Role::Leader(_) => ServerState::Leading,
            Role::Learner(_) => self.election.state(),
            _ => ServerState::Looking,
        }
    }

    /// Whether it looks for a leader, with its disk drained and its tree as of the end of its log.
    #[must_use]
    pub const fn is_looking(&self) -> bool {
        matches!(self.role, Role::Looking(_))
    }

    /// The epochs on its disk, as far as the disk has said.
    #[must_use]
    pub const fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// The leader it is, if it is one.
    #[must_use]
    pub const fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// The learner it is, if it is one.
    #[must_use]
    pub const fn learner(&self) -> Option<&Learner> {
        match &self.role {
            Role::Learner(learner) => Some(learner),
            _ => None,
        }
    }

    fn election_input(&mut self, now: Now, input: election::Input) {
        self.election.handle(now, input);
        let mut settled = None;
        while let Some(output) = self.election.poll_output() {
            match output {
                election::Output::Send { to, notification } => {
                    self.outputs.push_back(Output::Notify { to, notification });
                }
                election::Output::Settled { state, vote } => settled = Some((state, vote.leader)),
            }
        }
        if let Some((state, leader)) = settled {
            self.take_role(now, state, leader);
        }
    }

    fn heard_vote(&mut self, now: Now, from: ServerId, leader: ServerId) {
        if let Role::Learner(learner) = &mut self.role {
            learner.heard_vote(from, leader);
            self.drain_role(now);
        }
    }

    fn take_role(&mut self, now: Now, state: ServerState, leader: ServerId) {
        let Role::Looking(history) = self.role else {
            return;
        };
        self.generation += 1;
        let (config, generation) = (self.config.clone(), self.generation);
        let committed = std::mem::replace(&mut self.committed, CommittedLog::new(Zxid::ZERO, 0));
        self.outputs.push_back(Output::State {
            state,
            departure: None,
        });
        self.role = match state {
            ServerState::Leading => Role::Leader(Box::new(Leader::new(
                now,
                config,
                self.epochs,
                self.seen,
                history,
                committed,
                generation,
            ))),
            _ => Role::Learner(Box::new(Learner::new(
                now,
                config,
                (leader, self.pause_before(leader)),
                self.epochs,
                history,
                committed,
                generation,
            ))),
        };
        self.drain_role(now);
    }

    fn lead(&mut self, now: Now, input: LeaderInput) {
        if let Role::Leader(leader) = &mut self.role {
            leader.handle(now, input);
            self.drain_role(now);
        }
    }

    fn learn(&mut self, now: Now, input: LearnerInput) {
        if let Role::Learner(learner) = &mut self.role {
            learner.handle(now, input);
            self.drain_role(now);
        }
    }

    fn drain_role(&mut self, now: Now) {
        let mut departure = None;
        loop {
            let output = match &mut self.role {
                Role::Leader(leader) => leader.poll_output(),
                Role::Learner(learner) => learner.poll_output(),
                _ => None,
            };
            match output {
                None => break,
                Some(Output::State { departure: why, .. }) => departure = why,
                Some(Output::Configured(configurations)) => self.configured(now, configurations),
                Some(Output::Serve { epoch }) => {
                    self.outputs.push_back(Output::Serve { epoch });
                    self.election_input(now, election::Input::EpochEstablished(epoch));
                }
                Some(output) => self.outputs.push_back(output),
            }
        }
        if let Some(departure) = departure {
            self.leave_role(departure);
        }
    }

    /// How long to wait before a leader is called whose history could not be taken: what cannot be read stays so, and
    /// every attempt costs both of them. Never so long that the leader would give up a quorum that needs this server.
    fn pause_before(&self, leader: ServerId) -> Duration {
        match self.failed {
            Some((failed, times)) if failed == leader => {
                let pause = FIRST_PAUSE * (1 << times.saturating_sub(1).min(LONGEST_PAUSE));
                pause.min(self.config.discovery_limit() / 2)
            }
            _ => Duration::ZERO,
        }
    }

    /// Notes how it went with a leader.
    fn judge(&mut self, learner: &Learner, departure: Departure) {
        let leader = learner.leader();
        let fails = matches!(
            departure,
            Departure::LeaderLost | Departure::LeaderMisbehaved(_)
        );
        if learner.has_served() {
            self.failed = None;
        } else if fails {
            let before = self.failed.filter(|(failed, _)| *failed == leader);
            let times = before.map_or(0, |(_, times)| times);
            self.failed = Some((leader, times.saturating_add(1)));
        }
    }

    fn leave_role(&mut self, departure: Departure) {
        let remains = match std::mem::replace(&mut self.role, Role::Idle) {
            Role::Leader(leader) => leader.end(),
            Role::Learner(learner) => {
                self.judge(&learner, departure);
                learner.end()
            }
            other => {
                self.role = other;
                return;
            }
        };
        self.generation = remains.generation;
        match departure {
            Departure::EpochOutdated(epoch) => self.seen = self.seen.max(epoch),
            Departure::Reconfigured(leader) => self.designated = leader,
            Departure::Refused => self.election.stand(true),
            Departure::NotEstablished => self.election.stand(false),
            _ => {}
        }
        let turned_away = departure == Departure::LeaderOutdated;
        self.config.configurations.set_turned_away(turned_away);
        let election = election_config(&self.config.configurations, self.config.me);
        self.election.reconfigure(election);
        self.committed = remains.committed;
        self.outputs.push_back(Output::State {
            state: ServerState::Looking,
            departure: Some(departure),
        });
        self.drain_disk(remains.unapplied, remains.in_step);
    }

    fn drain_disk(&mut self, unapplied: Vec<Transaction>, in_step: bool) {
        self.barriers += 1;
        self.role = Role::Draining {
            barrier: self.barriers,
            in_step,
            unapplied,
        };
        self.outputs
            .push_back(Output::Disk(DiskOp::Barrier(self.barriers)));
    }

    fn disk_done(&mut self, now: Now, done: DiskDone) {
        if let DiskDone::EpochSaved { kind, epoch } = &done {
            match kind {
                EpochKind::Accepted => self.epochs.accepted = epoch.get(),
                EpochKind::Current => self.epochs.current = epoch.get(),
            }
        }
        if matches!(done, DiskDone::HistoryComplete) {
            self.epochs.awaits_sync = false;
        }
        match (&mut self.role, done) {
            (Role::Leader(_), done) => self.lead(now, LeaderInput::Disk(done)),
            (Role::Learner(_), done) => self.learn(now, LearnerInput::Disk(done)),
            (Role::Draining { barrier, .. }, DiskDone::Barrier { number, last })
                if *barrier == number =>
            {
                self.drained(now, last);
            }
            _ => {}
        }
    }

    fn drained(&mut self, now: Now, last: Durable<Zxid>) {
        let Role::Draining {
            in_step, unapplied, ..
        } = std::mem::replace(&mut self.role, Role::Idle)
        else {
            return;
        };
        if in_step && !mutants::active("2845") {
            for transaction in unapplied {
                self.committed.push(transaction.clone());
                self.outputs.push_back(Output::Adopt(transaction));
            }
        }
        let trusts_memory = mutants::active("2845") || mutants::active("3642");
        // A tree that came with SNAP and was never written may stand in memory (ZOOKEEPER-3642).
        if (in_step && self.committed.last() == last.get()) || trusts_memory {
            self.look(now, last);
        } else {
            self.role = Role::Reloading;
            let generation = self.generation;
            self.outputs.push_back(Output::Reload { generation });
        }
    }

    fn reloaded(&mut self, now: Now, last: Zxid) {
        match self.role {
            // A snapshot that was written in the role's last moment may reach further than the log did: ask anew.
            Role::Reloading => {
                self.committed.restart(last);
                self.drain_disk(Vec::new(), true);
            }
            _ => self.learn(now, LearnerInput::Reloaded(last)),
        }
    }

    fn look(&mut self, now: Now, history: Durable<Zxid>) {
        self.role = Role::Looking(history);
        let abstains = self.epochs.awaits_sync;
        self.election.abstain(abstains);
        if let Some(leader) = self.designated.take().filter(|_| !abstains) {
            return self.follow_configuration(now, leader, history.get());
        }
        let look = election::Input::Look {
            last_zxid: history.get(),
            epoch: self.current_epoch(),
        };
        self.election_input(now, look);
    }

    /// Takes the role that a new configuration gives, without an election.
    fn follow_configuration(&mut self, now: Now, leader: ServerId, last: Zxid) {
        let vote = Vote {
            leader,
            zxid: last,
            epoch: self.current_epoch(),
        };
        self.election.assume(vote);
        self.take_role(now, self.election.state(), leader);
    }

    /// The configurations that this member knows have changed.
    fn configured(&mut self, now: Now, configurations: Configurations) {
        let election = election_config(&configurations, self.config.me);
        self.config.configurations = configurations.clone();
        self.outputs.push_back(Output::Configured(configurations));
        self.election.reconfigure(election);
        // An election that is on starts anew: who counts is not who counted.
        if let Role::Looking(history) = self.role {
            self.look(now, history);
        }
    }

    /// A member that looks for a leader takes in a configuration that another one knows to be in force: it may be why
    /// nobody here is heard of any more.
    fn learn_configuration(&mut self, now: Now, notification: &Notification) {
        let Some(text) = &notification.config else {
            return;
        };
        let configurations = &self.config.configurations;
        if !configurations.enabled() || !matches!(self.role, Role::Looking(_)) {
            return;
        }
        let Ok(configuration) = Configuration::parse(text) else {
            return;
        };
        let mut configurations = configurations.clone();
        if configurations.learn(configuration) {
            self.configured(now, configurations);
        }
    }

    const fn current_epoch(&self) -> Epoch {
        self.epochs.current
    }

    fn deadline(&mut self, now: Now) {
        if self
            .election
            .next_deadline()
            .is_some_and(|at| now.mono >= at)
        {
            self.election_input(now, election::Input::Deadline);
        }
        self.lead(now, LeaderInput::Deadline);
        self.learn(now, LearnerInput::Deadline);
    }
}

fn election_config(configurations: &Configurations, me: ServerId) -> ElectionConfig {
    let follows = match mutants::active("follows-as-observer") {
        true => configurations.votes(),
        false => configurations.may_come_to_vote(),
    };
    ElectionConfig {
        me,
        members: configurations.members(),
        verifiers: configurations.verifiers(),
        text: Some(configurations.text()),
        observes: !follows,
    }
}

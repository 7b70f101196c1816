//! The world: everything that happens, one event after the other, in virtual time.

mod clients;
mod disks;
mod faults;
mod network;
mod reconfig;
mod script;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{LearnerMessage, Notification, ServerState},
};
use zk_server::{
    election,
    reconfig::Configuration,
    time::Now,
    zab::{Departure, Input, LeaderInput, LinkId, Output, Transaction},
};

use self::script::Planned;
use crate::{
    net::{Net, Wire},
    node::{DurableState, Node, Process, Work},
    oracle::Oracle,
    swarm::{Fault, Swarm},
};

/// How many lines of the trace are kept for a failure.
const TRACE_KEPT: usize = 400;
/// How many writes every seed must get acknowledged.
pub(crate) const WRITES_MIN: usize = 50;
/// How many of them after the chaos.
const WRITES_AFTER_CHAOS: usize = 20;
/// How long after the last fault everything must be well.
const HEAL_LIMIT: Duration = Duration::from_secs(60);

/// Something that will happen.
#[derive(Debug)]
enum Event {
    Notify {
        from: usize,
        to: usize,
        notification: Notification,
    },
    Reachability {
        at: usize,
        server: usize,
        up: bool,
    },
    Connected {
        node: usize,
        incarnation: u32,
        leader: usize,
    },
    Deliver {
        link: LinkId,
        at_leader: bool,
    },
    Disk {
        node: usize,
        incarnation: u32,
    },
    Timer {
        node: usize,
        incarnation: u32,
        at: Duration,
    },
    Client,
    Chaos,
    Restart {
        node: usize,
    },
}

/// What a run amounted to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Report {
    pub(crate) acknowledged: usize,
    pub(crate) syncs: usize,
    pub(crate) reads: usize,
    pub(crate) touched: usize,
    pub(crate) revalidated: usize,
    pub(crate) established: usize,
    pub(crate) faults: BTreeMap<Fault, u32>,
    pub(crate) plans: BTreeMap<&'static str, u32>,
    pub(crate) departures: BTreeMap<String, u32>,
    pub(crate) steps: u64,
    pub(crate) hash: u64,
}

impl Report {
    pub(crate) fn struck(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

/// The world of one seed.
pub(crate) struct World {
    swarm: Swarm,
    random: Rng,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    nodes: Vec<Node>,
    net: Net,
    oracle: Oracle,
    last_write: u64,
    /// Every configuration that was proposed.
    configurations: BTreeMap<Zxid, Configuration>,
    chaos_until: Duration,
    /// Whether members that stop come back by themselves.
    restarts: bool,
    /// Who does not come back.
    left: BTreeSet<usize>,
    /// How many writes had been acknowledged when the chaos ended.
    healed_at: Option<usize>,
    pub(crate) report: Report,
    pub(crate) trace: VecDeque<String>,
    line: String,
    /// What a scenario waits for somebody to do or say.
    awaited: Option<String>,
    /// Within which message of a leader a scenario wants the link to break.
    breaks_off: Option<String>,
    /// Faults of disks that a scenario wants to see strike.
    planned: Vec<Planned>,
    hash: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut swarm = Swarm::draw(&mut random);
        swarm.draw_apart(&mut Rng::with_seed(!seed));
        Self::drawn(swarm, random)
    }

    /// As [`new`](Self::new), and members come and go all the time.
    pub(crate) fn reconfiguring(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut swarm = Swarm::draw(&mut random);
        swarm.reconfigure_often(&mut random);
        Self::drawn(swarm, random)
    }

    fn drawn(swarm: Swarm, random: Rng) -> Self {
        let mut world = Self::empty(swarm, random);
        world.restarts = true;
        for node in 0..world.nodes.len() {
            let at = world.random_duration(Duration::ZERO, Duration::from_millis(20));
            world.schedule(at, Event::Restart { node });
        }
        world.schedule(Duration::from_millis(50), Event::Client);
        world.schedule(Duration::from_millis(300), Event::Chaos);
        world
    }

    /// A world in which nothing happens by itself.
    pub(crate) fn empty(swarm: Swarm, random: Rng) -> Self {
        let count = swarm.voters + swarm.observers + swarm.spares;
        let node = |at| {
            let mut node = Node::new();
            node.unwritten = swarm.unwritten.contains(&at).then_some(0);
            node
        };
        let nodes = (0..count).map(node).collect();
        Self {
            chaos_until: swarm.chaos,
            swarm,
            random,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            nodes,
            net: Net::default(),
            oracle: Oracle::default(),
            last_write: 0,
            configurations: BTreeMap::new(),
            restarts: false,
            left: BTreeSet::new(),
            healed_at: None,
            report: Report::default(),
            trace: VecDeque::new(),
            line: String::new(),
            awaited: None,
            breaks_off: None,
            planned: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Lets this much time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self
            .events
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= until)
        {
            self.step();
        }
        self.now = until;
    }

    /// Runs until everything is well again after the chaos.
    pub(crate) fn run(&mut self) {
        while !self.is_done() {
            assert!(
                self.now < self.chaos_until + HEAL_LIMIT,
                "liveness: {} writes acknowledged, {:?}",
                self.oracle.acknowledged.len(),
                self.states()
            );
            self.step();
        }
        self.check_quiescence();
        self.report.acknowledged = self.oracle.acknowledged.len();
        self.report.hash = self.hash;
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:?}", self.swarm)
    }

    fn is_done(&self) -> bool {
        self.has_progressed() && self.is_well()
    }

    /// Whether all serve under one leader and nothing is under way.
    fn is_well(&self) -> bool {
        let last = self.oracle.committed.last().copied();
        let members = self.members();
        let all_there = members.iter().all(|node| {
            self.nodes[*node].process.as_ref().is_some_and(|process| {
                process.serving
                    && process.applied.last().copied() == last
                    && process.pending.is_empty()
                    && process.syncs.is_empty()
            })
        });
        all_there && self.leaders().len() == 1
    }

    /// Whether enough was written, in all and since the chaos.
    fn has_progressed(&self) -> bool {
        let acknowledged = self.oracle.acknowledged.len();
        let since = self.healed_at.map(|before| acknowledged - before);
        acknowledged >= WRITES_MIN && since.is_some_and(|since| since >= WRITES_AFTER_CHAOS)
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |at: &usize| {
            self.nodes[*at].process.as_ref().is_some_and(|process| {
                process.serving && process.member.state() == ServerState::Leading
            })
        };
        (0..self.nodes.len()).filter(leads).collect()
    }

    pub(crate) fn states(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| match &node.process {
                None => "down".to_owned(),
                Some(process) => format!(
                    "{:?} serving {} last {:?} pending {:?} syncs {:?}",
                    process.member.state(),
                    process.serving,
                    process.applied.last(),
                    process.pending,
                    process.syncs
                ),
            })
            .collect()
    }

    fn check_quiescence(&mut self) {
        let mut dumps = Vec::new();
        for node in self.members() {
            if let Some(process) = &mut self.nodes[node].process {
                self.oracle.check_acknowledged(&process.applied);
                dumps.push(process.dump());
            }
        }
        assert!(
            dumps.windows(2).all(|pair| pair[0] == pair[1]),
            "Agreement: the members' trees differ at rest"
        );
    }

    fn random_duration(&mut self, from: Duration, to: Duration) -> Duration {
        let (from, to) = (from.as_micros() as u64, to.as_micros() as u64);
        Duration::from_micros(self.random.u64(from..=to.max(from)))
    }

    fn delay(&mut self) -> Duration {
        let (from, to) = self.swarm.delay;
        self.random_duration(from, to)
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn trace(&mut self, line: fmt::Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{:>9} {line}", self.now.as_micros());
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let come = |text: &String| self.line.contains(text.as_str());
        if self.awaited.as_ref().is_some_and(come) {
            self.awaited = None;
        }
        if self.trace.len() == TRACE_KEPT {
            self.trace.pop_front();
        }
        self.trace.push_back(self.line.clone());
    }

    fn step(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else {
            panic!("nothing will ever happen again");
        };
        self.now = at;
        self.report.steps += 1;
        if let Some(until) = self.paused(&event) {
            return self.schedule_at(until, event);
        }
        match event {
            Event::Notify {
                from,
                to,
                notification,
            } => {
                if self.net.cut_until(self.now, from, to).is_none() {
                    let from = id(from);
                    let input = election::Input::Notification { from, notification };
                    self.input(to, Input::Election(input));
                }
            }
            Event::Reachability { at, server, up } => self.reachability(at, server, up),
            Event::Connected {
                node,
                incarnation,
                leader,
            } => self.connected(node, incarnation, leader),
            Event::Deliver { link, at_leader } => self.deliver(link, at_leader),
            Event::Disk { node, incarnation } => self.disk(node, incarnation),
            Event::Timer {
                node,
                incarnation,
                at,
            } => self.timer(node, incarnation, at),
            Event::Client => self.client(),
            Event::Chaos => self.chaos(),
            Event::Restart { node } if self.left.contains(&node) => {}
            Event::Restart { node } => self.restart(node),
        }
    }

    /// Until when the member stands still that the event is for.
    fn paused(&self, event: &Event) -> Option<Duration> {
        let node = match event {
            Event::Notify { to: node, .. }
            | Event::Reachability { at: node, .. }
            | Event::Connected { node, .. }
            | Event::Disk { node, .. }
            | Event::Timer { node, .. } => *node,
            Event::Deliver { link, at_leader } => {
                let link = self.net.links.get(link)?;
                if *at_leader {
                    link.leader.node
                } else {
                    link.learner.node
                }
            }
            Event::Client | Event::Chaos | Event::Restart { .. } => return None,
        };
        let until = self.nodes[node].paused_until;
        (until > self.now).then_some(until)
    }

    fn process(&mut self, node: usize, incarnation: u32) -> Option<&mut Process> {
        let node = &mut self.nodes[node];
        (node.incarnation == incarnation).then_some(())?;
        node.process.as_mut()
    }

    fn timer(&mut self, node: usize, incarnation: u32, at: Duration) {
        if let Some(process) = self.process(node, incarnation)
            && process.timer == Some(at)
        {
            process.timer = None;
            self.input(node, Input::Deadline);
        }
    }

    /// Gives a member an input, does what it wants done, and what follows from that.
    fn input(&mut self, node: usize, input: Input) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.todo.push_back(input);
        while let Some(input) = self.nodes[node]
            .process
            .as_mut()
            .and_then(|p| p.todo.pop_front())
        {
            let now = Now {
                mono: self.now,
                wall_ms: 0,
            };
            let mut outputs = Vec::new();
            if let Some(process) = &mut self.nodes[node].process {
                process.member.handle(now, input);
                while let Some(output) = process.member.poll_output() {
                    outputs.push(output);
                }
            }
            for output in outputs {
                self.output(node, output);
            }
        }
        self.set_timer(node);
        self.start_disk(node);
    }

    fn set_timer(&mut self, node: usize) {
        let (now, incarnation) = (self.now, self.nodes[node].incarnation);
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let wanted = process.member.next_deadline();
        if wanted != process.timer {
            process.timer = wanted;
            if let Some(at) = wanted {
                let when = at.max(now);
                self.schedule_at(
                    when,
                    Event::Timer {
                        node,
                        incarnation,
                        at,
                    },
                );
            }
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Disk(op) => self.ask_disk(node, op),
            Output::Commit(transaction) => self.commit(node, &transaction),
            Output::Adopt(transaction) => {
                self.trace(format_args!("{}  adopts {}", id(node).0, transaction.zxid));
                if let Some(process) = &mut self.nodes[node].process {
                    process.apply(&transaction.entry);
                }
            }
            Output::Reload { generation } => {
                let Some(last) = self.nodes[node].reload(generation) else {
                    return self.stop(node, false);
                };
                self.trace(format_args!(
                    "{}  builds its tree again, up to {last}",
                    id(node).0
                ));
                self.todo(node, Input::Reloaded(last));
            }
            Output::Configured(known) => {
                self.trace(format_args!(
                    "{}  knows {} and {}",
                    id(node).0,
                    known.version(),
                    known.last_seen().version()
                ));
                let configuration = Work::Configure((**known.committed()).clone());
                if let Some(process) = &mut self.nodes[node].process {
                    process.ops.push(configuration);
                }
            }
            Output::State { state, departure } => self.state(node, state, departure),
            Output::Serve { epoch } => self.serve(node, epoch),
            Output::Notify { to, notification } => self.notify(node, to, notification),
            Output::Send { link, message } => self.send_to_learner(node, link, message),
            Output::SendHistory {
                link,
                logged,
                records,
            } => self.send_history(node, link, logged, records),
            Output::SendSnapshot { link, at } => self.send_snapshot(node, link, at),
            Output::ReadLog { link, from } => {
                let span = self.survey_log(node, from);
                self.todo(node, Input::Leader(LeaderInput::LogRead { link, span }));
            }
            Output::Close { link, reason } => {
                self.trace(format_args!(
                    "{}  closes link {}: {reason}",
                    id(node).0,
                    link.0
                ));
                self.close(link, true);
            }
            Output::Forwarded { link, request } => self.forwarded(node, link, &request),
            Output::Connect(leader) => self.connect(node, leader),
            Output::Tell(message) => self.tell(node, message),
            Output::AnswerPing(zxid) => {
                let process = self.nodes[node].process.as_mut();
                let touched = process.map(|process| std::mem::take(&mut process.touched));
                self.tell(node, LearnerMessage::Ping { zxid, touched });
            }
            Output::Touched(sessions) => self.touched(&sessions),
            Output::Revalidate { link, session } => self.revalidate(node, link, session.session),
            Output::Revalidated { session, valid } => self.revalidated(node, session, valid),
            Output::Synced => self.synced(node),
            Output::InstallSnapshot { .. } => self.ask_install(node),
            Output::ReceiveSnapshot { .. } => {}
        }
    }

    fn serve(&mut self, node: usize, epoch: Epoch) {
        self.trace(format_args!(
            "{}  serves clients in epoch {}",
            id(node).0,
            epoch.0
        ));
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.serving = true;
        if process.member.state() == ServerState::Leading {
            let applied = process.applied.clone();
            let electorate = self.electorate(&applied);
            let disks = disks(&self.nodes);
            self.oracle
                .establish(node, epoch, &applied, &disks, &electorate);
            self.report.established += 1;
        }
    }

    fn send_history(
        &mut self,
        node: usize,
        link: LinkId,
        logged: Option<(Zxid, Zxid)>,
        records: Vec<Transaction>,
    ) {
        let older = match logged {
            None => Some(Vec::new()),
            Some(part) => self.read_log(node, part),
        };
        let Some(older) = older else {
            return self.close(link, true);
        };
        let all = older.into_iter().chain(records);
        for message in all.flat_map(Transaction::into_messages) {
            self.send_to_learner(node, link, message);
        }
    }

    fn send_snapshot(&mut self, node: usize, link: LinkId, at: Zxid) {
        if let Some(process) = &mut self.nodes[node].process {
            let last = process.applied.last().copied().unwrap_or_default();
            assert_eq!(last, at, "a snapshot as of what was committed");
            let copy = Arc::new(process.copy_tree());
            self.put(link, false, Wire::Snapshot(copy));
        }
    }

    fn todo(&mut self, node: usize, input: Input) {
        if let Some(process) = &mut self.nodes[node].process {
            process.todo.push_back(input);
        }
    }

    fn state(&mut self, node: usize, state: ServerState, departure: Option<Departure>) {
        match departure {
            None => self.trace(format_args!("{}  is {state:?}", id(node).0)),
            Some(why) => self.trace(format_args!("{}  is {state:?}: {why}", id(node).0)),
        }
        if let Some(departure) = departure {
            *self
                .report
                .departures
                .entry(departure.to_string())
                .or_default() += 1;
        }
        if state != ServerState::Looking {
            return;
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.serving = false;
            process.pending.clear();
            process.syncs.clear();
            process.touched.clear();
            process.revalidating.clear();
        }
        self.oracle.hang_up(node);
        self.close_all(node);
    }
}

/// What is known of everybody's disk.
fn disks(nodes: &[Node]) -> BTreeMap<ServerId, &DurableState> {
    let disks = nodes.iter().enumerate();
    disks.map(|(node, it)| (id(node), &it.durable)).collect()
}

fn id(node: usize) -> ServerId {
    ServerId(node as i64 + 1)
}

fn index(server: ServerId) -> usize {
    usize::try_from(server.0 - 1).unwrap_or(usize::MAX)
}

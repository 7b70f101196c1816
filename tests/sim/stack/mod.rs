//! The simulator's second world: whole servers, from a client's bytes to the disk and back.
//!
//! Peers with their sessions, prep and trees, connection cores, logs and snapshots on disks in memory, three or five to
//! an ensemble, and clients that pipeline requests, resume their sessions elsewhere and remember what they saw. It is
//! slower than the first world and knows fewer faults: what it adds is what a client can see (G3 to G10, G15, G18 to
//! G21), checked against the log that the ensemble has agreed on.

mod check;
mod client;
mod network;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use zk_proto::{Decode, Reader, ServerId, Zxid, txn::TxnLogEntry};
use zk_server::{
    election::{self, ElectionConfig},
    peer::{Input, Order, Output, QuorumInput},
    quorum::QuorumVerifier,
    storage::read_history,
    zab::{COUNTER_MAX, MemberConfig, ZabConfig},
};
use zk_tests::requests::create;

use self::{
    check::History,
    client::{Client, SHARED},
    network::Network,
    server::{Server, Work},
};

/// What comes about by itself.
enum Event {
    /// Something for a server's process.
    Input {
        server: usize,
        incarnation: u32,
        input: Input,
    },
    /// The disk is done with what it was asked for.
    Disk {
        server: usize,
        incarnation: u32,
    },
    Timer {
        server: usize,
        incarnation: u32,
    },
    /// Bytes of a client, or the end of its connection.
    ToServer {
        conn: u64,
        bytes: Option<Bytes>,
    },
    /// Bytes for a client, or the end of its connection.
    ToClient {
        conn: u64,
        bytes: Option<Bytes>,
    },
    Client(usize),
    Fault,
    Start(usize),
    Heal,
}

struct World {
    now: Duration,
    random: Rng,
    events: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    servers: Vec<Server>,
    network: Network,
    clients: Vec<Client>,
    /// Which connection each client has, and to whom.
    links: BTreeMap<u64, (usize, usize, u32)>,
    conn_of: Vec<Option<u64>>,
    last_conn: u64,
    history: History,
    calm: bool,
    /// Puts a bug into every server: writes are answered before they are logged.
    answers_early: bool,
    faults: BTreeMap<&'static str, u32>,
}

const MS: Duration = Duration::from_millis(1);

/// How long faults strike.
const CHAOS: Duration = Duration::from_secs(6);

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let servers = if random.u8(0..4) == 0 { 5 } else { 3 };
        let mut world = Self {
            now: Duration::from_secs(1_000),
            events: BTreeMap::new(),
            scheduled: 0,
            servers: (0..servers).map(|_| Server::new()).collect(),
            network: Network::default(),
            clients: (0..4).map(Client::new).collect(),
            links: BTreeMap::new(),
            conn_of: vec![None; 4],
            last_conn: 0,
            history: History::default(),
            calm: false,
            answers_early: false,
            faults: BTreeMap::new(),
            random,
        };
        for server in 0..servers {
            let at = world.soon(20);
            world.schedule(at, Event::Start(server));
        }
        for client in 0..world.clients.len() {
            let at = world.soon(400);
            world.schedule(at, Event::Client(client));
        }
        let at = world.now + 1_000 * MS;
        world.schedule(at, Event::Fault);
        world
    }

    fn soon(&mut self, ms: u64) -> Duration {
        self.now + Duration::from_micros(self.random.u64(50..=ms * 1_000))
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.step(event);
        }
        self.now = end;
    }

    fn is_current(&self, server: usize, incarnation: u32) -> bool {
        let server = &self.servers[server];
        server.process.is_some() && server.incarnation == incarnation
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Input {
                server,
                incarnation,
                input,
            } => {
                if self.is_current(server, incarnation) {
                    self.input(server, input);
                }
            }
            Event::Disk {
                server,
                incarnation,
            } if self.is_current(server, incarnation) => {
                let Some(process) = &mut self.servers[server].process else {
                    return;
                };
                process.disk_is_busy = false;
                for input in process.work() {
                    self.input(server, input);
                }
                self.ask_disk(server);
            }
            Event::Timer {
                server,
                incarnation,
            } if self.is_current(server, incarnation) => {
                if let Some(process) = &mut self.servers[server].process {
                    process.timer = None;
                }
                self.input(server, Input::Deadline);
            }
            Event::Disk { .. } | Event::Timer { .. } => {}
            Event::ToServer { conn, bytes } => self.to_server(conn, bytes),
            Event::ToClient { conn, bytes } => self.to_client(conn, bytes),
            Event::Client(client) => self.client(client),
            Event::Fault => self.fault(),
            Event::Start(server) => self.start(server),
            Event::Heal => self.network.heal(),
        }
    }

    fn config(&self, server: usize) -> MemberConfig {
        let ids: BTreeSet<_> = (0..self.servers.len()).map(id).collect();
        let verifiers = vec![QuorumVerifier::majority(ids.clone()).unwrap()];
        let tick = 100 * MS;
        MemberConfig {
            election: ElectionConfig {
                me: id(server),
                members: ids,
                verifiers: verifiers.clone(),
                text: None,
            },
            zab: ZabConfig {
                me: id(server),
                votes: true,
                verifiers,
                text: None,
                version: Zxid::ZERO,
                tick,
                init_limit: 10 * tick,
                sync_limit: 5 * tick,
                connect_retry: 5 * MS,
                counter_max: COUNTER_MAX,
            },
        }
    }

    fn start(&mut self, server: usize) {
        if self.servers[server].process.is_some() {
            return;
        }
        let config = self.config(server);
        self.servers[server].start(self.now, config, self.answers_early);
        self.input(server, Input::Quorum(QuorumInput::Start));
        for other in 0..self.servers.len() {
            if other != server && self.servers[other].process.is_some() {
                self.election(server, other, election::Input::Reachable(id(other)));
                self.election(other, server, election::Input::Reachable(id(server)));
            }
        }
    }

    /// Tells `to` something of the election that has to do with `from`.
    fn election(&mut self, to: usize, from: usize, input: election::Input) {
        let at = self.soon(2);
        let at = self.network.after_last((from, to), at);
        self.later(at, to, Input::Quorum(QuorumInput::Election(input)));
    }

    fn later(&mut self, at: Duration, server: usize, input: Input) {
        let incarnation = self.servers[server].incarnation;
        self.schedule(
            at,
            Event::Input {
                server,
                incarnation,
                input,
            },
        );
    }

    fn stop(&mut self, server: usize, power: bool) {
        if self.servers[server].process.take().is_none() {
            return;
        }
        match power {
            true => self.servers[server].disk.power_cut(self.random.u64(..)),
            false => self.servers[server].disk.kill(),
        }
        self.close_links(server);
        for other in 0..self.servers.len() {
            if other != server && self.servers[other].process.is_some() {
                self.election(other, server, election::Input::Unreachable(id(server)));
            }
        }
        let conns: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.1 == server)
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            let at = self.soon(2);
            self.schedule(at, Event::ToClient { conn, bytes: None });
        }
        let at = self.soon(900);
        self.schedule(at, Event::Start(server));
    }

    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let at = self.soon(1_500);
        self.schedule(at, Event::Fault);
        let server = self.random.usize(0..self.servers.len());
        let fault = match self.random.u8(0..6) {
            0 => {
                self.stop(server, false);
                "kill"
            }
            1 => {
                self.stop(server, true);
                "power cut"
            }
            2 => {
                for server in 0..self.servers.len() {
                    self.stop(server, true);
                }
                "power cut of all"
            }
            3 => {
                let until = self.soon(1_500);
                for other in 0..self.servers.len() {
                    self.network.cut(server, other, until);
                }
                self.schedule(until, Event::Heal);
                "isolation"
            }
            4 => {
                let conns: Vec<_> = self.links.keys().copied().collect();
                if let Some(conn) = conns.get(self.random.usize(0..conns.len().max(1))) {
                    self.schedule(
                        self.now,
                        Event::ToClient {
                            conn: *conn,
                            bytes: None,
                        },
                    );
                    self.schedule(
                        self.now,
                        Event::ToServer {
                            conn: *conn,
                            bytes: None,
                        },
                    );
                }
                "reset of a client"
            }
            _ => {
                self.servers[server].skew_ms = self.random.i64(-3_600_000..3_600_000);
                "clock"
            }
        };
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Hands an input to a server, and carries out what follows.
    fn input(&mut self, server: usize, input: Input) {
        let now = self.servers[server].now(self.now);
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut outputs = Vec::new();
            let Some(process) = &mut self.servers[server].process else {
                return;
            };
            process.peer.handle(now, input);
            while let Some(output) = process.peer.poll_output() {
                outputs.push(output);
            }
            for output in outputs {
                if let Some(input) = self.carry_out(server, output) {
                    inputs.insert(0, input);
                }
            }
        }
        self.wind_up(server);
        self.ask_disk(server);
    }

    fn carry_out(&mut self, server: usize, output: Output) -> Option<Input> {
        let process = self.servers[server].process.as_mut()?;
        match output {
            Output::Disk(op) => process.work.push(Work::Op(op)),
            Output::Wake(handle) => {
                if let Some(conn) = process.conn_of(&handle) {
                    let at = self.now;
                    self.schedule(
                        at,
                        Event::ToServer {
                            conn,
                            bytes: Some(Bytes::new()),
                        },
                    );
                }
            }
            Output::TakeSnapshot { cut } => {
                process.write_snapshot(&cut);
                return Some(Input::SnapshotDone { cut });
            }
            Output::Stop(fatal) => panic!("{fatal}"),
            Output::Quorum(Order::InstallSnapshot { cut }) => process.work.push(Work::Install(cut)),
            Output::Quorum(Order::Recover { generation }) => {
                process.work.push(Work::Recover(generation))
            }
            Output::Quorum(Order::ReadLog { link, from, limit }) => {
                let records = read_history(&process.directories, from, limit).unwrap();
                let transaction = |(zxid, entry)| zk_server::zab::Transaction { zxid, entry };
                let records = records.map(|all| all.into_iter().map(transaction).collect());
                return Some(Input::Quorum(QuorumInput::LogRead { link, records }));
            }
            Output::Quorum(Order::SendSnapshot { link, cut }) => {
                let tree = process.copy(&cut);
                self.send_tree(server, link, tree);
                return Some(Input::Quorum(QuorumInput::Sent { cut }));
            }
            Output::Quorum(order) => self.order(server, order),
        }
        None
    }

    fn wind_up(&mut self, server: usize) {
        let incarnation = self.servers[server].incarnation;
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        let Some(at) = process.peer.next_deadline() else {
            return;
        };
        let at = at.max(self.now + MS / 10);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.schedule(
                at,
                Event::Timer {
                    server,
                    incarnation,
                },
            );
        }
    }

    fn ask_disk(&mut self, server: usize) {
        let incarnation = self.servers[server].incarnation;
        let at = self.soon(2);
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        if !process.disk_is_busy && !process.work.is_empty() {
            process.disk_is_busy = true;
            self.schedule(
                at,
                Event::Disk {
                    server,
                    incarnation,
                },
            );
        }
    }

    fn client(&mut self, client: usize) {
        if self.calm {
            return;
        }
        let at = self.soon(40);
        self.schedule(at, Event::Client(client));
        let Some(conn) = self.conn_of[client] else {
            return self.dial(client);
        };
        if self.clients[client].has_session() && self.clients[client].unanswered() < 8 {
            let mut bytes = Vec::new();
            for _ in 0..self.random.usize(1..4) {
                let asked = self.clients[client].ask(&mut self.random, &self.history);
                bytes.extend_from_slice(&asked);
            }
            self.send(conn, bytes.into());
        }
    }

    fn dial(&mut self, client: usize) {
        let server = self.random.usize(0..self.servers.len());
        let now = self.servers[server].now(self.now);
        let incarnation = self.servers[server].incarnation;
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        self.last_conn += 1;
        let conn = self.last_conn;
        process.accept(conn, now);
        self.links.insert(conn, (client, server, incarnation));
        self.conn_of[client] = Some(conn);
        let hello = self.clients[client].greet();
        self.send(conn, hello);
    }

    fn send(&mut self, conn: u64, bytes: Bytes) {
        let at = self.soon(2);
        let at = self.network.after_last((conn as usize + 1_000, 0), at);
        // Cut anywhere, as a network does.
        let mut bytes = bytes;
        let first = bytes.split_to(self.random.usize(0..=bytes.len()));
        self.schedule(
            at,
            Event::ToServer {
                conn,
                bytes: Some(first),
            },
        );
        let at = self
            .network
            .after_last((conn as usize + 1_000, 0), at + MS / 20);
        self.schedule(
            at,
            Event::ToServer {
                conn,
                bytes: Some(bytes),
            },
        );
    }

    fn to_server(&mut self, conn: u64, bytes: Option<Bytes>) {
        let Some((_, server, incarnation)) = self.links.get(&conn).copied() else {
            return;
        };
        if !self.is_current(server, incarnation) {
            return;
        }
        let now = self.servers[server].now(self.now);
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        let mut inputs = Vec::new();
        match bytes {
            None => process.hang_up(conn, &mut inputs),
            Some(bytes) => {
                let served = process.serve(conn, now, &bytes);
                inputs = served.to_peer;
                let at = self.soon(2);
                let at = self.network.after_last((conn as usize + 1_000, 1), at);
                if !served.to_client.is_empty() {
                    let bytes = Some(served.to_client);
                    self.schedule(at, Event::ToClient { conn, bytes });
                }
                if served.ended {
                    let at = self
                        .network
                        .after_last((conn as usize + 1_000, 1), at + MS / 20);
                    self.schedule(at, Event::ToClient { conn, bytes: None });
                }
            }
        }
        for input in inputs {
            self.input(server, input);
        }
    }

    fn to_client(&mut self, conn: u64, bytes: Option<Bytes>) {
        let Some((client, ..)) = self.links.get(&conn).copied() else {
            return;
        };
        match bytes {
            Some(bytes) => self.clients[client].hear(&bytes, &mut self.history),
            None => {
                self.clients[client].cut(&mut self.history);
                self.links.remove(&conn);
                self.conn_of[client] = None;
            }
        }
    }

    fn run(&mut self) {
        self.make_shared();
        let end = self.now + CHAOS;
        self.run_until(end);
        self.calm = true;
        self.network.heal();
        let end = self.now + 1_500 * MS;
        self.run_until(end);
        for server in 0..self.servers.len() {
            self.start(server);
        }
        let limit = self.now + Duration::from_secs(20);
        while !self.is_at_rest() {
            assert!(self.now < limit, "no rest: {}", self.describe());
            let end = self.now + 50 * MS;
            self.run_until(end);
        }
        self.check();
    }

    /// The node that everybody uses, made before anything strikes.
    fn make_shared(&mut self) {
        let limit = self.now + 900 * MS;
        while self.history.acknowledged.is_empty() {
            assert!(self.now < limit, "nobody serves: {}", self.describe());
            self.dial_first();
            let end = self.now + 5 * MS;
            self.run_until(end);
        }
    }

    fn dial_first(&mut self) {
        match self.conn_of[0] {
            None => self.dial(0),
            Some(conn) if self.clients[0].has_session() && self.clients[0].unanswered() == 0 => {
                let bytes = self.clients[0].ask_for(create(SHARED, b"first"), &self.history);
                self.send(conn, bytes);
            }
            Some(_) => {}
        }
    }

    fn describe(&self) -> String {
        let state = |server: &Server| {
            let process = server.process.as_ref();
            process.map(|it| (*it.shared.mode.read(), it.shared.tree.read().last_zxid()))
        };
        let states: Vec<_> = self.servers.iter().map(state).collect();
        format!("{states:?} after {:?}", self.faults)
    }

    fn is_at_rest(&self) -> bool {
        let states: BTreeSet<_> = self
            .servers
            .iter()
            .map(|server| {
                let process = server.process.as_ref()?;
                let mode = *process.shared.mode.read();
                mode.map(|_| process.shared.tree.read().last_zxid())
            })
            .collect();
        let answered = self.clients.iter().all(|client| client.unanswered() == 0);
        states.len() == 1 && !states.contains(&None) && answered
    }

    /// All servers hold the same, and what clients saw fits it.
    fn check(&mut self) {
        for client in 0..self.clients.len() {
            self.clients[client].cut(&mut self.history);
        }
        let mut trees = Vec::new();
        let mut checked = false;
        for server in &mut self.servers {
            let Some(process) = &mut server.process else {
                continue;
            };
            let tree = process.shared.tree.read();
            let sessions: BTreeSet<_> = tree.sessions().map(|(session, _)| session).collect();
            let owners: BTreeSet<_> = tree.ephemeral_sessions().collect();
            assert!(
                owners.is_subset(&sessions),
                "G15: nodes of sessions that are over"
            );
            trees.push((tree.last_zxid(), tree.digest(), sessions));
            drop(tree);
            assert_eq!(process.shared.metrics.digest_mismatches.get(), 0);
            if let Some(log) = read_history(&process.directories, Zxid::ZERO, None).unwrap() {
                let decode = |(_, entry)| TxnLogEntry::decode(&mut Reader::new(entry)).unwrap();
                let log: Vec<_> = log.into_iter().map(decode).collect();
                self.history.check(&log);
                checked = true;
            }
        }
        assert!(checked, "nobody has the whole log");
        assert!(
            trees.windows(2).all(|pair| pair[0] == pair[1]),
            "G1: {trees:?}"
        );
    }
}

/// Servers are counted from 0, and their ids from 1.
fn id(server: usize) -> ServerId {
    ServerId(server as i64 + 1)
}

#[test]
fn clients_see_what_they_were_promised() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let seeds = match number("ZK_STACK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZK_STACK_SEEDS").unwrap_or(15),
    };
    let (mut writes, mut reads, mut syncs, mut events) = (0, 0, 0, 0);
    let mut faults = BTreeMap::<_, u32>::new();
    for seed in seeds {
        println!("ZK_STACK_SEED={seed}");
        let mut world = World::new(seed);
        world.run();
        let history = &world.history;
        assert!(
            history.acknowledged.len() >= 50,
            "seed {seed}: {}",
            history.acknowledged.len()
        );
        writes += history.acknowledged.len();
        (reads, syncs, events) = (
            reads + history.reads.len(),
            syncs + history.syncs,
            events + history.events,
        );
        world
            .faults
            .iter()
            .for_each(|(fault, n)| *faults.entry(*fault).or_default() += n);
    }
    println!("{writes} writes, {reads} reads, {syncs} syncs, {events} events; {faults:?}");
}

#[test]
fn an_answer_before_the_write_is_found_out() {
    let is_found = |seed| {
        let mut world = World::new(seed);
        world.answers_early = true;
        let run = std::panic::AssertUnwindSafe(|| world.run());
        let failure = std::panic::catch_unwind(run).err()?;
        let text = failure.downcast_ref::<String>().cloned();
        text.filter(|text| text.contains("G3") || text.contains("G1"))
    };
    assert!((0..20).find_map(is_found).is_some(), "not in 20 seeds");
}

//! The simulator's second world: whole servers, from a client's bytes to the disk and back.
//!
//! Peers with their sessions, prep and trees, connection cores, logs and snapshots on disks in memory, three or five to
//! an ensemble, and clients that pipeline requests, resume their sessions elsewhere and remember what they saw. Some of
//! them speak the protocol frame by frame ([`client`]); the others are zk-client's session core ([`session`]). It is
//! slower than the first world and knows fewer faults: what it adds is what a client can see (G3 to G22), checked
//! against the log that the ensemble has agreed on.

mod check;
mod client;
mod expiry;
mod faults;
mod links;
mod network;
mod rest;
mod server;
mod session;
mod sessions;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use zk_proto::ServerId;
use zk_server::{
    election,
    peer::{Input, Order, Output, QuorumInput},
    reconfig::{Configuration, Configurations},
    storage::{DiskOp, survey_history},
    zab::{COUNTER_MAX, LoggedSpan, ZabConfig, follows},
};

use self::{
    check::History,
    client::Client,
    expiry::Clocks,
    network::Network,
    server::{Server, Work},
    session::SessionClient,
    sessions::Seat,
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
    /// A session core's caller wants something.
    Session(usize),
    SessionTimer {
        at: usize,
        due: Duration,
    },
    /// An attempt to connect has come to its end: at which place of those wished for, and which server.
    Dialed {
        at: usize,
        attempt: u64,
        found: Option<(usize, usize)>,
    },
    Fault,
    Start(usize),
    Heal,
}

/// Whose a connection is.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Client(usize),
    Session(usize),
}

struct World {
    now: Duration,
    random: Rng,
    events: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    servers: Vec<Server>,
    network: Network,
    clients: Vec<Client>,
    seats: Vec<Seat>,
    /// Whose each connection is, and to whom.
    links: BTreeMap<u64, (Owner, usize, u32)>,
    conn_of: Vec<Option<u64>>,
    last_conn: u64,
    history: History,
    clocks: Clocks,
    calm: bool,
    /// Puts a bug into every server: writes are answered before they are logged.
    answers_early: bool,
    /// Puts a bug into every leader: it does not listen to whom its followers have heard of.
    forgets_touches: bool,
    faults: BTreeMap<&'static str, u32>,
}

const MS: Duration = Duration::from_millis(1);

/// How many clients there are of either kind.
const CLIENTS: usize = 3;

/// How long faults strike.
const CHAOS: Duration = Duration::from_secs(6);

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let servers = if random.u8(0..4) == 0 { 5 } else { 3 };
        let now = Duration::from_secs(1_000);
        let seat = |number| {
            let seed = seed.wrapping_mul(CLIENTS as u64) + number as u64;
            Seat::new(SessionClient::new(number, servers, now, seed))
        };
        let mut world = Self {
            now,
            events: BTreeMap::new(),
            scheduled: 0,
            servers: (0..servers).map(|_| Server::new()).collect(),
            network: Network::default(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            seats: (0..CLIENTS).map(seat).collect(),
            links: BTreeMap::new(),
            conn_of: vec![None; CLIENTS],
            last_conn: 0,
            history: History::default(),
            clocks: Clocks::default(),
            calm: false,
            answers_early: false,
            forgets_touches: false,
            faults: BTreeMap::new(),
            random,
        };
        for server in 0..servers {
            let at = world.soon(20);
            world.schedule(at, Event::Start(server));
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

    /// Whom an event has to wait for while that server stands still.
    fn server_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Input { server, .. }
            | Event::Disk { server, .. }
            | Event::Timer { server, .. } => Some(*server),
            Event::ToServer { conn, .. } => self.links.get(conn).map(|link| link.1),
            _ => None,
        }
    }

    /// Until when the machine sleeps that the event is for.
    fn asleep_until(&self, event: &Event) -> Option<Duration> {
        let at = match event {
            Event::Session(at) | Event::SessionTimer { at, .. } | Event::Dialed { at, .. } => *at,
            Event::ToClient { conn, .. } => match self.links.get(conn)?.0 {
                Owner::Session(at) => at,
                Owner::Client(_) => return None,
            },
            _ => return None,
        };
        let until = self.seats[at].asleep_until;
        (until > self.now).then_some(until)
    }

    fn step(&mut self, event: Event) {
        if let Some(until) = self.asleep_until(&event) {
            return self.schedule(until, event);
        }
        if let Some(server) = self.server_of(&event)
            && self.servers[server].paused_until > self.now
        {
            return self.schedule(self.servers[server].paused_until, event);
        }
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
            Event::ToServer { conn, bytes } => self.at_server(conn, bytes),
            Event::ToClient { conn, bytes } => self.at_client(conn, bytes),
            Event::Client(client) => self.client(client),
            Event::Session(at) => self.session(at),
            Event::SessionTimer { at, due } => self.session_timer(at, due),
            Event::Dialed { at, attempt, found } => self.dialed(at, attempt, found),
            Event::Fault => self.fault(),
            Event::Start(server) => self.start(server),
            Event::Heal => self.network.heal(),
        }
    }

    fn config(&self, server: usize) -> ZabConfig {
        let servers = (1..=self.servers.len()).map(|id| format!("server.{id}=h{id}:1:2\n"));
        let all = Configuration::parse(&servers.collect::<String>()).unwrap();
        let tick = 100 * MS;
        ZabConfig {
            me: id(server),
            configurations: Configurations::new(id(server), all, false),
            tick,
            init_limit: 10 * tick,
            sync_limit: 5 * tick,
            connect_retry: 5 * MS,
            counter_max: COUNTER_MAX,
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

    /// Hands an input to a server, and carries out what follows.
    fn input(&mut self, server: usize, input: Input) {
        let now = self.servers[server].now(self.now);
        let mut inputs = vec![input];
        while let Some(mut input) = inputs.pop() {
            self.note_input(server, &mut input);
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
        if let Output::Disk(DiskOp::Append { zxid, record }) = &output {
            self.note_logged(server, *zxid, record);
        }
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
                let directories = &process.directories;
                let span = survey_history(directories, from, limit, follows, || true).unwrap();
                let span = span.map(|(first, last)| LoggedSpan { first, last });
                return Some(Input::Quorum(QuorumInput::LogRead { link, span }));
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
        None => 0..number("ZK_STACK_SEEDS").unwrap_or(8),
    };
    let (mut writes, mut reads, mut syncs, mut events) = (0, 0, 0, 0);
    let (mut resumed, mut expired, mut closed) = (0, 0, 0);
    let mut faults = BTreeMap::<_, u32>::new();
    let count = seeds.clone().count();
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
        (resumed, expired) = (resumed + history.resumed, expired + history.expired);
        closed += world.clocks.expired;
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
    println!("{writes} writes, {reads} reads, {syncs} syncs, {events} events");
    assert!(
        count < 8 || (resumed > 0 && expired > 0 && closed > 0 && events > 0),
        "too quiet"
    );
    assert!(
        count < 100 || faults.len() == 9,
        "not every fault struck: {faults:?}"
    );
    println!("sessions resumed {resumed} times, and {expired} over; {closed} expired; {faults:?}");
}

/// Whether a bug is found within a few seeds, as what it is.
fn is_found(put_in: fn(&mut World), violations: &[&str]) -> bool {
    (0..20).any(|seed| {
        let mut world = World::new(seed);
        put_in(&mut world);
        let run = std::panic::AssertUnwindSafe(|| world.run());
        let failure = std::panic::catch_unwind(run).err();
        let text = failure.and_then(|failure| failure.downcast_ref::<String>().cloned());
        text.is_some_and(|text| violations.iter().any(|name| text.contains(name)))
    })
}

#[test]
fn an_answer_before_the_write_is_found_out() {
    assert!(is_found(|world| world.answers_early = true, &["G3", "G1:"]));
}

#[test]
fn a_session_that_expires_although_a_follower_hears_of_it_is_found_out() {
    assert!(is_found(|world| world.forgets_touches = true, &["G16"]));
}

#[test]
fn a_read_that_does_not_see_the_own_write_is_found_out() {
    let read_the_past = |world: &mut World| {
        for client in &mut world.clients {
            client.reads_the_past = true;
        }
    };
    assert!(is_found(read_the_past, &["G11"]));
}

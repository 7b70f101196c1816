//! An ensemble of both makes whose members come and go, change their roles and their ports, at random, while clients
//! write: nothing acknowledged is lost, one leads, and at rest all hold the same.
//!
//! `ZK_MIXED_RECONFIGS=n` makes so many changes, for each of `ZK_MIXED_SEEDS` seeds (`3`, or `1..=10`).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers of which it says what befell them"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use zk_client::{Client, ErrorKind};
use zk_proto::ErrorCode;
use zk_tests::{
    apache::{self, Heap},
    ensemble::mode,
    links::Ports,
    ours, ports,
    process::{Launcher, ServerProcess},
};

use crate::{
    load::{Ledger, Load},
    mixed::{
        Make::{self, Ours, Theirs},
        assert_processes_well, runtime_apart, seeds,
    },
};

/// A JVM on a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(90);
/// Voters of which one may die.
const VOTERS_LEAST: usize = 3;
const WRITERS: usize = 3;
/// How many writes are acknowledged between two changes.
const BETWEEN: u64 = 20;
/// How many changes go by between two looks at everything.
const LOOK_EVERY: u32 = 10;

/// What a configuration says of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spec {
    ports: Ports,
    client: SocketAddr,
    observes: bool,
}

impl Spec {
    fn free() -> io::Result<Self> {
        Ok(Self {
            ports: Ports::free()?,
            client: ports::free()?,
            observes: false,
        })
    }

    fn line(&self) -> String {
        let role = ["participant", "observer"][usize::from(self.observes)];
        format!("{}:{role};{}", self.ports.line(), self.client)
    }
}

/// A configuration, by id.
type Config = BTreeMap<i64, Spec>;

struct Place {
    make: Make,
    process: ServerProcess,
}

struct Scene {
    /// By id; those of no member, too.
    places: BTreeMap<i64, Place>,
    config: Config,
    client: Client,
    load: Load,
    random: Rng,
    led: [u32; 2],
    _runtime: oneshot::Sender<()>,
}

/// Writes a member's `zoo.cfg` for its first start, or its first one after it was none.
fn configure(place: &Place, id: i64, config: &Config) -> io::Result<()> {
    let data = place.process.data_dir();
    for entry in fs::read_dir(data.parent().unwrap())? {
        let path = entry?.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("zoo.cfg.") {
            fs::remove_file(path)?;
        }
    }
    let lines: Vec<_> = config
        .iter()
        .map(|(id, spec)| (format!("server.{id}"), spec.line()))
        .collect();
    let mut settings = vec![
        ("tickTime", "500"),
        ("initLimit", "20"),
        ("syncLimit", "5"),
        ("maxSessionTimeout", "40000"),
        ("snapCount", "500"),
        ("preAllocSize", "512"),
        ("extendedTypesEnabled", "true"),
        ("reconfigEnabled", "true"),
        ("standaloneEnabled", "false"),
        ("skipACL", "yes"),
        ("sessionPasswords", "apache"),
        ("znode.container.checkIntervalMs", "100000000"),
    ];
    settings.extend(lines.iter().map(|(key, line)| (&**key, &**line)));
    place.process.configure(&settings)?;
    fs::write(data.join("myid"), format!("{id}\n"))
}

impl Scene {
    /// Three members, two of ours or two of theirs, and three more that may join.
    async fn begin(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let theirs = apache::launcher_with(Heap::SMALL, &["zookeeper.skipACL=yes"]).unwrap();
        let launcher = |make: Make| -> Launcher {
            match make {
                Ours => ours::launcher().unwrap(),
                Theirs => theirs.clone(),
            }
        };
        let mut makes = [Ours, Theirs, Ours, Theirs, Ours, Theirs];
        random.shuffle(&mut makes);
        println!("seed {seed}: {makes:?}");
        let mut config = Config::new();
        let mut places = BTreeMap::new();
        for (id, make) in (1..).zip(makes) {
            let process = ServerProcess::prepare(launcher(make), &[]).unwrap();
            if id <= 3 {
                let mut spec = Spec::free().unwrap();
                spec.client = process.addr();
                config.insert(id, spec);
            }
            places.insert(id, Place { make, process });
        }
        for id in config.keys() {
            let place = places.get_mut(id).unwrap();
            configure(place, *id, &config).unwrap();
            place.process.spawn().unwrap();
        }
        for id in config.keys() {
            let process = &mut places.get_mut(id).unwrap().process;
            process.wait_until_serving().unwrap();
        }
        let clients: Vec<_> = config.values().map(|spec| spec.client).collect();
        let (runtime, end) = runtime_apart();
        let connecting = Client::connect(hosts(&config));
        let client = runtime.spawn(connecting).await.unwrap().unwrap();
        let load = Load::begin(clients, WRITERS, true).await;
        Self {
            places,
            config,
            client,
            load,
            random,
            led: [0; 2],
            _runtime: end,
        }
    }

    fn process(&mut self, id: i64) -> &mut ServerProcess {
        &mut self.places.get_mut(&id).unwrap().process
    }

    /// One or two things about the configuration are otherwise.
    fn next(&mut self) -> io::Result<Config> {
        loop {
            let mut next = self.config.clone();
            for _ in 0..self.random.usize(1..=2) {
                self.alter(&mut next)?;
            }
            let voters = next.values().filter(|spec| !spec.observes).count();
            if next != self.config && voters >= VOTERS_LEAST {
                return Ok(next);
            }
        }
    }

    fn alter(&mut self, next: &mut Config) -> io::Result<()> {
        let id = self
            .random
            .i64(1..=i64::try_from(self.places.len()).unwrap_or(0));
        let Some(spec) = next.get_mut(&id) else {
            let mut spec = Spec::free()?;
            spec.client = self.process(id).addr();
            spec.observes = self.random.u8(0..3) == 0;
            next.insert(id, spec);
            return Ok(());
        };
        // Who is about to join may only do that.
        if !self.config.contains_key(&id) {
            return Ok(());
        }
        match self.random.u8(0..10) {
            0..4 => drop(next.remove(&id)),
            4..7 => spec.observes = !spec.observes,
            7 => spec.ports = Ports::free()?,
            _ => spec.client = ports::free()?,
        }
        Ok(())
    }

    /// Whoever is to join runs and follows before it is asked for.
    fn admit(&mut self, next: &Config) -> io::Result<()> {
        for (id, spec) in next {
            if self.config.contains_key(id) {
                continue;
            }
            let mut known = self.config.clone();
            known.insert(*id, *spec);
            let place = self.places.get_mut(id).unwrap();
            if place.process.pid().is_some() {
                place.process.terminate()?;
            }
            configure(place, *id, &known)?;
            place.process.spawn()?;
            place.process.wait_until_serving()?;
        }
        Ok(())
    }

    /// Asks until the ensemble has agreed.
    async fn agree(&self, next: &Config, fully: bool) {
        let began = Instant::now();
        loop {
            let mut change = self.client.reconfig();
            for (id, spec) in next {
                let line = spec.line();
                change = match (fully, self.config.get(id) == Some(spec)) {
                    (true, _) => change.member(*id, &line),
                    (false, false) => change.join(*id, &line),
                    (false, true) => change,
                };
            }
            for id in self.config.keys() {
                if !fully && !next.contains_key(id) {
                    change = change.leave(*id);
                }
            }
            let Err(error) = change.await else {
                return;
            };
            let passes = matches!(
                error.kind(),
                ErrorKind::ConnectionLoss
                    | ErrorKind::Server(
                        ErrorCode::ReconfigInProgress | ErrorCode::NewConfigNoQuorum
                    )
            );
            assert!(passes, "{error}");
            assert!(began.elapsed() < LIMIT, "{error}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until one leads, and every other member is what the configuration says; gives who leads.
    async fn settle(&mut self) -> i64 {
        let began = Instant::now();
        loop {
            let modes: BTreeMap<i64, Option<String>> = self
                .places
                .iter()
                .filter(|(_, place)| place.process.pid().is_some())
                .map(|(id, place)| (*id, mode(place.process.addr())))
                .collect();
            let is = |id: &i64, expected: &str| {
                let mode = modes.get(id).and_then(Option::as_deref);
                mode == Some(expected)
            };
            let leaders: Vec<i64> = { modes.keys() }
                .filter(|id| is(id, "leader"))
                .copied()
                .collect();
            let fits = self.config.iter().all(|(id, spec)| match spec.observes {
                true => is(id, "observer"),
                false => is(id, "follower") || leaders == [*id],
            });
            if let ([leader], true) = (&leaders[..], fits)
                && self.config.contains_key(leader)
            {
                self.led[self.places[leader].make as usize] += 1;
                return *leader;
            }
            assert!(
                began.elapsed() < LIMIT,
                "{:?}\nis to come of {:?}, and is {modes:?}",
                self.config,
                self.places
                    .iter()
                    .map(|(id, place)| (*id, place.make, place.process.data_dir()))
                    .collect::<Vec<_>>()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A change, and everything that follows from it.
    async fn change(&mut self, number: u32) -> io::Result<()> {
        let next = self.next()?;
        let fully = self.random.u8(0..4) == 0;
        let says = match fully {
            true => "in full",
            false => "in part",
        };
        println!("change {number}, {says}: {}", told(&self.config, &next));
        self.admit(&next)?;
        self.agree(&next, fully).await;
        let before: BTreeSet<i64> = self.config.keys().copied().collect();
        self.config = next;
        for (id, spec) in &self.config {
            let process = &mut self.places.get_mut(id).unwrap().process;
            process.move_to(spec.client);
        }
        let clients: Vec<_> = self.config.values().map(|spec| spec.client).collect();
        self.load.go_to(clients);
        self.client
            .update_hosts(&hosts(&self.config))
            .await
            .unwrap();
        self.load.acknowledged_after(Instant::now(), LIMIT).await;
        self.load.grown(BETWEEN, LIMIT).await;
        let leader = self.settle().await;
        for id in before {
            // Some that have left go on for a while.
            if !self.config.contains_key(&id) && self.random.bool() {
                self.process(id).terminate()?;
            }
        }
        if self.random.u8(0..6) == 0 {
            println!("the leader dies: {leader}, {:?}", self.places[&leader].make);
            self.process(leader).kill()?;
            self.load.acknowledged_after(Instant::now(), LIMIT).await;
            self.load.grown(BETWEEN, LIMIT).await;
            self.process(leader).spawn()?;
            self.settle().await;
        }
        Ok(())
    }

    async fn assert_well(&mut self) -> Vec<Ledger> {
        let members: Vec<_> = { self.config.keys() }
            .map(|id| &self.places[id].process)
            .collect();
        let all: Vec<_> = self.places.values().map(|place| &place.process).collect();
        assert_processes_well(&members, &all, &mut self.load).await
    }
}

fn hosts(config: &Config) -> String {
    let clients: Vec<_> = config
        .values()
        .map(|spec| spec.client.to_string())
        .collect();
    clients.join(",")
}

/// What is otherwise.
fn told(before: &Config, after: &Config) -> String {
    let ids: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut told = Vec::new();
    for id in ids {
        let what = match (before.get(id), after.get(id)) {
            (None, Some(spec)) if spec.observes => "joins to observe",
            (None, _) => "joins",
            (_, None) => "leaves",
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) if old.observes != new.observes => match new.observes {
                true => "observes",
                false => "votes",
            },
            (Some(old), Some(new)) if old.ports != new.ports => "has other quorum ports",
            _ => "has another client port",
        };
        told.push(format!("{id} {what}"));
    }
    told.join(", ")
}

#[tokio::test]
async fn members_of_both_makes_come_and_go_at_random_and_nothing_is_lost() {
    let test = "random reconfiguration of a mixed ensemble";
    if apache::launcher_or_skip(test).is_none() {
        return;
    }
    let changes = env::var("ZK_MIXED_RECONFIGS").map_or(6, |count| count.parse().unwrap());
    for seed in seeds() {
        let began = Instant::now();
        let mut scene = Scene::begin(seed).await;
        for number in 1..=changes {
            scene.change(number).await.unwrap();
            if number.is_multiple_of(LOOK_EVERY) || number == changes {
                let ledgers = scene.assert_well().await;
                scene.load.go_on(ledgers);
            }
        }
        let ledgers = scene.load.pause();
        let lost: u64 = ledgers.iter().map(Ledger::lost_sessions).sum();
        let [ours, theirs] = scene.led;
        println!(
            "seed {seed}: {changes} changes in {:?}, {} writes acknowledged, none lost; after a change ours led {ours} times, \
             Apache's {theirs}; {lost} sessions ended",
            began.elapsed(),
            scene.load.acknowledged()
        );
        let _ = timeout(LIMIT, scene.client.close()).await;
    }
}

//! Random schedules of cuts, outages, delays, lost answers and expiries, checked against a model.
//!
//! Every writer has a node of its own and knows what it may hold: the last value that was certainly written, and
//! those of unknown outcome since. A read must find one of these; what was written in the order of its
//! submission must have been carried out in that order; every call ends within its deadline. Watchers of every kind end
//! only when they have been led to the last value, so a change that is never told is a hang, and a clock of an hour
//! finds it. In the end the servers hold no watch that nobody waits for. Who holds evidence is promised that the quorum
//! keeps the session for so long; it is asked whether it does. Some clients take read-only servers, some are impatient, and
//! some stop when their session has expired: then nothing of theirs goes on, and another client finds what they left.
//!
//! `ZK_CLIENT_SEEDS=5000 cargo test -p zk-client --test virtual_time schedules` runs more of them, and
//! `ZK_CLIENT_SEED=7` one alone.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fastrand::Rng;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use zk_client::{
    Client, ClientBuilder, Error, ErrorKind, OnExpiry, Outcome, SessionState, WatchEvent,
    WhileDisconnected,
};

use crate::ensemble::Ensemble;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const WRITERS: u64 = 3;
const STEPS: usize = 40;
/// What every node holds in the end.
const LAST: u64 = u64::MAX;

#[test]
fn no_schedule_makes_a_wrong_answer_or_a_hang() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("ZK_CLIENT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZK_CLIENT_SEEDS").unwrap_or(1000),
    };
    let many = seeds.end - seeds.start >= 1000;
    let mut met = Met::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let run = timeout(Duration::from_secs(3600), schedule(seed)).await;
            match run {
                Ok(one) => met.add(one),
                Err(_) => panic!("seed {seed}: an hour was not enough"),
            }
        });
    }
    let enough = met.stopped > 20 && met.read_only > 100 && met.proved > 400;
    assert!(enough || !many, "{met:?}");
}

/// How many schedules met what is rare.
#[derive(Debug, Default)]
struct Met {
    /// The client stopped with its session.
    stopped: usize,
    /// It was connected to a read-only server.
    read_only: usize,
    /// It had evidence.
    proved: usize,
}

impl Met {
    const fn add(&mut self, one: Self) {
        self.stopped += one.stopped;
        self.read_only += one.read_only;
        self.proved += one.proved;
    }
}

/// What a seed's client is told, beside its window.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Every fifth is impatient.
    patience: WhileDisconnected,
    /// Every third takes read-only servers, and meets some.
    read_only: bool,
    /// Every seventh stops when its session has expired.
    on_expiry: OnExpiry,
    /// Every second is given evidence, and no session of its is ended by force.
    evidence: bool,
}

impl Kind {
    fn of(seed: u64) -> Self {
        Self {
            patience: match seed % 5 {
                4 => WhileDisconnected::FailFast,
                _ => WhileDisconnected::Wait,
            },
            read_only: seed % 3 == 1,
            on_expiry: match seed % 7 {
                6 => OnExpiry::Stop,
                _ => OnExpiry::Renew,
            },
            evidence: seed.is_multiple_of(2),
        }
    }

    async fn connect(self, ensemble: &Ensemble, seed: u64) -> Client {
        // Every seed has a window of its own.
        let window = match seed % 9 {
            0 => 4096,
            few => usize::try_from(few).unwrap(),
        };
        let mut builder = builder(ensemble, seed)
            .max_in_flight(window)
            .while_disconnected(self.patience)
            .on_expiry(self.on_expiry);
        if self.read_only {
            builder = builder.allow_read_only();
        }
        builder.connect().await.unwrap()
    }
}

async fn schedule(seed: u64) -> Met {
    let (ensemble, kind) = (Ensemble::new(), Kind::of(seed));
    let client = kind.connect(&ensemble, seed).await;
    let (mut met, mut states) = (Met::default(), client.states());
    for writer in 0..WRITERS {
        ensemble.set(&path(writer), "0");
    }
    let mut rng = Rng::with_seed(seed);
    let faults = fault_after_fault(ensemble.clone(), client.clone(), kind, rng.fork());
    let faults = tokio::spawn(faults);
    let mut holder = None;
    if kind.evidence {
        met.proved += usize::from(client.session().evidence().await.is_ok());
        let believe = believe(ensemble.clone(), client.clone(), rng.fork());
        holder = Some(tokio::spawn(believe));
    }
    let watcher = tokio::spawn(follow(client.clone(), path(0)));
    let lists = tokio::spawn(follow_list(client.clone()));
    let streams = [false, true].map(|recursive| {
        let stream = follow_stream(client.clone(), recursive);
        tokio::spawn(stream)
    });
    let writers = (0..WRITERS).map(|writer| Writer::new(&client, seed, writer, rng.fork()).run());
    let mut writers = join_all(writers).await;
    faults.await.unwrap();
    if let Some(holder) = holder {
        holder.abort();
        // A broken promise is what it ended with.
        assert!(
            holder.await.is_err_and(|error| error.is_cancelled()),
            "seed {seed}"
        );
    }
    if is_over(&client) {
        met.stopped += 1;
        nothing_goes_on(&ensemble, &client).await;
        hand_over(&ensemble, &mut writers, seed).await;
    }
    // Ends only when it has seen the last value: a change that is never told is a hang.
    watcher.await.unwrap();
    for stream in streams {
        stream.await.unwrap();
    }
    ensemble.set("/end", "");
    lists.await.unwrap();
    for writer in 0..WRITERS {
        assert_in_order(seed, &ensemble.history(&path(writer)));
    }
    // A second for the removal of watches, and some round trips.
    sleep(Duration::from_secs(2)).await;
    if !is_over(&client) {
        client.sync("/").await.unwrap();
    }
    assert_eq!(ensemble.watches(), 0, "seed {seed}");
    client.close().await.unwrap();
    while let Some(state) = states.next().await {
        met.read_only += usize::from(state == SessionState::ReadOnly);
    }
    met.read_only = met.read_only.min(1);
    met
}

fn builder(ensemble: &Ensemble, seed: u64) -> ClientBuilder {
    Client::builder("zk:1,zk:2")
        .session_timeout(Duration::from_secs(6))
        .request_timeout(REQUEST_TIMEOUT)
        .net(Arc::new(ensemble.clone()))
        .seed(seed)
}

/// Whether the client has stopped with its session.
fn is_over(client: &Client) -> bool {
    client.on_expiry() == OnExpiry::Stop && client.state() == SessionState::Expired
}

/// A client that has stopped says so at once, whatever it is asked, and leaves the servers alone.
async fn nothing_goes_on(ensemble: &Ensemble, client: &Client) {
    let connects = ensemble.connects();
    let start = Instant::now();
    let errors = [
        client.get("/").await.unwrap_err(),
        client.set(&path(0), "late").await.unwrap_err(),
        client.session().evidence().await.unwrap_err(),
    ];
    for error in errors {
        let told = (error.kind(), error.outcome());
        assert_eq!(told, (ErrorKind::SessionExpired, Outcome::NotApplied));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(ensemble.connects(), connects);
}

/// Another client finds what a stopped one's writers may have left.
async fn hand_over(ensemble: &Ensemble, writers: &mut [Writer], seed: u64) {
    let heir = builder(ensemble, seed).connect().await.unwrap();
    for writer in writers {
        writer.client = heir.clone();
        writer.read().await;
        assert_eq!(writer.possible.len(), 1, "seed {seed}");
    }
    heir.close().await.unwrap();
}

/// Holds evidence as often as it can be had, and asks the quorum whether the promise is kept.
async fn believe(ensemble: Ensemble, client: Client, mut rng: Rng) {
    loop {
        let session = client.session();
        if let Ok(evidence) = session.evidence().await {
            while let Some(promised) = evidence.time_left() {
                let left = ensemble.time_left(session.id());
                assert!(promised <= left, "{promised:?} promised, {left:?} left");
                assert!(
                    session.expires_in() <= left,
                    "only a quorum can let it live"
                );
                sleep(Duration::from_millis(rng.u64(1..300))).await;
            }
            evidence.lost().await;
        }
        // That of a server without a quorum is its own.
        if ensemble.knows(session.id()) {
            let (told, left) = (session.expires_in(), ensemble.time_left(session.id()));
            assert!(told <= left, "{told:?} told, {left:?} left");
        }
        sleep(Duration::from_millis(rng.u64(50..3000))).await;
    }
}

fn path(writer: u64) -> String {
    format!("/w{writer}")
}

/// Breaks things for a while, and heals them in the end.
async fn fault_after_fault(ensemble: Ensemble, client: Client, kind: Kind, mut rng: Rng) {
    for _ in 0..STEPS {
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
        match rng.u32(0..17) {
            12 | 13 => ensemble.fault(|faults| {
                faults.mute_hosts.insert(rng.u16(1..3));
            }),
            14 => ensemble.fault(|faults| faults.rubbish = true),
            0..=2 => ensemble.cut(),
            10 => ensemble.fault(|faults| faults.delay = Duration::from_millis(rng.u64(1..2500))),
            11 => ensemble.fault(|faults| faults.lose_replies = 3),
            3 => ensemble.fault(|faults| faults.mute = true),
            4 => ensemble.fault(|faults| faults.down.extend([1, 2])),
            5 => ensemble.fault(|faults| faults.silent.extend([1])),
            6 => ensemble.fault(|faults| faults.lose_replies = 1),
            7 if kind.evidence => {
                // Nobody hears of the session for longer than it lives.
                ensemble.fault(|faults| faults.down.extend([1, 2]));
                ensemble.cut();
                sleep(Duration::from_secs(7)).await;
            }
            7 => ensemble.expire(client.session().id()),
            15 if kind.read_only => without_quorum(&ensemble, &[1]),
            16 if kind.read_only => without_quorum(&ensemble, &[1, 2]),
            _ => heal(&ensemble),
        }
    }
    heal(&ensemble);
    ensemble.cut();
}

/// These hosts have lost their quorum; the connections of before are closed.
fn without_quorum(ensemble: &Ensemble, hosts: &[u16]) {
    ensemble.fault(|faults| faults.read_only.extend(hosts));
    ensemble.cut();
}

fn heal(ensemble: &Ensemble) {
    let mut had_quorum = true;
    ensemble.fault(|faults| {
        had_quorum = faults.read_only.is_empty();
        faults.read_only.clear();
        faults.mute = false;
        faults.delay = Duration::ZERO;
        faults.down.clear();
        faults.silent.clear();
        faults.mute_hosts.clear();
        faults.rubbish = false;
    });
    if !had_quorum {
        ensemble.cut();
    }
}

/// Reads a node and waits for its changes until it holds the last value, or the client has stopped.
async fn follow(client: Client, path: String) {
    while !is_over(&client) {
        match client.get(&path).watch().await {
            Ok((node, change)) => {
                let value = parse(&node.data);
                if value == LAST {
                    return;
                }
                assert!(!matches!(change.await, WatchEvent::Deleted(_)));
            }
            Err(error) => passing(&error).await,
        }
    }
}

/// Lists the nodes and waits for another list until one has the last node.
async fn follow_list(client: Client) {
    while !is_over(&client) {
        match client.children("/").watch().await {
            Ok((names, _)) if names.iter().any(|name| name == "end") => return,
            Ok((_, change)) => drop(change.await),
            Err(error) => passing(&error).await,
        }
    }
}

/// Reads every node when a stream says that something happened or may have, until all hold the last value.
async fn follow_stream(client: Client, recursive: bool) {
    while !is_over(&client) {
        let added = match recursive {
            true => client.watch("/").recursive().await,
            false => client.watch(&path(1)).await,
        };
        let mut events = match added {
            Ok(events) => events,
            Err(error) => {
                passing(&error).await;
                continue;
            }
        };
        loop {
            if all_last(&client, if recursive { 0..WRITERS } else { 1..2 }).await {
                return;
            }
            match events.next().await {
                None | Some(WatchEvent::SessionEnded) => break,
                // Nothing can be read now; the end of the gap is told.
                Some(WatchEvent::SessionDisconnected) => {}
                Some(_) => {}
            }
        }
    }
}

async fn all_last(client: &Client, writers: std::ops::Range<u64>) -> bool {
    for writer in writers {
        loop {
            match client.get(&path(writer)).await {
                Ok(node) if parse(&node.data) == LAST => break,
                Ok(_) => return false,
                Err(_) if is_over(client) => return false,
                Err(error) => passing(&error).await,
            }
        }
    }
    true
}

/// A writer's values grow, and nothing is carried out twice but the last value, which is written again and again.
fn assert_in_order(seed: u64, history: &[bytes::Bytes]) {
    let values: Vec<_> = history.iter().map(|data| parse(data)).collect();
    let growing = |pair: &[u64]| pair[0] < pair[1] || pair == [LAST, LAST];
    assert!(values.windows(2).all(growing), "seed {seed}: {values:?}");
}

fn parse(data: &[u8]) -> u64 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

/// The impatient fail at once, so they wait a little themselves.
async fn passing(error: &Error) {
    assert!(is_passing(error), "{error}");
    sleep(Duration::from_millis(50)).await;
}

fn is_passing(error: &Error) -> bool {
    use ErrorKind::{ConnectionLoss, OperationTimeout, ReadOnly, SessionExpired};
    matches!(
        error.kind(),
        ConnectionLoss | OperationTimeout | ReadOnly | SessionExpired
    )
}

/// One writer of one node, and what the node may hold.
struct Writer {
    client: Client,
    seed: u64,
    path: String,
    rng: Rng,
    /// What the node may hold: the last value known, and those of unknown outcome written since.
    possible: BTreeSet<u64>,
}

impl Writer {
    fn new(client: &Client, seed: u64, writer: u64, rng: Rng) -> Self {
        let (client, path, possible) = (client.clone(), path(writer), BTreeSet::from([0]));
        Self {
            client,
            seed,
            path,
            rng,
            possible,
        }
    }

    async fn run(mut self) -> Self {
        for value in 1..60 {
            if is_over(&self.client) {
                return self;
            }
            match self.rng.u32(0..8) {
                0 | 1 => self.read().await,
                2 | 3 => self.pipeline(value * 10).await,
                4 => self.multi(value * 10).await,
                5 => self.update(value * 10).await,
                6 => self.own_node().await,
                _ => self.write(value * 10).await,
            }
            sleep(Duration::from_millis(self.rng.u64(0..700))).await;
        }
        // The last value is written until that is certain.
        while self.possible != BTreeSet::from([LAST]) && !is_over(&self.client) {
            self.write(LAST).await;
            sleep(Duration::from_millis(50)).await;
        }
        self
    }

    /// Sometimes less than the request timeout.
    fn limit(&mut self) -> Duration {
        match self.rng.u32(0..3) {
            0 => Duration::from_millis(self.rng.u64(20..3000)),
            _ => REQUEST_TIMEOUT,
        }
    }

    async fn write(&mut self, value: u64) {
        let (start, limit) = (Instant::now(), self.limit());
        let set = self.client.set(&self.path, value.to_string());
        let result = set.within(limit).await;
        self.in_time(start, limit);
        self.written(value, result.map(drop));
    }

    async fn multi(&mut self, value: u64) {
        let start = Instant::now();
        let multi = self.client.multi().check(&self.path, -1);
        let result = multi.set(&self.path, value.to_string()).commit().await;
        self.in_time(start, REQUEST_TIMEOUT);
        self.written(value, result.map(drop));
    }

    async fn update(&mut self, value: u64) {
        let (start, limit) = (Instant::now(), self.limit());
        let update = self.client.update(&self.path, |_| value.to_string());
        let result = update.within(limit).await;
        self.in_time(start, limit);
        self.written(value, result.map(drop));
    }

    /// A node of the session's own, found again whatever is lost; and gone again.
    async fn own_node(&mut self) {
        let (start, limit) = (Instant::now(), self.limit());
        let own = self.client.create("/own-", "").ephemeral().protected();
        let result = own.within(limit).await;
        self.in_time(start, limit);
        match result {
            Ok(created) => drop(self.client.delete(&created.path).await),
            Err(error) => {
                let changed = error.kind() == ErrorKind::SessionChanged;
                assert!(changed || is_passing(&error), "seed {}: {error}", self.seed);
            }
        }
    }

    fn written(&mut self, value: u64, result: Result<(), Error>) {
        match result {
            Ok(()) => self.possible = BTreeSet::from([value]),
            Err(error) => {
                assert!(is_passing(&error), "seed {}: {error}", self.seed);
                let refused = error.kind() == ErrorKind::ReadOnly;
                assert!(!refused || error.outcome() == Outcome::NotApplied);
                if error.outcome() == Outcome::Unknown {
                    self.possible.insert(value);
                }
            }
        }
    }

    /// Several writes are on their way together, and some of their callers lose interest.
    async fn pipeline(&mut self, first: u64) {
        let mut under_way = Vec::new();
        for value in first..first + self.rng.u64(2..6) {
            let start = Instant::now();
            match self
                .client
                .set(&self.path, value.to_string())
                .submit()
                .await
            {
                Ok(pending) => under_way.push((value, pending)),
                Err(error) => self.written(value, Err(error)),
            }
            self.in_time(start, REQUEST_TIMEOUT);
        }
        // All have been submitted by now, so all are over by their deadlines.
        let start = Instant::now();
        for (value, pending) in under_way {
            if self.rng.u32(0..4) == 0 {
                drop(pending);
                self.possible.insert(value);
                continue;
            }
            let result = pending.await;
            self.in_time(start, REQUEST_TIMEOUT);
            self.written(value, result.map(drop));
        }
    }

    async fn read(&mut self) {
        let (start, limit) = (Instant::now(), self.limit());
        let result = self.client.get(&self.path).within(limit).await;
        self.in_time(start, limit);
        match result {
            Ok(node) => {
                let value = parse(&node.data);
                let (seed, possible) = (self.seed, &self.possible);
                assert!(
                    possible.contains(&value),
                    "seed {seed}: read {value}, not {possible:?}"
                );
                self.possible = BTreeSet::from([value]);
            }
            Err(error) => assert!(is_passing(&error), "seed {}: {error}", self.seed),
        }
    }

    fn in_time(&self, start: Instant, limit: Duration) {
        let (took, limit) = (start.elapsed(), limit + Duration::from_millis(10));
        assert!(took <= limit, "seed {}: {took:?} of {limit:?}", self.seed);
    }
}

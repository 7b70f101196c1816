//! Random schedules of cuts, outages, lost answers and expiries, checked against a model.
//!
//! `ZK_CLIENT_SEEDS=5000 cargo test -p zk-client --test virtual_time schedules` runs more of them, and
//! `ZK_CLIENT_SEED=7` one alone.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fastrand::Rng;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use zk_client::{Client, Error, ErrorKind, Outcome, WatchEvent};

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
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let run = timeout(Duration::from_secs(3600), schedule(seed)).await;
            assert!(run.is_ok(), "seed {seed}: an hour was not enough");
        });
    }
}

async fn schedule(seed: u64) {
    let ensemble = Ensemble::new();
    let client = Client::builder("zk:1,zk:2")
        .session_timeout(Duration::from_secs(6))
        .request_timeout(REQUEST_TIMEOUT)
        .net(Arc::new(ensemble.clone()))
        .seed(seed)
        .connect()
        .await
        .unwrap();
    for writer in 0..WRITERS {
        ensemble.set(&path(writer), "0");
    }
    let mut rng = Rng::with_seed(seed);
    let faults = tokio::spawn(fault_after_fault(
        ensemble.clone(),
        client.clone(),
        rng.fork(),
    ));
    let watcher = tokio::spawn(follow(client.clone(), path(0)));
    let writers = (0..WRITERS).map(|writer| Writer::new(&client, seed, writer, rng.fork()).run());
    join_all(writers).await;
    faults.await.unwrap();
    // Ends only when it has seen the last value: a change that is never told is a hang.
    watcher.await.unwrap();
    client.close().await.unwrap();
}

fn path(writer: u64) -> String {
    format!("/w{writer}")
}

/// Breaks things for a while, and heals them in the end.
async fn fault_after_fault(ensemble: Ensemble, client: Client, mut rng: Rng) {
    for _ in 0..STEPS {
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
        match rng.u32(0..10) {
            0..=2 => ensemble.cut(),
            3 => ensemble.fault(|faults| faults.mute = true),
            4 => ensemble.fault(|faults| faults.down.extend([1, 2])),
            5 => ensemble.fault(|faults| faults.silent.extend([1])),
            6 => ensemble.fault(|faults| faults.lose_replies = 1),
            7 => ensemble.expire(client.session().id()),
            _ => heal(&ensemble),
        }
    }
    heal(&ensemble);
    ensemble.cut();
}

fn heal(ensemble: &Ensemble) {
    ensemble.fault(|faults| {
        faults.mute = false;
        faults.down.clear();
        faults.silent.clear();
    });
}

/// Reads a node and waits for its changes until it holds the last value.
async fn follow(client: Client, path: String) {
    loop {
        match client.get(&path).watch().await {
            Ok((node, change)) => {
                let value = parse(&node.data);
                if value == LAST {
                    return;
                }
                assert!(!matches!(change.await, WatchEvent::Deleted(_)));
            }
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
    }
}

fn parse(data: &[u8]) -> u64 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

fn is_passing(error: &Error) -> bool {
    use ErrorKind::{ConnectionLoss, OperationTimeout, SessionExpired};
    matches!(
        error.kind(),
        ConnectionLoss | OperationTimeout | SessionExpired
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

    async fn run(mut self) {
        for value in 1..60 {
            match self.rng.u32(0..3) {
                0 => self.read().await,
                _ => self.write(value).await,
            }
            sleep(Duration::from_millis(self.rng.u64(0..700))).await;
        }
        // The last value is written until that is certain.
        while self.possible != BTreeSet::from([LAST]) {
            self.write(LAST).await;
        }
    }

    async fn write(&mut self, value: u64) {
        let start = Instant::now();
        let result = self.client.set(&self.path, value.to_string()).await;
        self.in_time(start);
        match result {
            Ok(_) => self.possible = BTreeSet::from([value]),
            Err(error) => {
                assert!(is_passing(&error), "seed {}: {error}", self.seed);
                if error.outcome() == Outcome::Unknown {
                    self.possible.insert(value);
                }
            }
        }
    }

    async fn read(&mut self) {
        let start = Instant::now();
        let result = self.client.get(&self.path).await;
        self.in_time(start);
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

    fn in_time(&self, start: Instant) {
        let (took, limit) = (start.elapsed(), REQUEST_TIMEOUT + Duration::from_millis(10));
        assert!(took <= limit, "seed {}: {took:?}", self.seed);
    }
}

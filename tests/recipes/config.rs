//! The configuration watcher on the whole stack, under seeded faults in virtual time.
//!
//! Checked: every watcher ends with the last value that was written, whatever was lost, cut or expired on the way;
//! what it is told never goes back; its current value is the last good one that it was told; of several who write by compare
//! and set nobody overwrites what another wrote.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind};
use zk_recipes::{Error, prelude::*};

use crate::{
    faults::Plan,
    scenario::{Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const PATH: &str = "/app/config";
/// No fault begins later.
const FAULTS: Duration = Duration::from_secs(8);
/// Nothing may take longer than this in all.
const LIMIT: Duration = Duration::from_secs(120);
const WATCHERS: u64 = 3;

#[derive(Debug, Deserialize)]
struct Settings {
    number: u64,
}

/// The last value written, once it is.
type Last = Arc<Mutex<Option<u64>>>;

#[test]
fn everybody_ends_with_the_last_value_under_faults() {
    seeds::each(run);
}

fn run(seed: u64) -> Result<(), String> {
    let (servers, last) = (Servers::draw(seed), Last::default());
    let reach = servers.reach();
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let mut processes = vec!["writer".to_owned()];
    sim.client("writer", write(seed * 31, reach.clone(), Arc::clone(&last)));
    for place in 1..=WATCHERS {
        let name = format!("watcher-{place}");
        sim.client(
            name.as_str(),
            watch(seed * 31 + place, reach.clone(), Arc::clone(&last)),
        );
        processes.push(name);
    }
    let mut plan = Plan::draw(seed, FAULTS, (&processes, &[]), (&reach, &servers));
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        plan.step(&mut sim);
        ended = sim.step();
    }
    ended
        .map(drop)
        .map_err(|error| format!("{error}\n{plan:?}"))
}

/// Writes growing numbers, now and then rubbish, now and then nothing at all; at the end a number.
async fn write(seed: u64, reach: Reach, last: Last) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    client.create_all("/app", "").await.ok();
    let mut number = 0;
    while now() < FAULTS {
        number += 1;
        // Whether it took place is not known always, and does not matter.
        let _ = match rng.u8(..10) {
            0 => client.delete(PATH).await,
            1 => put(&client, "{ rubbish").await,
            _ => put(&client, &format!(r#"{{"number": {number}}}"#)).await,
        };
        sleep((T / 3).mul_f64(rng.f64().powi(3))).await;
    }
    number += 1;
    client.create_all("/app", "").await.ok();
    while put(&client, &format!(r#"{{"number": {number}}}"#))
        .await
        .is_err()
    {
        sleep(T / 10).await;
    }
    *last.lock() = Some(number);
    Ok(())
}

async fn put(client: &Client, content: &str) -> zk_client::Result<()> {
    match client.set(PATH, content).await {
        Err(error) if error.kind() == ErrorKind::NoNode => {
            client.create(PATH, content).await.map(drop)
        }
        set => set.map(drop),
    }
}

/// Follows the configuration until the last value is current.
async fn watch(seed: u64, reach: Reach, last: Last) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let source = client.config(PATH).json::<Settings>().or_wait();
    let mut config = source.watch().await?;
    let mut newest = config.current().number;
    while *last.lock() != Some(newest) {
        // The last value may have been written, and told, before it was known to be the last.
        let Ok(change) = timeout(T, config.changed()).await else {
            continue;
        };
        if let ConfigChange::Updated(settings) = change? {
            if settings.number < newest {
                return Err(format!("told {} after {newest}", settings.number).into());
            }
            newest = settings.number;
        }
        if config.current().number < newest {
            return Err(format!(
                "current is {}, and {newest} was told",
                config.current().number
            )
            .into());
        }
    }
    client.close().await?;
    Ok(())
}

const COUNT: &str = "/app/count";
const WRITERS: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    number: u64,
    /// Of two who write the same, neither could tell whose it is.
    writer: u64,
}

/// What those did who count up.
#[derive(Debug, Default)]
struct Written {
    /// The numbers that were written for certain.
    certain: BTreeSet<u64>,
    /// So many writes are open: cancelled, unknown, or met by another's, or their own, which is not always to be told apart.
    open: usize,
    cancelled: usize,
    done: usize,
}

#[test]
fn nobody_overwrites_another_under_faults() {
    let totals = Mutex::new((0, 0));
    seeds::each(|seed| {
        let (written, violations) = (
            Arc::new(Mutex::new(Written::default())),
            Violations::default(),
        );
        let mut scenario = Scenario::new(seed);
        for place in 0..WRITERS {
            let (written, violations) = (Arc::clone(&written), violations.clone());
            scenario.add(&format!("writer-{place}"), |process| {
                count_up(process, written, violations)
            });
        }
        scenario.run(&violations)?;
        let (written, mut totals) = (written.lock(), totals.lock());
        totals.0 += written.certain.len();
        totals.1 += written.cancelled;
        Ok(())
    });
    let (certain, cancelled) = totals.into_inner();
    println!("{certain} written, {cancelled} given up");
    assert!(certain > 0 && cancelled > 0);
}

async fn count_up(
    process: Process,
    written: Arc<Mutex<Written>>,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let (mut rng, writer) = (process.rng(), process.seed);
    let source = client.config(COUNT).json::<Count>();
    let first = Count { number: 0, writer };
    let config = source.or_start_with(first).watch().await?;
    while now() < FAULTS {
        let number = config.current().number + 1;
        let patience = match rng.u8(..5) {
            0 => (T / 4).mul_f64(rng.f64().powi(2)),
            _ => T * 1000,
        };
        let set = timeout(patience, config.set(&Count { number, writer })).await;
        let current = config.current().number;
        match set {
            Ok(Ok(())) if !written.lock().certain.insert(number) => {
                violations.note(format!("{number} was written twice"));
            }
            Ok(Ok(())) if current < number => {
                violations.note(format!("{number} was written, and {current} is current"));
            }
            Ok(Ok(())) => {}
            Ok(Err(Error::Conflict { .. } | Error::Unknown { .. })) => {
                written.lock().open += 1;
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let mut written = written.lock();
                written.open += 1;
                written.cancelled += 1;
            }
        }
        sleep((T / 3).mul_f64(rng.f64().powi(3))).await;
    }
    faults_over().await;
    written.lock().done += 1;
    while written.lock().done < WRITERS {
        sleep(T / 10).await;
    }
    // What was given up may have been on its way.
    sleep(T * 5).await;
    let (current, certain, open) = {
        let written = written.lock();
        (config.current().number, written.certain.len(), written.open)
    };
    let most = u64::try_from(certain + open)?;
    if !(u64::try_from(certain)?..=most).contains(&current) || config.is_stale() {
        violations.note(format!("{current} of {certain} and {open}"));
    }
    leaves_nothing(&client).await
}

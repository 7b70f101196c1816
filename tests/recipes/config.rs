//! The configuration watcher on the whole stack, under seeded faults in virtual time.
//!
//! Checked: every watcher ends with the last value that was written, whatever was lost, cut or expired on the way;
//! what it is told never goes back; its current value is the last good one that it was told.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::sleep;
use zk_client::{Client, ErrorKind};
use zk_recipes::prelude::*;

use crate::{
    faults::Plan,
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
        let Ok(change) = tokio::time::timeout(T, config.changed()).await else {
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

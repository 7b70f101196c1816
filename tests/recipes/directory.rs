//! A directory of settings on the whole stack, under seeded faults in virtual time.
//!
//! Checked: what is current is of one moment (fields that are written together are seen together) and never goes back; nobody's
//! write is lost among several writers; in the end everybody has the last value.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use zk_recipes::{Error, config_watcher::ConfigDirectory, prelude::*};

use crate::{
    faults::Plan,
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const PATH: &str = "/app/settings";
const FAULTS: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_secs(180);
const WRITERS: u64 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    first: u64,
    second: u64,
    /// There for every other number only.
    sometimes: Option<u64>,
    /// Who wrote it: of two who write the same, neither could tell whose it is.
    writer: u64,
}

impl Settings {
    fn new(number: u64, writer: u64) -> Self {
        Self {
            first: number,
            second: number,
            sometimes: (number % 2 == 1).then_some(number),
            writer,
        }
    }

    fn number(&self) -> turmoil::Result<u64> {
        let whole = Self::new(self.first, self.writer);
        match self.second == whole.second && self.sometimes == whole.sometimes {
            true => Ok(self.first),
            false => Err(format!("{self:?} is of several moments").into()),
        }
    }
}

/// What the writers did.
#[derive(Debug, Default)]
struct Written {
    /// Writes that were told to have taken place.
    certain: u64,
    /// Writes that met another's, or their own, which is not always to be told apart.
    conflicts: u64,
    done: u64,
}

#[test]
fn a_directory_is_read_and_written_as_one_under_faults() {
    seeds::each(run);
}

fn run(seed: u64) -> Result<(), String> {
    let servers = Servers::draw(seed);
    let reach = servers.reach();
    let written = Arc::new(Mutex::new(Written::default()));
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let mut processes = Vec::new();
    for place in 0..WRITERS {
        let name = format!("writer-{place}");
        let writer = write(seed * 31 + place, reach.clone(), Arc::clone(&written));
        sim.client(name.as_str(), writer);
        processes.push(name);
    }
    sim.client(
        "watcher",
        watch(seed * 31 + 7, reach.clone(), Arc::clone(&written)),
    );
    processes.push("watcher".to_owned());
    let mut plan = Plan::draw(seed, FAULTS, (&processes, &[]), (&reach, &servers));
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        plan.step(&mut sim);
        ended = sim.step();
    }
    ended
        .map(drop)
        .map_err(|error| format!("{error}\n{:?}\n{plan:?}", written.lock()))
}

async fn open(seed: u64, reach: &Reach) -> turmoil::Result<ConfigDirectory<Settings>> {
    let client = world::client(seed, reach).connect().await?;
    let source = client.config(PATH).directory::<Settings>();
    Ok(source.or_start_with(Settings::new(0, 0)).watch().await?)
}

/// Counts up, by compare and set.
async fn write(seed: u64, reach: Reach, written: Arc<Mutex<Written>>) -> turmoil::Result {
    let config = open(seed, &reach).await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut after = false;
    // And once after the faults.
    while !after {
        after = now() >= FAULTS;
        let number = config.current().number()?;
        match config.set(&Settings::new(number + 1, seed)).await {
            Ok(()) => {
                written.lock().certain += 1;
                let current = config.current().number()?;
                if current <= number {
                    return Err(format!("{number} + 1 was set, and {current} is current").into());
                }
            }
            Err(Error::Conflict { .. }) => {
                written.lock().conflicts += 1;
                after = false;
            }
            Err(error) => return Err(error.into()),
        }
        sleep((T / 3).mul_f64(rng.f64().powi(3))).await;
    }
    written.lock().done += 1;
    Ok(())
}

/// Follows the directory until everything written is current.
async fn watch(seed: u64, reach: Reach, written: Arc<Mutex<Written>>) -> turmoil::Result {
    let mut config = open(seed, &reach).await?;
    let mut newest = config.current().number()?;
    loop {
        let (done, certain, conflicts) = {
            let written = written.lock();
            (written.done, written.certain, written.conflicts)
        };
        if done == WRITERS && newest >= certain {
            // No write is lost, and none is doubled.
            match newest <= certain + conflicts {
                true => return Ok(()),
                false => return Err(format!("{newest} after {certain} + {conflicts}").into()),
            }
        }
        let Ok(change) = timeout(T, config.changed()).await else {
            continue;
        };
        if let ConfigChange::Updated(settings) = change? {
            let number = settings.number()?;
            if number < newest {
                return Err(format!("told {number} after {newest}").into());
            }
            newest = number;
        }
    }
}

//! Settings that several write, in a directory and in one node, on the whole stack, under seeded faults in virtual time.
//!
//! Checked: what is current is of one moment (fields that are written together are seen together) and never goes back; nobody's
//! write is lost among several writers; in the end everybody has the last value.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use zk_recipes::{Attempt, Error, config_watcher::ConfigDirectory, prelude::*};

use crate::{
    faults::Plan,
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const DIRECTORY: &str = "/app/settings";
const NODE: &str = "/app/node";
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

/// Where the settings are.
#[derive(Debug, Clone, Copy)]
enum Place {
    Directory,
    Node,
}

/// The settings, watched.
enum Config {
    Directory(ConfigDirectory<Settings>),
    Node(ConfigWatcher<Settings>),
}

/// The same with both.
macro_rules! of_both {
    ($config:expr, $inner:ident => $work:expr) => {
        match $config {
            Config::Directory($inner) => $work,
            Config::Node($inner) => $work,
        }
    };
}

impl Config {
    async fn open(place: Place, seed: u64, reach: &Reach) -> turmoil::Result<Self> {
        let client = world::client(seed, reach).connect().await?;
        let start = Settings::new(0, 0);
        Ok(match place {
            Place::Directory => {
                let source = client.config(DIRECTORY).directory();
                Self::Directory(source.or_start_with(start).watch().await?)
            }
            Place::Node => {
                let source = client.config(NODE).json();
                Self::Node(source.or_start_with(start).watch().await?)
            }
        })
    }

    fn current(&self) -> Arc<Settings> {
        of_both!(self, config => config.current())
    }

    async fn changed(&mut self) -> zk_recipes::Result<ConfigChange<Settings>> {
        of_both!(self, config => config.changed().await)
    }

    fn set(&self, settings: &Settings) -> Attempt<()> {
        of_both!(self, config => config.set(settings))
    }

    /// The next number.
    async fn count(&self, writer: u64) -> zk_recipes::Result<()> {
        let up = move |old: &Settings| Settings::new(old.first + 1, writer);
        of_both!(self, config => config.update(up).await.map(drop))
    }
}

/// What the writers did.
#[derive(Debug, Default)]
struct Written {
    /// Writes that were told to have taken place.
    certain: u64,
    /// Writes of which it was never known whether they took place.
    unknown: u64,
    done: u64,
}

#[test]
fn a_directory_is_read_and_written_as_one_under_faults() {
    seeds::each(|seed| run(seed, Place::Directory));
}

#[test]
fn no_write_to_a_node_is_lost_under_faults() {
    seeds::each(|seed| run(seed, Place::Node));
}

fn run(seed: u64, place: Place) -> Result<(), String> {
    let servers = Servers::draw(seed);
    let reach = servers.reach();
    let written = Arc::new(Mutex::new(Written::default()));
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let mut processes = Vec::new();
    for number in 0..WRITERS {
        let name = format!("writer-{number}");
        let (seed, reach) = (seed * 31 + number, reach.clone());
        let writer = write((place, seed), reach, Arc::clone(&written));
        sim.client(name.as_str(), writer);
        processes.push(name);
    }
    sim.client(
        "watcher",
        watch((place, seed * 31 + 7), reach.clone(), Arc::clone(&written)),
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

/// Counts up, by compare and set.
async fn write(
    (place, seed): (Place, u64),
    reach: Reach,
    written: Arc<Mutex<Written>>,
) -> turmoil::Result {
    let config = Config::open(place, seed, &reach).await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut after = false;
    // And once after the faults.
    while !after {
        after = now() >= FAULTS;
        let number = config.current().number()?;
        let wrote = match rng.bool() {
            true => {
                // What others write meanwhile is read in the background, and must not be overwritten unseen.
                sleep((T / 10).mul_f64(rng.f64().powi(3))).await;
                config.set(&Settings::new(number + 1, seed)).await
            }
            false => config.count(seed).await,
        };
        match wrote {
            Ok(()) => {
                written.lock().certain += 1;
                let current = config.current().number()?;
                if current <= number {
                    return Err(format!("{number} + 1 was set, and {current} is current").into());
                }
            }
            Err(Error::Conflict { .. }) => after = false,
            Err(Error::Unknown { .. }) => {
                written.lock().unknown += 1;
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
async fn watch(
    (place, seed): (Place, u64),
    reach: Reach,
    written: Arc<Mutex<Written>>,
) -> turmoil::Result {
    let mut config = Config::open(place, seed, &reach).await?;
    let mut newest = config.current().number()?;
    loop {
        let (done, certain, unknown) = {
            let written = written.lock();
            (written.done, written.certain, written.unknown)
        };
        if done == WRITERS && newest >= certain {
            // No write is lost, and none is doubled.
            match newest <= certain + unknown {
                true => return Ok(()),
                false => return Err(format!("{newest} after {certain} + {unknown}").into()),
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

//! The lock on the whole stack, under seeded faults in virtual time.
//!
//! Checked: nobody is certain of the lock after somebody newer was granted it; tokens grow from grant to grant;
//! every process gets its turns once the faults are over; no node stays on a session that lives on.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{
    lock::{Acquire, Heartbeat},
    prelude::*,
};

use crate::{
    faults::Plan,
    resource::{Resource, Tally},
    scenario::leaves_nothing,
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const PATH: &str = "/locks/x";
/// No fault begins later.
const FAULTS: Duration = Duration::from_secs(10);
/// Nothing may take longer than this in all.
const LIMIT: Duration = Duration::from_secs(300);
const PROCESSES: u64 = 3;
const TURNS: usize = 6;
/// How many attempts a process cancels.
const CANCELLED: usize = 60;

#[test]
fn the_lock_holds_under_faults() {
    let all = Mutex::new(Tally::default());
    seeds::each(|seed| {
        let tally = run(seed)?;
        let mut all = all.lock();
        all.grants += tally.grants;
        all.writes += tally.writes;
        all.refused += tally.refused;
        all.lost += tally.lost;
        all.cancelled += tally.cancelled;
        Ok(())
    });
    let all = all.into_inner();
    println!("{all:?}");
    // The faults were real: locks were lost, and late writes met the fence.
    assert!(
        all.lost > 0 && all.refused > 0 && all.cancelled > 0,
        "{all:?}"
    );
}

fn run(seed: u64) -> Result<Tally, String> {
    let servers = Servers::draw(seed);
    let reach = servers.reach();
    let resource = Arc::new(Resource::default());
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let processes: Vec<_> = (0..PROCESSES)
        .map(|place| format!("process-{place}"))
        .collect();
    for (place, name) in (0..).zip(&processes) {
        let process = Process::new(name, (seed, place), &resource, &reach);
        sim.client(name.as_str(), process.run());
    }
    let mortal = "mortal".to_owned();
    let doomed = Process::new(&mortal, (seed, 17), &resource, &reach);
    sim.host(mortal.as_str(), move || doomed.clone().until_faults_end());

    let everybody: Vec<_> = processes.iter().chain([&mortal]).cloned().collect();
    let mut plan = Plan::draw(seed, FAULTS, (&everybody, &[mortal]), (&reach, &servers));
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        plan.step(&mut sim);
        ended = sim.step();
    }
    let violations = resource.violations();
    match ended {
        Err(error) => Err(format!("{error}\n{violations:#?}\n{plan:?}")),
        Ok(_) if !violations.is_empty() => Err(format!("{violations:#?}\n{plan:?}")),
        Ok(_) => Ok(resource.tally()),
    }
}

#[test]
fn cancelled_attempts_leave_nothing() {
    seeds::each(|seed| {
        let (servers, resource) = (Servers::draw(seed), Arc::default());
        let reach = servers.reach();
        let mut sim = world::simulation(seed, LIMIT);
        servers.add(&mut sim);
        for place in 0..2 {
            let name = format!("process-{place}");
            let process = Process::new(&name, (seed, place), &resource, &reach);
            sim.client(name.as_str(), process.cancel());
        }
        sim.run().map_err(|error| error.to_string())
    });
}

/// One process that takes the lock again and again.
#[derive(Clone)]
struct Process {
    name: String,
    seed: u64,
    layout: LockLayout,
    resource: Arc<Resource>,
    reach: Reach,
}

impl Process {
    fn new(name: &str, (seed, salt): (u64, u64), resource: &Arc<Resource>, reach: &Reach) -> Self {
        let (name, resource, reach) = (name.to_owned(), Arc::clone(resource), reach.clone());
        let layout = match seed % 2 {
            0 => LockLayout::Curator,
            _ => LockLayout::Kazoo,
        };
        Self {
            name,
            seed: seed * 31 + salt,
            layout,
            resource,
            reach,
        }
    }

    /// Half of the processes rest on transactions besides.
    fn lock(&self, client: &Client) -> Acquire {
        let heartbeat = match self.seed.is_multiple_of(2) {
            true => Heartbeat::Write,
            false => Heartbeat::Sync,
        };
        let lock = client.lock(PATH).layout(self.layout);
        lock.heartbeat(heartbeat)
    }

    /// Takes its turns, during the faults and after them, and leaves nothing behind.
    async fn run(self) -> turmoil::Result {
        let client = world::client(self.seed, &self.reach).connect().await?;
        let mut rng = Rng::with_seed(self.seed);
        for _ in 0..TURNS {
            self.turn(&client, &mut rng).await?;
            sleep(T.mul_f64(rng.f64())).await;
        }
        sleep(FAULTS.saturating_sub(now())).await;
        // Whatever was, after the faults the lock is to be had.
        let guard = self.lock(&client).await?;
        self.resource.granted(&self.name, guard.token());
        guard.release().await?;
        leaves_nothing(&client).await?;
        client.close().await?;
        Ok(())
    }

    /// Begins attempts and drops them at every possible moment, on a network that loses much.
    async fn cancel(self) -> turmoil::Result {
        let client = world::client(self.seed, &self.reach).connect().await?;
        let mut rng = Rng::with_seed(self.seed);
        self.reach.one_in(12);
        for _ in 0..CANCELLED {
            let moment = Duration::from_millis(rng.u64(..250));
            let attempt = timeout(moment, self.lock(&client)).await;
            // Or acquired: dropping the guard releases.
            drop(attempt.ok().transpose()?);
        }
        self.reach.one_in(0);
        leaves_nothing(&client).await?;
        client.close().await?;
        Ok(())
    }

    /// The life of the one that is killed now and then.
    async fn until_faults_end(self) -> turmoil::Result {
        // Every life is another one: the same seed would make the same identifiers.
        let seed = self.seed ^ u64::try_from(now().as_nanos())?;
        let client = world::client(seed, &self.reach).connect().await?;
        let mut rng = Rng::with_seed(seed);
        while now() < FAULTS {
            self.turn(&client, &mut rng).await?;
        }
        Ok(())
    }

    /// One attempt, patient or not, and what follows from it.
    async fn turn(&self, client: &Client, rng: &mut Rng) -> turmoil::Result {
        let guard = match rng.u8(..10) {
            0 | 1 => {
                let moment = T.mul_f64(rng.f64().powi(3));
                timeout(moment, self.lock(client)).await.ok().transpose()?
            }
            2 => self.lock(client).try_acquire().await?,
            3 => {
                let patience = T.mul_f64(2.0 * rng.f64());
                match self.lock(client).timeout(patience).await {
                    Err(zk_recipes::Error::Timeout { .. }) => None,
                    guard => Some(guard?),
                }
            }
            _ => match self.lock(client).await {
                // Lost in the moment of the grant.
                Err(error) if error.is_lost() => None,
                guard => Some(guard?),
            },
        };
        let Some(guard) = guard else {
            self.resource.cancelled();
            return Ok(());
        };
        self.resource.granted(&self.name, guard.token());
        self.hold(&guard, rng).await;
        match rng.u8(..5) {
            0 => drop(guard),
            1 => {
                let moment = (T / 4).mul_f64(rng.f64().powi(2));
                drop(timeout(moment, guard.release()).await);
            }
            // It may have been lost.
            _ => drop(guard.release().await),
        }
        Ok(())
    }

    /// Writes under the lock, some of it late, and looks whether the lock is still held.
    async fn hold(&self, guard: &LockGuard, rng: &mut Rng) {
        // Some hold until they lose the lock, if they ever do.
        let writes = if rng.u8(..4) == 0 { 30 } else { rng.u8(1..8) };
        for _ in 0..writes {
            if guard.ensure().is_err() {
                self.resource.lost();
                return;
            }
            self.resource.certain(&self.name, guard.token());
            let (resource, token) = (Arc::clone(&self.resource), guard.token());
            let lateness = (T * 2).mul_f64(rng.f64().powi(4));
            tokio::spawn(async move {
                sleep(lateness).await;
                resource.write(token);
            });
            let work = sleep((T / 2).mul_f64(rng.f64().powi(2)));
            if guard.run(work).await.is_err() {
                self.resource.lost();
                return;
            }
            if guard.ensure().is_ok() {
                self.resource.certain(&self.name, guard.token());
            }
        }
    }
}

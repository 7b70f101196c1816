//! The lock on the whole stack, under seeded faults in virtual time.
//!
//! Checked: nobody is certain of the lock after somebody newer was granted it; tokens grow from grant to grant;
//! every process gets its turns once the faults are over; no node stays on a session that lives on.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind};
use zk_recipes::prelude::*;

use crate::{
    faults::Plan,
    resource::{Resource, Tally},
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
        let process = Process::new(name, seed * 31 + place, &resource, &reach);
        sim.client(name.as_str(), process.run());
    }
    let mortal = "mortal".to_owned();
    let doomed = Process::new(&mortal, seed * 31 + 17, &resource, &reach);
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
            let process = Process::new(&name, seed * 31 + place, &resource, &reach);
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
    resource: Arc<Resource>,
    reach: Reach,
}

impl Process {
    fn new(name: &str, seed: u64, resource: &Arc<Resource>, reach: &Reach) -> Self {
        let (name, resource, reach) = (name.to_owned(), Arc::clone(resource), reach.clone());
        Self {
            name,
            seed,
            resource,
            reach,
        }
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
        let guard = client.lock(PATH).await?;
        self.resource.granted(&self.name, guard.token());
        guard.release().await?;
        self.leaves_nothing(&client).await?;
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
            let attempt = timeout(moment, client.lock(PATH)).await;
            // Or acquired: dropping the guard releases.
            drop(attempt.ok().transpose()?);
        }
        self.reach.one_in(0);
        self.leaves_nothing(&client).await?;
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
                timeout(moment, client.lock(PATH)).await.ok().transpose()?
            }
            2 => client.lock(PATH).try_acquire().await?,
            3 => {
                let patience = T.mul_f64(2.0 * rng.f64());
                match client.lock(PATH).timeout(patience).await {
                    Err(zk_recipes::Error::Timeout { .. }) => None,
                    guard => Some(guard?),
                }
            }
            _ => match client.lock(PATH).await {
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
        match rng.u8(..3) {
            0 => drop(guard),
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

    /// Waits until no node of this session is left; what is undone in the background takes its time.
    async fn leaves_nothing(&self, client: &Client) -> turmoil::Result {
        let session = client.session().id();
        loop {
            let names = match client.children(PATH).await {
                Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
                names => names?,
            };
            let mut mine = 0;
            for name in names {
                let stat = client.exists(&format!("{PATH}/{name}")).await?;
                mine += usize::from(stat.is_some_and(|stat| stat.ephemeral_owner == session));
            }
            if mine == 0 {
                return Ok(());
            }
            sleep(T / 10).await;
        }
    }
}

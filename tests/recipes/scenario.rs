//! A run: the servers, some processes, and the faults of a seed.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;
use zk_client::{Client, Session};

use crate::{
    faults::Plan,
    servers::Servers,
    world::{self, Reach, T, now},
};

/// No fault begins later.
pub(crate) const FAULTS: Duration = Duration::from_secs(8);
/// Nothing may take longer than this in all.
const LIMIT: Duration = Duration::from_secs(300);

/// A simulation that is being made.
pub(crate) struct Scenario {
    seed: u64,
    sim: turmoil::Sim<'static>,
    reach: Reach,
    servers: Servers,
    processes: Vec<String>,
    mortals: Vec<String>,
}

/// What a process is given.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) seed: u64,
    reach: Reach,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let servers = Servers::draw(seed);
        let reach = servers.reach();
        let mut sim = world::simulation(seed, LIMIT);
        servers.add(&mut sim);
        Self {
            seed,
            sim,
            reach,
            servers,
            processes: Vec::new(),
            mortals: Vec::new(),
        }
    }

    fn process(&self, name: &str) -> Process {
        let place = u64::try_from(self.processes.len()).unwrap();
        Process {
            name: name.to_owned(),
            seed: self.seed * 31 + place,
            reach: self.reach.clone(),
        }
    }

    /// A process that runs to its end.
    pub(crate) fn add<F>(&mut self, name: &str, life: impl FnOnce(Process) -> F)
    where
        F: Future<Output = turmoil::Result> + 'static,
    {
        let life = life(self.process(name));
        self.sim.client(name, life);
        self.processes.push(name.to_owned());
    }

    /// A process that is killed now and then, and begins anew.
    pub(crate) fn add_mortal<F>(&mut self, name: &str, life: impl Fn(Process) -> F + 'static)
    where
        F: Future<Output = turmoil::Result> + 'static,
    {
        let process = self.process(name);
        self.sim.host(name, move || {
            // Every life is another one: the same seed would make the same identifiers.
            let mut process = process.clone();
            process.seed ^= u64::try_from(now().as_nanos()).unwrap() << 8;
            life(process)
        });
        self.processes.push(name.to_owned());
        self.mortals.push(name.to_owned());
    }

    /// A process that runs to its end and looks on: nobody cuts it off, but servers die and connections break.
    pub(crate) fn add_observer<F>(&mut self, name: &str, life: impl FnOnce(Process) -> F)
    where
        F: Future<Output = turmoil::Result> + 'static,
    {
        let mut process = self.process(name);
        process.seed ^= 0x0b5e;
        process.reach = self.reach.well();
        self.sim.client(name, life(process));
    }

    /// Runs until all processes but the mortal ones are done; fails with what they noted.
    pub(crate) fn run(mut self, violations: &Violations) -> Result<(), String> {
        let who = (&*self.processes, &*self.mortals);
        let mut plan = Plan::draw(self.seed, FAULTS, who, (&self.reach, &self.servers));
        let mut ended = Ok(false);
        while let Ok(false) = ended {
            plan.step(&mut self.sim);
            ended = self.sim.step();
        }
        let violations = violations.0.lock();
        match ended {
            Err(error) => Err(format!("{error}\n{violations:#?}\n{plan:?}")),
            Ok(_) if !violations.is_empty() => Err(format!("{violations:#?}\n{plan:?}")),
            Ok(_) => Ok(()),
        }
    }
}

impl Process {
    pub(crate) async fn connect(&self) -> zk_client::Result<Client> {
        world::client(self.seed, &self.reach)
            .identity(&self.name)
            .connect()
            .await
    }

    pub(crate) fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }
}

/// What must not happen, and did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Violations(Arc<Mutex<Vec<String>>>);

impl Violations {
    pub(crate) fn note(&self, what: String) {
        self.0.lock().push(format!("at {:?}: {what}", now()));
    }
}

/// Returns when there are no faults any more.
pub(crate) async fn faults_over() {
    sleep(FAULTS.saturating_sub(now())).await;
}

/// Waits until the session that there is owns no node at all; what is undone in the background takes its time.
///
/// For when the faults are over: fails if the session does not live on.
pub(crate) async fn leaves_nothing(client: &Client) -> turmoil::Result {
    let session = living_session(client).await;
    let start = now();
    loop {
        match session.ephemerals("/").await {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) if now() > start + T * 60 => {
                return Err(format!("{left:?} are still there").into());
            }
            Err(_) if !session.is_current() => {
                return Err("the session that was to be looked at is gone".into());
            }
            _ => sleep(T / 10).await,
        }
    }
}

/// The session that the leader knows now; what the faults have ended is no session any more.
async fn living_session(client: &Client) -> Session {
    loop {
        let session = client.session();
        if session.sync("/").await.is_ok() {
            return session;
        }
        sleep(T / 10).await;
    }
}

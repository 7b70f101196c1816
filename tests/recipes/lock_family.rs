//! Read-write lock, semaphore, leadership in all its forms, multi-lock and unfair lock on the whole stack, under seeded faults in virtual
//! time. (Sessions expire in most runs: many of the faults last longer than a session.)
//!
//! Checked: who is certain at the same time; tokens and epochs grow from grant to grant, and late writes meet the fence;
//! everybody gets a turn once the faults are over; no node stays on a session that lives on; transactions under a guard are
//! what was told of them, and in the order of the tokens. The count of some semaphores changes meanwhile.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind, Zxid};
use zk_recipes::{
    leader::{LeaderClaim, LeaderListener},
    lock::{Acquire, Fenced, Guard, Kind},
    multi_lock::MultiLock,
    prelude::*,
    unfair_lock::UnfairGuard,
};

use crate::{
    faults::Plan,
    holds::{Holds, Mode, Ticket},
    ledger::Ledger,
    resource::{Resource, Tally},
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

/// No fault begins later.
const FAULTS: Duration = Duration::from_secs(8);
/// Nothing may take longer than this in all.
const LIMIT: Duration = Duration::from_secs(300);
const PROCESSES: u64 = 3;
const TURNS: usize = 5;
const LEASES: u32 = 2;
/// The most that a count that changes is ever.
const LEASES_MAX: u32 = 3;
/// Where a count that changes stands.
const COUNT: &str = "/count";
/// A grant may rest on a count that was read so long ago: before a look whose evidence still counts.
const OLD: Duration = T.saturating_mul(2);
/// How often a holder asks whether it still holds.
const ASK: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recipe {
    ReadWrite,
    Semaphore,
    Leader,
    Latch,
    Listener,
    Multi,
    Unfair,
}

#[test]
fn readers_share_and_writers_are_alone() {
    let tally = every_seed(Recipe::ReadWrite);
    assert!(tally.lost > 0 && tally.refused > 0, "{tally:?}");
    assert!(tally.downgraded > 0 && tally.most > 1, "{tally:?}");
    assert!(tally.committed > 0, "{tally:?}");
}

#[test]
fn a_semaphore_is_never_over_its_count() {
    let tally = every_seed(Recipe::Semaphore);
    assert!(tally.lost > 0 && tally.cancelled > 0, "{tally:?}");
    assert_eq!(tally.most, u64::from(LEASES_MAX), "{tally:?}");
    assert!(tally.committed > 0, "{tally:?}");
}

#[test]
fn there_is_one_leader_of_an_epoch() {
    let tally = every_seed(Recipe::Leader);
    assert!(tally.lost > 0 && tally.refused > 0, "{tally:?}");
    assert!(tally.committed > 0, "{tally:?}");
}

#[test]
fn latches_show_one_leader_and_queue_again() {
    let tally = every_seed(Recipe::Latch);
    assert!(tally.lost > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn listeners_lead_one_at_a_time() {
    let tally = every_seed(Recipe::Listener);
    assert!(tally.lost > 0 && tally.refused > 0, "{tally:?}");
    assert!(tally.cancelled > 0, "{tally:?}");
}

#[test]
fn a_multi_lock_is_held_as_a_whole() {
    let tally = every_seed(Recipe::Multi);
    assert!(tally.lost > 0 && tally.cancelled > 0, "{tally:?}");
}

#[test]
fn an_unfair_lock_has_one_holder() {
    let tally = every_seed(Recipe::Unfair);
    assert!(tally.lost > 0 && tally.refused > 0, "{tally:?}");
}

/// The client gave a server up for another one, and the leader heard of that in the other order (ZOOKEEPER-710).
#[test]
fn who_is_said_to_have_moved_comes_anew() {
    for seed in [195, 202] {
        run(Recipe::Unfair, seed).unwrap();
    }
}

/// All seeds; what happened in them, so that a test can see that the faults were real.
fn every_seed(recipe: Recipe) -> Tally {
    let all = Mutex::new(Tally::default());
    seeds::each(|seed| {
        let tally = run(recipe, seed)?;
        let mut all = all.lock();
        all.grants += tally.grants;
        all.writes += tally.writes;
        all.refused += tally.refused;
        all.lost += tally.lost;
        all.cancelled += tally.cancelled;
        all.downgraded += tally.downgraded;
        all.committed += tally.committed;
        all.most = all.most.max(tally.most);
        Ok(())
    });
    let all = all.into_inner();
    println!("{recipe:?}: {all:?}");
    all
}

fn run(recipe: Recipe, seed: u64) -> Result<Tally, String> {
    let servers = Servers::draw(seed);
    let reach = servers.reach();
    let (resource, holds) = (Arc::new(Resource::default()), Arc::new(Holds::default()));
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let layout = match seed % 2 {
        0 => LockLayout::Curator,
        _ => LockLayout::Kazoo,
    };
    let shared = Arc::new(Shared::default());
    let changes = recipe == Recipe::Semaphore && seed.is_multiple_of(4);
    let process = |name: &str, salt: u64| Process {
        recipe,
        layout,
        changes,
        shared: Arc::clone(&shared),
        name: name.to_owned(),
        seed: seed * 31 + salt,
        resource: Arc::clone(&resource),
        holds: Arc::clone(&holds),
        reach: reach.clone(),
    };
    let names: Vec<_> = (0..PROCESSES)
        .map(|place| format!("process-{place}"))
        .collect();
    for (place, name) in (0..).zip(&names) {
        sim.client(name.as_str(), process(name, place).run());
    }
    let mortal = "mortal".to_owned();
    let doomed = process(&mortal, 17);
    sim.host(mortal.as_str(), move || doomed.clone().until_faults_end());

    let operator = process("operator", 23);
    sim.client("operator", operator.operate());

    let everybody: Vec<_> = names.iter().chain([&mortal]).cloned().collect();
    let mut plan = Plan::draw(seed, FAULTS, (&everybody, &[mortal]), (&reach, &servers));
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        plan.step(&mut sim);
        ended = sim.step();
    }
    let most = match recipe {
        Recipe::ReadWrite => usize::MAX,
        Recipe::Semaphore if changes => usize::try_from(LEASES_MAX).unwrap(),
        Recipe::Semaphore => usize::try_from(LEASES).unwrap(),
        _ => 1,
    };
    let mut violations = resource.violations();
    violations.extend(holds.violations(most));
    for Period { count, from, until } in shared.periods.lock().iter() {
        let count = usize::try_from(*count).unwrap();
        violations.extend(holds.beyond(count, *from + OLD, *until));
    }
    match ended {
        Err(error) => Err(format!("{error}\n{violations:#?}\n{plan:?}")),
        Ok(_) if !violations.is_empty() => Err(format!("{violations:#?}\n{plan:?}")),
        Ok(_) => {
            let mut tally = resource.tally();
            tally.grants = u64::try_from(holds.count()).unwrap();
            tally.most = u64::try_from(holds.most()).unwrap();
            tally.committed = u64::try_from(shared.ledger.applied()).unwrap();
            Ok(tally)
        }
    }
}

/// One process that takes its turns again and again.
#[derive(Clone)]
struct Process {
    recipe: Recipe,
    /// Of the read-write lock and the semaphore.
    layout: LockLayout,
    /// Whether the semaphore's count does.
    changes: bool,
    shared: Arc<Shared>,
    name: String,
    seed: u64,
    resource: Arc<Resource>,
    holds: Arc<Holds>,
    reach: Reach,
}

/// What everybody and the operator know of each other.
#[derive(Default)]
struct Shared {
    ledger: Ledger,
    /// How many processes are done.
    done: AtomicU64,
    periods: Mutex<Vec<Period>>,
}

/// A time in which the semaphore's count certainly was this one.
struct Period {
    count: u32,
    from: Duration,
    until: Duration,
}

/// What was acquired.
enum Held {
    Read(ReadGuard),
    Write(WriteGuard),
    Lease(Lease),
    Leader(LeaderGuard),
    Multi(MultiLockGuard),
    Unfair(UnfairGuard),
}

impl Held {
    fn is_certain(&self) -> bool {
        match self {
            Self::Read(guard) => guard.ensure().is_ok(),
            Self::Write(guard) => guard.ensure().is_ok(),
            Self::Lease(guard) => guard.ensure().is_ok(),
            Self::Leader(guard) => guard.ensure().is_ok(),
            Self::Multi(guard) => guard.ensure().is_ok(),
            Self::Unfair(guard) => guard.ensure().is_ok(),
        }
    }

    fn token(&self) -> Option<Zxid> {
        match self {
            Self::Read(_) | Self::Lease(_) => None,
            Self::Write(guard) => Some(guard.token()),
            Self::Leader(guard) => Some(guard.token()),
            // Both of them grow; one is enough.
            Self::Multi(guard) => Some(guard.guards()[0].token()),
            Self::Unfair(guard) => Some(guard.token()),
        }
    }

    /// Commits an entry of the ledger while it is held. Others than a writer and a leader have no token, and no order.
    async fn commit(&self, process: &Process, client: &Client) {
        match self {
            Self::Read(_) | Self::Multi(_) | Self::Unfair(_) => {}
            Self::Write(guard) => process.commit(guard, guard.token(), client).await,
            Self::Lease(guard) => process.commit(guard, Zxid::default(), client).await,
            Self::Leader(guard) => process.commit(guard, guard.token(), client).await,
        }
    }

    /// Commits the last entry and releases, in one transaction.
    async fn commit_and_release(self, process: &Process, client: &Client) {
        match self {
            Self::Write(guard) => {
                let token = guard.token();
                process.commit_and_release(guard, token, client).await;
            }
            Self::Leader(guard) => {
                let token = guard.token();
                process.commit_and_release(guard, token, client).await;
            }
            Self::Lease(guard) => {
                process
                    .commit_and_release(guard, Zxid::default(), client)
                    .await;
            }
            held => held.release().await,
        }
    }

    const fn mode(&self) -> Mode {
        match self {
            Self::Read(_) | Self::Lease(_) => Mode::Shared,
            _ => Mode::Alone,
        }
    }

    /// It may have been lost.
    async fn release(self) {
        let _ = match self {
            Self::Read(guard) => guard.release().await,
            Self::Write(guard) => guard.release().await,
            Self::Lease(guard) => guard.release().await,
            Self::Leader(guard) => guard.release().await,
            Self::Multi(guard) => guard.release().await,
            Self::Unfair(guard) => guard.release().await,
        };
    }
}

/// An attempt, patient or not, perhaps cancelled at any moment.
async fn attempt<K: Kind>(
    acquire: Acquire<K>,
    rng: &mut Rng,
) -> zk_recipes::Result<Option<Guard<K>>> {
    let guard = match rng.u8(..10) {
        0 | 1 => {
            let moment = T.mul_f64(rng.f64().powi(3));
            timeout(moment, acquire).await.ok().transpose()
        }
        2 => acquire.try_acquire().await,
        3 => acquire.timeout(T.mul_f64(2.0 * rng.f64())).await.map(Some),
        _ => acquire.await.map(Some),
    };
    none_if_not_had(guard)
}

async fn attempt_multi(
    acquire: MultiLock,
    rng: &mut Rng,
) -> zk_recipes::Result<Option<MultiLockGuard>> {
    let guard = match rng.u8(..10) {
        0 | 1 => {
            let moment = T.mul_f64(rng.f64().powi(3));
            timeout(moment, acquire.into_future())
                .await
                .ok()
                .transpose()
        }
        2 => acquire.try_acquire().await,
        3 => acquire.timeout(T.mul_f64(2.0 * rng.f64())).await.map(Some),
        _ => acquire.await.map(Some),
    };
    none_if_not_had(guard)
}

/// Out of time, or lost in the moment of the grant.
fn none_if_not_had<G>(guard: zk_recipes::Result<Option<G>>) -> zk_recipes::Result<Option<G>> {
    match guard {
        Err(error) if error.is_lost() => Ok(None),
        Err(zk_recipes::Error::Timeout { .. }) => Ok(None),
        guard => guard,
    }
}

impl Process {
    async fn run(self) -> turmoil::Result {
        let client = world::client(self.seed, &self.reach).connect().await?;
        let mut rng = Rng::with_seed(self.seed);
        for _ in 0..TURNS {
            self.turn(&client, &mut rng).await?;
            sleep(T.mul_f64(rng.f64())).await;
        }
        sleep(FAULTS.saturating_sub(now())).await;
        // Whatever was, after the faults everybody has a turn.
        self.last_turn(&client).await?;
        let session = client.session().id();
        while !client.ephemerals("/").await?.is_empty() {
            sleep(T / 10).await;
        }
        if client.session().id() != session {
            return Err("the session that was to be looked at is gone".into());
        }
        client.close().await?;
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Prepares the ledger, changes the count, and compares when everybody is done. Nobody cuts the operator off, but its
    /// server dies and connections break.
    async fn operate(self) -> turmoil::Result {
        let client = world::client(self.seed, &self.reach).connect().await?;
        Ledger::prepare(&client).await;
        if self.changes {
            self.change_the_count(&client).await;
        }
        while self.shared.done.load(Ordering::Relaxed) < PROCESSES {
            sleep(T).await;
        }
        if let Some(last) = self.shared.periods.lock().last_mut() {
            last.until = now();
        }
        self.shared.ledger.judge(&client).await?;
        client.close().await?;
        Ok(())
    }

    async fn change_the_count(&self, client: &Client) {
        let mut rng = Rng::with_seed(self.seed);
        let counts = [LEASES_MAX, rng.u32(1..=LEASES_MAX), LEASES];
        for count in counts {
            if let Some(last) = self.shared.periods.lock().last_mut() {
                last.until = now();
            }
            let data = count.to_be_bytes();
            loop {
                let put = match client.set(COUNT, &data).await {
                    Err(error) if error.kind() == ErrorKind::NoNode => {
                        client.create(COUNT, &data).await.map(drop)
                    }
                    set => set.map(drop),
                };
                if put.is_ok() {
                    break;
                }
                sleep(T / 10).await;
            }
            let (from, until) = (now(), Duration::MAX);
            self.shared
                .periods
                .lock()
                .push(Period { count, from, until });
            sleep(T * 4).await;
        }
    }

    fn semaphore(&self, client: &Client) -> Acquire<zk_recipes::semaphore::Permit> {
        let acquire = client.semaphore("/semaphore", LEASES).layout(self.layout);
        match self.changes {
            true => acquire.count_at(COUNT),
            false => acquire,
        }
    }

    async fn commit<K: Fenced>(&self, guard: &Guard<K>, token: Zxid, client: &Client) {
        let (name, multi) = self.shared.ledger.begin(client, &self.name, token);
        // Who gives up does not know.
        if let Ok(result) = timeout(T * 2, guard.commit(multi)).await {
            self.shared.ledger.ended(name, &result);
        }
    }

    async fn commit_and_release<K: Fenced>(&self, guard: Guard<K>, token: Zxid, client: &Client) {
        let (name, multi) = self.shared.ledger.begin(client, &self.name, token);
        if let Ok(result) = timeout(T * 2, guard.commit_and_release(multi)).await {
            self.shared.ledger.ended(name, &result);
        }
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

    async fn turn(&self, client: &Client, rng: &mut Rng) -> turmoil::Result {
        if self.recipe == Recipe::Latch {
            return self.take_part(client, rng).await;
        }
        if self.recipe == Recipe::Listener {
            return self.listen(client, rng).await;
        }
        match self.acquire(client, rng).await? {
            Some(held) => self.hold(held, client, rng).await,
            None => self.resource.cancelled(),
        }
        Ok(())
    }

    async fn acquire(&self, client: &Client, rng: &mut Rng) -> zk_recipes::Result<Option<Held>> {
        let held = match self.recipe {
            Recipe::ReadWrite if rng.bool() => {
                attempt(client.read_lock("/rw").layout(self.layout), rng)
                    .await?
                    .map(Held::Read)
            }
            Recipe::ReadWrite => attempt(client.write_lock("/rw").layout(self.layout), rng)
                .await?
                .map(Held::Write),
            Recipe::Semaphore => attempt(self.semaphore(client), rng).await?.map(Held::Lease),
            Recipe::Leader => attempt(client.leader("/election"), rng)
                .await?
                .map(Held::Leader),
            Recipe::Multi => {
                let paths = if rng.bool() {
                    ["/a", "/b"]
                } else {
                    ["/b", "/a"]
                };
                attempt_multi(client.multi_lock(paths), rng)
                    .await?
                    .map(Held::Multi)
            }
            Recipe::Unfair => attempt(client.unfair_lock("/unfair"), rng)
                .await?
                .map(Held::Unfair),
            Recipe::Latch | Recipe::Listener => None,
        };
        Ok(held)
    }

    /// Waits for as long as it takes, and gives back.
    async fn last_turn(&self, client: &Client) -> turmoil::Result {
        let held = match self.recipe {
            Recipe::ReadWrite => Held::Write(client.write_lock("/rw").layout(self.layout).await?),
            Recipe::Semaphore => Held::Lease(self.semaphore(client).await?),
            Recipe::Leader => Held::Leader(client.leader("/election").await?),
            Recipe::Multi => Held::Multi(client.multi_lock(["/a", "/b"]).await?),
            Recipe::Unfair => Held::Unfair(client.unfair_lock("/unfair").await?),
            Recipe::Latch => {
                let latch = client.latch("/election").start().await?;
                latch.leads().await?;
                latch.close().await?;
                return Ok(());
            }
            Recipe::Listener => {
                let last = Listens::new(self, 1);
                client.latch("/election").listen(last).await?;
                return Ok(());
            }
        };
        let ticket = self.grant(&held);
        self.is_certain(&held, ticket);
        held.release().await;
        Ok(())
    }

    fn grant(&self, held: &Held) -> Ticket {
        if let Some(token) = held.token() {
            self.resource.granted(&self.name, token);
        }
        self.holds.granted(&self.name, held.mode())
    }

    fn is_certain(&self, held: &Held, ticket: Ticket) -> bool {
        let certain = held.is_certain();
        if certain {
            self.holds.certain(ticket);
            if let Some(token) = held.token() {
                self.resource.certain(&self.name, token);
            }
        }
        certain
    }

    /// Writes late, asks again and again, and gives up in one way or another.
    async fn hold(&self, held: Held, client: &Client, rng: &mut Rng) {
        let ticket = self.grant(&held);
        // Some hold until they lose it, if they ever do.
        let asks = if rng.u8(..5) == 0 { 60 } else { rng.u8(1..12) };
        for _ in 0..asks {
            if !self.is_certain(&held, ticket) {
                self.resource.lost();
                return;
            }
            self.write_late(held.token(), rng);
            if rng.u8(..6) == 0 {
                held.commit(self, client).await;
            }
            sleep(ASK).await;
        }
        if !self.is_certain(&held, ticket) {
            self.resource.lost();
            return;
        }
        match (held, rng.u8(..6)) {
            (Held::Write(writer), 0 | 1) => self.downgrade(writer, rng).await,
            (held, 2) => drop(held),
            (held, 3) => held.commit_and_release(self, client).await,
            (held, 4) => {
                let moment = (T / 4).mul_f64(rng.f64().powi(2));
                drop(timeout(moment, held.release()).await);
            }
            (held, _) => held.release().await,
        }
    }

    fn write_late(&self, token: Option<Zxid>, rng: &mut Rng) {
        let Some(token) = token else {
            return;
        };
        let resource = Arc::clone(&self.resource);
        let lateness = (T * 2).mul_f64(rng.f64().powi(4));
        tokio::spawn(async move {
            sleep(lateness).await;
            resource.write(token);
        });
    }

    /// Nobody may have written between the writer's time and the reader's.
    async fn downgrade(&self, writer: WriteGuard, rng: &mut Rng) {
        let token = writer.token();
        let Ok(reader) = writer.downgrade().await else {
            self.resource.lost();
            return;
        };
        self.resource.downgraded();
        self.resource.certain(&self.name, token);
        let held = Held::Read(reader);
        let ticket = self.grant(&held);
        for _ in 0..rng.u8(1..8) {
            if !self.is_certain(&held, ticket) {
                self.resource.lost();
                return;
            }
            sleep(ASK).await;
        }
        held.release().await;
    }

    /// Takes part in an election for a while, and asks all the time who leads.
    async fn take_part(&self, client: &Client, rng: &mut Rng) -> turmoil::Result {
        let moment = T.mul_f64(3.0 * rng.f64().powi(2));
        let start = client.latch("/election").identity(&*self.name).start();
        let Ok(latch) = timeout(moment, start).await else {
            self.resource.cancelled();
            return Ok(());
        };
        let latch = latch?;
        let (mut leads, mut changes): (Option<(Zxid, Ticket)>, _) = (None, latch.changes());
        for _ in 0..rng.u8(1..90) {
            match (latch.leadership(), leads) {
                (Some(claim), Some((token, ticket))) if claim.token() == token => {
                    self.holds.certain(ticket);
                    self.resource.certain(&self.name, token);
                    self.write_late(Some(token), rng);
                }
                (Some(claim), _) => {
                    self.resource.granted(&self.name, claim.token());
                    let ticket = self.holds.granted(&self.name, Mode::Alone);
                    leads = Some((claim.token(), ticket));
                }
                (None, Some(_)) => {
                    self.resource.lost();
                    leads = None;
                }
                (None, None) => {}
            }
            // However short it leads, it is asked.
            tokio::select! {
                Some(_) = changes.next() => {}
                () = sleep(ASK) => {}
            }
        }
        match rng.u8(..4) {
            0 => drop(latch),
            1 => drop(timeout(moment / 4, latch.close()).await),
            _ => latch.close().await?,
        }
        Ok(())
    }

    /// Lets a listener lead, until it has enough or is given up.
    async fn listen(&self, client: &Client, rng: &mut Rng) -> turmoil::Result {
        let moment = T.mul_f64(4.0 * rng.f64());
        let listener = Listens::new(self, rng.u64(..));
        let election = client.latch("/election").identity(&*self.name);
        match timeout(moment, election.listen(listener)).await {
            Ok(listened) => listened?,
            Err(_) => self.resource.cancelled(),
        }
        Ok(())
    }
}

/// Leads, and asks all the time whether it still does.
struct Listens {
    process: Process,
    rng: Rng,
}

impl Listens {
    fn new(process: &Process, salt: u64) -> Self {
        let rng = Rng::with_seed(process.seed ^ salt);
        let process = process.clone();
        Self { process, rng }
    }
}

#[async_trait]
impl LeaderListener for Listens {
    async fn lead(&mut self, leadership: &LeaderClaim) -> ControlFlow<()> {
        let Process {
            name,
            resource,
            holds,
            ..
        } = &self.process;
        let token = leadership.token();
        resource.granted(name, token);
        let ticket = holds.granted(name, Mode::Alone);
        for _ in 0..self.rng.u8(1..30) {
            if leadership.ensure().is_ok() {
                holds.certain(ticket);
                resource.certain(name, token);
            }
            self.process.write_late(Some(token), &mut self.rng);
            sleep(ASK).await;
        }
        match self.rng.bool() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    async fn lost(&mut self, _reason: LostReason) {
        self.process.resource.lost();
    }
}

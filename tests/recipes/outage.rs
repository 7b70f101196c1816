//! Ten minutes without a server or a quorum, or cut off from them: everything is as it should be afterwards, with no code of the user's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use zk_client::Client;
use zk_recipes::prelude::*;

use crate::{
    holds::{Holds, Mode},
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const BEGINS: Duration = Duration::from_secs(5);
const OUTAGE: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(900);
const PROCESS: &str = "process";
const RIVAL: &str = "rival";
const TERMINATED: &str = "terminated";
/// How long a program may take to end that is told to, of which it gives its good-byes the half.
const END: Duration = Duration::from_secs(2);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    number: u64,
}

#[test]
fn after_ten_minutes_cut_off_everything_is_current() {
    seeds::each_long(|seed| {
        let (servers, election) = (Servers::draw(seed), Arc::new(Election::default()));
        let mut sim = begin(seed, &servers, true, &election);
        let reach = servers.reach();
        sim.client(
            "other",
            change_meanwhile(seed, reach, Arc::clone(&election)),
        );
        let cut_off = || [PROCESS, TERMINATED].into_iter();
        let links = || cut_off().flat_map(|one| servers.names().iter().map(move |it| (one, &**it)));
        run(
            sim,
            |sim| links().for_each(|(one, server)| sim.partition(one, server)),
            |sim| links().for_each(|(one, server)| sim.repair(one, server)),
        )?;
        election.judge()
    });
}

#[test]
fn after_ten_minutes_without_a_server_everything_is_there_again() {
    seeds::each_long(|seed| without(seed, &Servers::one(), &[0]));
}

#[test]
fn after_ten_minutes_without_a_quorum_everything_is_there_again() {
    seeds::each_long(|seed| {
        // The one that stays is the leader, or is not; all come back, and perhaps another one leads.
        let stays = usize::try_from(seed % 3).unwrap_or(0);
        let die: Vec<_> = (0..3).filter(|&server| server != stays).collect();
        without(seed, &Servers::three(), &die)
    });
}

/// These servers are down. Sessions outlive that: they begin anew with who leads next, and their clients are back in time.
fn without(seed: u64, servers: &Servers, die: &[usize]) -> Result<(), String> {
    let election = Arc::new(Election::default());
    let sim = begin(seed, servers, false, &election);
    let names = || die.iter().map(|&server| &*servers.names()[server]);
    run(
        sim,
        |sim| names().for_each(|name| sim.crash(name)),
        |sim| names().for_each(|name| sim.bounce(name)),
    )?;
    election.judge()
}

fn begin(
    seed: u64,
    servers: &Servers,
    expires: bool,
    election: &Arc<Election>,
) -> turmoil::Sim<'static> {
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let process = live_through((seed, servers.reach()), expires, Arc::clone(election));
    sim.client(PROCESS, process);
    let rival = stand_for_election((seed, servers.reach()), Arc::clone(election));
    sim.client(RIVAL, rival);
    sim.client(TERMINATED, end_in_the_outage(seed, servers.reach()));
    sim
}

/// A program that is told to end at any time of the outage, as SIGTERM does, and ends as `examples/service.rs` does.
async fn end_in_the_outage(seed: u64, reach: Reach) -> turmoil::Result {
    let client = world::client(seed * 7 + 3, &reach).connect().await?;
    let member = client.group("/ends").join("me", "").start().await?;
    let latch = client.latch("/ends-election").start().await?;
    let guard = client.lock("/ends-lock").await?;
    let cache = client.tree_cache("/ends").start().await?;
    let moment = (OUTAGE - T * 2).mul_f64(fastrand::Rng::with_seed(seed).f64());
    sleep((BEGINS + T + moment).saturating_sub(now())).await;
    let told = Instant::now();
    // Good-byes with nobody to say them to.
    let _ = tokio::join!(
        timeout(END / 4, member.leave()),
        timeout(END / 4, latch.close())
    );
    drop((guard, cache));
    let _ = client.close().within(END / 4).await;
    match told.elapsed() < END {
        true => Ok(()),
        false => Err(format!("it took {:?} to end", told.elapsed()).into()),
    }
}

/// Who was certain to lead, and when.
#[derive(Default)]
struct Election {
    holds: Holds,
    /// The process has seen enough.
    is_over: AtomicBool,
}

impl Election {
    /// Notes all the time whether this latch is certain to lead.
    async fn watch(&self, who: &str, latch: &LeaderLatch) {
        let (mut changes, mut leads) = (latch.changes(), None);
        loop {
            leads = match (latch.leadership(), leads) {
                (Some(claim), Some((token, ticket))) if claim.token() == token => {
                    self.holds.certain(ticket);
                    leads
                }
                (Some(claim), _) => Some((claim.token(), self.holds.granted(who, Mode::Alone))),
                (None, _) => None,
            };
            tokio::select! {
                state = changes.next() => if state.is_none() { return },
                () = sleep(T / 4) => {}
            }
        }
    }

    /// Who was certain a moment ago.
    fn leaders(&self) -> Vec<String> {
        self.holds.certain_since(now().saturating_sub(T / 2))
    }

    /// Both take part, each once, and the first of the queue leads.
    async fn one_leader(&self, latch: &LeaderLatch) -> turmoil::Result {
        let takes_part = latch.participants().await?;
        let mut names: Vec<_> = takes_part.iter().map(|one| &*one.identity).collect();
        let leaders = self.leaders();
        if leaders.len() != 1 || names.first().copied() != leaders.first().map(|one| &**one) {
            return Err(format!("{leaders:?} of {takes_part:?}").into());
        }
        names.sort_unstable();
        match names == [PROCESS, RIVAL] {
            true => Ok(()),
            false => Err(format!("{takes_part:?}").into()),
        }
    }

    fn judge(&self) -> Result<(), String> {
        let violations = self.holds.violations(1);
        match violations.is_empty() && self.holds.count() > 1 {
            true => Ok(()),
            false => Err(format!("{violations:#?} of {}", self.holds.count())),
        }
    }
}

/// The other one who would lead.
async fn stand_for_election(
    (seed, reach): (u64, Reach),
    election: Arc<Election>,
) -> turmoil::Result {
    let client = world::client(seed * 7 + 2, &reach).connect().await?;
    // The process is first.
    sleep(T * 2).await;
    let latch = client.latch("/election").identity(RIVAL).start().await?;
    let over = async {
        while !election.is_over.load(Ordering::Relaxed) {
            sleep(T).await;
        }
    };
    tokio::select! {
        () = election.watch(RIVAL, &latch) => return Err("the latch gave up".into()),
        () = over => {}
    }
    latch.close().await?;
    client.close().await?;
    Ok(())
}

fn run(
    mut sim: turmoil::Sim<'static>,
    begin: impl Fn(&mut turmoil::Sim<'static>),
    end: impl Fn(&mut turmoil::Sim<'static>),
) -> Result<(), String> {
    let mut stage = 0;
    loop {
        if stage == 0 && sim.elapsed() >= BEGINS {
            stage = 1;
            begin(&mut sim);
        }
        if stage == 1 && sim.elapsed() >= BEGINS + OUTAGE {
            stage = 2;
            end(&mut sim);
        }
        match sim.step() {
            Ok(false) => {}
            ended => return ended.map(drop).map_err(|error| error.to_string()),
        }
    }
}

/// Somebody who is not cut off changes everything in the middle of it.
async fn change_meanwhile(seed: u64, reach: Reach, election: Arc<Election>) -> turmoil::Result {
    let client = world::client(seed * 7 + 1, &reach).connect().await?;
    sleep(BEGINS + OUTAGE / 2).await;
    if !client.group("/group").members().await?.is_empty() {
        return Err("a member is listed long after its session".into());
    }
    if election.leaders() != [RIVAL] {
        return Err(format!("{:?} should lead by now", election.leaders()).into());
    }
    client.set("/config", r#"{"number": 2}"#).await?;
    client.set("/settings/number", "2").await?;
    client.create("/tree/new", "").await?;
    client.close().await?;
    Ok(())
}

/// Everything that a program may have running, set up once.
async fn live_through(
    (seed, reach): (u64, Reach),
    expires: bool,
    election: Arc<Election>,
) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let latch = client.latch("/election").identity(PROCESS).start().await?;
    let latch = Arc::new(latch);
    timeout(BEGINS, latch.leads()).await??;
    let (observer, observed) = (Arc::clone(&election), Arc::clone(&latch));
    tokio::spawn(async move { observer.watch(PROCESS, &observed).await });
    client.create("/config", r#"{"number": 1}"#).await?;
    client.create_all("/settings/number", "1").await?;
    client.create("/tree", "").await?;
    let config = client.config("/config").json::<Settings>().watch().await?;
    let settings = client
        .config("/settings")
        .directory::<Settings>()
        .watch()
        .await?;
    let member = client.group("/group").join("me", "here").start().await?;
    let tree = client.tree_cache("/tree").start().await?;
    let held = client.lock("/lock").await?;
    let first = client.session().id();

    sleep((BEGINS + OUTAGE - T).saturating_sub(now())).await;
    // What there was is served on, and known to be old; what could be lost is lost.
    let all_stale = config.is_stale() && settings.is_stale() && tree.is_stale();
    if !all_stale || config.current().number != 1 || held.ensure().is_ok() {
        return Err("everything should be known to be out of date".into());
    }
    if latch.is_leader() || expires != (election.leaders() == [RIVAL]) {
        return Err(format!("{:?} should not lead", election.leaders()).into());
    }

    let start = Instant::now();
    let number = timeout(T * 60, until_settled(&client, &config, &settings, &tree)).await?;
    let path = "/group/me";
    let me = timeout(T * 60, async {
        loop {
            match client.get_opt(path).await {
                Ok(Some(me)) if me.stat.ephemeral_owner == client.session().id() => return me,
                _ => sleep(T / 10).await,
            }
        }
    })
    .await?;
    if start.elapsed() > T * 10 {
        return Err(format!("it took {:?}", start.elapsed()).into());
    }
    // Back exactly once: created in the new session, and not again later.
    sleep(T * 5).await;
    let later = client.get(path).await?;
    if later.stat.czxid != me.stat.czxid || later.stat.version != 0 || later.data != "here" {
        return Err(format!("{me:?}, and then {later:?}").into());
    }
    let members = client.group("/group").members().await?;
    if members.len() != 1 || expires == (first == client.session().id()) {
        let now = client.session().id();
        return Err(format!("session {first}, and then {now}; {members:?}").into());
    }
    let expected = if number == 2 { 2 } else { 1 };
    if (config.current().number, settings.current().number) != (expected, expected) {
        return Err(format!("{:?} {:?}", config.current(), settings.current()).into());
    }
    // The lock can be had again, and nobody's node is in the way.
    drop(held);
    client.lock("/lock").timeout(T * 5).await?.release().await?;
    election.one_leader(&latch).await?;
    election.is_over.store(true, Ordering::Relaxed);
    member.leave().await?;
    client.close().await?;
    Ok(())
}

/// Waits until nothing is out of date any more; the number that the configuration has then.
async fn until_settled(
    client: &Client,
    config: &ConfigWatcher<Settings>,
    settings: &ConfigDirectory<Settings>,
    tree: &Cache,
) -> u64 {
    loop {
        let there = client.exists("/tree/new").await;
        let stale = config.is_stale() || settings.is_stale() || tree.is_stale();
        if let (Ok(there), false) = (there, stale) {
            let changed = there.is_some();
            let number = config.current().number;
            let current =
                settings.current().number == number && tree.get("/tree/new").is_some() == changed;
            if current && (number == 2) == changed {
                return number;
            }
        }
        sleep(T / 20).await;
    }
}

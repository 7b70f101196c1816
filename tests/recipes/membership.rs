//! Persistent nodes, members and registrations on the whole stack, under seeded faults in virtual time.
//!
//! Checked: in each session a node is created at most once, whatever is lost; it is there in the end, owned by the session that its
//! owner has then; what is released, dropped or cancelled leaves nothing on a session that lives on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, SessionId, Zxid};
use zk_recipes::{Error, prelude::*};

use crate::{
    faults::Plan,
    scenario::leaves_nothing,
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const GROUP: &str = "/group";
/// Where everybody keeps one node all the time.
const NODES: &str = "/nodes";
const FAULTS: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(300);
const MEMBERS: u64 = 3;
/// How many attempts a process cancels.
const CANCELLED: usize = 40;

/// Which transaction created a name's node in a session.
type Creations = Arc<Mutex<BTreeMap<(String, SessionId), Zxid>>>;

#[test]
fn members_are_there_once_in_each_session_and_in_the_end_under_faults() {
    let creations = AtomicU64::new(0);
    seeds::each(|seed| {
        creations.fetch_add(run(seed)?, Relaxed);
        Ok(())
    });
    // Sessions expired, and members came back.
    let (all, seeds) = (creations.into_inner(), seeds::count());
    println!("{all} creations in {seeds} runs");
    assert!(seeds < 20 || all > seeds * MEMBERS, "{all} in {seeds}");
}

fn run(seed: u64) -> Result<u64, String> {
    let (servers, creations) = (Servers::draw(seed), Creations::default());
    // How many members have come to the end of what is cancelled.
    let calm = Arc::new(AtomicU64::new(0));
    let reach = servers.reach();
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let names: Vec<_> = (0..MEMBERS)
        .map(|place| format!("member-{place}"))
        .collect();
    for (place, name) in (0..).zip(&names) {
        let owner = member(
            name.clone(),
            seed * 31 + place,
            reach.clone(),
            Arc::clone(&calm),
        );
        sim.client(name.as_str(), owner);
    }
    let mortal = "mortal".to_owned();
    let (its_reach, its_seed) = (reach.clone(), seed * 31 + 17);
    sim.host(mortal.as_str(), move || doomed(its_seed, its_reach.clone()));
    sim.client(
        "auditor",
        audit(seed * 31 + 23, reach.well(), Arc::clone(&creations)),
    );

    let everybody: Vec<_> = names.iter().chain([&mortal]).cloned().collect();
    let mut plan = Plan::draw(seed, FAULTS, (&everybody, &[mortal]), (&reach, &servers));
    let mut ended = Ok(false);
    while let Ok(false) = ended {
        plan.step(&mut sim);
        ended = sim.step();
    }
    let count = creations.lock().keys().map(|_| 1).sum();
    ended
        .map(|_| count)
        .map_err(|error| format!("{error}\n{plan:?}"))
}

/// A member through all faults, and what is left of it afterwards.
async fn member(name: String, seed: u64, reach: Reach, calm: Arc<AtomicU64>) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let mut rng = Rng::with_seed(seed);
    let node = client.persistent_node(&format!("{NODES}/{name}"), "");
    let node = node.start().await?;
    let group = client.group(GROUP);
    let mut member = group.join(&name, "0").start().await?;
    let mut number = 0;
    while now() < FAULTS {
        match rng.u8(..6) {
            0 => {
                // Leaves, in one way or the other, and comes back.
                let moment = (T / 4).mul_f64(rng.f64().powi(2));
                match rng.u8(..3) {
                    0 => drop(member),
                    1 => drop(timeout(moment, member.leave()).await),
                    // It may have found no server.
                    _ => drop(member.leave().await),
                }
                member = group.join(&name, number.to_string()).start().await?;
            }
            1 => {
                number += 1;
                // Cancelled or not, that is what it says from now on.
                let set = member.set(number.to_string());
                drop(timeout(T.mul_f64(rng.f64()), set).await);
            }
            _ => sleep(T.mul_f64(rng.f64())).await,
        }
    }
    // After the faults it is there, in the session that there is, with what it said last.
    let path = format!("{GROUP}/{name}");
    loop {
        // A session that expires meanwhile takes the read with it.
        let node = client.get_opt(&path).await.ok().flatten();
        let is_mine = |node: &zk_client::Node| {
            node.stat.ephemeral_owner == client.session().id()
                && node.data == number.to_string().as_str()
        };
        if node.as_ref().is_some_and(is_mine) {
            break;
        }
        if now() > FAULTS + T * 20 {
            return Err(format!("{name} is {:?}, and there is {node:?}", member.presence()).into());
        }
        sleep(T / 10).await;
    }
    reach.one_in(12);
    cancelled(&client, &name, &mut rng).await?;
    // The others may be at it: a release waits for a session timeout, and not for longer.
    calm.fetch_add(1, Relaxed);
    while calm.load(Relaxed) < MEMBERS {
        sleep(T / 10).await;
    }
    reach.one_in(0);
    gone(&client, &format!("/other-nodes/{name}")).await?;
    gone(&client, &format!("/others/{name}")).await?;
    gone(&client, &format!("/services/service/{name}")).await?;
    in_the_end(node.release().await)?;
    in_the_end(member.leave().await)?;
    gone(&client, &format!("{NODES}/{name}")).await?;
    gone(&client, &path).await?;
    leaves_nothing(&client).await?;
    client.close().await?;
    Ok(())
}

/// Services and nodes in the same way, cancelled at every possible moment, on a network that loses much.
async fn cancelled(client: &Client, name: &str, rng: &mut Rng) -> turmoil::Result {
    for _ in 0..CANCELLED {
        let moment = Duration::from_millis(rng.u64(..250));
        let instance: ServiceInstance = ServiceInstance::new("service").id(name);
        let discovery = client.discovery("/services");
        let registered = timeout(moment, discovery.register(instance)).await;
        // Or registered: dropping it unregisters.
        drop(registered);
        let other = client.persistent_node(&format!("/other-nodes/{name}"), "");
        drop(timeout(moment, other.start()).await);
        let other = client.group("/others").join(name, "");
        if let Ok(joined) = timeout(moment, other.start()).await {
            drop(timeout(moment, joined?.leave()).await);
        }
    }
    Ok(())
}

/// The life of the one that is killed now and then; its name is freed by the end of its session.
async fn doomed(seed: u64, reach: Reach) -> turmoil::Result {
    let seed = seed ^ u64::try_from(now().as_nanos())?;
    let client = world::client(seed, &reach).connect().await?;
    let member = client.group(GROUP).join("mortal", "x").start().await?;
    sleep(FAULTS.saturating_sub(now())).await;
    // It may have found no server.
    let _ = member.leave().await;
    Ok(())
}

/// Sees every node that is kept: one creation for each name and session, since nobody deletes them.
async fn audit(seed: u64, reach: Reach, creations: Creations) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let nodes = client.children_cache(NODES).start().await?;
    let mut changes = nodes.changes();
    while now() < FAULTS + T * 5 {
        let Ok(change) = timeout(T, changes.next()).await else {
            continue;
        };
        let change = change.ok_or("the changes ended")??;
        let (CacheChange::Added(node) | CacheChange::Changed { new: node, .. }) = change else {
            continue;
        };
        let (owner, czxid) = (node.stat.ephemeral_owner, node.stat.czxid);
        if owner == SessionId::NONE {
            return Err(format!("{node:?} belongs to nobody").into());
        }
        let key = (node.name().to_owned(), owner);
        let first = *creations.lock().entry(key).or_insert(czxid);
        if first != czxid {
            return Err(format!("created in {first}, and again: {node:?}").into());
        }
    }
    client.close().await?;
    Ok(())
}

/// A release may have to wait behind all that is undone in the background, and gives that up after a session timeout: the node goes
/// later then.
fn in_the_end(released: zk_recipes::Result<()>) -> zk_recipes::Result<()> {
    match released {
        Err(Error::Timeout { .. }) => Ok(()),
        released => released,
    }
}

/// Waits until the node is gone; what is undone in the background takes its time.
async fn gone(client: &Client, path: &str) -> turmoil::Result {
    for _ in 0..200 {
        if matches!(client.exists(path).await, Ok(None)) {
            return Ok(());
        }
        sleep(T / 10).await;
    }
    Err(format!("{path} is still there").into())
}

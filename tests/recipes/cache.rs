//! Caches on the whole stack, under seeded faults in virtual time.
//!
//! Checked: a snapshot is of one moment (nodes that are written together are seen together) and never goes back; a stream of
//! changes fits together and leads to what the cache holds; in the end everybody holds what the server has, whatever was started
//! before and given up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind};
use zk_recipes::{cache::CacheSource, prelude::*};

use crate::{
    faults::Plan,
    seeds,
    servers::Servers,
    world::{self, Reach, T, now},
};

const ROOT: &str = "/tree";
/// No fault begins later.
const FAULTS: Duration = Duration::from_secs(8);
/// Nothing may take longer than this in all.
const LIMIT: Duration = Duration::from_secs(180);
/// Two nodes that are always written together.
const PAIR: [&str; 2] = ["/tree/first", "/tree/second"];

/// The last number written to the pair, once it is.
type Last = Arc<Mutex<Option<u64>>>;
type Nodes = BTreeMap<Arc<str>, CachedNode>;

#[test]
fn caches_hold_one_moment_and_end_with_the_last_under_faults() {
    seeds::each(run);
}

fn run(seed: u64) -> Result<(), String> {
    let (servers, last) = (Servers::draw(seed), Last::default());
    let reach = servers.reach();
    let mut sim = world::simulation(seed, LIMIT);
    servers.add(&mut sim);
    let mut processes = vec!["writer".to_owned()];
    sim.client("writer", write(seed * 31, reach.clone(), Arc::clone(&last)));
    for place in 1..=5 {
        let name = format!("watcher-{place}");
        let watcher = watch(place, seed * 31 + place, reach.clone(), Arc::clone(&last));
        sim.client(name.as_str(), watcher);
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

/// Writes growing numbers to the pair, and makes and deletes other nodes.
async fn write(seed: u64, reach: Reach, last: Last) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut number = 0;
    until_done(|| begin(&client)).await;
    while now() < FAULTS {
        number += 1;
        let other = format!("{ROOT}/other-{}", rng.u8(..6));
        // Whether it took place is not known always, and does not matter.
        let _ = match rng.u8(..8) {
            0 => client.delete_all(&other).await,
            1 => client
                .create_all(&format!("{other}/below/it"), "x")
                .await
                .map(drop),
            2 => client.set(&other, number.to_string()).await.map(drop),
            3 => client.set(&format!("{other}/below"), "y").await.map(drop),
            _ => put(&client, number).await,
        };
        sleep((T / 4).mul_f64(rng.f64().powi(3))).await;
    }
    number += 1;
    until_done(|| put(&client, number)).await;
    *last.lock() = Some(number);
    Ok(())
}

async fn begin(client: &Client) -> zk_client::Result<()> {
    let create = client.multi().create(ROOT, "").any();
    let create = create.create(PAIR[0], "0").create(PAIR[1], "0");
    match create.commit().await {
        Err(error) if error.kind() == ErrorKind::NodeExists => Ok(()),
        created => created.map(drop),
    }
}

async fn put(client: &Client, number: u64) -> zk_client::Result<()> {
    let number = number.to_string();
    let set = client.multi().set(PAIR[0], number.as_str());
    set.set(PAIR[1], number).commit().await.map(drop)
}

async fn until_done<F: Future<Output = zk_client::Result<()>>>(step: impl Fn() -> F) {
    while step().await.is_err() {
        sleep(T / 10).await;
    }
}

fn source(client: &Client, place: u64) -> CacheSource {
    match place {
        1 => client.tree_cache(ROOT),
        2 => client.children_cache(ROOT),
        3 => client.tree_cache(ROOT).one_shot_watches(),
        4 => client.children_cache(ROOT).one_shot_watches(),
        _ => client.node_cache(PAIR[0]),
    }
}

/// Starts a cache, after others that were given up at any moment.
async fn start(client: &Client, place: u64, rng: &mut fastrand::Rng) -> turmoil::Result<Cache> {
    let mut given_up = Vec::new();
    for _ in 0..rng.u8(..4) {
        let moment = (T / 4).mul_f64(rng.f64().powi(2));
        given_up.push(timeout(moment, source(client, place).start()).await);
        if rng.bool() {
            given_up.clear();
        }
    }
    Ok(source(client, place).start().await?)
}

/// Follows a cache until it holds the last state.
async fn watch(place: u64, seed: u64, reach: Reach, last: Last) -> turmoil::Result {
    let client = world::client(seed, &reach).connect().await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let cache = start(&client, place, &mut rng).await?;
    let mut changes = cache.changes();
    let (mut mirror, mut newest) = (Nodes::new(), 0);
    loop {
        let snapshot = cache.snapshot();
        let number = number(place, &snapshot)?;
        if number < newest {
            return Err(format!("{number} after {newest}").into());
        }
        newest = number;
        let is_last = *last.lock() == Some(number);
        if is_last && same(&snapshot, &read(&client, place).await?) {
            break;
        }
        // The last state may have been reached before it was known to be the last.
        if let Ok(change) = timeout(T, changes.next()).await {
            apply(&mut mirror, change.ok_or("the changes ended")??)?;
        }
    }
    while let Ok(change) = timeout(T, changes.next()).await {
        apply(&mut mirror, change.ok_or("the changes ended")??)?;
    }
    let content = |nodes: &Nodes| -> Vec<_> {
        let nodes = nodes.values();
        nodes
            .map(|node| (Arc::clone(&node.path), node.data.clone(), node.stat.mzxid))
            .collect()
    };
    if content(&mirror) != content(&cache.snapshot()) {
        return Err("the changes do not lead to what is held".into());
    }
    number(place, &mirror)?;
    client.close().await?;
    Ok(())
}

/// The number that both of the pair have; 0 where there is no pair.
fn number(place: u64, nodes: &Nodes) -> turmoil::Result<u64> {
    let [first, second] = PAIR.map(|path| nodes.get(path).map(|node| &node.data));
    if first != second && place != 5 {
        return Err(format!("{first:?} and {second:?} at one moment").into());
    }
    Ok(match first {
        Some(data) => std::str::from_utf8(data)?.parse()?,
        None => 0,
    })
}

/// Changes fit to what was told before.
fn apply(mirror: &mut Nodes, change: CacheChange) -> Result<(), String> {
    let (before, expected, path, after) = match &change {
        CacheChange::Added(node) => (None, None, &node.path, Some(node)),
        CacheChange::Changed { old, new } => (Some(old), Some(()), &new.path, Some(new)),
        CacheChange::Removed(node) => (Some(node), Some(()), &node.path, None),
        _ => return Ok(()),
    };
    let known = mirror.get(path);
    if known.is_some() != expected.is_some()
        || known.map(|node| (&node.data, node.stat.mzxid))
            != before.map(|node| (&node.data, node.stat.mzxid))
    {
        return Err(format!("{change:?} of {known:?}"));
    }
    match after {
        Some(node) => mirror.insert(Arc::clone(path), node.clone()),
        None => mirror.remove(path),
    };
    Ok(())
}

/// Everything in scope, as the leader has it.
async fn read(client: &Client, place: u64) -> turmoil::Result<BTreeMap<String, String>> {
    client.sync(ROOT).await?;
    let mut found = BTreeMap::new();
    let (tree, root) = match place {
        5 => (true, PAIR[0]),
        _ => (place % 2 == 1, ROOT),
    };
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let Some(node) = client.get_opt(&path).await? else {
            continue;
        };
        if tree || path == ROOT {
            let names = client.children(&path).await?;
            left.extend(names.iter().map(|name| format!("{path}/{name}")));
        }
        if tree || path != ROOT {
            found.insert(path, String::from_utf8(node.data.to_vec())?);
        }
    }
    Ok(found)
}

fn same(held: &Nodes, there: &BTreeMap<String, String>) -> bool {
    let held = held.iter().map(|(path, node)| (&**path, &node.data[..]));
    held.eq(there
        .iter()
        .map(|(path, data)| (path.as_str(), data.as_bytes())))
}

//! Discovery on the whole stack, under seeded faults in virtual time.
//!
//! Instances register, say other things about themselves, unregister, are dropped, cancelled and killed; providers of every
//! kind choose among them meanwhile, and begin anew now and then.
//!
//! Checked: what is offered was registered and said so, and what is seen of it never goes back; an instance that has
//! unregistered is not offered any more once everybody can know; each kind of provider chooses as it promises; a registration's node
//! is created once in each session and comes back by itself; at rest every provider has exactly the instances that are
//! registered; no node stays on a session that lives on.

mod book;
mod instance;
mod watcher;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, Node, SessionId, Zxid};
use zk_recipes::prelude::*;

use self::{
    book::{Said, Shared, Tally},
    instance::Instance,
    watcher::{STRATEGIES, choose},
};
use crate::{
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const BASE: &str = "/services";
const SERVICE: &str = "web";
const PROCESSES: usize = 3;
/// At rest everything has to be as it should within this: sessions that were left alone have ended by then.
const PATIENCE: Duration = T.saturating_mul(15);
/// Longer than any run.
const ENDLESS: Duration = T.saturating_mul(1000);

#[test]
fn providers_offer_what_is_registered_under_faults() {
    let totals = Mutex::new(Tally::default());
    seeds::each(|seed| {
        let tally = run(seed)?;
        let mut totals = totals.lock();
        totals.offers += tally.offers;
        totals.left += tally.left;
        totals.cancelled += tally.cancelled;
        totals.returned += tally.returned;
        totals.stale += tally.stale;
        totals.late += tally.late;
        totals.latest = totals.latest.max(tally.latest);
        Ok(())
    });
    let all = totals.into_inner();
    println!("{all:?}");
    assert!(
        all.offers > 0 && all.left > 0 && all.cancelled > 0,
        "{all:?}"
    );
    assert!(all.returned > 0 && all.stale > 0 && all.late > 0, "{all:?}");
}

fn run(seed: u64) -> Result<Tally, String> {
    let (book, violations) = (Shared::default(), Violations::default());
    let mut scenario = Scenario::new(seed);
    for place in 0..PROCESSES {
        let (book, violations) = (Arc::clone(&book), violations.clone());
        scenario.add(&format!("process-{place}"), |process| {
            serve(process, book, violations)
        });
    }
    for strategy in STRATEGIES {
        let (book, violations) = (Arc::clone(&book), violations.clone());
        let name = format!("{strategy:?}").to_lowercase();
        scenario.add(&name, |process| choose(process, strategy, book, violations));
    }
    let (mortal, noted) = (Arc::clone(&book), violations.clone());
    scenario.add_mortal("mortal", move |process| {
        until_faults_end(process, Arc::clone(&mortal), noted.clone())
    });
    let (auditor, noted) = (Arc::clone(&book), violations.clone());
    scenario.add_observer("auditor", |process| audit(process, auditor, noted));
    scenario.run(&violations)?;
    let tally = book.lock().tally;
    Ok(tally)
}

/// Keeps one instance registered all the time, and another one now and then.
async fn serve(process: Process, book: Shared, violations: Violations) -> turmoil::Result {
    let client = process.connect().await?;
    let (services, mut rng) = (client.discovery(BASE), process.rng());
    let kept = Instance::register(&services, &process.name, ENDLESS, &book).await?;
    let mut kept = kept.ok_or("patience ended")?;
    let (first, mut other) = (client.session().id(), None);
    while now() < FAULTS {
        let moment = T.mul_f64(rng.f64().powi(2));
        let patience = if rng.bool() { moment } else { ENDLESS };
        match (rng.u8(..8), other.take()) {
            (0..4, None) => {
                // Under a name of its own: one that was dropped may be on its way out.
                let id = format!("{}-{}", process.name, book.lock().entries.len());
                other = Instance::register(&services, &id, patience, &book).await?;
            }
            (0, Some(instance)) => instance.leave(&mut rng).await,
            (1, Some(mut instance)) => {
                instance.update(patience).await?;
                other = Some(instance);
            }
            (2, instance) => {
                kept.update(patience).await?;
                other = instance;
            }
            (_, instance) => {
                sleep(moment).await;
                other = instance;
            }
        }
    }
    rest(
        &client,
        (&mut kept, other.as_mut()),
        first,
        (&book, &violations),
    )
    .await?;
    kept.leave(&mut rng).await;
    if let Some(other) = other {
        other.leave(&mut rng).await;
    }
    leaves_nothing(&client).await?;
    book.lock().left += 1;
    Ok(())
}

/// After the faults: what is registered stays as it is until all providers have seen it.
async fn rest(
    client: &Client,
    (kept, mut other): (&mut Instance, Option<&mut Instance>),
    first: SessionId,
    (book, violations): (&Shared, &Violations),
) -> turmoil::Result {
    faults_over().await;
    sleep(T * 2).await;
    kept.update(ENDLESS).await?;
    if let Some(other) = &mut other {
        other.update(ENDLESS).await?;
    }
    let node = read(client, &kept.id).await?;
    if node.stat.ephemeral_owner != client.session().id() {
        violations.note(format!("{}: {node:?}", kept.id));
    }
    {
        let mut book = book.lock();
        book.tally.returned += u64::from(node.stat.ephemeral_owner != first);
        for instance in other.into_iter().chain([&mut *kept]) {
            book.live.insert(instance.id.clone(), instance.said);
        }
        book.rests += 1;
    }
    until(|| book.lock().agree == STRATEGIES.len()).await?;
    let later = read(client, &kept.id).await?;
    if later.stat != node.stat {
        violations.note(format!("{}: {node:?}, and then {later:?}", kept.id));
    }
    Ok(())
}

/// A node, once it can be read.
async fn read(client: &Client, id: &str) -> Result<Node, String> {
    let path = format!("{BASE}/{SERVICE}/{id}");
    let start = now();
    loop {
        match client.get(&path).await {
            Ok(node) => return Ok(node),
            Err(error) if now() > start + PATIENCE => return Err(format!("{path}: {error}")),
            Err(_) => sleep(T / 10).await,
        }
    }
}

async fn until(done: impl Fn() -> bool) -> turmoil::Result {
    while !done() {
        sleep(T / 10).await;
    }
    Ok(())
}

/// The life of the one that is killed now and then: under the same name, which the end of its session frees.
async fn until_faults_end(
    process: Process,
    book: Shared,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let (services, mut rng) = (client.discovery(BASE), process.rng());
    let (first, left) = (client.session().id(), FAULTS.saturating_sub(now()));
    let Some(mut instance) = Instance::register(&services, &process.name, left, &book).await?
    else {
        return Ok(());
    };
    // It has waited for the node of its last life to go.
    let created = instance.registration.presence();
    let path = format!("{BASE}/{SERVICE}/{}", process.name);
    if let Ok(Some(node)) = client.get_opt(&path).await {
        let owner = node.stat.ephemeral_owner;
        let its = matches!(created, Presence::Present { session, .. } if session == owner);
        if !its && ![first, client.session().id()].contains(&owner) {
            violations.note(format!("registered as another's {node:?}"));
        }
    }
    while now() < FAULTS {
        let moment = T.mul_f64(rng.f64());
        match rng.bool() {
            true => instance.update(moment).await?,
            false => sleep(moment).await,
        }
    }
    Ok(())
}

/// Sees the nodes of the registrations: one creation of each in each session, since none is registered twice.
async fn audit(process: Process, book: Shared, violations: Violations) -> turmoil::Result {
    let client = process.connect().await?;
    let nodes = client.children_cache(&format!("{BASE}/{SERVICE}"));
    let nodes = nodes.start().await?;
    let mut changes = nodes.changes();
    let mut creations: BTreeMap<(usize, SessionId), Zxid> = BTreeMap::new();
    while book.lock().left < PROCESSES {
        let Ok(change) = timeout(T, changes.next()).await else {
            continue;
        };
        let change = change.ok_or("the changes ended")??;
        let (CacheChange::Added(node) | CacheChange::Changed { new: node, .. }) = change else {
            continue;
        };
        let instance: ServiceInstance<Said> = serde_json::from_slice(&node.data)?;
        let number = instance.payload.ok_or("it says nothing")?.number;
        let (owner, czxid) = (node.stat.ephemeral_owner, node.stat.czxid);
        let first = *creations.entry((number, owner)).or_insert(czxid);
        if first != czxid || owner == SessionId::NONE {
            violations.note(format!("created in {first}, and again: {node:?}"));
        }
    }
    client.close().await?;
    Ok(())
}

//! The queue on the whole stack, under seeded faults in virtual time.
//!
//! Checked: every item whose put returned `Ok` is delivered until it is acknowledged or a dead letter; no put makes two items; nothing is
//! delivered after an acknowledgement that returned `Ok`, or before it is due; nobody is certain of an item after somebody newer was given it; no claim and no
//! marker stays on a session that lives on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{Error, prelude::*};

use crate::{
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const PATH: &str = "/queues/jobs";
const PRODUCERS: usize = 2;
const CONSUMERS: usize = 2;
const ITEMS: usize = 20;
/// After so many deliveries an item is a dead letter.
const DELIVERIES_MAX: u32 = 6;

#[derive(Debug, Default)]
struct State {
    items: BTreeMap<String, Item>,
    producing: usize,
    deliveries: usize,
    redeliveries: usize,
    lost: usize,
    unknown: usize,
    dead: usize,
}

/// What is known of one item, by its content.
#[derive(Debug, Default)]
struct Item {
    /// Its put returned `Ok`.
    put: bool,
    /// When it may come at the earliest.
    due: Duration,
    /// Its names in the queue.
    names: BTreeSet<String>,
    /// The newest delivery of it.
    attempt: u32,
    acknowledged: bool,
    /// So many acknowledgements may have been carried out: under way when their process was killed, or unknown.
    perhaps: usize,
}

type Shared = Arc<Mutex<State>>;

#[test]
fn nothing_is_lost_or_doubled_under_faults() {
    let totals = Mutex::new(State::default());
    seeds::each(|seed| run(seed, &totals));
    let totals = totals.into_inner();
    println!(
        "{} deliveries, {} of them again; {} lost, {} unknown, {} dead",
        totals.deliveries, totals.redeliveries, totals.lost, totals.unknown, totals.dead
    );
    assert!(totals.redeliveries > 0 && totals.lost > 0 && totals.unknown > 0 && totals.dead > 0);
}

fn run(seed: u64, totals: &Mutex<State>) -> Result<(), String> {
    let (state, violations) = (Shared::default(), Violations::default());
    state.lock().producing = PRODUCERS;
    let mut scenario = Scenario::new(seed);
    for place in 0..PRODUCERS {
        let state = Arc::clone(&state);
        scenario.add(&format!("producer-{place}"), |process| {
            produce(process, state)
        });
    }
    for place in 0..CONSUMERS {
        let (state, violations) = (Arc::clone(&state), violations.clone());
        scenario.add(&format!("consumer-{place}"), |process| {
            consume(process, state, violations)
        });
    }
    let (mortal, noted) = (Arc::clone(&state), violations.clone());
    scenario.add_mortal("mortal", move |process| {
        until_faults_end(process, Arc::clone(&mortal), noted.clone())
    });
    scenario.run(&violations)?;
    let state = state.lock();
    for (content, item) in &state.items {
        let over = item.acknowledged || item.perhaps > 0;
        if item.put && !over {
            return Err(format!("{content} is lost: {item:?}"));
        }
    }
    let mut totals = totals.lock();
    totals.deliveries += state.deliveries;
    totals.redeliveries += state.redeliveries;
    totals.lost += state.lost;
    totals.unknown += state.unknown;
    totals.dead += state.dead;
    Ok(())
}

/// Producers whose session was said to have moved, in a multi: they come anew.
#[test]
fn who_is_said_to_have_moved_puts_again() {
    for seed in [335, 576] {
        run(seed, &Mutex::default()).unwrap();
    }
}

async fn produce(process: Process, state: Shared) -> turmoil::Result {
    let client = process.connect().await?;
    let (queue, mut rng) = (client.queue(PATH), process.rng());
    for number in 0..ITEMS {
        let content = format!("{} {number}", process.name);
        let delay = (rng.u8(..4) == 0).then(|| (T * 2).mul_f64(rng.f64()));
        let item = Item {
            due: now() + delay.unwrap_or_default(),
            ..Item::default()
        };
        state.lock().items.insert(content.clone(), item);
        let patience = match rng.u8(..5) {
            0 => T.mul_f64(rng.f64().powi(3)),
            _ => T * 1000,
        };
        let put = match delay {
            None => queue.put_at(rng.u16(..3), content.clone()),
            Some(delay) => queue.put_after(delay, content.clone()),
        };
        match timeout(patience, put).await {
            Ok(Ok(())) => {
                if let Some(item) = state.lock().items.get_mut(&content) {
                    item.put = true;
                }
            }
            Ok(Err(Error::Unknown { .. })) => state.lock().unknown += 1,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {}
        }
        sleep((T / 2).mul_f64(rng.f64().powi(2))).await;
    }
    faults_over().await;
    leaves_nothing(&client).await?;
    state.lock().producing -= 1;
    Ok(())
}

async fn consume(process: Process, state: Shared, violations: Violations) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    loop {
        turn(&client, &mut rng, &state, &violations).await?;
        let over = now() > FAULTS && state.lock().producing == 0;
        if over && is_empty(&client, &state).await? {
            break;
        }
    }
    leaves_nothing(&client).await
}

/// Whether nothing is left; what died is counted, and put back to be processed once more.
async fn is_empty(client: &Client, state: &Shared) -> Result<bool, Error> {
    let queue = client.queue(PATH);
    for letter in queue.dead_letters().await? {
        let back = queue.requeue(&letter).await?;
        let mut state = state.lock();
        state.dead += usize::from(back);
        let content = String::from_utf8_lossy(&letter.data).into_owned();
        if let Some(item) = state.items.get_mut(&content).filter(|_| back) {
            // Another node, counted anew.
            item.attempt = 0;
            item.names.clear();
        }
    }
    if client.sync(PATH).await.is_err() {
        return Ok(false);
    }
    // In this order: one that becomes due between the two is counted twice, and not never.
    Ok(queue.delayed_len().await? == 0 && queue.len().await? == 0)
}

async fn until_faults_end(
    process: Process,
    state: Shared,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    while now() < FAULTS {
        turn(&client, &mut rng, &state, &violations).await?;
    }
    Ok(())
}

/// Takes something, and does something with it.
async fn turn(
    client: &Client,
    rng: &mut fastrand::Rng,
    state: &Shared,
    violations: &Violations,
) -> turmoil::Result {
    let queue = client.queue(PATH).dead_letters_after(DELIVERIES_MAX);
    let deliveries = match rng.u8(..10) {
        0 | 1 => {
            let moment = T.mul_f64(rng.f64().powi(3));
            let taken = timeout(moment, queue.take()).await;
            Vec::from_iter(taken.ok().transpose()?)
        }
        2 => Vec::from_iter(queue.try_take().await?),
        3 => match queue.take_batch(3).timeout(T).await {
            Err(Error::Timeout { .. }) => Vec::new(),
            taken => taken?,
        },
        _ => match queue.take().timeout(T).await {
            Err(Error::Timeout { .. }) => Vec::new(),
            taken => vec![taken?],
        },
    };
    for delivery in deliveries {
        process(delivery, rng, state, violations).await?;
    }
    Ok(())
}

async fn process(
    delivery: Delivery,
    rng: &mut fastrand::Rng,
    state: &Shared,
    violations: &Violations,
) -> turmoil::Result {
    let content = String::from_utf8(delivery.data().to_vec())?;
    let attempt = delivery.attempt();
    // What was lost before it was handed over is told by the delivery, and is no delivery.
    if delivery.ensure().is_err() {
        state.lock().lost += 1;
        return Ok(());
    }
    delivered(&delivery, &content, state, violations);
    // Some hold on until they lose it, if they ever do.
    let steps = if rng.u8(..8) == 0 { 20 } else { rng.u8(1..4) };
    for _ in 0..steps {
        certain(&delivery, &content, state, violations);
        let work = sleep((T / 3).mul_f64(rng.f64().powi(2)));
        if delivery.run(work).await.is_err() {
            state.lock().lost += 1;
            break;
        }
    }
    let choice = rng.u8(..6);
    let moment = (T / 4).mul_f64(rng.f64().powi(2));
    if choice < 2 {
        match (choice, rng.u8(..4)) {
            (0, _) => drop(delivery),
            // It may have been lost.
            (_, 0) => drop(timeout(moment, delivery.nack()).await),
            _ => drop(delivery.nack().await),
        }
        return Ok(());
    }
    if let Some(item) = state.lock().items.get_mut(&content) {
        item.perhaps += 1;
    }
    let patience = if rng.u8(..8) == 0 { moment } else { T * 1000 };
    let Ok(acknowledged) = timeout(patience, delivery.ack()).await else {
        // Carried out or not, or still to be.
        return Ok(());
    };
    let mut state = state.lock();
    state.unknown += usize::from(matches!(acknowledged, Err(Error::Unknown { .. })));
    let Some(item) = state.items.get_mut(&content) else {
        return Ok(());
    };
    if !matches!(acknowledged, Err(Error::Unknown { .. })) {
        item.perhaps -= 1;
    }
    match acknowledged {
        Ok(()) if item.acknowledged => {
            violations.note(format!(
                "{content} was acknowledged twice, now in delivery {attempt}"
            ));
        }
        Ok(()) => item.acknowledged = true,
        Err(Error::Unknown { .. }) => {}
        Err(error) if error.is_lost() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// An item was handed out.
fn delivered(delivery: &Delivery, content: &str, state: &Shared, violations: &Violations) {
    let mut state = state.lock();
    state.deliveries += 1;
    state.redeliveries += usize::from(delivery.attempt() > 1);
    let Some(item) = state.items.get_mut(content) else {
        return violations.note(format!("{content} was never put"));
    };
    if now() < item.due {
        violations.note(format!("{content} came at {:?}: {item:?}", now()));
    }
    item.names.insert(delivery.id().to_owned());
    if item.names.len() > 1 {
        violations.note(format!("{content} is there twice: {item:?}"));
    }
    if item.acknowledged {
        violations.note(format!("{content} was delivered after its acknowledgement"));
    }
    item.attempt = item.attempt.max(delivery.attempt());
}

/// Somebody is certain to have the item. Nobody may have been given it later.
fn certain(delivery: &Delivery, content: &str, state: &Shared, violations: &Violations) {
    let state = state.lock();
    let newest = state.items.get(content).map_or(0, |item| item.attempt);
    if delivery.ensure().is_ok() && delivery.attempt() < newest {
        let attempt = delivery.attempt();
        violations.note(format!(
            "{content}: certain in delivery {attempt}, {newest} was made"
        ));
    }
}

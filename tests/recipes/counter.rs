//! Counters and unique numbers on the whole stack, under seeded faults in virtual time.
//!
//! Checked: changes that returned `Ok` do not overlap, come in the order of real time, and with those of unknown outcome
//! add up to the value; no number is handed out twice; no marker stays on a session that lives on.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{Error, prelude::*};

use crate::{
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const COUNTER: &str = "/counters/hits";
const PLAIN: &str = "/counters/plain";
const IDS: &str = "/counters/ids";
const PROCESSES: usize = 3;
const CHANGES: usize = 25;

/// What is known of one counter.
#[derive(Debug, Default)]
struct Ledger {
    /// From where to where.
    made: Vec<(i64, i64)>,
    newest: i64,
    /// The sum of what may have been added.
    open: i64,
}

#[derive(Debug, Default)]
struct State {
    marked: Ledger,
    plain: Ledger,
    ids: BTreeSet<i64>,
    unknown: usize,
    cancelled: usize,
}

type Shared = Arc<Mutex<State>>;

#[test]
fn counters_are_exact_or_unknown_under_faults() {
    let totals = Mutex::new((0, 0, 0));
    seeds::each(|seed| {
        let (state, violations) = (Shared::default(), Violations::default());
        let mut scenario = Scenario::new(seed);
        for place in 0..PROCESSES {
            let (state, violations) = (Arc::clone(&state), violations.clone());
            scenario.add(&format!("process-{place}"), |process| {
                count(process, state, violations)
            });
        }
        let (mortal, noted) = (Arc::clone(&state), violations.clone());
        scenario.add_mortal("mortal", move |process| {
            until_faults_end(process, Arc::clone(&mortal), noted.clone())
        });
        scenario.run(&violations)?;
        let state = state.lock();
        let mut totals = totals.lock();
        totals.0 += state.marked.made.len() + state.plain.made.len();
        totals.1 += state.unknown;
        totals.2 += state.cancelled;
        Ok(())
    });
    let (made, unknown, cancelled) = totals.into_inner();
    println!("{made} changes made, {unknown} unknown, {cancelled} cancelled");
    assert!(made > 0 && unknown > 0 && cancelled > 0);
}

async fn count(process: Process, state: Shared, violations: Violations) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    for _ in 0..CHANGES {
        turn(&client, &mut rng, &state, &violations).await?;
        sleep((T / 2).mul_f64(rng.f64().powi(2))).await;
    }
    faults_over().await;
    turn(&client, &mut rng, &state, &violations).await?;
    leaves_nothing(&client, COUNTER).await?;
    // Whoever comes last finds everything settled; whoever comes earlier finds less, which is as well.
    sleep(T * 10).await;
    audit(&client, &state, &violations).await
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

async fn turn(
    client: &Client,
    rng: &mut fastrand::Rng,
    state: &Shared,
    violations: &Violations,
) -> turmoil::Result {
    if rng.u8(..4) == 0 {
        let number = client.ids(IDS).block(rng.u32(1..4)).next().await?;
        if !state.lock().ids.insert(number) {
            violations.note(format!("{number} was handed out twice"));
        }
        return Ok(());
    }
    let marked = rng.bool();
    let amount = rng.i64(1..100);
    let counter = match marked {
        true => client.atomic_long(COUNTER),
        false => client.atomic_long(PLAIN).without_marker(),
    };
    let earliest = {
        let mut state = state.lock();
        // Open until it is known, which for those that are killed is never.
        ledger(&mut state, marked).open += amount;
        ledger(&mut state, marked).newest
    };
    let patience = match rng.u8(..5) {
        0 => T.mul_f64(rng.f64().powi(3)),
        _ => T * 1000,
    };
    let made = timeout(patience, counter.add(amount)).await;
    let mut state = state.lock();
    match made {
        Ok(Ok(change)) => {
            if change.before < earliest {
                violations.note(format!("{change:?} is older than {earliest}"));
            }
            let ledger = ledger(&mut state, marked);
            ledger.open -= amount;
            ledger.newest = ledger.newest.max(change.after);
            ledger.made.push((change.before, change.after));
        }
        Ok(Err(Error::Unknown { .. })) => state.unknown += 1,
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => state.cancelled += 1,
    }
    Ok(())
}

fn ledger(state: &mut State, marked: bool) -> &mut Ledger {
    match marked {
        true => &mut state.marked,
        false => &mut state.plain,
    }
}

/// The changes made, and those whose outcome is open, add up to the value.
async fn audit(client: &Client, state: &Shared, violations: &Violations) -> turmoil::Result {
    for (path, marked) in [(COUNTER, true), (PLAIN, false)] {
        let value = client.atomic_long(path).get().await?;
        let mut state = state.lock();
        let ledger = ledger(&mut state, marked);
        ledger.made.sort_unstable();
        for pair in ledger.made.windows(2) {
            if pair[0].1 > pair[1].0 {
                violations.note(format!("{path}: {pair:?} overlap"));
            }
        }
        let sum: i64 = ledger
            .made
            .iter()
            .map(|(before, after)| after - before)
            .sum();
        if !(sum..=sum + ledger.open).contains(&value) {
            let open = ledger.open;
            violations.note(format!(
                "{path} is {value}; {sum} was added, and perhaps {open}"
            ));
        }
        if ledger.newest > value {
            violations.note(format!("{path} is {value}, and was {}", ledger.newest));
        }
    }
    Ok(())
}

//! Counters and unique numbers on the whole stack, under seeded faults in virtual time.
//!
//! Checked: changes that returned `Ok` do not overlap, come in the order of real time, and with those of unknown outcome
//! add up to the value; what a shared count shows never goes back and ends with the value; no number is handed out twice; no
//! marker stays on a session that lives on.

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
const SHARED: &str = "/counters/shared";
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

/// Which counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Marked,
    Plain,
    Shared,
}

impl Which {
    const ALL: [Self; 3] = [Self::Marked, Self::Plain, Self::Shared];

    const fn path(self) -> &'static str {
        match self {
            Self::Marked => COUNTER,
            Self::Plain => PLAIN,
            Self::Shared => SHARED,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// In the order of [`Which::ALL`].
    ledgers: [Ledger; 3],
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
        totals.0 += state.ledgers.iter().map(|it| it.made.len()).sum::<usize>();
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
    let mut counters = Counters::start(&client, &mut rng).await?;
    for _ in 0..CHANGES {
        counters.turn(&mut rng, &state, &violations).await?;
        sleep((T / 2).mul_f64(rng.f64().powi(2))).await;
    }
    faults_over().await;
    counters.turn(&mut rng, &state, &violations).await?;
    leaves_nothing(&client).await?;
    // Whoever comes last finds everything settled; whoever comes earlier finds less, which is as well.
    sleep(T * 10).await;
    counters.audit(&state, &violations).await
}

async fn until_faults_end(
    process: Process,
    state: Shared,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    let mut counters = Counters::start(&client, &mut rng).await?;
    while now() < FAULTS {
        counters.turn(&mut rng, &state, &violations).await?;
    }
    Ok(())
}

/// What a process counts with.
struct Counters {
    client: Client,
    /// In blocks of one to three.
    ids: Ids,
    shared: SharedCount,
    /// What the shared one showed last.
    shown: i64,
}

impl Counters {
    async fn start(client: &Client, rng: &mut fastrand::Rng) -> zk_recipes::Result<Self> {
        let shared = client.shared_count(SHARED).start().await?;
        Ok(Self {
            client: client.clone(),
            ids: client.ids(IDS).block(rng.u32(1..4)),
            shown: shared.current(),
            shared,
        })
    }

    /// Takes a number or changes a counter, with patience or not.
    async fn turn(
        &mut self,
        rng: &mut fastrand::Rng,
        state: &Shared,
        violations: &Violations,
    ) -> turmoil::Result {
        self.look(violations);
        let patience = match rng.u8(..5) {
            0 => T.mul_f64(rng.f64().powi(3)),
            _ => T * 1000,
        };
        if rng.u8(..4) == 0 {
            let Ok(number) = timeout(patience, self.ids.next()).await else {
                state.lock().cancelled += 1;
                return Ok(());
            };
            let number = number?;
            if !state.lock().ids.insert(number) {
                violations.note(format!("{number} was handed out twice"));
            }
            return Ok(());
        }
        let which = Which::ALL[rng.usize(..3)];
        let amount = rng.i64(1..100);
        let earliest = {
            let ledger = &mut state.lock().ledgers[which as usize];
            // Open until it is known, which for those that are killed is never.
            ledger.open += amount;
            ledger.newest
        };
        let change = match which {
            Which::Marked => self.client.atomic_long(COUNTER).add(amount),
            Which::Plain => {
                let counter = self.client.atomic_long(PLAIN).without_marker();
                counter.add(amount)
            }
            Which::Shared => self.shared.add(amount),
        };
        let made = timeout(patience, change).await;
        let mut state = state.lock();
        match made {
            Ok(Ok(change)) => {
                if change.before < earliest {
                    violations.note(format!("{change:?} is older than {earliest}"));
                }
                let ledger = &mut state.ledgers[which as usize];
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

    /// What is shown grows, since nobody takes anything away.
    fn look(&mut self, violations: &Violations) {
        let shown = self.shared.current();
        if shown < self.shown {
            violations.note(format!("{shown} is shown after {}", self.shown));
        }
        self.shown = shown;
    }

    /// The changes made, and those whose outcome is open, add up to the value.
    async fn audit(&mut self, state: &Shared, violations: &Violations) -> turmoil::Result {
        for which in Which::ALL {
            let path = which.path();
            let counter = self.client.atomic_long(path);
            let value = match which {
                Which::Shared => counter.layout(CounterLayout::CuratorCount).get().await?,
                _ => counter.get().await?,
            };
            let ledger = &mut state.lock().ledgers[which as usize];
            ledger.made.sort_unstable();
            for pair in ledger.made.windows(2) {
                if pair[0].1 > pair[1].0 {
                    violations.note(format!("{path}: {pair:?} overlap"));
                }
            }
            let changes = ledger.made.iter().map(|(before, after)| after - before);
            let sum: i64 = changes.sum();
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
        // A moment later it is shown; others may have gone on meanwhile.
        let newest = state.lock().ledgers[Which::Shared as usize].newest;
        sleep(T).await;
        self.look(violations);
        if self.shown < newest || self.shared.is_stale() {
            violations.note(format!("{} is shown, and {newest} there", self.shown));
        }
        Ok(())
    }
}

//! A lock that nobody gives back unless it is asked to, on the whole stack, under seeded faults in virtual time.
//!
//! Checked: nobody is certain after somebody newer got it, whoever asks whom; tokens grow; once the faults are over everybody gets it, though
//! each holder lets go only when it is told; no node stays on a session that lives on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{Error, prelude::*};

use crate::{
    resource::Resource,
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const PATH: &str = "/lock";
const PROCESSES: u64 = 3;

/// What the processes of a run share.
#[derive(Debug, Default)]
struct Shared {
    resource: Resource,
    told: AtomicU64,
    /// How many have had it since the faults were over.
    had: AtomicU64,
}

#[test]
fn holders_let_go_when_they_are_told_under_faults() {
    let (told, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    seeds::each(|seed| {
        let (shared, violations) = (Arc::<Shared>::default(), Violations::default());
        let mut scenario = Scenario::new(seed);
        for place in 0..PROCESSES {
            let shared = Arc::clone(&shared);
            scenario.add(&format!("process-{place}"), |process| live(process, shared));
        }
        scenario.run(&violations)?;
        let violations = shared.resource.violations();
        if !violations.is_empty() {
            return Err(format!("{violations:#?}"));
        }
        told.fetch_add(shared.told.load(Relaxed), Relaxed);
        lost.fetch_add(shared.resource.tally().lost, Relaxed);
        Ok(())
    });
    let (told, lost) = (told.into_inner(), lost.into_inner());
    println!("told {told}, lost {lost}");
    assert!(
        told > 0 && (lost > 0 || seeds::count() < 20),
        "{told} {lost}"
    );
}

async fn live(process: Process, shared: Arc<Shared>) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    while now() < FAULTS {
        let guard = acquire(&client, &mut rng).await?;
        let patience = T.mul_f64(rng.f64() * 2.0);
        hold(&process.name, guard, patience, &shared).await;
    }
    faults_over().await;
    let guard = acquire(&client, &mut rng).await?;
    let others = shared.had.fetch_add(1, Relaxed) + 1 < PROCESSES;
    let (patience, before) = (T * 60, now());
    match others {
        true => hold(&process.name, guard, patience, &shared).await,
        // Nobody is left to ask.
        false => drop(guard.release().await),
    }
    if now() >= before + patience {
        return Err(format!("{} was never asked", process.name).into());
    }
    leaves_nothing(&client).await
}

/// Asks whoever holds it, as often as it takes.
async fn acquire(client: &Client, rng: &mut fastrand::Rng) -> Result<LockGuard, Error> {
    loop {
        match client.lock(PATH).timeout(T.mul_f64(rng.f64())).await {
            Err(Error::Timeout { .. }) => {}
            Err(error) if error.is_lost() => {}
            acquired => return acquired,
        }
        // Without a connection there is nobody to ask just now; whoever was first may be gone by then.
        let contenders = timeout(T, client.lock(PATH).contenders()).await;
        if let Ok(Ok(contenders)) = contenders
            && let Some(first) = contenders.first()
        {
            drop(timeout(T, client.lock(PATH).revoke(first)).await);
        }
    }
}

/// Holds until it is asked, loses it, or has no patience any more.
async fn hold(who: &str, guard: LockGuard, patience: std::time::Duration, shared: &Shared) {
    shared.resource.granted(who, guard.token());
    let mut asked = guard.revocation();
    let until = now() + patience;
    while now() < until {
        if guard.ensure().is_ok() {
            shared.resource.certain(who, guard.token());
        }
        match timeout(T / 10, &mut asked).await {
            Err(_) => sleep(T / 100).await,
            Ok(Ok(())) => {
                shared.told.fetch_add(1, Relaxed);
                break;
            }
            Ok(Err(_)) => {
                shared.resource.lost();
                break;
            }
        }
    }
    // It may have been lost.
    drop(guard.release().await);
}

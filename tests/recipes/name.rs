//! Registered names on the whole stack, under seeded faults in virtual time.
//!
//! Checked: nobody is certain of a name after somebody newer got it; tokens grow; everybody gets it once the faults are
//! over; no node stays on a session that lives on.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{Error, prelude::*};

use crate::{
    resource::{Resource, Tally},
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const PATH: &str = "/names/alice";

#[test]
fn a_name_has_one_holder_under_faults() {
    let all = Mutex::new(Tally::default());
    seeds::each(|seed| {
        let (resource, violations) = (Arc::new(Resource::default()), Violations::default());
        let mut scenario = Scenario::new(seed);
        for place in 0..3 {
            let resource = Arc::clone(&resource);
            scenario.add(&format!("process-{place}"), |process| {
                hold(process, resource)
            });
        }
        let mortal = Arc::clone(&resource);
        scenario.add_mortal("mortal", move |process| {
            until_faults_end(process, Arc::clone(&mortal))
        });
        scenario.run(&violations)?;
        let violations = resource.violations();
        if !violations.is_empty() {
            return Err(format!("{violations:#?}"));
        }
        let (tally, mut all) = (resource.tally(), all.lock());
        all.grants += tally.grants;
        all.lost += tally.lost;
        all.cancelled += tally.cancelled;
        Ok(())
    });
    let all = all.into_inner();
    println!("{all:?}");
    assert!(
        all.grants > 0 && all.lost > 0 && all.cancelled > 0,
        "{all:?}"
    );
}

async fn hold(process: Process, resource: Arc<Resource>) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    while now() < FAULTS {
        turn(&client, &process.name, &mut rng, &resource).await?;
    }
    faults_over().await;
    let guard = client.name(PATH).register_waiting().await?;
    resource.granted(&process.name, guard.token());
    guard.release().await?;
    leaves_nothing(&client).await
}

async fn until_faults_end(process: Process, resource: Arc<Resource>) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    while now() < FAULTS {
        turn(&client, &process.name, &mut rng, &resource).await?;
    }
    Ok(())
}

async fn turn(
    client: &Client,
    who: &str,
    rng: &mut fastrand::Rng,
    resource: &Resource,
) -> turmoil::Result {
    let name = client.name(PATH).identity(who);
    let registered = match rng.u8(..4) {
        0 => {
            let moment = T.mul_f64(rng.f64().powi(3));
            timeout(moment, name.register_waiting())
                .await
                .ok()
                .transpose()?
        }
        1 => match name.register().await {
            Err(Error::NameTaken { .. }) => None,
            registered => Some(registered?),
        },
        _ => match name.register_waiting().timeout(T).await {
            Err(Error::Timeout { .. }) => None,
            registered => Some(registered?),
        },
    };
    // What was lost before it was handed over is told by the guard.
    let Some(guard) = registered.filter(|guard| guard.ensure().is_ok()) else {
        resource.cancelled();
        sleep((T / 10).mul_f64(rng.f64())).await;
        return Ok(());
    };
    resource.granted(who, guard.token());
    let steps = if rng.u8(..4) == 0 { 20 } else { rng.u8(1..5) };
    for _ in 0..steps {
        if guard.ensure().is_ok() {
            resource.certain(who, guard.token());
        }
        if guard
            .run(sleep((T / 3).mul_f64(rng.f64().powi(2))))
            .await
            .is_err()
        {
            resource.lost();
            break;
        }
    }
    match rng.u8(..5) {
        0 => drop(guard),
        1 => {
            let moment = (T / 4).mul_f64(rng.f64().powi(2));
            drop(timeout(moment, guard.release()).await);
        }
        // It may have been lost.
        _ => drop(guard.release().await),
    }
    Ok(())
}

//! The partitioner on the whole stack, under seeded faults in virtual time.
//!
//! Checked for each item: one is certain of it at a time; tokens grow from grant to grant, and late writes meet the fence. Checked
//! for all: once the faults are over and the members stand still, every item is held; no node stays on a session that lives on.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::{Client, Zxid};
use zk_recipes::{Error, partitioner::Ended, prelude::*};

use crate::{
    holds::{Holds, Mode, Ticket},
    resource::Resource,
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const PATH: &str = "/partitioned";
const ITEMS: [&str; 5] = ["a", "b", "c", "d", "e"];
const MEMBERS: usize = 3;
const SETTLE: Duration = Duration::from_millis(100);
/// How often a holder asks whether it still holds.
const ASK: Duration = Duration::from_millis(30);
/// When every item has to be held at the latest.
const CALM: Duration = FAULTS.saturating_add(T.saturating_mul(60));

/// What happened in all runs, in numbers.
#[derive(Debug, Default)]
struct Counts {
    allocations: AtomicU64,
    rebalanced: AtomicU64,
    lost: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
}

/// One thing that is divided, and who was certain of it when.
#[derive(Debug, Default)]
struct Thing {
    resource: Arc<Resource>,
    holds: Holds,
}

#[derive(Default)]
struct Shared {
    things: BTreeMap<&'static str, Thing>,
    /// What each member has, once the faults are over.
    had: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// All of it was held at one moment.
    complete: AtomicBool,
}

#[test]
fn an_item_has_one_holder_and_all_have_one_after_the_faults() {
    let counts = Arc::new(Counts::default());
    seeds::each(|seed| run(seed, &counts));
    println!("{counts:?}");
    let happened = |count: &AtomicU64| count.load(Relaxed) > 0;
    let all = [
        &counts.rebalanced,
        &counts.lost,
        &counts.cancelled,
        &counts.refused,
    ];
    assert!(
        seeds::count() < 20 || all.into_iter().all(happened),
        "{counts:?}"
    );
}

fn run(seed: u64, counts: &Arc<Counts>) -> Result<(), String> {
    let things = ITEMS.iter().map(|item| (*item, Thing::default()));
    let shared = Arc::new(Shared {
        things: things.collect(),
        ..Shared::default()
    });
    let mut scenario = Scenario::new(seed);
    let member = |process| Member {
        process,
        shared: Arc::clone(&shared),
        counts: Arc::clone(counts),
    };
    for place in 0..MEMBERS {
        scenario.add(&format!("member-{place}"), |process| member(process).run());
    }
    let (doomed, its_counts) = (Arc::clone(&shared), Arc::clone(counts));
    scenario.add_mortal("mortal", move |process| {
        let (shared, counts) = (Arc::clone(&doomed), Arc::clone(&its_counts));
        let member = Member {
            process,
            shared,
            counts,
        };
        member.until_faults_end()
    });
    let ended = scenario.run(&Violations::default());
    let mut violations = Vec::new();
    for (item, thing) in &shared.things {
        let of_this = [thing.resource.violations(), thing.holds.violations(1)];
        violations.extend(
            of_this
                .concat()
                .iter()
                .map(|what| format!("{item}: {what}")),
        );
        counts
            .refused
            .fetch_add(thing.resource.tally().refused, Relaxed);
    }
    match violations.is_empty() {
        true => ended,
        false => Err(format!("{ended:?}\n{violations:#?}")),
    }
}

struct Member {
    process: Process,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
}

/// What is held of one item.
struct Grant {
    item: String,
    token: Zxid,
    ticket: Ticket,
}

impl Member {
    async fn run(self) -> turmoil::Result {
        let client = self.process.connect().await?;
        let mut rng = self.process.rng();
        while now() < FAULTS {
            self.stay(&client, &mut rng).await?;
        }
        faults_over().await;
        let me = partitioner(&client).start().await?;
        while !self.shared.complete.load(Relaxed) {
            self.hold_in_calm(&me).await?;
        }
        me.leave().await?;
        leaves_nothing(&client).await?;
        client.close().await?;
        Ok(())
    }

    /// The life of the one that is killed now and then.
    async fn until_faults_end(self) -> turmoil::Result {
        let client = self.process.connect().await?;
        let mut rng = self.process.rng();
        while now() < FAULTS {
            self.stay(&client, &mut rng).await?;
        }
        Ok(())
    }

    /// Is a member for a while, and leaves in one way or another.
    async fn stay(&self, client: &Client, rng: &mut Rng) -> turmoil::Result {
        let moment = (T * 5).mul_f64(rng.f64());
        let Ok(me) = timeout(moment, partitioner(client).start()).await else {
            self.counts.cancelled.fetch_add(1, Relaxed);
            return Ok(());
        };
        let me = me?;
        for _ in 0..rng.u8(1..6) {
            let moment = (T * 3).mul_f64(rng.f64());
            let allocated = match rng.u8(..4) {
                0 => timeout(moment, me.allocate()).await.ok().transpose(),
                1 => me.allocate().timeout(moment).await.map(Some),
                _ => me.allocate().timeout(T * 4).await.map(Some),
            };
            match allocated {
                Ok(Some(allocation)) => self.hold(allocation, rng).await,
                Ok(None) | Err(Error::Timeout { .. }) => {
                    self.counts.cancelled.fetch_add(1, Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match rng.u8(..4) {
            0 => drop(me),
            1 => drop(timeout((T / 4).mul_f64(rng.f64().powi(2)), me.leave()).await),
            // It may have found no server.
            _ => drop(me.leave().await),
        }
        Ok(())
    }

    /// Holds until told otherwise, or until it has enough, writes late, and gives back in one way or another.
    async fn hold(&self, allocation: Allocation, rng: &mut Rng) {
        let grants = self.granted(&allocation);
        let mut ended = pin!(allocation.ended());
        for _ in 0..rng.u8(1..100) {
            self.ask(&allocation, &grants);
            self.write_late(&grants, rng);
            tokio::select! {
                () = sleep(ASK) => {}
                ended = &mut ended => {
                    self.count(&ended);
                    break;
                }
            }
        }
        if rng.u8(..4) == 0 {
            // Slow to let go.
            sleep(T.mul_f64(rng.f64())).await;
        }
        self.ask(&allocation, &grants);
        match rng.u8(..4) {
            0 => drop(allocation),
            1 => drop(timeout((T / 4).mul_f64(rng.f64().powi(2)), allocation.release()).await),
            // Some of it may have been lost.
            _ => drop(allocation.release().await),
        }
    }

    /// Holds until told otherwise, or until all is held by all.
    async fn hold_in_calm(&self, me: &Partitioner) -> turmoil::Result {
        let left = CALM.saturating_sub(now());
        let allocation = me.allocate().timeout(left).await?;
        let grants = self.granted(&allocation);
        let name = &self.process.name;
        let mut ended = pin!(allocation.ended());
        while !self.shared.complete.load(Relaxed) {
            if self.ask(&allocation, &grants) {
                self.shared.has(name, &allocation);
            }
            tokio::select! {
                () = sleep(ASK) => {}
                ended = &mut ended => {
                    self.count(&ended);
                    break;
                }
            }
            if now() > CALM {
                let had = self.shared.had.lock();
                return Err(format!("only this is held: {had:?}").into());
            }
        }
        self.shared.had.lock().remove(name);
        // Some of it may have been lost.
        let _ = allocation.release().await;
        Ok(())
    }

    fn granted(&self, allocation: &Allocation) -> Vec<Grant> {
        self.counts.allocations.fetch_add(1, Relaxed);
        let mut grants = Vec::new();
        for (item, claim) in allocation.claims() {
            if claim.ensure().is_ok() {
                let thing = &self.shared.things[item];
                thing.resource.granted(&self.process.name, claim.token());
                grants.push(Grant {
                    item: item.to_owned(),
                    token: claim.token(),
                    ticket: thing.holds.granted(&self.process.name, Mode::Alone),
                });
            }
        }
        grants
    }

    /// Notes what is certain; whether all of it is.
    fn ask(&self, allocation: &Allocation, grants: &[Grant]) -> bool {
        for Grant {
            item,
            token,
            ticket,
        } in grants
        {
            if allocation.claim(item).unwrap().ensure().is_ok() {
                let thing = &self.shared.things[&**item];
                thing.resource.certain(&self.process.name, *token);
                thing.holds.certain(*ticket);
            }
        }
        allocation.ensure().is_ok()
    }

    fn write_late(&self, grants: &[Grant], rng: &mut Rng) {
        for grant in grants {
            let resource = Arc::clone(&self.shared.things[&*grant.item].resource);
            let (token, lateness) = (grant.token, (T * 4).mul_f64(rng.f64().powi(4)));
            tokio::spawn(async move {
                sleep(lateness).await;
                resource.write(token);
            });
        }
    }

    fn count(&self, ended: &Ended) {
        let count = match ended {
            Ended::Rebalance => &self.counts.rebalanced,
            _ => &self.counts.lost,
        };
        count.fetch_add(1, Relaxed);
    }
}

impl Shared {
    /// Somebody is certain of these; whether all have something to say, and all items are had.
    fn has(&self, who: &str, allocation: &Allocation) {
        let mut had = self.had.lock();
        had.insert(
            who.to_owned(),
            allocation.items().map(str::to_owned).collect(),
        );
        let all: BTreeSet<_> = had.values().flatten().map(String::as_str).collect();
        if had.len() == MEMBERS && all.iter().eq(ITEMS.iter()) {
            self.complete.store(true, Relaxed);
        }
    }
}

fn partitioner(client: &Client) -> zk_recipes::partitioner::PartitionerBuilder {
    client.partitioner(PATH, ITEMS).settle(SETTLE)
}

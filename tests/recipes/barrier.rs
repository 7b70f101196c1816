//! Barriers on the whole stack, under seeded faults in virtual time.
//!
//! Checked: nobody passes a barrier that was set before and not removed; nobody enters a round for which too few were
//! at the double barrier; nobody has left a round while somebody is certain to be inside; no member's node stays on a session that
//! lives on; everybody gets through in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_recipes::{Error, prelude::*};

use crate::{
    scenario::{FAULTS, Process, Scenario, Violations, faults_over, leaves_nothing},
    seeds,
    world::{T, now},
};

const GATE: &str = "/barriers/gate";
const JOB: &str = "/barriers/job";
const MEMBERS: usize = 3;
/// How long after a member is gone its node may be there.
const LINGERING: Duration = T.saturating_mul(4);

/// What the one that sets and removes the gate does: an even number while it is set, for certain.
type Phase = Arc<AtomicUsize>;

#[test]
fn nobody_passes_a_barrier_that_is_set() {
    let waits = AtomicUsize::new(0);
    seeds::each(|seed| {
        let (violations, phase) = (Violations::default(), Phase::new(AtomicUsize::new(1)));
        let passed = Arc::new(AtomicUsize::new(0));
        let mut scenario = Scenario::new(seed);
        let keeper = Arc::clone(&phase);
        scenario.add("keeper", |process| keep(process, keeper));
        for place in 0..3 {
            let (phase, violations) = (Arc::clone(&phase), violations.clone());
            let passed = Arc::clone(&passed);
            scenario.add(&format!("waiter-{place}"), |process| {
                wait(process, phase, passed, violations)
            });
        }
        scenario.run(&violations)?;
        waits.fetch_add(passed.load(SeqCst), SeqCst);
        Ok(())
    });
    println!(
        "{} waits that began at a barrier that was set",
        waits.load(SeqCst)
    );
    assert!(waits.load(SeqCst) > 0);
}

async fn keep(process: Process, phase: Phase) -> turmoil::Result {
    let client = process.connect().await?;
    let (barrier, mut rng) = (client.barrier(GATE), process.rng());
    while now() < FAULTS {
        barrier.set().await?;
        phase.fetch_add(1, SeqCst);
        sleep(T.mul_f64(rng.f64())).await;
        phase.fetch_add(1, SeqCst);
        barrier.remove().await?;
        sleep(T.mul_f64(rng.f64().powi(2))).await;
    }
    Ok(())
}

async fn wait(
    process: Process,
    phase: Phase,
    passed: Arc<AtomicUsize>,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let (barrier, mut rng) = (client.barrier(GATE), process.rng());
    while now() < FAULTS {
        let before = phase.load(SeqCst);
        let moment = T.mul_f64(rng.f64().powi(2));
        let waited = match rng.u8(..6) {
            0 => timeout(moment, barrier.wait()).await.ok(),
            1 => Some(barrier.wait().timeout(moment).await),
            _ => Some(barrier.wait().await),
        };
        match waited {
            None | Some(Err(Error::Timeout { .. })) => continue,
            Some(waited) => waited?,
        }
        if before.is_multiple_of(2) {
            passed.fetch_add(1, SeqCst);
            if phase.load(SeqCst) == before {
                violations.note(format!("{} passed in phase {before}", process.name));
            }
        }
        sleep((T / 4).mul_f64(rng.f64())).await;
    }
    faults_over().await;
    leaves_nothing(&client).await
}

/// Somebody with a place in the double barrier.
struct Member<'m> {
    client: &'m Client,
    who: &'m str,
    barrier: DoubleBarrier,
}

impl<'m> Member<'m> {
    fn new(client: &'m Client, who: &'m str) -> Self {
        let barrier = client.double_barrier(JOB, MEMBERS);
        Self {
            client,
            who,
            barrier,
        }
    }
}

/// One attempt to enter.
#[derive(Debug, Clone)]
struct Entering {
    who: String,
    began: Duration,
    /// When it ended, and with which round if it entered.
    ended: Option<(Duration, Option<u64>)>,
}

/// The observer of a double barrier.
#[derive(Debug, Default)]
struct Rounds {
    attempts: Vec<Entering>,
    /// Who is inside, and was not told of a loss.
    inside: Vec<(String, u64)>,
    entered: usize,
    lost: usize,
    given_up: usize,
}

type Shared = Arc<Mutex<Rounds>>;

#[test]
fn members_enter_and_leave_together_under_faults() {
    let totals = Mutex::new((0, 0, 0));
    seeds::each(|seed| {
        let (rounds, violations) = (Shared::default(), Violations::default());
        let mut scenario = Scenario::new(seed);
        for place in 0..MEMBERS {
            let (rounds, violations) = (Arc::clone(&rounds), violations.clone());
            scenario.add(&format!("member-{place}"), |process| {
                take_part(process, rounds, violations)
            });
        }
        let (mortal, noted) = (Arc::clone(&rounds), violations.clone());
        scenario.add_mortal("mortal", move |process| {
            until_faults_end(process, Arc::clone(&mortal), noted.clone())
        });
        scenario.run(&violations)?;
        let rounds = rounds.lock();
        let mut totals = totals.lock();
        totals.0 += rounds.entered;
        totals.1 += rounds.lost;
        totals.2 += rounds.given_up;
        Ok(())
    });
    let (entered, lost, given_up) = totals.into_inner();
    println!("entered {entered} times, lost {lost} places, gave up {given_up} times");
    assert!(entered > 0 && lost > 0 && given_up > 0);
}

async fn take_part(process: Process, rounds: Shared, violations: Violations) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    let mut member = Member::new(&client, &process.name);
    while now() < FAULTS {
        turn(&mut member, &mut rng, &rounds, &violations).await?;
    }
    faults_over().await;
    // The mortal one may be inside until its session has ended; then three are enough.
    sleep(T * 4).await;
    let last = (Patience::Endless, T / 5, Way::Leave);
    once(&mut member, last, &rounds, &violations).await?;
    leaves_nothing(&client).await
}

async fn until_faults_end(
    process: Process,
    rounds: Shared,
    violations: Violations,
) -> turmoil::Result {
    let client = process.connect().await?;
    let mut rng = process.rng();
    // Every life is a member of its own: the node of the last one stays until its session ends, and counts as long.
    let who = format!("{} since {:?}", process.name, now());
    for attempt in &mut rounds.lock().attempts {
        if attempt.who.starts_with(&process.name) {
            attempt.ended.get_or_insert_with(|| (now(), None));
        }
    }
    let mut member = Member::new(&client, &who);
    while now() < FAULTS {
        turn(&mut member, &mut rng, &rounds, &violations).await?;
    }
    Ok(())
}

/// How long to try.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// The barrier's own deadline.
    Deadline(Duration),
    /// The future is dropped.
    Dropped(Duration),
    Endless,
}

/// How to get out again.
#[derive(Debug, Clone, Copy)]
enum Way {
    Leave,
    /// The future is dropped.
    Cancelled(Duration),
    /// The barrier is.
    Dropped,
}

async fn turn(
    member: &mut Member<'_>,
    rng: &mut fastrand::Rng,
    rounds: &Shared,
    violations: &Violations,
) -> turmoil::Result {
    let time = (T * 3).mul_f64(rng.f64().powi(2));
    let patience = match rng.u8(..4) {
        0 => Patience::Dropped(time),
        _ => Patience::Deadline(time + T),
    };
    let work = (T * 2).mul_f64(rng.f64().powi(3));
    let way = match rng.u8(..6) {
        0 => Way::Cancelled((T / 4).mul_f64(rng.f64().powi(2))),
        1 => Way::Dropped,
        _ => Way::Leave,
    };
    once(member, (patience, work, way), rounds, violations).await?;
    sleep((T / 4).mul_f64(rng.f64().powi(2))).await;
    Ok(())
}

/// Enters, works, and leaves; or gives up.
async fn once(
    member: &mut Member<'_>,
    (patience, work, way): (Patience, Duration, Way),
    rounds: &Shared,
    violations: &Violations,
) -> turmoil::Result {
    let (who, barrier) = (member.who, &member.barrier);
    let began = now();
    let number = {
        let mut rounds = rounds.lock();
        let who = who.to_owned();
        rounds.attempts.push(Entering {
            who,
            began,
            ended: None,
        });
        rounds.attempts.len() - 1
    };
    let entered = match patience {
        Patience::Deadline(time) => barrier.enter().timeout(time).await,
        Patience::Endless => barrier.enter().await,
        Patience::Dropped(time) => match timeout(time, barrier.enter()).await {
            Ok(entered) => entered,
            Err(_) => Err(Error::Timeout {
                path: JOB.into(),
                waited: time,
            }),
        },
    };
    let entered = match entered {
        Err(Error::Timeout { .. }) => None,
        entered => Some(entered?),
    };
    let lost = barrier.lost();
    let (Some(round), Some(mut lost)) = (entered, lost) else {
        let mut rounds = rounds.lock();
        rounds.attempts[number].ended = Some((now(), None));
        rounds.given_up += 1;
        return Ok(());
    };
    let already = (&mut lost).now_or_never().is_some();
    inside(who, (number, round), already, rounds, violations);
    let listed = Inside(who, rounds);
    tokio::select! {
        _ = &mut lost => {}
        () = sleep(work) => {}
    }
    if lost.now_or_never().is_some() {
        rounds.lock().lost += 1;
    }
    drop(listed);
    let left = match way {
        Way::Leave => Some(barrier.leave().timeout(T * 20).await),
        Way::Cancelled(time) => timeout(time, barrier.leave()).await.ok(),
        Way::Dropped => {
            member.barrier = member.client.double_barrier(JOB, MEMBERS);
            None
        }
    };
    match left {
        Some(Ok(())) => all_left(who, round, rounds, violations),
        Some(Err(error)) if !error.is_lost() => return Err(error.into()),
        _ => {}
    }
    Ok(())
}

/// Takes somebody off the list of those inside: when it knows that it is not, or is killed.
struct Inside<'r>(&'r str, &'r Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.1.lock().inside.retain(|(who, _)| who != self.0);
    }
}

/// Somebody has entered: enough others were there at one moment of its wait.
fn inside(
    who: &str,
    (number, round): (usize, u64),
    lost: bool,
    rounds: &Shared,
    violations: &Violations,
) {
    let mut rounds = rounds.lock();
    rounds.entered += 1;
    rounds.attempts[number].ended = Some((now(), Some(round)));
    let began = rounds.attempts[number].began;
    let mut there: Vec<_> = (rounds.attempts.iter())
        .filter(|attempt| match attempt.ended {
            None => true,
            Some((_, Some(entered))) => entered == round,
            Some((ended, None)) => ended + LINGERING > began,
        })
        .map(|attempt| attempt.who.as_str())
        .collect();
    there.sort_unstable();
    there.dedup();
    if there.len() < MEMBERS {
        violations.note(format!("{who} entered round {round} with {there:?}"));
    }
    if !lost {
        rounds.inside.push((who.to_owned(), round));
    }
}

/// Somebody has left: nobody is certain to be inside any more.
fn all_left(who: &str, round: u64, rounds: &Shared, violations: &Violations) {
    let rounds = rounds.lock();
    let inside: Vec<_> = rounds
        .inside
        .iter()
        .filter(|other| other.1 == round)
        .collect();
    if !inside.is_empty() {
        violations.note(format!(
            "{who} left round {round} while {inside:?} were inside"
        ));
    }
}

//! The simulator, tier 0: whole ensembles of the real election, ZAB and storage cores in one thread and in virtual
//! time, with a fault mix that every seed draws for itself. First chaos, then everything must be well again. A second
//! world, [`stack`], has whole servers and clients (`ZK_STACK_SEED=n`, `ZK_STACK_SEEDS=n`).
//!
//! `ZK_SIM_SEED=n cargo test -p zk-tests --test sim` replays one seed and prints the end of its trace;
//! `ZK_SIM_SEEDS=n` runs that many, `ZK_SIM_SECONDS=n` so long, from `ZK_SIM_FIRST` on. A build with `RUSTFLAGS="--cfg zkmut"` puts bugs back, one by one, and
//! demands that they are found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test, which looks at the clock to end a campaign"
)]

mod damage;
mod museum;
#[cfg(zkmut)]
mod mutants;
mod net;
mod node;
mod oracle;
mod reconfig;
mod stack;
mod swarm;
mod transcripts;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use self::{
    swarm::Fault,
    world::{Report, WRITES_MIN, World},
};

/// Runs one seed; the error says how it failed.
fn run(seed: u64) -> Result<Report, String> {
    let replay = format!("ZK_SIM_SEED={seed} cargo test -p zk-tests --test sim");
    run_in(World::new(seed), seed, &replay)
}

/// Runs one seed of an ensemble whose members change all the time.
fn run_reconfiguring(seed: u64) -> Result<Report, String> {
    let replay = format!("ZK_SIM_RECONFIG_SEED={seed} cargo test -p zk-tests --test sim");
    run_in(World::reconfiguring(seed), seed, &replay)
}

fn run_in(mut world: World, seed: u64, replay: &str) -> Result<Report, String> {
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    match result {
        Ok(()) => Ok(world.report),
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            let trace: Vec<_> = world.trace.iter().map(String::as_str).collect();
            Err(format!(
                "{}\n{}\nseed {seed}: {what}\nreplay: {replay}",
                trace.join("\n"),
                world.describe()
            ))
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_seed_survives_its_faults() {
    if let Some(seed) = number("ZK_SIM_SEED") {
        match run(seed) {
            Ok(report) => println!("{report:#?}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let end = number("ZK_SIM_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seeds = match end {
        None => number("ZK_SIM_SEEDS").unwrap_or(100),
        Some(_) => u64::MAX / 2,
    };
    let mut done = 0;
    let first = number("ZK_SIM_FIRST").unwrap_or(0);
    let mut faults = BTreeMap::<Fault, u32>::new();
    let mut plans = BTreeMap::<_, u32>::new();
    let mut departures = BTreeMap::<_, u32>::new();
    let (mut writes, mut syncs, mut epochs, mut steps) = (0, 0, 0, 0);
    let (mut reads, mut touched, mut revalidated) = (0, 0, 0);
    for seed in first..first + seeds {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        done += 1;
        let report = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.acknowledged >= WRITES_MIN, "seed {seed}");
        report
            .faults
            .into_iter()
            .for_each(|(fault, n)| *faults.entry(fault).or_default() += n);
        report
            .plans
            .into_iter()
            .for_each(|(plan, n)| *plans.entry(plan).or_default() += n);
        report
            .departures
            .into_iter()
            .for_each(|(why, n)| *departures.entry(why).or_default() += n);
        writes += report.acknowledged;
        syncs += report.syncs;
        reads += report.reads;
        touched += report.touched;
        revalidated += report.revalidated;
        epochs += report.established;
        steps += report.steps;
    }
    println!("{done} seeds, {steps} steps, {writes} writes, {syncs} syncs, {epochs} epochs");
    println!("{reads} reads, {touched} sessions touched, {revalidated} revalidated");
    println!("{faults:?}\n{plans:?}\n{departures:#?}");
    if done >= 100 {
        assert_eq!(
            faults.keys().copied().collect::<BTreeSet<_>>(),
            Fault::ALL.into(),
            "every fault struck"
        );
        assert_eq!(
            plans.len(),
            3,
            "learners were brought up to date in every way"
        );
    }
}

#[test]
fn members_come_and_go_at_every_seed() {
    let seeds = match number("ZK_SIM_RECONFIG_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("ZK_SIM_FIRST").unwrap_or(0);
            first..first + number("ZK_SIM_RECONFIG_SEEDS").unwrap_or(30)
        }
    };
    let (mut changes, mut epochs) = (0, 0);
    for seed in seeds.clone() {
        let report = run_reconfiguring(seed).unwrap_or_else(|failure| panic!("{failure}"));
        changes += report.faults.get(&Fault::Reconfig).copied().unwrap_or(0);
        epochs += report.established;
    }
    println!("{seeds:?}: {changes} changes, {epochs} epochs");
    assert!(changes > 0, "nobody came or went");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..number("ZK_SIM_TWICE").unwrap_or(5) {
        let (first, second) = (run(seed), run(seed));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(
            (first.hash, first.steps),
            (second.hash, second.steps),
            "seed {seed}"
        );
    }
}

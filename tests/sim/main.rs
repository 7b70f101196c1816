//! The simulator, tier 0: whole ensembles of the real election, ZAB and storage cores in one thread and in virtual
//! time, with a fault mix that every seed draws for itself. First chaos, then everything must be well again.
//!
//! `ZK_SIM_SEED=n cargo test -p zk-tests --test sim` replays one seed and prints the end of its trace;
//! `ZK_SIM_SEEDS=n` runs that many. A build with `RUSTFLAGS="--cfg zkmut"` puts bugs back, one by one, and
//! demands that they are found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[cfg(zkmut)]
mod mutants;
mod net;
mod node;
mod oracle;
mod swarm;
mod transcripts;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use self::{
    swarm::Fault,
    world::{Report, WRITES_MIN, World},
};

/// Runs one seed; the error says how it failed.
fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed);
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
                "{}\n{}\nseed {seed}: {what}\nreplay: ZK_SIM_SEED={seed} cargo test -p zk-tests --test sim",
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
    let seeds = number("ZK_SIM_SEEDS").unwrap_or(100);
    let first = number("ZK_SIM_FIRST").unwrap_or(0);
    let mut faults = BTreeMap::<Fault, u32>::new();
    let mut plans = BTreeMap::<_, u32>::new();
    let mut departures = BTreeMap::<_, u32>::new();
    let (mut writes, mut syncs, mut epochs, mut steps) = (0, 0, 0, 0);
    for seed in first..first + seeds {
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
        epochs += report.established;
        steps += report.steps;
    }
    println!("{seeds} seeds, {steps} steps, {writes} writes, {syncs} syncs, {epochs} epochs");
    println!("{faults:?}\n{plans:?}\n{departures:#?}");
    if seeds >= 100 {
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

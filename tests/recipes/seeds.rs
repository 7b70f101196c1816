//! Which seeds are run: `ZK_SIM_SEEDS` of them, or only `ZK_SIM_SEED`.

use std::{
    num::NonZero,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// What each test runs unless told: all of them together take minutes.
const SEEDS: u64 = 100;
/// Unless told, where one seed takes as long as ten elsewhere.
const SEEDS_OF_LONG_CASES: u64 = 10;

/// Runs a case with every seed, as many at once as there are cores.
///
/// # Panics
/// With the seed and the reason when one fails.
pub(crate) fn each(case: impl Fn(u64) -> Result<(), String> + Sync) {
    run(seeds(SEEDS), case);
}

/// The same with fewer seeds unless told, for a case that takes long.
///
/// # Panics
/// With the seed and the reason when one fails.
pub(crate) fn each_long(case: impl Fn(u64) -> Result<(), String> + Sync) {
    run(seeds(SEEDS_OF_LONG_CASES), case);
}

fn run(seeds: Range<u64>, case: impl Fn(u64) -> Result<(), String> + Sync) {
    crate::world::trace();
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|threads| {
        for _ in 0..cores {
            threads.spawn(|| {
                while let Some(seed) = seeds.clone().nth(place(&next)) {
                    let _name = NameOnPanic(seed);
                    if let Err(reason) = case(seed) {
                        panic!("{reason}");
                    }
                }
            });
        }
    });
}

/// How many seeds are run.
pub(crate) fn count() -> u64 {
    let seeds = seeds(SEEDS);
    seeds.end - seeds.start
}

fn place(next: &AtomicU64) -> usize {
    usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX)
}

fn seeds(unless_told: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("ZK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZK_SIM_SEEDS").unwrap_or(unless_told),
    }
}

/// Says which seed it was when the case panics.
struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: ZK_SIM_SEED={}", self.0);
        }
    }
}

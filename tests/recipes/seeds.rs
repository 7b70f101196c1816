//! Which seeds are run: `ZK_SIM_SEEDS` of them, or only `ZK_SIM_SEED`.

use std::{
    num::NonZero,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

const SEEDS: u64 = 200;

/// Runs a case with every seed, as many at once as there are cores.
///
/// # Panics
/// With the seed and the reason when one fails.
pub(crate) fn each(case: impl Fn(u64) -> Result<(), String> + Sync) {
    crate::world::trace();
    let (seeds, next) = (seeds(), AtomicU64::new(0));
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
    let seeds = seeds();
    seeds.end - seeds.start
}

fn place(next: &AtomicU64) -> usize {
    usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX)
}

fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("ZK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZK_SIM_SEEDS").unwrap_or(SEEDS),
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

//! Percentiles of durations, kept in a few hundred counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Summary;

/// Up to here every value has its own counter.
const EXACT: u64 = 64;
/// Above, so many share what lies between two powers of two: an error of three in a hundred at most.
const PARTS: usize = 32;
/// Powers of two from [`EXACT`] to the largest value told apart: half an hour in milliseconds.
const POWERS: usize = 15;
const COUNTERS: usize = 64 + POWERS * PARTS;
const _: () = assert!(COUNTERS as u64 == EXACT + (POWERS * PARTS) as u64);

/// A [`Summary`] that also knows percentiles (`AvgMinMaxPercentileCounter`).
#[derive(Debug)]
pub struct Percentiles {
    summary: Summary,
    counters: Box<[AtomicU64]>,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self {
            summary: Summary::default(),
            counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Percentiles {
    /// Notes one value.
    pub fn add(&self, value: u64) {
        self.add_many(value, 1);
    }

    /// Notes the same value `count` times.
    pub fn add_many(&self, value: u64, count: u64) {
        self.summary.add_many(value, count);
        if let Some(counter) = self.counters.get(counter_of(value)) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// Count, sum, least and most.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The value that `per_mille` of a thousand do not exceed; 0 where there is none.
    #[must_use]
    pub fn at(&self, per_mille: u64) -> u64 {
        let counts = self.counters.iter().map(|counter| counter.load(Relaxed));
        let counts: Vec<u64> = counts.collect();
        let wanted = (counts.iter().sum::<u64>() * per_mille).div_ceil(1000);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= wanted && *count > 0
        });
        found.map_or(0, lowest_of)
    }
}

/// The counter of a value.
fn counter_of(value: u64) -> usize {
    if value < EXACT {
        return usize::try_from(value).unwrap_or_default();
    }
    let power = value.ilog2() - EXACT.ilog2();
    let part = (value >> (power + 1)) - EXACT / 2;
    let at = EXACT + u64::from(power) * PARTS as u64 + part;
    usize::try_from(at).unwrap_or(usize::MAX).min(COUNTERS - 1)
}

/// The least value of a counter.
fn lowest_of(counter: usize) -> u64 {
    let counter = counter as u64;
    if counter < EXACT {
        return counter;
    }
    let (power, part) = (
        (counter - EXACT) / PARTS as u64,
        (counter - EXACT) % PARTS as u64,
    );
    (EXACT / 2 + part) << (power + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_finds_a_counter_close_to_it() {
        for value in (0..100_000).chain([1 << 20, (1 << 21) - 1]) {
            let lowest = lowest_of(counter_of(value));
            assert!(lowest <= value, "{value}: {lowest}");
            assert!(value - lowest <= value / 32, "{value}: {lowest}");
        }
        assert_eq!(counter_of(u64::MAX), COUNTERS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_noted() {
        let times = Percentiles::default();
        assert_eq!(times.at(500), 0);
        (1..=1000).for_each(|value| times.add(value / 20));
        assert_eq!((times.at(500), times.at(990), times.at(999)), (25, 49, 49));
        times.add_many(0, 1_000_000);
        assert_eq!((times.at(500), times.at(1000)), (0, 50));
        assert_eq!(times.summary().count(), 1_001_000);
    }
}

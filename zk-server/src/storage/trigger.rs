//! When a snapshot is due.

use crate::config::Config;

/// Counts what was logged since the last snapshot (`SyncRequestProcessor.shouldSnapshot`).
///
/// A snapshot is due after more than half of `snapCount` transactions and a random part of the other half, or as
/// much of `snapSizeLimitInKb`, so that the members of an ensemble do not all write theirs at once.
#[derive(Debug, Clone)]
pub struct SnapshotTrigger {
    snap_count: u64,
    size_limit: Option<u64>,
    seed: u64,
    txns: u64,
    txns_max: u64,
    bytes_max: u64,
}

impl SnapshotTrigger {
    /// As configured; `txns` is what recovery replayed, `seed` is different on every member.
    #[must_use]
    pub fn new(config: &Config, seed: u64, txns: u64) -> Self {
        let mut trigger = Self {
            snap_count: config.snap_count.into(),
            size_limit: config.snap_size_limit_bytes,
            seed,
            txns,
            txns_max: 0,
            bytes_max: 0,
        };
        trigger.roll();
        trigger
    }

    /// Counts transactions that were logged; `log_bytes` is all that was logged since the last
    /// [`RollLog`](super::DiskOp::RollLog).
    ///
    /// True when a snapshot is due; the count begins anew then.
    pub fn logged(&mut self, txns: u64, log_bytes: u64) -> bool {
        self.txns += txns;
        let by_size = self.size_limit.is_some() && log_bytes > self.bytes_max;
        let due = self.txns > self.txns_max || by_size;
        if due {
            self.txns = 0;
            self.roll();
        }
        due
    }

    fn roll(&mut self) {
        let half = |limit: u64| limit / 2;
        self.txns_max = half(self.snap_count) + self.random_below(half(self.snap_count));
        if let Some(limit) = self.size_limit {
            self.bytes_max = half(limit) + self.random_below(half(limit));
        }
    }

    /// SplitMix64: no more is needed to keep members apart.
    const fn random_below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match bound {
            0 => 0,
            bound => (z ^ (z >> 31)) % bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_snapshot_is_due_somewhere_in_the_second_half() {
        let mut config = Config::default();
        config.set("snapCount", "100").unwrap();
        let mut trigger = SnapshotTrigger::new(&config, 1, 0);
        let dues: BTreeSet<u32> = (0..500)
            .map(|_| (1..).find(|_| trigger.logged(1, 0)).unwrap())
            .collect();
        assert_eq!(dues.first(), Some(&51));
        assert_eq!(dues.last(), Some(&100));
    }

    #[test]
    fn so_it_is_by_size() {
        let mut config = Config::default();
        config.set("snapCount", "1000000").unwrap();
        config.set("snapSizeLimitInKb", "100").unwrap();
        let mut trigger = SnapshotTrigger::new(&config, 1, 0);
        let dues: BTreeSet<u64> = (0..500)
            .map(|_| (1..).find(|kib| trigger.logged(1, kib * 1024)).unwrap())
            .collect();
        assert_eq!(dues.first(), Some(&51));
        assert_eq!(dues.last(), Some(&100));
        assert!(dues.len() > 40);
    }

    #[test]
    fn what_was_replayed_counts_and_size_counts_too() {
        let mut config = Config::default();
        config.set("snapCount", "100").unwrap();
        config.set("snapSizeLimitInKb", "1").unwrap();
        assert!(SnapshotTrigger::new(&config, 1, 100).logged(1, 0));
        assert!(SnapshotTrigger::new(&config, 1, 0).logged(1, 1024));
        assert!(!SnapshotTrigger::new(&config, 1, 0).logged(1, 512));
        config.set("snapSizeLimitInKb", "0").unwrap();
        assert!(!SnapshotTrigger::new(&config, 1, 0).logged(1, u64::MAX));
    }
}

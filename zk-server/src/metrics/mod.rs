//! Counters and gauges, under the names Apache's `mntr` gives them.
//!
//! Every access is relaxed: the figures are for people and dashboards, and nothing is decided by them.

mod percentiles;
mod quorum;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

pub use self::{percentiles::Percentiles, quorum::QuorumMetrics};

/// A count that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Begins again at 0.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A figure that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: usize) {
        self.0
            .store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// The figure.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How many, how much in all, the least and the most.
#[derive(Debug)]
pub struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Summary {
    /// Notes one value.
    pub fn add(&self, value: u64) {
        self.add_many(value, 1);
    }

    /// Notes the same value `count` times.
    pub fn add_many(&self, value: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.count.fetch_add(count, Relaxed);
        if value > 0 {
            self.sum.fetch_add(value.saturating_mul(count), Relaxed);
        }
        // Almost always neither bound moves, and a load is cheaper than a write shared between cores.
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The least, 0 where there is none.
    #[must_use]
    pub fn min(&self) -> u64 {
        match self.min.load(Relaxed) {
            u64::MAX => 0,
            min => min,
        }
    }

    /// The most, 0 where there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// The mean to four places, as Apache prints it (`AvgMinMaxCounter`); 0 where there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn avg(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => (self.sum() as f64 / count as f64 * 10_000.0).round() / 10_000.0,
        }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

/// Every figure of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Frames received.
    pub packets_received: Counter,
    /// Frames sent.
    pub packets_sent: Counter,
    /// Bytes received from clients.
    pub bytes_received: Counter,
    /// Bytes sent to clients.
    pub response_bytes: Counter,
    /// Milliseconds from a request's arrival to its reply.
    pub latency: Summary,
    /// As `latency`, of reads.
    pub read_latency: Percentiles,
    /// As `latency`, of writes.
    pub update_latency: Percentiles,
    /// Milliseconds per fsync of the log.
    pub fsync_time: Summary,
    /// Transactions per fsync of the log.
    pub sync_batch: Summary,
    /// Milliseconds per snapshot.
    pub snapshot_time: Summary,
    /// Snapshots that failed.
    pub snapshot_errors: Counter,
    /// Sessions of the whole ensemble.
    pub global_sessions: Gauge,
    /// Sessions that only this member knows.
    pub local_sessions: Gauge,
    /// Connect requests.
    pub connection_requests: Counter,
    /// Connections refused for a limit.
    pub connections_rejected: Counter,
    /// Sessions resumed.
    pub connections_revalidated: Counter,
    /// Connections that ended without a word.
    pub connections_dropped: Counter,
    /// Connections closed for having made no session in time.
    pub sessionless_expired: Counter,
    /// Sessions expired.
    pub stale_sessions_expired: Counter,
    /// Authentications refused.
    pub auth_failed: Counter,
    /// Transactions whose digest was not the tree's.
    pub digest_mismatches: Counter,
    /// Transactions proposed.
    pub proposals: Counter,
    /// Transactions committed.
    pub commits: Counter,
    /// How many were told of each created node that anybody was told of.
    pub created_events: Summary,
    /// As `created_events`, of deleted nodes.
    pub deleted_events: Summary,
    /// As `created_events`, of changed nodes.
    pub changed_events: Summary,
    /// As `created_events`, of changed lists of children.
    pub children_events: Summary,
    /// Bytes of events sent.
    pub watch_bytes: Counter,
    /// Answers that found their connection gone.
    pub stale_replies: Counter,
    /// Bytes of replies.
    pub response_sizes: Sizes,
    /// Transactions replayed from the log at the start.
    pub startup_txns_loaded: Summary,
    /// What a member of an ensemble counts.
    pub quorum: QuorumMetrics,
}

/// The sizes of messages of one kind (`BufferStats`); -1 before the first.
#[derive(Debug)]
pub struct Sizes {
    last: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            last: AtomicI64::new(-1),
            min: AtomicI64::new(-1),
            max: AtomicI64::new(-1),
        }
    }
}

impl Sizes {
    /// Notes one.
    pub fn add(&self, size: usize) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.last.store(size, Relaxed);
        if !(0..=size).contains(&self.min.load(Relaxed)) {
            self.min.store(size, Relaxed);
        }
        if self.max.load(Relaxed) < size {
            self.max.store(size, Relaxed);
        }
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last.load(Relaxed)
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> i64 {
        self.min.load(Relaxed)
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> i64 {
        self.max.load(Relaxed)
    }

    /// Forgets them.
    pub fn reset(&self) {
        for size in [&self.last, &self.min, &self.max] {
            size.store(-1, Relaxed);
        }
    }
}

impl Metrics {
    /// Forgets what `srst` makes Apache forget.
    pub fn reset(&self) {
        self.packets_received.reset();
        self.packets_sent.reset();
        self.latency.reset();
        self.auth_failed.reset();
        self.response_sizes.reset();
    }
}

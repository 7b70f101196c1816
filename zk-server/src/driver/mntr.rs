//! The metrics that `mntr` lists, under Apache's names (`ServerMetrics`, `ZooKeeperServer.registerMetrics`).
//!
//! What only a JVM, Netty, TLS or a quorum has is left out rather than shown as 0.

use std::fmt::{self, Display, Write};

use super::Hub;
use crate::{metrics::Summary, time::Now};

/// Appends a line for every metric: gauges, counters, then summaries.
pub(super) fn dump(hub: &Hub, now: Now, out: &mut String) -> fmt::Result {
    let mut lines = Lines { out };
    gauges(hub, now, &mut lines)?;
    counters(hub, &mut lines)?;
    let metrics = &hub.shared.metrics;
    lines.summary("fsynctime", &metrics.fsync_time)?;
    lines.summary("snapshottime", &metrics.snapshot_time)?;
    lines.summary("sync_processor_batch_size", &metrics.sync_batch)?;
    lines.summary("readlatency", &metrics.read_latency)?;
    lines.summary("updatelatency", &metrics.update_latency)
}

struct Lines<'a> {
    out: &'a mut String,
}

impl Lines<'_> {
    fn put(&mut self, name: &str, value: impl Display) -> fmt::Result {
        writeln!(self.out, "zk_{name}\t{value}")
    }

    fn summary(&mut self, name: &str, summary: &Summary) -> fmt::Result {
        writeln!(self.out, "zk_avg_{name}\t{:?}", summary.avg())?;
        writeln!(self.out, "zk_min_{name}\t{}", summary.min())?;
        writeln!(self.out, "zk_max_{name}\t{}", summary.max())?;
        writeln!(self.out, "zk_cnt_{name}\t{}", summary.count())?;
        writeln!(self.out, "zk_sum_{name}\t{}", summary.sum())
    }
}

fn gauges(hub: &Hub, now: Now, lines: &mut Lines<'_>) -> fmt::Result {
    let (shared, metrics) = (&hub.shared, &hub.shared.metrics);
    let (nodes, ephemerals, bytes) = {
        let tree = shared.tree.read();
        let bytes = tree.approximate_data_size();
        (tree.node_count(), tree.ephemeral_count(), bytes)
    };
    let watches = shared.watches.lock().count();
    let latency = &metrics.latency;
    lines.put("ephemerals_count", ephemerals)?;
    lines.put("num_alive_connections", shared.conns.len())?;
    lines.put("avg_latency", format_args!("{:?}", latency.avg()))?;
    lines.put("outstanding_requests", shared.outstanding())?;
    lines.put("znode_count", nodes)?;
    lines.put("global_sessions", metrics.global_sessions.get())?;
    lines.put("packets_sent", metrics.packets_sent.get())?;
    lines.put("packets_received", metrics.packets_received.get())?;
    lines.put("connection_drop_probability", "0.0")?;
    lines.put("watch_count", watches)?;
    lines.put("auth_failed_count", metrics.auth_failed.get())?;
    lines.put("min_latency", latency.min())?;
    lines.put("max_file_descriptor_count", max_files())?;
    lines.put("approximate_data_size", bytes)?;
    lines.put("open_file_descriptor_count", open_files())?;
    lines.put("local_sessions", 0)?;
    let uptime = now.mono.saturating_sub(hub.started.mono);
    lines.put("uptime", uptime.as_millis())?;
    lines.put("max_latency", latency.max())
}

fn counters(hub: &Hub, lines: &mut Lines<'_>) -> fmt::Result {
    let metrics = &hub.shared.metrics;
    for (name, counter) in [
        ("bytes_received_count", &metrics.bytes_received),
        ("response_bytes", &metrics.response_bytes),
        ("connection_request_count", &metrics.connection_requests),
        ("connection_rejected", &metrics.connections_rejected),
        (
            "connection_revalidate_count",
            &metrics.connections_revalidated,
        ),
        ("connection_drop_count", &metrics.connections_dropped),
        (
            "sessionless_connections_expired",
            &metrics.sessionless_expired,
        ),
        ("stale_sessions_expired", &metrics.stale_sessions_expired),
        ("digest_mismatches_count", &metrics.digest_mismatches),
        ("snapshot_error_count", &metrics.snapshot_errors),
        ("proposal_count", &metrics.proposals),
        ("commit_count", &metrics.commits),
        ("node_created_watch_count", &metrics.created_events),
        ("node_deleted_watch_count", &metrics.deleted_events),
        ("node_changed_watch_count", &metrics.changed_events),
        ("node_children_watch_count", &metrics.children_events),
    ] {
        lines.put(name, counter.get())?;
    }
    Ok(())
}

/// How many files this process may have open; -1 where there is no limit.
fn max_files() -> i64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

/// How many files this process has open; 0 where the system does not tell.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

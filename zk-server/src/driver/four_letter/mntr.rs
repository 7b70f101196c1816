//! The metrics that `mntr` lists, under Apache's names (`ServerMetrics`, `ZooKeeperServer.registerMetrics`).
//!
//! What only a JVM, Netty or TLS has is left out rather than shown as 0.

use std::fmt::{self, Display, Write};

use crate::{
    conn::handle::canonical,
    driver::Hub,
    metrics::{Percentiles, Summary},
    time::Now,
};

/// Appends a line for every metric: gauges, counters, then summaries.
pub(super) fn dump(hub: &Hub, now: Now, out: &mut String) -> fmt::Result {
    let mut lines = Lines { out };
    gauges(hub, now, &mut lines)?;
    if hub.config.is_ensemble() {
        of_quorum(hub, now, &mut lines)?;
    }
    counters(hub, &mut lines)?;
    let metrics = &hub.shared.metrics;
    lines.summary("fsynctime", &metrics.fsync_time)?;
    lines.summary("snapshottime", &metrics.snapshot_time)?;
    lines.summary("sync_processor_batch_size", &metrics.sync_batch)?;
    lines.summary("startup_txns_loaded", &metrics.startup_txns_loaded)?;
    lines.summary("node_created_watch_count", &metrics.created_events)?;
    lines.summary("node_deleted_watch_count", &metrics.deleted_events)?;
    lines.summary("node_changed_watch_count", &metrics.changed_events)?;
    lines.summary("node_children_watch_count", &metrics.children_events)?;
    lines.percentiles("readlatency", &metrics.read_latency)?;
    lines.percentiles("updatelatency", &metrics.update_latency)
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

    fn percentiles(&mut self, name: &str, values: &Percentiles) -> fmt::Result {
        self.summary(name, values.summary())?;
        for (percentile, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
            let value = values.at(per_mille);
            writeln!(self.out, "zk_{percentile}_{name}\t{value}")?;
        }
        Ok(())
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
    let (local, remote) = conns_by_place(hub);
    lines.put("non_mtls_remote_conn_count", remote)?;
    lines.put("non_mtls_local_conn_count", local)?;
    let sizes = &metrics.response_sizes;
    lines.put("last_client_response_size", sizes.last())?;
    lines.put("max_client_response_size", sizes.max())?;
    lines.put("min_client_response_size", sizes.min())?;
    lines.put("packets_sent", metrics.packets_sent.get())?;
    lines.put("packets_received", metrics.packets_received.get())?;
    lines.put("connection_drop_probability", "0.0")?;
    lines.put("watch_count", watches)?;
    lines.put("auth_failed_count", metrics.auth_failed.get())?;
    lines.put("min_latency", latency.min())?;
    lines.put("max_file_descriptor_count", max_files())?;
    lines.put("approximate_data_size", bytes)?;
    lines.put("open_file_descriptor_count", open_files())?;
    lines.put("local_sessions", metrics.local_sessions.get())?;
    let uptime = now.mono.saturating_sub(hub.started.mono);
    lines.put("uptime", uptime.as_millis())?;
    lines.put("max_latency", latency.max())
}

/// What a member of an ensemble adds, and a leader more.
fn of_quorum(hub: &Hub, now: Now, lines: &mut Lines<'_>) -> fmt::Result {
    let metrics = &hub.shared.metrics.quorum;
    lines.put("quorum_size", metrics.quorum_size.get())?;
    if hub.shared.leads() {
        lines.put("learners", metrics.learners.get())?;
        lines.put("synced_followers", metrics.synced_followers.get())?;
        let non_voting = metrics.synced_non_voting_followers.get();
        lines.put("synced_non_voting_followers", non_voting)?;
        lines.put("synced_observers", metrics.synced_observers.get())?;
        lines.put("pending_syncs", metrics.pending_syncs.get())?;
        let now = i64::try_from(now.mono.as_millis()).unwrap_or(i64::MAX);
        lines.put("leader_uptime", now - metrics.leads_since_ms.get())?;
        let sizes = &metrics.proposal_sizes;
        lines.put("last_proposal_size", sizes.last())?;
        lines.put("max_proposal_size", sizes.max())?;
        lines.put("min_proposal_size", sizes.min())?;
    }
    lines.put("looking_count", metrics.looking.get())?;
    lines.summary("election_time", &metrics.election_time)?;
    lines.summary("leader_unavailable_time", &metrics.leader_unavailable_time)
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
        ("watch_bytes", &metrics.watch_bytes),
        ("stale_replies", &metrics.stale_replies),
    ] {
        lines.put(name, counter.get())?;
    }
    Ok(())
}

/// How many connections come from this machine, and how many from others.
fn conns_by_place(hub: &Hub) -> (usize, usize) {
    let conns = hub.shared.conns.all();
    let local = conns
        .iter()
        .filter(|conn| canonical(conn.remote.ip()).is_loopback());
    let local = local.count();
    (local, conns.len() - local)
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

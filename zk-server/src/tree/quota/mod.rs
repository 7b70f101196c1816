//! Quotas: how many nodes and bytes may be below a path (`Quotas`, `StatsTrack`, `PathTrie`).
//!
//! A quota on `/a` is two nodes that clients create: `/zookeeper/quota/a/zookeeper_limits` holds the limits, and
//! `.../zookeeper_stats` what there is, which every member keeps up to date on its own. Only the deepest quota above
//! a node counts. A soft limit that is exceeded is logged, a hard one refuses the write.

mod stats_track;

use std::collections::BTreeSet;

use zk_proto::ErrorCode;

use self::stats_track::StatsTrack;
use super::{
    DataTree,
    path::{self, QUOTA},
    slab::NONE,
};

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The paths that have a quota.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Without empty names.
    paths: BTreeSet<String>,
}

impl Quotas {
    fn add(&mut self, path: &str) {
        let path = normalized(path);
        // The root has none.
        if !path.is_empty() {
            self.paths.insert(path);
        }
    }

    fn remove(&mut self, path: &str) {
        self.paths.remove(&normalized(path));
    }

    /// The deepest path with a quota at or above a path.
    fn governing(&self, path: &str) -> Option<&str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut path = normalized(path);
        loop {
            if let Some(found) = self.paths.get(&path) {
                return Some(found);
            }
            path.truncate(path.rfind('/')?);
        }
    }
}

/// A path without its empty and blank names; of the root, nothing.
fn normalized(path: &str) -> String {
    let names = path.split('/').filter(|name| !path::trim(name).is_empty());
    names.flat_map(|name| ["/", name]).collect()
}

impl DataTree {
    /// Whether the quota above a path leaves room for a new node with so much data, or for so much instead of what
    /// it has.
    ///
    /// # Errors
    /// [`ErrorCode::QuotaExceeded`] where a hard limit does not.
    pub(crate) fn check_quota(
        &self,
        path: &str,
        data_len: usize,
        replaced: Option<usize>,
    ) -> Result<(), ErrorCode> {
        let Some(governing) = self.quotas.governing(path) else {
            return Ok(());
        };
        let (Some(limits), Some(stats)) = (
            self.node(&format!("{QUOTA}{governing}/{LIMITS}")),
            self.node(&format!("{QUOTA}{governing}/{STATS}")),
        ) else {
            return Ok(());
        };
        let limits = StatsTrack::parse(limits.data().unwrap_or_default());
        let stats = StatsTrack::parse(stats.data().unwrap_or_default());
        let nodes = i64::from(replaced.is_none());
        let bytes = difference(data_len, replaced.unwrap_or(0));
        match stats.allows(&limits, "count", "countHardLimit", nodes)
            && stats.allows(&limits, "bytes", "byteHardLimit", bytes)
        {
            true => Ok(()),
            false => Err(ErrorCode::QuotaExceeded),
        }
    }

    /// A node was created: it may be a quota's own, and counts in the quota above it.
    pub(super) fn quota_created(&mut self, path: &str, data_len: usize) {
        if let Some((parent, name)) = path::split(path)
            && let Some(limited) = parent.strip_prefix(QUOTA)
        {
            match name {
                LIMITS => self.quotas.add(limited),
                STATS => self.recount_quota(limited),
                _ => {}
            }
        }
        self.count_in_quota(path, 1, difference(data_len, 0));
    }

    /// A node was deleted.
    pub(super) fn quota_deleted(&mut self, path: &str, data_len: usize) {
        if let Some((parent, LIMITS)) = path::split(path)
            && let Some(limited) = parent.strip_prefix(QUOTA)
        {
            self.quotas.remove(limited);
        }
        self.count_in_quota(path, -1, difference(0, data_len));
    }

    /// A node's data was replaced.
    pub(super) fn quota_changed(&mut self, path: &str, old_len: usize, new_len: usize) {
        self.count_in_quota(path, 0, difference(new_len, old_len));
    }

    /// Finds the quotas of a restored tree and counts what is below them (`setupQuota`).
    pub(super) fn set_up_quotas(&mut self) {
        let mut limited = Vec::new();
        if let Some(quota) = self.find(QUOTA) {
            self.collect_limits(quota, &mut limited);
        }
        for path in limited {
            self.recount_quota(&path);
            self.quotas.add(&path);
        }
    }

    fn collect_limits(&self, top: u32, limited: &mut Vec<String>) {
        let mut open = vec![top];
        while let Some(id) = open.pop() {
            let mut child = self.extra(id).first_child;
            if child == NONE && self.nodes.get(id).name() == LIMITS.as_bytes() {
                let path = self.path_of(self.nodes.get(id).parent);
                limited.extend(path.strip_prefix(QUOTA).map(str::to_owned));
            }
            while child != NONE {
                open.push(child);
                child = self.nodes.get(child).next;
            }
        }
    }

    /// Writes into a quota's stats what there is.
    fn recount_quota(&mut self, limited: &str) {
        let (mut nodes, mut bytes) = (0, 0);
        if let Some(top) = self.find(limited) {
            let mut open = vec![top];
            while let Some(id) = open.pop() {
                nodes += 1;
                bytes += difference(self.nodes.get(id).data_len(), 0);
                let mut child = self.extra(id).first_child;
                while child != NONE {
                    open.push(child);
                    child = self.nodes.get(child).next;
                }
            }
        }
        self.write_stats(limited, &StatsTrack::of(nodes, bytes));
    }

    fn count_in_quota(&mut self, path: &str, nodes: i64, bytes: i64) {
        let Some(governing) = self.quotas.governing(path).map(str::to_owned) else {
            return;
        };
        let Some(node) = self.node(&format!("{QUOTA}{governing}/{STATS}")) else {
            return;
        };
        let mut stats = StatsTrack::parse(node.data().unwrap_or_default());
        stats.add("count", nodes);
        stats.add("bytes", bytes);
        self.write_stats(&governing, &stats);
    }

    /// Without a new version, and outside of the digest: every member does it on its own.
    fn write_stats(&mut self, limited: &str, stats: &StatsTrack) {
        let path = format!("{QUOTA}{limited}/{STATS}");
        if let Some(id) = self.find(&path) {
            self.replace_data(id, path.as_bytes(), Some(stats.to_text().as_bytes()));
        }
    }
}

fn difference(new: usize, old: usize) -> i64 {
    let length = |len| i64::try_from(len).unwrap_or(i64::MAX);
    length(new) - length(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_quota_governs() {
        let mut quotas = Quotas::default();
        quotas.add("/a");
        quotas.add("/a/b/c");
        quotas.add("");
        for (path, governing) in [
            ("/a", Some("/a")),
            ("/a/b", Some("/a")),
            ("/a/b/c", Some("/a/b/c")),
            ("/a/b/c/d/e", Some("/a/b/c")),
            ("/ab", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(quotas.governing(path), governing, "{path}");
        }
        quotas.remove("/a");
        assert_eq!(quotas.governing("/a/b"), None);
    }
}

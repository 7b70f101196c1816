//! The digest of the tree: a sum over its nodes that every member computes for itself.
//!
//! An *AdHash* (`AdHash`, `DigestCalculator`): the wrapping sum of a CRC-32 of each node, so that a change of one
//! node costs one subtraction and one addition. The log and every proposal carry the digest *after* the
//! transaction, which lets a member notice that its tree has gone astray.

use std::fmt;

use crate::stat::StatPersisted;

/// The version that stands beside every digest (`DigestCalculator.DIGEST_VERSION`).
pub const DIGEST_VERSION: i32 = 2;

/// What one node contributes to the tree's digest.
///
/// `path` is the node's full path; the root's is `""` or `"/"`. Null data counts as empty data. Nodes below
/// `/zookeeper` (quota, config) contribute 0, since members change them on their own; `/zookeeper` itself counts.
#[must_use]
pub fn node_digest(path: &str, data: &[u8], stat: &StatPersisted) -> u64 {
    match path {
        path if path.starts_with("/zookeeper/") => 0,
        path => digest_with_stat(body_crc(path.as_bytes(), data), stat),
    }
}

/// The part of a node's digest that its path and data make: constant while only its metadata changes.
///
/// What [`digest_with_stat`] continues; the root's path is `""` or `"/"`.
#[must_use]
pub fn body_crc(path: &[u8], data: &[u8]) -> u32 {
    let path = if path == b"/" { b"" } else { path };
    let mut crc = crc32fast::Hasher::new();
    crc.update(path);
    crc.update(data);
    crc.finalize()
}

/// [`node_digest`] of a node that counts, from the [`body_crc`] of its path and data.
#[must_use]
pub fn digest_with_stat(body_crc: u32, stat: &StatPersisted) -> u64 {
    let mut crc = crc32fast::Hasher::new_with_initial(body_crc);
    crc.update(&stat_bytes(stat));
    u64::from(crc.finalize())
}

/// The Stat in the digest's own order of fields, which is not the record's.
fn stat_bytes(stat: &StatPersisted) -> [u8; 60] {
    let mut out = [0; 60];
    let longs = [
        stat.czxid.0,
        stat.mzxid.0,
        stat.pzxid.0,
        stat.ctime,
        stat.mtime,
    ];
    for (slot, value) in out.chunks_exact_mut(8).zip(longs) {
        slot.copy_from_slice(&value.to_be_bytes());
    }
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (slot, value) in out[40..52].chunks_exact_mut(4).zip(ints) {
        slot.copy_from_slice(&value.to_be_bytes());
    }
    out[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    out
}

/// The digest of a whole tree: the wrapping sum of its nodes' digests.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TreeDigest(pub u64);

impl TreeDigest {
    /// Counts a node in that was created or has its new content.
    pub const fn add(&mut self, node: u64) {
        self.0 = self.0.wrapping_add(node);
    }

    /// Counts a node out that is deleted or is about to change.
    pub const fn remove(&mut self, node: u64) {
        self.0 = self.0.wrapping_sub(node);
    }

    /// As [`TxnDigest`](crate::txn::TxnDigest) and the snapshot carry it.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// From the form in [`TxnDigest`](crate::txn::TxnDigest) and the snapshot.
    #[must_use]
    pub const fn from_i64(digest: i64) -> Self {
        Self(digest.cast_unsigned())
    }
}

impl fmt::Debug for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeDigest({:#x})", self.0)
    }
}

impl fmt::LowerHex for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zxid::Zxid;

    /// What a live server logs behind its first transaction, a createSession.
    const EMPTY_TREE: TreeDigest = TreeDigest(0x51c6_d660);

    fn empty_tree() -> TreeDigest {
        let mut tree = TreeDigest::default();
        tree.add(node_digest("", b"", &StatPersisted::default()));
        tree.add(node_digest("/zookeeper", b"", &StatPersisted::default()));
        tree
    }

    #[test]
    fn an_empty_tree_has_apaches_digest() {
        assert_eq!(empty_tree(), EMPTY_TREE);
    }

    #[test]
    fn nodes_below_zookeeper_do_not_count_but_similar_names_do() {
        let stat = StatPersisted::default();
        assert_eq!(node_digest("/zookeeper/quota", b"x", &stat), 0);
        assert_ne!(node_digest("/zookeeper", b"x", &stat), 0);
        assert_ne!(node_digest("/zookeepers/quota", b"x", &stat), 0);
        assert_eq!(node_digest("/", b"x", &stat), node_digest("", b"x", &stat));
    }

    #[test]
    fn every_field_counts_and_a_removed_node_leaves_no_trace() {
        let mut seen = std::collections::BTreeSet::new();
        let fields: [fn(&mut StatPersisted); 9] = [
            |s| s.czxid = Zxid(1),
            |s| s.mzxid = Zxid(1),
            |s| s.pzxid = Zxid(1),
            |s| s.ctime = 1,
            |s| s.mtime = 1,
            |s| s.version = 1,
            |s| s.cversion = 1,
            |s| s.aversion = 1,
            |s| s.ephemeral_owner = 1,
        ];
        let mut tree = empty_tree();
        for set in fields {
            let mut stat = StatPersisted::default();
            set(&mut stat);
            let node = node_digest("/a", b"x", &stat);
            assert!(seen.insert(node), "two fields share their place");
            tree.add(node);
        }
        seen.into_iter().for_each(|node| tree.remove(node));
        assert_eq!(tree, EMPTY_TREE);
    }

    #[test]
    fn a_digest_survives_the_signed_form() {
        assert_eq!(TreeDigest(u64::MAX).to_i64(), -1);
        assert_eq!(TreeDigest::from_i64(-1), TreeDigest(u64::MAX));
    }
}

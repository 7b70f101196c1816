//! What proposed transactions will have changed once they are applied (`outstandingChanges`).

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;
use zk_proto::{
    Utf8Bytes, Zxid,
    persist::{TreeDigest, digest_with_stat},
    stat::StatPersisted,
};

use crate::tree::{AclList, DataTree, NodeRef};

/// A node as a proposed transaction leaves it: what later checks look at.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) stat: StatPersisted,
    pub(super) child_count: u32,
    pub(super) acl: Arc<AclList>,
    pub(super) data_len: usize,
    /// CRC-32 of path and data, for the digest.
    pub(super) body_crc: u32,
}

impl NodeState {
    fn of(node: NodeRef<'_>) -> Self {
        Self {
            stat: node.stat_persisted(),
            child_count: u32::try_from(node.child_count()).unwrap_or(u32::MAX),
            acl: Arc::clone(node.acl()),
            data_len: node.data().map_or(0, <[u8]>::len),
            body_crc: node.body_crc(),
        }
    }
}

/// A change of a node by a proposed transaction (`ChangeRecord`).
#[derive(Debug)]
struct ChangeRecord {
    zxid: Zxid,
    path: Utf8Bytes,
    /// The number of the change before this one of the same node.
    previous: Option<u64>,
    /// `None`: deleted.
    state: Option<NodeState>,
}

/// The changes of proposed transactions, in order, and the digest after the last of them.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    records: VecDeque<ChangeRecord>,
    /// The number of the first record; numbers go on for ever.
    base: u64,
    /// The number of the last change of each node. The root's path is `""`.
    latest: HashMap<Utf8Bytes, u64, foldhash::fast::FixedState>,
    digest: TreeDigest,
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    next: u64,
    digest: TreeDigest,
}

impl Outstanding {
    /// Takes up the tree's digest where nothing is outstanding.
    pub(super) fn begin(&mut self, tree: &DataTree) {
        if self.records.is_empty() {
            self.digest = tree.digest();
        }
    }

    /// The digest once everything outstanding is applied.
    pub(super) const fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// The node at a path, as it will be.
    pub(super) fn node(&self, tree: &DataTree, path: &str) -> Option<NodeState> {
        match self.latest.get(key(path)) {
            Some(number) => self.record(*number)?.state.clone(),
            None => tree.node(path).map(NodeState::of),
        }
    }

    /// Whether something outstanding changes or deletes the node at a path.
    pub(super) fn touches(&self, path: &str) -> bool {
        self.latest.contains_key(key(path))
    }

    /// The nodes that are outstanding and will be there, by their last change.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Utf8Bytes, &NodeState)> + '_ {
        let numbered = (self.base..).zip(&self.records);
        numbered.filter_map(|(number, record)| {
            let state = record.state.as_ref()?;
            let is_last = self.latest.get(record.path.as_str()) == Some(&number);
            is_last.then_some((&record.path, state))
        })
    }

    /// Enters a change; `old` is what [`node`](Self::node) says.
    pub(super) fn change(
        &mut self,
        zxid: Zxid,
        path: Utf8Bytes,
        old: Option<&NodeState>,
        new: Option<NodeState>,
    ) {
        if !path.starts_with("/zookeeper/") {
            let digest = |state: &NodeState| digest_with_stat(state.body_crc, &state.stat);
            old.map(digest)
                .into_iter()
                .for_each(|d| self.digest.remove(d));
            new.as_ref()
                .map(digest)
                .into_iter()
                .for_each(|d| self.digest.add(d));
        }
        let path = match key(&path) {
            "" => Utf8Bytes::default(),
            _ => path,
        };
        let previous = self.latest.insert(path.clone(), self.next());
        self.records.push_back(ChangeRecord {
            zxid,
            path,
            previous,
            state: new,
        });
    }

    /// A point to go back to should the rest of a multi fail.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            next: self.next(),
            digest: self.digest,
        }
    }

    /// Undoes every change since the mark.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        self.digest = mark.digest;
        while self.next() > mark.next {
            let Some(record) = self.records.pop_back() else {
                return;
            };
            match record.previous {
                Some(number) if number >= self.base => self.latest.insert(record.path, number),
                _ => self.latest.remove(record.path.as_str()),
            };
        }
    }

    /// Forgets what is applied now: every change up to this transaction.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        while let Some(record) = self.records.front()
            && record.zxid <= zxid
        {
            if self.latest.get(record.path.as_str()) == Some(&self.base) {
                self.latest.remove(record.path.as_str());
            }
            self.records.pop_front();
            self.base += 1;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.base = self.next();
        self.records.clear();
        self.latest.clear();
    }

    fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    fn record(&self, number: u64) -> Option<&ChangeRecord> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.records.get(at)
    }
}

/// The root has two paths.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

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
    /// The numbers of the changes that leave a node with an owner, in order, by the owner's field: the end of a
    /// session must not look at everybody's changes.
    by_owner: HashMap<i64, VecDeque<u64>, foldhash::fast::FixedState>,
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

    /// The nodes with this owner that are outstanding and will be there, by their last change.
    pub(super) fn owned_by(
        &self,
        owner: i64,
    ) -> impl Iterator<Item = (&Utf8Bytes, &NodeState)> + '_ {
        let numbers = self.by_owner.get(&owner).into_iter().flatten();
        numbers.filter_map(|number| {
            let record = self.record(*number)?;
            let is_last = self.latest.get(record.path.as_str()) == Some(number);
            is_last.then_some((&record.path, record.state.as_ref()?))
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
        let number = self.next();
        if let Some(owner) = owner_of(new.as_ref()) {
            self.by_owner.entry(owner).or_default().push_back(number);
        }
        let previous = self.latest.insert(path.clone(), number);
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
            self.disown(record.state.as_ref(), VecDeque::pop_back);
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
            if let Some(record) = self.records.pop_front() {
                self.disown(record.state.as_ref(), VecDeque::pop_front);
            }
            self.base += 1;
        }
    }

    /// Strikes the oldest or newest change of a node's owner off.
    fn disown(
        &mut self,
        state: Option<&NodeState>,
        strike: impl FnOnce(&mut VecDeque<u64>) -> Option<u64>,
    ) {
        let Some(owner) = owner_of(state) else {
            return;
        };
        if let Some(numbers) = self.by_owner.get_mut(&owner) {
            strike(numbers);
            if numbers.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.base = self.next();
        self.records.clear();
        self.latest.clear();
        self.by_owner.clear();
    }

    fn next(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    fn record(&self, number: u64) -> Option<&ChangeRecord> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.records.get(at)
    }
}

fn owner_of(state: Option<&NodeState>) -> Option<i64> {
    let owner = state?.stat.ephemeral_owner;
    (owner != 0).then_some(owner)
}

/// The root has two paths.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(by: i64) -> NodeState {
        let stat = StatPersisted {
            ephemeral_owner: by,
            ..StatPersisted::default()
        };
        NodeState {
            stat,
            child_count: 0,
            acl: Arc::default(),
            data_len: 0,
            body_crc: 0,
        }
    }

    fn paths(outstanding: &Outstanding, owner: i64) -> Vec<&str> {
        let owned = outstanding.owned_by(owner);
        owned.map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn a_sessions_changes_are_found_without_looking_at_the_others() {
        let mut outstanding = Outstanding::default();
        let mut make = |zxid: i64, path: &str, owner: i64| {
            outstanding.change(Zxid(zxid), path.into(), None, Some(owned(owner)));
        };
        make(1, "/a", 7);
        make(1, "/b", 8);
        make(2, "/c", 7);
        // Written to once more, and one that is nobody's.
        make(3, "/a", 7);
        make(3, "/d", 0);
        assert_eq!(paths(&outstanding, 7), ["/c", "/a"]);
        assert_eq!(paths(&outstanding, 8), ["/b"]);
        let mark = outstanding.mark();
        outstanding.change(Zxid(4), "/c".into(), Some(&owned(7)), None);
        outstanding.change(Zxid(4), "/e".into(), None, Some(owned(7)));
        assert_eq!(paths(&outstanding, 7), ["/a", "/e"]);
        outstanding.roll_back(mark);
        assert_eq!(paths(&outstanding, 7), ["/c", "/a"]);
        outstanding.applied(Zxid(2));
        assert_eq!(paths(&outstanding, 7), ["/a"]);
        assert!(paths(&outstanding, 8).is_empty());
        outstanding.applied(Zxid(3));
        assert!(outstanding.by_owner.is_empty(), "nothing is left behind");
    }
}

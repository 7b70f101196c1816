//! Which connections watch which paths, in every way there is (`WatchManager`, twice).
//!
//! One entry for each connection and path, with the kinds of watches the connection has there side by side
//! (ZOOKEEPER-4466): a connection that watches a path twice hears of an event once. Entries are chained by path and
//! by connection, and found by both, so that nothing here takes longer where there are many.
//!
//! | kind | registered by | fires on |
//! |---|---|---|
//! | data, once | getData, exists, setWatches | created, deleted, data changed |
//! | child, once | getChildren, setWatches | children changed, deleted |
//! | persistent | addWatch 0 | all of these |
//! | recursive | addWatch 1 | created, deleted, data changed, of the node and all below it |
//!
//! Invariants: an entry has at least one kind; a path and a connection are here as long as they have an entry.
//! Memory: 28 bytes an entry, 24 and its text a path, about twenty each for the way to them.
//!
//! Deliberately not here: ACLs (the caller asks the event), sessions, outboxes, and the lock.

mod chain;
mod kinds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::watch::{EventType, WatcherType};

pub use self::kinds::WatchKinds;
use self::{
    chain::{Entry, Link},
    kinds::concerned,
};
use super::{
    index::Index,
    slab::{NONE, Slab},
};

/// Names a connection while it lasts; its driver hands out the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A path with at least one watch.
#[derive(Debug, Default)]
struct WatchedPath {
    text: Box<str>,
    /// Its first entry.
    first: u32,
}

/// Counts as Apache counts: one for each connection and path, separately for its two watch managers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    data: usize,
    child: usize,
    recursive: usize,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSummary {
    /// Connections that watch some node's data.
    pub connections: usize,
    /// Paths at which data is watched.
    pub paths: usize,
    /// Pairs of both.
    pub watches: usize,
}

/// All watches of a server.
#[derive(Debug)]
pub struct WatchTable {
    entries: Slab<Entry>,
    paths: Slab<WatchedPath>,
    /// The first entry of each connection.
    conns: BTreeMap<ConnId, u32>,
    path_index: Index,
    entry_index: Index,
    counts: Counts,
    /// Whom to tell: a buffer.
    fired: Vec<ConnId>,
}

impl WatchTable {
    /// A table without watches; the seed makes the places of paths in it unpredictable to clients.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self {
            entries: Slab::default(),
            paths: Slab::default(),
            conns: BTreeMap::new(),
            path_index: Index::new(hash_seed),
            entry_index: Index::new(hash_seed),
            counts: Counts::default(),
            fired: Vec::new(),
        }
    }

    /// Leaves watches of these kinds for a connection, beside those it has at the path.
    ///
    /// The connection must be open: what it leaves is only removed by [`remove_conn`](Self::remove_conn).
    pub fn register(&mut self, conn: ConnId, path: &str, kinds: WatchKinds) {
        let path_id = match self.find_path(path) {
            Some(id) => id,
            None => self.add_path(path),
        };
        let id = match self.find_entry(path_id, conn) {
            Some(id) => id,
            None => self.add_entry(path_id, conn),
        };
        let kinds = self.entries.get(id).kinds.or(kinds);
        self.set_kinds(id, kinds);
    }

    /// Removes every watch of a connection.
    pub fn remove_conn(&mut self, conn: ConnId) {
        while let Some(id) = self.conns.get(&conn) {
            self.set_kinds(*id, WatchKinds::NONE);
        }
    }

    /// Whether a connection has a watch of this type at a path (checkWatches).
    #[must_use]
    pub fn contains(&self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let entry = self
            .find_path(path)
            .and_then(|id| self.find_entry(id, conn));
        entry.is_some_and(|id| self.entries.get(id).kinds.intersects(WatchKinds::of(kind)))
    }

    /// Removes a connection's watches of this type at a path, and tells whether there was one (removeWatches).
    pub fn remove(&mut self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let entry = self
            .find_path(path)
            .and_then(|id| self.find_entry(id, conn));
        let Some(id) = entry else { return false };
        let kinds = self.entries.get(id).kinds;
        self.set_kinds(id, kinds.without(WatchKinds::of(kind)));
        kinds.intersects(WatchKinds::of(kind))
    }

    /// Tells `fire` each connection that is to hear of an event, once, and uses up its one-shot watches.
    ///
    /// A deletion fires data and child watches alike. Used-up watches stay so even if the connection may not read
    /// the node and `fire` therefore tells it nothing.
    pub fn trigger(&mut self, event: EventType, path: &str, mut fire: impl FnMut(ConnId)) {
        if self.paths.len() == 0 {
            return;
        }
        let (concerned, used_up) = concerned(event);
        self.fired.clear();
        self.collect(path, concerned, used_up);
        if self.counts.recursive > 0 && concerned.intersects(WatchKinds::RECURSIVE) {
            let own = self.fired.len();
            for ancestor in ancestors(path) {
                self.collect(ancestor, WatchKinds::RECURSIVE, WatchKinds::NONE);
            }
            if self.fired.len() > own {
                self.fired.sort_unstable();
                self.fired.dedup();
            }
        }
        self.fired.iter().copied().for_each(&mut fire);
    }

    /// How many watches there are (`watch_count`): a persistent one counts twice, as it does in Apache.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.counts.data + self.counts.child
    }

    /// Every connection that watches data at a path, as `wchp` and `wchc` list them: ordered by connection.
    pub fn data_watches(&self) -> impl Iterator<Item = (ConnId, &str)> + '_ {
        self.conns.iter().flat_map(|(conn, first)| {
            let data = concerned(EventType::NodeDataChanged).0;
            self.chain(*first, Link::Conn)
                .map(|id| self.entries.get(id))
                .filter(move |entry| entry.kinds.intersects(data))
                .map(|entry| (*conn, &*self.paths.get(entry.path).text))
        })
    }

    /// What `wchs` tells of data watches; looks at every watch.
    #[must_use]
    pub fn summary(&self) -> WatchSummary {
        let (mut conns, mut paths) = (BTreeSet::new(), BTreeSet::new());
        let mut watches = 0;
        for (conn, path) in self.data_watches() {
            conns.insert(conn);
            paths.insert(path);
            watches += 1;
        }
        WatchSummary {
            connections: conns.len(),
            paths: paths.len(),
            watches,
        }
    }

    fn collect(&mut self, path: &str, concerned: WatchKinds, used_up: WatchKinds) {
        let Some(path_id) = self.find_path(path) else {
            return;
        };
        let mut next = self.paths.get(path_id).first;
        while next != NONE {
            let id = next;
            let entry = self.entries.get(id);
            next = entry.by_path.next;
            if entry.kinds.intersects(concerned) {
                self.fired.push(entry.conn);
                let left = entry.kinds.without(used_up);
                self.set_kinds(id, left);
            }
        }
    }

    /// Gives an entry other kinds; without any it goes, and its path and connection with it if it was the last.
    fn set_kinds(&mut self, id: u32, kinds: WatchKinds) {
        let entry = self.entries.get_mut(id);
        let old = std::mem::replace(&mut entry.kinds, kinds);
        self.counts.change(old, kinds);
        if kinds == WatchKinds::NONE {
            self.remove_entry(id);
        }
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        let hash = self.path_index.hash(path.as_bytes());
        self.path_index
            .find(hash, |id| *self.paths.get(id).text == *path)
    }

    fn add_path(&mut self, path: &str) -> u32 {
        let id = self.paths.insert(WatchedPath {
            text: path.into(),
            first: NONE,
        });
        self.path_index
            .insert(self.path_index.hash(path.as_bytes()), id);
        id
    }

    fn remove_path(&mut self, id: u32) {
        let path = self.paths.remove(id);
        let hash = self.path_index.hash(path.text.as_bytes());
        self.path_index.remove(hash, id);
    }
}

impl Counts {
    fn change(&mut self, old: WatchKinds, new: WatchKinds) {
        let data = concerned(EventType::NodeDataChanged).0;
        let child = concerned(EventType::NodeChildrenChanged).0;
        for (count, kinds) in [
            (&mut self.data, data),
            (&mut self.child, child),
            (&mut self.recursive, WatchKinds::RECURSIVE),
        ] {
            *count += usize::from(new.intersects(kinds));
            *count -= usize::from(old.intersects(kinds));
        }
    }
}

/// The paths above a path, upwards, the root's last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| parent(path)).skip(1)
}

fn parent(path: &str) -> Option<&str> {
    match path.rfind('/') {
        Some(0) if path.len() > 1 => Some("/"),
        Some(0) | None => None,
        Some(cut) => path.get(..cut),
    }
}

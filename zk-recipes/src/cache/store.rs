//! What a cache holds, and what each of its observers still has to be told.
//!
//! Invariants: what is held changes from one state of the server to a later one, all at once ([`Store::commit`]); an
//! observer that has been told everything knows exactly what is held; what waits for an observer is bounded by the number of
//! nodes that it was told of or that are there: several changes to a node become one, and one that came and went none.
//! Not here: reading the nodes, and waiting.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use zk_client::Stat;

use crate::error::{Error, Result};

/// A node as a cache holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedNode {
    /// Its path.
    pub path: Arc<str>,
    /// Its data.
    pub data: Bytes,
    /// Its metadata as it was read. Changes of its children alone are not followed, nor are those of its ACL.
    pub stat: Stat,
}

impl CachedNode {
    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Whether both are the same node with the same data.
    fn is_same(&self, other: &Self) -> bool {
        (self.stat.czxid, self.stat.mzxid) == (other.stat.czxid, other.stat.mzxid)
    }
}

/// A change of what a cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheChange {
    /// The node is there now, and was not.
    Added(CachedNode),
    /// The node has other data; perhaps it was deleted and created again in between.
    Changed {
        /// What was told last.
        old: CachedNode,
        /// What there is now.
        new: CachedNode,
    },
    /// The node is gone; this is what was told last.
    Removed(CachedNode),
    /// The cache has read everything, for the first time or again after a reconnect, and all of it is told.
    Synced,
}

/// The nodes of a cache and its observers.
#[derive(Debug, Default)]
pub(super) struct Store {
    nodes: BTreeMap<Arc<str>, CachedNode>,
    observers: BTreeMap<u64, Observer>,
    next_observer: u64,
    /// How often everything was read.
    syncs: u64,
    stale: bool,
    ended: Option<Error>,
}

#[derive(Debug, Default)]
struct Observer {
    /// What was told last of the nodes that have changed since, and when it is their turn.
    told: HashMap<Arc<str>, Told>,
    /// The same nodes in the order of their first change.
    order: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    syncs: u64,
    is_over: bool,
    waker: Option<Waker>,
}

/// What an observer was told last of a node that has changed since.
#[derive(Debug)]
struct Told {
    turn: u64,
    /// `None` where there was no node.
    node: Option<CachedNode>,
}

impl Observer {
    /// This node has changed, and was this before; `is_gone` if there is none now.
    fn note(&mut self, path: &Arc<str>, before: Option<CachedNode>, is_gone: bool) {
        match self.told.get(path) {
            None => {
                let turn = self.next_turn;
                self.next_turn += 1;
                let told = Told { turn, node: before };
                self.told.insert(Arc::clone(path), told);
                self.order.insert(turn, Arc::clone(path));
            }
            // It came and went untold. New names may come for ever, so nothing of it may stay.
            Some(Told { turn, node: None }) if is_gone => {
                self.order.remove(turn);
                self.told.remove(path);
            }
            Some(_) => {}
        }
    }
}

impl Store {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self {
            stale: true,
            ..Self::default()
        }
    }

    pub(super) const fn nodes(&self) -> &BTreeMap<Arc<str>, CachedNode> {
        &self.nodes
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether everything was read at least once.
    pub(super) const fn was_synced(&self) -> bool {
        self.syncs > 0
    }

    pub(super) const fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    /// The connection is gone, or something was not read: there may be changes that nobody saw.
    pub(super) const fn suspend(&mut self) {
        self.stale = true;
    }

    /// Takes over what has been read; `everything` when that was all there is.
    ///
    /// What is gone is told first, children before their parents, and then what is there, parents before their children.
    pub(super) fn commit(
        &mut self,
        changed: BTreeMap<Arc<str>, Option<CachedNode>>,
        everything: bool,
    ) {
        let (there, gone): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|(_, now)| now.is_some());
        for (path, now) in gone.into_iter().rev().chain(there) {
            let before = match &now {
                Some(node) => self.nodes.insert(Arc::clone(&path), node.clone()),
                None => self.nodes.remove(&path),
            };
            let same = match (&before, &now) {
                (Some(before), Some(now)) => before.is_same(now),
                (None, None) => true,
                _ => false,
            };
            if !same {
                for observer in self.observers.values_mut() {
                    observer.note(&path, before.clone(), now.is_none());
                }
            }
        }
        self.syncs += u64::from(everything);
        self.stale = false;
        self.wake();
    }

    /// Nothing will be read any more.
    pub(super) fn end(&mut self, error: Error) {
        self.stale = true;
        self.ended.get_or_insert(error);
        self.wake();
    }

    fn wake(&mut self) {
        for observer in self.observers.values_mut() {
            if let Some(waker) = observer.waker.take() {
                waker.wake();
            }
        }
    }

    /// A new observer, to be told everything that is held first.
    pub(super) fn observe(&mut self) -> u64 {
        self.next_observer += 1;
        let mut observer = Observer::default();
        for path in self.nodes.keys() {
            observer.note(path, None, false);
        }
        self.observers.insert(self.next_observer, observer);
        self.next_observer
    }

    pub(super) fn forget(&mut self, observer: u64) {
        self.observers.remove(&observer);
    }

    /// The next thing that this observer has to be told; `None` after the end was.
    pub(super) fn poll_next(
        &mut self,
        observer: u64,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<CacheChange>>> {
        let Some(observer) = self.observers.get_mut(&observer) else {
            return Poll::Ready(None);
        };
        while let Some((_, path)) = observer.order.pop_first() {
            let told = observer.told.remove(&path).and_then(|told| told.node);
            let change = match (told, self.nodes.get(&path).cloned()) {
                (None, Some(new)) => CacheChange::Added(new),
                (Some(old), Some(new)) if !old.is_same(&new) => CacheChange::Changed { old, new },
                (Some(old), None) => CacheChange::Removed(old),
                // It is again what it was.
                _ => continue,
            };
            return Poll::Ready(Some(Ok(change)));
        }
        if observer.syncs < self.syncs {
            observer.syncs = self.syncs;
            return Poll::Ready(Some(Ok(CacheChange::Synced)));
        }
        match &self.ended {
            _ if observer.is_over => Poll::Ready(None),
            Some(error) => {
                observer.is_over = true;
                Poll::Ready(Some(Err(error.clone())))
            }
            None => {
                observer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zk_client::{ErrorKind, Zxid};

    use super::*;

    fn node(path: &str, czxid: i64, mzxid: i64) -> (Arc<str>, Option<CachedNode>) {
        let stat = Stat {
            czxid: Zxid(czxid),
            mzxid: Zxid(mzxid),
            ..Stat::default()
        };
        let (path, data): (Arc<str>, _) = (path.into(), Bytes::new());
        let node = CachedNode {
            path: Arc::clone(&path),
            data,
            stat,
        };
        (path, Some(node))
    }

    fn gone(path: &str) -> (Arc<str>, Option<CachedNode>) {
        (path.into(), None)
    }

    /// Everything the observer is told now, in short.
    fn drain(store: &mut Store, observer: u64) -> Vec<String> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match store.poll_next(observer, &cx) {
            Poll::Ready(told) => told,
            Poll::Pending => None,
        })
        .map(|told| match told {
            Ok(CacheChange::Added(node)) => format!("+{}", node.path),
            Ok(CacheChange::Changed { old, new }) => {
                format!("{} {}>{}", new.path, old.stat.mzxid.0, new.stat.mzxid.0)
            }
            Ok(CacheChange::Removed(node)) => format!("-{}", node.path),
            Ok(CacheChange::Synced) => "synced".into(),
            Err(_) => "error".into(),
        })
        .collect()
    }

    #[test]
    fn an_observer_is_told_everything_once_and_the_difference_afterwards() {
        let mut store = Store::new();
        let early = store.observe();
        assert_eq!(drain(&mut store, early), [""; 0]);
        store.commit([node("/a", 1, 1), node("/b", 2, 2)].into(), true);
        let late = store.observe();
        for observer in [early, late] {
            assert_eq!(drain(&mut store, observer), ["+/a", "+/b", "synced"]);
        }
        store.commit([node("/a", 1, 3), gone("/b")].into(), false);
        assert_eq!(drain(&mut store, early), ["-/b", "/a 1>3"]);
        // A reconnect that brought nothing new.
        store.commit([node("/a", 1, 3)].into(), true);
        assert_eq!(drain(&mut store, early), ["synced"]);
        assert_eq!(drain(&mut store, late), ["-/b", "/a 1>3", "synced"]);
    }

    #[test]
    fn changes_that_were_not_taken_become_one_for_each_node() {
        let mut store = Store::new();
        let observer = store.observe();
        store.commit([node("/a", 1, 1), node("/b", 1, 1)].into(), true);
        drain(&mut store, observer);
        for zxid in 2..100 {
            store.commit([node("/a", 1, zxid), node("/c", zxid, zxid)].into(), false);
            store.commit([gone("/b")].into(), false);
            store.commit([node("/b", zxid, zxid)].into(), false);
        }
        store.commit([gone("/c")].into(), false);
        // A node that came and went in between is not told at all.
        assert_eq!(drain(&mut store, observer), ["/a 1>99", "/b 1>99"]);
    }

    #[test]
    fn what_came_and_went_untold_leaves_nothing_behind() {
        let mut store = Store::new();
        store.commit([node("/a", 1, 1), node("/b", 1, 1)].into(), true);
        let observer = store.observe();
        // Each under a name of its own, and one of them there before anything was told.
        store.commit([gone("/b")].into(), false);
        for number in 0..10_000 {
            let path = format!("/n{number}");
            store.commit([node(&path, number, number)].into(), false);
            store.commit([gone(&path)].into(), false);
            let waiting = &store.observers[&observer];
            assert_eq!((waiting.told.len(), waiting.order.len()), (1, 1));
        }
        assert_eq!(drain(&mut store, observer), ["+/a", "synced"]);
        // What was told has to be told again.
        store.commit([gone("/a")].into(), false);
        store.commit([node("/a", 2, 2)].into(), false);
        store.commit([gone("/a")].into(), false);
        assert_eq!(drain(&mut store, observer), ["-/a"]);
    }

    #[test]
    fn the_end_is_told_once_and_after_everything_else() {
        let mut store = Store::new();
        let observer = store.observe();
        store.commit([node("/a", 1, 1)].into(), true);
        let reason = ErrorKind::Closed;
        store.end(Error::SessionGone { reason });
        assert_eq!(drain(&mut store, observer), ["+/a", "synced", "error"]);
        assert_eq!(drain(&mut store, observer), [""; 0]);
        assert!(store.is_stale());
    }
}

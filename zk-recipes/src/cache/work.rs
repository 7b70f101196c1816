//! What is still to be read, and what has been read since the cache was last in order.
//!
//! Pure: [`Work::learn`] is told what a read has found and says what else has to be read. Everything is in order when
//! nothing is left to be read and nothing was told since: the watches were there before the reads, an event comes before every
//! answer that could reveal its cause, and answers come in the order of the server's history; so no node can have changed
//! between its own read and the last one, and all of them together are the state of the moment of the last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    reading::{BATCH, Found},
    scope::{Scope, below, is_child},
    source::Read,
    store::CachedNode,
};
use crate::path::child;

/// What has been read and is not committed yet; `None` where there is no node.
pub(super) type Changed = BTreeMap<Arc<str>, Option<CachedNode>>;

#[derive(Debug)]
pub(super) struct Work {
    root: Arc<str>,
    scope: Scope,
    /// Whether children of new nodes have to be asked for, and are not told by a watch of the whole.
    one_shot: bool,
    left: BTreeSet<Read>,
    pub(super) changed: Changed,
    /// Whether everything is being read.
    pub(super) everything: bool,
}

impl Work {
    /// Everything is to be read.
    pub(super) fn new(root: &Arc<str>, scope: Scope, one_shot: bool) -> Self {
        let mut work = Self {
            root: Arc::clone(root),
            scope,
            one_shot,
            left: BTreeSet::new(),
            changed: Changed::new(),
            everything: false,
        };
        work.everything();
        work
    }

    /// Begins anew, with everything.
    pub(super) fn everything(&mut self) {
        self.everything = true;
        let root = self.root.to_string();
        if self.scope.holds(&self.root, &self.root) {
            self.left.insert(Read::Node(root));
        } else {
            self.left.insert(Read::Names(root));
        }
    }

    pub(super) fn add(&mut self, read: Read) {
        self.left.insert(read);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// What to read next.
    pub(super) fn take(&mut self) -> Vec<Read> {
        let rest = self.left.iter().nth(BATCH).cloned();
        let rest = rest.map_or_else(BTreeSet::new, |rest| self.left.split_off(&rest));
        std::mem::replace(&mut self.left, rest)
            .into_iter()
            .collect()
    }

    /// Takes over what a read has found; `held` is what was committed last.
    pub(super) fn learn(
        &mut self,
        read: &Read,
        found: Found,
        held: &BTreeMap<Arc<str>, CachedNode>,
    ) {
        let path = read.path();
        match found {
            Found::Node(Some(node)) => {
                let new = !self.knows(path, held);
                self.changed.insert(path.into(), Some(node));
                let list = self.everything || self.one_shot && new;
                if list && self.scope.lists(&self.root, path) {
                    self.left.insert(Read::Names(path.to_owned()));
                }
            }
            Found::Names(Some(names)) => self.list(path, &names, held),
            Found::Node(None) | Found::Names(None) => {
                if self.scope.holds(&self.root, path) {
                    self.changed.insert(path.into(), None);
                }
                self.remove(path, held, |_| true);
            }
        }
    }

    /// These are a node's children, and no others.
    fn list(&mut self, path: &str, names: &[String], held: &BTreeMap<Arc<str>, CachedNode>) {
        let children: BTreeSet<_> = names.iter().map(|name| child(path, name)).collect();
        let gone = |known: &str| {
            // Below a child that is gone nothing is left, either.
            let end = known[path.len() + 1..].find('/');
            let first = match path {
                "/" => known
                    .split('/')
                    .nth(1)
                    .map_or(known, |name| &known[..=name.len()]),
                _ => end.map_or(known, |end| &known[..path.len() + 1 + end]),
            };
            debug_assert!(is_child(path, first), "{first} is a child of {path}");
            !children.contains(first)
        };
        self.remove(path, held, gone);
        for child in children {
            if self.everything || !self.knows(&child, held) {
                self.left.insert(Read::Node(child));
            }
        }
    }

    /// Forgets what is known below a node and is gone.
    fn remove(
        &mut self,
        path: &str,
        held: &BTreeMap<Arc<str>, CachedNode>,
        gone: impl Fn(&str) -> bool,
    ) {
        let known = below(held, path).map(|(path, _)| path);
        let read = below(&self.changed, path).map(|(path, _)| path);
        let gone: BTreeSet<Arc<str>> = known
            .chain(read)
            .filter(|known| gone(known))
            .map(Arc::from)
            .collect();
        self.changed
            .extend(gone.into_iter().map(|path| (path, None)));
    }

    fn knows(&self, path: &str, held: &BTreeMap<Arc<str>, CachedNode>) -> bool {
        match self.changed.get(path) {
            Some(read) => read.is_some(),
            None => held.contains_key(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zk_client::Stat;

    use super::*;

    type Nodes = BTreeMap<Arc<str>, CachedNode>;

    /// Reads everything that is left from a server that has these nodes; what is known afterwards.
    fn read(work: &mut Work, server: &[&str], held: &Nodes) -> Vec<String> {
        while !work.is_empty() {
            for read in work.take() {
                let path = read.path();
                let there = server.contains(&path);
                let found = match &read {
                    Read::Node(_) => Found::Node(there.then(|| node(path))),
                    Read::Names(_) => {
                        let children = server.iter().filter(|other| is_child(path, other));
                        let names = children.filter_map(|other| other.rsplit('/').next());
                        Found::Names(there.then(|| names.map(str::to_owned).collect()))
                    }
                };
                work.learn(&read, found, held);
            }
        }
        let mut known: Nodes = held.clone();
        for (path, node) in &work.changed {
            match node {
                Some(node) => known.insert(Arc::clone(path), node.clone()),
                None => known.remove(path),
            };
        }
        known.keys().map(|path| path.to_string()).collect()
    }

    fn node(path: &str) -> CachedNode {
        let (path, data, stat) = (path.into(), Bytes::new(), Stat::default());
        CachedNode { path, data, stat }
    }

    fn held(paths: &[&str]) -> Nodes {
        paths
            .iter()
            .map(|path| ((*path).into(), node(path)))
            .collect()
    }

    const SERVER: [&str; 8] = ["/", "/a", "/a/b", "/a/b/c", "/a/d", "/ab", "/e", "/e/f"];

    #[test]
    fn everything_in_scope_is_read_and_what_is_gone_is_forgotten() {
        let cases: [(&str, Scope, &[&str]); 6] = [
            ("/a", Scope::Tree, &["/a", "/a/b", "/a/b/c", "/a/d"]),
            ("/a", Scope::Children, &["/a/b", "/a/d"]),
            ("/a", Scope::Node, &["/a"]),
            ("/", Scope::Tree, &SERVER),
            ("/", Scope::Children, &["/a", "/ab", "/e"]),
            ("/nothing", Scope::Tree, &[]),
        ];
        for (root, scope, expected) in cases {
            for one_shot in [false, true] {
                let mut work = Work::new(&root.into(), scope, one_shot);
                let paths = ["/x", "/x/y", "/a/x", "/a/x/y"];
                let old: Vec<_> = paths
                    .into_iter()
                    .filter(|path| scope.holds(root, path))
                    .collect();
                let known = read(&mut work, &SERVER, &held(&old));
                assert_eq!(known, expected, "{root} {scope:?} {one_shot}");
            }
        }
    }

    #[test]
    fn single_changes_are_followed_from_where_they_are() {
        let root: Arc<str> = "/a".into();
        let known = held(&["/a", "/a/b", "/a/b/c", "/a/d"]);
        let after = ["/", "/a", "/a/d", "/a/n", "/a/n/m"];
        // As a watch of the whole tells it: every node.
        let mut work = Work::new(&root, Scope::Tree, false);
        (work.left, work.everything) = (BTreeSet::new(), false);
        for path in ["/a/b/c", "/a/b", "/a/n", "/a/n/m"] {
            work.add(Read::Node(path.into()));
        }
        let expected = ["/a", "/a/d", "/a/n", "/a/n/m"];
        assert_eq!(read(&mut work, &after, &known), expected);
        // As one-shot watches tell it: the children of /a have changed.
        let mut work = Work::new(&root, Scope::Tree, true);
        (work.left, work.everything) = (BTreeSet::new(), false);
        work.add(Read::Names("/a".into()));
        assert_eq!(read(&mut work, &after, &known), expected);
    }

    #[test]
    fn a_batch_takes_so_many_and_leaves_the_rest() {
        let mut work = Work::new(&"/a".into(), Scope::Tree, false);
        work.take();
        for number in 0..BATCH + 10 {
            work.add(Read::Node(format!("/a/{number}")));
        }
        assert_eq!(work.take().len(), BATCH);
        assert_eq!(work.take().len(), 10);
        assert!(work.is_empty());
    }
}

//! What is still to be read, and what has been read since the cache was last in order.
//!
//! Pure: [`Work::learn`] is told what a read has found and says what else has to be read. Everything is in order when
//! nothing is left to be read and nothing was told since: the watches were there before the reads, an event comes before every
//! answer that could reveal its cause, and answers come in the order of the server's history; so no node can have changed
//! between its own read and the last one, and all of them together are the state of the moment of the last.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use super::{
    reading::{BATCH, Found},
    scope::{Scope, below},
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
    /// Those of them that belong to reading everything: each node that is found is one, until it was read.
    listing: BTreeSet<Read>,
    /// After which of them it goes on.
    turn: Option<Read>,
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
            listing: BTreeSet::new(),
            turn: None,
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
        let first = match self.scope.holds(&self.root, &self.root) {
            true => Read::Node(root),
            false => Read::Names(root),
        };
        self.find(first, true);
    }

    /// Something else has to be read; `listing` if that is a part of reading everything.
    fn find(&mut self, read: Read, listing: bool) {
        if listing {
            self.listing.insert(read.clone());
        }
        self.left.insert(read);
    }

    /// Whether everything was read once, whatever has changed since.
    pub(super) fn is_listed(&self) -> bool {
        self.listing.is_empty()
    }

    pub(super) fn add(&mut self, read: Read) {
        self.left.insert(read);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// What to read next: what belongs to reading everything, then the rest in turn. So nothing waits for ever behind what
    /// changes all the time.
    pub(super) fn take(&mut self) -> Vec<Read> {
        let listing = self.left.intersection(&self.listing);
        let mut taken: BTreeSet<Read> = listing.take(BATCH).cloned().collect();
        let turn = self.turn.take();
        let after = turn.as_ref().map_or(Unbounded, Excluded);
        let later = self.left.range((after, Unbounded));
        let earlier = turn.as_ref().map(|turn| self.left.range(..=turn));
        for read in later.chain(earlier.into_iter().flatten()) {
            if taken.len() == BATCH {
                break;
            }
            if taken.insert(read.clone()) {
                self.turn = Some(read.clone());
            }
        }
        for read in &taken {
            self.left.remove(read);
        }
        taken.into_iter().collect()
    }

    /// Takes over what a read has found; `held` is what was committed last.
    pub(super) fn learn(
        &mut self,
        read: &Read,
        found: Found,
        held: &BTreeMap<Arc<str>, CachedNode>,
    ) {
        let path = read.path();
        let listing = self.listing.remove(read);
        match found {
            Found::Node(Some(node)) => {
                let new = !self.knows(path, held);
                self.changed.insert(path.into(), Some(node));
                let list = listing || self.one_shot && new;
                if list && self.scope.lists(&self.root, path) {
                    self.find(Read::Names(path.to_owned()), listing);
                }
            }
            Found::Names(Some(names)) => self.list(path, &names, listing, held),
            Found::Node(None) | Found::Names(None) => {
                if self.scope.holds(&self.root, path) {
                    self.changed.insert(path.into(), None);
                }
                self.remove(path, held, |_| true);
            }
        }
    }

    /// These are a node's children, and no others.
    fn list(
        &mut self,
        path: &str,
        names: &[String],
        listing: bool,
        held: &BTreeMap<Arc<str>, CachedNode>,
    ) {
        let children: BTreeSet<_> = names.iter().map(|name| child(path, name)).collect();
        // Below a child that is gone nothing is left, either.
        let gone =
            |known: &str| child_towards(path, known).is_none_or(|first| !children.contains(first));
        self.remove(path, held, gone);
        for child in children {
            if listing || !self.knows(&child, held) {
                self.find(Read::Node(child), listing);
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

/// The child of `path` that is `known` or that it lies below.
fn child_towards<'p>(path: &str, known: &'p str) -> Option<&'p str> {
    let above = if path == "/" { "" } else { path };
    let rest = known.strip_prefix(above)?.strip_prefix('/')?;
    let name = rest.find('/').unwrap_or(rest.len());
    known.get(..=above.len() + name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zk_client::Stat;

    use super::{super::scope::is_child, *};

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

    const SERVER: [&str; 10] = [
        "/", "/a", "/a/b", "/a/b/c", "/a/d", "/ab", "/e", "/e/f", "/é", "/é/ü",
    ];

    #[test]
    fn everything_in_scope_is_read_and_what_is_gone_is_forgotten() {
        let cases: [(&str, Scope, &[&str]); 7] = [
            ("/a", Scope::Tree, &["/a", "/a/b", "/a/b/c", "/a/d"]),
            ("/a", Scope::Children, &["/a/b", "/a/d"]),
            ("/a", Scope::Node, &["/a"]),
            ("/", Scope::Tree, &SERVER),
            ("/", Scope::Children, &["/a", "/ab", "/e", "/é"]),
            ("/é", Scope::Tree, &["/é", "/é/ü"]),
            ("/nothing", Scope::Tree, &[]),
        ];
        for (root, scope, expected) in cases {
            for one_shot in [false, true] {
                let mut work = Work::new(&root.into(), scope, one_shot);
                let paths = ["/x", "/x/y", "/a/x", "/a/x/y", "/ö", "/ö/y", "/é/x"];
                let old: Vec<_> = paths
                    .into_iter()
                    .filter(|path| scope.holds(root, path))
                    .collect();
                let known = read(&mut work, &SERVER, &held(&old));
                assert_eq!(known, expected, "{root} {scope:?} {one_shot}");
                // Again, as after a reconnect.
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                work.everything();
                assert!(!work.is_listed());
                let again = read(&mut work, &SERVER, &held(&known));
                assert_eq!(again, expected, "{root} {scope:?} {one_shot}");
                assert!(work.is_listed());
            }
        }
    }

    #[test]
    fn everything_was_read_once_however_much_changes_meanwhile() {
        for one_shot in [false, true] {
            let mut work = Work::new(&"/".into(), Scope::Tree, one_shot);
            let mut rounds = 0;
            while !work.is_listed() {
                // Every round is overtaken: by a change of the root, and of a node below.
                let reads = work.take();
                work.add(Read::Node("/".into()));
                work.add(Read::Node("/a".into()));
                for read in reads {
                    let names = |path: &str| {
                        let children = SERVER.iter().filter(|other| is_child(path, other));
                        let names = children.filter_map(|other| other.rsplit('/').next());
                        names.map(str::to_owned).collect()
                    };
                    let found = match &read {
                        Read::Node(path) => Found::Node(Some(node(path))),
                        Read::Names(path) => Found::Names(Some(names(path))),
                    };
                    work.learn(&read, found, &Nodes::new());
                }
                rounds += 1;
                assert!(rounds < 20);
            }
            assert!(!work.is_empty());
            assert_eq!(work.changed.len(), SERVER.len());
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

    #[test]
    fn nothing_waits_for_ever_behind_what_changes_all_the_time() {
        let busy = || (0..2 * BATCH).map(|number| Read::Node(format!("/a/{number}")));
        // A node that has changed once, and the children that belong to reading everything.
        for waits in [Read::Node("/a/z".into()), Read::Names("/a".into())] {
            let mut work = Work::new(&"/a".into(), Scope::Tree, false);
            work.take();
            work.listing.clear();
            work.find(waits.clone(), matches!(waits, Read::Names(_)));
            let mut rounds = 0;
            loop {
                busy().for_each(|read| work.add(read));
                if work.take().contains(&waits) {
                    break;
                }
                rounds += 1;
                assert!(rounds < 4, "{waits:?}");
            }
        }
    }
}

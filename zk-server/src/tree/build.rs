//! A tree from a snapshot.

use hashbrown::HashMap;
use zk_proto::{Acl, SessionId, Zxid, persist::OPEN_ACL_ID};

use super::{
    CutNode, DataTree, ROOT, TreeOptions, acl_cache,
    node::{Extra, Node},
    path,
    slab::NONE,
};

/// Why something is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The first node is not the root.
    #[error("the tree does not begin with the root")]
    NoRoot,
    /// A node without parent.
    #[error("the parent of {0:?} is missing")]
    NoParent(String),
    /// A path that is there twice.
    #[error("{0:?} is there twice")]
    Duplicate(String),
}

/// Puts a tree together: sessions and ACLs in any order, then nodes, every one after its parent.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: DataTree,
    /// The places of ACLs by number.
    acls: HashMap<i64, u32, foldhash::fast::FixedState>,
    /// The parent of the last node: mostly of the next one too.
    last_parent: (String, u32),
}

impl TreeBuilder {
    /// Begins with nothing, not even the root.
    #[must_use]
    pub fn new(options: &TreeOptions) -> Self {
        Self {
            tree: DataTree::bare(options),
            acls: HashMap::default(),
            last_parent: (String::new(), ROOT),
        }
    }

    /// A session that was open.
    pub fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.tree.owners.sessions.insert(id, timeout_ms);
    }

    /// An ACL under the number by which nodes name it.
    pub fn acl(&mut self, number: i64, entries: Vec<Acl>) {
        if number != OPEN_ACL_ID {
            let place = self.tree.acls.define(number, entries);
            self.acls.insert(number, place);
        }
    }

    /// A node; its data is copied.
    ///
    /// A number of an ACL that was not given is not an error, since Apache's snapshots can have such a node; nobody
    /// may do anything with it until the log says what its ACL is.
    ///
    /// # Errors
    /// [`BuildError`]; the tree cannot be finished then.
    pub fn node(&mut self, node: &CutNode<'_>) -> Result<(), BuildError> {
        let is_first = self.tree.nodes.len() == 0;
        let parent = match path::split(node.path) {
            None if node.path.is_empty() && is_first => NONE,
            Some((parent, _)) if !is_first => self
                .parent(parent)
                .ok_or_else(|| BuildError::NoParent(node.path.to_owned()))?,
            _ => return Err(BuildError::NoRoot),
        };
        if parent != NONE && self.tree.find(node.path).is_some() {
            return Err(BuildError::Duplicate(node.path.to_owned()));
        }
        let id = self.insert(node);
        let tree = &mut self.tree;
        if parent == NONE {
            tree.count_in(id, b"");
        } else {
            tree.link(parent, id);
            tree.enter(node.path.as_bytes(), id);
        }
        Ok(())
    }

    fn parent(&mut self, path: &str) -> Option<u32> {
        if self.last_parent.0 != path {
            let id = self.tree.find_parent(path)?;
            self.last_parent = (path.to_owned(), id);
        }
        Some(self.last_parent.1)
    }

    fn insert(&mut self, new: &CutNode<'_>) -> u32 {
        let name = path::split(new.path).map_or("", |(_, name)| name);
        let stat = &new.stat;
        let mut node = Node::new(name.as_bytes(), new.data);
        (node.czxid, node.mzxid) = (stat.czxid.0, stat.mzxid.0);
        (node.ctime, node.mtime) = (stat.ctime, stat.mtime);
        node.version = stat.version;
        node.acl = self.place(new.acl);
        let tree = &mut self.tree;
        tree.acls.reuse(node.acl);
        let extra = Extra {
            pzxid: stat.pzxid.0,
            owner: stat.ephemeral_owner,
            cversion: stat.cversion,
            aversion: stat.aversion,
            ..Extra::of(&node)
        };
        let id = tree.nodes.insert(node);
        if extra != Extra::of(tree.nodes.get(id)) {
            *tree.extra_mut(id) = extra;
        }
        tree.owners.add(tree.owner_kind(extra.owner), id);
        id
    }

    fn place(&mut self, number: i64) -> u32 {
        if number == OPEN_ACL_ID {
            return acl_cache::OPEN;
        }
        match self.acls.get(&number) {
            Some(place) => *place,
            None => {
                let place = self.tree.acls.define_unknown(number);
                self.acls.insert(number, place);
                place
            }
        }
    }

    /// The tree, as of this transaction: forgets ACLs without a node, and counts what quotas limit.
    ///
    /// # Errors
    /// [`BuildError::NoRoot`] for a tree without any node.
    pub fn finish(mut self, last_zxid: Zxid) -> Result<DataTree, BuildError> {
        if self.tree.nodes.len() == 0 {
            return Err(BuildError::NoRoot);
        }
        let mut places: Vec<u32> = self.acls.values().copied().collect();
        places.sort_unstable();
        for place in places {
            self.tree.acls.purge(place);
        }
        self.tree.set_up_quotas();
        self.tree.last_zxid = last_zxid;
        debug_assert!(self.tree.nodes.get(ROOT).name().is_empty());
        Ok(self.tree)
    }
}

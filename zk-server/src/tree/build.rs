//! A tree from a snapshot.

use hashbrown::HashMap;
use zk_proto::{
    Acl, SessionId, Zxid,
    persist::{OPEN_ACL_ID, SnapshotStep},
};

use super::{
    CutNode, DataTree, NodeBatch, ROOT, TreeOptions, acl_cache,
    batch::Known,
    index::{KeyHash, KeyHasher, Pending},
    lookup::is_same_path,
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
    hasher: KeyHasher,
    /// Nodes that are not in the tree's index yet.
    pending: Pending,
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
            hasher: KeyHasher::new(options.hash_seed),
            pending: Pending::default(),
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

    /// Sessions, ACLs and nodes as a snapshot has them; other steps say nothing about the tree.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn take(&mut self, step: SnapshotStep) -> Result<(), BuildError> {
        match step {
            SnapshotStep::Session(session) => self.session(session.id, session.timeout_ms),
            SnapshotStep::Acl(entry) => self.acl(entry.id, entry.acl),
            SnapshotStep::Node(node) => return self.node(&CutNode::of(&node)),
            SnapshotStep::NeedsBytes(_) | SnapshotStep::End => {}
        }
        Ok(())
    }

    /// The nodes of a batch, in its order.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub fn batch(&mut self, batch: &NodeBatch) -> Result<(), BuildError> {
        let mut nodes = batch.nodes();
        nodes.try_for_each(|(node, known)| self.add(&node, known))
    }

    /// A node; its data is copied.
    ///
    /// A number of an ACL that was not given is not an error, since Apache's snapshots can have such a node; nobody
    /// may do anything with it until the log says what its ACL is.
    ///
    /// # Errors
    /// [`BuildError`]; the tree cannot be finished then. That a path is there twice may be found only later.
    pub fn node(&mut self, node: &CutNode<'_>) -> Result<(), BuildError> {
        self.add(node, Known::of(node, &self.hasher, self.tree.options()))
    }

    fn add(&mut self, node: &CutNode<'_>, known: Known) -> Result<(), BuildError> {
        let is_first = self.tree.nodes.len() == 0;
        let parent = match path::split(node.path) {
            None if node.path.is_empty() && is_first => NONE,
            Some((parent, _)) if !is_first => self
                .parent(parent)?
                .ok_or_else(|| BuildError::NoParent(node.path.to_owned()))?,
            _ => return Err(BuildError::NoRoot),
        };
        let id = self.insert(node, known);
        if parent == NONE {
            return Ok(());
        }
        self.tree.link(parent, id);
        match self.pending.push(known.hash, id) {
            true => self.settle(known.hash),
            false => Ok(()),
        }
    }

    /// Puts into the index what may have this hash.
    fn settle(&mut self, hash: KeyHash) -> Result<(), BuildError> {
        let DataTree { index, nodes, .. } = &mut self.tree;
        let settled = index.settle(&mut self.pending, hash, |a, b| is_same_path(nodes, a, b));
        settled.map_err(|id| self.duplicate(id))
    }

    fn duplicate(&self, id: u32) -> BuildError {
        BuildError::Duplicate(self.tree.path_of(id))
    }

    fn parent(&mut self, path: &str) -> Result<Option<u32>, BuildError> {
        if self.last_parent.0 != path {
            self.settle(self.hasher.hash(path.as_bytes()))?;
            let Some(id) = self.tree.find_parent(path) else {
                return Ok(None);
            };
            self.last_parent.0.clear();
            self.last_parent.0.push_str(path);
            self.last_parent.1 = id;
        }
        Ok(Some(self.last_parent.1))
    }

    fn insert(&mut self, new: &CutNode<'_>, known: Known) -> u32 {
        let name = path::split(new.path).map_or("", |(_, name)| name);
        let stat = &new.stat;
        let mut node = Node::new(name.as_bytes(), new.data);
        (node.czxid, node.mzxid) = (stat.czxid.0, stat.mzxid.0);
        (node.ctime, node.mtime) = (stat.ctime, stat.mtime);
        node.version = stat.version;
        node.body_crc = known.body_crc;
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
        tree.data_size += (new.path.len() + new.data.map_or(0, <[u8]>::len)) as u64;
        tree.digest.add(known.digest);
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
    /// [`BuildError::NoRoot`] for a tree without any node, [`BuildError::Duplicate`].
    pub fn finish(mut self, last_zxid: Zxid) -> Result<DataTree, BuildError> {
        if self.tree.nodes.len() == 0 {
            return Err(BuildError::NoRoot);
        }
        let DataTree { index, nodes, .. } = &mut self.tree;
        let settled = index.settle_all(&mut self.pending, |a, b| is_same_path(nodes, a, b));
        settled.map_err(|id| self.duplicate(id))?;
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

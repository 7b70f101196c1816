//! The replicated state: every node, session and ACL, and the digest over them (`DataTree`).
//!
//! [`DataTree::apply`] is the only thing that changes it: a pure function of the transaction and of what was there,
//! so that all members that apply the same transactions have the same tree. [`read`](mod@read) answers reads.
//!
//! ```text
//! path --Index--> number --Slab--> Node { name and data, zxids, parent, siblings } --> Extra { children, owner }
//!                                        \--> AclCache
//! ```
//! A node's path is not stored: it is its name and those of its parents. Children are a chain through their
//! siblings, in the order of creation.
//!
//! Invariants: `digest` is at all times the sum over the nodes that count; every node but the root is in its
//! parent's chain and in the index; an ephemeral node is listed under its session. Nothing is iterated in the order
//! of a hash table.
//!
//! Deliberately not here: watches of connections (the [`watches`] table stands beside the tree), checks of any
//! request (`prep` makes them), the clock, files, and locks.

mod acl_cache;
mod apply;
mod batch;
mod build;
mod change;
mod cut;
mod effects;
mod index;
mod lists;
mod lookup;
mod node;
mod node_ref;
mod owners;
pub(crate) mod path;
mod quota;
pub mod read;
mod reply;
mod slab;
#[cfg(test)]
mod tests;
pub mod watches;

pub use acl_cache::AclList;
pub use batch::NodeBatch;
pub use build::{BuildError, TreeBuilder};
pub use cut::{Cut, CutNode};
pub use effects::{Applied, Effects, Event};
pub use node_ref::{Children, NodeRef};

use std::{collections::VecDeque, sync::Arc};

use zk_proto::{
    Acl, SessionId, Zxid,
    create_mode::EphemeralOwner,
    persist::{TreeDigest, digest_with_stat},
    stat::{Stat, StatPersisted},
};

use self::{
    acl_cache::AclCache,
    cut::Cuts,
    index::Index,
    lists::Lists,
    node::{Extra, Node, stat_of},
    owners::Owners,
    quota::Quotas,
    slab::{NONE, Slab},
};

/// The root's number.
const ROOT: u32 = 0;

/// Close enough to find where members part, far enough apart to look at (`DataTree.DIGEST_LOG_INTERVAL`).
const DIGEST_LOG_INTERVAL: i64 = 128;
const DIGEST_LOG_LIMIT: usize = 1024;

/// What all members of an ensemble must agree on, and a seed of one's own.
#[derive(Debug, Clone, Copy)]
pub struct TreeOptions {
    /// Whether owners of the form `0xff...` are times to live (`zookeeper.extendedTypesEnabled`).
    pub extended_types: bool,
    /// Whether owners whose highest bit is set are times to live, too (`zookeeper.emulate353TTLNodes`).
    pub emulate_353_ttl: bool,
    /// Whether the digest is kept (`digest.enabled`).
    pub digest: bool,
    /// Makes the places of paths in hash tables unpredictable to clients; without influence on any result.
    pub hash_seed: u64,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            extended_types: false,
            emulate_353_ttl: false,
            digest: true,
            hash_seed: 0,
        }
    }
}

/// The tree of nodes, the sessions, and what is known about both.
#[derive(Debug)]
pub struct DataTree {
    options: TreeOptions,
    nodes: Slab<Node>,
    extras: Slab<Extra>,
    index: Index,
    acls: AclCache,
    owners: Owners,
    quotas: Quotas,
    cuts: Cuts,
    lists: Lists,
    digest: TreeDigest,
    /// The digests after every 128th zxid, oldest first.
    digest_log: VecDeque<(Zxid, TreeDigest)>,
    last_zxid: Zxid,
    /// Bytes of paths and data, as Apache counts them.
    data_size: u64,
}

impl DataTree {
    /// The tree of a fresh server: `/`, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    #[must_use]
    pub fn new(options: &TreeOptions) -> Self {
        let mut tree = Self::bare(options);
        tree.nodes.insert(Node::new(b"", Some(b"")));
        tree.count_in(ROOT, b"");
        for path in [path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            tree.insert_fresh(path.as_bytes());
        }
        // Anybody may read the configuration; to set it, one must be super (ZOOKEEPER-2014).
        let id = tree.find(path::CONFIG).unwrap_or(ROOT);
        let place = tree.acls.acquire(&Acl::read_only());
        tree.nodes.get_mut(id).acl = place;
        tree.extra_mut(id).aversion = -1;
        tree
    }

    /// A tree without a node, not even the root.
    fn bare(options: &TreeOptions) -> Self {
        Self {
            options: *options,
            nodes: Slab::default(),
            extras: Slab::default(),
            index: Index::new(options.hash_seed),
            acls: AclCache::new(options.hash_seed),
            owners: Owners::default(),
            quotas: Quotas::default(),
            cuts: Cuts::default(),
            lists: Lists::default(),
            digest: TreeDigest::default(),
            digest_log: VecDeque::new(),
            last_zxid: Zxid::ZERO,
            data_size: 0,
        }
    }

    /// Puts an empty node of a fresh tree in its place.
    fn insert_fresh(&mut self, path: &[u8]) {
        let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let parent = self.find_bytes(&path[..cut]).unwrap_or(ROOT);
        let id = self.nodes.insert(Node::new(&path[cut + 1..], Some(b"")));
        self.link(parent, id);
        self.enter(path, id);
    }

    /// The transaction that was applied last.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Says that everything up to this transaction is in the tree: for what changes no node (a new epoch).
    pub const fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// The digest over all nodes but those below `/zookeeper/`; 0 where it is switched off.
    #[must_use]
    pub const fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// Zxids and the digests after them: one of every 128, the last 1024 of these, oldest first (`hash`).
    pub fn digest_log(&self) -> impl ExactSizeIterator<Item = (Zxid, TreeDigest)> + '_ {
        self.digest_log.iter().copied()
    }

    fn log_digest(&mut self, zxid: Zxid) {
        if zxid.0 % DIGEST_LOG_INTERVAL != 0 {
            return;
        }
        if self.digest_log.len() == DIGEST_LOG_LIMIT {
            self.digest_log.pop_front();
        }
        self.digest_log.push_back((zxid, self.digest));
    }

    /// How the tree was set up.
    #[must_use]
    pub const fn options(&self) -> &TreeOptions {
        &self.options
    }

    /// The node at a path; both `""` and `/` are the root.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<NodeRef<'_>> {
        self.find(path).map(|id| NodeRef::new(self, id))
    }

    /// The open sessions of the replicated state and their timeouts in milliseconds, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> + '_ {
        self.owners.sessions.iter().map(|(id, ms)| (*id, *ms))
    }

    /// The timeout in milliseconds of a session that is open.
    #[must_use]
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.owners.sessions.get(&session).copied()
    }

    /// The paths of a session's ephemeral nodes.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> + '_ {
        self.owners.ephemerals(session).map(|id| self.path_of(id))
    }

    /// The sessions that own ephemeral nodes, by id.
    pub fn ephemeral_sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.owners.ephemeral_sessions()
    }

    /// How many ephemeral nodes there are (`ephemerals_count`).
    #[must_use]
    pub const fn ephemeral_count(&self) -> usize {
        self.owners.ephemeral_count()
    }

    /// How many nodes there are as Apache counts them (`znode_count`): the root twice.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len() + 1
    }

    /// The bytes of all paths and data as Apache counts them (`approximate_data_size`).
    #[must_use]
    pub const fn approximate_data_size(&self) -> u64 {
        // The root is there as "/" a second time.
        self.data_size + 1
    }

    /// Empty containers that had children once, empty TTL nodes past their time, and, if `never_used_ms` is not 0,
    /// containers that had no child for so long (`ContainerManager.getCandidates`).
    ///
    /// `now_ms` is the wall clock that writes `mtime`.
    pub fn reapable(&self, now_ms: i64, never_used_ms: i64) -> impl Iterator<Item = String> + '_ {
        let is_due = move |id: &u32| {
            let (node, extra) = (self.nodes.get(*id), self.extra(*id));
            let idle = now_ms.wrapping_sub(node.mtime);
            match self.owner_kind(extra.owner) {
                _ if extra.num_children > 0 => false,
                EphemeralOwner::Ttl { ttl_ms } => ttl_ms != 0 && idle > ttl_ms,
                _ if extra.cversion > 0 => true,
                _ => never_used_ms != 0 && idle > never_used_ms,
            }
        };
        let due = self.owners.reapable().filter(is_due);
        due.map(|id| self.path_of(id))
    }

    fn extra(&self, id: u32) -> Extra {
        let node = self.nodes.get(id);
        match node.extra {
            NONE => Extra::of(node),
            at => *self.extras.get(at),
        }
    }

    fn extra_mut(&mut self, id: u32) -> &mut Extra {
        let node = self.nodes.get_mut(id);
        if node.extra == NONE {
            node.extra = self.extras.insert(Extra::of(node));
        }
        self.extras.get_mut(node.extra)
    }

    fn acl(&self, id: u32) -> &Arc<AclList> {
        self.acls.get(self.nodes.get(id).acl)
    }

    fn stat_persisted(&self, id: u32) -> StatPersisted {
        stat_of(self.nodes.get(id), &self.extra(id))
    }

    /// The Stat that clients see (`DataNode.copyStat`).
    fn stat(&self, id: u32) -> Stat {
        let (node, extra) = (self.nodes.get(id), self.extra(id));
        let num_children = extra.num_children.cast_signed();
        Stat {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            // Kept: creates. Shown: creates and deletes.
            cversion: extra.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: extra.aversion,
            ephemeral_owner: match self.owner_kind(extra.owner) {
                EphemeralOwner::Session(session) => session,
                _ => SessionId::NONE,
            },
            data_length: i32::try_from(node.data_len()).unwrap_or(i32::MAX),
            num_children,
            pzxid: Zxid(extra.pzxid),
        }
    }

    /// What the persisted owner of a node means here.
    pub(crate) const fn owner_kind(&self, raw: i64) -> EphemeralOwner {
        match self.options.extended_types && self.options.emulate_353_ttl {
            true => EphemeralOwner::from_raw_353(raw),
            false => EphemeralOwner::from_raw(raw, self.options.extended_types),
        }
    }

    /// What a node adds to the digest; `counts` says whether nodes at its path do.
    fn digest_of(&self, id: u32, counts: bool) -> u64 {
        match counts && self.options.digest {
            true => digest_with_stat(self.nodes.get(id).body_crc, &self.stat_persisted(id)),
            false => 0,
        }
    }
}

//! A consistent cut: the tree of one moment, read piece by piece while it goes on changing.
//!
//! Snapshots, and the trees that learners are sent, are cuts. A walker reads nodes under short read locks; whoever
//! changes a node that the walker has not come to yet saves its image first. So nobody waits for a snapshot, and
//! what comes out is the tree as it was when the cut began, not something that some log must mend.
//!
//! The walk goes by number, since numbers do not change, and emits a node's ancestors before it. The number of a
//! node that was deleted meanwhile may be another node's by now: its image stands for it.
//!
//! Invariant: a number below the limit is *done* (emitted, or free when the cut began), or has an image, or its node
//! is as it was when the cut began.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use zk_proto::{
    SessionId, Zxid,
    persist::{NodeRecord, TreeDigest},
    stat::StatPersisted,
};

use super::{AclList, DataTree, ROOT, slab::NONE};

/// What a cut is of, besides the nodes. To be given back to [`DataTree::end_cut`].
#[derive(Debug)]
pub struct Cut {
    id: u64,
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The digest over its nodes.
    pub digest: TreeDigest,
    /// Its sessions and their timeouts in milliseconds, by id.
    pub sessions: Vec<(SessionId, i32)>,
    /// The ACLs that its nodes name by number, by number.
    pub acls: Vec<(i64, Arc<AclList>)>,
    /// How many nodes it has.
    pub nodes: usize,
}

/// A node of a cut.
#[derive(Debug, Clone, Copy)]
pub struct CutNode<'a> {
    /// Its full path; the root's is empty.
    pub path: &'a str,
    /// Its data.
    pub data: Option<&'a [u8]>,
    /// The number of its ACL in [`Cut::acls`], or -1: open.
    pub acl: i64,
    /// Its metadata.
    pub stat: StatPersisted,
}

impl<'a> CutNode<'a> {
    /// The node that a snapshot's record is of.
    #[must_use]
    pub fn of(record: &'a NodeRecord) -> Self {
        Self {
            path: &record.path,
            data: record.data.as_deref(),
            acl: record.acl,
            stat: record.stat,
        }
    }
}

/// What a node was before it changed.
#[derive(Debug)]
struct Image {
    parent: u32,
    path: String,
    data: Option<Box<[u8]>>,
    acl: i64,
    stat: StatPersisted,
}

/// How far the walker has come.
#[derive(Debug)]
struct Walk {
    /// Numbers from here on are of later nodes.
    limit: u32,
    cursor: u32,
    done: Vec<u64>,
    images: BTreeMap<u32, Image>,
}

/// A cut that has begun.
#[derive(Debug)]
pub(super) struct OpenCut {
    id: u64,
    walk: Mutex<Walk>,
}

/// The cuts that have begun.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    open: Vec<OpenCut>,
    last_id: u64,
}

impl Walk {
    fn is_done(&self, id: u32) -> bool {
        self.done[id as usize / 64] & (1 << (id % 64)) != 0
    }

    fn set_done(&mut self, id: u32) {
        self.done[id as usize / 64] |= 1 << (id % 64);
    }

    /// Whether the node's state is neither emitted nor saved.
    fn is_at_risk(&self, id: u32) -> bool {
        id < self.limit && !self.is_done(id) && !self.images.contains_key(&id)
    }

    /// The next number to emit, images first: they take memory.
    fn next(&mut self) -> Option<u32> {
        if let Some((id, _)) = self.images.first_key_value() {
            return Some(*id);
        }
        while self.cursor < self.limit && self.is_done(self.cursor) {
            self.cursor += 1;
        }
        (self.cursor < self.limit).then_some(self.cursor)
    }
}

impl DataTree {
    /// Begins a cut of the tree as it is now. Takes a moment, and a bit for each node.
    ///
    /// Until [`end_cut`](Self::end_cut) every node that changes before the walker has come to it is kept twice.
    pub fn begin_cut(&mut self) -> Cut {
        let limit = self.nodes.high_water();
        let mut walk = Walk {
            limit,
            cursor: ROOT,
            done: vec![0; (limit as usize).div_ceil(64)],
            images: BTreeMap::new(),
        };
        self.nodes.free().iter().for_each(|id| walk.set_done(*id));
        self.cuts.last_id += 1;
        let id = self.cuts.last_id;
        self.cuts.open.push(OpenCut {
            id,
            walk: Mutex::new(walk),
        });
        Cut {
            id,
            zxid: self.last_zxid,
            digest: self.digest,
            sessions: self.sessions().collect(),
            acls: self.acls.entries(),
            nodes: self.nodes.len(),
        }
    }

    /// Emits the next nodes of a cut, every node after its parent, until about `bytes` of paths and data have come
    /// together; tells whether there are more.
    pub fn walk_cut(&self, cut: &Cut, bytes: usize, mut emit: impl FnMut(CutNode<'_>)) -> bool {
        let Some(open) = self.cuts.open.iter().find(|open| open.id == cut.id) else {
            return false;
        };
        let mut walk = open.walk.lock();
        let mut chain = Vec::new();
        let mut path = Vec::new();
        let mut emitted = 0;
        while emitted < bytes {
            let Some(id) = walk.next() else { return false };
            self.ancestry(&walk, id, &mut chain);
            while let Some(id) = chain.pop() {
                emitted += self.emit(&mut walk, id, &mut path, &mut emit);
            }
        }
        walk.next().is_some()
    }

    /// The node and those of its ancestors that are not emitted yet, upwards.
    fn ancestry(&self, walk: &Walk, id: u32, chain: &mut Vec<u32>) {
        let mut next = id;
        while next != NONE && !walk.is_done(next) {
            chain.push(next);
            next = match walk.images.get(&next) {
                Some(image) => image.parent,
                None => self.nodes.get(next).parent,
            };
        }
    }

    fn emit(
        &self,
        walk: &mut Walk,
        id: u32,
        path: &mut Vec<u8>,
        emit: &mut impl FnMut(CutNode<'_>),
    ) -> usize {
        walk.set_done(id);
        let image = walk.images.remove(&id);
        let node = match &image {
            Some(image) => CutNode {
                path: &image.path,
                data: image.data.as_deref(),
                acl: image.acl,
                stat: image.stat,
            },
            None => {
                self.write_path(id, path);
                let node = self.nodes.get(id);
                CutNode {
                    path: str::from_utf8(path).unwrap_or_default(),
                    data: node.data(),
                    acl: self.acls.number(node.acl),
                    stat: self.stat_persisted(id),
                }
            }
        };
        emit(node);
        node.path.len() + node.data.map_or(0, <[u8]>::len) + size_of::<StatPersisted>()
    }

    /// Ends a cut, whether all of it was walked or not.
    pub fn end_cut(&mut self, cut: Cut) {
        self.cuts.open.retain(|open| open.id != cut.id);
    }

    /// To be called before anything of a node changes that a cut shows.
    pub(super) fn save_image(&mut self, id: u32) {
        if self.cuts.open.is_empty() {
            return;
        }
        let mut open = std::mem::take(&mut self.cuts.open);
        for cut in &mut open {
            let walk = cut.walk.get_mut();
            if walk.is_at_risk(id) {
                walk.images.insert(id, self.image(id));
            }
        }
        self.cuts.open = open;
    }

    fn image(&self, id: u32) -> Image {
        let node = self.nodes.get(id);
        Image {
            parent: node.parent,
            path: match id {
                ROOT => String::new(),
                _ => self.path_of(id),
            },
            data: node.data().map(Box::from),
            acl: self.acls.number(node.acl),
            stat: self.stat_persisted(id),
        }
    }
}

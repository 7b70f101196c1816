//! A node as others may look at it.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::{Stat, create_mode::EphemeralOwner, stat::StatPersisted};

use super::{AclList, DataTree, lists::SHARED_FROM, slab::NONE};

/// A node of a tree that does not change meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    tree: &'a DataTree,
    id: u32,
}

impl<'a> NodeRef<'a> {
    pub(super) const fn new(tree: &'a DataTree, id: u32) -> Self {
        Self { tree, id }
    }

    /// Its full path; the root's is `/`.
    #[must_use]
    pub fn path(&self) -> String {
        self.tree.path_of(self.id)
    }

    /// The last part of its path; of the root, nothing.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.tree.nodes.get(self.id).name()
    }

    /// Its metadata as clients see it.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.tree.stat(self.id)
    }

    /// Its metadata as snapshots keep it.
    #[must_use]
    pub fn stat_persisted(&self) -> StatPersisted {
        self.tree.stat_persisted(self.id)
    }

    /// Its data; null where it was created with null.
    #[must_use]
    pub fn data(&self) -> Option<&'a [u8]> {
        self.tree.nodes.get(self.id).data()
    }

    /// Its data where that is large enough to be handed out by reference.
    #[must_use]
    pub fn shared_data(&self) -> Option<&'a Bytes> {
        self.tree.nodes.get(self.id).shared_data()
    }

    /// Its ACL.
    #[must_use]
    pub fn acl(&self) -> &'a Arc<AclList> {
        self.tree.acl(self.id)
    }

    /// Its children, in the order in which they were created.
    #[must_use]
    pub fn children(&self) -> Children<'a> {
        let extra = self.tree.extra(self.id);
        Children {
            tree: self.tree,
            next: extra.first_child,
            left: extra.num_children,
        }
    }

    /// The list of its children as a vector of strings, where that is long enough to be handed out by reference.
    #[must_use]
    pub fn shared_children(&self) -> Option<Bytes> {
        let is_long = self.children_len() >= SHARED_FROM;
        is_long.then(|| self.tree.lists.of(self.id, *self))
    }

    /// How many children it has.
    #[must_use]
    pub fn child_count(&self) -> usize {
        self.tree.extra(self.id).num_children as usize
    }

    /// How many bytes a list of its children takes as a vector of strings.
    #[must_use]
    pub fn children_len(&self) -> usize {
        let extra = self.tree.extra(self.id);
        let names = usize::try_from(extra.names_len).unwrap_or(usize::MAX);
        4 + 4 * extra.num_children as usize + names
    }

    /// How many nodes there are below it, at any depth; visits them all.
    #[must_use]
    pub fn count_below(&self) -> usize {
        let mut count = 0;
        let mut id = self.id;
        loop {
            let child = self.tree.extra(id).first_child;
            if child != NONE {
                id = child;
                count += 1;
                continue;
            }
            // The next sibling, of it or of the nearest ancestor that has one.
            while id != self.id && self.tree.nodes.get(id).next == NONE {
                id = self.tree.nodes.get(id).parent;
            }
            if id == self.id {
                return count;
            }
            id = self.tree.nodes.get(id).next;
            count += 1;
        }
    }

    /// Whose it is: a session's, nobody's, or the server's to remove.
    #[must_use]
    pub fn ephemeral_owner(&self) -> EphemeralOwner {
        self.tree.owner_kind(self.tree.extra(self.id).owner)
    }

    /// CRC-32 of its path and data, as [`zk_proto::persist::body_crc`]; 0 where digests are switched off.
    #[must_use]
    pub fn body_crc(&self) -> u32 {
        self.tree.nodes.get(self.id).body_crc
    }
}

/// The children of a node.
#[derive(Debug, Clone)]
pub struct Children<'a> {
    tree: &'a DataTree,
    next: u32,
    left: u32,
}

impl<'a> Iterator for Children<'a> {
    type Item = NodeRef<'a>;

    fn next(&mut self) -> Option<NodeRef<'a>> {
        if self.next == NONE {
            return None;
        }
        let id = self.next;
        self.next = self.tree.nodes.get(id).next;
        self.left -= 1;
        Some(NodeRef::new(self.tree, id))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Children<'_> {}

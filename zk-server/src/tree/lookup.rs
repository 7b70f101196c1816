//! Paths to nodes, and back.

use zk_proto::persist::body_crc;

use super::{DataTree, ROOT, node::Node, path, slab::Slab};

impl DataTree {
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        self.find_bytes(path.as_bytes())
    }

    /// The node that a child is put under, by what [`path::split`] gives: there the root is `""`.
    ///
    /// A log that no client can have caused may create `//a`: its parent is not the root, or two paths would name
    /// one node.
    pub(super) fn find_parent(&self, path: &str) -> Option<u32> {
        match path {
            "/" => None,
            path => self.find(path),
        }
    }

    pub(super) fn find_bytes(&self, path: &[u8]) -> Option<u32> {
        match path {
            b"" | b"/" => Some(ROOT),
            _ => self
                .index
                .find(self.index.hash(path), |id| self.is_at(id, path)),
        }
    }

    /// Whether this is the node's path: compared name by name from the end.
    fn is_at(&self, mut id: u32, path: &[u8]) -> bool {
        let mut rest = path;
        while id != ROOT {
            let node = self.nodes.get(id);
            match rest.strip_suffix(node.name()) {
                Some([front @ .., b'/']) => rest = front,
                _ => return false,
            }
            id = node.parent;
        }
        rest.is_empty()
    }

    pub(super) fn path_of(&self, id: u32) -> String {
        let mut path = Vec::new();
        self.write_path(id, &mut path);
        match id {
            ROOT => "/".to_owned(),
            // Names are pieces of valid text, cut at slashes.
            _ => String::from_utf8(path).unwrap_or_default(),
        }
    }

    /// Replaces what is in `path` with the node's path; of the root, nothing.
    pub(super) fn write_path(&self, id: u32, path: &mut Vec<u8>) {
        let ancestors = || {
            let up = |id: &u32| Some(self.nodes.get(*id).parent);
            std::iter::successors(Some(id), up)
                .take_while(|id| *id != ROOT)
                .map(|id| self.nodes.get(id).name())
        };
        let mut end = ancestors().map(|name| name.len() + 1).sum();
        path.clear();
        path.resize(end, b'/');
        for name in ancestors() {
            path[end - name.len()..end].copy_from_slice(name);
            end -= name.len() + 1;
        }
    }

    /// Puts a linked node into the index, the digest and the size.
    pub(super) fn enter(&mut self, path: &[u8], id: u32) {
        self.index.insert(self.index.hash(path), id);
        self.count_in(id, path);
    }

    pub(super) fn count_in(&mut self, id: u32, path: &[u8]) {
        let node = self.nodes.get_mut(id);
        if self.options.digest {
            node.body_crc = body_crc(path, node.data().unwrap_or_default());
        }
        self.data_size += (path.len() + node.data_len()) as u64;
        self.digest.add(self.digest_of(id, path::counts(path)));
    }
}

/// Whether two nodes have the same path.
pub(super) fn is_same_path(nodes: &Slab<Node>, mut one: u32, mut other: u32) -> bool {
    while one != other {
        let (a, b) = (nodes.get(one), nodes.get(other));
        if one == ROOT || other == ROOT || a.name() != b.name() {
            return false;
        }
        (one, other) = (a.parent, b.parent);
    }
    true
}

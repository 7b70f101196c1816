//! A znode as it lies in memory.
//!
//! Half a million nodes should cost no more than they must: eighty bytes here, one allocation for name and data
//! together, and forty bytes more ([`Extra`]) only for a node that is a parent, has an owner or another
//! ACL version, or whose `pzxid` is not its `czxid`.

use zk_proto::stat::StatPersisted;

use super::slab::NONE;

/// Marks null data in [`Node::name_len`].
const NULL_DATA: u32 = 1 << 31;

/// What every node has.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    /// The name, then the data.
    bytes: Box<[u8]>,
    pub(super) version: i32,
    /// [`NONE`] for the root alone.
    pub(super) parent: u32,
    /// The sibling before it; of the first child, the last one.
    pub(super) prev: u32,
    /// The sibling after it, [`NONE`] at the end.
    pub(super) next: u32,
    /// Its place in the ACL cache.
    pub(super) acl: u32,
    /// CRC-32 of path and data: the part of the node's digest that is dear to compute.
    pub(super) body_crc: u32,
    name_len: u32,
    /// Its place among the [`Extra`]s, or [`NONE`].
    pub(super) extra: u32,
}

const _: () = assert!(size_of::<Node>() == 80);

impl Default for Node {
    fn default() -> Self {
        Self {
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            bytes: Box::default(),
            version: 0,
            parent: NONE,
            prev: NONE,
            next: NONE,
            acl: 0,
            body_crc: 0,
            name_len: 0,
            extra: NONE,
        }
    }
}

impl Node {
    /// A node with a name and data; everything else is the caller's.
    pub(super) fn new(name: &[u8], data: Option<&[u8]>) -> Self {
        let mut node = Self::default();
        node.set_body(name, data);
        node
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[..self.split()]
    }

    /// Its data; null where it was created with null.
    pub(super) fn data(&self) -> Option<&[u8]> {
        match self.name_len & NULL_DATA {
            0 => Some(&self.bytes[self.split()..]),
            _ => None,
        }
    }

    /// The length of its data; of null, 0.
    pub(super) fn data_len(&self) -> usize {
        self.bytes.len() - self.split()
    }

    /// Replaces the data, in place where the length stays.
    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        match data {
            Some(new) if new.len() == self.data_len() => {
                let split = self.split();
                self.bytes[split..].copy_from_slice(new);
                self.name_len &= !NULL_DATA;
            }
            _ => {
                let old = std::mem::take(&mut self.bytes);
                self.set_body(&old[..self.split()], data);
            }
        }
    }

    fn set_body(&mut self, name: &[u8], data: Option<&[u8]>) {
        let content = data.unwrap_or_default();
        let mut bytes = Vec::with_capacity(name.len() + content.len());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(content);
        self.bytes = bytes.into_boxed_slice();
        // A name is part of a frame, whose length is an `int`.
        let name_len = u32::try_from(name.len()).unwrap_or(NULL_DATA - 1);
        let mark = if data.is_none() { NULL_DATA } else { 0 };
        self.name_len = name_len | mark;
    }

    fn split(&self) -> usize {
        (self.name_len & !NULL_DATA) as usize
    }
}

/// What only some nodes have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) pzxid: i64,
    /// As persisted: a session, the mark of a container or TTL node, or 0.
    pub(super) owner: i64,
    /// How many children were ever created.
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) first_child: u32,
    pub(super) num_children: u32,
    /// The bytes of the children's names: how long a list of them is.
    pub(super) names_len: u64,
}

impl Extra {
    /// What a node without one has.
    pub(super) const fn of(node: &Node) -> Self {
        Self {
            pzxid: node.czxid,
            owner: 0,
            cversion: 0,
            aversion: 0,
            first_child: NONE,
            num_children: 0,
            names_len: 0,
        }
    }
}

/// A node's metadata from its two halves.
pub(super) fn stat_of(node: &Node, extra: &Extra) -> StatPersisted {
    StatPersisted {
        czxid: zk_proto::Zxid(node.czxid),
        mzxid: zk_proto::Zxid(node.mzxid),
        ctime: node.ctime,
        mtime: node.mtime,
        version: node.version,
        cversion: extra.cversion,
        aversion: extra.aversion,
        ephemeral_owner: extra.owner,
        pzxid: zk_proto::Zxid(extra.pzxid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_changes_and_the_name_stays() {
        let mut node = Node::new(b"name", None);
        for data in [
            None,
            Some(&b"abc"[..]),
            Some(b"xyz"),
            Some(b""),
            None,
            Some(b"longer"),
        ] {
            node.set_data(data);
            assert_eq!(node.name(), b"name");
            assert_eq!(node.data(), data);
            assert_eq!(node.data_len(), data.map_or(0, <[u8]>::len));
        }
    }
}

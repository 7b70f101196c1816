//! A znode as it lies in memory.
//!
//! Half a million nodes should cost no more than they must: eighty bytes here, one allocation for name and data
//! together, and forty bytes more ([`Extra`]) only for a node that is a parent, has an owner or another
//! ACL version, or whose `pzxid` is not its `czxid`. Large data lie by themselves, so that replies can hold them
//! by reference.

use bytes::Bytes;
use zk_proto::stat::StatPersisted;

use super::slab::NONE;

/// Marks null data in [`Node::name_len`].
const NULL_DATA: u32 = 1 << 31;

/// From this length on, data are handed out by reference; below, a copy is cheaper.
const SHARED_FROM: usize = 16 << 10;

/// A node's name and data.
#[derive(Debug)]
enum Body {
    /// The name, then the data.
    Joined(Box<[u8]>),
    /// As soon as the data are large.
    Apart(Box<Apart>),
}

#[derive(Debug)]
struct Apart {
    name: Box<[u8]>,
    data: Bytes,
}

impl Default for Body {
    fn default() -> Self {
        Self::Joined(Box::default())
    }
}

/// What every node has.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    body: Body,
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
            body: Body::default(),
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
        match &self.body {
            Body::Joined(bytes) => &bytes[..self.split()],
            Body::Apart(apart) => &apart.name,
        }
    }

    /// Its data; null where it was created with null.
    pub(super) fn data(&self) -> Option<&[u8]> {
        match self.name_len & NULL_DATA {
            0 => Some(match &self.body {
                Body::Joined(bytes) => &bytes[self.split()..],
                Body::Apart(apart) => &apart.data,
            }),
            _ => None,
        }
    }

    /// Its data, where they can be handed out by reference.
    pub(super) fn shared_data(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Joined(_) => None,
            Body::Apart(apart) => Some(&apart.data),
        }
    }

    /// The length of its data; of null, 0.
    pub(super) fn data_len(&self) -> usize {
        match &self.body {
            Body::Joined(bytes) => bytes.len() - self.split(),
            Body::Apart(apart) => apart.data.len(),
        }
    }

    /// Replaces the data, in place where the length stays.
    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        let split = self.split();
        match (&mut self.body, data) {
            (Body::Joined(bytes), Some(new)) if new.len() == bytes.len() - split => {
                bytes[split..].copy_from_slice(new);
                self.name_len &= !NULL_DATA;
            }
            _ => match std::mem::take(&mut self.body) {
                Body::Joined(old) => self.set_body(&old[..split], data),
                Body::Apart(old) => self.set_body(&old.name, data),
            },
        }
    }

    fn set_body(&mut self, name: &[u8], data: Option<&[u8]>) {
        let content = data.unwrap_or_default();
        self.body = if content.len() < SHARED_FROM {
            let mut bytes = Vec::with_capacity(name.len() + content.len());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(content);
            Body::Joined(bytes.into_boxed_slice())
        } else {
            Body::Apart(Box::new(Apart {
                name: name.into(),
                data: Bytes::copy_from_slice(content),
            }))
        };
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
        let (large, other) = (vec![1; SHARED_FROM], vec![2; SHARED_FROM]);
        for data in [
            None,
            Some(&b"abc"[..]),
            Some(b"xyz"),
            Some(&large),
            Some(&other),
            Some(b""),
            Some(&large),
            None,
            Some(&large[1..]),
            Some(b"longer"),
        ] {
            node.set_data(data);
            assert_eq!(node.name(), b"name");
            assert_eq!(node.data(), data);
            assert_eq!(node.data_len(), data.map_or(0, <[u8]>::len));
            let is_large = data.is_some_and(|data| data.len() >= SHARED_FROM);
            assert_eq!(node.shared_data().is_some(), is_large);
        }
    }

    #[test]
    fn what_was_handed_out_does_not_change() {
        let mut node = Node::new(b"name", Some(&[1; SHARED_FROM]));
        let handed_out = node.shared_data().unwrap().clone();
        node.set_data(Some(&[2; SHARED_FROM]));
        assert!(handed_out.iter().all(|byte| *byte == 1));
    }
}

//! Nodes on their way into a tree.
//!
//! What is dear to compute of a node depends on the node alone: so it can be computed on another thread than the one
//! that puts the tree together.

use std::ops::Range;

use zk_proto::{
    persist::{body_crc, digest_with_stat},
    stat::StatPersisted,
};

use super::{
    CutNode, TreeOptions,
    index::{KeyHash, KeyHasher},
    path,
};

/// Nodes, with what can be known of each without the others.
#[derive(Debug)]
pub struct NodeBatch {
    options: TreeOptions,
    hasher: KeyHasher,
    /// The paths and data, one after the other.
    bytes: Vec<u8>,
    nodes: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: Range<usize>,
    data_len: Option<usize>,
    acl: i64,
    stat: StatPersisted,
    known: Known,
}

/// What is known of a node before it is in the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) hash: KeyHash,
    pub(super) body_crc: u32,
    pub(super) digest: u64,
}

impl Known {
    pub(super) fn of(node: &CutNode<'_>, hasher: &KeyHasher, options: &TreeOptions) -> Self {
        let path = node.path.as_bytes();
        let body_crc = match options.digest {
            true => body_crc(path, node.data.unwrap_or_default()),
            false => 0,
        };
        Self {
            hash: hasher.hash(path),
            body_crc,
            digest: match options.digest && path::counts(path) {
                true => digest_with_stat(body_crc, &node.stat),
                false => 0,
            },
        }
    }
}

impl NodeBatch {
    /// No nodes, for a tree with these options.
    #[must_use]
    pub fn new(options: &TreeOptions) -> Self {
        Self {
            options: *options,
            hasher: KeyHasher::new(options.hash_seed),
            bytes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds a node.
    pub fn push(&mut self, node: &CutNode<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(node.path.as_bytes());
        let path = start..self.bytes.len();
        self.bytes.extend_from_slice(node.data.unwrap_or_default());
        self.nodes.push(Entry {
            path,
            data_len: node.data.map(<[u8]>::len),
            acl: node.acl,
            stat: node.stat,
            known: Known::of(node, &self.hasher, &self.options),
        });
    }

    /// About how many bytes it takes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len() + self.nodes.len() * size_of::<Entry>()
    }

    /// The nodes, in the order in which they came.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (CutNode<'_>, Known)> {
        self.nodes.iter().map(|entry| {
            let data_at = entry.path.end;
            let node = CutNode {
                // It was text when it came.
                path: str::from_utf8(&self.bytes[entry.path.clone()]).unwrap_or_default(),
                data: entry
                    .data_len
                    .map(|len| &self.bytes[data_at..data_at + len]),
                acl: entry.acl,
                stat: entry.stat,
            };
            (node, entry.known)
        })
    }
}

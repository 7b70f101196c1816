//! From a key to the number of what has it, without keeping the key.
//!
//! Hash tables of numbers; the caller compares the key behind a number (of a node, its path, by walking up). The
//! tables are many small ones, so that none takes noticeably long to grow while the tree is locked.

use std::hash::BuildHasher;

use hashbrown::HashTable;

/// Enough that a table of a tree of a million nodes grows in a fraction of a millisecond.
const SHARDS: usize = 256;

/// Numbers by the hash of their keys.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[HashTable<u32>]>,
    hasher: foldhash::fast::FixedState,
}

impl Index {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            hasher: foldhash::fast::FixedState::with_seed(seed),
        }
    }

    /// The hash of a key, for the other functions.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The number that `is_it` recognises among those with this hash.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.shards[shard(hash)]
            .find(hash, |id| is_it(*id))
            .copied()
    }

    /// Adds a number that is not there; `hash_of` tells the hash of those that are, should the table grow.
    pub(super) fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(&Self, u32) -> u64) {
        let at = shard(hash);
        // The table leaves the index for the moment, so that `hash_of` may look at the index.
        let mut table = std::mem::take(&mut self.shards[at]);
        table.insert_unique(hash, id, |id| hash_of(self, *id));
        self.shards[at] = table;
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }
}

/// Bits that hashbrown uses neither for the place (the low ones) nor for the tag (the top seven).
const fn shard(hash: u64) -> usize {
    (hash >> 44) as usize % SHARDS
}

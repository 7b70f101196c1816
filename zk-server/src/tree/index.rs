//! From a key to the number of what has it, without keeping the key.
//!
//! Hash tables of numbers and hashes; the caller compares the key behind a number (of a node, its path, by walking
//! up). The hash is kept so that a table grows without looking at a key, and the tables are many small ones: none
//! takes noticeably long to grow while the tree is locked.

use std::hash::BuildHasher;

use hashbrown::HashTable;

/// Enough that a table of a million keys grows in some ten microseconds.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 10;

/// Numbers by the hash of their keys.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[HashTable<Entry>]>,
    hasher: KeyHasher,
}

/// Makes an index's hashes, also where the index is not.
#[derive(Debug, Clone)]
pub(super) struct KeyHasher(foldhash::fast::FixedState);

impl KeyHasher {
    /// The seed makes the places of keys unpredictable.
    pub(super) fn new(seed: u64) -> Self {
        Self(foldhash::fast::FixedState::with_seed(seed))
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.0.hash_one(key) as u32)
    }
}

/// Numbers on their way into an index, by table: one at a time, each would cost a wait for memory or two.
#[derive(Debug)]
pub(super) struct Pending {
    shards: Box<[Vec<Entry>]>,
}

/// How many numbers wait for a table.
const PENDING: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: KeyHash,
    id: u32,
}

/// The hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHash(u32);

impl KeyHash {
    const fn shard(self) -> usize {
        (self.0 >> (u32::BITS - SHARD_BITS)) as usize
    }

    /// For within a shard: depends on all bits in all bits.
    const fn spread(self) -> u64 {
        let product = (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ (product >> 32)
    }
}

impl Index {
    /// An index without keys; the seed makes the places of keys unpredictable.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            hasher: KeyHasher::new(seed),
        }
    }

    /// The hash of a key, for the other functions.
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    /// The number that `is_it` recognises among those with this hash.
    pub(super) fn find(&self, hash: KeyHash, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = &self.shards[hash.shard()];
        let found = table.find(hash.spread(), |entry| entry.hash == hash && is_it(entry.id));
        found.map(|entry| entry.id)
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: KeyHash, id: u32) {
        let table = &mut self.shards[hash.shard()];
        table.insert_unique(hash.spread(), Entry { hash, id }, |entry| {
            entry.hash.spread()
        });
    }

    /// Adds the numbers that wait for the table of this hash.
    ///
    /// # Errors
    /// A number whose key is there already: `is_same` tells so of two numbers.
    pub(super) fn settle(
        &mut self,
        pending: &mut Pending,
        hash: KeyHash,
        is_same: impl Fn(u32, u32) -> bool,
    ) -> Result<(), u32> {
        let table = &mut self.shards[hash.shard()];
        for Entry { hash, id } in pending.shards[hash.shard()].drain(..) {
            let there = table.find(hash.spread(), |entry| {
                entry.hash == hash && is_same(entry.id, id)
            });
            if there.is_some() {
                return Err(id);
            }
            table.insert_unique(hash.spread(), Entry { hash, id }, |entry| {
                entry.hash.spread()
            });
        }
        Ok(())
    }

    /// As [`settle`](Self::settle), for every table.
    pub(super) fn settle_all(
        &mut self,
        pending: &mut Pending,
        is_same: impl Fn(u32, u32) -> bool,
    ) -> Result<(), u32> {
        (0..1 << SHARD_BITS)
            .map(|shard| KeyHash(shard << (u32::BITS - SHARD_BITS)))
            .try_for_each(|hash| self.settle(pending, hash, &is_same))
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, hash: KeyHash, id: u32) {
        let table = &mut self.shards[hash.shard()];
        if let Ok(entry) = table.find_entry(hash.spread(), |entry| entry.id == id) {
            entry.remove();
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Vec::new()).collect(),
        }
    }
}

impl Pending {
    /// Adds a number, and tells whether it is time to [settle](Index::settle).
    pub(super) fn push(&mut self, hash: KeyHash, id: u32) -> bool {
        let entries = &mut self.shards[hash.shard()];
        if entries.capacity() == 0 {
            entries.reserve_exact(PENDING);
        }
        entries.push(Entry { hash, id });
        entries.len() >= PENDING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_is_found_and_what_is_there_twice_is_told() {
        let (mut index, mut pending) = (Index::new(1), Pending::default());
        let key = |id: u32| id.to_le_bytes();
        for id in 0..100_000 {
            let hash = index.hash(&key(id));
            if pending.push(hash, id) {
                index.settle(&mut pending, hash, |_, _| false).unwrap();
            }
        }
        index.settle_all(&mut pending, |_, _| false).unwrap();
        for id in 0..100_000 {
            let found = index.find(index.hash(&key(id)), |other| other == id);
            assert_eq!(found, Some(id));
        }
        // Number 100_007 has the key of number 7.
        pending.push(index.hash(&key(7)), 100_007);
        let is_same = |old: u32, new: u32| old + 100_000 == new;
        assert_eq!(index.settle_all(&mut pending, is_same), Err(100_007));
    }

    #[test]
    fn keys_are_found_until_they_are_removed() {
        let mut index = Index::new(1);
        let key = |id: u32| id.to_le_bytes();
        for id in 0..50_000 {
            index.insert(index.hash(&key(id)), id);
        }
        for id in (0..50_000).step_by(3) {
            index.remove(index.hash(&key(id)), id);
        }
        for id in 0..50_000 {
            let found = index.find(index.hash(&key(id)), |other| other == id);
            assert_eq!(found, (id % 3 != 0).then_some(id));
        }
        let sizes = || index.shards.iter().map(HashTable::len);
        let (least, most) = (sizes().min().unwrap(), sizes().max().unwrap());
        assert!(least > 10 && most < 70, "{least}..{most} of 33 or so");
    }
}

//! ACLs, each kept once (`ReferenceCountedACLCache`).
//!
//! A node holds the place of its ACL here. Snapshots name ACLs by a number of Apache's making, which says nothing
//! about the place. A number that a snapshot uses without defining (Apache writes the cache before the nodes, so a
//! fuzzy snapshot may) gets an ACL that grants nothing: the log that follows puts the right one in its stead.

use std::{hash::BuildHasher, sync::Arc};

use bytes::BytesMut;
use hashbrown::HashTable;
use zk_proto::{Acl, Encode, Id, Perms, persist::OPEN_ACL_ID};

use super::slab::Slab;
use crate::auth::{self, Credentials};

/// The place of "everything for everybody", which every tree has and no snapshot lists.
pub(super) const OPEN: u32 = 0;

/// An ACL, shared by the nodes that have it and by the events about them.
#[derive(Debug, Default)]
pub struct AclList {
    entries: Vec<Acl>,
    /// What everybody may.
    world: Perms,
}

impl AclList {
    /// A list to be checked.
    #[must_use]
    pub fn new(entries: Vec<Acl>) -> Self {
        let world = entries
            .iter()
            .filter(|entry| auth::is_world(&entry.id))
            .fold(Perms::NONE, |perms, entry| perms | entry.perms);
        Self { entries, world }
    }

    /// The entries, in the order in which they were given.
    #[must_use]
    pub fn entries(&self) -> &[Acl] {
        &self.entries
    }

    /// Appends the entries as a vector.
    pub(super) fn put(&self, out: &mut BytesMut) {
        self.entries.encode(out);
    }

    /// How many bytes [`put`](Self::put) appends.
    pub(super) fn encoded_len(&self) -> usize {
        self.entries.encoded_len()
    }

    /// Whether some permission of `perm` is granted, as [`auth::check`] has it.
    #[must_use]
    pub fn allows(&self, perm: Perms, credentials: &Credentials) -> bool {
        self.world.intersects(perm) || auth::check(&self.entries, perm, credentials)
    }
}

#[derive(Debug, Default)]
struct Slot {
    list: Arc<AclList>,
    /// The number in snapshots.
    number: i64,
    /// How many nodes have it.
    uses: u32,
}

/// Every ACL of the tree.
#[derive(Debug)]
pub(super) struct AclCache {
    slots: Slab<Slot>,
    by_entries: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
    /// The highest number given so far.
    last_number: i64,
    /// Where the last one was found: neighbours in time mostly have the same.
    last_place: u32,
}

impl AclCache {
    pub(super) fn new(seed: u64) -> Self {
        let mut slots = Slab::default();
        slots.insert(Slot {
            list: Arc::new(AclList::new(Acl::open())),
            number: OPEN_ACL_ID,
            uses: 0,
        });
        Self {
            slots,
            by_entries: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(seed),
            last_number: 0,
            last_place: OPEN,
        }
    }

    /// The ACL at a place.
    pub(super) fn get(&self, place: u32) -> &Arc<AclList> {
        &self.slots.get(place).list
    }

    /// The number of the ACL at a place, as snapshots have it.
    pub(super) fn number(&self, place: u32) -> i64 {
        self.slots.get(place).number
    }

    /// Finds or makes the place of an ACL, and counts one use. No entries at all is null in a log: open.
    pub(super) fn acquire(&mut self, entries: &[Acl]) -> u32 {
        if entries.is_empty() {
            return OPEN;
        }
        let place = match self.find(entries) {
            Some(place) => place,
            None => {
                self.last_number += 1;
                self.define(self.last_number, entries.iter().map(copy).collect())
            }
        };
        self.last_place = place;
        self.reuse(place);
        place
    }

    /// Counts one more use.
    pub(super) fn reuse(&mut self, place: u32) {
        if place != OPEN {
            self.slots.get_mut(place).uses += 1;
        }
    }

    /// Counts one use less, and forgets the ACL after the last.
    pub(super) fn release(&mut self, place: u32) {
        if place == OPEN {
            return;
        }
        let slot = self.slots.get_mut(place);
        slot.uses = slot.uses.saturating_sub(1);
        if slot.uses == 0 {
            self.forget(place);
        }
    }

    /// Puts an ACL at a new place under a number of a snapshot's making, without a use.
    pub(super) fn define(&mut self, number: i64, entries: Vec<Acl>) -> u32 {
        let hash = self.hasher.hash_one(&entries);
        self.last_number = self.last_number.max(number);
        let place = self.slots.insert(Slot {
            list: Arc::new(AclList::new(entries)),
            number,
            uses: 0,
        });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_entries.insert_unique(hash, place, |place| {
            hasher.hash_one(slots.get(*place).list.entries())
        });
        place
    }

    /// Puts an ACL that grants nothing at a new place, for a number that a snapshot uses without defining.
    pub(super) fn define_unknown(&mut self, number: i64) -> u32 {
        self.last_number = self.last_number.max(number);
        self.slots.insert(Slot {
            list: Arc::new(AclList::new(vec![Acl::new(Perms::NONE, "world", "anyone")])),
            number,
            uses: 0,
        })
    }

    /// Forgets the ACL at a place if no node uses it.
    pub(super) fn purge(&mut self, place: u32) {
        if place != OPEN && self.slots.get(place).uses == 0 {
            self.forget(place);
        }
    }

    /// Every ACL that snapshots list, with its number, by place.
    pub(super) fn entries(&self) -> Vec<(i64, Arc<AclList>)> {
        let mut entries: Vec<_> = (1..self.slots.high_water())
            .map(|place| self.slots.get(place))
            .filter(|slot| slot.uses > 0)
            .map(|slot| (slot.number, Arc::clone(&slot.list)))
            .collect();
        entries.sort_unstable_by_key(|(number, _)| *number);
        entries
    }

    fn find(&self, entries: &[Acl]) -> Option<u32> {
        let is_it = |place: &u32| self.slots.get(*place).list.entries() == entries;
        if self.last_place != OPEN && is_it(&self.last_place) {
            return Some(self.last_place);
        }
        let hash = self.hasher.hash_one(entries);
        self.by_entries.find(hash, is_it).copied()
    }

    fn forget(&mut self, place: u32) {
        let slot = self.slots.remove(place);
        let hash = self.hasher.hash_one(slot.list.entries());
        if let Ok(entry) = self.by_entries.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        if self.last_place == place {
            self.last_place = OPEN;
        }
    }
}

/// A copy with memory of its own: what a request brought shares the buffer that it was received into.
fn copy(entry: &Acl) -> Acl {
    let Id { scheme, id } = &entry.id;
    Acl::new(entry.perms, scheme.as_str(), id.as_str())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use zk_proto::Utf8Bytes;

    use super::*;

    #[test]
    fn an_acl_that_stays_does_not_hold_the_buffer_it_came_in() {
        let buffer = Bytes::from(b"digestuser:hash".to_vec());
        let text = |range| Utf8Bytes::try_from(buffer.slice(range)).unwrap();
        let entries = [Acl::new(Perms::ALL, text(0..6), text(6..15))];
        let mut cache = AclCache::new(1);
        let place = cache.acquire(&entries);
        assert_eq!(cache.get(place).entries(), entries);
        drop(entries);
        assert!(buffer.is_unique());
    }

    #[test]
    fn an_acl_lives_as_long_as_its_uses() {
        let mut cache = AclCache::new(1);
        let (open, read) = (Acl::open(), Acl::read_only());
        assert_eq!(cache.acquire(&[]), OPEN);
        let a = cache.acquire(&open);
        let b = cache.acquire(&read);
        assert_eq!(cache.acquire(&open), a);
        assert_eq!((cache.number(a), cache.number(b)), (1, 2));
        let numbers = |cache: &AclCache| -> Vec<i64> {
            cache.entries().iter().map(|(number, _)| *number).collect()
        };
        assert_eq!(numbers(&cache), [1, 2]);
        cache.release(a);
        cache.release(b);
        assert_eq!(numbers(&cache), [1]);
        assert_eq!(cache.get(a).entries(), open);
        let c = cache.acquire(&read);
        assert_eq!(cache.number(c), 3, "numbers are never used again");
    }

    #[test]
    fn an_undefined_number_grants_nothing() {
        let mut cache = AclCache::new(1);
        let place = cache.define_unknown(9);
        cache.reuse(place);
        assert!(!cache.get(place).allows(Perms::ALL, &Credentials::none()));
        let other = cache.acquire(&Acl::open());
        assert_eq!(cache.number(other), 10);
    }

    #[test]
    fn what_the_world_may_is_known_beforehand() {
        let list = AclList::new(vec![
            Acl::new(Perms::READ, "world", "anyone"),
            Acl::new(Perms::WRITE, "world", "anyone"),
            Acl::new(Perms::ADMIN, "ip", "1.2.3.4"),
        ]);
        for (perm, allowed) in [
            (Perms::READ, true),
            (Perms::WRITE, true),
            (Perms::ADMIN, false),
        ] {
            assert_eq!(list.allows(perm, &Credentials::none()), allowed);
        }
    }
}

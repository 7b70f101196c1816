//! Every interleaving of up to four consumers, a producer and three faults, with the order that takes go by.
//!
//! The steps are those of [`take`](super::take): list the items, list the claims, read the item, claim it in a transaction that fails
//! where somebody was faster, acknowledge; or list both again with watches, and sleep. A fault is: a session expires, a
//! consumer gives the item back or dies, the answer to a claim is lost (carried out or not), somebody deletes a claim without its
//! owner knowing. Checked: an item has one claim; and where nobody can take another step everything that was put was
//! acknowledged, so no wake-up is ever missed and no item stuck.

use std::collections::HashSet;

use super::order;

const ITEMS: usize = 2;
/// The number of the first item: the counter wraps among them.
const FIRST: i32 = i32::MAX;

/// One bit for each item.
type Mask = u8;

/// What a consumer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// Lists the items.
    Looking,
    /// Lists the claims, after these items.
    Listed(Mask),
    /// Reads this item.
    Found(usize),
    /// Claims this item as of this version.
    Claiming(usize, u8),
    /// Looks whether its claim was carried out.
    Unsure(usize, IsThere),
    /// Acknowledges.
    Holding(usize, IsThere),
    /// Lists the items with a watch, because there was none to be had.
    Idle,
    /// Lists the claims with a watch; whether the first watch has fired by now.
    Watching(Mask, bool),
    /// Waits for a watch: for that on the items only, if there were none.
    Asleep {
        none: bool,
    },
    Dead,
}

/// Whether the claim exists.
type IsThere = bool;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    NotYet,
    /// With its version, which every claim raises.
    There(u8),
    Acknowledged,
}

/// Consumers are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    consumers: Vec<At>,
    items: [Item; ITEMS],
    faults: u8,
}

fn name(item: usize) -> String {
    let number = FIRST.wrapping_add(i32::try_from(item).unwrap());
    format!("{}{number:010}", order::prefix(7))
}

fn names(mask: Mask) -> Vec<String> {
    let there = |item: &usize| mask & (1 << item) != 0;
    (0..ITEMS).filter(there).map(name).collect()
}

/// The first item to be had.
fn first(entries: Mask, taken: Mask) -> Option<usize> {
    let (entries, taken) = (names(entries), names(taken));
    let first = order::available(&entries, &taken).first().copied()?;
    (0..ITEMS).find(|item| name(*item) == first)
}

impl World {
    fn entries(&self) -> Mask {
        let bit = |item: usize| Mask::from(matches!(self.items[item], Item::There(_))) << item;
        (0..ITEMS).map(bit).sum()
    }

    fn taken(&self) -> Mask {
        let mut taken = 0;
        for at in &self.consumers {
            if let At::Unsure(item, true) | At::Holding(item, true) = at {
                assert_eq!(taken & (1 << item), 0, "two claims: {self:?}");
                taken |= 1 << item;
            }
        }
        taken
    }

    fn entries_change(&mut self) {
        for at in &mut self.consumers {
            match at {
                At::Watching(_, fired) => *fired = true,
                At::Asleep { .. } => *at = At::Looking,
                _ => {}
            }
        }
    }

    fn taken_change(&mut self) {
        for at in &mut self.consumers {
            if let At::Asleep { none: false } = at {
                *at = At::Looking;
            }
        }
    }

    /// The same with this consumer elsewhere; its claim, if it has one there no more, is gone.
    fn with(&self, consumer: usize, at: At) -> Self {
        let mut next = self.clone();
        next.consumers[consumer] = at;
        if next.taken() != self.taken() {
            next.taken_change();
        }
        next
    }

    fn put(&self) -> Option<Self> {
        let item = self.items.iter().position(|item| *item == Item::NotYet)?;
        let mut next = self.clone();
        next.items[item] = Item::There(0);
        next.entries_change();
        Some(next)
    }

    fn step(&self, consumer: usize) -> Option<Self> {
        let to = |at| Some(self.with(consumer, at));
        match self.consumers[consumer] {
            At::Dead | At::Asleep { .. } => None,
            At::Looking => to(At::Listed(self.entries())),
            At::Listed(entries) => to(first(entries, self.taken()).map_or(At::Idle, At::Found)),
            At::Found(item) => match self.items[item] {
                Item::There(version) => to(At::Claiming(item, version)),
                _ => to(At::Looking),
            },
            At::Claiming(item, version) => Some(
                self.claimed(consumer, item, version)
                    .unwrap_or_else(|| self.with(consumer, At::Looking)),
            ),
            At::Unsure(item, true) => to(At::Holding(item, true)),
            At::Unsure(_, false) | At::Holding(_, false) => to(At::Looking),
            At::Holding(item, true) => {
                let mut next = self.with(consumer, At::Looking);
                next.items[item] = Item::Acknowledged;
                next.entries_change();
                Some(next)
            }
            At::Idle => to(At::Watching(self.entries(), false)),
            At::Watching(_, true) => to(At::Looking),
            At::Watching(entries, false) if first(entries, self.taken()).is_some() => {
                to(At::Looking)
            }
            At::Watching(entries, false) => to(At::Asleep { none: entries == 0 }),
        }
    }

    /// The transaction; `None` where it fails.
    fn claimed(&self, consumer: usize, item: usize, version: u8) -> Option<Self> {
        if self.taken() & (1 << item) != 0 || self.items[item] != Item::There(version) {
            return None;
        }
        let mut next = self.with(consumer, At::Holding(item, true));
        next.items[item] = Item::There(version + 1);
        Some(next)
    }

    fn hit(&self, consumer: usize) -> Vec<Self> {
        let world = Self {
            faults: self.faults - 1,
            ..self.clone()
        };
        let mut worlds = match world.consumers[consumer] {
            At::Dead => return Vec::new(),
            At::Claiming(item, version) => {
                let not = world.with(consumer, At::Unsure(item, false));
                let done = world.claimed(consumer, item, version);
                let unsure = |done: Self| done.with(consumer, At::Unsure(item, true));
                done.map(unsure).into_iter().chain([not]).collect()
            }
            // Deleted by somebody else.
            At::Holding(item, true) => vec![world.with(consumer, At::Holding(item, false))],
            _ => Vec::new(),
        };
        // Its session expires, or it gives back.
        worlds.push(world.with(consumer, At::Looking));
        if world.consumers.iter().filter(|at| **at != At::Dead).count() > 1 {
            worlds.push(world.with(consumer, At::Dead));
        }
        worlds
    }
}

/// Explores everything; the number of states.
fn explore(consumers: usize) -> usize {
    let start = World {
        consumers: vec![At::Looking; consumers],
        items: [Item::NotYet; ITEMS],
        faults: 3,
    };
    let (mut seen, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        world.consumers.sort_unstable();
        if !seen.insert(world.clone()) {
            continue;
        }
        let all = 0..world.consumers.len();
        let steps = all.clone().filter_map(|consumer| world.step(consumer));
        let steps: Vec<World> = steps.chain(world.put()).collect();
        if steps.is_empty() {
            let done = world.items == [Item::Acknowledged; ITEMS];
            assert!(done, "an item is stuck: {world:?}");
        }
        open.extend(steps);
        if world.faults > 0 {
            open.extend(all.flat_map(|consumer| world.hit(consumer)));
        }
    }
    seen.len()
}

#[test]
fn takes_in_every_interleaving() {
    for consumers in 1..=4 {
        let states = explore(consumers);
        assert!(states > 100, "{states}");
    }
}

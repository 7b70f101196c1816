//! Every interleaving of up to four consumers, a producer and three faults, with the order that takes go by.
//!
//! The steps are those of [`take`](super::take): list the items, the claims and the delayed items; bring one that is due, in a
//! transaction that fails where somebody was faster; read an item, claim it in a transaction that fails likewise,
//! acknowledge; or list all three again with watches, and sleep, until the next is due. A fault is: a session expires, a
//! consumer gives the item back or dies, the answer to a claim or to a bringing is lost (carried out or not), somebody deletes a
//! claim without its owner knowing. A delayed item is due at any time after it was put. Checked: an item has one
//! claim; and where nobody can take another step everything that was put was acknowledged, so no wake-up is
//! ever missed and no item stuck.

use std::{array, collections::HashSet, sync::LazyLock};

use super::order;

/// At most so many consumers.
const MOST: usize = 4;
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
    /// Lists the delayed items; this is the first to be had otherwise.
    Listing(Option<usize>),
    /// Brings this item, which is due.
    Bringing(usize),
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
    /// Lists the delayed items with a watch; whether there were no items at all.
    WatchingDue {
        none: bool,
        fired: bool,
    },
    /// Waits for a watch, but not for that on the claims if there were no items; and until the next one is due.
    Asleep {
        none: bool,
        until_due: bool,
    },
    Dead,
}

/// Whether the claim exists.
type IsThere = bool;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    NotYet,
    /// Whether it is due.
    Delayed(bool),
    /// With its version, which every claim raises.
    There(u8),
    Acknowledged,
}

/// Consumers are interchangeable, so they are sorted; where there are fewer, the others were dead from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    consumers: [At; MOST],
    items: [Item; ITEMS],
    /// Which items are delayed when they are put; without any, nobody looks for them, which halves the steps.
    delayed: Mask,
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

/// The first item to be had: asked for every set of items and claims once, since it is asked for in every state.
fn first(entries: Mask, taken: Mask) -> Option<usize> {
    const SETS: usize = 1 << ITEMS;
    static TABLE: LazyLock<Vec<Option<usize>>> = LazyLock::new(|| {
        let sets = (0..SETS).flat_map(|entries| (0..SETS).map(move |taken| (entries, taken)));
        let mask = |set| Mask::try_from(set).unwrap();
        sets.map(|(entries, taken)| order_first(mask(entries), mask(taken)))
            .collect()
    });
    TABLE[usize::from(entries) * SETS + usize::from(taken)]
}

fn order_first(entries: Mask, taken: Mask) -> Option<usize> {
    let (entries, taken) = (names(entries), names(taken));
    let first = order::available(&entries, &taken).first().copied()?;
    (0..ITEMS).find(|item| name(*item) == first)
}

impl At {
    /// A number of its own, below 128.
    fn code(self) -> u64 {
        let number = |item: usize| item as u64;
        match self {
            Self::Looking => 0,
            Self::Idle => 1,
            Self::Dead => 2,
            Self::Listing(None) => 3,
            Self::Listing(Some(item)) => 4 + number(item),
            Self::Bringing(item) => 6 + number(item),
            Self::Found(item) => 8 + number(item),
            Self::Unsure(item, there) => 10 + 2 * number(item) + u64::from(there),
            Self::Holding(item, there) => 14 + 2 * number(item) + u64::from(there),
            Self::Listed(entries) => 18 + u64::from(entries),
            Self::Watching(entries, fired) => 22 + 2 * u64::from(entries) + u64::from(fired),
            Self::WatchingDue { none, fired } => 30 + 2 * u64::from(none) + u64::from(fired),
            Self::Asleep { none, until_due } => 34 + 2 * u64::from(none) + u64::from(until_due),
            Self::Claiming(item, version) => 64 + 32 * number(item) + u64::from(version),
        }
    }
}

impl Item {
    /// A number of its own, below 64.
    fn code(self) -> u64 {
        match self {
            Self::NotYet => 0,
            Self::Acknowledged => 1,
            Self::Delayed(due) => 2 + u64::from(due),
            Self::There(version) => 32 + u64::from(version),
        }
    }
}

impl World {
    /// What tells it from all others of the same run: hashing this takes a fraction of the time.
    fn code(&self) -> u64 {
        let consumers = self.consumers.iter().map(|at| (at.code(), 128));
        let items = self.items.iter().map(|item| (item.code(), 64));
        let digits = consumers.chain(items).chain([(self.faults.into(), 4)]);
        digits.fold(0, |code, (digit, base)| {
            assert!(digit < base, "{self:?}");
            code * base + digit
        })
    }

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
                At::Watching(_, fired) | At::WatchingDue { fired, .. } => *fired = true,
                At::Asleep { .. } => *at = At::Looking,
                _ => {}
            }
        }
    }

    fn taken_change(&mut self) {
        for at in &mut self.consumers {
            match at {
                At::WatchingDue { none: false, fired } => *fired = true,
                At::Asleep { none: false, .. } => *at = At::Looking,
                _ => {}
            }
        }
    }

    fn delayed_change(&mut self) {
        for at in &mut self.consumers {
            if let At::Asleep { .. } = at {
                *at = At::Looking;
            }
        }
    }

    /// The first that is due, as a consumer's clock shows it, which lags perhaps: then it looks later.
    fn due(&self) -> Option<usize> {
        self.items
            .iter()
            .position(|item| *item == Item::Delayed(true))
    }

    /// An item becomes due.
    fn pass(&self) -> Option<Self> {
        let item = (self.items.iter()).position(|item| *item == Item::Delayed(false))?;
        let mut next = *self;
        next.items[item] = Item::Delayed(true);
        for at in &mut next.consumers {
            if let At::Asleep {
                until_due: true, ..
            } = at
            {
                *at = At::Looking;
            }
        }
        Some(next)
    }

    /// The transaction that makes an item of one that is due; it fails where somebody was faster.
    fn brought(&self, item: usize) -> Self {
        let mut next = *self;
        if let Item::Delayed(_) = self.items[item] {
            next.items[item] = Item::There(0);
            next.entries_change();
            next.delayed_change();
        }
        next
    }

    /// The same with this consumer elsewhere; its claim, if it has one there no more, is gone.
    fn with(&self, consumer: usize, at: At) -> Self {
        let mut next = *self;
        next.consumers[consumer] = at;
        if next.taken() != self.taken() {
            next.taken_change();
        }
        next
    }

    fn put(&self) -> Option<Self> {
        let item = self.items.iter().position(|item| *item == Item::NotYet)?;
        let mut next = *self;
        match self.delayed & (1 << item) {
            0 => {
                next.items[item] = Item::There(0);
                next.entries_change();
            }
            _ => {
                next.items[item] = Item::Delayed(false);
                next.delayed_change();
            }
        }
        Some(next)
    }

    fn step(&self, consumer: usize) -> Option<Self> {
        let to = |at| Some(self.with(consumer, at));
        match self.consumers[consumer] {
            At::Dead | At::Asleep { .. } => None,
            At::Looking => to(At::Listed(self.entries())),
            At::Listed(entries) => {
                let found = first(entries, self.taken());
                to(match self.delayed {
                    0 => found.map_or(At::Idle, At::Found),
                    _ => At::Listing(found),
                })
            }
            At::Listing(found) => match self.due() {
                Some(item) => to(At::Bringing(item)),
                None => to(found.map_or(At::Idle, At::Found)),
            },
            At::Bringing(item) => Some(self.brought(item).with(consumer, At::Looking)),
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
            At::Watching(entries, fired) => {
                let none = entries == 0;
                let nothing = !fired && first(entries, self.taken()).is_none();
                to(match (nothing, self.delayed) {
                    (false, _) => At::Looking,
                    (true, 0) => At::Asleep {
                        none,
                        until_due: false,
                    },
                    (true, _) => At::WatchingDue { none, fired },
                })
            }
            At::WatchingDue { none, fired } => match fired || self.due().is_some() {
                true => to(At::Looking),
                false => {
                    let until_due = self.items.contains(&Item::Delayed(false));
                    to(At::Asleep { none, until_due })
                }
            },
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
            ..*self
        };
        let mut worlds = match world.consumers[consumer] {
            At::Dead => return Vec::new(),
            At::Claiming(item, version) => {
                let not = world.with(consumer, At::Unsure(item, false));
                let done = world.claimed(consumer, item, version);
                let unsure = |done: Self| done.with(consumer, At::Unsure(item, true));
                done.map(unsure).into_iter().chain([not]).collect()
            }
            // Its answer is lost: it is not asked for.
            At::Bringing(item) => vec![world.brought(item).with(consumer, At::Looking)],
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

/// Explores everything, with these items; the number of states.
fn explore(consumers: usize, items: [Item; ITEMS], delayed: Mask) -> usize {
    let start = World {
        consumers: array::from_fn(|place| match place < consumers {
            true => At::Looking,
            false => At::Dead,
        }),
        items,
        delayed,
        faults: 3,
    };
    let (mut seen, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        world.consumers.sort_unstable();
        if !seen.insert(world.code()) {
            continue;
        }
        let all = 0..MOST;
        let steps = all.clone().filter_map(|consumer| world.step(consumer));
        let steps: Vec<World> = steps.chain(world.put()).chain(world.pass()).collect();
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
    for consumers in 1..=MOST {
        let states = explore(consumers, [Item::NotYet; ITEMS], 0);
        assert!(states > 100, "{states}");
    }
}

#[test]
fn takes_of_a_delayed_item_in_every_interleaving() {
    for consumers in 1..=MOST {
        let states = explore(consumers, [Item::NotYet, Item::Acknowledged], 0b01);
        assert!(states > 100, "{states}");
    }
}

#[test]
fn takes_of_an_item_and_a_delayed_one_in_every_interleaving() {
    for consumers in 1..=MOST {
        let states = explore(consumers, [Item::NotYet; ITEMS], 0b10);
        assert!(states > 100, "{states}");
    }
}

//! Every interleaving of up to four that wait, one that sets and removes, and three faults, on servers that lag behind.
//!
//! The steps are those of [`wait`](super::Barrier::wait): sync, look with a watch, return or sleep, and look again. Each of those who
//! wait reads from a server of its own, which has applied a part of what the leader has; a watch is served there. A fault is: the
//! connection is lost and the client goes on at another server, however old, its watch with it or, where a
//! request was on its way, from the beginning; or its session expires. Checked: whoever returns does so after a moment, later than
//! its call, at which the leader had no barrier; and where nobody can take another step all have returned.

use std::collections::HashSet;

use zk_client::Stat;

use super::is_down;

/// What the leader does: set, remove, set again, remove again. Even numbers of changes mean that there is no barrier.
const CHANGES: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// Not called yet.
    Outside,
    Syncing,
    Looking,
    /// With a watch at its server.
    Asleep,
    Returned,
}

/// One who waits, and its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Waiter {
    at: At,
    /// How many changes its server has applied.
    applied: u8,
    /// Whether the leader has had no barrier at some moment since the call.
    was_down: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// Interchangeable, so they are sorted.
    waiters: Vec<Waiter>,
    /// How many changes the leader has made.
    made: u8,
    faults: u8,
}

/// What a look finds after so many changes.
fn is_down_after(changes: u8) -> bool {
    let stat = Stat::default();
    is_down((changes % 2 == 1).then_some(&stat))
}

impl Waiter {
    /// Its server has applied so many changes now: the watch tells of any other number than before.
    fn served_at(&mut self, applied: u8) {
        if self.at == At::Asleep && applied != self.applied {
            self.at = At::Syncing;
        }
        self.applied = applied;
    }

    /// Takes the next step; false while it sleeps or has returned.
    fn step(&mut self, made: u8, syncs: bool) -> bool {
        self.at = match self.at {
            At::Asleep | At::Returned => return false,
            At::Outside => {
                self.was_down = is_down_after(made);
                At::Syncing
            }
            At::Syncing => {
                if syncs {
                    self.applied = made;
                }
                At::Looking
            }
            At::Looking if is_down_after(self.applied) => At::Returned,
            At::Looking => At::Asleep,
        };
        true
    }
}

impl World {
    fn with(&self, waiter: usize, change: impl FnOnce(&mut Waiter)) -> Self {
        let mut next = self.clone();
        change(&mut next.waiters[waiter]);
        next
    }

    fn step(&self, waiter: usize, syncs: bool) -> Option<Self> {
        let mut steps = false;
        let next = self.with(waiter, |waiter| steps = waiter.step(self.made, syncs));
        steps.then_some(next)
    }

    /// Its server applies one more.
    fn applies(&self, waiter: usize) -> Option<Self> {
        let Waiter { at, applied, .. } = self.waiters[waiter];
        let lags = applied < self.made && at != At::Returned;
        lags.then(|| self.with(waiter, |waiter| waiter.served_at(applied + 1)))
    }

    fn change(&self) -> Option<Self> {
        if self.made == CHANGES {
            return None;
        }
        let mut next = self.clone();
        next.made += 1;
        for waiter in &mut next.waiters {
            let is_in = !matches!(waiter.at, At::Outside | At::Returned);
            waiter.was_down |= is_in && is_down_after(next.made);
        }
        Some(next)
    }

    /// Every other server that it may find itself at.
    fn hit(&self, waiter: usize) -> Vec<Self> {
        let world = Self {
            faults: self.faults - 1,
            ..self.clone()
        };
        if matches!(world.waiters[waiter].at, At::Outside | At::Returned) {
            return Vec::new();
        }
        let elsewhere = |applied| {
            world.with(waiter, |waiter| {
                waiter.served_at(applied);
                // A request that was on its way is repeated.
                if waiter.at == At::Looking {
                    waiter.at = At::Syncing;
                }
            })
        };
        // A session that expires ends its watches with an event: everything from the beginning.
        let expired = world.with(waiter, |waiter| waiter.at = At::Syncing);
        (0..=world.made).map(elsewhere).chain([expired]).collect()
    }
}

/// Explores everything; the number of states, or one in which somebody was early or sleeps for ever.
fn explore(waiters: usize, syncs: bool) -> Result<usize, World> {
    let waiter = Waiter {
        at: At::Outside,
        applied: 0,
        was_down: false,
    };
    let start = World {
        waiters: vec![waiter; waiters],
        made: 0,
        faults: 3,
    };
    let (mut known, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        for waiter in &mut world.waiters {
            if waiter.at == At::Returned && waiter.was_down {
                // It does not matter any more at which server.
                waiter.applied = 0;
            }
        }
        world.waiters.sort_unstable();
        if !known.insert(world.clone()) {
            continue;
        }
        let all = 0..world.waiters.len();
        let steps = all.clone().filter_map(|waiter| world.step(waiter, syncs));
        let applies = all.clone().filter_map(|waiter| world.applies(waiter));
        let steps: Vec<World> = steps.chain(applies).chain(world.change()).collect();
        let has_returned = |waiter: &Waiter| waiter.at == At::Returned;
        let is_early = |waiter: &Waiter| has_returned(waiter) && !waiter.was_down;
        let is_stuck = steps.is_empty() && !world.waiters.iter().all(has_returned);
        if is_stuck || world.waiters.iter().any(is_early) {
            return Err(world);
        }
        open.extend(steps);
        if world.faults > 0 {
            open.extend(all.flat_map(|waiter| world.hit(waiter)));
        }
    }
    Ok(known.len())
}

#[test]
fn nobody_is_early_and_nobody_sleeps_on_in_any_interleaving() {
    for waiters in 1..=4 {
        let states = explore(waiters, true).unwrap();
        assert!(states > 100, "{states}");
    }
}

#[test]
fn without_the_sync_somebody_is_early() {
    assert!(explore(1, false).is_err());
}

//! Every interleaving of up to four latches and three faults, with the decisions of the queue and of the latch.
//!
//! The steps are those of a latch: create a node, look, watch the one before, be handed the guard, lead, wait until the node
//! of a leadership that was lost is gone, and begin again; or close. A fault is: the session expires (its node goes some time after that; a
//! leader has given up before, by its deadline), on the way of the guard or later; the proof of life comes too late although the session lives;
//! somebody deletes the node; the server refuses, for a time or for good. Checked in every state: one leads at most, whose node is the
//! oldest there is, so that epochs grow. Checked where nobody can take another step but close: somebody leads, unless nobody is
//! left; and where all have closed, no node is.

use std::collections::HashSet;

use super::decision::{Next, Told, next};
use crate::{
    contender::{LockLayout, Naming, Role},
    queue_order::{Turn, turn},
};

/// The number of the first node: the counter wraps among the nodes.
const FIRST: i32 = i32::MAX - 1;

/// A node by its place among those that exist.
type Place = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// About to create a node.
    Out,
    /// About to look.
    Queued,
    /// With a watch on the one before.
    Watching,
    /// The guard is on its way.
    Granted,
    Leading,
    /// What was lost leaves a node that its keeper deletes.
    Settling,
    /// The same, for good.
    Closing,
    Closed,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Latch {
    at: At,
    was_queued: bool,
    /// Its node, and one of an expired session.
    place: Option<Place>,
    stale: Option<Place>,
    watches: Option<Place>,
}

/// The latches are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    latches: Vec<Latch>,
    nodes: Place,
    faults: u8,
}

impl World {
    fn with(&self, who: usize, change: impl FnOnce(&mut Latch)) -> Self {
        let mut next = self.clone();
        change(&mut next.latches[who]);
        next
    }

    fn to(&self, who: usize, at: At) -> Self {
        self.with(who, |latch| latch.at = at)
    }

    /// A node goes, and those after it move up; whoever watches it is told.
    fn remove(&self, gone: Place) -> Self {
        let mut next = self.clone();
        let moved = |place: Place| match place {
            place if place == gone => None,
            place if place > gone => Some(place - 1),
            place => Some(place),
        };
        for latch in &mut next.latches {
            if latch.watches == Some(gone) {
                latch.at = At::Queued;
            }
            for place in [&mut latch.place, &mut latch.stale, &mut latch.watches] {
                *place = place.and_then(moved);
            }
        }
        next.nodes -= 1;
        next
    }

    /// What this latch can do next, without being closed.
    fn step(&self, who: usize, names: &[String]) -> Option<Self> {
        let latch = self.latches[who];
        Some(match (latch.at, latch.place) {
            (At::Out, _) => {
                let mut world = self.with(who, |latch| {
                    (latch.at, latch.place) = (At::Queued, Some(self.nodes));
                });
                world.nodes += 1;
                world
            }
            (At::Queued, place) => self.decide(who, place, names),
            // Its own node is watched, too.
            (At::Watching, None) => self.with(who, |latch| {
                (latch.at, latch.watches) = (At::Queued, None);
            }),
            (At::Granted, place) => {
                let is_certain = place.is_some();
                self.told(who, Told::Granted { is_certain })
            }
            (At::Settling | At::Closing, Some(place)) => self.remove(place),
            _ => return None,
        })
    }

    fn told(&self, who: usize, told: Told) -> Self {
        let at = match next(told, self.latches[who].was_queued) {
            Next::Lead => At::Leading,
            Next::Contend | Next::Pause => At::Settling,
            Next::Stop => At::Failed,
        };
        self.to(who, at)
    }

    /// The decision of the queue: from the children and the own name.
    fn decide(&self, who: usize, place: Option<Place>, names: &[String]) -> Self {
        let children = &names[..self.nodes];
        let me = place.map_or("gone", |place| &*children[place]);
        let contenders = naming().contenders(children, me).unwrap();
        let turn = turn(&contenders, me);
        self.with(who, |latch| {
            latch.was_queued |= turn != Turn::Lost;
            (latch.at, latch.watches) = match turn {
                Turn::Holder => (At::Granted, None),
                Turn::Lost => (At::Out, None),
                Turn::WatchPredecessor(name) => {
                    let before = children.iter().position(|child| child == name);
                    (At::Watching, before)
                }
            };
        })
    }

    fn close(&self, who: usize) -> Option<Self> {
        let closes = |latch: &mut Latch| (latch.at, latch.watches) = (At::Closing, None);
        match self.latches[who].at {
            At::Closing | At::Closed | At::Failed => None,
            _ => Some(self.with(who, closes)),
        }
    }

    /// What can befall this latch.
    fn hit(&self, who: usize) -> Vec<Self> {
        let mut world = self.clone();
        world.faults -= 1;
        let latch = world.latches[who];
        let mut worlds = Vec::new();
        if latch.stale.is_none() {
            worlds.extend(world.expired(who));
        }
        if let Some(place) = latch.place {
            let deleted = world.remove(place);
            worlds.push(match latch.at {
                At::Leading => deleted.to(who, At::Settling),
                _ => deleted,
            });
        }
        match latch.at {
            At::Granted => {
                let late = Told::Granted { is_certain: false };
                worlds.push(world.told(who, late));
            }
            At::Leading => worlds.push(world.to(who, At::Settling)),
            At::Out => {
                let refused = |may_pass| world.told(who, Told::Refused { may_pass });
                worlds.extend([refused(true), refused(false)]);
            }
            _ => {}
        }
        worlds
    }

    fn expired(&self, who: usize) -> Option<Self> {
        let latch = self.latches[who];
        let at = match latch.at {
            At::Closed | At::Failed | At::Out => return None,
            At::Closing => At::Closing,
            At::Granted | At::Leading | At::Settling => At::Settling,
            At::Queued | At::Watching => At::Out,
        };
        Some(self.with(who, |latch| {
            (latch.at, latch.watches) = (at, None);
            latch.stale = latch.place.take();
        }))
    }

    fn assert_one(&self) {
        let leads = |latch: &&Latch| latch.at == At::Leading;
        let leaders: Vec<_> = self.latches.iter().filter(leads).collect();
        assert!(leaders.len() <= 1, "at once: {self:?}");
        let is_oldest = leaders.iter().all(|leader| leader.place == Some(0));
        assert!(is_oldest, "an epoch of the past: {self:?}");
    }

    /// Nobody takes another step, unless it is closed.
    fn assert_rest(&self) {
        let is = |at: At| move |latch: &Latch| latch.at == at;
        let over = |latch: &Latch| matches!(latch.at, At::Closed | At::Failed);
        let led = self.latches.iter().any(is(At::Leading));
        assert!(
            led || self.latches.iter().all(over),
            "nobody leads: {self:?}"
        );
        assert!(led || self.nodes == 0, "a node is left: {self:?}");
    }
}

impl Latch {
    /// Takes the steps that nobody sees, and forgets what does not matter any more.
    fn settle(&mut self) {
        self.at = match (self.at, self.place) {
            (At::Settling, None) => At::Out,
            (At::Closing, None) => At::Closed,
            (at, _) => at,
        };
        self.was_queued &= !matches!(self.at, At::Closing | At::Closed | At::Failed);
    }
}

const fn naming() -> Naming {
    Naming::new(Role::Leader, LockLayout::Curator)
}

/// The name of the node at this place. Identifiers are random: here they run against the order of the queue.
fn name(place: Place) -> String {
    let number = FIRST.wrapping_add(i32::try_from(place).unwrap());
    format!("{}{number:010}", naming().name(&format!("{}", 9 - place)))
}

fn explore(latches: usize) -> usize {
    // Each has one node, and perhaps one of an expired session.
    let names: Vec<_> = (0..latches * 2).map(name).collect();
    let latch = Latch {
        at: At::Out,
        was_queued: false,
        place: None,
        stale: None,
        watches: None,
    };
    let start = World {
        latches: vec![latch; latches],
        nodes: 0,
        faults: 3,
    };
    let (mut known, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        world.latches.iter_mut().for_each(Latch::settle);
        world.latches.sort_unstable();
        if !known.insert(world.clone()) {
            continue;
        }
        world.assert_one();
        let all = 0..latches;
        let reaped = |who: usize| world.latches[who].stale.map(|place| world.remove(place));
        let mut steps: Vec<_> = all
            .clone()
            .filter_map(|who| world.step(who, &names))
            .collect();
        steps.extend(all.clone().filter_map(reaped));
        if steps.is_empty() {
            world.assert_rest();
        }
        open.extend(steps);
        open.extend(all.clone().filter_map(|who| world.close(who)));
        if world.faults > 0 {
            open.extend(all.flat_map(|who| world.hit(who)));
        }
    }
    known.len()
}

#[test]
fn there_is_one_leader_and_in_the_end_there_is_one_in_every_interleaving() {
    let states: Vec<_> = (1..=4).map(explore).collect();
    assert!(states[3] > 10_000, "{states:?}");
}

/// A refusal that may pass never ends a candidature that had begun.
#[test]
fn only_what_does_not_pass_ends_a_candidature() {
    let refused = |may_pass, was_queued| next(Told::Refused { may_pass }, was_queued);
    assert_eq!(refused(true, true), Next::Pause);
    assert_eq!(refused(true, false), Next::Stop);
    assert_eq!(refused(false, true), Next::Stop);
    assert_eq!(next(Told::Gone, true), Next::Stop);
}

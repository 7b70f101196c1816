//! Every interleaving of up to four contenders and three faults, with the decision that the recipes use.
//!
//! The contenders' steps are those of [`queue`](super::queue): create, look, decide, watch, hold, delete. A fault is: a
//! session expires (its node goes; a holder has given up before that, by its deadline), somebody deletes a node without its owner knowing,
//! the answer to a create is lost, a watch is lost with its connection. Checked in every state: nobody holds beside whom
//! it excludes. Checked in every state in which nobody can take another step: everybody has had a turn, so no
//! wake-up is ever missed. A writer that holds may become a reader, whose node is the only one that is not the newest
//! when it is created.

use std::collections::HashSet;

use super::{LockLayout, Naming, Role};
use crate::queue_order::{Turn, turn};

/// The number of the first node: the counter wraps among the nodes.
const FIRST: i32 = i32::MAX - 1;

/// A node by its place among those that exist, or one that is gone.
type Place = u8;
const GONE: Place = Place::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    /// Has no node, and wants one.
    Out,
    /// May have a node: the answer to its create was lost.
    Unsure(Place),
    /// Has a node, as far as it knows, and looks next.
    Queued(Place),
    /// Has decided to watch another node, and does so next.
    Decided(Place, Place),
    /// Waits for another node to go.
    Watching(Place, Place),
    Holding(Place),
    Done,
}

/// Contenders of the same role are interchangeable, so their stages are sorted; only the order of nodes matters, so they are numbered
/// from zero. Each node that exists is the own node of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    readers: Vec<Stage>,
    others: Vec<Stage>,
    nodes: Place,
    faults: u8,
}

struct Model {
    /// The role of those that are no readers.
    role: Role,
    layout: LockLayout,
}

impl Model {
    /// Explores everything; the number of states.
    fn explore(&self, readers: usize, others: usize) -> usize {
        let start = World {
            readers: vec![Stage::Out; readers],
            others: vec![Stage::Out; others],
            nodes: 0,
            faults: 3,
        };
        let (mut seen, mut open) = (HashSet::new(), vec![start]);
        while let Some(mut world) = open.pop() {
            world.readers.sort_unstable();
            world.others.sort_unstable();
            if !seen.insert(world.clone()) {
                continue;
            }
            world.assert_exclusion();
            let step = |who| self.step(&world, who).into_iter();
            let downgrade = |who| self.downgrade(&world, who);
            let steps: Vec<World> = world
                .everybody()
                .flat_map(|who| step(who).chain(downgrade(who)))
                .collect();
            if steps.is_empty() {
                let done = world.everybody().all(|who| world.stage(who) == Stage::Done);
                assert!(done, "a wake-up is missed: {world:?}");
                assert_eq!(world.nodes, 0, "a node is left: {world:?}");
            }
            open.extend(steps);
            if world.faults > 0 {
                open.extend(world.everybody().flat_map(|who| world.hit(who)));
            }
        }
        seen.len()
    }

    /// What this contender can do next.
    fn step(&self, world: &World, who: Who) -> Option<World> {
        let mut next = world.clone();
        let stage = match world.stage(who) {
            Stage::Done => return None,
            Stage::Out => Stage::Queued(next.create()),
            // The look after a lost answer: found, or nothing came of it.
            Stage::Unsure(GONE) => Stage::Out,
            Stage::Unsure(mine) => Stage::Queued(mine),
            Stage::Queued(mine) => self.decide(world, who, mine),
            Stage::Decided(mine, GONE) => Stage::Queued(mine),
            Stage::Decided(mine, other) => Stage::Watching(mine, other),
            // Its own node is watched, too.
            Stage::Watching(mine, GONE) => Stage::Queued(mine),
            Stage::Watching(GONE, _) => Stage::Queued(GONE),
            Stage::Watching(..) => return None,
            // It is told of the loss, and tries again.
            Stage::Holding(GONE) => Stage::Out,
            Stage::Holding(mine) => {
                next.remove(mine);
                Stage::Done
            }
        };
        *next.stage_mut(who) = stage;
        Some(next)
    }

    /// A writer becomes a reader in one transaction: with another node of the same number, in its place.
    fn downgrade(&self, world: &World, who: Who) -> Option<World> {
        let (Role::Write, Who::Other(writer), Stage::Holding(mine)) =
            (self.role, who, world.stage(who))
        else {
            return None;
        };
        if mine == GONE {
            return None;
        }
        let mut next = world.clone();
        next.others.remove(writer);
        for stage in next.readers.iter_mut().chain(&mut next.others) {
            // To those who watch the writer's node, it is gone.
            match stage {
                Stage::Decided(_, other) | Stage::Watching(_, other) if *other == mine => {
                    *other = GONE;
                }
                _ => {}
            }
        }
        next.readers.push(Stage::Holding(mine));
        Some(next)
    }

    /// The decision itself: from the children and the own name.
    fn decide(&self, world: &World, who: Who, mine: Place) -> Stage {
        let mut children = vec![String::new(); usize::from(world.nodes)];
        for other in world.everybody() {
            if let Some(place) = world.own(other) {
                children[usize::from(place)] = self.name(other, place);
            }
        }
        let me = match mine {
            GONE => "gone".to_owned(),
            mine => children[usize::from(mine)].clone(),
        };
        let naming = Naming::new(self.role(who), self.layout);
        let contenders = naming.contenders(&children, &me).unwrap();
        match turn(&contenders, &me) {
            Turn::Holder => Stage::Holding(mine),
            Turn::Lost => Stage::Out,
            Turn::WatchPredecessor(name) => {
                let place = children.iter().position(|child| child == name).unwrap();
                Stage::Decided(mine, Place::try_from(place).unwrap())
            }
        }
    }

    const fn role(&self, who: Who) -> Role {
        match who {
            Who::Reader(_) => Role::Read,
            Who::Other(_) => self.role,
        }
    }

    /// Identifiers are random: here they run against the order of the queue.
    fn name(&self, who: Who, place: Place) -> String {
        let prefix = Naming::new(self.role(who), self.layout).name(&format!("{}", 9 - place));
        format!("{prefix}{:010}", FIRST.wrapping_add(i32::from(place)))
    }
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Reader(usize),
    Other(usize),
}

impl World {
    fn everybody(&self) -> impl Iterator<Item = Who> + use<> {
        let others = (0..self.others.len()).map(Who::Other);
        (0..self.readers.len()).map(Who::Reader).chain(others)
    }

    fn stage(&self, who: Who) -> Stage {
        match who {
            Who::Reader(place) => self.readers[place],
            Who::Other(place) => self.others[place],
        }
    }

    fn stage_mut(&mut self, who: Who) -> &mut Stage {
        match who {
            Who::Reader(place) => &mut self.readers[place],
            Who::Other(place) => &mut self.others[place],
        }
    }

    /// The node that this contender owns and that exists.
    fn own(&self, who: Who) -> Option<Place> {
        match self.stage(who) {
            Stage::Out | Stage::Done => None,
            Stage::Unsure(mine)
            | Stage::Queued(mine)
            | Stage::Decided(mine, _)
            | Stage::Watching(mine, _)
            | Stage::Holding(mine) => (mine != GONE).then_some(mine),
        }
    }

    fn create(&mut self) -> Place {
        self.nodes += 1;
        self.nodes - 1
    }

    /// A node goes, and those after it move up.
    fn remove(&mut self, gone: Place) {
        let moved = |place: Place| match place {
            GONE => GONE,
            place if place == gone => GONE,
            place if place > gone => place - 1,
            place => place,
        };
        for stage in self.readers.iter_mut().chain(&mut self.others) {
            *stage = match *stage {
                Stage::Unsure(mine) => Stage::Unsure(moved(mine)),
                Stage::Queued(mine) => Stage::Queued(moved(mine)),
                Stage::Decided(mine, other) => Stage::Decided(moved(mine), moved(other)),
                Stage::Watching(mine, other) => Stage::Watching(moved(mine), moved(other)),
                Stage::Holding(mine) => Stage::Holding(moved(mine)),
                stage => stage,
            };
        }
        self.nodes -= 1;
    }

    /// A holder whose node somebody deleted behind its back holds nothing: that is outside what is promised.
    fn assert_exclusion(&self) {
        let holds = |stage: &&Stage| matches!(stage, Stage::Holding(mine) if *mine != GONE);
        let readers = self.readers.iter().filter(holds).count();
        let others = self.others.iter().filter(holds).count();
        assert!(others == 0 || others + readers == 1, "at once: {self:?}");
    }

    /// What can go wrong for this contender.
    fn hit(&self, who: Who) -> Vec<Self> {
        let world = Self {
            faults: self.faults - 1,
            ..self.clone()
        };
        let mut worlds = Vec::new();
        if let Some(own) = world.own(who) {
            let mut deleted = world.clone();
            deleted.remove(own);
            let mut expired = deleted.clone();
            *expired.stage_mut(who) = Stage::Out;
            worlds.extend([deleted, expired]);
        }
        match world.stage(who) {
            Stage::Out => {
                let mut carried_out = world.clone();
                *carried_out.stage_mut(who) = Stage::Unsure(world.nodes);
                carried_out.nodes += 1;
                let mut lost = world;
                *lost.stage_mut(who) = Stage::Unsure(GONE);
                worlds.extend([carried_out, lost]);
            }
            Stage::Watching(mine, _) => {
                let mut reconnected = world;
                *reconnected.stage_mut(who) = Stage::Queued(mine);
                worlds.push(reconnected);
            }
            _ => {}
        }
        worlds
    }
}

#[test]
fn mutexes_and_leaders_in_every_interleaving() {
    for (role, layout) in [
        (Role::Mutex, LockLayout::Curator),
        (Role::Mutex, LockLayout::Kazoo),
        (Role::Leader, LockLayout::Curator),
        (Role::Leader, LockLayout::Kazoo),
    ] {
        let states = Model { role, layout }.explore(0, 4);
        assert!(states > 1_000, "{states}");
    }
}

#[test]
fn readers_and_writers_in_every_interleaving() {
    let role = Role::Write;
    for layout in [LockLayout::Curator, LockLayout::Kazoo] {
        for writers in 0..=4 {
            let states = Model { role, layout }.explore(4 - writers, writers);
            assert!(states > 1_000, "{states}");
        }
    }
}

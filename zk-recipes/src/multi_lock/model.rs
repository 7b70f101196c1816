//! Every interleaving of up to four multi-locks of overlapping paths and three faults.
//!
//! The steps are those of [`attempt`](super::MultiLock::attempt): queue for one lock after the other in the order that the recipe makes of the
//! paths, hold all of them, give them back, the last one first. What is given back otherwise goes by itself, in any order. A fault is:
//! the session expires; somebody deletes one of the nodes; whoever waits gives up. Checked in every state: whoever holds has the first node in each of
//! its queues. Checked where nobody can take another step: everybody is done, so there is no deadlock, and no node is left.

use std::{collections::HashSet, sync::Arc};

use super::in_order;

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// Whose nodes are in the queues: a contender's, and whether it goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    who: usize,
    leaves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// Has so many of its locks; whether it is in the queue for the next one.
    Acquiring(usize, bool),
    Holding,
    /// Has so many left to give back.
    Releasing(usize),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    members: Vec<At>,
    queues: [Vec<Node>; PATHS.len()],
    faults: u8,
}

struct Model {
    /// Which paths they want, in the order in which they lock them.
    wishes: Vec<Vec<usize>>,
    /// Which of them does not wait.
    tries: Option<usize>,
}

impl Model {
    fn new(wishes: &[&[usize]], tries: Option<usize>) -> Self {
        let place = |path: &Arc<str>| PATHS.iter().position(|known| *known == &**path);
        let order = |wish: &&[usize]| {
            let paths = in_order(wish.iter().map(|path| PATHS[*path]));
            paths.iter().filter_map(place).collect()
        };
        Self {
            wishes: wishes.iter().map(order).collect(),
            tries,
        }
    }

    /// What this member can do next.
    fn step(&self, world: &World, who: usize) -> Option<World> {
        let mut next = world.clone();
        let wish = &self.wishes[who];
        let is_mine = |node: &Node| node.who == who && !node.leaves;
        next.members[who] = match world.members[who] {
            At::Acquiring(held, _) if held == wish.len() => At::Holding,
            At::Acquiring(held, false) => {
                let leaves = false;
                next.queues[wish[held]].push(Node { who, leaves });
                At::Acquiring(held, true)
            }
            // The newest of its nodes is the one that it queues with.
            At::Acquiring(held, true) => match world.queues[wish[held]].iter().rposition(is_mine) {
                Some(0) => At::Acquiring(held + 1, false),
                _ if self.tries == Some(who) => {
                    next.gives_back(who);
                    At::Done
                }
                _ => return None,
            },
            At::Holding => At::Releasing(wish.len()),
            At::Releasing(0) => At::Done,
            At::Releasing(left) => {
                next.queues[wish[left - 1]].retain(|node| node.who != who || node.leaves);
                At::Releasing(left - 1)
            }
            At::Done => return None,
        };
        Some(next)
    }

    /// What can befall this member.
    fn hit(&self, world: &World, who: usize) -> Vec<World> {
        let mut world = world.clone();
        world.faults -= 1;
        let at = world.members[who];
        if at == At::Done {
            return vec![];
        }
        let is_mine = |node: &Node| node.who == who && !node.leaves;
        let mut expired = world.clone();
        for queue in &mut expired.queues {
            queue.retain(|node| node.who != who);
        }
        let again = match at {
            At::Acquiring(..) => At::Acquiring(0, false),
            _ => At::Done,
        };
        expired.members[who] = again;
        let mut worlds = vec![expired];
        for (path, queue) in world.queues.iter().enumerate() {
            let Some(place) = queue.iter().position(is_mine) else {
                continue;
            };
            let mut deleted = world.clone();
            deleted.queues[path].remove(place);
            deleted.members[who] = match at {
                // That of the lock it waits for: it queues again.
                At::Acquiring(held, true) if self.wishes[who][held] == path => {
                    At::Acquiring(held, false)
                }
                At::Releasing(left) => At::Releasing(left),
                // What is lost ends the whole.
                _ => {
                    deleted.gives_back(who);
                    again
                }
            };
            worlds.push(deleted);
        }
        let mut given_up = world;
        given_up.gives_back(who);
        given_up.members[who] = At::Done;
        worlds.push(given_up);
        worlds
    }

    fn assert_held(&self, world: &World) {
        for (who, wish) in self.wishes.iter().enumerate() {
            let is_first = |path: &usize| {
                let first = world.queues[*path].first();
                first.is_some_and(|node| node.who == who && !node.leaves)
            };
            let holds = world.members[who] == At::Holding;
            assert!(!holds || wish.iter().all(is_first), "not alone: {world:?}");
        }
    }

    /// Explores everything; the number of states.
    fn explore(&self) -> usize {
        let members = self.wishes.len();
        let start = World {
            members: vec![At::Acquiring(0, false); members],
            queues: [const { Vec::new() }; PATHS.len()],
            faults: 3,
        };
        let (mut known, mut open) = (HashSet::new(), vec![start]);
        while let Some(world) = open.pop() {
            if !known.insert(world.clone()) {
                continue;
            }
            self.assert_held(&world);
            let all = 0..members;
            let mut steps: Vec<_> = all
                .clone()
                .filter_map(|who| self.step(&world, who))
                .collect();
            steps.extend(world.left());
            if steps.is_empty() {
                let done = world.members.iter().all(|at| *at == At::Done);
                assert!(done, "a deadlock: {world:?}");
                let empty = world.queues.iter().all(Vec::is_empty);
                assert!(empty, "a node is left: {world:?}");
            }
            open.extend(steps);
            if world.faults > 0 {
                open.extend(all.flat_map(|who| self.hit(&world, who)));
            }
        }
        known.len()
    }
}

impl World {
    /// Everything that it has goes by itself from now on.
    fn gives_back(&mut self, who: usize) {
        for node in self.queues.iter_mut().flatten() {
            node.leaves |= node.who == who;
        }
    }

    /// Each world in which one of the nodes that go by themselves has gone.
    fn left(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        for (path, queue) in self.queues.iter().enumerate() {
            for place in (0..queue.len()).filter(|place| queue[*place].leaves) {
                let mut next = self.clone();
                next.queues[path].remove(place);
                worlds.push(next);
            }
        }
        worlds
    }
}

#[test]
fn multi_locks_never_deadlock_and_leave_nothing_in_any_interleaving() {
    let mut states = 0;
    for wishes in [
        &[&[0, 1][..], &[1, 0]][..],
        &[&[0, 1], &[1, 2], &[2, 0]],
        &[&[0, 1], &[1, 0], &[1, 1], &[0]],
    ] {
        states += Model::new(wishes, None).explore();
        states += Model::new(wishes, Some(0)).explore();
    }
    assert!(states > 50_000, "{states}");
}

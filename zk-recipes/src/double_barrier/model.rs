//! Every order in which members of a double barrier can do what they do, walked through.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::round::{Enter, Leave, enter, leave, name};

/// At most so many members, and rounds.
const MOST: usize = 4;

/// Members' nodes, one bit each; in the upper half those of sessions of which their members were told that they ended.
type Set = u8;
/// The lowest bit of the upper half.
const REMAINS: usize = 4;

/// One member in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Outside,
    /// It has read the number, and is about to create its node.
    Joining(u8),
    /// Its node is there, and it is about to look; the round.
    Waiting(u8),
    /// It has read the number, with a watch, and is about to read the members; the round and the number.
    Judging(u8, u8),
    /// It waits for another number than the one it read, or for its node to go.
    Asleep(u8, u8),
    /// It decided to open with these, and the transaction is on its way.
    Opening(u8, Set),
    Inside(u8),
    /// Wants to leave; whether its node is gone.
    Leaving(u8),
    Dead,
}

/// Everything there is: where the members are, the nodes, the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    members: [At; MOST],
    /// Whose nodes are there, of each round.
    nodes: [Set; MOST],
    present: u8,
    /// Who was at the barrier when a round was opened; nobody where none was.
    opened: [Set; MOST],
    /// How many more members may die, expire or give up.
    faults: u8,
}

/// A walk through every order of steps of some members, of whom some die, expire or give up, through some rounds.
struct Walk {
    count: usize,
    rounds: u8,
    /// Whether members delete what is left of earlier sessions before they come again.
    sweeps: bool,
    names: RefCell<HashMap<[Set; MOST], Rc<Vec<String>>>>,
    /// The name of each member's node in each round.
    own: Vec<Vec<String>>,
}

/// The name of one of a set's nodes.
fn name_of(round: u8, count: usize, member: usize) -> String {
    let guid = format!("0191b1c8-5d3f-4c0e-9d3a-3f1f5a2b4c6{member:x}");
    name(u64::from(round), count, &guid)
}

impl World {
    fn has(&self, round: u8, m: usize) -> bool {
        self.nodes[usize::from(round)] & 1 << m != 0
    }

    fn with(mut self, m: usize, at: At) -> Self {
        self.members[m] = at;
        self
    }

    fn without_node(mut self, m: usize) -> Self {
        for nodes in &mut self.nodes {
            *nodes &= !(1 << m);
        }
        self
    }

    /// Its session ends, it was told, but the leader that said so is deposed: the node stays for a while.
    fn outlived(mut self, m: usize) -> Self {
        for nodes in &mut self.nodes {
            *nodes |= (*nodes & 1 << m) << REMAINS;
        }
        self.without_node(m)
    }

    fn has_remains(&self, m: usize) -> bool {
        self.nodes
            .iter()
            .any(|nodes| nodes & 1 << (REMAINS + m) != 0)
    }

    fn without_remains(self, m: usize) -> Self {
        self.without_node(REMAINS + m)
    }

    /// What can befall member `m`: it dies; its session expires, and it goes on; it gives up entering;
    /// its session is said to have expired.
    fn faults_of(&self, m: usize) -> Vec<Self> {
        if self.faults == 0 {
            return vec![];
        }
        let mut after = self.without_node(m);
        after.faults -= 1;
        let (dead, outside) = (after.with(m, At::Dead), after.with(m, At::Outside));
        let mut outlived = self.outlived(m).with(m, At::Outside);
        outlived.faults -= 1;
        match self.members[m] {
            // Nothing of it is there, and who comes again is as good as another.
            At::Outside | At::Dead => vec![],
            At::Joining(_) => vec![dead],
            At::Waiting(_) | At::Judging(..) | At::Asleep(..) | At::Opening(..) => {
                vec![dead, after, outside, outlived]
            }
            // It is told that its place is lost.
            At::Inside(_) => vec![dead, outside],
            At::Leaving(_) => vec![dead, after],
        }
    }
}

impl Walk {
    /// The members' nodes, as a list of children.
    fn children(&self, nodes: [Set; MOST]) -> Rc<Vec<String>> {
        let mut known = self.names.borrow_mut();
        let children = known.entry(nodes).or_insert_with(|| {
            let there = |round: u8, m: usize| nodes[usize::from(round)] & 1 << m != 0;
            let all = (0..self.rounds).flat_map(|round| (0..2 * REMAINS).map(move |m| (round, m)));
            let names = all.filter(|(round, m)| there(*round, *m));
            Rc::new(
                names
                    .map(|(round, m)| name_of(round, self.count, m))
                    .collect(),
            )
        });
        Rc::clone(children)
    }

    /// The world after the next step of member `m`, if it takes one. One request is one step: in between anything may happen.
    fn moved(&self, world: &World, m: usize) -> Option<World> {
        let next = match world.members[m] {
            At::Outside if self.sweeps && world.has_remains(m) => world.without_remains(m),
            At::Outside if world.present < self.rounds => world.with(m, At::Joining(world.present)),
            // The transaction that creates the node checks that the number is the one that was read.
            At::Joining(round) if world.present == round => {
                let mut next = world.with(m, At::Waiting(round));
                next.nodes[usize::from(round)] |= 1 << m;
                next
            }
            At::Joining(_) => world.with(m, At::Outside),
            At::Waiting(round) => world.with(m, At::Judging(round, world.present)),
            At::Judging(round, seen) => self.judged(world, m, (round, seen)),
            At::Asleep(round, seen) if world.present != seen || !world.has(round, m) => {
                world.with(m, At::Waiting(round))
            }
            At::Opening(round, with) => self.opened(world, m, (round, with)),
            At::Inside(round) => world.with(m, At::Leaving(round)),
            At::Leaving(round) => self.left(world, m, round),
            At::Outside | At::Asleep(..) | At::Dead => *world,
        };
        (next != *world).then_some(next)
    }

    fn judged(&self, world: &World, m: usize, (round, seen): (u8, u8)) -> World {
        let own = &self.own[usize::from(round)];
        let children = self.children(world.nodes);
        let numbers = (u64::from(seen), u64::from(round));
        match enter(numbers, &own[m], &children, self.count) {
            Enter::Entered => {
                let opened = world.opened[usize::from(round)];
                assert!(opened & 1 << m != 0, "entered late: {world:?}");
                world.with(m, At::Inside(round))
            }
            Enter::Anew => world.without_node(m).with(m, At::Outside),
            Enter::Wait => world.with(m, At::Asleep(round, seen)),
            Enter::Open(with) => {
                let is_one = |m: &usize| with.contains(&own[*m].as_str());
                let with = (0..2 * REMAINS).filter(is_one);
                world.with(m, At::Opening(round, with.fold(0, |set, m| set | 1 << m)))
            }
        }
    }

    /// The world after the transaction by which a member opens the round, or fails to; then it looks again.
    fn opened(&self, world: &World, m: usize, (round, with): (u8, Set)) -> World {
        let mut next = world.with(m, At::Waiting(round));
        let there = world.nodes[usize::from(round)];
        if world.present == round && with & !there == 0 {
            // Whoever has two nodes is there once.
            let owners = (with | with >> REMAINS) & ((1 << REMAINS) - 1);
            let enough = owners.count_ones() as usize >= self.count && with & 1 << m != 0;
            assert!(enough, "opened early: {world:?}");
            next.present += 1;
            next.opened[usize::from(round)] = there;
        }
        next
    }

    fn left(&self, world: &World, m: usize, round: u8) -> World {
        // Who has no node any more waits for the others, under no name.
        let me = match world.has(round, m) {
            true => self.own[usize::from(round)][m].as_str(),
            false => "",
        };
        match leave(u64::from(round), me, &self.children(world.nodes)) {
            Leave::Done => {
                let inside = world.members.contains(&At::Inside(round));
                assert!(!inside, "left early: {world:?}");
                world.with(m, At::Outside)
            }
            Leave::Delete => world.without_node(m),
            Leave::Watch(_) => *world,
        }
    }

    /// Nobody moves any more: whoever is left over may wait for a round that too few are there for, and for nothing else.
    fn check_the_end(&self, world: &World) {
        let asleep = |at: &&At| matches!(at, At::Asleep(round, _) if *round == world.present);
        let done = |at: &At| matches!(at, At::Outside | At::Dead) || asleep(&at);
        assert!(world.members.iter().all(done), "stuck: {world:?}");
        let waiting = world.members.iter().filter(asleep).count();
        assert!(waiting < self.count, "nobody opens: {world:?}");
    }
}

fn walk((members, count, rounds, faults): (usize, usize, u8, u8), sweeps: bool) -> usize {
    let walk = Walk {
        count,
        rounds,
        sweeps,
        names: RefCell::default(),
        own: (0..rounds)
            .map(|round| (0..2 * REMAINS).map(|m| name_of(round, count, m)).collect())
            .collect(),
    };
    let start = World {
        members: [At::Outside; MOST],
        nodes: [0; MOST],
        present: 0,
        opened: [0; MOST],
        faults,
    };
    let (mut seen, mut open) = (HashSet::from([start]), vec![start]);
    while let Some(world) = open.pop() {
        let moved: Vec<_> = (0..members).filter_map(|m| walk.moved(&world, m)).collect();
        // The session ends at last.
        let remains = (0..members).filter(|m| world.has_remains(*m));
        let ended: Vec<_> = remains.map(|m| world.without_remains(m)).collect();
        if moved.is_empty() && ended.is_empty() {
            walk.check_the_end(&world);
        }
        let befallen = (0..members).flat_map(|m| world.faults_of(m));
        open.extend(
            moved
                .into_iter()
                .chain(ended)
                .chain(befallen)
                .filter(|next| seen.insert(*next)),
        );
    }
    seen.len()
}

#[test]
fn every_order_of_steps_of_up_to_three_members_in_two_rounds_is_safe_and_ends() {
    let sizes = [(1, 1, 2, 1), (2, 2, 3, 3), (3, 2, 2, 3), (3, 3, 2, 2)];
    let worlds: usize = sizes.into_iter().map(|sizes| walk(sizes, true)).sum();
    assert!(worlds > 900_000, "{worlds}");
}

#[test]
fn every_order_of_steps_of_four_members_of_whom_two_are_needed_is_safe_and_ends() {
    assert!(walk((4, 2, 1, 3), true) > 1_700_000);
}

#[test]
fn every_order_of_steps_of_four_members_of_whom_three_or_all_are_needed_is_safe_and_ends() {
    assert!(walk((4, 3, 1, 3), true) + walk((4, 4, 1, 3), true) > 2_200_000);
}

#[test]
#[should_panic(expected = "opened early")]
fn without_the_sweep_one_member_counts_twice() {
    walk((2, 2, 1, 1), false);
}

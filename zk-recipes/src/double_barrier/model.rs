//! Every order in which members of a double barrier can do what they do, walked through.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::round::{Enter, Leave, enter, leave, name};

fn guid(member: usize) -> String {
    format!("0191b1c8-5d3f-4c0e-9d3a-3f1f5a2b4c6{member}")
}

/// One member in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Outside,
    /// It has read the number, and is about to create its node.
    Joining(u64),
    /// Its node is there; the round.
    Waiting(u64),
    Inside(u64),
    /// Wants to leave; whether its node is gone.
    Leaving(u64),
    Dead,
}

/// Everything there is: where the members are, the nodes, the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    members: Vec<At>,
    nodes: BTreeSet<(u64, usize)>,
    present: u64,
    /// Who was at the barrier when a round was opened.
    opened: BTreeMap<u64, BTreeSet<usize>>,
    deaths: usize,
    /// What is on its way: a member decided to open with these.
    opening: Vec<Option<(u64, Vec<usize>)>>,
}

impl World {
    fn children(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|(round, member)| name(*round, &guid(*member)))
            .collect()
    }

    /// The world after the transaction by which a member opens the round, or fails to.
    fn open(&self, m: usize, count: usize) -> Self {
        let mut next = self.clone();
        let Some((round, with)) = next.opening[m].take() else {
            return next;
        };
        let there: BTreeSet<_> = (self.nodes.iter())
            .filter(|node| node.0 == round)
            .map(|node| node.1)
            .collect();
        if self.present == round && with.iter().all(|other| there.contains(other)) {
            let enough = with.len() >= count && with.contains(&m);
            assert!(enough, "opened early: {self:?}");
            next.present = round + 1;
            next.opened.insert(round, there);
        }
        next
    }

    /// Every world that one step of member `m` can lead to. Looking and deciding are one step, a transaction
    /// another: in between anything may happen.
    fn steps(&self, m: usize, count: usize, rounds: u64) -> Vec<Self> {
        let mut next = self.clone();
        if self.opening[m].is_some() {
            return vec![self.open(m, count)];
        }
        let children = self.children();
        match self.members[m] {
            At::Outside if self.present < rounds => next.members[m] = At::Joining(self.present),
            // The transaction that creates the node checks that the number is the one that was read.
            At::Joining(round) if self.present == round => {
                next.members[m] = At::Waiting(round);
                next.nodes.insert((round, m));
            }
            At::Joining(_) => next.members[m] = At::Outside,
            At::Waiting(round) => {
                let me = name(round, &guid(m));
                match enter((self.present, round), &me, &children, count) {
                    Enter::Entered => {
                        assert!(self.opened[&round].contains(&m), "entered late: {self:?}");
                        next.members[m] = At::Inside(round);
                    }
                    Enter::Anew => next.members[m] = At::Outside,
                    Enter::Wait => {}
                    Enter::Open(with) => {
                        let number = |member: &str| {
                            self.nodes
                                .iter()
                                .find(|(r, o)| member == name(*r, &guid(*o)))
                                .map(|node| node.1)
                        };
                        next.opening[m] =
                            Some((round, with.into_iter().filter_map(number).collect()));
                    }
                }
            }
            At::Inside(round) => next.members[m] = At::Leaving(round),
            At::Leaving(round) => {
                let me = name(round, &guid(m));
                match leave(round, &me, &children) {
                    Leave::Done => {
                        let inside = |at: &At| *at == At::Inside(round);
                        assert!(!self.members.iter().any(inside), "left early: {self:?}");
                        next.members[m] = At::Outside;
                    }
                    Leave::Delete => {
                        next.nodes.remove(&(round, m));
                    }
                    Leave::Watch(_) => {}
                }
            }
            At::Outside | At::Dead => return vec![],
        }
        let mut all = vec![next];
        if self.deaths > 0 && self.members[m] != At::Outside {
            let mut dead = self.clone();
            dead.deaths -= 1;
            dead.members[m] = At::Dead;
            dead.nodes.retain(|node| node.1 != m);
            all.push(dead);
        }
        all
    }
}

/// Walks through every order of steps of `members` members, of whom some die, through some rounds.
fn walk(members: usize, count: usize, rounds: u64, deaths: usize) -> usize {
    let start = World {
        members: vec![At::Outside; members],
        nodes: BTreeSet::new(),
        present: 0,
        opened: BTreeMap::new(),
        deaths,
        opening: vec![None; members],
    };
    let (mut seen, mut open) = (HashSet::new(), vec![start]);
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let next: Vec<_> = (0..members)
            .flat_map(|m| world.steps(m, count, rounds))
            .filter(|next| *next != world)
            .collect();
        if next.is_empty() {
            let living = |at: &&At| **at != At::Dead;
            let stuck = world.members.iter().filter(living).count() >= count;
            let done = |at: &At| matches!(at, At::Outside | At::Dead);
            // Whoever is left over may wait for a round that too few are there for, and for nothing else.
            let waits =
                |at: &At| done(at) || matches!(at, At::Waiting(round) if *round == world.present);
            assert!(world.members.iter().all(waits), "stuck: {world:?}");
            let waiting = world
                .members
                .iter()
                .filter(|at| matches!(at, At::Waiting(_)))
                .count();
            assert!(waiting < count || !stuck, "nobody opens: {world:?}");
        }
        open.extend(next);
    }
    seen.len()
}

#[test]
fn every_order_of_steps_of_up_to_four_members_and_three_deaths_is_safe_and_ends() {
    let mut worlds = 0;
    for (members, count, rounds, deaths) in [
        (1, 1, 2, 1),
        (2, 2, 3, 2),
        (3, 2, 3, 2),
        (3, 3, 2, 3),
        (4, 2, 1, 1),
        (4, 3, 1, 3),
        (4, 4, 1, 3),
    ] {
        worlds += walk(members, count, rounds, deaths);
    }
    assert!(worlds > 10_000, "{worlds}");
}

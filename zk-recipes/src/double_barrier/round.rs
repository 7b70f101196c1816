//! What a member of a double barrier does next, given what it sees.
//!
//! ```text
//!   /job                          data: the number of the round that members come to now, in decimal; empty counts as 0
//!   /job/0000000007-{uuid}        a member of round 7, ephemeral; its data says who
//! ```
//!
//! Round 7 is open, and its members have entered, when the number is larger than 7.
//!
//! Invariants: pure and total. A round is opened only with the nodes of enough members, the decider's among them; leaving is
//! done only when no member of the round is left.

/// What a member that enters does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Enter<'c> {
    /// The round is open: it has entered.
    Entered,
    /// Its node is gone: it begins anew, in the present round.
    Anew,
    /// There are too few; who comes last opens.
    Wait,
    /// Open the round, if these are still there.
    Open(Vec<&'c str>),
}

/// What a member that leaves does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave<'c> {
    /// Nobody is left.
    Done,
    /// Delete the own node, and look again.
    Delete,
    /// Look again when this one is gone.
    Watch(&'c str),
}

/// The name of a member's node.
pub(super) fn name(round: u64, guid: &str) -> String {
    format!("{round:010}-{guid}")
}

/// The round of a member, by the name of its node.
pub(super) fn round_of(name: &str) -> Option<u64> {
    let (round, guid) = name.split_once('-')?;
    // A guid of Curator's begins with eight digits at most, kazoo's has no dash.
    (round.len() >= 10 && guid.len() == 36 && round.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| round.parse().ok())?
}

/// The number in the barrier's node.
pub(super) fn parse(data: &[u8]) -> Option<u64> {
    match data {
        [] => Some(0),
        _ => std::str::from_utf8(data).ok()?.parse().ok(),
    }
}

/// A child that is no member of any round.
pub(super) fn foreign(children: &[String]) -> Option<&str> {
    let foreign = |name: &&String| round_of(name).is_none();
    children.iter().find(foreign).map(String::as_str)
}

/// The members of a round, the first one first.
fn members(children: &[String], round: u64) -> Vec<&str> {
    let mut members: Vec<_> = (children.iter().map(String::as_str))
        .filter(|name| round_of(name) == Some(round))
        .collect();
    members.sort_unstable();
    members
}

/// What the member `me` of `round` does, where `present` is the number in the barrier's node.
pub(super) fn enter<'c>(
    (present, round): (u64, u64),
    me: &str,
    children: &'c [String],
    count: usize,
) -> Enter<'c> {
    let members = members(children, round);
    match members.iter().position(|name| *name == me) {
        // Gone, and perhaps before the round was opened: nobody can tell, so it does not count.
        None => Enter::Anew,
        Some(_) if present > round => Enter::Entered,
        Some(_) if present < round => Enter::Anew,
        Some(_) if members.len() < count => Enter::Wait,
        Some(at) => {
            let mut enough = members;
            // The own node first, whoever else is left out.
            enough.swap(0, at);
            enough.truncate(count.max(1));
            Enter::Open(enough)
        }
    }
}

/// What the member `me` of `round`, whose node may be gone, does to leave.
pub(super) fn leave<'c>(round: u64, me: &str, children: &'c [String]) -> Leave<'c> {
    let members = members(children, round);
    match members.as_slice() {
        [] => Leave::Done,
        [first, .., last] if *first == me => Leave::Watch(last),
        members if members.contains(&me) => Leave::Delete,
        [first, ..] => Leave::Watch(first),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    const GUID: &str = "0191b1c8-5d3f-4c0e-9d3a-3f1f5a2b4c6";

    fn guid(member: usize) -> String {
        format!("{GUID}{member}")
    }

    #[test]
    fn members_of_other_recipes_are_foreign() {
        for name in [
            "ready",
            "0191b1c85d3f7c0e9d3a3f1f5a2b4c6d",
            "0191b1c8-5d3f-7c0e-9d3a-3f1f5a2b4c6d",
            "00000000-5d3f-7c0e-9d3a-3f1f5a2b4c6d",
        ] {
            assert_eq!(foreign(&[name.to_owned()]), Some(name));
        }
        assert_eq!(foreign(&[name(7, &guid(1))]), None);
        assert_eq!(
            round_of(&name(12_345_678_901, &guid(1))),
            Some(12_345_678_901)
        );
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(parse(b""), Some(0));
        assert_eq!(parse(b"41"), Some(41));
        assert_eq!(parse(b"host"), None);
        assert_eq!(parse(b"-1"), None);
    }

    /// One member in the model.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    enum At {
        Outside,
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

        /// Every world that one step of member `m` can lead to. Looking and deciding are one step, a transaction
        /// another: in between anything may happen.
        fn steps(&self, m: usize, count: usize, rounds: u64) -> Vec<Self> {
            let mut next = self.clone();
            if let Some((round, with)) = self.opening[m].clone() {
                next.opening[m] = None;
                let checked = with
                    .iter()
                    .all(|other| self.nodes.contains(&(round, *other)));
                if checked && self.present == round {
                    assert!(
                        with.len() >= count && with.contains(&m),
                        "opened early: {self:?}"
                    );
                    next.present = round + 1;
                }
                return vec![next];
            }
            let children = self.children();
            match self.members[m] {
                At::Outside if self.present < rounds => {
                    next.members[m] = At::Waiting(self.present);
                    next.nodes.insert((self.present, m));
                }
                At::Waiting(round) => {
                    let me = name(round, &guid(m));
                    match enter((self.present, round), &me, &children, count) {
                        Enter::Entered => next.members[m] = At::Inside(round),
                        Enter::Anew => next.members[m] = At::Outside,
                        Enter::Wait => {}
                        Enter::Open(with) => {
                            let number = |name: &str| {
                                self.nodes
                                    .iter()
                                    .find(|(r, o)| name == super::name(*r, &guid(*o)))
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
                let waits = |at: &At| {
                    done(at) || matches!(at, At::Waiting(round) if *round == world.present)
                };
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
}

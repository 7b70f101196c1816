//! Every interleaving of up to four who add to one counter and three faults, with what the recipe makes of what it is told.
//!
//! The steps are those of [`change`](super::change): read, write on condition that nothing was written since (in one transaction with a
//! marker, or without), look whether anything was where the session ended, and remove the marker. A fault is: a request is not
//! sent, or is lost, or its answer is, or it is carried out later, at any moment before the next request of the same session;
//! the session expires; the change is given up, wherever it is. Everybody adds a power of its own, so the value tells who was counted and how
//! often. Checked in every state: nobody is counted twice. Checked where nobody can take another step: who was told that it is
//! counted is, and no marker is left on a session that lives on.

use std::collections::HashSet;

use zk_client::{ErrorKind, Outcome, Stat, Zxid};

use super::change::{is_beaten, is_same};
use crate::{
    connection::Setback,
    knowledge::{Knowledge, Marked, Marking},
};

/// What one of them was told, or none where it gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Told {
    Counted,
    Unknown,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Reading,
    /// About to write, if the counter was last written so many writes after the beginning.
    Writing(u8, Marking),
    /// The session is over and the outcome unknown: about to look whether anything was written since.
    Comparing(u8),
    /// The marker is to go.
    Leaving(Told),
    Done(Told),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Write {
    Add(u8),
    Unmark,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Adder {
    at: At,
    known: Knowledge,
    is_marked: bool,
    /// On its way, although its sender does not wait any more.
    late: Option<Write>,
    /// How often it is counted.
    counted: u8,
}

/// The adders are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    adders: Vec<Adder>,
    /// How often the counter was written.
    written: u8,
    faults: u8,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(ErrorKind),
    Failed(Outcome),
}

/// Whether changes are made together with a marker.
#[derive(Debug, Clone, Copy)]
struct Model {
    marks: bool,
}

/// The counter's node after so many writes.
fn stat(written: u8) -> Stat {
    let mut stat = Stat::default();
    (stat.czxid, stat.mzxid) = (Zxid(1), Zxid(1 + i64::from(written)));
    stat
}

impl World {
    fn with(mut self, who: usize, change: impl FnOnce(&mut Adder)) -> Self {
        change(&mut self.adders[who]);
        self
    }

    fn faulty(&self) -> Self {
        let mut world = self.clone();
        world.faults -= 1;
        world
    }

    fn carry_out(&mut self, who: usize, write: Write, marks: bool) -> Answer {
        let written = self.written;
        let adder = &mut self.adders[who];
        match write {
            Write::Add(_) if adder.is_marked => return Answer::Refused(ErrorKind::NodeExists),
            Write::Add(read) if read != written => return Answer::Refused(ErrorKind::BadVersion),
            Write::Add(_) => {
                adder.counted += 1;
                adder.is_marked = marks;
                self.written += 1;
            }
            Write::Unmark if !adder.is_marked => return Answer::Refused(ErrorKind::NoNode),
            Write::Unmark => adder.is_marked = false,
        }
        Answer::Done
    }

    /// A write: each way in which it may go.
    fn write(&self, who: usize, write: Write, marks: bool) -> Vec<(Self, Answer)> {
        let mut done = self.clone();
        let answer = done.carry_out(who, write, marks);
        let mut ways = vec![(done.clone(), answer)];
        if self.faults > 0 {
            let late = self.faulty().with(who, |adder| adder.late = Some(write));
            ways.push((self.faulty(), Answer::Failed(Outcome::NotApplied)));
            ways.push((self.faulty(), Answer::Failed(Outcome::Unknown)));
            ways.push((done.faulty(), Answer::Failed(Outcome::Unknown)));
            ways.push((late, Answer::Failed(Outcome::Unknown)));
        }
        ways
    }

    /// The session expires, or whoever waits goes.
    fn hit(&self, who: usize) -> Vec<Self> {
        let expired = self.faulty().with(who, |adder| {
            adder.at = match adder.at {
                At::Writing(read, mut marking) => {
                    // The next request is the one that tells.
                    match marking.failed(Outcome::NotApplied, Setback::SessionEnded, false) {
                        Marked::Over if marking.is_undecided => At::Comparing(read),
                        Marked::Over => At::Reading,
                        told => panic!("{told:?} after the session"),
                    }
                }
                At::Leaving(told) => At::Done(told),
                at => at,
            };
            (adder.known, adder.is_marked, adder.late) = (Knowledge::new(), false, None);
        });
        let given_up = self
            .faulty()
            .with(who, |adder| adder.at = At::Leaving(Told::Nothing));
        match self.adders[who].at {
            At::Done(_) => vec![],
            At::Leaving(_) => vec![expired],
            _ => vec![expired, given_up],
        }
    }
}

impl Model {
    /// What this adder can do next, each way in which it may go.
    fn step(self, world: &World, who: usize) -> Vec<World> {
        let adder = &world.adders[who];
        if let Some(write) = adder.late {
            // Nothing of the session comes before it.
            let mut next = world.clone();
            next.adders[who].late = None;
            next.carry_out(who, write, self.marks);
            return vec![next];
        }
        let to = |at| vec![world.clone().with(who, |adder| adder.at = at)];
        match adder.at {
            At::Done(_) => vec![],
            At::Reading => vec![world.clone().with(who, |adder| {
                // Each attempt has a marker of its own.
                (adder.at, adder.known) = (
                    At::Writing(world.written, Marking::default()),
                    Knowledge::new(),
                );
            })],
            At::Writing(read, marking) => self.add(world, who, (read, marking)),
            At::Comparing(read) if is_same(&stat(read), &stat(world.written)) => to(At::Reading),
            At::Comparing(_) => to(At::Leaving(Told::Unknown)),
            At::Leaving(told) if adder.known.is_absent() => to(At::Done(told)),
            At::Leaving(_) if adder.known.is_unknown() => {
                let found = adder.is_marked.then_some(());
                vec![world.clone().with(who, |adder| adder.known.found(found))]
            }
            At::Leaving(_) => {
                let deleting = world.clone().with(who, |adder| adder.known.deleting());
                let answered = |(world, answer): (World, Answer)| {
                    world.with(who, |adder| match answer {
                        Answer::Done | Answer::Refused(_) => adder.known.gone(),
                        Answer::Failed(_) => {}
                    })
                };
                let ways = deleting.write(who, Write::Unmark, self.marks);
                ways.into_iter().map(answered).collect()
            }
        }
    }

    fn add(self, world: &World, who: usize, (read, marking): (u8, Marking)) -> Vec<World> {
        let asked = world.clone().with(who, |adder| {
            if self.marks {
                adder.known.asked();
            }
        });
        let answered = |(world, answer): (World, Answer)| {
            world.with(who, |adder| match self.marks {
                true => adder.marked(answer, read, marking),
                false => adder.plain(answer, read),
            })
        };
        let ways = asked.write(who, Write::Add(read), self.marks);
        ways.into_iter().map(answered).collect()
    }

    /// Explores everything; the number of states.
    fn explore(self, adders: usize) -> usize {
        let adder = Adder {
            at: At::Reading,
            known: Knowledge::new(),
            is_marked: false,
            late: None,
            counted: 0,
        };
        let start = World {
            adders: vec![adder; adders],
            written: 0,
            faults: 3,
        };
        let (mut known, mut open) = (HashSet::new(), vec![start]);
        while let Some(mut world) = open.pop() {
            world.adders.sort_unstable();
            if !known.insert(world.clone()) {
                continue;
            }
            let once = world.adders.iter().all(|adder| adder.counted <= 1);
            assert!(once, "counted twice: {world:?}");
            let all = 0..adders;
            let steps: Vec<_> = all.clone().flat_map(|who| self.step(&world, who)).collect();
            if steps.is_empty() {
                world.adders.iter().for_each(Adder::assert_told);
            }
            open.extend(steps);
            if world.faults > 0 {
                open.extend(all.flat_map(|who| world.hit(who)));
            }
        }
        known.len()
    }
}

impl Adder {
    /// As [`OwnNode::commit_marked`](crate::own_node::OwnNode::commit_marked), and what is made of it.
    fn marked(&mut self, answer: Answer, read: u8, mut marking: Marking) {
        let failed = match answer {
            Answer::Done => {
                self.known.created(());
                self.at = At::Leaving(Told::Counted);
                return;
            }
            Answer::Refused(kind) => {
                self.known.failed(Outcome::NotApplied);
                let is_marker = kind == ErrorKind::NodeExists;
                (
                    marking.failed(Outcome::NotApplied, Setback::Refused, is_marker),
                    kind,
                )
            }
            Answer::Failed(outcome) => {
                self.known.failed(outcome);
                (
                    marking.failed(outcome, Setback::Connection, false),
                    ErrorKind::ConnectionLoss,
                )
            }
        };
        self.at = match failed {
            (Marked::Applied, _) => {
                self.known.kept(());
                At::Leaving(Told::Counted)
            }
            (Marked::Again, _) => At::Writing(read, marking),
            (Marked::Refused, kind) if is_beaten(kind) => At::Reading,
            (told, kind) => panic!("{told:?} after {kind:?}"),
        };
    }

    fn plain(&mut self, answer: Answer, read: u8) {
        self.at = match answer {
            Answer::Done => At::Leaving(Told::Counted),
            Answer::Refused(kind) if is_beaten(kind) => At::Reading,
            Answer::Refused(kind) => panic!("{kind:?}"),
            Answer::Failed(Outcome::Unknown) => At::Comparing(read),
            Answer::Failed(Outcome::NotApplied) => At::Writing(read, Marking::default()),
        };
    }

    fn assert_told(&self) {
        let At::Done(told) = self.at else {
            panic!("stuck: {self:?}");
        };
        assert!(
            told != Told::Counted || self.counted == 1,
            "told and not so: {self:?}"
        );
        assert!(!self.is_marked, "a marker is left: {self:?}");
    }
}

#[test]
fn nobody_is_counted_twice_or_told_what_is_not_so_in_any_interleaving() {
    for marks in [true, false] {
        let states: Vec<_> = (1..=4)
            .map(|adders| Model { marks }.explore(adders))
            .collect();
        assert!(states[3] > 5_000, "{states:?}");
    }
}

//! Every interleaving of up to four who want one name, each in a session of its own or all in one, and three faults, with what the recipes
//! know of their nodes.
//!
//! The steps are those of a name's registration and of an unfair lock: create (behind a look where an earlier create's outcome is
//! unknown), look with a watch, hold, look, delete; or wait until somebody else's node is gone. A fault is: a request is not sent,
//! or is lost, or its answer is, or it is carried out later, at any moment before the next request of the same session; whoever waits
//! for it is dropped meanwhile or not; the proof of life comes too late; the session expires, and its node goes some time after that; a node is deleted
//! by hand, or its data is written. (Deleted by hand, and not between the owner's last look and its delete: what is said against that stands on the recipes' pages.)
//! Checked in every state: one holds at most, and has a node; nobody deletes another's node. Checked where nobody can take another step:
//! everybody is done, and no node is left.

use std::collections::HashSet;

use zk_client::{Outcome, SessionId, Stat, Zxid};

use super::Knowledge;
use crate::known_nodes::{Whose, whose};

/// The transaction that created the node that exists, and one of the past.
const LIVE: Zxid = Zxid(2);
const PAST: Zxid = Zxid(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// About to create.
    Out,
    /// The name is somebody's: about to look at it.
    Taken,
    /// With a watch on somebody's node.
    Waiting,
    /// Has created its node, as far as it knows: about to look at it.
    Entered,
    Holding,
    /// The node is to go, and then another is tried.
    Again,
    /// The node is to go.
    Leaving,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Write {
    Create,
    Delete,
}

/// The node: of the session and of the attempt that its owner is in now, or of earlier ones; and whether its data was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    in_session: bool,
    in_attempt: bool,
    is_written: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Member {
    at: At,
    known: Knowledge,
    /// The node that it has taken for its own.
    claim: Option<Zxid>,
    /// On its way, although its sender does not wait any more.
    late: Option<Write>,
    node: Option<Node>,
}

/// The members are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    members: Vec<Member>,
    in_one_session: bool,
    faults: u8,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    /// There is a node already, or none.
    Refused,
    Failed(Outcome),
}

#[derive(Debug, Clone, Copy)]
struct Model {
    /// Whether whoever does not see its node after creating it makes a new attempt at once, as an unfair lock does, or withdraws before.
    is_unfair: bool,
    /// Whether answers tell which transaction created a node.
    tells: bool,
    in_one_session: bool,
}

impl World {
    fn exists(&self) -> bool {
        self.members.iter().any(|member| member.node.is_some())
    }

    /// Creates a node of this member's, if there is none.
    fn create(&mut self, who: usize) -> Answer {
        if self.exists() {
            return Answer::Refused;
        }
        for member in &mut self.members {
            member.claim = member.claim.map(|_| PAST);
        }
        self.members[who].node = Some(Node {
            in_session: true,
            in_attempt: true,
            is_written: false,
        });
        Answer::Done
    }

    /// Deletes whatever node is there.
    fn delete(&mut self, who: usize) -> Answer {
        if !self.exists() {
            return Answer::Refused;
        }
        let mine = self.members[who].node;
        assert!(
            mine.is_some_and(|node| node.in_session),
            "another's node: {self:?}"
        );
        self.remove(who);
        Answer::Done
    }

    fn remove(&mut self, owner: usize) {
        self.members[owner].node = None;
        for member in &mut self.members {
            if member.at == At::Waiting {
                member.at = At::Out;
            }
        }
    }

    fn carry_out(&mut self, who: usize, write: Write) -> Answer {
        match write {
            Write::Create => self.create(who),
            Write::Delete => self.delete(who),
        }
    }

    /// The node as it is, to whoever looks in its present session.
    fn stat(&self, who: usize) -> Option<Stat> {
        let owner = self
            .members
            .iter()
            .position(|member| member.node.is_some())?;
        let node = self.members[owner].node?;
        let is_shared = owner == who || self.in_one_session;
        let ephemeral_owner = match is_shared && node.in_session {
            true => session(who),
            false => SessionId(-1),
        };
        Some(Stat {
            czxid: LIVE,
            version: i32::from(node.is_written),
            ephemeral_owner,
            ..Stat::default()
        })
    }

    /// Looks whether the node that is there is one's own, and takes it where it is that of the first who does.
    fn recognize(&mut self, who: usize) -> bool {
        let Some(stat) = self.stat(who) else {
            return false;
        };
        let member = &self.members[who];
        let is_marked = || (member.node).is_some_and(|node| node.in_attempt && !node.is_written);
        match whose(session(who), member.claim, &stat, is_marked) {
            Whose::Mine => true,
            Whose::Others => false,
            Whose::OfTheFirst => {
                let is_taken = |other: &Member| other.claim == Some(LIVE);
                let is_free = !self.in_one_session || !self.members.iter().any(is_taken);
                if is_free {
                    let node = self
                        .members
                        .iter_mut()
                        .find_map(|member| member.node.take());
                    self.members[who].node = node;
                    self.members[who].claim = Some(LIVE);
                }
                is_free
            }
        }
    }

    /// A write: each way in which it may go.
    fn write(&self, who: usize, write: Write) -> Vec<(Self, Answer)> {
        let mut ways = Vec::new();
        let mut done = self.clone();
        let answer = done.carry_out(who, write);
        ways.push((done.clone(), answer));
        if self.faults > 0 {
            let (mut faulty, mut late) = (self.clone(), self.clone());
            faulty.faults -= 1;
            done.faults -= 1;
            late.faults -= 1;
            late.members[who].late = Some(write);
            ways.push((faulty.clone(), Answer::Failed(Outcome::NotApplied)));
            ways.push((faulty, Answer::Failed(Outcome::Unknown)));
            ways.push((done, Answer::Failed(Outcome::Unknown)));
            ways.push((late, Answer::Failed(Outcome::Unknown)));
        }
        ways
    }

    fn with(mut self, who: usize, change: impl FnOnce(&mut Member)) -> Self {
        change(&mut self.members[who]);
        self
    }

    fn faulty(&self) -> Self {
        let mut world = self.clone();
        world.faults -= 1;
        world
    }

    /// What befalls this member, other than on the way of a write.
    fn hit(&self, who: usize) -> Vec<Self> {
        let (world, member) = (self.faulty(), &self.members[who]);
        let mut worlds = Vec::new();
        if !matches!(member.at, At::Done) {
            let mut expired = world.clone();
            let is_hit = |other: &usize| *other == who || world.in_one_session;
            for other in (0..world.members.len()).filter(is_hit) {
                expired.members[other].expires();
            }
            worlds.push(expired);
        }
        match member.at {
            // It would delete what is not there any more before it looks.
            At::Entered if member.node.is_none() => {}
            At::Out | At::Taken | At::Waiting | At::Entered | At::Again => {
                worlds.push(world.clone().with(who, |member| member.at = At::Leaving));
            }
            At::Holding => worlds.push(world.clone().with(who, |member| {
                member.known.doubt();
                member.at = At::Leaving;
            })),
            At::Leaving | At::Done => {}
        }
        if member.node.is_some_and(|node| node.in_session) {
            // Somebody writes something else into it.
            worlds.push(world.clone().with(who, |member| {
                member.node = member.node.map(|node| Node {
                    is_written: true,
                    ..node
                });
            }));
        }
        let deletes = member.late == Some(Write::Delete)
            || matches!(member.at, At::Leaving | At::Again) && member.known.is_present();
        if member.node.is_some() && !deletes {
            let mut deleted = world;
            deleted.remove(who);
            let told = deleted.with(who, |member| {
                if member.at == At::Holding {
                    member.known.gone();
                    member.at = At::Leaving;
                }
            });
            worlds.push(told);
        }
        worlds
    }
}

impl Member {
    /// Its session is over: a holder gave up before that, by its deadline; the others go on in the next one.
    fn expires(&mut self) {
        self.at = match self.at {
            At::Holding | At::Leaving | At::Done => At::Done,
            _ => At::Out,
        };
        (self.known, self.claim, self.late) = (Knowledge::new(), None, None);
        self.node = self.node.map(|node| Node {
            in_session: false,
            in_attempt: false,
            ..node
        });
    }
}

fn session(who: usize) -> SessionId {
    SessionId(i64::try_from(who).unwrap() + 1)
}

impl Model {
    /// What this member can do next, each way in which it may go.
    fn step(self, world: &World, who: usize) -> Vec<World> {
        let member = &world.members[who];
        if let Some(write) = member.late {
            // Nothing of the session comes before it.
            let mut next = world.clone();
            next.members[who].late = None;
            next.carry_out(who, write);
            return vec![next];
        }
        let to = |at| vec![world.clone().with(who, |member| member.at = at)];
        let is_behind =
            world.in_one_session && world.members.iter().any(|member| member.late.is_some());
        match member.at {
            _ if is_behind => vec![],
            At::Done | At::Waiting => vec![],
            At::Out if !member.known.is_absent() => self.look(world, who),
            At::Out => self.create(world, who),
            At::Taken if world.exists() => to(At::Waiting),
            At::Taken => to(At::Out),
            At::Entered => {
                let mut next = world.clone();
                let is_own = next.recognize(who);
                vec![next.with(who, |member| self.saw(member, is_own))]
            }
            At::Holding => to(At::Leaving),
            At::Again if member.known.is_absent() => to(At::Out),
            At::Leaving if member.known.is_absent() => vec![world.clone().with(who, |member| {
                (member.at, member.claim) = (At::Done, None);
            })],
            At::Again | At::Leaving if member.known.is_unknown() => self.look(world, who),
            At::Again | At::Leaving => self.delete(world, who),
        }
    }

    /// Looked at the node that it has created, leaving a watch.
    fn saw(self, member: &mut Member, is_own: bool) {
        match is_own {
            true => member.at = At::Holding,
            false if self.is_unfair => {
                (member.known, member.claim, member.at) = (Knowledge::new(), None, At::Out);
                member.node = member.node.map(|node| Node {
                    in_attempt: false,
                    ..node
                });
            }
            false => {
                member.known.doubt();
                member.at = At::Again;
            }
        }
    }

    /// Looks whether the node is there, behind everything that was on its way.
    fn look(self, world: &World, who: usize) -> Vec<World> {
        let mut next = world.clone();
        let found = next.recognize(who).then_some(());
        vec![next.with(who, |member| {
            member.known.found(found);
            if member.at == At::Out && member.known.is_present() {
                member.at = At::Entered;
            }
        })]
    }

    fn create(self, world: &World, who: usize) -> Vec<World> {
        let asked = world.clone().with(who, |member| {
            member.known.asked();
            member.claim = None;
        });
        let answered = |(world, answer): (World, Answer)| {
            world.with(who, |member| match answer {
                Answer::Done => {
                    member.known.created(());
                    (member.claim, member.at) = (self.tells.then_some(LIVE), At::Entered);
                }
                Answer::Refused => {
                    member.known.failed(Outcome::NotApplied);
                    member.at = At::Taken;
                }
                Answer::Failed(outcome) => member.known.failed(outcome),
            })
        };
        asked
            .write(who, Write::Create)
            .into_iter()
            .map(answered)
            .collect()
    }

    fn delete(self, world: &World, who: usize) -> Vec<World> {
        let deleting = world.clone().with(who, |member| member.known.deleting());
        let answered = |(world, answer): (World, Answer)| {
            world.with(who, |member| match answer {
                Answer::Done | Answer::Refused => member.known.gone(),
                Answer::Failed(Outcome::NotApplied) if self.is_unfair => member.known.kept(()),
                Answer::Failed(_) => {}
            })
        };
        deleting
            .write(who, Write::Delete)
            .into_iter()
            .map(answered)
            .collect()
    }

    /// Explores everything; the number of states.
    fn explore(self, members: usize) -> usize {
        let member = Member {
            at: At::Out,
            known: Knowledge::new(),
            claim: None,
            late: None,
            node: None,
        };
        let start = World {
            members: vec![member; members],
            in_one_session: self.in_one_session,
            faults: 3,
        };
        let (mut known, mut open) = (HashSet::new(), vec![start]);
        while let Some(mut world) = open.pop() {
            world.members.sort_unstable();
            if !known.insert(world.clone()) {
                continue;
            }
            let all = 0..members;
            let holds = |member: &&Member| member.at == At::Holding;
            let holders: Vec<_> = world.members.iter().filter(holds).collect();
            assert!(holders.len() <= 1, "at once: {world:?}");
            assert!(
                holders.iter().all(|holder| holder.node.is_some()),
                "{world:?}"
            );
            let mut steps: Vec<_> = all.clone().flat_map(|who| self.step(&world, who)).collect();
            // The server gets round to removing what was an expired session's.
            let stale = |who: &usize| {
                world.members[*who]
                    .node
                    .is_some_and(|node| !node.in_session)
            };
            steps.extend(all.clone().filter(stale).map(|who| {
                let mut next = world.clone();
                next.remove(who);
                next
            }));
            if steps.is_empty() {
                let done = world.members.iter().all(|member| member.at == At::Done);
                assert!(done, "a wake-up is missed: {world:?}");
                assert!(!world.exists(), "a node is left: {world:?}");
            }
            open.extend(steps);
            if world.faults > 0 {
                open.extend(all.flat_map(|who| world.hit(who)));
            }
        }
        known.len()
    }
}

fn explore(model: Model) {
    let states: Vec<_> = (1..=4).map(|members| model.explore(members)).collect();
    assert!(states[3] > 5_000, "{states:?}");
}

#[test]
fn a_name_has_one_holder_and_leaves_nothing_in_every_interleaving() {
    for (tells, in_one_session) in [(true, false), (false, false), (true, true)] {
        explore(Model {
            is_unfair: false,
            tells,
            in_one_session,
        });
    }
}

#[test]
fn an_unfair_lock_has_one_holder_and_leaves_nothing_in_every_interleaving() {
    for in_one_session in [false, true] {
        explore(Model {
            is_unfair: true,
            tells: true,
            in_one_session,
        });
    }
}

//! Every interleaving of up to four keepers of one path and three faults, with what they make of what they find.
//!
//! The steps are those of [`keeper`](super::keeper): create, look with a watch, wait for the end of another's node, write what is wanted, hold;
//! and at the end look and delete. Each of up to three is given other data once; each some time is not wanted any more. A fault is: a request is not sent, or is lost, or its
//! answer is, or it is carried out later, at any moment before the next request of the same session; the session expires, and its node goes
//! some time after that; somebody deletes the node (not between the owner's look and its write or delete, which no look could see). Checked in every state:
//! whoever says that its node is there has it, and nobody writes or deletes another's. Checked where nobody can take another step: there is one node, of a session that
//! lives on, with the data that its owner was given last and says to have written; or, where no keeper is left, none.

use std::collections::HashSet;

use zk_client::{Outcome, SessionId};

use super::decision::{Content, Found, content, found};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Creating,
    Looking,
    /// With a watch on another's node.
    Waiting,
    Writing,
    /// With a watch on its own.
    Holding,
    /// Not wanted any more: about to look, and to delete what it has found.
    Leaving,
    Deleting,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Write {
    Create(u8),
    Set(u8),
    Delete,
}

/// Of the session that its owner is in now, or of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    in_session: bool,
    holds: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Keeper {
    at: At,
    wanted: u8,
    settled: u8,
    unsure: Option<u8>,
    late: Option<Write>,
    node: Option<Node>,
}

/// The keepers are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    keepers: Vec<Keeper>,
    /// The number of the data that each is given last.
    last: u8,
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

fn session(who: usize) -> SessionId {
    SessionId(i64::try_from(who).unwrap() + 1)
}

impl World {
    fn with(&self, who: usize, change: impl FnOnce(&mut Keeper)) -> Self {
        let mut next = self.clone();
        change(&mut next.keepers[who]);
        next
    }

    fn faulty(&self) -> Self {
        let mut world = self.clone();
        world.faults -= 1;
        world
    }

    /// The owner of the node that is there, to whoever looks.
    fn owner(&self) -> Option<SessionId> {
        let owner = self
            .keepers
            .iter()
            .position(|keeper| keeper.node.is_some())?;
        let in_session = self.keepers[owner].node?.in_session;
        Some(if in_session {
            session(owner)
        } else {
            SessionId(-1)
        })
    }

    fn remove(&mut self, owner: usize) {
        self.keepers[owner].node = None;
        for keeper in &mut self.keepers {
            match keeper.at {
                At::Waiting => keeper.at = At::Looking,
                At::Holding => keeper.at = At::Creating,
                _ => {}
            }
        }
    }

    fn carry_out(&mut self, who: usize, write: Write) -> Answer {
        let owner = self.owner();
        let is_mine = owner == Some(session(who));
        match (write, owner) {
            (Write::Create(holds), None) => {
                let in_session = true;
                self.keepers[who].node = Some(Node { in_session, holds });
            }
            (Write::Create(_), Some(_)) | (_, None) => return Answer::Refused,
            _ if !is_mine => panic!("another's node: {self:?}"),
            (Write::Set(holds), _) => {
                let in_session = true;
                self.keepers[who].node = Some(Node { in_session, holds });
            }
            (Write::Delete, _) => self.remove(who),
        }
        Answer::Done
    }

    /// A write: each way in which it may go, and what its keeper makes of that.
    fn write(&self, who: usize, write: Write) -> Vec<Self> {
        let mut done = self.clone();
        let answer = done.carry_out(who, write);
        let mut ways = vec![(done.clone(), answer)];
        if self.faults > 0 {
            let late = self.faulty().with(who, |keeper| keeper.late = Some(write));
            ways.push((self.faulty(), Answer::Failed(Outcome::NotApplied)));
            ways.push((self.faulty(), Answer::Failed(Outcome::Unknown)));
            ways.push((done.faulty(), Answer::Failed(Outcome::Unknown)));
            ways.push((late, Answer::Failed(Outcome::Unknown)));
        }
        let answered = |(world, answer): (Self, Answer)| {
            world.with(who, |keeper| keeper.answered(write, answer))
        };
        ways.into_iter().map(answered).collect()
    }

    /// What this keeper can do next, each way in which it may go.
    fn step(&self, who: usize) -> Vec<Self> {
        let keeper = &self.keepers[who];
        if let Some(write) = keeper.late {
            // Nothing of the session comes before it.
            let mut next = self.with(who, |keeper| keeper.late = None);
            next.carry_out(who, write);
            return vec![next];
        }
        let is_mine = found(self.owner(), session(who)) == Found::Mine;
        match keeper.at {
            At::Waiting | At::Holding | At::Done => vec![],
            // What a second attempt meets says nothing about the one before.
            At::Creating if keeper.unsure.is_some() => {
                vec![self.with(who, |keeper| keeper.at = At::Looking)]
            }
            At::Creating => self.write(who, Write::Create(keeper.wanted)),
            At::Looking => vec![self.look(who)],
            At::Writing => self.write(who, Write::Set(keeper.wanted)),
            At::Leaving => vec![self.with(who, |keeper| {
                keeper.at = if is_mine { At::Deleting } else { At::Done };
            })],
            At::Deleting => self.write(who, Write::Delete),
        }
    }

    fn look(&self, who: usize) -> Self {
        let looked = found(self.owner(), session(who));
        self.with(who, |keeper| {
            let unsure = keeper.unsure.take();
            let holds = keeper.node.map(|node| node.holds);
            keeper.at = match looked {
                Found::Nothing => At::Creating,
                Found::Others(_) => At::Waiting,
                Found::Mine => {
                    keeper.settled = match unsure.filter(|_| unsure == holds) {
                        Some(written) => keeper.settled.max(written),
                        None => keeper.settled,
                    };
                    let holds_it = holds == Some(keeper.wanted);
                    match content(keeper.settled.into(), keeper.wanted.into(), holds_it) {
                        Content::Settled => At::Holding,
                        Content::Written => {
                            keeper.settled = keeper.wanted;
                            At::Holding
                        }
                        Content::Write => At::Writing,
                    }
                }
            };
        })
    }

    /// What its owner may do with it.
    fn used(&self, who: usize) -> Vec<Self> {
        let keeper = &self.keepers[who];
        let mut worlds = Vec::new();
        if !matches!(keeper.at, At::Leaving | At::Deleting | At::Done) {
            worlds.push(self.with(who, |keeper| keeper.at = At::Leaving));
            if keeper.wanted < self.last {
                worlds.push(self.with(who, |keeper| {
                    keeper.wanted = 2;
                    if keeper.at == At::Holding {
                        keeper.at = At::Looking;
                    }
                }));
            }
        }
        worlds
    }

    /// What befalls this keeper, other than on the way of a write.
    fn hit(&self, who: usize) -> Vec<Self> {
        let (world, keeper) = (self.faulty(), &self.keepers[who]);
        let mut worlds = Vec::new();
        if keeper.at != At::Done {
            worlds.push(world.with(who, Keeper::expires));
        }
        let is_used = matches!(keeper.at, At::Writing | At::Deleting)
            || matches!(keeper.late, Some(Write::Set(_) | Write::Delete));
        if keeper.node.is_some() && !is_used {
            let mut deleted = world;
            deleted.remove(who);
            worlds.push(deleted);
        }
        worlds
    }

    fn assert_rest(&self) {
        let is_done = |keeper: &Keeper| keeper.at == At::Done;
        let holders = self.keepers.iter().filter(|keeper| keeper.node.is_some());
        let holders: Vec<_> = holders.collect();
        if self.keepers.iter().all(is_done) {
            assert!(holders.is_empty(), "a node is left: {self:?}");
            return;
        }
        let [holder] = holders[..] else {
            panic!("no node: {self:?}");
        };
        assert_eq!(holder.at, At::Holding, "{self:?}");
        let holds = holder.node.map(|node| node.holds);
        assert_eq!(holds, Some(holder.wanted), "not what is wanted: {self:?}");
        assert_eq!(holder.settled, holder.wanted, "not told: {self:?}");
    }
}

impl Keeper {
    fn answered(&mut self, write: Write, answer: Answer) {
        let is_unknown = answer == Answer::Failed(Outcome::Unknown);
        self.at = match (write, answer) {
            (Write::Delete, Answer::Failed(_)) => At::Leaving,
            (Write::Delete, _) => At::Done,
            (Write::Create(data) | Write::Set(data), _) => {
                self.unsure = is_unknown.then_some(data);
                match answer {
                    Answer::Done => {
                        self.settled = data;
                        At::Looking
                    }
                    Answer::Refused => At::Looking,
                    Answer::Failed(_) => At::Creating,
                }
            }
        };
    }

    /// Goes on in the next session, if there is anything to do.
    fn expires(&mut self) {
        self.at = match self.at {
            At::Leaving | At::Deleting | At::Done => At::Done,
            _ => At::Creating,
        };
        (self.unsure, self.late) = (None, None);
        self.node = self.node.map(|node| Node {
            in_session: false,
            ..node
        });
    }

    fn assert_present(&self) {
        let has = self.node.is_some_and(|node| node.in_session);
        assert!(self.at != At::Holding || has, "it is not there: {self:?}");
    }
}

fn explore(keepers: usize, last: u8) -> usize {
    let keeper = Keeper {
        at: At::Creating,
        wanted: 1,
        settled: 0,
        unsure: None,
        late: None,
        node: None,
    };
    let start = World {
        keepers: vec![keeper; keepers],
        last,
        faults: 3,
    };
    let (mut known, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        for keeper in &mut world.keepers {
            if keeper.at == At::Done {
                // It does not matter any more.
                (keeper.wanted, keeper.settled, keeper.unsure) = (0, 0, None);
            }
        }
        world.keepers.sort_unstable();
        if !known.insert(world.clone()) {
            continue;
        }
        world.keepers.iter().for_each(Keeper::assert_present);
        let all = 0..keepers;
        let mut steps: Vec<_> = all.clone().flat_map(|who| world.step(who)).collect();
        // The server gets round to removing what was an expired session's.
        let is_stale = |who: &usize| {
            world.keepers[*who]
                .node
                .is_some_and(|node| !node.in_session)
        };
        steps.extend(all.clone().filter(is_stale).map(|who| {
            let mut next = world.clone();
            next.remove(who);
            next
        }));
        if steps.is_empty() {
            world.assert_rest();
        }
        open.extend(steps);
        open.extend(all.clone().flat_map(|who| world.used(who)));
        if world.faults > 0 {
            open.extend(all.flat_map(|who| world.hit(who)));
        }
    }
    known.len()
}

#[test]
fn there_is_one_node_with_what_is_wanted_and_in_the_end_none_in_every_interleaving() {
    let all = [(1, 2), (2, 2), (3, 2), (4, 1)];
    let states = all.map(|(keepers, last)| explore(keepers, last));
    assert!(states[2].min(states[3]) > 3_000, "{states:?}");
}

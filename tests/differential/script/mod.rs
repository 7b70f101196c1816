//! The script: a seeded client mind that remembers just enough to be interesting.

mod acls;
mod ask;
mod multis;
mod paths;
mod requests;
mod watching;
mod world;

use std::fmt;

use fastrand::Rng;
use zk_proto::{OpCode, Xid, Zxid};

pub(crate) use ask::Ask;
use world::{SlotState, World};

use crate::neutral::{Body, Heard, Name};

/// How many connections a script works with.
pub(crate) const SLOTS: usize = 5;

/// No session times out by itself: ten hours.
const TIMEOUTS_MS: [i32; 3] = [36_000_000, 35_000_000, 100_000_000];

/// One step, of one slot.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A connection is opened; the one that the slot had, if any, is ended by the server.
    Connect { slot: usize, how: Connect },
    /// Requests are sent in one go, and all answers awaited.
    Ask { slot: usize, asks: Vec<(Xid, Ask)> },
    /// The connection is cut, the session not.
    Cut { slot: usize },
}

/// What a connect request asks for.
#[derive(Debug, Clone)]
pub(crate) enum Connect {
    New {
        timeout_ms: i32,
        read_only: Option<bool>,
    },
    Resume {
        timeout_ms: i32,
        seen: Zxid,
    },
    WrongPassword,
    /// With a zxid no server has reached.
    Ahead,
    /// Of a session there never was.
    Nobody,
}

impl Step {
    /// Whether only a server that has died would refuse it; two dead servers agree.
    pub(crate) fn must_be_admitted(&self) -> bool {
        let Self::Connect { how, .. } = self else {
            return false;
        };
        matches!(how, Connect::New { .. } | Connect::Resume { .. })
    }

    pub(crate) fn resumes(&self) -> bool {
        matches!(
            self,
            Self::Connect {
                how: Connect::Resume { .. },
                ..
            }
        )
    }

    /// The nodes it is about.
    pub(crate) fn paths(&self) -> Vec<String> {
        match self {
            Self::Ask { asks, .. } => asks.iter().flat_map(|(_, ask)| ask.paths()).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { slot, how } => write!(f, "[{slot}] connect {how:?}"),
            Self::Cut { slot } => write!(f, "[{slot}] cut"),
            Self::Ask { slot, asks } => {
                for (n, (_, ask)) in asks.iter().enumerate() {
                    let gap = if n == 0 { "" } else { "\n       " };
                    write!(f, "{gap}[{slot}] {ask}")?;
                }
                Ok(())
            }
        }
    }
}

/// Draws steps from a seed and from what has been answered.
#[derive(Debug)]
pub(crate) struct Script {
    rng: Rng,
    world: World,
    xid: Xid,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            world: World::default(),
            xid: Xid(0),
        }
    }

    /// The next step.
    pub(crate) fn next(&mut self) -> Step {
        let slot = self.rng.usize(..SLOTS);
        match self.world.slots[slot].state {
            SlotState::Nothing => self.begin(slot),
            SlotState::Detached => self.resume(slot),
            SlotState::Connected if self.rng.u32(..1000) < 25 => self.disturb(slot),
            SlotState::Connected => self.work(slot),
        }
    }

    fn begin(&mut self, slot: usize) -> Step {
        let timeout_ms = *self.pick(&TIMEOUTS_MS);
        let read_only = *self.pick(&[Some(false), Some(true), None]);
        let how = match self.rng.u32(..20) {
            0 => Connect::Ahead,
            1 => Connect::Nobody,
            _ => Connect::New {
                timeout_ms,
                read_only,
            },
        };
        Step::Connect { slot, how }
    }

    fn resume(&mut self, slot: usize) -> Step {
        match self.rng.u32(..10) {
            0 => Step::Connect {
                slot,
                how: Connect::WrongPassword,
            },
            _ => self.take_over(slot),
        }
    }

    /// Resumes the slot's session, from its own connection where it has one.
    fn take_over(&mut self, slot: usize) -> Step {
        let seen = *self.pick(&[Zxid::ZERO, self.world.slots[slot].seen]);
        let timeout_ms = *self.pick(&TIMEOUTS_MS);
        let how = Connect::Resume { timeout_ms, seen };
        Step::Connect { slot, how }
    }

    /// Ends the connection, one way or another.
    fn disturb(&mut self, slot: usize) -> Step {
        match self.rng.u32(..10) {
            0..=2 => Step::Cut { slot },
            3 | 4 => self.ask(
                slot,
                vec![Ask::of(OpCode::CloseSession, &Vec::<i32>::new())],
            ),
            5 if self.world.slots[slot].heard_everything => self.take_over(slot),
            6 | 7 => {
                let op = *self.pick(&[0, 10, 13, 23, 99, 108, 500, -1, -12]);
                self.ask(slot, vec![Ask::raw(op, &[0, 0, 0, 1, b'/', 0, 0, 0, 0])])
            }
            _ => {
                let scheme = *self.pick(&["world", "auth", "nosuch", "sasl", ""]);
                self.ask(
                    slot,
                    vec![Ask::from(zk_tests::requests::auth(scheme, b"x"))],
                )
            }
        }
    }

    /// One request, or a few in one go.
    fn work(&mut self, slot: usize) -> Step {
        if self.world.slots[slot].watches_to_restore() && self.rng.u32(..4) > 0 {
            let asks = vec![self.restore_watches(slot)];
            return self.ask(slot, asks);
        }
        let asks = match self.rng.u32(..10) {
            0 => {
                let many = self.rng.usize(2..7);
                let mut asks: Vec<Ask> = (0..many).map(|_| self.ordinary(slot)).collect();
                // In Apache the writes behind a setACL are judged by the old list or by the new one, as it happens.
                if let Some(at) = asks
                    .iter()
                    .position(|ask| ask.op() == OpCode::SetAcl.code())
                {
                    asks.truncate(at + 1);
                }
                asks
            }
            _ if self.rng.u32(..100) < 5 => vec![self.special()],
            _ => vec![self.ordinary(slot)],
        };
        self.ask(slot, asks)
    }

    fn ask(&mut self, slot: usize, asks: Vec<Ask>) -> Step {
        let asks = asks
            .into_iter()
            .map(|ask| {
                self.xid = self.xid.next();
                (ask.reserved_xid().unwrap_or(self.xid), ask)
            })
            .collect();
        Step::Ask { slot, asks }
    }

    /// Takes in what the step brought about.
    pub(crate) fn learn(&mut self, step: &Step, heard: &[Heard]) {
        match step {
            Step::Cut { slot } => self.world.slots[*slot].detach(),
            Step::Connect { slot, how } => self.world.learn_connect(*slot, how, heard),
            Step::Ask { slot, asks } => self.learn_answers(*slot, asks, heard),
        }
    }

    fn learn_answers(&mut self, slot: usize, asks: &[(Xid, Ask)], heard: &[Heard]) {
        for heard in heard {
            match heard {
                Heard::Event(event) => self.world.slots[slot].fired(event),
                Heard::Answer(answer) => {
                    let asked = asks
                        .iter()
                        .find(|(xid, ask)| ask.reply_xid(*xid) == answer.xid);
                    if let (Some((_, ask)), body) = (asked, &answer.body) {
                        let record = match body {
                            Body::Record(record) => Some(record),
                            Body::Bytes(_) => None,
                        };
                        self.world.learn(slot, ask, answer, record);
                    }
                }
                Heard::Closed => self.world.slots[slot].detach(),
                Heard::Session {
                    session: Name::Nobody,
                    ..
                }
                | Heard::Session { .. } => {}
            }
        }
        self.world.slots[slot].heard_everything = true;
        if asks.iter().any(|(_, ask)| ask.ends_the_session()) {
            self.world.slots[slot].end();
        }
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.usize(..from.len())]
    }
}

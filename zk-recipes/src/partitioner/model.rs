//! Walks over four members whose views differ: they see who is there late, come, go, die, and lose their sessions meanwhile.
//!
//! The steps are those of [`divide`](super::Division::divide) and of a user who lets go when told: look, settle on what was seen, queue for the items of the
//! share in any order, have all, back off or release when the view is another. Checked after every step: who has an item is
//! the first in its queue, so nobody else has it. Checked at the end, when nobody comes or goes any more: there is always another step until all see
//! the same, and then every item is had by exactly one, and nothing but that is left in the queues.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;

use super::share::share;

const MEMBERS: usize = 4;
const ITEMS: usize = 6;
/// How many steps a walk has in which members come and go.
const UNREST: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Settling,
    /// Wants its share of these members.
    Locking(u8),
    Holding(u8),
}

#[derive(Debug)]
struct Member {
    at: At,
    /// Who it saw last, as bits.
    sees: u8,
}

#[derive(Debug)]
struct World {
    /// Who is there, as bits.
    alive: u8,
    members: [Member; MEMBERS],
    queues: [Vec<usize>; ITEMS],
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Look(usize),
    Settle(usize),
    Queue(usize, usize),
    Have(usize),
    LetGo(usize),
}

/// The items of a share, by their places.
fn wanted(view: u8, who: usize) -> Vec<usize> {
    let names: BTreeSet<_> = (0..MEMBERS)
        .filter(|member| view & (1 << member) != 0)
        .map(|member| member.to_string())
        .collect();
    let items: BTreeSet<Arc<str>> = (0..ITEMS).map(|item| item.to_string().into()).collect();
    let share = share(&names, &who.to_string(), &items);
    share.iter().map(|item| item.parse().unwrap()).collect()
}

impl World {
    fn new() -> Self {
        let member = || Member {
            at: At::Settling,
            sees: 0,
        };
        Self {
            alive: 0,
            members: [member(), member(), member(), member()],
            queues: Default::default(),
        }
    }

    const fn is_alive(&self, who: usize) -> bool {
        self.alive & (1 << who) != 0
    }

    /// Everything that a member can do next by itself.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (who, member) in self.members.iter().enumerate() {
            if !self.is_alive(who) {
                continue;
            }
            if member.sees != self.alive {
                steps.push(Step::Look(who));
            }
            match member.at {
                At::Settling if member.sees & (1 << who) != 0 => steps.push(Step::Settle(who)),
                At::Settling => {}
                At::Locking(view) | At::Holding(view) if view != member.sees => {
                    steps.push(Step::LetGo(who));
                }
                At::Locking(view) => {
                    let wanted = wanted(view, who);
                    let queues = wanted.iter().filter(|item| !self.is_queued(**item, who));
                    steps.extend(queues.map(|item| Step::Queue(who, *item)));
                    if (wanted.iter()).all(|item| self.queues[*item].first() == Some(&who)) {
                        steps.push(Step::Have(who));
                    }
                }
                At::Holding(_) => {}
            }
        }
        steps
    }

    fn is_queued(&self, item: usize, who: usize) -> bool {
        self.queues[item].contains(&who)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Look(who) => self.members[who].sees = self.alive,
            Step::Settle(who) => self.members[who].at = At::Locking(self.members[who].sees),
            Step::Queue(who, item) => self.queues[item].push(who),
            Step::Have(who) => {
                if let At::Locking(view) = self.members[who].at {
                    self.members[who].at = At::Holding(view);
                }
            }
            Step::LetGo(who) => self.leave_queues(who),
        }
    }

    fn leave_queues(&mut self, who: usize) {
        self.members[who].at = At::Settling;
        for queue in &mut self.queues {
            queue.retain(|queued| *queued != who);
        }
    }

    /// Somebody comes, goes or dies, or the session of one that is back at once ends.
    fn disturb(&mut self, rng: &mut Rng) {
        let who = rng.usize(..MEMBERS);
        self.leave_queues(who);
        if rng.u8(..4) > 0 {
            self.alive ^= 1 << who;
            self.members[who].sees = 0;
        }
    }

    fn check(&self) {
        for (who, member) in self.members.iter().enumerate() {
            if let At::Holding(view) = member.at {
                for item in wanted(view, who) {
                    assert_eq!(self.queues[item].first(), Some(&who), "{self:?}");
                }
            }
        }
    }

    /// Nobody can take another step: everybody is there with the same view, and every item is had.
    fn check_rest(&self) {
        for (who, member) in self.members.iter().enumerate() {
            let done = At::Holding(self.alive);
            assert!(!self.is_alive(who) || member.at == done, "{self:?}");
        }
        for queue in &self.queues {
            assert_eq!(queue.len(), usize::from(self.alive != 0), "{self:?}");
        }
    }
}

#[test]
fn an_item_has_one_holder_whatever_is_seen_and_every_item_one_in_the_end() {
    for seed in 0..1_000 {
        let (mut rng, mut world) = (Rng::with_seed(seed), World::new());
        for _ in 0..UNREST {
            let steps = world.steps();
            match rng.choice(steps) {
                Some(step) if rng.u8(..8) > 0 => world.take(step),
                _ => world.disturb(&mut rng),
            }
            world.check();
        }
        // Every step leads on: more of them than these would be a circle.
        for _ in 0..1_000 {
            let Some(step) = rng.choice(world.steps()) else {
                break;
            };
            world.take(step);
            world.check();
        }
        assert!(world.steps().is_empty(), "{world:?}");
        world.check_rest();
    }
}

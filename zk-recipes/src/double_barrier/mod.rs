//! The double barrier: a number of members begin something together and end it together, round after round.
//!
//! **What it guarantees.** [`DoubleBarrier::enter`] returns only after a moment at which that many members were at the
//! barrier, in one and the same round, this one among them: the transaction that opens a round checks the node of each of them.
//! [`DoubleBarrier::leave`] returns only after every member of the round has left, or its session has ended. It does **not** guarantee
//! that the others still live when `enter` returns. A member whose session expires is not there any more for the others,
//! although its process may go on: it is told by [`DoubleBarrier::lost`], and by `leave`, which fails.
//!
//! **Rounds.** The number of the present round is the data of the barrier's node, and part of the members' names. Opening a
//! round sets the next number, so nothing of a past round can open a later one: there is no `ready` node that somebody
//! must remove in time. Who was at the barrier when its round was opened has entered, however late it notices; who comes after that waits for
//! the next round. More than the number may enter together, if they come before the round is opened.
//!
//! **Robust**: a member that dies counts until its session times out, and is missing from the round after that, and another one may take its place; one that dies
//! inside does not keep the others from leaving; one that is slow finds the round open when it looks.
//!
//! **Fairness** does not apply. **CONNECTIONLOSS** during any request is survived: a member's node has a name of its own, and is
//! looked up. **Suspension**: calls wait. **Expiry** while entering: the member deletes what may be left of its node (a leader
//! that is deposed takes back that a session ended), and enters again in the client's next session, in the round that is present
//! then; while leaving: it has left, and waits for the others. **No herd** but the one that is
//! wanted: who waits for the round watches the one node; of those who leave, all but the first watch the first, and that one
//! watches the last.
//!
//! **Cancellation** is safe at every await: no node stays on a session that lives on. Dropping the barrier and all its clones
//! leaves it, without waiting for the others. The barrier's node is created as needed, with the client's default ACL, and
//! stays, because the numbers of its rounds go on; what is above it is made of containers.
//!
//! **All members must be told the same count**: it is part of a member's name, and who finds one of the present round with
//! another is refused with [`Error::CountMismatch`]. (Of two that come at the same moment both may be.)
//!
//! **A resumed session** still owns the node of the process that had it before, which counts as a member: see
//! [`lock`](crate::lock).
//!
//! **Not interoperable** with Curator's `DistributedDoubleBarrier` and kazoo's `DoubleBarrier`, which have no rounds: there a
//! `ready` node that was left behind opens the next round early. Their nodes are refused.

mod enter;
mod leave;
#[cfg(test)]
mod model;
mod round;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use zk_client::Client;

use crate::{
    attempt::Attempt,
    error::{Error, Result},
    held::Held,
    lock::Lost,
    own_node::{OwnNode, Withdrawn},
};

/// A place in a double barrier: [`ClientExt::double_barrier`](crate::ClientExt::double_barrier).
///
/// Clones are the same member.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until it is entered"]
pub struct DoubleBarrier {
    member: Arc<Member>,
}

/// What clones share, and the tasks that enter and leave.
#[derive(Debug)]
struct Member {
    client: Client,
    path: Arc<str>,
    count: usize,
    place: Mutex<Place>,
    /// Notified when somebody who gave up is outside.
    withdrawn: Notify,
    /// Nodes of sessions that ended, and that may be there for a while all the same.
    remains: Mutex<Vec<Arc<str>>>,
}

/// Where a member is.
#[derive(Debug)]
enum Place {
    Outside,
    /// Entering or leaving, for whoever asked for it.
    Between(GivenUp),
    /// Its node is going: whoever gave up has to be gone before it can come again, or it would count twice.
    Withdrawing,
    Inside(Inside),
}

#[derive(Debug)]
struct Inside {
    held: Held,
    round: u64,
    /// Of whoever asked to enter.
    given_up: GivenUp,
}

/// Whether whoever asked for something does not wait for it any more; set with the place locked.
type GivenUp = Arc<AtomicBool>;

/// Whoever waits to be told. Dropped before, what was begun for it is undone: nobody else would.
struct Waiting {
    member: Arc<Member>,
    given_up: GivenUp,
    told: bool,
}

impl Waiting {
    fn new(member: &Arc<Member>) -> Self {
        Self {
            member: Arc::clone(member),
            given_up: GivenUp::default(),
            told: false,
        }
    }

    fn told(mut self) {
        self.told = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.told {
            // Dropping the place withdraws its node.
            drop(self.member.give_up(&self.given_up));
        }
    }
}

impl DoubleBarrier {
    pub(crate) fn new(client: &Client, path: &str, count: usize) -> Self {
        Self {
            member: Arc::new(Member {
                client: client.clone(),
                path: path.into(),
                count,
                place: Mutex::new(Place::Outside),
                withdrawn: Notify::new(),
                remains: Mutex::default(),
            }),
        }
    }

    /// The barrier's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.member.path
    }

    /// Enters, and returns when enough members have; the number of the round.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::OutOfTurn`] inside already or when entering is under way, [`Error::Foreign`] beside
    /// another recipe's nodes, [`Error::BadContent`] where the node's data is no round, and with what the client reports. Then
    /// the member is outside.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the barrier again; the next `enter` begins when the node of this one is gone.
    pub fn enter(&self) -> Attempt<u64> {
        let span = tracing::debug_span!("enter", path = %self.member.path);
        let waiting = Waiting::new(&self.member);
        let (member, given_up) = (Arc::clone(&self.member), Arc::clone(&waiting.given_up));
        Attempt::taking(
            (&self.member.client, &self.member.path, span),
            |answer| enter::run(member, given_up, answer),
            |round| {
                waiting.told();
                round
            },
        )
    }

    /// Leaves, and returns when all members of the round have.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::OutOfTurn`] outside, and with [`Error::Lost`] when the place was lost while inside: then the
    /// others may have left, and begun the next round, without this member. In any case it has left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves without waiting for the others.
    pub fn leave(&self) -> Attempt<()> {
        let span = tracing::debug_span!("leave", path = %self.member.path);
        let waiting = Waiting::new(&self.member);
        let (member, given_up) = (Arc::clone(&self.member), Arc::clone(&waiting.given_up));
        Attempt::taking(
            (&self.member.client, &self.member.path, span),
            |answer| {
                // At once, so that whoever enters next is not still inside.
                let begun = member.begin_leaving(given_up);
                leave::run(member, begun, answer)
            },
            |()| waiting.told(),
        )
    }

    /// Resolves when the place inside is lost or left, with the reason; `None` outside.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        match &*self.member.place.lock() {
            Place::Inside(inside) => Some(inside.held.lost()),
            _ => None,
        }
    }
}

impl Member {
    /// Takes the member from outside to between, as soon as it is outside if it is on its way there.
    async fn begin_entering(&self, given_up: &GivenUp) -> Result<()> {
        loop {
            let withdrawn = self.withdrawn.notified();
            {
                let mut place = self.place.lock();
                match &*place {
                    Place::Outside => {
                        *place = Place::Between(Arc::clone(given_up));
                        return Ok(());
                    }
                    Place::Withdrawing => {}
                    // Its task will see it, too.
                    Place::Between(other) if other.load(Ordering::Relaxed) => {}
                    Place::Between(_) | Place::Inside(_) => return Err(self.out_of_turn()),
                }
            }
            withdrawn.await;
        }
    }

    /// Takes the member from between to outside, by way of the withdrawal of its node.
    async fn withdraw(&self, node: Option<&mut OwnNode>) {
        self.now(Place::Withdrawing);
        if let Some(node) = node {
            self.take_away(node).await;
        }
        self.now(Place::Outside);
        self.withdrawn.notify_waiters();
    }

    /// Takes the member from between to inside, unless it was given up; its node goes then.
    fn entered(&self, inside: Inside) {
        let mut place = self.place.lock();
        let (next, left) = match inside.given_up.load(Ordering::Relaxed) {
            true => (Place::Outside, Some(inside)),
            false => (Place::Inside(inside), None),
        };
        *place = next;
        drop(place);
        if left.is_some() {
            self.withdrawn.notify_waiters();
        }
    }

    /// Nobody waits any more: the task that carries it out sees that. Who was inside by then and did not know is outside now.
    fn give_up(&self, given_up: &GivenUp) -> Option<Inside> {
        let mut place = self.place.lock();
        given_up.store(true, Ordering::Relaxed);
        match std::mem::replace(&mut *place, Place::Outside) {
            Place::Inside(inside) if Arc::ptr_eq(&inside.given_up, given_up) => Some(inside),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Takes the member from inside to between.
    fn begin_leaving(&self, given_up: GivenUp) -> Result<Inside> {
        let mut place = self.place.lock();
        match std::mem::replace(&mut *place, Place::Outside) {
            Place::Inside(inside) => {
                *place = Place::Between(given_up);
                Ok(inside)
            }
            other => {
                *place = other;
                Err(self.out_of_turn())
            }
        }
    }

    /// Makes the node go away, or remembers it where its session ended before.
    async fn take_away(&self, node: &mut OwnNode) -> Withdrawn {
        let withdrawn = node.withdraw().await;
        if matches!(withdrawn, Withdrawn::SessionEnded) {
            self.outlives(node);
        }
        withdrawn
    }

    /// The session of this node ended before it was deleted.
    ///
    /// A leader says so before the others agree, and if it is deposed they may keep session and node for another timeout; then
    /// the member would count twice.
    fn outlives(&self, node: &OwnNode) {
        if !node.is_absent() {
            self.remains.lock().push(Arc::clone(node.path()));
        }
    }

    fn now(&self, place: Place) {
        *self.place.lock() = place;
    }

    fn out_of_turn(&self) -> Error {
        Error::OutOfTurn {
            path: Arc::clone(&self.path),
        }
    }
}

//! What a member was given: items, each with its lock.

use std::{collections::BTreeSet, fmt, future::pending, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{join_all, select_all},
};

use super::Division;
use crate::{
    error::{Error, Result},
    lock::{Claim, LockGuard, LostReason},
};

/// One member's share of the items, each of them locked.
///
/// Dropping it releases them in the background, also outside a runtime; [`release`](Self::release) waits for that.
#[must_use = "dropping it releases the items"]
pub struct Allocation {
    division: Division,
    /// Whom the items were divided among.
    members: BTreeSet<String>,
    items: Vec<Arc<str>>,
    /// Of each item, in their order.
    locks: Vec<LockGuard>,
}

/// Why an [`Allocation`] should be released, and another be asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Ended {
    /// The members are others than those that the items were divided among. The items are still held, and others may wait for them: finish, release and
    /// [allocate](super::Partitioner::allocate) again.
    Rebalance,
    /// An item is not held any more. Stop touching it, and look at the others ([`Allocation::ensure`]): an expired session takes
    /// all of them.
    Lost {
        /// The item, or the first of several.
        item: Arc<str>,
        /// How it was lost.
        reason: LostReason,
    },
    /// The members cannot be seen any more: the client has no session for good, or may not read them.
    Failed(Error),
}

impl Allocation {
    pub(super) const fn new(
        division: Division,
        members: BTreeSet<String>,
        items: Vec<Arc<str>>,
        locks: Vec<LockGuard>,
    ) -> Self {
        Self {
            division,
            members,
            items,
            locks,
        }
    }

    /// The items, in the order of their names. None where there are more members than items.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| &**item)
    }

    /// The items, each with the proof that it is held: fence what it stands for with its [token](Claim::token).
    pub fn claims(&self) -> impl Iterator<Item = (&str, &Claim)> {
        let claims = self.locks.iter().map(|lock| &**lock);
        self.items().zip(claims)
    }

    /// The proof that this item is held; `None` where it is not among those of this allocation.
    #[must_use]
    pub fn claim(&self, item: &str) -> Option<&Claim> {
        let mut claims = self.claims();
        claims.find_map(|(name, claim)| (name == item).then_some(claim))
    }

    /// Whether all items are still held, and for how long that is certain from now on.
    ///
    /// Synchronous and cheap; ask before every side effect, or ask the [claim](Self::claim) of the one item. That it should be released
    /// for a rebalance is told by [`ended`](Self::ended) only.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], with the path of the lock of one that is lost.
    pub fn ensure(&self) -> Result<Duration> {
        let mut left = Duration::MAX;
        for lock in &self.locks {
            left = left.min(lock.ensure()?);
        }
        Ok(left)
    }

    /// Resolves when an item is lost or released, or when the members are others than those that the items were divided among.
    ///
    /// `'static`, so it can be spawned; keeps no item locked. Made or polled later it tells the same, but for a
    /// member that came and went between two looks: then the shares are what they were.
    pub fn ended(&self) -> impl Future<Output = Ended> + Send + use<> {
        let losses: Vec<_> = (self.items.iter().zip(&self.locks))
            .map(|(item, lock)| {
                let (item, lost) = (Arc::clone(item), lock.lost());
                lost.map(|reason| Ended::Lost { item, reason })
            })
            .collect();
        let (division, members) = (self.division.clone(), self.members.clone());
        async move {
            let lost = async {
                match losses.is_empty() {
                    true => pending().await,
                    false => select_all(losses).await.0,
                }
            };
            tokio::select! {
                biased;
                ended = lost => ended,
                others = division.others_than(&members) => match others {
                    Ok(()) => Ended::Rebalance,
                    Err(error) => Ended::Failed(error),
                },
            }
        }
    }

    /// Releases all items and returns when the nodes of their locks are gone.
    ///
    /// # Errors
    ///
    /// The first error, [`Error::Lost`] where an item was lost before; the others are released all the same.
    pub async fn release(self) -> Result<()> {
        let released = join_all(self.locks.into_iter().map(LockGuard::release)).await;
        released.into_iter().collect()
    }
}

impl fmt::Debug for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocation")
            .field("path", &self.division.path)
            .field("items", &self.items)
            .finish_non_exhaustive()
    }
}

//! A queue: items that are processed at least once, in order of priority and then of arrival.
//!
//! **Before you use it**, what ZooKeeper's own people say: do not. Netflix's and Apache Curator's tech note 4 calls ZooKeeper
//! a bad queue: a node holds a megabyte at most and the list of all names must fit into one answer (`jute.maxbuffer`), so
//! that a queue that grew long once can neither be listed nor emptied by ordinary means; ZooKeeper keeps everything in memory; starting
//! is slow with many nodes; and thousands of nodes under one parent slow everybody down. Apache's page on recipes offers a
//! queue with the same caveats. It is good for tens or hundreds of items that must not be lost and that an ensemble at hand
//! may coordinate; for more, take a message broker.
//!
//! **What it guarantees.** An item that [`Queue::put`] has accepted is delivered until a delivery is acknowledged: at least once.
//! An acknowledgement that returns `Ok` is final. While a [`Delivery`] is certain ([`Delivery::ensure`]) no other
//! consumer of this recipe has the item; a consumer that is paused can go on after that, as with any lock. A put that returns `Ok` put the item
//! exactly once; [`Error::Unknown`] and [`Error::Timeout`] say that it may be in the queue. It does **not** guarantee exactly-once processing: an
//! item comes back when its consumer fails between the work and the acknowledgement. What changes ZooKeeper only can be
//! acknowledged in the same transaction: [`Delivery::ack_with`].
//!
//! **Order and fairness.** The smallest priority first, and of equal ones the oldest first, among those that nobody has claimed; with
//! several consumers, and after a redelivery, items are processed out of order. Consumers are not served in turn. **Delayed** items
//! ([`Queue::put_after`]) come no sooner than that, by the leader's clock, and then in this order.
//!
//! **CONNECTIONLOSS** during a put is decided by an ephemeral marker that is created in the same transaction, and removed
//! afterwards; during a claim by the claim itself, which names the delivery; during an acknowledgement by the claim, which goes with it. **Suspension**:
//! calls wait; a delivery stays certain until its deadline, as a lock does. **Expiry**: unacknowledged items come back at
//! once; a consumer that waits goes on in the client's next session; puts and acknowledgements whose outcome is open
//! then are [`Error::Unknown`].
//!
//! **Poison.** Every delivery is counted with its claim, in the version of the item's node, before its consumer sees it: so an item
//! that kills its consumer is counted, too, and so is a claim that nobody saw, because its `take` was dropped or timed out or its session
//! ended just then. Let a `take` have more time than a few round trips need. With [`Queue::dead_letters_after`] an item that was delivered so often goes to the dead letters
//! instead, from where it can be [put back](Queue::requeue).
//!
//! **Cancellation** is safe at every await: no claim stays on a session that lives on, and what was claimed for nobody comes back at
//! once. Dropping a delivery gives the item back. **Herd**: consumers that wait watch the items, the delayed ones, and the claims too while there
//! are items; all of them look when one comes, is claimed or comes back, and try to claim what they find: of as many
//! writes one succeeds. Who finds items makes no watch.
//!
//! **A resumed session** still owns the claims of the process that had it before, whose items nobody gets: see
//! [`lock`](crate::lock).
//!
//! **Permissions.** A claim needs READ and WRITE on the item, whose data it sends once more, CREATE and DELETE on the claims' directory, and an
//! acknowledgement DELETE on the items'; for delayed items it takes WRITE, CREATE and DELETE on their directory, too. An item that a consumer cannot claim, because of its ACL or because the consumer's requests
//! may not be so long, is passed over, with a warning; only where there is no other does the call fail with the reason.
//!
//! **Interoperable** with kazoo's `LockingQueue` (whose claims are not counted). Curator's queues and kazoo's `Queue` hand items
//! out by deleting them: an item could be lost, or be processed beside a claim; their items in the directory are refused.
//!
//! ```
//! # use futures::StreamExt;
//! # use zk_client::Client;
//! # use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let queue = client.queue("/jobs").dead_letters_after(5);
//! queue.put("sweep").await?;
//! queue.put_at(1, "extinguish").await?;             // before everything with a larger number
//!
//! let mut deliveries = queue.deliveries();
//! while let Some(delivery) = deliveries.next().await {
//!     let delivery = delivery?;
//!     let work = async { delivery.data().len() };
//!     let len = delivery.run(work).await?;          // dropped when somebody else may be given the item
//!     delivery.ack_with(client.multi().create(&format!("/done-{len}"), "")).await?;
//! #   if len == 5 { break }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!   /q/entries/entry-{priority}-{seq}   an item; persistent, as is its directory: the numbers must not begin anew
//!   /q/taken/entry-{priority}-{seq}     a claim on it, ephemeral; its data begins with the consumer's identity
//!   /q/puts/{uuid}                      a put that is under way, ephemeral
//!   /q/dead/entry-{priority}-{seq}      a dead letter
//!   /q/delayed/due-{ms}-{priority}-{seq}  an item that is not to be had yet
//! ```
//!
//! [`Error::Unknown`]: crate::Error::Unknown
//! [`Error::Timeout`]: crate::Error::Timeout

mod dead;
mod delay;
mod delivery;
#[cfg(test)]
mod model;
mod order;
mod place;
mod put;
mod stream;
mod take;

use std::{sync::Arc, time::Duration};

use zk_client::{Client, ErrorKind, Payload};

use self::place::Place;
pub use self::{dead::DeadLetter, delivery::Delivery, stream::Deliveries};
use crate::{
    attempt::Attempt,
    connection::Persistence,
    error::{Error, Result},
};

/// The priority of items that are put without one, as kazoo's.
pub const DEFAULT_PRIORITY: u16 = 100;

/// A queue at a path: [`ClientExt::queue`](crate::ClientExt::queue). Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until one of its methods is awaited"]
pub struct Queue {
    place: Arc<Place>,
    /// After how many deliveries an item is a dead letter.
    deliveries_max: Option<u32>,
}

impl Queue {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            place: Arc::new(Place::new(client, path)),
            deliveries_max: None,
        }
    }

    /// After this many claims without an acknowledgement, delivered or not, an item goes to the dead letters; never unless told.
    ///
    /// It goes there when this queue would deliver it once more, so all consumers should be told the same.
    pub const fn dead_letters_after(mut self, deliveries: u32) -> Self {
        self.deliveries_max = Some(deliveries);
        self
    }

    /// The queue's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.place.path
    }

    /// Puts an item into the queue, with [`DEFAULT_PRIORITY`].
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Unknown`] and [`Error::Timeout`] when it cannot be told whether the item is in the queue; with
    /// [`Error::Foreign`] and what the client reports when it is not, or as the outcome of [`Error::Client`] says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the item is put.
    pub fn put<'p>(&self, item: impl Into<Payload<'p>>) -> Attempt<()> {
        self.put_all_at(DEFAULT_PRIORITY, None, [item])
    }

    /// Puts an item with a priority: 0 comes first, 999 last; larger ones count as 999. As [`put`](Self::put).
    pub fn put_at<'p>(&self, priority: u16, item: impl Into<Payload<'p>>) -> Attempt<()> {
        self.put_all_at(priority, None, [item])
    }

    /// Puts an item that is not to be had before `delay` has passed, with [`DEFAULT_PRIORITY`]. As [`put`](Self::put).
    ///
    /// The time is the leader's, and counted from a moment after the call; who takes it makes it an item then, so it comes later where
    /// nobody of this recipe takes. Until then it is none: [`len`](Self::len) and kazoo's consumers do not see it. A new leader's clock
    /// may differ from the old one's, and the time from the delay by as much.
    pub fn put_after<'p>(&self, delay: Duration, item: impl Into<Payload<'p>>) -> Attempt<()> {
        self.put_all_at(DEFAULT_PRIORITY, Some(delay), [item])
    }

    /// Puts several items in one transaction, all or none. As [`put`](Self::put).
    pub fn put_all<'p>(
        &self,
        items: impl IntoIterator<Item = impl Into<Payload<'p>>>,
    ) -> Attempt<()> {
        self.put_all_at(DEFAULT_PRIORITY, None, items)
    }

    fn put_all_at<'p>(
        &self,
        priority: u16,
        delay: Option<Duration>,
        items: impl IntoIterator<Item = impl Into<Payload<'p>>>,
    ) -> Attempt<()> {
        let items = items.into_iter().map(|item| item.into().into_bytes());
        let what = put::Put {
            priority: priority.min(999),
            delay,
            items: items.collect(),
        };
        let place = Arc::clone(&self.place);
        let span = tracing::debug_span!("put", path = %place.path);
        Attempt::new(
            (&self.place.client, &self.place.path, span),
            move |answer| put::run(place, what, answer),
        )
    }

    /// Takes the next item, and waits for one where there is none.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Foreign`] beside another recipe's items, and with what the client reports.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what it may have claimed.
    pub fn take(&self) -> Attempt<Delivery> {
        let place = Arc::clone(&self.place);
        let request = take::Request {
            max: 1,
            waits: true,
            deliveries_max: self.deliveries_max,
        };
        let span = tracing::debug_span!("take", path = %place.path);
        Attempt::new(
            (&self.place.client, &self.place.path, span),
            move |answer| {
                take::run(place, request, answer, |mut all| match all.pop() {
                    Some(delivery) => Ok(delivery),
                    // Who waits is not answered without an item.
                    None => Err(Error::SessionGone {
                        reason: ErrorKind::Closed,
                    }),
                })
            },
        )
    }

    /// Takes the next item if there is one now. As [`take`](Self::take).
    pub fn try_take(&self) -> Attempt<Option<Delivery>> {
        self.take_some((1, false), |mut all| Ok(all.pop()))
    }

    /// Takes up to `max` items, at least one, and waits where there is none. As [`take`](Self::take).
    pub fn take_batch(&self, max: usize) -> Attempt<Vec<Delivery>> {
        self.take_some((max.max(1), true), Ok)
    }

    fn take_some<T: Send + 'static>(
        &self,
        (max, waits): (usize, bool),
        finish: impl FnOnce(Vec<Delivery>) -> Result<T> + Send + 'static,
    ) -> Attempt<T> {
        let place = Arc::clone(&self.place);
        let request = take::Request {
            max,
            waits,
            deliveries_max: self.deliveries_max,
        };
        let span = tracing::debug_span!("take", path = %place.path);
        Attempt::new(
            (&self.place.client, &self.place.path, span),
            move |answer| take::run(place, request, answer, finish),
        )
    }

    /// The items as a stream that does not end before an error: one [`take`](Self::take) after the other.
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.clone())
    }

    /// How many items there are, claimed ones included, delayed ones not.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports.
    pub fn len(&self) -> Attempt<usize> {
        self.count("len", |place| &place.entries)
    }

    /// How many items are [not to be had yet](Self::put_after), or due and not taken by anybody.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports.
    pub fn delayed_len(&self) -> Attempt<usize> {
        self.count("delayed len", |place| &place.delayed)
    }

    fn count(&self, op: &'static str, directory: fn(&Place) -> &Arc<str>) -> Attempt<usize> {
        let place = Arc::clone(&self.place);
        self.attempt(op, async move {
            let mut persistence = Persistence::new();
            loop {
                match place.client.exists(directory(&place)).await {
                    Ok(stat) => {
                        let children = stat.map_or(0, |stat| stat.num_children);
                        return Ok(usize::try_from(children).unwrap_or_default());
                    }
                    Err(error) => persistence.after(&place.client, error).await?,
                }
            }
        })
    }

    /// The dead letters, the oldest first.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports.
    pub fn dead_letters(&self) -> Attempt<Vec<DeadLetter>> {
        let place = Arc::clone(&self.place);
        self.attempt("dead letters", async move { dead::list(&place).await })
    }

    /// Puts a dead letter back into the queue, with its priority; false where it is not there any more.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. After a lost answer it looks whether the letter is gone; where it cannot,
    /// with [`Error::Unknown`].
    pub fn requeue(&self, letter: &DeadLetter) -> Attempt<bool> {
        let (place, letter) = (Arc::clone(&self.place), letter.clone());
        self.attempt(
            "requeue",
            async move { dead::requeue(&place, &letter).await },
        )
    }

    /// Throws a dead letter away; false where it is not there any more.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. After a lost answer it looks whether the letter is gone; where it cannot,
    /// with [`Error::Unknown`].
    pub fn discard(&self, letter: &DeadLetter) -> Attempt<bool> {
        let (place, letter) = (Arc::clone(&self.place), letter.clone());
        self.attempt(
            "discard",
            async move { dead::discard(&place, &letter).await },
        )
    }

    fn attempt<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("queue", path = %self.place.path, op);
        Attempt::plain((&self.place.client, &self.place.path, span), work)
    }
}

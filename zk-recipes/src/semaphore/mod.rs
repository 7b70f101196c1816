//! The semaphore: at most so many leases at once, first come, first served.
//!
//! **What it guarantees.** Of the leases of one semaphore at most `count` are *certain* ([`ensure`](crate::lock::Claim::ensure) is
//! `Ok`) at any time, with the limits of every [`lock`](crate::lock): clocks, paused processes, a deposed leader, and that everybody
//! names the same count. There is **no fencing token**: holders of the same time would fence each other. Where what is
//! shared can be divided, lock each part; where it cannot, let [`commit`](crate::lock::Claim::commit) fence writes to ZooKeeper.
//!
//! **How.** A mutex admits one at a time; whoever holds it waits until there is room, creates its lease in a transaction that
//! fails when the mutex is lost, and looks again, before it counts the lease as its own. A lease that would be one too many
//! (another recipe's late create) is given back. **Fairness**: in the order of arrival at the mutex. **No herd**: only the holder of the mutex watches
//! the leases. A **try** is turned away by anybody who has or wants the mutex, a moment before or after it gets a lease, too: `None` does
//! not say that there was no room (as with Curator's and kazoo's). Where there is none it creates nothing.
//!
//! **The count can change**: with [`count_at`](Acquire::count_at) it is read from a node (four bytes, big-endian: Curator's
//! `SharedCount`) and watched. Raised, it lets those who wait in at once; lowered, it takes no lease away, and lets nobody in
//! until enough are released.
//!
//! **CONNECTIONLOSS** in any request is survived: the lease is looked up by its identifier, so that there is never a second
//! one. **Suspension** takes no lease before its deadline; the first waiter, who holds the mutex, loses that after two thirds of
//! the session timeout without an answer, and queues again at the end. **Expiry** ends a lease at its deadline; a waiter begins
//! again in the client's next session. **Cancellation** is safe at every await, and a lease that is lost is deleted if the
//! session turns out to live.
//!
//! **A resumed session** still owns what its process held before: see [`lock`](crate::lock).
//!
//! Shared with Curator's `InterProcessSemaphoreV2` ([`LockLayout::Curator`]) or kazoo's `Semaphore` ([`LockLayout::Kazoo`]) at the same
//! path. kazoo keeps the count in the semaphore's own node: another count than that is refused, and it cannot change.
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! let first = client.semaphore("/limits/downloads", 2).await?;
//! let second = client.semaphore("/limits/downloads", 2).await?;
//! assert!(client.semaphore("/limits/downloads", 2).try_acquire().await?.is_none());
//! first.release().await?;
//! let third = client.semaphore("/limits/downloads", 2).await?;
//! # drop((second, third));
//! # Ok(())
//! # }
//! ```

mod decision;
mod layout;
mod seeker;

use std::sync::Arc;

use futures::future::BoxFuture;
use zk_client::Client;

use self::{layout::Paths, seeker::Seeker};
use crate::{
    contender::{Acquire, Answer, Fenced, Guard, Kind, Wanted, holders, sealed, serve},
    error::Result,
    lock::{LockContender, LockLayout},
};

/// One of the leases of a [semaphore](crate::semaphore).
#[derive(Debug, Clone, Copy)]
pub enum Permit {}

/// The guard of a lease.
pub type Lease = Guard<Permit>;

/// How many leases there may be.
#[derive(Debug, Clone, Default)]
pub struct Count {
    /// Unless a node says another number.
    pub(crate) fixed: u32,
    pub(crate) node: Option<Arc<str>>,
}

impl Kind for Permit {}
impl Fenced for Permit {}

#[expect(private_interfaces, reason = "sealed: nobody else calls it")]
impl sealed::Contend for Permit {
    type Wish = Count;

    fn contend(wanted: Wanted<Self>, answer: Answer<Self>) -> BoxFuture<'static, ()> {
        Box::pin(serve(Seeker::new(wanted), answer))
    }
}

/// The wait for a lease of the semaphore at `path`.
pub(crate) fn acquire(client: &Client, path: &str, count: u32) -> Acquire<Permit> {
    let mut acquire = Acquire::<Permit>::new(Some(client.clone()), path);
    acquire.wish().fixed = count;
    acquire
}

impl Acquire<Permit> {
    /// Reads the count from the node at `path`, as long as there is one, and follows its changes.
    ///
    /// The node holds a number of four bytes, big-endian, as Curator's `SharedCount` and this crate's write it. While it
    /// does not exist, or holds anything else (which is warned of), the count is the one that was given.
    ///
    /// Not in kazoo's layout, where the count cannot change.
    pub fn count_at(mut self, path: &str) -> Self {
        self.wish().node = Some(path.into());
        self
    }

    /// Lists who holds a lease, the oldest lease first.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentClient`](crate::Error::NoCurrentClient) without a client, and what the client reports.
    pub async fn holders(self) -> Result<Vec<LockContender>> {
        let (client, path, options) = self.parts()?;
        let paths = Paths::new(path, options.layout);
        let mut holders = holders(client, &paths.leases).await?;
        if options.layout == LockLayout::Curator {
            holders.retain(|holder| layout::is_lease(&holder.node));
        }
        Ok(holders)
    }
}

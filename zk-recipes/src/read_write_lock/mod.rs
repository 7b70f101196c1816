//! The read-write lock: any number of readers, or one writer, in the order of their arrival.
//!
//! **What it guarantees.** While a [`WriteGuard`] is *certain* ([`ensure`](crate::lock::Claim::ensure) is `Ok`) no other guard of
//! either kind is; while a [`ReadGuard`] is, no writer is. The limits are those of every [`lock`](crate::lock): clocks, paused
//! processes and a deposed leader. So writers have a fencing [`token`](crate::lock::Claim::token), larger than every writer's before
//! it; readers have none, because readers that hold together would fence each other.
//!
//! **Fairness.** Strictly by arrival: a reader waits for the writers that came before it, a writer for everybody. So
//! readers do not starve writers.
//!
//! **CONNECTIONLOSS** in any request, **suspension** and **expiry** (with renewal) are met as the [`lock`](crate::lock) meets them:
//! one node for each contender, looked up after a lost reply; a guard stays good until its deadline; a waiter whose session
//! expired queues again in the next. **Cancellation** is safe at every await. **Wake-ups**: a writer watches the node before its own, a
//! reader the last writer before it; so a writer's release wakes all readers behind it, since all of them may go on.
//!
//! **Downgrade.** [`WriteGuard::downgrade`] turns the writer into a reader in one transaction and keeps its place: readers
//! behind it come in, a writer does not. **No upgrade**: two readers that want to become the writer would wait for each other;
//! release, and acquire the write lock.
//!
//! **A resumed session** still owns what its process held before: see [`lock`](crate::lock).
//!
//! Shared with Curator's `InterProcessReadWriteLock` ([`LockLayout::Curator`](crate::LockLayout::Curator)) or kazoo's `ReadLock`
//! and `WriteLock` ([`LockLayout::Kazoo`](crate::LockLayout::Kazoo)) at the same path. In Curator's layout a mutex in the same directory is
//! refused. kazoo's mutex cannot be told from its writer, and does not see readers: keep it out of the directory.
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! let writer = client.write_lock("/locks/catalogue").await?;
//! println!("write with token {}", writer.token());
//! let reader = writer.downgrade().await?;                        // nobody wrote in between
//! let other = client.read_lock("/locks/catalogue").await?;       // and others read along
//! assert!(client.write_lock("/locks/catalogue").try_acquire().await?.is_none());
//! other.release().await?;
//! reader.release().await?;
//! # Ok(())
//! # }
//! ```

mod downgrade;

use tokio::sync::oneshot;
use zk_client::Client;

pub(crate) use self::downgrade::Downgrade;
use crate::{
    attempt::Attempt,
    contender::{Acquire, Claim, Exclusive, Guard, Request, queued},
    error::Result,
    lock::LostReason,
};

queued! {
    /// One of the readers of a [read-write lock](crate::read_write_lock).
    Read, Read
}

queued! {
    /// The writer of a [read-write lock](crate::read_write_lock).
    Write, Write
}

impl Exclusive for Write {}

/// The guard of one of the readers.
pub type ReadGuard = Guard<Read>;

/// The guard of the writer.
pub type WriteGuard = Guard<Write>;

pub(crate) fn read(client: &Client, path: &str) -> Acquire<Read> {
    Acquire::new(Some(client.clone()), path)
}

pub(crate) fn write(client: &Client, path: &str) -> Acquire<Write> {
    Acquire::new(Some(client.clone()), path)
}

impl WriteGuard {
    /// Turns the writer into a reader, without letting anybody write in between.
    ///
    /// The writer's claims are lost from the first poll on.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Lost`](crate::Error::Lost) when the lock was lost first, and with what the server says
    /// against the transaction; the lock is released then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases the lock; so does its timeout.
    pub fn downgrade(self) -> Attempt<ReadGuard> {
        let (client, path) = (self.session().clone(), self.path().into());
        let span = tracing::debug_span!("downgrade", %path);
        Attempt::begun((&client, &path, span), move || {
            let asked = self.ask_to_downgrade();
            async move {
                let (claim, ended, answer) = asked?;
                answer.await.unwrap_or_else(|_| {
                    // The keeper is gone: by a loss that it told, or with the client.
                    Err(claim.loss(match ended {
                        LostReason::Released => LostReason::SessionEnded,
                        lost => lost,
                    }))
                })
            }
        })
    }

    fn ask_to_downgrade(self) -> Result<(Claim<Write>, LostReason, Downgraded)> {
        self.ensure()?;
        let (claim, mut hold) = self.into_parts();
        let (reply, answer) = oneshot::channel();
        hold.ask(Request::Downgrade(reply));
        // Before the transaction: after it others may read.
        let ended = claim.end();
        Ok((claim, ended, answer))
    }
}

/// Where the reader's guard is to be waited for.
type Downgraded = oneshot::Receiver<Result<ReadGuard>>;

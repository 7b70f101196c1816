//! The multi-lock: several locks as one, all or nothing.
//!
//! **What it guarantees.** The guard exists only while all of its locks are held; it is lost when any of them is. Each of them
//! is a [`lock`](crate::lock) with that page's guarantees, limits, fairness, and behaviour on CONNECTIONLOSS, suspension and
//! expiry, and has a token of its own: fence each resource with the token of its lock. **Deadline**: one for all of them together.
//! When it passes, or one of them cannot be had, those acquired so far are given back. One that is lost while it waits for
//! the next makes it begin again with the first, at once and within the same deadline.
//!
//! **No deadlock** between multi-locks: the paths are locked one after another in the order of their names, each once,
//! whatever order they are given in, and released in reverse. (With single locks that are taken in another order there can be
//! one; a timeout ends it.) **Cancellation** is safe at every await.
//!
//! Shared with Curator's `InterProcessMultiLock` of mutexes, as far as that is given its locks in the order of their paths.
//!
//! ```
//! # use std::time::Duration;
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! let both = client.multi_lock(["/accounts/a", "/accounts/b"]).timeout(Duration::from_secs(5)).await?;
//! both.ensure()?;
//! for guard in both.guards() {
//!     println!("{} with token {}", guard.path(), guard.token());
//! }
//! both.release().await?;
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod model;

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use futures::future::{BoxFuture, FutureExt, select_all};
use tokio::time::Instant;
use zk_client::Client;

use crate::{
    contender::Options,
    error::{Error, Result},
    lock::{Lock, LockGuard, LockLayout, LostReason},
};

/// Which locks to acquire together, and how; await it for a [`MultiLockGuard`].
#[derive(Debug, Clone)]
#[must_use = "nothing is acquired until it is awaited"]
pub struct MultiLock {
    client: Client,
    paths: Vec<Arc<str>>,
    options: Options,
    timeout: Option<Duration>,
}

/// Several locks that are held together.
///
/// Dropping it releases them in the background.
#[derive(Debug)]
#[must_use = "dropping the guard releases the locks"]
pub struct MultiLockGuard {
    /// In the order in which they were acquired.
    guards: Vec<LockGuard>,
}

/// The paths, each once, in the order in which everybody locks them.
fn in_order<P: AsRef<str>>(paths: impl IntoIterator<Item = P>) -> Vec<Arc<str>> {
    let mut paths: Vec<Arc<str>> = paths.into_iter().map(|path| path.as_ref().into()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

impl MultiLock {
    pub(crate) fn new<P: AsRef<str>>(client: &Client, paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            client: client.clone(),
            paths: in_order(paths),
            options: Options::default(),
            timeout: None,
        }
    }

    /// Gives up after this long in all, counted from the first poll.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whose names to use, in all of the directories.
    pub const fn layout(mut self, layout: LockLayout) -> Self {
        self.options.layout = layout;
        self
    }

    /// What to tell others who ask who holds the locks; the client's identity unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.options.identity = Some(identity.into());
        self
    }

    /// What is to prove that each still is held; [`Heartbeat::Sync`](crate::lock::Heartbeat::Sync) unless told.
    pub const fn heartbeat(mut self, heartbeat: crate::lock::Heartbeat) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// After how long a wait for one of them to warn who holds it; 30 s unless told.
    pub const fn warn_after(mut self, wait: Duration) -> Self {
        self.options.warn_after = Some(wait);
        self
    }

    /// Takes the locks only if nobody holds or waits for any of them; `None` otherwise.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As awaiting it, and [`Error::Lost`] when one was lost in the meantime.
    pub async fn try_acquire(self) -> Result<Option<MultiLockGuard>> {
        self.acquire(false).await
    }

    async fn acquire(self, waits: bool) -> Result<Option<MultiLockGuard>> {
        let began = Instant::now();
        loop {
            match self.attempt(waits, began).await {
                Err(error) if waits && error.is_lost() => {
                    tracing::debug!(%error, "lost while waiting for another lock; begins again");
                }
                attempted => return attempted,
            }
        }
    }

    async fn attempt(&self, waits: bool, began: Instant) -> Result<Option<MultiLockGuard>> {
        // Dropped on every way out but the last: what was acquired so far is given back.
        let mut held = MultiLockGuard { guards: Vec::new() };
        for path in &self.paths {
            let mut acquire = Lock::with(&self.client, path).with_options(self.options.clone());
            if let Some(timeout) = self.timeout {
                acquire = acquire.timeout(timeout.saturating_sub(began.elapsed()));
            }
            let acquired = async {
                match waits {
                    true => acquire.await.map(Some),
                    false => acquire.try_acquire().await,
                }
            };
            let acquired = tokio::select! {
                biased;
                // An error by now.
                _ = held.lost() => held.ensure().map(|_| None),
                acquired = acquired => acquired,
            };
            match acquired {
                Ok(Some(guard)) => held.guards.push(guard),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.in_all(error)),
            }
        }
        held.ensure()?;
        Ok(Some(held))
    }

    /// The time that passed is that of all of them.
    fn in_all(&self, error: Error) -> Error {
        match (error, self.timeout) {
            (Error::Timeout { path, .. }, Some(waited)) => Error::Timeout { path, waited },
            (error, _) => error,
        }
    }
}

impl IntoFuture for MultiLock {
    type Output = Result<MultiLockGuard>;
    type IntoFuture = BoxFuture<'static, Result<MultiLockGuard>>;

    /// Waits for all of the locks.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] names the lock that it waited for; else as for a single [`lock`](crate::ClientExt::lock). Nothing stays acquired then.
    fn into_future(self) -> Self::IntoFuture {
        let waited = self.timeout.unwrap_or_default();
        let path = self.paths.first().cloned().unwrap_or_default();
        let acquired = self.acquire(true).map(move |acquired| {
            // Who waits is never sent away.
            acquired.and_then(|guard| guard.ok_or(Error::Timeout { path, waited }))
        });
        acquired.boxed()
    }
}

impl MultiLockGuard {
    /// The guards, in the order of their paths.
    pub fn guards(&self) -> &[LockGuard] {
        &self.guards
    }

    /// Whether all of them are still held, and for how long that is certain from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], with the path of one that is lost.
    pub fn ensure(&self) -> Result<Duration> {
        let mut left = Duration::MAX;
        for guard in &self.guards {
            left = left.min(guard.ensure()?);
        }
        Ok(left)
    }

    /// Resolves when the first of them is lost, with the reason; never if there are none.
    pub async fn lost(&self) -> LostReason {
        let losses: Vec<_> = self.guards.iter().map(|guard| guard.lost()).collect();
        match losses.is_empty() {
            true => std::future::pending().await,
            false => select_all(losses).await.0,
        }
    }

    /// Runs `work` as long as all of them are held; drops it when one is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when one was lost before `work` was done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        let mut work = pin!(work);
        let mut lost = pin!(self.lost());
        std::future::poll_fn(|cx| {
            // The deadline is looked at even if nothing woke the task for it.
            let ended = lost.as_mut().poll(cx).is_ready();
            match self.ensure() {
                Err(error) => Poll::Ready(Err(error)),
                Ok(_) if ended => Poll::Pending,
                Ok(_) => work.as_mut().poll(cx).map(Ok),
            }
        })
        .await
    }

    /// Releases all of them, the last one first, and returns when their nodes are gone.
    ///
    /// # Errors
    ///
    /// The first error; the others are released all the same.
    pub async fn release(mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(guard) = self.guards.pop() {
            first = first.and(guard.release().await);
        }
        first
    }
}

impl Drop for MultiLockGuard {
    /// The last one first.
    fn drop(&mut self) {
        while self.guards.pop().is_some() {}
    }
}

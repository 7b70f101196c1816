//! The barrier: everybody waits as long as a node exists.
//!
//! **What it guarantees.** [`Barrier::wait`] returns only after a moment, later than its call, at which the leader had no
//! such node: never early, not even from a server that lags behind. It does **not** guarantee that the barrier is still down when
//! `wait` has returned, nor does a wait notice a barrier that was removed and set again quickly: it waits on, which is
//! what a new barrier asks for.
//!
//! **Fairness** does not apply: all that wait are told at once, by one watch each on the one node, which is the herd that a
//! barrier is there for. **CONNECTIONLOSS** during any request is survived: setting a barrier that is set already is as good, and a
//! `wait` looks again. A `set` whose answer is lost sets again, also where somebody has removed the barrier in that very moment:
//! who removes it should do so after `set` has returned. After a lost answer, [`Barrier::remove`] says `true` if an attempt of its own may have removed it.
//! **Suspension**: calls wait. **Expiry**: they go on in the client's next session; the barrier is a persistent node and stays
//! until somebody removes it.
//!
//! **Cancellation** is safe at every await; a dropped `set` or `remove` may be carried out. Parents are created as needed, as
//! containers, with the client's default ACL; the node's data says who set it.
//!
//! **Interoperable** with Curator's `DistributedBarrier` and kazoo's `Barrier`.
//!
//! ```
//! # use zk_client::Client;
//! # use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let barrier = client.barrier("/start");
//! barrier.set().await?;
//! let waiting = tokio::spawn(barrier.wait());   // here, or in any other process
//! barrier.remove().await?;
//! waiting.await??;
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod model;

use std::sync::Arc;

use zk_client::{Client, ErrorKind, Stat};

use crate::{
    attempt::Attempt,
    connection::{Change, Persistence},
    error::Result,
    parents,
};

/// A barrier at a path: [`ClientExt::barrier`](crate::ClientExt::barrier). Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until one of its methods is awaited"]
pub struct Barrier {
    client: Client,
    path: Arc<str>,
}

impl Barrier {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
        }
    }

    /// The barrier's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets the barrier; that it is set already is as good.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports (NOAUTH, ...); a lost connection is no error. Where an attempt may have been
    /// carried out and no other one can, with [`Error::Unknown`](crate::Error::Unknown).
    pub fn set(&self) -> Attempt<()> {
        let Self { client, path } = self.clone();
        self.attempt("set", async move {
            let mut change = Change::new(&client, &path);
            loop {
                match create(&client, &path).await {
                    Ok(()) => return Ok(()),
                    Err(error) => change.failed(error).await?,
                }
            }
        })
    }

    /// Removes the barrier; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn remove(&self) -> Attempt<bool> {
        let Self { client, path } = self.clone();
        self.attempt("remove", async move {
            let mut change = Change::new(&client, &path);
            loop {
                match client.delete(&path).await {
                    Ok(()) => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::NoNode => {
                        return Ok(change.is_undecided());
                    }
                    Err(error) => change.failed(error).await?,
                }
            }
        })
    }

    /// Returns when there is no barrier: at once if there is none.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports (NOAUTH, ...); a lost connection is no error.
    pub fn wait(&self) -> Attempt<()> {
        let Self { client, path } = self.clone();
        self.attempt("wait", async move {
            let mut persistence = Persistence::new();
            loop {
                match wait_once(&client, &path).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => persistence.reset(),
                    Err(error) => persistence.after(&client, error).await?,
                }
            }
        })
    }

    fn attempt<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("barrier", path = %self.path, op);
        Attempt::plain((&self.client, &self.path, span), work)
    }
}

async fn create(client: &Client, path: &str) -> zk_client::Result<()> {
    loop {
        match client.create(path, client.identity()).await {
            Err(error) if error.kind() == ErrorKind::NodeExists => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NoNode => {
                parents::of(client, path, error).await?;
            }
            created => return created.map(drop),
        }
    }
}

/// Looks as the leader sees it, and waits for a change if there is a barrier; whether there was none.
async fn wait_once(client: &Client, path: &str) -> zk_client::Result<bool> {
    let sync = client.sync(path).submit().await?;
    let exists = client.exists(path).watch().submit().await?;
    sync.await?;
    let (stat, change) = exists.await?;
    if is_down(stat.as_ref()) {
        return Ok(true);
    }
    change.await;
    Ok(false)
}

/// Whether a look that found this node, or none, found no barrier.
const fn is_down(barrier: Option<&Stat>) -> bool {
    barrier.is_none()
}

//! Revocation: asking whoever holds a lock, or waits for it, to let go.
//!
//! **What it guarantees.** A holder whose node was asked is told: its [`revocation`](crate::lock::Claim::revocation) resolves as soon as
//! its client has a connection, also where it was asked before it was granted the lock, and after any number of lost connections. It does **not**
//! guarantee that the holder lets go, nor when: it is a request, and the lock stays held until the guard is released, dropped or lost. Nor
//! does a request tell who asked, or reach anybody but the contender that it names: whoever comes next, or comes back in another session,
//! was not asked. What takes a lock from somebody who does not answer is the end of its session, and what makes that safe is the
//! [token](crate::lock::Claim::token).
//!
//! For every lock that queues: [`lock`](crate::lock), [read-write lock](crate::read_write_lock), [leadership](crate::leader). Fairness, expiry,
//! suspension, deadlines, cancellation and what a guard proves are those of its page: being asked ends no guard, nor does anything else
//! that somebody writes into its node. **CONNECTIONLOSS** while asking is survived: asking twice is asking once, and the name of a node is never
//! anybody else's. **No herd**: the request is a write of one node that only its owner and whoever is directly behind it watch.
//! **Identity**: the request takes the place of what the contender says it is, so [`LockContender::identity`] is empty from then on, and
//! [`LockContender::is_revoked`] says why. **ACL**: whoever asks needs the right to write the node; with [`Acl::creator_all`] as the
//! default ACL only clients with the same identity have it.
//!
//! Compatible with Curator's `Revoker` and `InterProcessMutex.makeRevocable`, either way round: the node's data becomes `__REVOKE__`.
//! Somebody who writes something else into the node afterwards, before the holder has seen the request, undoes it.
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! # let operator = Client::connect(server.connect_string()).await?;
//! let guard = client.lock("/jobs/long").await?;
//! let worker = tokio::spawn(async move {
//!     tokio::select! {
//!         asked = guard.revocation() => asked?,              // an error where the lock was lost
//!         () = std::future::pending() => {}                  // the work
//!     }
//!     guard.release().await
//! });
//!
//! let contenders = operator.lock("/jobs/long").contenders().await?;
//! assert!(operator.lock("/jobs/long").revoke(&contenders[0]).await?);
//! worker.await??;
//! # Ok(())
//! # }
//! ```
//!
//! [`Acl::creator_all`]: zk_client::Acl::creator_all

#[cfg(test)]
mod model;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use zk_client::ErrorKind;

use crate::{
    connection::Persistence,
    contender::{Acquire, Claim, LockContender, Naming, Queued},
    error::{Error, Result},
    parents,
};

/// What asks the owner of a node to let go of what it stands for (Curator's `LockInternals.REVOKE_MESSAGE`).
pub(crate) const REQUEST: &[u8] = b"__REVOKE__";

/// Whether the owner of a node with this data is asked to let go.
pub(crate) fn asks(data: &[u8]) -> bool {
    data == REQUEST
}

/// Whether it was asked, now that it has seen this data: once asked, it stays so.
pub(crate) fn is_asked(before: bool, data: &[u8]) -> bool {
    before || asks(data)
}

/// Resolves when the holder is asked to let go: [`Claim::revocation`].
///
/// `'static` and sticky: made or polled after the request, it resolves at once. Keeps neither the lock nor its heartbeats alive.
#[must_use = "futures do nothing unless polled"]
pub struct Revocation {
    wait: BoxFuture<'static, Result<()>>,
}

impl Future for Revocation {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.wait.as_mut().poll(cx)
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").finish_non_exhaustive()
    }
}

impl<K: Queued> Claim<K> {
    /// Resolves when somebody [asks](Acquire::revoke) this holder to let go; see [`revocation`](crate::revocation).
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Lost`] when it is lost or released.
    pub fn revocation(&self) -> Revocation {
        let wait = self.asked();
        Revocation {
            wait: Box::pin(wait),
        }
    }
}

impl<K: Queued> Acquire<K> {
    /// Asks one of the [contenders](Self::contenders) to let go; false if it is not there any more.
    ///
    /// It is told, and may do as it likes: see [`revocation`](crate::revocation). One that waits is told when it is granted what it waits for.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentClient`] without a client, [`Error::ForeignContender`] where this is no contender of this kind and layout, and what
    /// the client reports (NOAUTH, ...). A lost connection is waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether it was asked.
    pub async fn revoke(self, contender: &LockContender) -> Result<bool> {
        let (client, directory, options) = self.parts()?;
        if !Naming::new(K::ROLE, options.layout).is_contender(&contender.node) {
            return Err(Error::ForeignContender {
                path: directory.clone(),
                name: contender.node.clone(),
                layout: options.layout,
            });
        }
        let node = parents::child(directory, &contender.node);
        let mut persistence = Persistence::new();
        loop {
            match client.set(&node, REQUEST).await {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NoNode => return Ok(false),
                Err(error) => persistence.after(client, error).await?,
            }
        }
    }
}

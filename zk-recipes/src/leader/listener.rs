//! The listener: leadership as a call that lasts as long as it does.

use std::ops::ControlFlow;

use async_trait::async_trait;

use super::{LatchBuilder, LeaderClaim};
use crate::{
    error::{Error, Result},
    lock::LostReason,
};

/// What to do with a leadership; see [`LatchBuilder::listen`].
///
/// ```
/// use std::ops::ControlFlow;
/// # use zk_client::Client;
/// use zk_recipes::{leader::{LeaderClaim, LeaderListener}, prelude::*};
///
/// struct Reports;
///
/// #[async_trait::async_trait]
/// impl LeaderListener for Reports {
///     async fn lead(&mut self, leadership: &LeaderClaim) -> ControlFlow<()> {
///         println!("leads with epoch {}", leadership.token());
///         ControlFlow::Break(())                                 // or Continue: give it up, and queue again
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zk_server::Server::builder().start().await?;
/// # let client = Client::connect(server.connect_string()).await?;
/// client.latch("/reports").listen(Reports).await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait LeaderListener: Send {
    /// Called when this participant leads, dropped when that is lost.
    ///
    /// When it returns, the leadership is given up: [`ControlFlow::Continue`] queues again, at the end of the queue,
    /// [`ControlFlow::Break`] leaves the election. What it has begun elsewhere, in a spawned task for instance, is not undone
    /// when it is dropped.
    async fn lead(&mut self, leadership: &LeaderClaim) -> ControlFlow<()>;

    /// Called after a leadership was lost while [`lead`](Self::lead) ran, before it queues again.
    async fn lost(&mut self, reason: LostReason) {
        tracing::debug!(%reason, "the leadership was lost");
    }
}

impl LatchBuilder {
    /// Takes part until the listener has enough: calls it each time this participant leads, and queues again after a loss.
    ///
    /// The work is looked at before every poll, and dropped when the leadership is lost. Dropping the future leaves the
    /// election, in the background.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), whenever that happens.
    pub async fn listen<L: LeaderListener>(mut self, mut listener: L) -> Result<()> {
        self.options.warn_after = None;
        loop {
            let acquire = super::acquire(&self.client, &self.path);
            let guard = match acquire.with_options(self.options.clone()).await {
                // In the moment of the grant.
                Err(error) if error.is_lost() => continue,
                guard => guard?,
            };
            let leadership = guard.claim();
            match guard.run(listener.lead(&leadership)).await {
                Ok(wish) => {
                    match guard.release().await {
                        Err(error) if !error.is_lost() => return Err(error),
                        _ => {}
                    }
                    if wish.is_break() {
                        return Ok(());
                    }
                }
                Err(Error::Lost { reason, .. }) => listener.lost(reason).await,
                Err(error) => return Err(error),
            }
        }
    }
}

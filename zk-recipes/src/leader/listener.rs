//! The listener: leadership as a call that lasts as long as it does.

use std::ops::ControlFlow;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{LatchBuilder, LeaderClaim, LeaderGuard, latch::Outcome};
use crate::{
    connection::Patience,
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
    /// As [`start`](Self::start); what the server says against it later, and another recipe's contender, is warned of and waited
    /// out, as [`LatchState::Failed`](super::LatchState::Failed) says. What it says against deleting the node of a leader.
    pub async fn listen<L: LeaderListener>(mut self, mut listener: L) -> Result<()> {
        self.options.warn_after = None;
        let (queued, _) = watch::channel(false);
        let span = tracing::debug_span!("listener", path = %self.path);
        let mut patience = Patience::new();
        loop {
            let (mut serving, answer) = span.in_scope(|| self.contend(&queued));
            let answered = answer.await;
            let was_queued = *queued.borrow();
            let mut pause = None;
            match Outcome::of(&self.client, answered, was_queued) {
                Outcome::Leads(guard) => {
                    patience.reset();
                    if lead(guard, &mut listener).await?.is_break() {
                        return Ok(());
                    }
                }
                Outcome::Lost => {}
                Outcome::Refused => pause = Some(&mut patience),
                Outcome::Failed(error) => return Err(error),
            }
            self.settle(&mut serving, pause).await;
        }
    }
}

/// Calls the listener for one leadership; whether it has enough.
async fn lead<L: LeaderListener>(guard: LeaderGuard, listener: &mut L) -> Result<ControlFlow<()>> {
    let leadership = guard.claim();
    match guard.run(listener.lead(&leadership)).await {
        Ok(wish) => match guard.release().await {
            Err(error) if !error.is_lost() => Err(error),
            _ => Ok(wish),
        },
        Err(Error::Lost { reason, .. }) => {
            drop(guard);
            listener.lost(reason).await;
            Ok(ControlFlow::Continue(()))
        }
        Err(error) => Err(error),
    }
}

//! Live configuration: settings in one node, always the last good value at hand.
//!
//! **What it guarantees.** [`ConfigWatcher::current`] is the last value that was read and accepted, at once and without
//! I/O. The last change is never missed: not in a burst of changes (those in between may be skipped), not across
//! reconnects, and not across an expired session. A node that is deleted, or whose content cannot be decoded or is refused
//! by a validation, is told and changes nothing: the last good value stays. It does **not** guarantee that all processes
//! see a change at the same time; between the change and the watch's event a process works with the old value, and
//! without a connection for as long as that lasts ([`ConfigWatcher::is_stale`]).
//!
//! **Fairness** does not apply. **CONNECTIONLOSS** and **suspension**: the last good value is served, and the node is read again
//! after every reconnect. **Expiry**: the same in the client's next session; where the client opens none, observers are told
//! with an error. After CONNECTIONLOSS during [`ConfigWatcher::set`] the node is read to find out what became of the
//! write. **Cancellation** of any future is harmless. One task on the client's runtime reads and decodes; it stops when the
//! last clone of the watcher is dropped.

mod builder;
mod format;
mod set;
mod state;
mod task;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{Stream, future::BoxFuture};
use tokio::sync::watch;
use zk_client::{Client, Stat};

use self::{
    builder::Codec,
    state::{Known, Told},
};
pub use self::{
    builder::{Config, ConfigSource},
    state::ConfigChange,
};
use crate::error::{Error, Result};

/// A configuration that is watched: the last good value, and a stream of its changes.
///
/// Clones share the task behind them and are told of changes independently of each other.
///
/// As a [`Stream`] it yields what [`changed`](Self::changed) returns, and ends after an error.
pub struct ConfigWatcher<T> {
    client: Client,
    codec: Arc<Codec<T>>,
    known: watch::Receiver<Known<T>>,
    told: Told,
    /// The value that was current when it was last asked for; only for the case that none is known, which is never.
    last: Arc<T>,
    /// The wait for the next change, when polled as a stream.
    waiting: Option<BoxFuture<'static, Next<T>>>,
    ended: bool,
}

impl<T: Send + Sync + 'static> ConfigWatcher<T> {
    fn new(
        client: Client,
        codec: Arc<Codec<T>>,
        known: watch::Receiver<Known<T>>,
        told: Told,
        last: Arc<T>,
    ) -> Self {
        Self {
            client,
            codec,
            known,
            told,
            last,
            waiting: None,
            ended: false,
        }
    }

    /// The last good value. Immediate; never blocks on the network.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        let value = self.known.borrow().value().map(Arc::clone);
        value.unwrap_or_else(|| Arc::clone(&self.last))
    }

    /// Waits for the next change: a new good value, a deletion, or content that is refused.
    ///
    /// Several changes may be told as one, but never so that a new good value goes untold: when a value was followed by
    /// bad content, the value is told first. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`] when the client has no session for good. Nothing follows; the last good value stays.
    pub async fn changed(&mut self) -> Result<ConfigChange<T>> {
        loop {
            if let Some(told) = self.next_told() {
                return told;
            }
            if self.known.changed().await.is_err() {
                return Err(self.task_gone());
            }
        }
    }

    /// The newest thing this observer has not been told.
    fn next_told(&mut self) -> Option<Result<ConfigChange<T>>> {
        let known = self.known.borrow_and_update();
        let change = known.next(&mut self.told).map(Ok);
        change.or_else(|| known.ended().map(|error| Err(error.clone())))
    }

    /// The task is gone: with its runtime, or after an error that it left.
    fn task_gone(&self) -> Error {
        let error = self.known.borrow().ended().cloned();
        error.unwrap_or(Error::SessionGone {
            reason: zk_client::ErrorKind::Closed,
        })
    }

    /// Whether the node may have changed unseen: there is no connection, or its changes are not watched any more.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.known.borrow().is_stale()
    }

    /// The node's metadata as last read; `None` while there is no node.
    #[must_use]
    pub fn stat(&self) -> Option<Stat> {
        self.known.borrow().stat().copied()
    }

    /// The node's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.codec.path
    }
}

impl<T: Send + Sync + 'static> Stream for ConfigWatcher<T> {
    type Item = Result<ConfigChange<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            if let Some(told) = this.next_told() {
                this.waiting = None;
                this.ended = told.is_err();
                return Poll::Ready(Some(told));
            }
            let waiting = this
                .waiting
                .get_or_insert_with(|| Box::pin(next_state(this.known.clone())));
            let next = ready!(waiting.as_mut().poll(cx));
            (this.known, this.waiting) = (next.known, None);
            if next.is_last {
                let told = this.next_told();
                this.ended = told.is_none();
                return Poll::Ready(Some(told.unwrap_or_else(|| Err(this.task_gone()))));
            }
        }
        Poll::Ready(None)
    }
}

/// What a wait for the next change ends with.
struct Next<T> {
    known: watch::Receiver<Known<T>>,
    /// The sender is gone: nothing follows.
    is_last: bool,
}

/// The receiver once there is something it has not seen, or its sender is gone.
async fn next_state<T>(mut known: watch::Receiver<Known<T>>) -> Next<T> {
    let is_last = known.changed().await.is_err();
    known.mark_changed();
    Next { known, is_last }
}

impl<T> Clone for ConfigWatcher<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            codec: Arc::clone(&self.codec),
            known: self.known.clone(),
            told: self.told,
            last: Arc::clone(&self.last),
            waiting: None,
            ended: self.ended,
        }
    }
}

impl<T> fmt::Debug for ConfigWatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigWatcher")
            .field("path", &self.codec.path)
            .finish_non_exhaustive()
    }
}

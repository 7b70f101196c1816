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
//! write; where that does not tell, it is said to be unknown. **Cancellation** of any future is harmless. One task on the client's runtime reads and decodes; it stops when the
//! last clone of the watcher is dropped.

mod builder;
#[cfg(feature = "json")]
pub mod directory;
mod format;
mod observer;
mod set;
mod state;
mod task;
mod writing;

use std::sync::Arc;

use zk_client::{Client, Stat};

#[cfg(feature = "json")]
pub use self::directory::{ConfigDirectory, DirectorySource};
use self::{
    builder::Codec,
    observer::{Observer, observed},
};
pub use self::{
    builder::{Config, ConfigSource},
    state::ConfigChange,
};
use crate::error::Result;

/// A configuration that is watched: the last good value, and a stream of its changes.
///
/// Clones share the task behind them, and are independent of each other in what they have been told, and in what their
/// [`set`](Self::set) compares with.
///
/// As a [`Stream`](futures::Stream) it yields what [`changed`](Self::changed) returns, and ends after an error.
pub struct ConfigWatcher<T> {
    client: Client,
    codec: Arc<Codec<T>>,
    observer: Observer<T>,
}

impl<T: Send + Sync + 'static> ConfigWatcher<T> {
    const fn new(client: Client, codec: Arc<Codec<T>>, observer: Observer<T>) -> Self {
        Self {
            client,
            codec,
            observer,
        }
    }

    /// The last good value. Immediate; never blocks on the network.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.observer.current()
    }

    /// Waits for the next change: a new good value, a deletion, or content that is refused.
    ///
    /// Several changes may be told as one, but never so that a new good value goes untold: when a value was followed by
    /// bad content, the value is told first. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`](crate::Error::SessionGone) when the client has no session for good. Nothing follows; the last
    /// good value stays.
    pub async fn changed(&mut self) -> Result<ConfigChange<T>> {
        self.observer.changed().await
    }

    /// Whether the node may have changed unseen: there is no connection, or its changes are not watched any more.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.observer.known.borrow().is_stale()
    }

    /// The node's metadata as last read; `None` while there is no node.
    #[must_use]
    pub fn stat(&self) -> Option<Stat> {
        self.observer.known.borrow().stat().copied()
    }

    /// The node's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.codec.path
    }
}

observed!(ConfigWatcher);

impl<T> Clone for ConfigWatcher<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            codec: Arc::clone(&self.codec),
            observer: self.observer.clone(),
        }
    }
}

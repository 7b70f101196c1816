//! Settings in a directory: one node for each field, read as one struct and written as one transaction.
//!
//! **What it guarantees.** [`ConfigDirectory::current`] is the last value that was read and accepted, and every value is what the
//! directory held at *one* moment: all nodes are read in one `multiRead`, which is repeated until it finds the nodes that it
//! asked for. The last change is never missed, as with [`ConfigWatcher`](crate::ConfigWatcher). [`ConfigDirectory::set`] writes what
//! differs in one transaction, if the directory still is what this handle last gave out; two who write at once do not both
//! succeed. It does **not** notice, when writing, a node that somebody *added* by other means in that moment; that node stays.
//!
//! A field is a child of the directory and holds JSON; a field that serializes to `null` has no node. Nodes deeper down are
//! not looked at. A directory without nodes is no configuration. On servers before 3.6, which know no `multiRead`, the
//! nodes are read one by one, and shown when nothing was changed in between. (So it is for a while, too, where a lost
//! connection took the place of the answer twice in a row: such a server may have closed it.)
//!
//! **CONNECTIONLOSS**, **suspension**, **expiry** and **cancellation**: as with `ConfigWatcher`. What tells that there is something
//! new is a [`cache`](crate::cache) of the directory's children.

mod entries;
mod read;
mod write;

use std::{fmt, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use zk_client::Client;

pub(super) use self::entries::DirectoryCodec;
use self::read::Reading;
use super::{
    ConfigChange,
    builder::Start,
    format::BoxError,
    observer::{Observer, observed},
};
use crate::{cache::Cache, connection::within, error::Result};

/// A directory of settings, not yet watched; made by [`Config::directory`](super::Config::directory).
#[must_use = "nothing is read until `watch`"]
pub struct DirectorySource<T> {
    client: Client,
    codec: DirectoryCodec<T>,
    start: Start<T>,
    timeout: Option<Duration>,
}

impl<T: DeserializeOwned> DirectorySource<T> {
    pub(super) fn new(client: Client, path: Arc<str>) -> Self {
        Self {
            client,
            codec: DirectoryCodec::new(path),
            start: Start::Fail,
            timeout: None,
        }
    }
}

impl<T: Send + Sync + 'static> DirectorySource<T> {
    /// Refuses values that this function refuses, when they are read and before they are written. It must not block.
    pub fn validate<E: Into<BoxError>>(
        mut self,
        check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.codec.validate(check);
        self
    }

    /// Starts with this value when there are no nodes, or no good content in them, yet.
    pub fn or_start_with(mut self, value: T) -> Self {
        self.start = Start::With(Arc::new(value));
        self
    }

    /// Lets [`watch`](Self::watch) wait for the first good value instead of failing.
    pub fn or_wait(mut self) -> Self {
        self.start = Start::Wait;
        self
    }

    /// Lets [`watch`](Self::watch) give up after this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Reads the directory and goes on watching it.
    ///
    /// # Errors
    ///
    /// As [`ConfigSource::watch`](super::ConfigSource::watch). Cancel safe.
    pub async fn watch(self) -> Result<ConfigDirectory<T>> {
        let place = (self.client.clone(), Arc::clone(&self.codec.path));
        within((&place.0, &place.1), self.timeout, read::start(self)).await
    }
}

impl<T> fmt::Debug for DirectorySource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectorySource")
            .field("path", &self.codec.path)
            .finish_non_exhaustive()
    }
}

/// A directory of settings that is watched as one: the last good value, and a stream of its changes.
///
/// What it guarantees, and what not, is on the [module's page](self).
///
/// Clones share the task behind them. As a [`Stream`](futures::Stream) it yields what [`changed`](Self::changed) returns, and ends after an
/// error.
pub struct ConfigDirectory<T> {
    client: Client,
    codec: Arc<DirectoryCodec<T>>,
    observer: Observer<T>,
    cache: Cache,
    reading: Arc<Reading>,
}

impl<T: Send + Sync + 'static> ConfigDirectory<T> {
    /// The last good value. Immediate; never blocks on the network.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.observer.current()
    }

    /// Waits for the next change: a new good value, the loss of all nodes, or content that is refused. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`ConfigWatcher::changed`](crate::ConfigWatcher::changed).
    pub async fn changed(&mut self) -> Result<ConfigChange<T>> {
        self.observer.changed().await
    }

    /// Whether the nodes may have changed unseen.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.cache.is_stale() || self.observer.known.borrow().is_stale()
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.codec.path
    }
}

observed!(ConfigDirectory);

impl<T> Clone for ConfigDirectory<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            codec: Arc::clone(&self.codec),
            observer: self.observer.clone(),
            cache: self.cache.clone(),
            reading: Arc::clone(&self.reading),
        }
    }
}

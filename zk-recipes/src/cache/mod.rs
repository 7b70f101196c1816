//! Caches: a node, a node's children or a whole tree, mirrored in memory and told as a stream of changes.
//!
//! **What it guarantees.** [`Cache::snapshot`] is what the server held at *one* moment, not a mixture of several; it only moves
//! forward. The last state is never missed: not in a burst of changes (those in between may be told as one), not across
//! reconnects, after each of which everything is read again, and not across an expired session. [`CacheChanges`] begins
//! with everything that is held, and [`CacheChange::Synced`] says when that, or a later reading of everything, is complete;
//! who applies all changes holds what the cache holds. It does **not** guarantee to be current: a change is seen a moment later,
//! and without a connection not at all ([`Cache::is_stale`]); [`sync`](zk_client::Client::sync) does not reach it either. Where
//! writes leave no pause of a round trip for very long, what is shown between two such pauses, and after the start or a
//! reconnect, may be of several moments.
//!
//! **Fairness** does not apply. **CONNECTIONLOSS** and **suspension**: what is held is served on. **Expiry**: the same in the
//! client's next session; where the client opens none, observers are told with an error. **Cancellation** of any future is
//! harmless. One task on the client's runtime keeps the cache, and stops when the last [`Cache`] and [`CacheChanges`] of it
//! are dropped. **Cost**: one persistent watch (recursive for children and trees) on servers that have them, 3.6 and later;
//! else a one-shot watch for the data, and one for the children, of each node. A change costs one read. Nodes that the
//! client may not read are not in the cache, but a root that it may not read is an error.
//!
//! A recursive watch tells changes at any depth: to cache the children of a node with a busy subtree below them, use
//! [`CacheSource::one_shot_watches`]. So also on Apache ZooKeeper before 3.9 where the same client has other watches on the
//! cache's root (ZOOKEEPER-4466, see [`Client::watch`](zk_client::Client::watch)).

mod mirror;
mod reading;
mod scope;
mod source;
mod store;
mod work;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument;
use zk_client::{Client, ErrorKind};

pub(crate) use self::scope::Scope as CacheScope;
pub use self::store::{CacheChange, CachedNode};
use self::{
    mirror::Mirror,
    scope::{Scope, below, is_child},
    store::Store,
};
use crate::{
    connection::within,
    error::{Error, Result},
};

/// What to cache; made by [`node_cache`](crate::ClientExt::node_cache), [`children_cache`](crate::ClientExt::children_cache) and
/// [`tree_cache`](crate::ClientExt::tree_cache).
#[must_use = "nothing is read until `start`"]
#[derive(Debug, Clone)]
pub struct CacheSource {
    client: Client,
    path: Arc<str>,
    scope: Scope,
    persistent: bool,
    timeout: Option<Duration>,
}

impl CacheSource {
    pub(crate) fn new(client: &Client, path: &str, scope: CacheScope) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            scope,
            persistent: true,
            timeout: None,
        }
    }

    /// Lets [`start`](Self::start) give up after this long.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Watches every node by itself instead of the whole, as it is done with servers before 3.6 anyway.
    pub const fn one_shot_watches(mut self) -> Self {
        self.persistent = false;
        self
    }

    /// Reads everything and goes on following it; returns when the first snapshot is complete.
    ///
    /// The root need not exist: then the cache is empty, and waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when a time was given and has passed, [`Error::SessionGone`], and what the client reports when it cannot
    /// read the root. Without a connection it waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the cache.
    pub async fn start(self) -> Result<Cache> {
        let (client, path, timeout) = (self.client.clone(), Arc::clone(&self.path), self.timeout);
        within((&client, &path), timeout, self.read()).await
    }

    async fn read(self) -> Result<Cache> {
        let Self {
            client,
            path,
            scope,
            persistent,
            ..
        } = self;
        let store = Arc::new(Mutex::new(Store::new()));
        let (sender, mut changed) = watch::channel(());
        let runtime = client.runtime().clone();
        let mirror = Mirror {
            client,
            root: Arc::clone(&path),
            scope,
            persistent,
            store: Arc::clone(&store),
            changed: sender,
        };
        let span = tracing::debug_span!("cache", path = %path);
        runtime.spawn(mirror.run().instrument(span));
        loop {
            if let Some(error) = store.lock().ended() {
                return Err(error.clone());
            }
            if store.lock().was_synced() {
                return Ok(Cache {
                    path,
                    store,
                    changed,
                });
            }
            if changed.changed().await.is_err() {
                let reason = ErrorKind::Closed;
                return Err(Error::SessionGone { reason });
            }
        }
    }
}

/// A part of the tree, held in memory. Clones share it.
///
/// It keeps the client, and so the session, open.
#[derive(Clone)]
pub struct Cache {
    path: Arc<str>,
    store: Arc<Mutex<Store>>,
    /// Keeps the task alive.
    changed: watch::Receiver<()>,
}

impl Cache {
    /// A node, if it is there. Immediate; never blocks on the network.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<CachedNode> {
        self.store.lock().nodes().get(path).cloned()
    }

    /// The children of a node that are there, in the order of their names.
    #[must_use]
    pub fn children(&self, path: &str) -> Vec<CachedNode> {
        let store = self.store.lock();
        let below = below(store.nodes(), path);
        let children = below.filter(|(other, _)| is_child(path, other));
        children.map(|(_, node)| node.clone()).collect()
    }

    /// Everything that is there, by path: the state of one moment.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Arc<str>, CachedNode> {
        self.store.lock().nodes().clone()
    }

    /// How many nodes are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.lock().nodes().len()
    }

    /// Whether no node is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there may be changes that the cache cannot see now: there is no connection, everything is being read again
    /// after a reconnect, or what was to be read was not answered.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.store.lock().is_stale()
    }

    /// The path that the cache was made for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A stream of its own of what is there and of every change from now on.
    pub fn changes(&self) -> CacheChanges {
        let observer = self.store.lock().observe();
        CacheChanges {
            store: Arc::clone(&self.store),
            observer,
            _changed: self.changed.clone(),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What is in a cache and how it changes, as a [`Stream`]: [`Cache::changes`].
///
/// First everything that is there as [`CacheChange::Added`], then [`CacheChange::Synced`], then the changes. Who is slow is told
/// several changes of a node as one, and nothing of one that came and went meanwhile; so what waits is never more than the nodes
/// that were told and those that are there. What is read together is told with
/// children removed before their parents and added after them. It ends after an error. Dropping it is
/// harmless at any time; it keeps the cache running.
#[must_use = "changes are told to this value only"]
pub struct CacheChanges {
    store: Arc<Mutex<Store>>,
    observer: u64,
    /// Keeps the task alive.
    _changed: watch::Receiver<()>,
}

impl CacheChanges {
    /// The next change; `None` after an error. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`] when the client has no session for good, and what the client reports. Nothing follows.
    pub async fn next(&mut self) -> Option<Result<CacheChange>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for CacheChanges {
    type Item = Result<CacheChange>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.store.lock().poll_next(self.observer, cx)
    }
}

impl Drop for CacheChanges {
    fn drop(&mut self) {
        self.store.lock().forget(self.observer);
    }
}

impl fmt::Debug for CacheChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheChanges").finish_non_exhaustive()
    }
}

//! The shared count: a small number, always at hand.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use zk_client::{Client, ErrorKind};

use super::{AtomicLong, CounterChange, CounterLayout};
use crate::{
    attempt::Attempt,
    config_watcher::{Config, ConfigChange, ConfigWatcher},
    connection::Persistence,
    error::Result,
    parents,
};

/// A small number that everybody watches: Curator's `SharedCount`.
///
/// The last value is at hand at once, without I/O, and the last change is never missed; see
/// [`config_watcher`](crate::config_watcher) for what that means without a connection. Writing is as exact as an
/// [`AtomicLong`]'s. Clones share the watch. As a [`Stream`] it yields what [`changed`](Self::changed) returns.
#[derive(Debug, Clone)]
pub struct SharedCount {
    watcher: ConfigWatcher<i64>,
    counter: AtomicLong,
}

/// A shared count that is not watched yet: [`ClientExt::shared_count`](crate::ClientExt::shared_count).
#[derive(Debug, Clone)]
#[must_use = "nothing happens until `start`"]
pub struct SharedCountBuilder {
    client: Client,
    path: Arc<str>,
    layout: CounterLayout,
    seed: i64,
}

impl SharedCountBuilder {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            layout: CounterLayout::CuratorCount,
            seed: 0,
        }
    }

    /// The value to begin with where there is no node yet; 0 unless told.
    pub const fn seed(mut self, value: i64) -> Self {
        self.seed = value;
        self
    }

    /// How the value is written; everybody who uses the count must use the same.
    pub const fn layout(mut self, layout: CounterLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Creates the node where it is missing, and begins to watch it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Overflow`](crate::Error::Overflow) for a seed that the layout has no room for,
    /// [`Error::BadContent`](crate::Error::BadContent) for content of another layout, and what the client reports.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves at most the node behind.
    pub fn start(self) -> Attempt<SharedCount> {
        let (client, path) = (self.client.clone(), Arc::clone(&self.path));
        let span = tracing::debug_span!("shared_count", %path);
        Attempt::plain((&client, &path, span), self.begin())
    }

    async fn begin(self) -> Result<SharedCount> {
        let Self {
            client,
            path,
            layout,
            seed,
        } = self;
        let overflow = || crate::Error::Overflow {
            path: Arc::clone(&path),
        };
        let content = layout.encode(seed).ok_or_else(overflow)?;
        create(&client, &path, &content).await?;
        let source = Config::new(client.clone(), &path);
        let source = source.decode_with(move |bytes| layout.decode(bytes));
        Ok(SharedCount {
            watcher: source.watch().await?,
            counter: AtomicLong::of(&client, &path, layout),
        })
    }
}

/// Creates the node, unless there is one.
async fn create(client: &Client, path: &str, content: &Bytes) -> Result<()> {
    let mut persistence = Persistence::new();
    loop {
        let error = match client.create(path, content.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NodeExists => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NoNode => {
                match parents::of(client, path, error).await {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        persistence.after(client, error).await?;
    }
}

impl SharedCount {
    /// The last value that was read. Immediate.
    #[must_use]
    pub fn current(&self) -> i64 {
        *self.watcher.current()
    }

    /// Whether the value may have changed unseen: there is no connection.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.watcher.is_stale()
    }

    /// Waits for the next change; several may be told as one. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`ConfigWatcher::changed`].
    pub async fn changed(&mut self) -> Result<ConfigChange<i64>> {
        self.watcher.changed().await
    }

    /// Sets the value, whatever it was; fails as [`AtomicLong::add`].
    ///
    /// [`current`](Self::current) has it a moment later, as everybody else has.
    pub fn set(&self, value: i64) -> Attempt<CounterChange> {
        self.counter.set(value)
    }

    /// Sets the value if it is the expected one; whether it was. Fails as [`AtomicLong::add`].
    pub fn compare_and_set(&self, expected: i64, value: i64) -> Attempt<bool> {
        self.counter.compare_and_set(expected, value)
    }

    /// Adds a number, which may be negative; fails as [`AtomicLong::add`].
    pub fn add(&self, number: i64) -> Attempt<CounterChange> {
        self.counter.add(number)
    }
}

impl Stream for SharedCount {
    type Item = Result<ConfigChange<i64>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.watcher).poll_next(cx)
    }
}

//! Writing a configuration: compare and set.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use zk_client::{ErrorKind, Stat, Zxid};

use super::{ConfigWatcher, writing};
use crate::{
    attempt::Attempt,
    connection::Patience,
    error::{BadContent, Error, Result},
    parents,
};

/// The node as the writer believes it to be.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Missing,
    Present(Stat),
}

impl Expected {
    /// What the server says to a write where the node is not what it was believed to be.
    const fn conflicts(self) -> &'static [ErrorKind] {
        match self {
            // That something above is missing is no change of the configuration.
            Self::Missing => &[ErrorKind::NodeExists],
            Self::Present(_) => &[ErrorKind::BadVersion, ErrorKind::NoNode],
        }
    }
}

impl<T: Send + Sync + 'static> ConfigWatcher<T> {
    /// Writes a new value, if the node is still what *this handle* last gave out; creates the node if there was none.
    ///
    /// What counts is what [`current`](Self::current), [`changed`](Self::changed) or the start last told the caller, and not what has
    /// been read in the background since: who calls `current`, thinks, and calls `set` overwrites nothing that it has not
    /// seen. Each clone remembers its own; tasks that write should not share one handle, or use [`update`](Self::update).
    ///
    /// Returns when [`current`](Self::current) is the new value, or a newer one, or the node is gone again. After
    /// CONNECTIONLOSS the node is read again to find out whether the write took place. ZooKeeper compares versions, which
    /// begin anew with a new node: one that takes the old one's place in the very moment of the write is taken for it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Conflict`] when somebody else has changed the node since, and nothing was written: look at
    /// the new value and decide again. [`Error::BadContent`] when the value cannot be encoded, or its encoding is refused as every reader would refuse it;
    /// nothing is written then. NONODE when the chroot is missing. [`Error::Unknown`] when the answer is lost and nothing can be
    /// found out: somebody else has written since, or the session ends and the client opens no other. Without a connection it
    /// waits, at most as long as [told](Attempt::timeout).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the value is written; so does its timeout.
    pub fn set(&self, value: &T) -> Attempt<()>
    where
        T: Serialize,
    {
        self.attempt(self.encode(value))
    }

    /// Writes new content in the configuration's own format, as [`set`](Self::set) does with a value.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and cancel safe as that.
    pub fn set_bytes(&self, content: impl Into<Bytes>) -> Attempt<()> {
        self.attempt(Ok(content.into()))
    }

    /// Writes what `change` makes of the last good value, again with the newer one where somebody else was faster; the value
    /// that was written.
    ///
    /// `change` may be called several times, and must not block.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set) but for [`Error::Conflict`], and cancel safe as that.
    pub fn update(&self, mut change: impl FnMut(&T) -> T + Send + 'static) -> Attempt<Arc<T>>
    where
        T: Serialize,
    {
        let (watcher, asked) = (self.clone(), self.observer.basis.share());
        let span = tracing::debug_span!("config", path = %self.codec.path);
        Attempt::plain((&self.client, &self.codec.path, span), async move {
            loop {
                let mut known = watcher.observer.asked();
                let value = change(&watcher.current());
                let (content, basis) = (watcher.encode(&value)?, watcher.observer.basis.get());
                match watcher.replace(&content, basis).await {
                    Ok(written) => {
                        asked.advance(asked.get(), written);
                        return Ok(Arc::new(value));
                    }
                    Err(Error::Conflict { .. }) => watcher.observer.overtaken(&mut known).await?,
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn encode(&self, value: &T) -> Result<Bytes>
    where
        T: Serialize,
    {
        let refused = |source| Error::BadContent(BadContent::new(&self.codec.path, None, source));
        (self.codec.format.encode(value))
            .map_or_else(|error| Err(refused(error)), |bytes| Ok(bytes.into()))
    }

    fn attempt(&self, content: Result<Bytes>) -> Attempt<()> {
        let (watcher, basis) = (self.clone(), self.observer.basis.share());
        let given = basis.get();
        let span = tracing::debug_span!("config", path = %self.codec.path);
        Attempt::plain((&self.client, &self.codec.path, span), async move {
            let written = watcher.replace(&content?, given).await?;
            basis.advance(given, written);
            Ok(())
        })
    }

    /// Writes the content over what was given out; the write that did it.
    async fn replace(&self, content: &Bytes, given: Option<Zxid>) -> Result<Zxid> {
        self.codec
            .decode(content, None)
            .map_err(Error::BadContent)?;
        let expected = self.expected(given).await?;
        let place = (&self.client, &self.codec.path);
        let attempt = || self.write(content, expected);
        let find = || self.find(content, expected);
        let written = writing::until_known(place, expected.conflicts(), attempt, find).await?;
        let (client, path) = place;
        self.observer
            .read_up_to(written.mzxid, || client.get_opt(path))
            .await?;
        Ok(written.mzxid)
    }

    /// What the write relies on: the node that was given out, if it still is the same. (Another one of the same name begins its
    /// versions anew.)
    async fn expected(&self, given: Option<Zxid>) -> Result<Expected> {
        let Some(given) = given else {
            return Ok(Expected::Missing);
        };
        let mut patience = Patience::new();
        loop {
            match self.client.exists(&self.codec.path).await {
                Ok(Some(stat)) if stat.mzxid == given => return Ok(Expected::Present(stat)),
                Ok(_) => return Err(writing::conflict(&self.codec.path)),
                Err(error) => writing::survives(&self.client, error, &mut patience).await?,
            }
        }
    }

    async fn write(&self, content: &Bytes, expected: Expected) -> zk_client::Result<Stat> {
        let (client, path) = (&self.client, &*self.codec.path);
        let Expected::Present(stat) = expected else {
            return self.create(content).await;
        };
        client
            .set(path, content.clone())
            .version(stat.version)
            .await
    }

    /// Creates the node, and what is above it where that is missing.
    async fn create(&self, content: &Bytes) -> zk_client::Result<Stat> {
        let (client, path) = (&self.client, &*self.codec.path);
        loop {
            match client.create(path, content.clone()).await {
                Ok(created) => return Ok(created.stat),
                Err(error) if error.kind() == ErrorKind::NoNode => match path.rsplit_once('/') {
                    None | Some(("", _)) => return Err(error),
                    Some((directory, _)) => parents::create(client, directory).await?,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// After a write of unknown outcome: the node holds our content, one version on, or somebody else was there.
    async fn find(&self, content: &Bytes, expected: Expected) -> zk_client::Result<Option<Stat>> {
        let version = match expected {
            Expected::Missing => 0,
            Expected::Present(stat) => stat.version.wrapping_add(1),
        };
        let node = self.client.get_opt(&self.codec.path).await?;
        let ours = node.filter(|node| node.stat.version == version && node.data == *content);
        Ok(ours.map(|node| node.stat))
    }
}

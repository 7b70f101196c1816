//! Writing a configuration: compare and set.

use bytes::Bytes;
use serde::Serialize;
use zk_client::{ErrorKind, Stat};

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
    /// Writes a new value, if the node is still as this watcher last saw it; creates the node if there was none.
    ///
    /// Returns when [`current`](Self::current) is the new value, or a newer one, or the node is gone again. After
    /// CONNECTIONLOSS the node is read again to find out whether the write took place. ZooKeeper compares versions, which
    /// begin anew with a new node: one that takes the old one's place in the very moment of the write is taken for it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Conflict`] when somebody else has changed the node since this watcher saw it last
    /// before the call: look at the new value and decide again. [`Error::BadContent`] when the value cannot be encoded, or its
    /// encoding is refused as every reader would refuse it; nothing is written then. NONODE when the chroot is missing.
    /// [`Error::Unknown`] when the answer is lost and the session ends, and the client opens no other. Without a connection it
    /// waits, at most as long as [told](Attempt::timeout).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the value is written; so does its timeout.
    pub fn set(&self, value: &T) -> Attempt<()>
    where
        T: Serialize,
    {
        let encoded = self.codec.format.encode(value).map(Bytes::from);
        let refused = |source| BadContent::new(&self.codec.path, None, source);
        self.attempt(encoded.map_err(refused))
    }

    /// Writes new content in the configuration's own format, as [`set`](Self::set) does with a value.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and cancel safe as that.
    pub fn set_bytes(&self, content: impl Into<Bytes>) -> Attempt<()> {
        self.attempt(Ok(content.into()))
    }

    fn attempt(&self, content: Result<Bytes, BadContent>) -> Attempt<()> {
        let expected = self.stat().map_or(Expected::Missing, Expected::Present);
        let (path, watcher) = (&self.codec.path, self.clone());
        let span = tracing::debug_span!("config", %path);
        Attempt::plain((&self.client, path, span), async move {
            let content = content.map_err(Error::BadContent)?;
            watcher.replace(&content, expected).await
        })
    }

    async fn replace(&self, content: &Bytes, expected: Expected) -> Result<()> {
        self.codec
            .decode(content, None)
            .map_err(Error::BadContent)?;
        self.expect(expected).await?;
        let place = (&self.client, &self.codec.path);
        let attempt = || self.write(content, expected);
        let find = || self.find(content, expected);
        let written = writing::until_known(place, expected.conflicts(), attempt, find).await?;
        let (client, path) = place;
        self.observer
            .read_up_to(written.mzxid, || client.get_opt(path))
            .await
    }

    /// Whether the node still is the one that was read: another one of the same name begins its versions anew.
    async fn expect(&self, expected: Expected) -> Result<()> {
        let Expected::Present(expected) = expected else {
            return Ok(());
        };
        let mut patience = Patience::new();
        loop {
            match self.client.exists(&self.codec.path).await {
                Ok(Some(stat)) if stat.mzxid == expected.mzxid => return Ok(()),
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

//! The task that reads the node, again after every change and every reconnect.
//!
//! ```text
//!   read (getData, or exists where there is no node, each leaving a watch)
//!     --> tell the observers if it is news --> wait: the watch, a reconnect, another session --> read ...
//! ```
//!
//! ZooKeeper's watches tell that something changed, not what, and several changes may come as one. So the last state is
//! never missed as long as every wait ends in a read, and a watch is left by the read itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

use futures::FutureExt;
use tokio::sync::watch;
use tracing::Instrument;
use zk_client::{Client, ErrorKind, SessionState, States, WatchChange};

use super::{
    ConfigWatcher,
    builder::{Codec, ConfigSource},
    observer::Observer,
    state::Known,
};
use crate::{
    connection::{Patience, Setback, end_of, setback},
    error::{BadContent, Error, Result},
};

/// Starts the task and waits until there is a value, as the source was told.
pub(super) async fn start<T: Send + Sync + 'static>(
    source: ConfigSource<T>,
) -> Result<ConfigWatcher<T>> {
    let ConfigSource {
        client,
        codec,
        start,
        ..
    } = source;
    let (initial, waits) = start.into_parts();
    let codec = Arc::new(codec);
    let (sender, known) = watch::channel(Known::new(initial));
    let reader = Reader {
        client: client.clone(),
        codec: Arc::clone(&codec),
        known: sender,
    };
    let span = tracing::debug_span!("config", path = %codec.path);
    client.runtime().spawn(reader.run().instrument(span));
    let observer = Observer::start(known, waits, &codec.path).await?;
    Ok(ConfigWatcher::new(client, codec, observer))
}

struct Reader<T> {
    client: Client,
    codec: Arc<Codec<T>>,
    known: watch::Sender<Known<T>>,
}

impl<T: Send + Sync + 'static> Reader<T> {
    /// Runs until nobody observes any more, or the client has no session for good.
    async fn run(self) {
        let gone = self.known.closed();
        tokio::select! {
            biased;
            () = gone => {}
            error = self.follow() => {
                tracing::warn!(path = %self.codec.path, %error, "a configuration is not watched any more");
                self.known.send_modify(|known| known.end(error));
            }
        }
    }

    /// Reads and waits in turn; the error that ends it.
    async fn follow(&self) -> Error {
        let mut states = self.client.states();
        let mut patience = Patience::new();
        loop {
            let over = match self.read_attentively(&mut states).await {
                Ok(Ok(change)) => {
                    patience.reset();
                    self.wait(change, &mut states).await
                }
                // The client given is bound to a session that is over.
                Ok(Err(error)) if error.kind() == ErrorKind::SessionChanged => return error.into(),
                Ok(Err(error)) if setback(&error) == Setback::Refused => {
                    // An ACL that is broken later may be mended, and the last good value is served meanwhile.
                    if !self.known.borrow().was_read() {
                        return error.into();
                    }
                    tracing::warn!(path = %self.codec.path, %error, "a configuration cannot be read");
                    self.known.send_modify(Known::suspended);
                    patience.wait(&self.client).await
                }
                // On a connection that is up, too: what the watch told, or would have, is not read.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "not read");
                    self.known.send_modify(Known::suspended);
                    patience.wait(&self.client).await
                }
                Err(over) => return over,
            };
            if let Err(over) = over {
                return over;
            }
        }
    }

    /// Reads, which takes as long as there is no connection, and takes note of that meanwhile.
    async fn read_attentively(
        &self,
        states: &mut States,
    ) -> Result<zk_client::Result<WatchChange>> {
        let mut reading = pin!(self.read());
        loop {
            tokio::select! {
                // First, so that an answer that came before the connection was lost does not look like news after it.
                biased;
                _ = states.next() => {
                    self.take_note(states)?;
                }
                result = &mut reading => return Ok(result),
            }
        }
    }

    /// Waits until the node may have changed: it did, or there is a connection again.
    async fn wait(&self, mut change: WatchChange, states: &mut States) -> Result<()> {
        loop {
            tokio::select! {
                _ = &mut change => return Ok(()),
                _ = states.next() => if self.take_note(states)?.is_connected() {
                    return Ok(());
                }
            }
        }
    }

    /// How things stand now, which is what counts, and not what led there.
    fn take_note(&self, states: &mut States) -> Result<SessionState> {
        while states.next().now_or_never().flatten().is_some() {}
        let state = self.client.state();
        if let Some(reason) = end_of(&self.client, state) {
            return Err(Error::SessionGone { reason });
        }
        if !state.is_connected() {
            self.known.send_modify(Known::suspended);
        }
        Ok(state)
    }

    /// Reads the node as it is now; the watch that this left tells of the first change after it.
    async fn read(&self) -> zk_client::Result<WatchChange> {
        loop {
            match self.client.get(&self.codec.path).watch().await {
                Ok((node, change)) => {
                    self.tell(&node);
                    return Ok(change);
                }
                Err(error) if error.kind() == ErrorKind::NoNode => {}
                Err(error) => return Err(error),
            }
            // There is no node, so this watch tells of its creation. Created in between? Then it is there to be read.
            let (stat, change) = self.client.exists(&self.codec.path).watch().await?;
            if stat.is_none() {
                tracing::debug!(path = %self.codec.path, "no configuration");
                self.known.send_modify(|known| {
                    known.missing();
                });
                return Ok(change);
            }
        }
    }

    /// Decodes and validates; a panic of the user's code is bad content too, and not the end of the watcher.
    fn decode(&self, node: &zk_client::Node) -> Result<T, BadContent> {
        let version = Some(node.stat.version);
        let decode = || self.codec.decode(&node.data, version);
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
            let panicked = "its decoder or validation panicked".into();
            Err(BadContent::new(&self.codec.path, version, panicked))
        })
    }

    fn tell(&self, node: &zk_client::Node) {
        if !self.known.borrow().is_news(&node.stat) {
            self.known.send_modify(Known::confirmed);
            return;
        }
        // Decoded outside the channel's lock: it is the user's code.
        let content = self.decode(node);
        let (path, version) = (&self.codec.path, node.stat.version);
        match &content {
            Ok(_) => tracing::debug!(%path, version, "new configuration"),
            // Without the decoder's error: it may quote the content, and with it a password.
            Err(_) => tracing::warn!(%path, version, "configuration refused"),
        }
        self.known.send_modify(|known| {
            known.read(node.stat, content);
        });
    }
}

//! The task that reads a directory as of one moment, again after every change that its cache tells.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::watch;
use tracing::Instrument;
use zk_client::{Client, ErrorKind, MultiReadResult};

use super::{
    ConfigDirectory, DirectorySource,
    entries::{DirectoryCodec, Seen},
};
use crate::{
    cache::{Cache, CacheChanges, CacheScope, CacheSource},
    config_watcher::{observer::Observer, state::Known},
    connection::{Patience, Setback, setback},
    error::{BadContent, Error, Result},
    path::child,
    young::{MultiRead, Young},
};

/// Starts the task and waits until there is a value, as the source was told.
pub(super) async fn start<T: Send + Sync + 'static>(
    source: DirectorySource<T>,
) -> Result<ConfigDirectory<T>> {
    let DirectorySource {
        client,
        codec,
        start,
        ..
    } = source;
    let (initial, waits) = start.into_parts();
    let cache = CacheSource::new(&client, &codec.path, CacheScope::Children)
        .start()
        .await?;
    let codec = Arc::new(codec);
    let (sender, known) = watch::channel(Known::new(initial));
    let reading = Arc::new(Reading {
        client: client.clone(),
        path: Arc::clone(&codec.path),
        cache: cache.clone(),
        known: client.shared_state(),
    });
    let reader = Reader {
        client: client.clone(),
        codec: Arc::clone(&codec),
        cache: cache.clone(),
        reading: Arc::clone(&reading),
        known: sender,
    };
    let span = tracing::debug_span!("config", path = %codec.path);
    client.runtime().spawn(reader.run().instrument(span));
    let observer = Observer::start(known, waits, &codec.path).await?;
    Ok(ConfigDirectory {
        client,
        codec,
        observer,
        cache,
        reading,
    })
}

/// How a directory is read.
pub(super) struct Reading {
    client: Client,
    path: Arc<str>,
    cache: Cache,
    /// Whether the server knows `multiRead`. (Without, a read is dearer, and done only when nothing has changed between two
    /// passes.)
    known: Arc<Young<MultiRead>>,
}

struct Reader<T> {
    client: Client,
    codec: Arc<DirectoryCodec<T>>,
    cache: Cache,
    reading: Arc<Reading>,
    known: watch::Sender<Known<T>>,
}

impl<T: Send + Sync + 'static> Reader<T> {
    /// Runs until nobody observes any more, or the client has no session for good.
    async fn run(self) {
        tokio::select! {
            biased;
            () = self.known.closed() => {}
            error = self.follow() => {
                tracing::warn!(path = %self.codec.path, %error, "a directory of settings is not watched any more");
                self.known.send_modify(|known| known.end(error));
            }
        }
    }

    /// Reads and waits in turn; the error that ends it.
    async fn follow(&self) -> Error {
        let mut changes = self.cache.changes();
        let mut patience = Patience::new();
        loop {
            match self.reading.read().await {
                Ok(found) => {
                    patience.reset();
                    self.tell(found);
                    if let Err(over) = next(&mut changes).await {
                        return over;
                    }
                }
                Err(error) if error.kind() == ErrorKind::SessionChanged => return error.into(),
                Err(error) => {
                    if setback(&error) == Setback::Refused {
                        if !self.known.borrow().was_read() {
                            return error.into();
                        }
                        tracing::warn!(path = %self.codec.path, %error, "a directory of settings cannot be read");
                    }
                    self.known.send_modify(Known::suspended);
                    if let Err(over) = patience.wait(&self.client).await {
                        return over;
                    }
                }
            }
        }
    }

    fn tell(&self, found: Option<Seen>) {
        let Some(found) = found else {
            self.known.send_modify(|known| {
                known.missing();
            });
            return;
        };
        let stat = found.stat();
        if !self.known.borrow().is_news(&stat) {
            self.known.send_modify(Known::confirmed);
            return;
        }
        let content = self.decode(&found);
        match &content {
            Ok(_) => tracing::debug!(path = %self.codec.path, zxid = %stat.mzxid, "new settings"),
            // Without the decoder's error: it may quote the content, and with it a password.
            Err(_) => {
                tracing::warn!(path = %self.codec.path, zxid = %stat.mzxid, "settings refused")
            }
        }
        self.known.send_modify(|known| {
            known.read(stat, content);
        });
    }

    /// A panic of the user's code is bad content too, and not the end of the watcher.
    fn decode(&self, found: &Seen) -> Result<T, BadContent> {
        let version = Some(found.stat.version);
        let decode = || self.codec.decode(&found.entries(), version);
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
            let panicked = "its decoder or validation panicked".into();
            Err(BadContent::new(&self.codec.path, version, panicked))
        })
    }
}

/// Waits for a change, and takes those that came with it.
async fn next(changes: &mut CacheChanges) -> Result<()> {
    let gone = || Error::SessionGone {
        reason: ErrorKind::Closed,
    };
    changes.next().await.ok_or_else(gone)??;
    while let Some(change) = changes.next().now_or_never() {
        change.ok_or_else(gone)??;
    }
    Ok(())
}

impl Reading {
    /// The directory as of one moment; `None` where it is not there or has no nodes.
    pub(super) async fn read(&self) -> zk_client::Result<Option<Seen>> {
        let (client, path) = (&self.client, &*self.path);
        if self.known.is_avoided() {
            return read_one_by_one(client, path).await;
        }
        // What the cache knows is a first guess.
        let held = self.cache.snapshot();
        let mut names: Vec<String> = held.values().map(|node| node.name().to_owned()).collect();
        loop {
            let found = read_together(client, path, &names).await;
            self.known.learn(found.as_ref().err());
            match found {
                Ok(Found::Nothing) => return Ok(None),
                Ok(Found::All(seen)) => return Ok(Some(seen)),
                Ok(Found::Others(found)) => names = found,
                Err(error) if error.kind() == ErrorKind::Unimplemented => {
                    tracing::debug!(%path, "no multiRead here; the settings are read one by one");
                    return read_one_by_one(client, path).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

enum Found {
    Nothing,
    All(Seen),
    /// There are other nodes than were asked for.
    Others(Vec<String>),
}

/// One multiRead of the directory and these nodes.
async fn read_together(client: &Client, path: &str, names: &[String]) -> zk_client::Result<Found> {
    let mut reads = client.multi_read().get(path).children(path);
    for name in names {
        reads = reads.get(&child(path, name));
    }
    let mut results = reads.run().await?.into_iter();
    let mut next = || results.next().map(absent).transpose();
    let (
        Some(Some(MultiReadResult::Node(directory))),
        Some(Some(MultiReadResult::Children(mut found))),
    ) = (next()?, next()?)
    else {
        return Ok(Found::Nothing);
    };
    if found.is_empty() {
        return Ok(Found::Nothing);
    }
    let mut nodes = BTreeMap::new();
    for name in names {
        if let Some(Some(MultiReadResult::Node(node))) = next()? {
            nodes.insert(name.clone(), (copy(&node.data), node.stat));
        }
    }
    found.sort_unstable();
    match nodes.keys().eq(&found) {
        true => Ok(Found::All(Seen {
            data: copy(&directory.data),
            stat: directory.stat,
            nodes,
        })),
        false => Ok(Found::Others(found)),
    }
}

/// A node that is not there is none, and no error.
fn absent(
    result: zk_client::Result<MultiReadResult>,
) -> zk_client::Result<Option<MultiReadResult>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NoNode => Ok(None),
        // What the server says of those after the first that failed.
        Err(error) if error.kind() == ErrorKind::RuntimeInconsistency => Ok(None),
        result => result.map(Some),
    }
}

/// The same on servers that know no multiRead: everything is read twice, and again until both are the same.
async fn read_one_by_one(client: &Client, path: &str) -> zk_client::Result<Option<Seen>> {
    let mut before: Option<Seen> = None;
    loop {
        let Some(directory) = client.get_opt(path).await? else {
            return Ok(None);
        };
        let names = match client.children(path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => continue,
            names => names?,
        };
        if names.is_empty() {
            return Ok(None);
        }
        let mut nodes = BTreeMap::new();
        for name in &names {
            if let Some(node) = client.get_opt(&child(path, name)).await? {
                nodes.insert(name.clone(), (copy(&node.data), node.stat));
            }
        }
        let complete = nodes.len() == names.len();
        let seen = Seen {
            data: copy(&directory.data),
            stat: directory.stat,
            nodes,
        };
        let same = |before: Seen| {
            before.moments() == seen.moments() && before.stat.mzxid == seen.stat.mzxid
        };
        if complete && before.is_some_and(same) {
            return Ok(Some(seen));
        }
        before = Some(seen);
    }
}

/// A copy: what was received is a slice of a large buffer.
fn copy(data: &Bytes) -> Bytes {
    Bytes::copy_from_slice(data)
}

//! Writing a directory of settings: what differs, in one transaction.
//!
//! Every write also sets the directory's own node to what it is, on condition of its version; so two writers exclude each
//! other, and a writer whose answer was lost sees by that version whether it was carried out.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use zk_client::{ErrorKind, Multi, MultiResult, Outcome, Stat, Zxid};

use super::{
    ConfigDirectory,
    entries::{Entries, Seen},
    read,
};
use crate::{
    connection::{Patience, Setback, setback},
    error::{Error, Result},
    parents,
    path::child,
};

impl<T: Send + Sync + 'static> ConfigDirectory<T> {
    /// Writes a new value, if the directory is still as it was last seen; creates it if there was none.
    ///
    /// Returns when [`current`](Self::current) is the new value, or a newer one. After CONNECTIONLOSS the directory is read to
    /// find out whether the write took place.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when somebody else has changed it meanwhile: look at the new value and decide again. (After
    /// CONNECTIONLOSS also where somebody wrote over this very write before it could be looked for.)
    /// [`Error::BadContent`] when the value is no struct or map, or is refused as every reader would refuse it; nothing is
    /// written then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the value is written.
    pub async fn set(&self, value: &T) -> Result<()>
    where
        T: Serialize,
    {
        let entries = self.codec.encode(value).map_err(Error::BadContent)?;
        self.codec
            .decode(&entries, None)
            .map_err(Error::BadContent)?;
        let expected = self.expected().await?;
        if expected.entries() == entries {
            return Ok(());
        }
        let written = self.write(&entries, &expected).await?;
        self.until_read(written).await
    }

    /// What the write relies on: the nodes that were last seen, if they still are the same, or an empty directory.
    async fn expected(&self) -> Result<Seen> {
        let mut patience = Patience::new();
        let known = self.seen.lock().clone();
        loop {
            let error = match self.look().await {
                Ok(found) => {
                    let known = known.map(|seen| seen.moments()).unwrap_or_default();
                    return match found.moments() == known {
                        true => Ok(found),
                        false => Err(self.conflict()),
                    };
                }
                Err(error) => error,
            };
            match setback(&error) {
                // A container that was reaped in between.
                _ if error.kind() == ErrorKind::NoNode => {}
                Setback::Refused => return Err(error.into()),
                Setback::SessionEnded if error.kind() == ErrorKind::SessionChanged => {
                    return Err(error.into());
                }
                // Reading can be repeated in the next session, too.
                _ => patience.wait(&self.client).await?,
            }
        }
    }

    /// The directory as it is, created where it was not.
    async fn look(&self) -> zk_client::Result<Seen> {
        let (client, path) = (&self.client, &*self.codec.path);
        if let Some(seen) = read::read(client, path, &self.cache).await? {
            return Ok(seen);
        }
        parents::create(client, path).await?;
        let node = client.get(path).await?;
        let (data, stat) = (node.data, node.stat);
        let nodes = BTreeMap::new();
        Ok(Seen { data, stat, nodes })
    }

    /// Writes until it is known what became of it; the transaction that did it.
    async fn write(&self, entries: &Entries, expected: &Seen) -> Result<Zxid> {
        let mut patience = Patience::new();
        let mut undecided = false;
        loop {
            let error = match self.difference(entries, expected).commit().await {
                Ok(results) => return Ok(zxid(&results)),
                Err(error) => error,
            };
            let conflict = matches!(
                error.kind(),
                ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode
            );
            if conflict {
                // Perhaps it was an earlier attempt of ours that changed the directory.
                return match undecided {
                    true => self.find(entries, expected).await,
                    false => Err(self.conflict()),
                };
            }
            if setback(&error) == Setback::Refused {
                return Err(error.into());
            }
            undecided |= error.outcome() == Outcome::Unknown;
            patience.wait(&self.client).await?;
        }
    }

    /// The transaction that leads from what is expected to what is wanted.
    fn difference(&self, entries: &Entries, expected: &Seen) -> Multi {
        let path = &*self.codec.path;
        let own = self.client.multi().set(path, expected.data.clone());
        let mut multi = own.version(expected.stat.version).any();
        for (name, content) in entries {
            let node = child(path, name);
            multi = match expected.nodes.get(name) {
                None => multi.create(&node, content.clone()).any(),
                Some((data, stat)) if data == content => multi.check(&node, stat.version).any(),
                Some((_, stat)) => multi
                    .set(&node, content.clone())
                    .version(stat.version)
                    .any(),
            };
        }
        for (name, (_, stat)) in &expected.nodes {
            if !entries.contains_key(name) {
                multi = multi.delete(&child(path, name)).version(stat.version).any();
            }
        }
        multi
    }

    /// After a write of unknown outcome: the directory is one version on and holds what we wrote, or somebody else was there.
    async fn find(&self, entries: &Entries, expected: &Seen) -> Result<Zxid> {
        let mut patience = Patience::new();
        let version = expected.stat.version.wrapping_add(1);
        loop {
            match read::read(&self.client, &self.codec.path, &self.cache).await {
                Ok(Some(seen)) if seen.stat.version == version && seen.entries() == *entries => {
                    return Ok(seen.stat.mzxid);
                }
                Ok(_) => return Err(self.conflict()),
                Err(error) if setback(&error) == Setback::Refused => return Err(error.into()),
                Err(_) => patience.wait(&self.client).await?,
            }
        }
    }

    fn conflict(&self) -> Error {
        Error::Conflict {
            path: Arc::clone(&self.codec.path),
        }
    }

    /// Returns when this write was read, or a newer one, or there is nothing left to be read.
    async fn until_read(&self, written: Zxid) -> Result<()> {
        let mut known = self.observer.known.clone();
        loop {
            let in_vain = {
                let known = known.borrow_and_update();
                match known.ended() {
                    _ if known.newest() >= written => return Ok(()),
                    Some(error) => return Err(error.clone()),
                    None => known.is_missing() || known.is_stale(),
                }
            };
            if in_vain && self.is_gone().await {
                return Ok(());
            }
            if known.changed().await.is_err() {
                // The task is gone, but the value is written.
                return Ok(());
            }
        }
    }

    /// Whether what was written cannot be read: it was deleted again, or its ACL changed.
    async fn is_gone(&self) -> bool {
        match read::read(&self.client, &self.codec.path, &self.cache).await {
            Ok(seen) => seen.is_none(),
            Err(error) => setback(&error) == Setback::Refused,
        }
    }
}

/// The transaction of a multi whose first part is a set.
fn zxid(results: &[MultiResult]) -> Zxid {
    let stat: Option<&Stat> = results.first().and_then(MultiResult::stat);
    stat.map_or(Zxid::ZERO, |stat| stat.mzxid)
}

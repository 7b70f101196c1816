//! Writing a directory of settings: what differs, in one transaction.
//!
//! Every write also sets the directory's own node to what it is, on condition of its version; so two writers exclude each
//! other, and a writer whose answer was lost sees by that version whether it was carried out.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use zk_client::{ErrorKind, Multi, MultiResult, Stat, Zxid};

use super::{
    super::writing,
    ConfigDirectory,
    entries::{Entries, Seen},
};
use crate::{
    attempt::Attempt,
    connection::Patience,
    error::{Error, Result},
    parents,
    path::child,
};

/// What the server says to a transaction where the directory is not what it was believed to be.
const CONFLICTS: [ErrorKind; 3] = [
    ErrorKind::BadVersion,
    ErrorKind::NodeExists,
    ErrorKind::NoNode,
];

impl<T: Send + Sync + 'static> ConfigDirectory<T> {
    /// Writes a new value, if the directory is still what *this handle* last gave out; creates it if there was none.
    ///
    /// What counts is what [`current`](Self::current), [`changed`](Self::changed) or the start last told the caller, as with
    /// [`ConfigWatcher::set`](crate::ConfigWatcher::set); each clone remembers its own.
    ///
    /// Returns when [`current`](Self::current) is the new value, or a newer one. After CONNECTIONLOSS the directory is read to
    /// find out whether the write took place.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Conflict`] when somebody else has changed it since, and nothing was written: look at the
    /// new value and decide again. [`Error::BadContent`] when the value is no struct or map, or has no fields (without nodes
    /// there would be no configuration), or is refused as every reader would refuse it; nothing is written then.
    /// [`Error::Unknown`] when the answer is lost and nothing can be found out: somebody else has written since, or the session
    /// ends and the client opens no other. Without a connection it waits, at most as long as [told](Attempt::timeout).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the value is written; so does its timeout.
    pub fn set(&self, value: &T) -> Attempt<()>
    where
        T: Serialize,
    {
        let encoded = self.codec.encode(value).map_err(Error::BadContent);
        let (directory, basis) = (self.clone(), self.observer.basis.share());
        let given = basis.get();
        let span = tracing::debug_span!("config", path = %self.codec.path);
        Attempt::plain((&self.client, &self.codec.path, span), async move {
            let written = directory.replace(&encoded?, given).await?;
            if let Some(written) = written {
                basis.advance(given, written);
            }
            Ok(())
        })
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
        let (directory, asked) = (self.clone(), self.observer.basis.share());
        let span = tracing::debug_span!("config", path = %self.codec.path);
        Attempt::plain((&self.client, &self.codec.path, span), async move {
            loop {
                let mut known = directory.observer.asked();
                let value = change(&directory.current());
                let entries = directory.codec.encode(&value).map_err(Error::BadContent)?;
                let given = directory.observer.basis.get();
                match directory.replace(&entries, given).await {
                    Ok(written) => {
                        if let Some(written) = written.or(given) {
                            asked.advance(asked.get(), written);
                        }
                        return Ok(Arc::new(value));
                    }
                    Err(Error::Conflict { .. }) => directory.observer.overtaken(&mut known).await?,
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Writes over what was given out; the transaction that did it, if there was a difference.
    async fn replace(&self, entries: &Entries, given: Option<Zxid>) -> Result<Option<Zxid>> {
        self.codec
            .decode(entries, None)
            .map_err(Error::BadContent)?;
        let expected = self.expected(given).await?;
        if expected.entries() == *entries {
            return Ok(None);
        }
        let place = (&self.client, &self.codec.path);
        let attempt = || self.write(entries, &expected);
        let find = || self.find(entries, &expected);
        let written = writing::until_known(place, &CONFLICTS, attempt, find).await?;
        let look = || self.reading.read();
        self.observer.read_up_to(written, look).await?;
        Ok(Some(written))
    }

    /// What the write relies on: the nodes that were given out, if they still are the same, or an empty directory.
    async fn expected(&self, given: Option<Zxid>) -> Result<Seen> {
        let mut patience = Patience::new();
        loop {
            let error = match self.look().await {
                Ok(found) => {
                    return match found.written() == given {
                        true => Ok(found),
                        false => Err(writing::conflict(&self.codec.path)),
                    };
                }
                Err(error) => error,
            };
            writing::survives(&self.client, error, &mut patience).await?;
        }
    }

    /// The directory as it is, created where it was not.
    async fn look(&self) -> zk_client::Result<Seen> {
        let (client, path) = (&self.client, &*self.codec.path);
        loop {
            if let Some(seen) = self.reading.read().await? {
                return Ok(seen);
            }
            parents::create(client, path).await?;
            // As a container it may have been reaped in between.
            if let Some(node) = client.get_opt(path).await? {
                let (data, stat) = (node.data, node.stat);
                let nodes = BTreeMap::new();
                return Ok(Seen { data, stat, nodes });
            }
        }
    }

    /// Writes; the transaction that did it.
    async fn write(&self, entries: &Entries, expected: &Seen) -> zk_client::Result<Zxid> {
        let results = self.difference(entries, expected).commit().await?;
        Ok(zxid(&results))
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
    async fn find(&self, entries: &Entries, expected: &Seen) -> zk_client::Result<Option<Zxid>> {
        let version = expected.stat.version.wrapping_add(1);
        let seen = self.reading.read().await?;
        let ours = seen.filter(|seen| seen.stat.version == version && seen.entries() == *entries);
        Ok(ours.map(|seen| seen.stat.mzxid))
    }
}

/// The transaction of a multi whose first part is a set.
fn zxid(results: &[MultiResult]) -> Zxid {
    let stat: Option<&Stat> = results.first().and_then(MultiResult::stat);
    stat.map_or(Zxid::ZERO, |stat| stat.mzxid)
}

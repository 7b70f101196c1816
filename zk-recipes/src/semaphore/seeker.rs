//! The task of one who wants a lease.
//!
//! ```text
//!   mutex --> room? --+-- yes --> create, only while the mutex is held --> look --+-- one of the first --> granted
//!     ^         ^     |                                                           +-- one too many --> give back --+
//!     |         |     +-- no --> wait for a change                                                                 |
//!     |         +--------------------+-----------------------------------------------------------------------------+
//!     +-- the mutex is lost
//! ```

use std::{pin::pin, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use tokio::sync::watch;
use zk_client::{Client, ErrorKind, Session, WatchChange};

use super::{
    Count, Paths, Permit,
    decision::{Verdict, has_room, verdict},
    layout::lease,
};
use crate::{
    connection::Persistence,
    contender::{
        Entry, EntryNode, Grant, Heartbeat, Look, Options, OwnWatch, Recipe, Stop, Wanted, Warning,
        holders, tell, withdrawals::Withdrawn,
    },
    error::{Error, Result},
    lock::{Acquire, Lock, LockGuard, LockLayout},
    parents,
};

/// One who wants a lease.
pub(super) struct Seeker {
    client: Client,
    path: Arc<str>,
    options: Options,
    waits: bool,
    count: Count,
    paths: Paths,
    /// The mutex, while it is held.
    mutex: Option<LockGuard>,
    /// A watch on the lease's node.
    own: Option<OwnWatch>,
    warning: Warning,
}

impl Seeker {
    pub(super) fn new(wanted: Wanted<Permit>) -> Self {
        let Wanted {
            client,
            path,
            options,
            waits,
            wish: count,
            ..
        } = wanted;
        let paths = Paths::new(&path, options.layout);
        let warning = Warning::new(options.warn_after);
        Self {
            client,
            path,
            options,
            waits,
            count,
            paths,
            mutex: None,
            own: None,
            warning,
        }
    }

    /// The mutex's node, once it is held.
    async fn mutex(
        &mut self,
        session: &Session,
        persistence: &mut Persistence,
    ) -> Result<Arc<str>, Stop> {
        if let Some(mutex) = &self.mutex
            && mutex.ensure().is_ok()
        {
            return Ok(mutex.node_path().into());
        }
        self.mutex = None;
        // The wait is for a lease, also behind those who wait for the mutex: who holds it is not to blame.
        let options = Options {
            warn_after: None,
            ..self.options.clone()
        };
        let (queued, told) = watch::channel(false);
        let acquire = Lock::with(session, &self.paths.mutex)
            .with_options(options)
            .telling(queued);
        let acquired = match self.waits {
            true => self.wait_for(acquire, session).await.map(Some),
            false => acquire.try_acquire().await,
        };
        if *told.borrow() {
            persistence.reset();
        }
        let mutex = acquired.map_err(|error| match error {
            Error::Client(error) => Stop::Setback(error),
            error => Stop::Fail(error),
        })?;
        let mutex = mutex.ok_or(Stop::Busy)?;
        let node = mutex.node_path().into();
        self.mutex = Some(mutex);
        Ok(node)
    }

    /// Waits for the mutex; warns of those who hold a lease.
    async fn wait_for(&mut self, mutex: Acquire, session: &Session) -> Result<LockGuard> {
        let mut mutex = pin!(mutex);
        loop {
            tokio::select! {
                biased;
                mutex = &mut mutex => return mutex,
                waited = self.warning.due() => self.warn(session, waited).await,
            }
        }
    }

    /// Creates the lease, as soon as there is room for it.
    async fn create(
        &mut self,
        entry: &mut Entry,
        persistence: &mut Persistence,
    ) -> Result<(), Stop> {
        loop {
            let session = entry.session().clone();
            let mutex = match self.mutex(&session, persistence).await {
                // In the moment of the grant: again.
                Err(Stop::Fail(error)) if error.is_lost() => continue,
                mutex => mutex?,
            };
            let (count, count_changes) = self.count(&session).await?;
            let (leases, leases_change) = self.leases(&session).await?;
            persistence.reset();
            if has_room(leases, count) {
                match entry.enter(&self.options, Some(&mutex)).await {
                    Err(error)
                        if error.kind() == ErrorKind::NoNode && error.path() == Some(&*mutex) =>
                    {
                        self.mutex = None;
                    }
                    // The directory of the leases went after the look; another look makes it again.
                    Err(error) if error.kind() == ErrorKind::NoNode => {}
                    entered => return Ok(entered?),
                }
            } else if self.waits {
                self.wait(&session, count_changes, leases_change).await;
            } else {
                return Err(Stop::Busy);
            }
        }
    }

    /// Whether all leases are taken, as the leader sees it: a cheap refusal for those who do not wait, which leaves no node
    /// that others would have to look at.
    async fn is_full(&self, session: &Session) -> Result<bool, Stop> {
        let sync = session.sync(&self.paths.leases).submit().await?;
        let leases = session.children(&self.paths.leases).submit().await?;
        let count = match &self.count.node {
            Some(path) => Some(session.get_opt(path).submit().await?),
            None => None,
        };
        sync.await?;
        let leases = match leases.await {
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(false),
            names => names?.len(),
        };
        let told = match count {
            Some(node) => node.await?.map(|node| node.data),
            None => None,
        };
        Ok(!has_room(leases, self.told(told.as_deref())))
    }

    /// How many leases there may be, and when that changes.
    async fn count(&self, session: &Session) -> Result<(u32, Option<WatchChange>), Stop> {
        let Some(path) = &self.count.node else {
            return Ok((self.count.fixed, None));
        };
        let (data, change) = match session.get(path).watch().await {
            Ok((node, change)) => (Some(node.data), change),
            Err(error) if error.kind() == ErrorKind::NoNode => {
                // Created between the two looks: the watch tells no more than a change, which brings another look.
                let (_, change) = session.exists(path).watch().await?;
                let now = session.get_opt(path).await?;
                (now.map(|node| node.data), change)
            }
            Err(error) => return Err(error.into()),
        };
        Ok((self.told(data.as_deref()), Some(change)))
    }

    /// The count that the node with the count tells, or else the one that was given.
    fn told(&self, data: Option<&[u8]>) -> u32 {
        match data.map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) => u32::try_from(i32::from_be_bytes(bytes)).unwrap_or(0),
            Some(Err(_)) => {
                let path = &self.path;
                tracing::warn!(%path, "no count of four bytes; going on with the one that was given");
                self.count.fixed
            }
            None => self.count.fixed,
        }
    }

    /// How many leases there are, and when that changes.
    async fn leases(&self, session: &Session) -> Result<(usize, WatchChange), Stop> {
        loop {
            match session.children(&self.paths.leases).watch().await {
                Ok((names, change)) => return Ok((names.len(), change)),
                Err(error) if error.kind() == ErrorKind::NoNode => match self.options.layout {
                    LockLayout::Curator => parents::create(session, &self.paths.leases).await?,
                    // It is the node with the count: without it nobody would keep to one.
                    LockLayout::Kazoo => self.agree(session).await?,
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the count, the leases or the ownership of the mutex changes.
    async fn wait(&mut self, session: &Session, count: Option<WatchChange>, leases: WatchChange) {
        let mut count = count;
        let mut leases = leases;
        loop {
            let mutex = self.mutex.as_ref().map(|mutex| mutex.lost());
            tokio::select! {
                _ = &mut leases => return,
                Some(_) = OptionFuture::from(count.as_mut()) => return,
                Some(_) = OptionFuture::from(mutex) => return,
                waited = self.warning.due() => self.warn(session, waited).await,
            }
        }
    }

    /// Warns of a long wait, with the oldest lease.
    async fn warn(&self, session: &Session, waited: Duration) {
        let holders = holders(session, &self.paths.leases).await;
        let oldest = holders.map(|holders| holders.into_iter().next());
        tell(&self.path, waited, oldest);
    }

    /// In kazoo's layout the count stands in the semaphore's node, for all.
    async fn agree(&self, session: &Session) -> Result<(), Stop> {
        if self.options.layout != LockLayout::Kazoo {
            return Ok(());
        }
        if self.count.node.is_some() {
            return Err(Stop::Fail(self.mismatch(None)));
        }
        let asked = self.count.fixed.to_string();
        parents::create_to_stay(session, &self.path, &asked).await?;
        let node = session.get(&self.path).await?;
        // kazoo takes no notice of anything but a number.
        let told = std::str::from_utf8(&node.data)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok());
        match told {
            Some(told) if told != i64::from(self.count.fixed) => {
                Err(Stop::Fail(self.mismatch(Some(told))))
            }
            _ => Ok(()),
        }
    }

    fn mismatch(&self, told: Option<i64>) -> Error {
        Error::CountMismatch {
            path: Arc::clone(&self.path),
            told,
            asked: self.count.fixed,
        }
    }
}

impl Recipe for Seeker {
    fn client(&self) -> &Client {
        &self.client
    }

    fn heartbeat(&self) -> Heartbeat {
        self.options.heartbeat
    }

    fn begin(&mut self) -> Entry {
        self.mutex = None;
        self.own = None;
        let session = self.client.session();
        let name = lease(self.options.layout, &session.guid());
        Entry::new(session, &self.paths.leases, name)
    }

    async fn attempt(
        &mut self,
        entry: &mut Entry,
        persistence: &mut Persistence,
    ) -> Result<(EntryNode, Grant), Stop> {
        let session = entry.session().clone();
        self.agree(&session).await?;
        if !self.waits && entry.is_absent() {
            let is_full = self.is_full(&session).await?;
            persistence.reset();
            if is_full {
                return Err(Stop::Busy);
            }
        }
        loop {
            let known = match entry.node() {
                Some(node) => Some(node.clone()),
                // Only a look: a create needs the mutex and room.
                None if !entry.is_absent() => entry.look_up().await?,
                None => None,
            };
            let Some(node) = known else {
                self.create(entry, persistence).await?;
                continue;
            };
            let (count, _) = self.count(&entry.session().clone()).await?;
            let look = Look::take(entry, &node, &mut self.own).await?;
            persistence.reset();
            match (verdict(&look.children, node.name(), count), self.own.take()) {
                (Verdict::Granted, Some(own)) if look.evidence.time_left().is_some() => {
                    let evidence = look.evidence;
                    return Ok((node, Grant { own, evidence }));
                }
                // The evidence is too old by now; another look brings another.
                (Verdict::Granted, Some(own)) => self.own = Some(own),
                _ => {
                    tracing::debug!(path = %self.path, "a lease too many is given back");
                    if let Withdrawn::Refused(_) = entry.withdraw().await {
                        if !self.waits {
                            return Err(Stop::Busy);
                        }
                        // It counts until it is gone, also against the next one here; it is no reason to keep others waiting.
                        self.mutex = None;
                        entry.until_gone().await;
                    }
                    let name = lease(self.options.layout, &entry.session().guid());
                    *entry = entry.anew(name);
                    if !self.waits {
                        return Err(Stop::Busy);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// How long to wait after a lease that was one too many: whose it was is seen only by its going.
const PAUSE: Duration = Duration::from_millis(50);

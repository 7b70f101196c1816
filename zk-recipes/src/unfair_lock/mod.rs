//! The unfair lock: one ephemeral node; whoever creates it holds the lock.
//!
//! **What it guarantees.** What a [`lock`](crate::lock) does: at most one guard is certain at any time, with a fencing token and within
//! the same limits. There is **no `commit`**: the next holder's node has the same name, so no transaction can check that it is
//! still one's own; fence with the token. It does **not** guarantee any order, nor that a waiter ever gets it. **Herd**: everybody who waits watches
//! the one node and tries at once when it goes: a release costs as many requests as there are waiters. Use it where
//! nobody waits ([`try_acquire`](crate::lock::Acquire::try_acquire), "is anybody at it?") or only a few do; else a lock that queues.
//!
//! **CONNECTIONLOSS** while creating is survived: the node's data ends with an identifier, so that its creator knows it again,
//! and a release whose answer was lost looks before it deletes once more. **Suspension** loses nothing before the guard's
//! deadline. **Expiry** ends a guard at that deadline; a waiter goes on in the client's next session. **Cancellation** is safe
//! at every await. Whoever deletes the node of a holder by hand risks that the holder's own release, before it was told of
//! that, deletes the next holder's: the name does not tell them apart. A holder that was told, or that lost its lock in any
//! other way, looks whose node it is before it deletes one.
//!
//! **A resumed session** still owns what its process held before: see [`lock`](crate::lock).
//!
//! Compatible with everybody who takes a lock by creating one ephemeral node and honours others who do.
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! match client.unfair_lock("/jobs/cleanup").try_acquire().await? {
//!     Some(guard) => guard.release().await?,                     // after the job
//!     None => println!("somebody else is at it"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is no fence does not compile:
//!
//! ```compile_fail,E0599
//! # async fn no_fence(client: &zk_client::Client, guard: zk_recipes::unfair_lock::UnfairGuard) {
//! let _ = guard.commit(client.multi()).await;
//! # }
//! ```

use std::sync::Arc;

use futures::future::BoxFuture;
use zk_client::{Client, ErrorKind, SessionId, WatchChange};

use crate::{
    connection::Persistence,
    contender::{
        Acquire, Answer, Entry, EntryName, EntryNode, Exclusive, Grant, Guard, Heartbeat, Kind,
        Look, Options, OwnWatch, Recipe, Stop, Wanted, Warning, contender, sealed, serve, tell,
    },
    error::{Error, Result},
    lock::LockContender,
};

/// The holder of an [unfair lock](crate::unfair_lock).
#[derive(Debug, Clone, Copy)]
pub enum Unfair {}

/// The guard of an unfair lock.
pub type UnfairGuard = Guard<Unfair>;

impl Kind for Unfair {}
impl Exclusive for Unfair {}

#[expect(private_interfaces, reason = "sealed: nobody else calls it")]
impl sealed::Contend for Unfair {
    type Wish = ();

    fn contend(wanted: Wanted<Self>, answer: Answer<Self>) -> BoxFuture<'static, ()> {
        Box::pin(serve(Grabber::new(wanted), answer))
    }
}

/// The wait for the unfair lock at `path`.
pub(crate) fn acquire(client: &Client, path: &str) -> Acquire<Unfair> {
    Acquire::new(Some(client.clone()), path)
}

impl Acquire<Unfair> {
    /// Who holds the lock, if anybody does.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentClient`] without a client, and what the client reports.
    pub async fn holder(self) -> Result<Option<LockContender>> {
        let (client, path, _) = self.parts()?;
        holder(client, path).await
    }
}

async fn holder(client: &Client, path: &str) -> Result<Option<LockContender>> {
    let node = client.get_opt(path).await?;
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    Ok(node.map(|node| {
        let mut holder = contender(name, &node);
        // Without the identifier that follows.
        if let Some((identity, _)) = holder.identity.rsplit_once('\n') {
            holder.identity = identity.to_owned();
        }
        holder
    }))
}

/// One who tries to create the node.
struct Grabber {
    client: Client,
    path: Arc<str>,
    options: Options,
    waits: bool,
    /// A watch on the own node.
    own: Option<OwnWatch>,
    warning: Warning,
}

impl Grabber {
    fn new(wanted: Wanted<Unfair>) -> Self {
        let Wanted {
            client,
            path,
            options,
            waits,
            ..
        } = wanted;
        let warning = Warning::new(options.warn_after);
        Self {
            client,
            path,
            options,
            waits,
            own: None,
            warning,
        }
    }

    /// Looks at the node of somebody else; `None` if it is gone by now.
    async fn look(&self, entry: &Entry) -> Result<Option<WatchChange>, Stop> {
        match entry.session().get(&self.path).watch().await {
            Ok((node, _)) if node.stat.ephemeral_owner == SessionId::NONE => {
                Err(Stop::Fail(self.foreign()))
            }
            Ok((_, change)) => Ok(Some(change)),
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The node is there to stay, and so nobody's lock.
    fn foreign(&self) -> Error {
        let (above, name) = self.path.rsplit_once('/').unwrap_or_default();
        Error::Foreign {
            path: if above.is_empty() { "/" } else { above }.into(),
            name: name.to_owned(),
        }
    }

    /// Waits until the node of somebody else changes.
    async fn wait(&mut self, entry: &Entry, mut change: WatchChange) {
        loop {
            tokio::select! {
                _ = &mut change => return,
                waited = self.warning.due() => {
                    tell(&self.path, waited, holder(entry.session(), &self.path).await);
                }
            }
        }
    }
}

impl Recipe for Grabber {
    fn client(&self) -> &Client {
        &self.client
    }

    fn heartbeat(&self) -> Heartbeat {
        self.options.heartbeat
    }

    fn begin(&mut self) -> Entry {
        self.own = None;
        let session = self.client.session();
        let name = EntryName::Shared(session.guid());
        Entry::new(session, &self.path, name)
    }

    async fn attempt(
        &mut self,
        entry: &mut Entry,
        persistence: &mut Persistence,
    ) -> Result<(EntryNode, Grant), Stop> {
        loop {
            match entry.enter(&self.options, None).await {
                Err(error) if error.kind() == ErrorKind::NodeExists => {
                    persistence.reset();
                    match self.look(entry).await? {
                        Some(_) if !self.waits => return Err(Stop::Busy),
                        Some(change) => self.wait(entry, change).await,
                        None => {}
                    }
                    continue;
                }
                entered => entered?,
            }
            let Some(node) = entry.node().cloned() else {
                continue;
            };
            let look = Look::take(entry, &node, &mut self.own).await?;
            persistence.reset();
            match self.own.take() {
                Some(own) if look.evidence.time_left().is_some() => {
                    let evidence = look.evidence;
                    return Ok((node, Grant { own, evidence }));
                }
                // The evidence is too old by now; another look brings another.
                Some(own) => self.own = Some(own),
                // Somebody deleted it.
                None => *entry = entry.anew(EntryName::Shared(entry.session().guid())),
            }
        }
    }
}

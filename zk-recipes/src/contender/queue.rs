//! One contender in a queue of sequential nodes: a mutex, a read-write lock, a leadership.
//!
//! ```text
//!   enter --> look --+-- holder --------------------> granted
//!       ^      ^     +-- somebody before me --> wait --+
//!       |      +----------------------------------------+
//!       +-- my node is gone
//! ```

use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::sync::watch;
use zk_client::{Client, ErrorKind, Evidence, WatchChange};

use super::{
    Grant, Heartbeat, Kind, Naming, Options, Recipe, Role, Stop, Wanted, Warning,
    entry::{Entry, EntryName, EntryNode, OwnWatch},
    who,
    withdrawals::Withdrawn,
};
use crate::{
    connection::Persistence,
    error::{Error, Result},
    queue_order::{Turn, turn},
};

/// One contender of a queue.
#[derive(Debug)]
pub(crate) struct Contender {
    client: Client,
    path: Arc<str>,
    options: Options,
    naming: Naming,
    waits: bool,
    /// Told when there is a place in the queue.
    queued: Option<watch::Sender<bool>>,
    watches: Watches,
    warning: Warning,
}

/// The watches that a waiting contender has.
#[derive(Debug, Default)]
struct Watches {
    own: Option<OwnWatch>,
    predecessor: Option<WatchChange>,
}

impl Contender {
    pub(crate) fn new<K: Kind>(wanted: Wanted<K>, role: Role) -> Self {
        let Wanted {
            client,
            path,
            options,
            waits,
            queued,
            ..
        } = wanted;
        let naming = Naming::new(role, options.layout);
        let warning = Warning::new(options.warn_after);
        Self {
            client,
            path,
            options,
            naming,
            waits,
            queued,
            watches: Watches::default(),
            warning,
        }
    }

    fn tell_queued(&mut self) {
        if let Some(queued) = self.queued.take() {
            queued.send_replace(true);
        }
    }

    /// Whether anybody blocks this role now: a cheap refusal for those who do not wait, as the leader sees it, and for those
    /// whom a foreign contender refuses, as any server sees it. Neither leaves a node that others would have to look at.
    async fn is_taken(&self, entry: &Entry) -> Result<bool, Stop> {
        let sync = match self.waits {
            false => Some(entry.session().sync(&self.path).submit().await?),
            true => None,
        };
        let children = entry.session().children(&self.path).submit().await?;
        if let Some(sync) = sync {
            sync.await?;
        }
        match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(false),
            children => Ok(!self.contenders(&children?, "")?.is_empty()),
        }
    }

    fn contenders<'c>(
        &self,
        children: &'c [String],
        me: &str,
    ) -> Result<Vec<crate::queue_order::Contender<'c>>, Stop> {
        self.naming.contenders(children, me).map_err(|name| {
            Stop::Fail(Error::ForeignContender {
                path: Arc::clone(&self.path),
                name: name.to_owned(),
                layout: self.naming.layout(),
            })
        })
    }

    fn judge<'l>(&self, look: &'l Look, node: &EntryNode) -> Result<Turn<'l>, Stop> {
        let me = node.name();
        Ok(turn(&self.contenders(&look.children, me)?, me))
    }

    /// Somebody deleted the node: another one, at the end of the queue.
    fn begin_anew(&mut self, entry: &mut Entry) {
        tracing::warn!(path = %self.path, "somebody deleted the node of a waiting contender; it queues again");
        let name = self.naming.name(&entry.session().guid());
        *entry = entry.anew(EntryName::Sequential(name));
        self.watches = Watches::default();
    }

    /// Waits until the predecessor or the own node changes.
    async fn wait_for(&mut self, predecessor: &str, entry: &Entry) -> Result<(), Stop> {
        let Self {
            watches, warning, ..
        } = self;
        // Not `exists`: on a node that is gone it would leave a watch that nobody needs.
        watches.predecessor = match entry.session().get(predecessor).watch().await {
            Ok((_, change)) => Some(change),
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        loop {
            let predecessor = OptionFuture::from(watches.predecessor.as_mut());
            let own = watches.own.as_mut().map(|own| &mut own.change);
            let own = OptionFuture::from(own);
            tokio::select! {
                Some(event) = predecessor => {
                    watches.predecessor = None;
                    tracing::trace!(?event, "the predecessor changed");
                    return Ok(());
                }
                Some(_) = own => {
                    watches.own = None;
                    return Ok(());
                }
                waited = warning.due() => {
                    who::warn(entry.session(), &self.path, self.naming, waited).await;
                }
            }
        }
    }
}

impl Recipe for Contender {
    fn client(&self) -> &Client {
        &self.client
    }

    fn heartbeat(&self) -> Heartbeat {
        self.options.heartbeat
    }

    fn begin(&mut self) -> Entry {
        self.watches = Watches::default();
        let session = self.client.session();
        let name = self.naming.name(&session.guid());
        Entry::new(session, &self.path, EntryName::Sequential(name))
    }

    async fn attempt(
        &mut self,
        entry: &mut Entry,
        persistence: &mut Persistence,
    ) -> Result<(EntryNode, Grant), Stop> {
        if entry.is_absent() && self.is_taken(entry).await? && !self.waits {
            return Err(Stop::Busy);
        }
        loop {
            entry.enter(&self.options, None).await?;
            let Some(node) = entry.node().cloned() else {
                continue;
            };
            let look = Look::take(entry, &node, &mut self.watches.own).await?;
            persistence.reset();
            match self.judge(&look, &node)? {
                Turn::Lost => self.begin_anew(entry),
                Turn::WatchPredecessor(_) if !self.waits => return Err(Stop::Busy),
                Turn::WatchPredecessor(name) => {
                    let predecessor = entry.child(name);
                    // A waiter needs no evidence, and so no heartbeats.
                    drop(look);
                    self.tell_queued();
                    self.wait_for(&predecessor, entry).await?;
                }
                // The evidence may be too old by now; another look brings another.
                Turn::Holder if look.evidence.time_left().is_none() => {}
                Turn::Holder => {
                    if let Some(own) = self.watches.own.take() {
                        self.tell_queued();
                        let evidence = look.evidence;
                        return Ok((node, Grant { own, evidence }));
                    }
                    // It is first in the queue, and not seen to be this session's: nothing may be left there to wait for.
                    if let Withdrawn::Refused(_) = entry.withdraw().await {
                        if !self.waits {
                            return Err(Stop::Busy);
                        }
                        entry.until_gone().await;
                    }
                    self.begin_anew(entry);
                }
            }
        }
    }
}

/// One look at the queue: who is there, and evidence that the session lived when the look was sent.
pub(crate) struct Look {
    pub(crate) evidence: Evidence,
    pub(crate) children: Vec<String>,
}

impl Look {
    /// Sends everything together: the evidence first, so that it covers what follows it.
    pub(crate) async fn take(
        entry: &Entry,
        node: &EntryNode,
        own: &mut Option<OwnWatch>,
    ) -> zk_client::Result<Self> {
        let session = entry.session();
        let evidence = session.evidence().submit().await?;
        let children = session.children(entry.directory()).submit().await?;
        if own.is_none() {
            *own = entry.watch(node).await?;
        }
        let evidence = evidence.await?;
        let children = match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
            children => children?,
        };
        Ok(Self { evidence, children })
    }
}

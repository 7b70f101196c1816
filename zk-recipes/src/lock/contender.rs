//! The task of one contender: queue, wait, hand over the guard, and go on as its keeper.
//!
//! ```text
//!   enter --> look --+-- holder --------------------> guard (keeper)
//!    ^  ^      ^     +-- somebody before me --> wait --+
//!    |  |      +----------------------------------------+
//!    |  +-- my node is gone
//!    +-- the session ended: again in the next one, with a new identifier, at the end of the queue
//! ```
//!
//! All state is in this one task, which runs on the client's runtime. Whoever waits for the guard holds one end of a
//! channel; when that is dropped, the task withdraws its entry, wherever it is. So nothing has to be spawned in a `Drop`, and
//! dropping works outside a runtime.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use tokio::{sync::oneshot, time::Sleep};
use zk_client::{Client, ErrorKind, Evidence, SessionId, WatchChange};

use super::{
    LockGuard, Options,
    entry::{Entry, EntryNode},
    holder, keeper,
    lost::Ownership,
};
use crate::{
    connection::{Patience, Setback, connected, setback},
    error::{Error, Result},
    queue_order::{Turn, turn},
};

/// In how many sessions, one after another, nothing may be possible at all: more means that the client is itself bound to
/// a session that is over.
const FRUITLESS_MAX: u32 = 3;

/// What whoever waits is sent: the guard, or `None` where it was not to be waited for.
pub(super) type Answer = oneshot::Sender<Result<Option<LockGuard>>>;

/// What one contender wants.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) client: Client,
    pub(super) path: Arc<str>,
    pub(super) options: Options,
    /// Whether to stand in the queue, or to leave when somebody is before.
    pub(super) waits: bool,
}

/// How an attempt to hold ended without a guard.
enum Stop {
    /// The connection is lost or the server busy; the entry stands.
    Setback(zk_client::Error),
    /// Somebody is before, and this contender does not wait.
    Busy,
    /// There is no point in going on.
    Fail(Error),
}

impl From<zk_client::Error> for Stop {
    fn from(error: zk_client::Error) -> Self {
        Self::Setback(error)
    }
}

/// A granted lock.
struct Grant {
    own: WatchChange,
    evidence: Evidence,
}

/// The watches that a waiting contender has.
#[derive(Default)]
struct Watches {
    own: Option<WatchChange>,
    predecessor: Option<WatchChange>,
}

impl Contender {
    /// Runs until the lock is released or lost and its node gone, or until nobody waits any more.
    pub(super) async fn run(self, mut answer: Answer) {
        let entry = tokio::select! {
            biased;
            () = answer.closed() => return,
            entry = self.first_entry() => entry,
        };
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                // Whoever waited may be gone by now.
                let _ = answer.send(Err(error));
                return;
            }
        };
        let outcome = tokio::select! {
            biased;
            () = answer.closed() => None,
            outcome = self.contend(&mut entry) => Some(outcome),
        };
        match outcome {
            Some(Ok(Some(grant))) => self.hold(entry, grant, answer).await,
            Some(other) => {
                // Whoever waited may be gone by now.
                let _ = answer.send(other.map(|_| None));
                entry.withdraw().await;
            }
            None => {
                tracing::debug!(path = %self.path, "nobody waits for the lock any more");
                entry.withdraw().await;
            }
        }
    }

    /// In a session that exists: before there is one, an entry could not tell its own node from another's.
    async fn first_entry(&self) -> Result<Entry> {
        if self.client.session().id() == SessionId::NONE {
            connected(&self.client).await?;
        }
        Ok(self.new_entry())
    }

    fn new_entry(&self) -> Entry {
        Entry::new(self.client.session(), &self.path, self.options.layout)
    }

    async fn hold(&self, entry: Entry, grant: Grant, answer: Answer) {
        let Some(node) = entry.node().cloned() else {
            return;
        };
        let Grant { own, evidence } = grant;
        tracing::debug!(path = %self.path, node = %node.path, "lock acquired");
        let ownership = Arc::new(Ownership::new(Arc::clone(&self.path), evidence.clone()));
        let (guard, releases) = LockGuard::new(&ownership, node, entry.session().clone());
        // If nobody waits any more, the guard comes back here, and dropping it releases.
        drop(answer.send(Ok(Some(guard))));
        keeper::keep(entry, own, evidence, ownership, releases).await;
    }

    /// Contends until the lock is ours; `None` if it is not to be waited for.
    async fn contend(&self, entry: &mut Entry) -> Result<Option<Grant>> {
        let mut patience = Patience::new();
        let mut watches = Watches::default();
        let mut warning = Warning::new(self.options.warn_after);
        let mut fruitless = 0;
        loop {
            let attempt = self.attempt(entry, &mut watches, &mut warning, &mut patience);
            let error = match attempt.await {
                Ok(grant) => return Ok(Some(grant)),
                Err(Stop::Busy) => return Ok(None),
                Err(Stop::Fail(error)) => return Err(error),
                Err(Stop::Setback(error)) => error,
            };
            tracing::debug!(path = %self.path, %error, "set back while waiting for the lock");
            match setback(&error) {
                Setback::Refused => return Err(error.into()),
                Setback::Connection => patience.wait(&self.client).await?,
                Setback::SessionEnded => {
                    fruitless = if entry.is_absent() { fruitless + 1 } else { 0 };
                    if fruitless > FRUITLESS_MAX {
                        return Err(error.into());
                    }
                    patience.wait(&self.client).await?;
                    *entry = self.new_entry();
                    watches = Watches::default();
                }
            }
        }
    }

    /// One attempt in one session: ends with the lock, or with an error.
    async fn attempt(
        &self,
        entry: &mut Entry,
        watches: &mut Watches,
        warning: &mut Warning,
        patience: &mut Patience,
    ) -> Result<Grant, Stop> {
        if !self.waits && entry.is_absent() && self.is_taken(entry).await? {
            return Err(Stop::Busy);
        }
        loop {
            entry.enter(&self.options).await?;
            let Some(node) = entry.node().cloned() else {
                continue;
            };
            let look = Look::take(entry, &node, watches).await?;
            patience.reset();
            match self.judge(&look, &node)? {
                Turn::Lost => self.begin_anew(entry, watches),
                Turn::WatchPredecessor(_) if !self.waits => return Err(Stop::Busy),
                Turn::WatchPredecessor(name) => {
                    let predecessor = entry.child(name);
                    // A waiter needs no evidence, and so no heartbeats.
                    drop(look);
                    self.wait_for(&predecessor, entry, watches, warning).await?;
                }
                // The evidence may be too old by now; another look brings another.
                Turn::Holder if look.evidence.time_left().is_none() => {}
                Turn::Holder => {
                    if let Some(own) = watches.own.take() {
                        return Ok(Grant {
                            own,
                            evidence: look.evidence,
                        });
                    }
                    // It is first in the queue, and not seen to be this session's: nothing may be left there to wait for.
                    entry.withdraw().await;
                    self.begin_anew(entry, watches);
                }
            }
        }
    }

    /// Whether anybody contends now, as the leader sees it: a cheap refusal for those who do not wait.
    async fn is_taken(&self, entry: &Entry) -> Result<bool, Stop> {
        let sync = entry.session().sync(&self.path).submit().await?;
        let children = entry.session().children(&self.path).submit().await?;
        sync.await?;
        match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(false),
            children => Ok(!self.contenders(&children?)?.is_empty()),
        }
    }

    fn contenders<'c>(
        &self,
        children: &'c [String],
    ) -> Result<Vec<crate::queue_order::Contender<'c>>, Stop> {
        let (path, layout) = (&self.path, self.options.layout);
        layout.contenders(children).map_err(|name| {
            let (path, name) = (Arc::clone(path), name.to_owned());
            Stop::Fail(Error::ForeignContender { path, name, layout })
        })
    }

    fn judge<'l>(&self, look: &'l Look, node: &EntryNode) -> Result<Turn<'l>, Stop> {
        Ok(turn(&self.contenders(&look.children)?, node.name()))
    }

    /// Somebody deleted the node: another one, at the end of the queue.
    fn begin_anew(&self, entry: &mut Entry, watches: &mut Watches) {
        tracing::warn!(path = %self.path, "somebody deleted the node of a waiting contender; it queues again");
        *entry = Entry::new(entry.session().clone(), &self.path, self.options.layout);
        *watches = Watches::default();
    }

    /// Waits until the predecessor or the own node changes.
    async fn wait_for(
        &self,
        predecessor: &str,
        entry: &Entry,
        watches: &mut Watches,
        warning: &mut Warning,
    ) -> Result<(), Stop> {
        // Not `exists`: on a node that is gone it would leave a watch that nobody needs.
        watches.predecessor = match entry.session().get(predecessor).watch().await {
            Ok((_, change)) => Some(change),
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        loop {
            let predecessor = OptionFuture::from(watches.predecessor.as_mut());
            let own = OptionFuture::from(watches.own.as_mut());
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
                    holder::warn(entry.session(), &self.path, self.options.layout, waited).await;
                }
            }
        }
    }
}

/// One look at the queue: who is there, and evidence that the session lived when the look was sent.
struct Look {
    evidence: Evidence,
    children: Vec<String>,
}

impl Look {
    /// Sends everything together: the evidence first, so that it covers what follows it.
    async fn take(
        entry: &Entry,
        node: &EntryNode,
        watches: &mut Watches,
    ) -> zk_client::Result<Self> {
        let session = entry.session();
        let evidence = session.evidence().submit().await?;
        let children = session.children(entry.directory()).submit().await?;
        if watches.own.is_none() {
            watches.own = entry.watch(node).await?;
        }
        let evidence = evidence.await?;
        let children = match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
            children => children?,
        };
        Ok(Self { evidence, children })
    }
}

/// The long-wait warning, each time after twice the time.
struct Warning {
    after: Option<Duration>,
    waited: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Warning {
    const fn new(after: Option<Duration>) -> Self {
        Self {
            after,
            waited: Duration::ZERO,
            timer: None,
        }
    }

    /// Returns when the next warning is due, with the time waited so far. Cancel safe.
    async fn due(&mut self) -> Duration {
        let Some(after) = self.after else {
            return std::future::pending().await;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        timer.as_mut().await;
        self.timer = None;
        self.waited += after;
        self.after = Some(self.waited);
        self.waited
    }
}

//! One contender's node, from before its creation until it is certainly gone.
//!
//! The node bears an identifier of its own, in its name or its data, so that after a lost connection the contender can look
//! whether its create was carried out. That look is preceded by a `sync` in the same session: the resumed session's requests
//! come after everything its old connection still had on the way, so what is not there then never will be.
//!
//! Invariants: everything here is done in the one session that the entry began with, so a node of a dying session is never
//! adopted (and the owner is compared all the same); an entry that is withdrawn leaves no node on a live session,
//! whatever was dropped half way; no delete whose predecessor may have been carried out is sent before another look.
//! Deliberately not here: whose turn it is.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{
    Created, ErrorKind, Outcome, Pending, PendingMulti, Session, Stat, WatchChange, Zxid,
};

use super::{
    LockLayout, Options,
    withdrawals::{self, Withdraw, Withdrawn},
};
use crate::{
    connection::Patience,
    knowledge::{Knowledge, Presence},
    known_nodes::{KnownNode, recognize},
    parents,
};

type ClientResult<T> = zk_client::Result<T>;

/// A contender's node, existing or not.
#[derive(Debug)]
pub(crate) struct Entry {
    session: Session,
    directory: Arc<str>,
    name: EntryName,
    /// A node at a shared path, once it is known: anybody who is let may change its data.
    known: Option<KnownNode>,
    knowledge: Knowledge<EntryNode>,
    /// A create was submitted; its answer tells, and has not been looked at. Until then nothing is known.
    asked: Option<Box<Asked>>,
}

/// What the node is called.
#[derive(Debug, Clone)]
pub(crate) enum EntryName {
    /// A sequential child of the directory; this without its number.
    Sequential(String),
    /// A child of the directory with this name.
    Exact(String),
    /// The directory's path itself, which others want, too: the node's data ends with this identifier.
    Shared(String),
}

/// The answer to a create.
#[derive(Debug)]
enum Asked {
    Alone(Pending<Created>),
    Fenced(PendingMulti),
}

/// The node that a contender owns.
#[derive(Debug, Clone)]
pub(crate) struct EntryNode {
    pub(crate) path: Arc<str>,
    /// The transaction that created it: the fencing token.
    pub(crate) czxid: Zxid,
}

/// A watch on the own node, and what that held when it was left.
#[derive(Debug)]
pub(crate) struct OwnWatch {
    pub(crate) change: WatchChange,
    pub(crate) data: Bytes,
}

impl EntryNode {
    /// The node's name within the directory.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl Asked {
    /// The node; `None` where an old server does not say when it was created.
    async fn answer(&mut self) -> ClientResult<Option<EntryNode>> {
        match self {
            Self::Alone(pending) => pending.await.map(|created| {
                Some(EntryNode {
                    path: created.path.as_str().into(),
                    czxid: created.stat.czxid,
                })
            }),
            Self::Fenced(pending) => {
                let results = pending.await?;
                let result = results.first();
                let created =
                    result.and_then(|result| Some((result.created_path()?, result.stat()?)));
                Ok(created.map(|(path, stat)| EntryNode {
                    path: path.into(),
                    czxid: stat.czxid,
                }))
            }
        }
    }
}

impl Entry {
    pub(crate) fn new(session: Session, directory: &Arc<str>, name: EntryName) -> Self {
        Self {
            session,
            directory: Arc::clone(directory),
            name,
            known: None,
            knowledge: Knowledge::new(),
            asked: None,
        }
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// The node, if it is known to exist.
    pub(crate) const fn node(&self) -> Option<&EntryNode> {
        match self.knowledge.presence() {
            Presence::Present(node) => Some(node),
            _ => None,
        }
    }

    /// Whether there is certainly no node of this entry.
    pub(crate) const fn is_absent(&self) -> bool {
        self.knowledge.is_absent()
    }

    /// What the contenders contend for: the directory of their nodes.
    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    pub(crate) const fn directory_arc(&self) -> &Arc<str> {
        &self.directory
    }

    /// Creates the node, or finds the one that an earlier attempt created. Repeat it after a connection loss.
    ///
    /// With a fence, only while that node exists, and only in a directory that does: making it is up to the caller.
    /// Dropped at any point, [`withdraw`](Self::withdraw) still knows whose answer to wait for, or what to look for.
    pub(crate) async fn enter(
        &mut self,
        options: &Options,
        fence: Option<&str>,
    ) -> ClientResult<()> {
        loop {
            if self.asked.is_some() {
                match self.answered().await {
                    Err(error) if error.kind() == ErrorKind::NoNode && fence.is_none() => {
                        if !self.create_parents(options.layout).await? {
                            return Err(error);
                        }
                    }
                    answered => answered?,
                }
                continue;
            }
            match self.knowledge.presence() {
                Presence::Present(_) => return Ok(()),
                Presence::Unknown => self.find().await?,
                Presence::Absent => self.ask(options, fence).await?,
            }
        }
    }

    /// Creates what is above the node; false if that is the chroot, which is the user's to create.
    async fn create_parents(&self, layout: LockLayout) -> ClientResult<bool> {
        let above = match &self.name {
            EntryName::Shared(_) => self
                .directory
                .rsplit_once('/')
                .map_or("", |(above, _)| above),
            _ => &*self.directory,
        };
        // A shared node has no layout.
        let layout = match &self.name {
            EntryName::Shared(_) => LockLayout::Curator,
            _ => layout,
        };
        match (above, layout) {
            ("" | "/", _) => return Ok(false),
            (_, LockLayout::Curator) => parents::create(&self.session, above).await?,
            // kazoo looks for its directory once, and fails for ever when the server has reaped it.
            (_, LockLayout::Kazoo) => parents::create_to_stay(&self.session, above, "").await?,
        }
        Ok(true)
    }

    /// Submits the create. Dropped before it is submitted, nothing is sent.
    async fn ask(&mut self, options: &Options, fence: Option<&str>) -> ClientResult<()> {
        let identity = options
            .identity
            .as_deref()
            .unwrap_or_else(|| self.session.identity());
        let (path, data, sequential) = match &self.name {
            EntryName::Sequential(name) => (self.child(name), identity.to_owned(), true),
            EntryName::Exact(name) => (self.child(name), identity.to_owned(), false),
            EntryName::Shared(guid) => (
                self.directory.to_string(),
                format!("{identity}\n{guid}"),
                false,
            ),
        };
        let asked = match fence {
            None => {
                let create = self.session.create(&path, data).ephemeral();
                Asked::Alone(match sequential {
                    true => create.sequential().submit().await?,
                    false => create.submit().await?,
                })
            }
            Some(fence) => {
                let mut create = self.session.multi().create(&path, data).ephemeral();
                if sequential {
                    create = create.sequential();
                }
                Asked::Fenced(create.fenced_by(fence).submit().await?)
            }
        };
        self.knowledge.asked();
        (self.asked, self.known) = (Some(Box::new(asked)), None);
        Ok(())
    }

    /// Waits for the answer to the create that was submitted.
    async fn answered(&mut self) -> ClientResult<()> {
        let Some(asked) = &mut self.asked else {
            return Ok(());
        };
        let created = asked.answer().await;
        self.asked = None;
        match &created {
            Ok(Some(node)) if self.is_taken(node) => self.knowledge.gone(),
            Ok(Some(node)) => self.knowledge.created(node.clone()),
            Ok(None) => {}
            Err(error) => self.knowledge.failed(error.outcome()),
        }
        created.map(drop)
    }

    /// Whether another one of this client took the node at a shared path for its own before the answer came.
    fn is_taken(&mut self, node: &EntryNode) -> bool {
        let EntryName::Shared(_) = self.name else {
            return false;
        };
        self.known = KnownNode::take(&self.session, &self.directory, node.czxid);
        self.known.is_none()
    }

    /// Looks the node up by its identifier, as the leader sees it.
    async fn find(&mut self) -> ClientResult<()> {
        let found = match &self.name {
            EntryName::Sequential(name) | EntryName::Exact(name) => self.find_child(name).await?,
            EntryName::Shared(_) => self.find_shared().await?,
        };
        // Unknown it stayed until all of this was done, whatever is dropped in between.
        self.knowledge.found(found);
        Ok(())
    }

    async fn find_child(&self, prefix: &str) -> ClientResult<Option<EntryNode>> {
        let sync = self.session.sync(&self.directory).submit().await?;
        let children = self.session.children(&self.directory).submit().await?;
        sync.await?;
        let names = match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
            names => names?,
        };
        let mut found = None;
        for name in names.iter().filter(|name| name.starts_with(prefix)) {
            found = self.adopt(&self.child(name)).await?.or(found);
        }
        Ok(found)
    }

    /// The node that bears this entry's identifier if it is this session's; it is removed if it is not.
    async fn adopt(&self, path: &str) -> ClientResult<Option<EntryNode>> {
        let Some(stat) = self.session.exists(path).await? else {
            return Ok(None);
        };
        if !self.owns(&stat) {
            self.remove(path).await?;
            return Ok(None);
        }
        tracing::debug!(path, "found the node of a create whose answer was lost");
        let (path, czxid) = (path.into(), stat.czxid);
        Ok(Some(EntryNode { path, czxid }))
    }

    /// The node at the shared path, if it is this entry's.
    async fn find_shared(&mut self) -> ClientResult<Option<EntryNode>> {
        let sync = self.session.sync(&self.directory).submit().await?;
        let node = self.session.get_opt(&self.directory).submit().await?;
        sync.await?;
        let node = node.await?;
        let (place, known) = ((&self.session, &self.directory), &mut self.known);
        let is_marked = |data: &[u8]| match &self.name {
            EntryName::Shared(guid) => data.ends_with(guid.as_bytes()),
            _ => false,
        };
        let mine = node.filter(|node| recognize(place, known, node, is_marked));
        Ok(mine.map(|node| EntryNode {
            path: Arc::clone(&self.directory),
            czxid: node.stat.czxid,
        }))
    }

    fn owns(&self, stat: &Stat) -> bool {
        stat.ephemeral_owner == self.session.id()
    }

    /// Leaves a watch on the own node, which must exist and be this session's.
    pub(crate) async fn watch(&self, node: &EntryNode) -> ClientResult<Option<OwnWatch>> {
        match self.session.get(&node.path).watch().await {
            Ok((own, change)) => {
                let same = self.owns(&own.stat) && own.stat.czxid == node.czxid;
                let data = own.data;
                Ok(same.then_some(OwnWatch { change, data }))
            }
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the node go away, however long that takes while the session lives.
    ///
    /// Needs nothing of what was dropped before: a create that is still on its way is waited for and undone. While it is at
    /// work, it counts among the client's [`withdrawals`].
    pub(crate) async fn withdraw(&mut self) -> Withdrawn {
        let withdrawn = withdrawals::withdraw(self).await;
        if let Withdrawn::Refused(error) = &withdrawn {
            tracing::warn!(directory = %self.directory, %error, "a lock node may not be deleted");
        }
        withdrawn
    }

    /// As [`withdraw`](Self::withdraw), and again as long as it is refused: whoever contends next in this session would
    /// queue behind the node. Nobody waits for that: when everybody else has let go of the client it is closed, which deletes the node,
    /// too.
    pub(crate) async fn withdraw_surely(mut self) {
        if let Withdrawn::Refused(_) = self.withdraw().await {
            self.session = self.session.unheld();
            self.until_gone().await;
        }
    }

    /// After a refusal: withdraws it again and again, until it is gone, by itself or with its session.
    pub(crate) async fn until_gone(&mut self) {
        let mut patience = Patience::new();
        while patience.wait(&self.session).await.is_ok() {
            match withdrawals::withdraw(self).await {
                Withdrawn::Refused(_) => {}
                _ => return,
            }
        }
    }

    async fn remove(&self, path: &str) -> ClientResult<bool> {
        match self.session.delete(path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(false),
            deleted => deleted.map(|()| true),
        }
    }

    /// Another entry of the same session and directory.
    pub(crate) fn anew(&self, name: EntryName) -> Self {
        Self::new(self.session.clone(), &self.directory, name)
    }

    /// From now on the node may exist, by a transaction that somebody else makes.
    pub(crate) fn expect(&mut self) {
        self.knowledge.asked();
        self.known = None;
    }

    /// The node may be gone: where its path is shared, another look comes before a delete, which could meet the next
    /// holder's node.
    pub(crate) fn doubt(&mut self) {
        if let EntryName::Shared(_) = self.name {
            self.knowledge.doubt();
        }
    }

    /// Looks whether the node exists; `None` if it does not.
    pub(crate) async fn look_up(&mut self) -> ClientResult<Option<EntryNode>> {
        self.find().await?;
        Ok(self.node().cloned())
    }

    /// The node is gone, by a transaction that somebody else made.
    pub(crate) fn forget(&mut self) {
        self.knowledge.gone();
    }

    /// The path of a child of the directory.
    pub(crate) fn child(&self, name: &str) -> String {
        parents::child(&self.directory, name)
    }
}

impl Withdraw for Entry {
    fn session(&self) -> &Session {
        &self.session
    }

    fn is_absent(&self) -> bool {
        self.knowledge.is_absent()
    }

    async fn try_withdraw(&mut self) -> ClientResult<bool> {
        // The answer to a create is cheaper than a look at all children, and says the same; an error is in the presence.
        let _ = self.answered().await;
        if self.knowledge.is_unknown() {
            self.find().await?;
        }
        let deleted = match self.node().cloned() {
            Some(node) => {
                self.knowledge.deleting();
                let removed = self.remove(&node.path).await;
                if (removed.as_ref()).is_err_and(|error| error.outcome() == Outcome::NotApplied) {
                    self.knowledge.kept(node);
                }
                removed?
            }
            None => true,
        };
        self.knowledge.gone();
        Ok(deleted)
    }
}

//! An ephemeral node of ours with a name that is known beforehand, from before its creation until it is certainly gone.
//!
//! Others may want the same name (a claim on an item, a registered name), so the node's data tells whose it is: it holds an
//! identifier of its own. (Data can be changed; what tells then is in [`known_nodes`](crate::known_nodes).) After a lost
//! connection the node is looked up, behind a `sync` in the same session: the resumed session's requests come after
//! everything its old connection still had on the way, so what is not there then never will be.
//!
//! Invariants: everything here is done in the one session that the node began with, so a node of a dying session is never
//! adopted (and the owner is compared all the same); a node that is withdrawn is not there any more on a live session,
//! whatever was dropped half way.
//! Not here: nodes whose names the server completes; those are the lock's entries.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{
    Client, ErrorKind, Multi, MultiResult, Node, Session, SessionId, WatchChange, Zxid,
};

use crate::{
    connection::{Patience, connected, setback},
    contender::withdrawals::{self, Withdraw},
    error::Result,
    knowledge::{Knowledge, Marked, Marking},
    known_nodes::{KnownNode, recognize},
    parents,
};

pub(crate) use crate::contender::withdrawals::Withdrawn;

type ClientResult<T> = zk_client::Result<T>;

/// An ephemeral node of this session, existing or not.
#[derive(Debug)]
pub(crate) struct OwnNode {
    session: Session,
    path: Arc<str>,
    data: Bytes,
    /// The node, once it is known: anybody who is let may change the data.
    known: Option<KnownNode>,
    knowledge: Knowledge,
}

/// A watch on a node that is ours, and the transaction that created it: a later one's node is another's.
#[derive(Debug)]
pub(crate) struct OwnWatch {
    pub(crate) created: Zxid,
    pub(crate) change: WatchChange,
}

/// What became of a transaction that also creates a marker.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It was carried out.
    Applied,
    /// The server refused it, for certain.
    Refused(zk_client::Error),
    /// The session ended, and the transaction was certainly not carried out.
    NotApplied(zk_client::Error),
    /// The session ended, and nobody can tell from here.
    Unknown(zk_client::Error),
}

/// The client's present session, once there is one: before, a node could not be told from another's.
pub(crate) async fn present_session(client: &Client) -> Result<Session> {
    if client.session().id() == SessionId::NONE {
        connected(client).await?;
    }
    Ok(client.session())
}

impl OwnNode {
    pub(crate) fn new(session: Session, path: impl Into<Arc<str>>, data: impl Into<Bytes>) -> Self {
        Self {
            session,
            path: path.into(),
            data: data.into(),
            known: None,
            knowledge: Knowledge::new(),
        }
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) const fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// Whether there is certainly no such node.
    pub(crate) fn is_absent(&self) -> bool {
        self.knowledge.is_absent()
    }

    /// Whether there is such a node, for as much as is known; looks where it is not.
    pub(crate) async fn settle(&mut self) -> ClientResult<bool> {
        if self.knowledge.is_unknown() {
            self.find().await?;
        }
        Ok(self.knowledge.is_present())
    }

    /// Creates the node, and what is above it; the transaction that did, or `None` where somebody else's is there.
    ///
    /// Repeat it after a connection loss. Dropped at any point, [`withdraw`](Self::withdraw) still knows what to do.
    pub(crate) async fn create(&mut self) -> ClientResult<Option<Zxid>> {
        loop {
            if !self.knowledge.is_absent()
                && let Some(node) = self.find().await?
            {
                return Ok(Some(node.stat.czxid));
            }
            self.knowledge.asked();
            self.known = None;
            let created = self.session.create(&self.path, self.data.clone());
            match created.ephemeral().await {
                Ok(created) => {
                    let czxid = created.stat.czxid;
                    return Ok(self.created(czxid).then_some(czxid));
                }
                Err(error) => {
                    self.knowledge.failed(error.outcome());
                    match error.kind() {
                        ErrorKind::NodeExists => return Ok(None),
                        ErrorKind::NoNode => parents::of(&self.session, &self.path, error).await?,
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    /// A multi that begins with the creation of this node.
    pub(crate) fn multi(&self) -> Multi {
        let multi = self.session.multi().create(&self.path, self.data.clone());
        multi.ephemeral().any()
    }

    /// Commits a multi that creates this node; its results.
    ///
    /// After a lost connection, [`settle`](Self::settle) tells whether it was carried out.
    pub(crate) async fn commit<S>(&mut self, multi: Multi<S>) -> ClientResult<Vec<MultiResult>> {
        self.knowledge.asked();
        self.known = None;
        let committed = multi.commit().await;
        match &committed {
            Ok(results) => {
                let stat = results.first().and_then(MultiResult::stat);
                self.created(stat.map_or(Zxid::ZERO, |stat| stat.czxid));
            }
            Err(error) => self.knowledge.failed(error.outcome()),
        }
        committed
    }

    /// Commits a multi of which this node is only the marker, until it is known what became of it.
    ///
    /// Nobody else wants the marker's name, and its creation is the first operation of the multi. So repeating the whole
    /// is harmless, and that the marker exists means that an earlier attempt was carried out.
    pub(crate) async fn commit_marked(&mut self, rest: impl Fn(Multi) -> Multi) -> Committed {
        let mut patience = Patience::new();
        let mut marking = Marking::default();
        loop {
            let multi = rest(self.multi());
            let Err(error) = self.commit(multi).await else {
                return Committed::Applied;
            };
            let is_marker = self.is_mine(&error);
            let over = match marking.failed(error.outcome(), setback(&error), is_marker) {
                Marked::Applied => {
                    self.knowledge.kept(());
                    return Committed::Applied;
                }
                Marked::Refused => return Committed::Refused(error),
                Marked::Again => patience.wait(&self.session).await.is_err(),
                Marked::Over => true,
            };
            if over {
                return match marking.is_undecided {
                    true => Committed::Unknown(error),
                    false => Committed::NotApplied(error),
                };
            }
        }
    }

    /// Whether the error says that this very node is there already.
    pub(crate) fn is_mine(&self, error: &zk_client::Error) -> bool {
        error.kind() == ErrorKind::NodeExists && error.path() == Some(&self.path)
    }

    /// The node was created, by this transaction if the server tells (an old one's answer to a transaction does not).
    ///
    /// False where another one of this client took it for its own before the answer came.
    fn created(&mut self, czxid: Zxid) -> bool {
        let is_told = czxid != Zxid::ZERO;
        self.known = is_told
            .then(|| KnownNode::take(&self.session, &self.path, czxid))
            .flatten();
        let is_mine = self.known.is_some() || !is_told;
        match is_mine {
            true => self.knowledge.created(()),
            false => self.knowledge.gone(),
        }
        is_mine
    }

    /// Looks the node up, as the leader sees it; only if it is ours.
    async fn find(&mut self) -> ClientResult<Option<Node>> {
        let sync = self.session.sync(&self.path).submit().await?;
        let node = self.session.get_opt(&self.path).submit().await?;
        sync.await?;
        // Unknown it stays until all of this is done, whatever is dropped in between.
        let node = node.await?.filter(|node| self.owns(node));
        self.knowledge.found(node.as_ref().map(|_| ()));
        Ok(node)
    }

    fn owns(&mut self, node: &Node) -> bool {
        let place = (&self.session, &self.path);
        recognize(place, &mut self.known, node, |data| self.data == data)
    }

    /// Leaves a watch on the node, which must exist and be ours; `None` where it is not, and is looked for from now on.
    pub(crate) async fn watch(&mut self) -> ClientResult<Option<OwnWatch>> {
        let watched = self.session.get(&self.path).watch().await;
        let watch = match watched {
            Ok((node, change)) => self.owns(&node).then_some(OwnWatch {
                created: node.stat.czxid,
                change,
            }),
            Err(error) if error.kind() == ErrorKind::NoNode => None,
            Err(error) => return Err(error),
        };
        if watch.is_none() {
            self.doubt();
        }
        Ok(watch)
    }

    /// The node may be somebody else's by now: whoever deletes it looks first.
    pub(crate) fn doubt(&mut self) {
        self.knowledge.doubt();
    }

    /// Makes the node go away, however long that takes while the session lives; it counts among the client's [`withdrawals`].
    pub(crate) async fn withdraw(&mut self) -> Withdrawn {
        let withdrawn = withdrawals::withdraw(self).await;
        if let Withdrawn::Refused(error) = &withdrawn {
            tracing::warn!(path = %self.path, %error, "a node stays until its session ends");
        }
        withdrawn
    }

    /// The node is certainly gone: a transaction deleted it, or somebody did. What has its path now is not ours.
    pub(crate) fn was_deleted(&mut self) {
        self.knowledge.gone();
    }
}

impl Withdraw for OwnNode {
    fn session(&self) -> &Session {
        &self.session
    }

    fn is_absent(&self) -> bool {
        self.knowledge.is_absent()
    }

    async fn try_withdraw(&mut self) -> ClientResult<bool> {
        let deleted = match self.settle().await? {
            false => true,
            true => {
                self.knowledge.deleting();
                match self.session.delete(&self.path).await {
                    Err(error) if error.kind() == ErrorKind::NoNode => false,
                    deleted => deleted.map(|()| true)?,
                }
            }
        };
        self.knowledge.gone();
        Ok(deleted)
    }
}

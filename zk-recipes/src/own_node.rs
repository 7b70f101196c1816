//! An ephemeral node of ours with a name that is known beforehand, from before its creation until it is certainly gone.
//!
//! Others may want the same name (a claim on an item, a registered name), so the node's data tells whose it is: it holds an
//! identifier of its own. (Once the node was seen, the transaction that created it tells; data can be changed.) After a lost connection the node is looked up, behind a `sync` in the same session: the resumed
//! session's requests come after everything its old connection still had on the way, so what is not there then never will be.
//!
//! Invariants: everything here is done in the one session that the node began with, so a node of a dying session is never
//! adopted (and the owner is compared all the same); a node that is withdrawn is not there any more on a live session,
//! whatever was dropped half way.
//! Not here: nodes whose names the server completes; those are the lock's entries.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{
    Client, ErrorKind, Multi, MultiResult, Node, Outcome, Session, SessionId, WatchChange, Zxid,
};

use crate::{
    connection::{Patience, Setback, connected, setback},
    contender::withdrawals,
    error::{Error, Result},
    parents,
};

type ClientResult<T> = zk_client::Result<T>;

/// An ephemeral node of this session, existing or not.
#[derive(Debug)]
pub(crate) struct OwnNode {
    session: Session,
    path: Arc<str>,
    data: Bytes,
    /// The transaction that created it, once that is known: anybody who is let may change the data.
    czxid: Option<Zxid>,
    presence: Presence,
}

/// What is known of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It was never asked for, or is gone.
    Absent,
    /// A create is on its way, or its outcome is unknown.
    Unknown,
    /// It exists, as far as is known.
    Present,
}

/// A watch on a node that is ours, and the transaction that created it: a later one's node is another's.
#[derive(Debug)]
pub(crate) struct OwnWatch {
    pub(crate) created: Zxid,
    pub(crate) change: WatchChange,
}

/// What became of a node that was withdrawn.
#[derive(Debug)]
pub(crate) enum Withdrawn {
    /// This withdrawal deleted the node, or there was none to delete.
    Deleted,
    /// Somebody else had deleted the node.
    WasGone,
    /// The session ended, and the node with it.
    SessionEnded,
    /// The server does not let this client delete the node; it stays until the session ends.
    Refused(Error),
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
            czxid: None,
            presence: Presence::Absent,
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
        self.presence == Presence::Absent
    }

    /// Whether there is such a node, for as much as is known; looks where it is not.
    pub(crate) async fn settle(&mut self) -> ClientResult<bool> {
        if self.presence == Presence::Unknown {
            self.find().await?;
        }
        Ok(self.presence == Presence::Present)
    }

    /// Creates the node, and what is above it; the transaction that did, or `None` where somebody else's is there.
    ///
    /// Repeat it after a connection loss. Dropped at any point, [`withdraw`](Self::withdraw) still knows what to do.
    pub(crate) async fn create(&mut self) -> ClientResult<Option<Zxid>> {
        loop {
            if self.presence != Presence::Absent
                && let Some(node) = self.find().await?
            {
                return Ok(Some(node.stat.czxid));
            }
            (self.presence, self.czxid) = (Presence::Unknown, None);
            let created = self.session.create(&self.path, self.data.clone());
            match created.ephemeral().await {
                Ok(created) => {
                    self.presence = Presence::Present;
                    self.czxid = known(created.stat.czxid);
                    return Ok(Some(created.stat.czxid));
                }
                Err(error) => {
                    self.failed(&error);
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
        (self.presence, self.czxid) = (Presence::Unknown, None);
        let committed = multi.commit().await;
        match &committed {
            Ok(results) => {
                self.presence = Presence::Present;
                let stat = results.first().and_then(MultiResult::stat);
                self.czxid = stat.and_then(|stat| known(stat.czxid));
            }
            Err(error) => self.failed(error),
        }
        committed
    }

    /// Commits a multi of which this node is only the marker, until it is known what became of it.
    ///
    /// Nobody else wants the marker's name, and its creation is the first operation of the multi. So repeating the whole
    /// is harmless, and that the marker exists means that an earlier attempt was carried out.
    pub(crate) async fn commit_marked(&mut self, rest: impl Fn(Multi) -> Multi) -> Committed {
        let mut patience = Patience::new();
        let mut undecided = false;
        loop {
            let multi = rest(self.multi());
            let Err(error) = self.commit(multi).await else {
                return Committed::Applied;
            };
            undecided |= error.outcome() == Outcome::Unknown;
            let over = match setback(&error) {
                Setback::Refused if self.is_mine(&error) => {
                    self.presence = Presence::Present;
                    return Committed::Applied;
                }
                Setback::Refused => return Committed::Refused(error),
                Setback::Connection => patience.wait(&self.session).await.is_err(),
                Setback::SessionEnded => true,
            };
            if over {
                return match undecided {
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

    fn failed(&mut self, error: &zk_client::Error) {
        if error.outcome() == Outcome::NotApplied {
            self.presence = Presence::Absent;
        }
    }

    /// Looks the node up, as the leader sees it; only if it is ours.
    async fn find(&mut self) -> ClientResult<Option<Node>> {
        let sync = self.session.sync(&self.path).submit().await?;
        let node = self.session.get_opt(&self.path).submit().await?;
        sync.await?;
        // Unknown it stays until all of this is done, whatever is dropped in between.
        let node = node.await?.filter(|node| self.owns(node));
        self.presence = match &node {
            Some(node) => {
                self.czxid = known(node.stat.czxid);
                Presence::Present
            }
            None => Presence::Absent,
        };
        Ok(node)
    }

    fn owns(&self, node: &Node) -> bool {
        node.stat.ephemeral_owner == self.session.id()
            && match self.czxid {
                Some(czxid) => node.stat.czxid == czxid,
                None => node.data == self.data,
            }
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
        if self.presence == Presence::Present {
            self.presence = Presence::Unknown;
        }
    }

    /// Makes the node go away, however long that takes while the session lives; it counts among the client's [`withdrawals`].
    pub(crate) async fn withdraw(&mut self) -> Withdrawn {
        let _counted = (!self.is_absent()).then(|| withdrawals::begin(&self.session));
        let mut patience = Patience::new();
        let mut sure = true;
        loop {
            let error = match self.try_withdraw().await {
                Ok(true) => return Withdrawn::Deleted,
                // After a lost connection an earlier attempt may have deleted it.
                Ok(false) if sure => return Withdrawn::WasGone,
                Ok(false) => return Withdrawn::Deleted,
                Err(error) => error,
            };
            sure &= error.outcome() == Outcome::NotApplied;
            match setback(&error) {
                Setback::SessionEnded => return Withdrawn::SessionEnded,
                Setback::Connection if patience.wait(&self.session).await.is_err() => {
                    return Withdrawn::SessionEnded;
                }
                Setback::Connection => {}
                Setback::Refused => {
                    tracing::warn!(path = %self.path, %error, "a node stays until its session ends");
                    return Withdrawn::Refused(error.into());
                }
            }
        }
    }

    /// Deletes the node; false where there was none although there should have been one.
    async fn try_withdraw(&mut self) -> ClientResult<bool> {
        let deleted = match self.settle().await? {
            false => true,
            true => {
                // Deleted perhaps by this attempt, even if its answer is lost or not waited for; then it is looked for.
                self.presence = Presence::Unknown;
                match self.session.delete(&self.path).await {
                    Err(error) if error.kind() == ErrorKind::NoNode => false,
                    deleted => deleted.map(|()| true)?,
                }
            }
        };
        self.presence = Presence::Absent;
        Ok(deleted)
    }

    /// The node is certainly gone: a transaction deleted it, or somebody did. What has its path now is not ours.
    pub(crate) const fn was_deleted(&mut self) {
        self.presence = Presence::Absent;
    }
}

/// The transaction; an old server's answer to a transaction does not tell it.
fn known(czxid: Zxid) -> Option<Zxid> {
    (czxid != Zxid::ZERO).then_some(czxid)
}

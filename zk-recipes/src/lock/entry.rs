//! One contender's node in the lock's directory, from before its creation until it is certainly gone.
//!
//! The node's name begins with an identifier of its own, so that after a lost connection the contender can look whether its
//! create was carried out. That look is preceded by a `sync` in the same session: the resumed session's requests come
//! after everything its old connection still had on the way, so what is not there then never will be.
//!
//! Invariants: everything here is done in the one session that the entry began with, so a node of a dying session is never
//! adopted (and the owner is compared all the same); an entry that is withdrawn leaves no node on a live session,
//! whatever was dropped half way.
//! Deliberately not here: whose turn it is.

use std::sync::Arc;

use zk_client::{ErrorKind, Outcome, Session, Stat, WatchChange, Zxid};

use super::{LockLayout, Options};
use crate::{
    connection::{Patience, Setback, setback},
    error::Error,
    parents,
};

type ClientResult<T> = zk_client::Result<T>;

/// A contender's node, existing or not.
#[derive(Debug)]
pub(super) struct Entry {
    session: Session,
    directory: Arc<str>,
    /// The node's name without its number.
    prefix: String,
    presence: Presence,
}

/// What is known of the node.
#[derive(Debug)]
enum Presence {
    /// It was never asked for, or is gone.
    Absent,
    /// A create is on its way, or its outcome is unknown.
    Unknown,
    /// It exists, as far as is known.
    Present(EntryNode),
}

/// The node that a contender owns.
#[derive(Debug, Clone)]
pub(super) struct EntryNode {
    pub(super) path: Arc<str>,
    /// The transaction that created it: the fencing token.
    pub(super) czxid: Zxid,
}

/// What became of an entry that was withdrawn.
#[derive(Debug)]
pub(super) enum Withdrawn {
    /// This withdrawal deleted the node, or there was none to delete.
    Deleted,
    /// Somebody else had deleted the node.
    WasGone,
    /// The session ended, and the node with it.
    SessionEnded,
    /// The server does not let this client delete the node; it stays until the session ends.
    Refused(Error),
}

impl EntryNode {
    /// The node's name within the directory.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl Entry {
    pub(super) fn new(session: Session, directory: &Arc<str>, layout: LockLayout) -> Self {
        let prefix = layout.name(&session.guid());
        Self {
            session,
            directory: Arc::clone(directory),
            prefix,
            presence: Presence::Absent,
        }
    }

    pub(super) const fn session(&self) -> &Session {
        &self.session
    }

    /// The node, if it is known to exist.
    pub(super) const fn node(&self) -> Option<&EntryNode> {
        match &self.presence {
            Presence::Present(node) => Some(node),
            _ => None,
        }
    }

    /// Whether there is certainly no node of this entry.
    pub(super) const fn is_absent(&self) -> bool {
        matches!(self.presence, Presence::Absent)
    }

    /// The lock's directory.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Creates the node, or finds the one that an earlier attempt created. Repeat it after a connection loss.
    ///
    /// Dropped at any point, [`withdraw`](Self::withdraw) still knows what to look for.
    pub(super) async fn enter(&mut self, options: &Options) -> ClientResult<()> {
        match self.presence {
            Presence::Present(_) => return Ok(()),
            Presence::Unknown => self.find().await?,
            Presence::Absent => {}
        }
        while let Presence::Absent = self.presence {
            match self.create(options).await {
                Err(error) if error.kind() == ErrorKind::NoNode => {
                    parents::create(&self.session, &self.directory).await?;
                }
                created => created?,
            }
        }
        Ok(())
    }

    async fn create(&mut self, options: &Options) -> ClientResult<()> {
        let path = self.child(&self.prefix);
        let data = options
            .identity
            .as_deref()
            .unwrap_or_else(|| self.session.identity());
        self.presence = Presence::Unknown;
        let created = self
            .session
            .create(&path, data)
            .ephemeral()
            .sequential()
            .await;
        self.presence = match &created {
            Ok(created) => Presence::Present(EntryNode {
                path: created.path.as_str().into(),
                czxid: created.stat.czxid,
            }),
            Err(error) if error.outcome() == Outcome::NotApplied => Presence::Absent,
            Err(_) => Presence::Unknown,
        };
        created.map(drop)
    }

    /// Looks the node up by its identifier, as the leader sees it.
    async fn find(&mut self) -> ClientResult<()> {
        let sync = self.session.sync(&self.directory).submit().await?;
        let children = self.session.children(&self.directory).submit().await?;
        sync.await?;
        let names = match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
            names => names?,
        };
        // Unknown it stays until all of this is done, whatever is dropped in between.
        let mut found = Presence::Absent;
        for name in names.iter().filter(|name| name.starts_with(&self.prefix)) {
            found = self
                .adopt(&self.child(name))
                .await?
                .map_or(found, Presence::Present);
        }
        self.presence = found;
        Ok(())
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

    fn owns(&self, stat: &Stat) -> bool {
        stat.ephemeral_owner == self.session.id()
    }

    /// Leaves a watch on the own node, which must exist and be this session's.
    pub(super) async fn watch(&self, node: &EntryNode) -> ClientResult<Option<WatchChange>> {
        match self.session.get(&node.path).watch().await {
            Ok((own, change)) => Ok(self.owns(&own.stat).then_some(change)),
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the node go away, however long that takes while the session lives.
    ///
    /// Needs nothing of what was dropped before: a create that is still on its way is waited for and undone.
    pub(super) async fn withdraw(&mut self) -> Withdrawn {
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
                    tracing::warn!(directory = %self.directory, %error, "a lock node stays until its session ends");
                    return Withdrawn::Refused(error.into());
                }
            }
        }
    }

    /// Deletes the node; false where there was none although there should have been one.
    async fn try_withdraw(&mut self) -> ClientResult<bool> {
        if let Presence::Unknown = self.presence {
            self.find().await?;
        }
        let deleted = match &self.presence {
            Presence::Present(node) => self.remove(&node.path).await?,
            _ => true,
        };
        self.presence = Presence::Absent;
        Ok(deleted)
    }

    async fn remove(&self, path: &str) -> ClientResult<bool> {
        match self.session.delete(path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(false),
            deleted => deleted.map(|()| true),
        }
    }

    /// The path of a child of the directory.
    pub(super) fn child(&self, name: &str) -> String {
        child(&self.directory, name)
    }
}

/// The path of a child of a directory.
pub(super) fn child(directory: &str, name: &str) -> String {
    match directory {
        "/" => format!("/{name}"),
        _ => format!("{directory}/{name}"),
    }
}

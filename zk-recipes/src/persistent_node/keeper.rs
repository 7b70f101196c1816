//! The task that keeps a node in existence until nobody wants it any more, and then sees to it that it goes.
//!
//! ```text
//!   create --+-- created, or mine by its owner --> present --> wait: deleted? other data wanted? --+
//!     ^  ^   +-- another session's --> wait until that is gone --+                                   |
//!     |  +-------------------------------------------------------+-----------------------------------+
//!     +-- the session ended: again in the next one
//! ```
//!
//! Invariants: a node is taken for one's own only when its owner is the session that this one works in; what may have
//! been created in a session is deleted in the same session, whatever was dropped half way. Of data whose answer was lost
//! nothing is told, and nothing else is asked for, before a look at what the node holds.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;
use zk_client::{Client, ErrorKind, Node, Outcome, Session, Stat, WatchChange, WatchEvent};

use super::{
    Presence,
    decision::{Content, Found, content, found},
};
use crate::{
    connection::{Patience, Setback, connected, is_bound, setback},
    error::{Error, Result},
    parents,
};

/// What the node is to hold; counted, so that who asked for it can wait for it.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub(super) data: Bytes,
    pub(super) number: u64,
}

/// What the keeper tells.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) presence: Presence,
    /// The last data that was written or refused, by its number.
    pub(super) settled: u64,
    /// The last data that was written.
    pub(super) written: u64,
    /// What was refused, from number to number, and why.
    pub(super) refused: Option<(u64, u64, Error)>,
    pub(super) ended: Option<Error>,
    /// The release has waited for so long, and goes on without anybody waiting.
    pub(super) gave_up: Option<Duration>,
    pub(super) release_refused: Option<Error>,
}

impl Status {
    pub(super) const fn new() -> Self {
        Self {
            presence: Presence::Absent,
            settled: 0,
            written: 0,
            refused: None,
            ended: None,
            gave_up: None,
            release_refused: None,
        }
    }

    pub(super) const fn is_present(&self) -> bool {
        matches!(self.presence, Presence::Present { .. })
    }

    fn written(&mut self, number: u64) {
        self.written = self.written.max(number);
        self.settled = self.settled.max(number);
    }

    /// What came after the last that was written, up to this, is what the node will never hold.
    fn refused(&mut self, number: u64, error: Error) {
        self.refused = Some((self.written + 1, number, error));
        self.settled = number;
    }

    /// Why the node does not hold this data, if it was refused.
    pub(super) fn refusal(&self, number: u64) -> Option<&Error> {
        let refused = self.refused.as_ref();
        let (.., error) = refused.filter(|(first, last, _)| (*first..=*last).contains(&number))?;
        Some(error)
    }
}

pub(super) struct Keeper {
    client: Client,
    path: Arc<str>,
    desired: watch::Receiver<Desired>,
    status: watch::Sender<Status>,
    /// The session in which the node may have been created.
    session: Option<Session>,
    was_present: bool,
    /// The last data that the node held: what it comes back with after other data was refused.
    accepted: Option<Desired>,
    /// What was sent in this session and not answered: perhaps the node holds it.
    unsure: Option<Desired>,
    /// The number of the data that was looked at last.
    seen: u64,
}

/// How a step ends that is not the last.
enum Next {
    /// The node is not there: create it.
    Create,
    /// The session is over.
    Session,
}

impl Keeper {
    pub(super) const fn new(
        client: Client,
        path: Arc<str>,
        desired: watch::Receiver<Desired>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            client,
            path,
            desired,
            status,
            session: None,
            was_present: false,
            accepted: None,
            unsure: None,
            seen: 0,
        }
    }

    /// Runs until the node is not wanted any more and is gone, or the client has no session for good.
    pub(super) async fn run(mut self) {
        let mut wanted = self.desired.clone();
        let unwanted = async move { while wanted.changed().await.is_ok() {} };
        let ended = tokio::select! {
            biased;
            () = unwanted => None,
            error = self.keep() => Some(error),
        };
        match ended {
            None => self.withdraw().await,
            Some(error) => {
                tracing::warn!(path = %self.path, %error, "a persistent node is not kept any more");
                self.status.send_modify(|status| {
                    status.presence = Presence::Absent;
                    status.ended = Some(error);
                });
                self.withdraw().await;
            }
        }
    }

    /// Keeps the node in one session after the other; the error that ends it.
    async fn keep(&mut self) -> Error {
        let mut patience = Patience::new();
        loop {
            if let Err(over) = connected(&self.client).await {
                return over;
            }
            let session = self.client.session();
            self.session = Some(session.clone());
            // Its node goes with it.
            self.unsure = None;
            if let Err(error) = self.keep_in(&session, &mut patience).await {
                return error;
            }
            self.tell(Presence::Absent);
            if let Err(over) = patience.wait(&self.client).await {
                return over;
            }
        }
    }

    /// Returns when the session is over.
    async fn keep_in(&mut self, session: &Session, patience: &mut Patience) -> Result<()> {
        loop {
            match self.keep_once(session, patience).await {
                Ok(Next::Create) => {}
                Ok(Next::Session) => return Ok(()),
                Err(error) => match setback(&error) {
                    Setback::SessionEnded if is_bound(&error, session) => return Err(error.into()),
                    Setback::SessionEnded => return Ok(()),
                    Setback::Refused if !self.was_present => return Err(error.into()),
                    found => {
                        if found == Setback::Refused {
                            tracing::warn!(path = %self.path, %error, "a persistent node cannot be created or looked at");
                            self.refused(self.verdict(error));
                        }
                        if patience.wait(session).await.is_err() {
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    /// Creates the node or finds it, and follows what becomes of it.
    async fn keep_once(
        &mut self,
        session: &Session,
        patience: &mut Patience,
    ) -> zk_client::Result<Next> {
        // Where an answer is missing a look comes first: what a second attempt meets says nothing about the one before.
        if self.unsure.is_none() && !self.create(session).await? {
            return Ok(Next::Create);
        }
        self.follow(session, patience).await
    }

    /// Creates the node; false where what is above it had to be created first.
    async fn create(&mut self, session: &Session) -> zk_client::Result<bool> {
        let (wanted, path) = (self.wanted(), Arc::clone(&self.path));
        let create = session.create(&path, wanted.data.clone());
        match self.sent(wanted, create.ephemeral()).await {
            Ok((wanted, created)) => {
                self.found(session, &created.stat);
                self.written(wanted);
            }
            Err(error) if error.kind() == ErrorKind::NodeExists => {}
            Err(error) if error.kind() == ErrorKind::NoNode => {
                parents::of(session, &self.path, error).await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Waits for the answer to what may give the node this data.
    async fn sent<T>(
        &mut self,
        wanted: Desired,
        operation: impl Future<Output = zk_client::Result<T>>,
    ) -> zk_client::Result<(Desired, T)> {
        let answer = operation.await;
        let is_lost = |error: &zk_client::Error| error.outcome() == Outcome::Unknown;
        self.unsure = answer.as_ref().is_err_and(is_lost).then(|| wanted.clone());
        Ok((wanted, answer?))
    }

    /// Follows the node that is there until it is gone.
    async fn follow(
        &mut self,
        session: &Session,
        patience: &mut Patience,
    ) -> zk_client::Result<Next> {
        loop {
            let looked = self.look(session).await?;
            patience.reset();
            let unsure = self.unsure.take();
            let Some((node, change)) = looked else {
                self.tell(Presence::Absent);
                return Ok(Next::Create);
            };
            if let Found::Others(owner) = found(Some(node.stat.ephemeral_owner), session.id()) {
                if self.tell(Presence::Waiting { owner }) {
                    tracing::info!(path = %self.path, %owner, "another session's node is in the place of a persistent one");
                }
                if let WatchEvent::SessionEnded = change.await {
                    return Ok(Next::Session);
                }
                continue;
            }
            self.found(session, &node.stat);
            if let Some(unsure) = unsure.filter(|unsure| unsure.data == node.data) {
                self.written(unsure);
            }
            if let Some(next) = self.hold(session, &node, change).await? {
                return Ok(next);
            }
        }
    }

    /// The node as the leader sees it, with a watch.
    async fn look(&self, session: &Session) -> zk_client::Result<Option<(Node, WatchChange)>> {
        let sync = session.sync(&self.path).submit().await?;
        let node = session.get(&self.path).watch().submit().await?;
        sync.await?;
        match node.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what is wanted while the node is there; `None` when it is to be looked at again.
    async fn hold(
        &mut self,
        session: &Session,
        node: &Node,
        mut change: WatchChange,
    ) -> zk_client::Result<Option<Next>> {
        let wanted = self.wanted();
        let settled = self.status.borrow().settled;
        match content(settled, wanted.number, node.data == wanted.data) {
            Content::Settled => {}
            Content::Written => self.written(wanted),
            Content::Write => {
                self.write(session, wanted).await?;
                return Ok(None);
            }
        }
        tokio::select! {
            event = &mut change => Ok(match event {
                WatchEvent::SessionEnded => Some(Next::Session),
                WatchEvent::Deleted(_) => {
                    tracing::warn!(path = %self.path, "somebody deleted a persistent node");
                    self.tell(Presence::Absent);
                    Some(Next::Create)
                }
                _ => None,
            }),
            changed = self.desired.changed() => match changed {
                Ok(()) => Ok(None),
                // Not wanted any more: `run` sees that, too.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn write(&mut self, session: &Session, wanted: Desired) -> zk_client::Result<()> {
        let path = Arc::clone(&self.path);
        let set = session.set(&path, wanted.data.clone());
        match self.sent(wanted, set).await {
            Ok((wanted, _)) => self.written(wanted),
            Err(error) if error.kind() == ErrorKind::NoNode => {}
            Err(error) if self.unsure.is_some() => return Err(error),
            Err(error) if setback(&error) == Setback::Refused => self.refused(error.into()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the node is to hold: what was asked for last, unless that was refused.
    fn wanted(&mut self) -> Desired {
        let desired = self.desired.borrow_and_update().clone();
        self.seen = desired.number;
        match &self.accepted {
            Some(accepted) if self.status.borrow().refusal(desired.number).is_some() => {
                accepted.clone()
            }
            _ => desired,
        }
    }

    fn found(&mut self, session: &Session, stat: &Stat) {
        let (session, czxid) = (session.id(), stat.czxid);
        self.was_present = true;
        if self.tell(Presence::Present { session, czxid }) {
            tracing::debug!(path = %self.path, %session, %czxid, "persistent node is there");
        }
    }

    fn written(&mut self, wanted: Desired) {
        let number = wanted.number;
        self.accepted = Some(wanted);
        self.status.send_modify(|status| status.written(number));
    }

    /// What a refusal says about the data that was looked at last.
    fn verdict(&self, refusal: zk_client::Error) -> Error {
        match self.unsure {
            None => refusal.into(),
            Some(_) => Error::Unknown {
                path: Arc::clone(&self.path),
            },
        }
    }

    /// The data that was looked at last is refused, if it was not settled before.
    fn refused(&self, error: Error) {
        self.status.send_if_modified(|status| {
            let is_news = status.settled < self.seen;
            if is_news {
                status.refused(self.seen, error);
            }
            is_news
        });
    }

    /// True where that is news.
    fn tell(&self, presence: Presence) -> bool {
        self.status.send_if_modified(|status| {
            let is_news = status.presence != presence;
            status.presence = presence;
            is_news
        })
    }

    /// Makes the node go away, however long that takes while its session lives.
    async fn withdraw(&self) {
        let Some(session) = &self.session else {
            return;
        };
        let waited = session.timeout();
        let mut withdrawal = std::pin::pin!(self.delete(session));
        if tokio::time::timeout(waited, &mut withdrawal).await.is_err() {
            self.status
                .send_modify(|status| status.gave_up = Some(waited));
            withdrawal.await;
        }
    }

    async fn delete(&self, session: &Session) {
        let mut patience = Patience::new();
        loop {
            let Err(error) = self.try_delete(session).await else {
                return;
            };
            match setback(&error) {
                Setback::SessionEnded => return,
                Setback::Connection if patience.wait(session).await.is_err() => return,
                Setback::Connection => {}
                Setback::Refused => {
                    tracing::warn!(path = %self.path, %error, "a persistent node stays until its session ends");
                    let refused = Some(error.into());
                    self.status
                        .send_modify(|status| status.release_refused = refused);
                    return;
                }
            }
        }
    }

    /// Deletes the node if it is this session's; a create that is still on its way comes before the look.
    async fn try_delete(&self, session: &Session) -> zk_client::Result<()> {
        let sync = session.sync(&self.path).submit().await?;
        let stat = session.exists(&self.path).submit().await?;
        sync.await?;
        let owner = stat.await?.map(|stat| stat.ephemeral_owner);
        if found(owner, session.id()) != Found::Mine {
            return Ok(());
        }
        match session.delete(&self.path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(()),
            deleted => deleted,
        }
    }
}

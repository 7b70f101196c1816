//! A node that is there as long as its owner is: ephemeral, and created again in every new session.
//!
//! **What it guarantees.** While a [`PersistentNode`] lives and its client has a session, the node exists, or is being created: it
//! comes back after the expiry of the session and after somebody deleted it, and never twice, since there is one path. A node
//! of the same path that belongs to another session (a process that died, or this one before its session expired) is waited
//! for, never adopted and never deleted: the server deletes it when that session ends. It does **not** guarantee that the
//! owner lives: the node outlives a process that dies by up to the session timeout. Nor is it a lock: between the end of a
//! session and the next the path is free for anybody.
//!
//! **Fairness**: where several wait for one path, any of them may be the next. **CONNECTIONLOSS** while creating is survived: the
//! owner of what is found decides. **Suspension** changes nothing. **Expiry**: created again in the client's next session; where
//! the client opens none, the node is gone. **Cancellation** is safe at every await, dropping deletes the node in the
//! background, [`PersistentNode::release`] waits for that. No herd: everybody watches the one node. What is above
//! it is created as needed, as containers, and again when the server has reaped them.
//!
//! Two of them with one path in one session share the node: the first that ends deletes it, and the other creates it again.

mod decision;
mod keeper;
#[cfg(test)]
mod model;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;
use tracing::Instrument;
use zk_client::{Client, ErrorKind, Payload, SessionId, Zxid};

use self::keeper::{Desired, Keeper, Status};
use crate::{
    attempt::Attempt,
    connection::within,
    error::{Error, Result},
};

/// Where a [`PersistentNode`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It is being created: there was no session, or no connection, or the node was deleted.
    Absent,
    /// Another session's node is in its place; it is created when that is gone.
    Waiting {
        /// That session; [`SessionId::NONE`] where the node is not an ephemeral one.
        owner: SessionId,
    },
    /// It was created in this session, or found again there.
    Present {
        /// The session.
        session: SessionId,
        /// The transaction that created the node.
        czxid: Zxid,
    },
}

/// A node to be kept; made by [`persistent_node`](crate::ClientExt::persistent_node).
#[must_use = "nothing is created until `start`"]
#[derive(Debug, Clone)]
pub struct PersistentNodeSource {
    client: Client,
    path: Arc<str>,
    data: Bytes,
    timeout: Option<Duration>,
}

impl PersistentNodeSource {
    pub(crate) fn new(client: &Client, path: &str, data: Payload<'_>) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            data: data.into_bytes(),
            timeout: None,
        }
    }

    /// Lets [`start`](Self::start) give up after this long.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Creates the node and keeps it; returns once it is there for the first time and holds the data.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when a time was given and has passed: nothing stays behind. [`Error::SessionGone`], and what the
    /// client reports (NOAUTH, NOCHILDRENFOREPHEMERALS, ...). Without a connection it waits, and while another session's
    /// node is in its place.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future deletes what may have been created, in the background.
    pub async fn start(self) -> Result<PersistentNode> {
        let Self {
            client,
            path,
            data,
            timeout,
        } = self;
        let (desired, wanted) = watch::channel(Desired { data, number: 1 });
        let (told, mut status) = watch::channel(Status::new());
        let mut node = PersistentNode {
            client: client.clone(),
            path: Arc::clone(&path),
            desired: Some(Arc::new(desired)),
            status: status.clone(),
            told: Presence::Absent,
        };
        let runtime = client.runtime().clone();
        let span = tracing::debug_span!("persistent_node", path = %path);
        let started = client.clone();
        let keeper = Keeper::new(client, path, wanted, told);
        runtime.spawn(keeper.run().instrument(span));
        // A node of this session may have been there, with other data.
        let is_settled = |status: &Status| status.is_present() && status.settled >= 1;
        let settled = async {
            let first = status.wait_for(|status| is_settled(status) || status.ended.is_some());
            let first = first.await.map_err(|_| closed())?;
            match first.ended.as_ref().or_else(|| first.refusal(1)) {
                Some(error) => Err(error.clone()),
                None => Ok(first.presence),
            }
        };
        node.told = within((&started, &node.path), timeout, settled).await?;
        Ok(node)
    }
}

/// A node that is kept in existence: see the [module's page](self).
///
/// Dropping it deletes the node in the background, also outside a runtime. It keeps the client, and so the session, open.
#[must_use = "dropping it deletes the node"]
pub struct PersistentNode {
    client: Client,
    path: Arc<str>,
    /// Tells the keeper what the node is to hold; closed by dropping.
    desired: Option<Arc<watch::Sender<Desired>>>,
    status: watch::Receiver<Status>,
    /// What [`changed`](Self::changed) said last.
    told: Presence,
}

impl PersistentNode {
    /// The node's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it stands now, as far as is known here.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.status.borrow().presence
    }

    /// Returns when the presence is another than this returned last, or than at the start: at once where it has changed since.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`] when the client has no session for good; the node is gone.
    pub async fn changed(&mut self) -> Result<Presence> {
        let told = self.told;
        let status = self
            .status
            .wait_for(|status| status.presence != told || status.ended.is_some())
            .await
            .map_err(|_| closed())?;
        if let Some(error) = &status.ended {
            return Err(error.clone());
        }
        self.told = status.presence;
        Ok(self.told)
    }

    /// Returns when nobody keeps the node any more, with the reason; [`Error::SessionGone`] also after a release. Keeps nothing alive.
    pub(crate) fn over(&self) -> impl Future<Output = Error> + Send + use<> {
        let mut status = self.status.clone();
        async move {
            let over = status.wait_for(|status| status.ended.is_some()).await;
            (over.ok().and_then(|status| status.ended.clone())).unwrap_or_else(closed)
        }
    }

    /// Gives the node other data, now and whenever it is created again; returns when it holds it, or what a later call gave it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::SessionGone`], and with what the client or the server says against the data (too large,
    /// NOAUTH, ...): then the node keeps what it held before, also when it is created again. [`Error::Timeout`] where a time
    /// was [given](Attempt::timeout): nothing is taken back by that. [`Error::Unknown`] where an answer was lost and the server lets
    /// nobody look at the node. Without a connection it waits.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the data is what the node will hold, whatever becomes of the future.
    pub fn set<'d>(&self, data: impl Into<Payload<'d>>) -> Attempt<()> {
        self.set_encoded(Ok(data.into().into_bytes()))
    }

    /// The same with data of which it has to be told that there is none.
    pub(crate) fn set_encoded(&self, data: Result<Bytes>) -> Attempt<()> {
        let span = tracing::debug_span!("persistent_node", path = %self.path);
        let place = (&self.client, &self.path, span);
        // What waits does not keep the node.
        let desired = self.desired.as_ref().map(Arc::downgrade);
        let mut status = self.status.clone();
        Attempt::begun(place, move || {
            let number = data.map(|data| desire(desired, data));
            async move {
                let number = number?.ok_or_else(closed)?;
                let settled = |status: &Status| status.settled >= number || status.ended.is_some();
                let status = status.wait_for(settled).await.map_err(|_| closed())?;
                match (&status.ended, status.refusal(number)) {
                    (Some(error), _) | (None, Some(error)) => Err(error.clone()),
                    (None, None) => Ok(()),
                }
            }
        })
    }

    /// Deletes the node and returns when it is gone.
    ///
    /// Without a connection it waits for one, at most for the session's timeout: then the session, and with it the node, is
    /// likely to be gone anyway. Dropping the future does not stop the release.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when the time has passed; the node is deleted in the background, or by the server. What the server
    /// says when it refuses.
    pub async fn release(mut self) -> Result<()> {
        drop(self.desired.take());
        // The task ends when it has nothing more to do.
        while self.status.changed().await.is_ok() {
            let status = self.status.borrow();
            if let Some(waited) = status.gave_up {
                let path = Arc::clone(&self.path);
                return Err(Error::Timeout { path, waited });
            }
        }
        match &self.status.borrow().release_refused {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for PersistentNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentNode")
            .field("path", &self.path)
            .field("presence", &self.presence())
            .finish_non_exhaustive()
    }
}

/// Says what the node is to hold; the number of that, or `None` where nobody keeps it any more.
fn desire(desired: Option<Weak<watch::Sender<Desired>>>, data: Bytes) -> Option<u64> {
    let desired = desired?.upgrade()?;
    let mut number = 0;
    desired.send_modify(|desired| {
        desired.number += 1;
        desired.data = data;
        number = desired.number;
    });
    Some(number)
}

/// The client's runtime is gone, and with it the keeper.
const fn closed() -> Error {
    Error::SessionGone {
        reason: ErrorKind::Closed,
    }
}

//! Names: each held by one session at most, as long as it holds it.
//!
//! **What it guarantees.** At most one [`NameGuard`] of a name is *certain* ([`NameGuard::ensure`] is `Ok`) at any time, under the
//! conditions of a [lock](crate::lock), and a refusal names who has it. It does **not** guarantee that a holder has stopped using the
//! name when the next one begins: give [`NameGuard::token`] to whom it matters.
//!
//! **Fairness**: none. Who comes first has the name; of those who [wait](Name::register_waiting) for it all look when it is
//! free, and one gets it (**herd**: for a queue of many, take a lock). **CONNECTIONLOSS** during the registration is survived:
//! the node's data holds an identifier of the registration, by which it is found again. **Suspension** loses nothing before the
//! deadline. **Expiry** ends a guard at its deadline; who waits goes on in the client's next session. A name is never registered again
//! by itself. What an expired session of the same client had is free when the server has ended that session.
//!
//! **Cancellation** is safe at every await: no name stays registered on a session that lives on. Dropping the guard gives the
//! name back. Parents are created as needed, as containers, with the client's default ACL. **A resumed session** still owns the
//! names of the process that had it before: see [`lock`](crate::lock).
//!
//! The node is ephemeral; its data is the holder's identity, a line feed, and the identifier.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zk_client::{Client, ErrorKind, Node, Session, SessionId, Zxid};

use crate::{
    attempt::{Answer, Attempt},
    connection::{Persistence, Setback, setback},
    contender::withdrawals,
    error::{Error, Result},
    held::Held,
    lock::Lost,
    own_node::{OwnNode, present_session},
};

/// A name that can be registered: [`ClientExt::name`](crate::ClientExt::name). Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until one of its methods is awaited"]
pub struct Name {
    client: Client,
    path: Arc<str>,
    identity: Option<Arc<str>>,
}

/// A name that is registered, as long as the proof lasts. Dropping it gives the name back.
#[derive(Debug)]
#[must_use = "dropping it gives the name back"]
pub struct NameGuard {
    held: Held,
    token: Zxid,
}

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameHolder {
    /// What the holder says it is.
    pub identity: String,
    /// The session that it has the name in.
    pub session: SessionId,
    /// The transaction that registered it: the fencing token.
    pub token: Zxid,
    /// Since when, by the leader's clock.
    pub since: SystemTime,
}

impl Name {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            identity: None,
        }
    }

    /// What to tell others who ask who has the name; the client's identity unless told.
    pub fn identity(mut self, identity: &str) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Registers the name, if nobody has it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::NameTaken`] where somebody has it, which names the holder, with [`Error::Foreign`] where
    /// the node is not ephemeral and so belongs to nobody, and with what the client reports.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what may have been registered.
    pub fn register(&self) -> Attempt<NameGuard> {
        self.attempt(false)
    }

    /// Registers the name as soon as nobody has it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Foreign`] where the node is not ephemeral, and with what the client reports. Cancel safe
    /// as [`register`](Self::register).
    pub fn register_waiting(&self) -> Attempt<NameGuard> {
        self.attempt(true)
    }

    /// Who has the name now.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports.
    pub fn holder(&self) -> Attempt<Option<NameHolder>> {
        let Self { client, path, .. } = self.clone();
        let span = tracing::debug_span!("name", %path);
        Attempt::plain((&self.client, &self.path, span), async move {
            let mut persistence = Persistence::new();
            loop {
                match client.get_opt(&path).await {
                    Ok(node) => return Ok(node.as_ref().map(holder)),
                    Err(error) => persistence.after(&client, error).await?,
                }
            }
        })
    }

    fn attempt(&self, waits: bool) -> Attempt<NameGuard> {
        let name = self.clone();
        let span = tracing::debug_span!("name", path = %self.path);
        Attempt::new((&self.client, &self.path, span), move |answer| {
            name.run(waits, answer)
        })
    }

    /// The task that registers.
    async fn run(self, waits: bool, mut answer: Answer<NameGuard>) {
        let mut node = None;
        let registered = tokio::select! {
            biased;
            () = answer.closed() => None,
            registered = self.registered(waits, &mut node) => Some(registered),
        };
        if let Some(registered) = registered {
            // If nobody waits any more, the guard comes back here, and dropping it gives the name back.
            drop(answer.send(registered));
        }
        if let Some(mut node) = node {
            node.withdraw().await;
        }
    }

    /// Dropped at any point, the node left behind is seen to by who owns it.
    async fn registered(&self, waits: bool, node: &mut Option<OwnNode>) -> Result<NameGuard> {
        let mut persistence = Persistence::new();
        withdrawals::few(&self.client).await;
        loop {
            let session = present_session(&self.client).await?;
            let registered = self.register_in(&session, waits, node, &mut persistence);
            let error = match registered.await {
                Ok(Ok(guard)) => return Ok(guard),
                Ok(Err(taken)) => return Err(taken),
                Err(error) => error,
            };
            if setback(&error) == Setback::SessionEnded {
                // The node went with its session.
                *node = None;
            }
            persistence.after(&self.client, error).await?;
        }
    }

    async fn register_in(
        &self,
        session: &Session,
        waits: bool,
        place: &mut Option<OwnNode>,
        persistence: &mut Persistence,
    ) -> zk_client::Result<Result<NameGuard>> {
        if (place.as_ref()).is_none_or(|node| node.session().id() != session.id()) {
            *place = Some(self.node(session));
        }
        while let Some(node) = place {
            let evidence = session.evidence().submit().await?;
            let Some(token) = node.create().await? else {
                drop(evidence);
                if let Some(taken) = self.taken(session, waits, persistence).await? {
                    return Ok(Err(taken));
                }
                continue;
            };
            let (own, evidence) = (node.watch().await?, evidence.await?);
            match own {
                Some(own) if evidence.time_left().is_some() => {
                    let Some(node) = place.take() else { break };
                    tracing::debug!(path = %self.path, "registered");
                    let held = Held::new(&self.path, node, own, evidence);
                    return Ok(Ok(NameGuard { held, token }));
                }
                // Deleted by somebody else, or seen too late: again.
                _ => {
                    node.withdraw().await;
                }
            }
        }
        // The node is there as long as this is tried.
        Ok(Err(Error::SessionGone {
            reason: ErrorKind::Closed,
        }))
    }

    fn node(&self, session: &Session) -> OwnNode {
        let identity = self
            .identity
            .as_deref()
            .unwrap_or_else(|| session.identity());
        let data = format!("{identity}\n{}", session.guid());
        OwnNode::new(session.clone(), Arc::clone(&self.path), data)
    }

    /// The node is there to stay, and so nobody's name.
    fn foreign(&self) -> Error {
        let (above, name) = self.path.rsplit_once('/').unwrap_or_default();
        Error::Foreign {
            path: if above.is_empty() { "/" } else { above }.into(),
            name: name.to_owned(),
        }
    }

    /// Who has the name, as an error; or waits until it changes hands. `None` if it is free, or may be.
    async fn taken(
        &self,
        session: &Session,
        waits: bool,
        persistence: &mut Persistence,
    ) -> zk_client::Result<Option<Error>> {
        let (node, change) = match session.get(&self.path).watch().await {
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(None),
            node => node?,
        };
        if node.stat.ephemeral_owner == SessionId::NONE {
            return Ok(Some(self.foreign()));
        }
        if waits {
            // However many sessions the wait takes.
            persistence.reset();
            change.await;
            return Ok(None);
        }
        let NameHolder {
            identity, session, ..
        } = holder(&node);
        Ok(Some(Error::NameTaken {
            path: Arc::clone(&self.path),
            holder: identity,
            session,
        }))
    }
}

fn holder(node: &Node) -> NameHolder {
    let text = String::from_utf8_lossy(&node.data);
    let identity = text
        .rsplit_once('\n')
        .map_or(&*text, |(identity, _)| identity);
    let since_ms = u64::try_from(node.stat.ctime).unwrap_or_default();
    NameHolder {
        identity: identity.to_owned(),
        session: node.stat.ephemeral_owner,
        token: node.stat.czxid,
        since: UNIX_EPOCH + Duration::from_millis(since_ms),
    }
}

impl NameGuard {
    /// The fencing token: every later holder of the name has a larger one.
    #[must_use]
    pub const fn token(&self) -> Zxid {
        self.token
    }

    /// The name's path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.held.node_path()
    }

    /// Whether the name is still held, and for how long that is certain without another sign of life.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], from the first time on that it is lost.
    pub fn ensure(&self) -> Result<Duration> {
        self.held.ensure()
    }

    /// Resolves when the name is lost or given back, with the reason.
    pub fn lost(&self) -> Lost {
        self.held.lost()
    }

    /// Runs `work` as long as the name is held; drops it when the name is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the name was lost before `work` was done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        self.held.run(work).await
    }

    /// Gives the name back, and returns when others can have it.
    ///
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the name was lost before.
    pub async fn release(self) -> Result<()> {
        self.held.release().await
    }
}

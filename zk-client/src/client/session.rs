//! A client bound to one session: what must not slip into the next one.

use std::{
    fmt,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use zk_proto::{Password, SessionId};

use super::Client;
use crate::{core::SessionInfo, evidence::ProveLife, operation::Operation, state::SessionEnd};

/// A [`Client`] bound to one session.
///
/// Derefs to [`Client`]: every operation is there, and `&session` is a `&Client` for code that takes one.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    info: SessionInfo,
}

impl Session {
    pub(super) fn new(client: &Client) -> Self {
        let info = client.parts.shared.session();
        let client = client.bound_to(info.generation);
        Self { client, info }
    }

    /// The session's id; 0 as long as there is no session yet.
    #[must_use]
    pub fn id(&self) -> SessionId {
        match self.info.id {
            SessionId::NONE => self.established().map_or(SessionId::NONE, |info| info.id),
            id => id,
        }
    }

    /// What has become of the session to come that this is bound to.
    fn established(&self) -> Option<SessionInfo> {
        let info = self.client.parts.shared.session();
        (info.generation == self.info.generation).then_some(info)
    }

    /// The session's password: with the id, the right to resume it
    /// ([`ClientBuilder::session`](crate::ClientBuilder::session)).
    #[must_use]
    pub const fn password(&self) -> &Password {
        &self.info.password
    }

    /// The session timeout that the server granted; where there is no session yet, that of the one before.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.info.timeout
    }

    /// Whether it still is the client's session, as far as the client knows.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let ended = self.client.parts.shared.ended();
        let reason = ended.borrow().reason_of(self.info.generation);
        reason.is_none()
    }

    /// An estimate of how long the session lives if no server is heard from now on; zero when it is likely gone.
    ///
    /// Counts from the *sending* of the last request or ping that was answered, on a clock that keeps counting while
    /// the machine sleeps. No authority: only a server knows. It is for being *more* careful, not less.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        let shared = &self.client.parts.shared;
        let info = shared.session();
        let begun = info.generation == self.info.generation && info.id != SessionId::NONE;
        if !begun || !self.is_current() {
            return Duration::ZERO;
        }
        (info.last_proof + info.timeout).since(shared.clock.now())
    }

    /// The same session for work that nobody waits for: it does not keep the client open. When the last other handle is
    /// dropped, the session is closed.
    #[doc(hidden)]
    #[must_use]
    pub fn unheld(&self) -> Self {
        let (client, info) = (self.client.unheld(), self.info.clone());
        Self { client, info }
    }

    /// Resolves when the session is over, with the reason; at once if it is already.
    ///
    /// `'static` and sticky; does not keep the client open.
    pub fn ended(&self) -> SessionEnded {
        let mut ended = self.client.parts.shared.ended();
        let generation = self.info.generation;
        let wait = async move {
            let over = ended
                .wait_for(|ended| ended.reason_of(generation).is_some())
                .await;
            over.ok()
                .and_then(|ended| ended.reason_of(generation))
                .unwrap_or(SessionEnd::Closed)
        };
        SessionEnded {
            wait: Box::pin(wait),
        }
    }

    /// Asks the leader for evidence that it holds the session, and keeps asking while the result lives.
    ///
    /// Sends a `sync` in the order of the session's requests; its *sending* is what the evidence counts from. So
    /// submitted right before the last look at a lock's children, it covers that look.
    pub fn evidence(&self) -> Operation<'_, ProveLife> {
        Operation::new(&self.client, ProveLife)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The end of a session, as a future: [`Session::ended`].
#[must_use = "futures do nothing unless polled"]
pub struct SessionEnded {
    wait: BoxFuture<'static, SessionEnd>,
}

impl Future for SessionEnded {
    type Output = SessionEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        self.wait.as_mut().poll(cx)
    }
}

impl fmt::Debug for SessionEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionEnded").finish_non_exhaustive()
    }
}

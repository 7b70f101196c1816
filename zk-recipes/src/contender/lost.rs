//! When what a guard proves is lost: the guard's and its keeper's shared view, and the future that tells.
//!
//! ```text
//!   held --+-- the evidence that the session lives runs out --> lost
//!          +-- the session ends ------------------------------> lost
//!          +-- somebody deletes the node ----------------------> lost
//!          +-- released or dropped ----------------------------> over
//! ```
//!
//! The evidence is the client's: a `sync` through the leader every third of the session timeout T, good for two thirds of T
//! from its sending. Invariant: the first end is the only one. Whoever first sees the deadline pass ends it for all, so
//! that an answer which arrives late revives nothing.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::watch;
use zk_client::{Evidence, EvidenceLoss};

use super::Writes;
use crate::{error::Error, revocation::is_asked};

/// Why a guard does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// No proof that the session lives arrived in time: the deadline passed.
    ///
    /// The node may still exist; it is deleted as soon as the session turns out to live.
    NoProofOfLife,
    /// The session ended: it expired, or the client was closed.
    SessionEnded,
    /// Somebody deleted the node: another client, or the server because the session ended, where it told that first.
    NodeDeleted,
    /// The guard was released or dropped.
    Released,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProofOfLife => "no proof that the session lives arrived in time",
            Self::SessionEnded => "the session ended",
            Self::NodeDeleted => "somebody deleted its node",
            Self::Released => "it was released",
        })
    }
}

impl From<EvidenceLoss> for LostReason {
    fn from(loss: EvidenceLoss) -> Self {
        match loss {
            EvidenceLoss::SessionEnded => Self::SessionEnded,
            _ => Self::NoProofOfLife,
        }
    }
}

/// What proves that it lasts.
#[derive(Debug)]
struct Proof {
    evidence: Evidence,
    writes: Option<Writes>,
}

impl Proof {
    /// As long as all of it is good.
    fn time_left(&self) -> Option<Duration> {
        let left = self.evidence.time_left()?;
        match &self.writes {
            None => Some(left),
            Some(writes) => Some(left.min(writes.time_left()?)),
        }
    }
}

/// One ownership, from the grant to its end.
#[derive(Debug)]
pub(crate) struct Ownership {
    path: Arc<str>,
    /// Given back at the end, so that heartbeats stop although somebody still holds the guard.
    evidence: Mutex<Option<Proof>>,
    ended: watch::Sender<Option<LostReason>>,
    /// Whether somebody has asked to let go.
    asked: watch::Sender<bool>,
}

impl Ownership {
    pub(crate) fn new(path: Arc<str>, evidence: Evidence) -> Self {
        Self::with(path, evidence, None)
    }

    /// The same where transactions prove it, too.
    pub(crate) fn with(path: Arc<str>, evidence: Evidence, writes: Option<Writes>) -> Self {
        Self {
            path,
            evidence: Mutex::new(Some(Proof { evidence, writes })),
            ended: watch::Sender::new(None),
            asked: watch::Sender::new(false),
        }
    }

    /// The path of what is owned.
    pub(crate) const fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// How long it is certainly ours from now on, or why it is not any more. Looking after the deadline ends it.
    pub(crate) fn time_left(&self) -> Result<Duration, LostReason> {
        if let Some(reason) = *self.ended.borrow() {
            return Err(reason);
        }
        let left = self.evidence.lock().as_ref().and_then(Proof::time_left);
        left.ok_or_else(|| {
            self.end(
                self.loss()
                    .map_or(LostReason::NoProofOfLife, LostReason::from),
            )
        })
    }

    /// The same as an error that callers see.
    pub(crate) fn ensure(&self) -> Result<Duration, Error> {
        self.time_left().map_err(|reason| self.error(reason))
    }

    pub(crate) fn error(&self, reason: LostReason) -> Error {
        Error::Lost {
            path: Arc::clone(&self.path),
            reason,
        }
    }

    /// Ends it, if it has not ended yet; the reason of its end.
    pub(crate) fn end(&self, reason: LostReason) -> LostReason {
        let mut first = reason;
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            first = *ended.get_or_insert(reason);
            is_first
        });
        let evidence = self.evidence.lock().take();
        drop(evidence);
        first
    }

    /// What the client says about the evidence, if it is lost.
    fn loss(&self) -> Option<EvidenceLoss> {
        self.evidence
            .lock()
            .as_ref()
            .and_then(|proof| proof.evidence.lost().now_or_never())
    }

    /// The own node was seen to hold this.
    pub(crate) fn saw(&self, data: &[u8]) {
        self.asked.send_if_modified(|asked| {
            let before = *asked;
            *asked = is_asked(before, data);
            *asked != before
        });
    }

    /// Waits until somebody asks to let go.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when it ends before.
    pub(crate) fn asked(self: &Arc<Self>) -> impl Future<Output = Result<(), Error>> + use<> {
        let (mut asked, lost) = (self.asked.subscribe(), self.lost());
        let ownership = Arc::clone(self);
        async move {
            // The sender is here.
            let told = async { asked.wait_for(|asked| *asked).await.is_ok() };
            tokio::select! {
                biased;
                reason = lost => Err(ownership.error(reason)),
                _ = told => Ok(()),
            }
        }
    }

    /// Waits for the end; holds nothing alive.
    pub(crate) fn lost(self: &Arc<Self>) -> Lost {
        let mut ended = self.ended.subscribe();
        let evidence = self
            .evidence
            .lock()
            .as_ref()
            .map(|proof| proof.evidence.lost());
        let ownership = Arc::clone(self);
        let wait = async move {
            let told = async { ended.wait_for(Option::is_some).await.is_ok() };
            match evidence {
                None => drop(told.await),
                Some(evidence) => {
                    tokio::select! {
                        _ = told => {}
                        loss = evidence => drop(ownership.end(loss.into())),
                    }
                }
            }
        };
        Lost {
            ownership: Arc::clone(self),
            wait: Box::pin(wait),
        }
    }
}

/// The end of an ownership, as a future: resolves to the reason, once or any number of times.
///
/// `'static` and sticky: made or polled after the end, it resolves at once. It also looks at the deadline itself whenever
/// it is polled. Keeps neither the lock nor its heartbeats alive; after a release it resolves to
/// [`LostReason::Released`].
#[must_use = "futures do nothing unless polled"]
pub struct Lost {
    ownership: Arc<Ownership>,
    wait: BoxFuture<'static, ()>,
}

impl Future for Lost {
    type Output = LostReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LostReason> {
        if let Err(reason) = self.ownership.time_left() {
            return Poll::Ready(reason);
        }
        let ended = self.wait.as_mut().poll(cx);
        // It ended, so the reason given here is not the first.
        ended.map(|()| self.ownership.end(LostReason::NoProofOfLife))
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost")
            .field("path", &self.ownership.path)
            .finish_non_exhaustive()
    }
}

//! Evidence that the ensemble still holds a session, for those who must stop when it does not.
//!
//! A connected session is not proof: servers answer pings themselves, and one that is cut off from its leader
//! goes on for seconds while the leader expires the session and lets the next holder in. So this sends `sync`,
//! which travels through the leader, every third of the session timeout T, and counts two thirds of T from the
//! *sending* of the last one that was answered, on a clock that keeps counting while the machine sleeps.
//!
//! While somebody holds evidence the client is less patient with a server through which the leader does not answer: after
//! a sixth of T it turns to another one, if it knows one, so that there is time to renew the proof.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use futures::future::BoxFuture;
use tokio::sync::watch;
use zk_proto::OpCode;

use crate::{
    core::{Command, EvidenceState, Kind, Reply, chroot::Chroot},
    driver::Shared,
    error::Failure,
    operation::{Attached, Call, Finish, Surroundings, Wants, sealed::Sealed},
};

/// The call behind [`Session::evidence`](crate::Session::evidence): a `sync` through the leader.
#[derive(Debug, Clone, Copy)]
pub struct ProveLife;

impl Sealed for ProveLife {}

impl Call for ProveLife {
    type Output = Evidence;

    fn op(&self) -> OpCode {
        OpCode::Sync
    }

    fn path(&self) -> &str {
        "/"
    }

    fn encode(&self, _: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        Chroot::default().put("/", out);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::Heartbeats
    }

    fn finish(reply: Reply, context: Finish<'_>) -> Result<Evidence, Failure> {
        reply.accepted()?;
        let shared = &context.parts.shared;
        let state = shared.evidence.subscribe();
        let known = *state.borrow();
        let same_session = context
            .parts
            .generation
            .is_none_or(|generation| generation == known.generation);
        let run = (known.until.is_some() && same_session).then_some(known.run);
        Ok(Evidence {
            inner: Arc::new(Inner {
                shared: Arc::clone(shared),
                state,
                run,
                _hold: context.attached,
            }),
        })
    }
}

/// Evidence that the leader holds the session; heartbeats go on while it or a clone of it lives.
///
/// Sticky: once the deadline has passed, it stays lost, even if the session turns out to live.
#[derive(Clone)]
pub struct Evidence {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    state: watch::Receiver<EvidenceState>,
    /// The run this belongs to; `None` where the first answer came too late.
    run: Option<u64>,
    _hold: Attached,
}

/// Why evidence is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvidenceLoss {
    /// The session ended, or the client was closed.
    SessionEnded,
    /// No answer came through the leader in time: the session may be gone.
    NoEvidence,
}

impl Evidence {
    /// How long the session is certainly held from now on; `None` once the evidence is lost.
    ///
    /// Synchronous and cheap: for a check before every side effect.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let state = *self.inner.state.borrow();
        if self.inner.loss(&state).is_some() {
            return None;
        }
        let left = state.until?.since(self.inner.shared.clock.now());
        (!left.is_zero()).then_some(left)
    }

    /// Resolves when the evidence is lost; at once if it is already.
    ///
    /// `'static` and sticky; does not keep the heartbeats going by itself.
    pub fn lost(&self) -> EvidenceLost {
        let mut state = self.inner.state.clone();
        let run = self.inner.run;
        let wait = async move {
            let lost = state.wait_for(|state| loss_of(run, state).is_some()).await;
            lost.ok()
                .and_then(|state| loss_of(run, &state))
                .unwrap_or(EvidenceLoss::SessionEnded)
        };
        EvidenceLost {
            wait: Box::pin(wait),
        }
    }
}

impl Inner {
    fn loss(&self, state: &EvidenceState) -> Option<EvidenceLoss> {
        loss_of(self.run, state)
    }
}

fn loss_of(run: Option<u64>, state: &EvidenceState) -> Option<EvidenceLoss> {
    let Some(run) = run else {
        return Some(EvidenceLoss::NoEvidence);
    };
    match state.loss_of(run)? {
        true => Some(EvidenceLoss::SessionEnded),
        false => Some(EvidenceLoss::NoEvidence),
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("time_left", &self.time_left())
            .finish_non_exhaustive()
    }
}

/// The end of [`Evidence`], as a future.
#[must_use = "futures do nothing unless polled"]
pub struct EvidenceLost {
    wait: BoxFuture<'static, EvidenceLoss>,
}

impl Future for EvidenceLost {
    type Output = EvidenceLoss;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EvidenceLoss> {
        self.wait.as_mut().poll(cx)
    }
}

impl fmt::Debug for EvidenceLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvidenceLost").finish_non_exhaustive()
    }
}

/// One claim on heartbeats, given back on drop.
#[doc(hidden)]
#[derive(Debug)]
pub struct EvidenceHold {
    shared: Arc<Shared>,
}

impl EvidenceHold {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Drop for EvidenceHold {
    fn drop(&mut self) {
        // A closed client sends no heartbeats.
        let _ = self.shared.inbox.push(Command::new(Kind::ReleaseEvidence));
    }
}

//! The place where a caller waits for its answer: one allocation for each request, and no other.
//!
//! One mutex, taken twice: by the answer and by the caller's poll after it; whom to wake is known from the beginning
//! where the caller waits at once. (The channel of the futures crate takes several times as many atomic steps for what
//! it offers beyond this.) An answer is moved in once and out once, and kept small (see [`Body`](super::Body)).

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::{Moment, Reply};
use crate::error::Failure;

/// What is answered.
pub type Answer = Result<Reply, Failure>;

struct State {
    /// Who has asked.
    waker: Option<Waker>,
    outcome: Outcome,
}

enum Outcome {
    /// Nothing has come.
    Open,
    Answered(Answer, Moment),
    /// There will be no answer: taken already, or its sender is gone.
    Over,
}

/// Answers a caller, once.
///
/// Dropping it unused tells the caller that nobody will.
pub struct Slot(Option<Arc<Mutex<State>>>);

/// Waits for the answer; `None` when there will be none. Dropping it is nobody's business.
pub struct Receiver(Arc<Mutex<State>>);

/// A slot, and who waits for it.
#[must_use]
pub fn channel() -> (Slot, Receiver) {
    channel_waking(None)
}

/// The same where it is known whom to wake: a first poll that would only say so is saved.
#[must_use]
#[inline]
pub(crate) fn channel_waking(waker: Option<&Waker>) -> (Slot, Receiver) {
    let state = Arc::new(Mutex::new(State {
        waker: waker.cloned(),
        outcome: Outcome::Open,
    }));
    (Slot(Some(Arc::clone(&state))), Receiver(state))
}

impl Slot {
    /// Hands over the answer, and when it came; a caller that does not wait any more is no failure.
    #[inline]
    pub fn send(mut self, answer: Answer, at: Moment) {
        self.put(Outcome::Answered(answer, at));
    }

    #[inline]
    fn put(&mut self, outcome: Outcome) {
        let Some(state) = self.0.take() else {
            return;
        };
        let waker = {
            let mut state = state.lock();
            state.outcome = outcome;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.put(Outcome::Over);
        }
    }
}

impl Receiver {
    /// The answer, and when it came, if it is there: `Ok(None)` while it is not, `Err` when there will be none.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn try_recv(&mut self) -> Result<Option<(Answer, Moment)>, Gone> {
        let mut state = self.0.lock();
        match &state.outcome {
            Outcome::Open => Ok(None),
            Outcome::Answered(..) | Outcome::Over => state.take().map(Some),
        }
    }
}

impl State {
    /// What has come; nothing will come after it.
    #[inline]
    fn take(&mut self) -> Result<(Answer, Moment), Gone> {
        match std::mem::replace(&mut self.outcome, Outcome::Over) {
            Outcome::Answered(answer, at) => Ok((answer, at)),
            Outcome::Open | Outcome::Over => Err(Gone),
        }
    }
}

/// Nobody will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Future for Receiver {
    type Output = Result<(Answer, Moment), Gone>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if !matches!(state.outcome, Outcome::Open) {
            return Poll::Ready(state.take());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use futures::FutureExt as _;
    use zk_proto::ErrorCode;

    use super::*;

    fn answer() -> Answer {
        Err(Failure::answered(ErrorCode::NoNode))
    }

    #[test]
    fn an_answer_comes_once() {
        let (slot, mut receiver) = channel();
        assert!(matches!(receiver.try_recv(), Ok(None)));
        assert!((&mut receiver).now_or_never().is_none());
        let at = Moment(std::time::Duration::from_secs(7));
        slot.send(answer(), at);
        let received = (&mut receiver).now_or_never();
        assert!(matches!(received, Some(Ok((Err(_), came))) if came == at));
        assert!(matches!(receiver.try_recv(), Err(Gone)));
    }

    #[test]
    fn a_dropped_slot_wakes_who_waits() {
        struct Count(Mutex<u32>);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                *self.0.lock() += 1;
            }
        }
        let count = Arc::new(Count(Mutex::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let (slot, mut receiver) = channel();
        let mut context = Context::from_waker(&waker);
        assert!(receiver.poll_unpin(&mut context).is_pending());
        drop(slot);
        assert_eq!(*count.0.lock(), 1);
        assert!(matches!(
            receiver.poll_unpin(&mut context),
            Poll::Ready(Err(Gone))
        ));
    }
}

//! The place where a caller waits for its answer: one allocation for each request, and no other.
//!
//! One mutex, taken three times: by the caller's first poll, by the answer, by the caller's last poll. (The channel
//! of the futures crate takes about three times as many atomic steps for what it offers beyond this.)

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::Reply;
use crate::error::Failure;

/// What is answered.
pub type Answer = Result<Reply, Failure>;

enum State {
    /// Nobody has asked, nothing has come.
    Empty,
    Waiting(Waker),
    Answered(Answer),
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
    let state = Arc::new(Mutex::new(State::Empty));
    (Slot(Some(Arc::clone(&state))), Receiver(state))
}

impl Slot {
    /// Hands the answer over; a caller that does not wait any more is no failure.
    pub fn send(mut self, answer: Answer) {
        self.put(State::Answered(answer));
    }

    fn put(&mut self, next: State) {
        let Some(state) = self.0.take() else {
            return;
        };
        let before = std::mem::replace(&mut *state.lock(), next);
        if let State::Waiting(waker) = before {
            waker.wake();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.put(State::Over);
    }
}

impl Receiver {
    /// The answer if it is there: `Ok(None)` while it is not, `Err` when there will be none.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn try_recv(&mut self) -> Result<Option<Answer>, Gone> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Ok(Some(answer)),
            State::Over => Err(Gone),
            waiting => {
                *state = waiting;
                Ok(None)
            }
        }
    }
}

/// Nobody will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Future for Receiver {
    type Output = Result<Answer, Gone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Empty => *state = State::Waiting(cx.waker().clone()),
            State::Waiting(waker) => waker.clone_from(cx.waker()),
            State::Over => return Poll::Ready(Err(Gone)),
            State::Answered(_) => {
                if let State::Answered(answer) = std::mem::replace(&mut *state, State::Over) {
                    return Poll::Ready(Ok(answer));
                }
            }
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
        slot.send(answer());
        assert!(matches!((&mut receiver).now_or_never(), Some(Ok(Err(_)))));
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

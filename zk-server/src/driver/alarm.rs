//! A connection's timer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::time::Now;

/// A timer that is moved only to an earlier time, and set again when it goes off too early: so a busy connection
/// touches none.
#[derive(Default)]
pub(super) struct Alarm {
    set: Option<Set>,
}

struct Set {
    at: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Ready once `at` has passed; else the task is woken by then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Duration, now: Now) -> Poll<()> {
        if at <= now.mono {
            return Poll::Ready(());
        }
        loop {
            if self.set.as_ref().is_none_or(|set| at < set.at) {
                self.wind(at, now);
            }
            let Some(set) = &mut self.set else {
                return Poll::Pending;
            };
            match set.sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.set = None,
            }
        }
    }

    fn wind(&mut self, at: Duration, now: Now) {
        let when = Instant::now() + (at - now.mono);
        match &mut self.set {
            Some(set) => {
                set.at = at;
                set.sleep.as_mut().reset(when);
            }
            none => {
                let sleep = Box::pin(sleep_until(when));
                *none = Some(Set { at, sleep });
            }
        }
    }
}

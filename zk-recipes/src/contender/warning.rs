//! When to warn of a long wait.

use std::{pin::Pin, time::Duration};

use tokio::time::Sleep;

/// The long-wait warning, each time after twice the time.
#[derive(Debug)]
pub(crate) struct Warning {
    after: Option<Duration>,
    waited: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Warning {
    pub(crate) const fn new(after: Option<Duration>) -> Self {
        Self {
            after,
            waited: Duration::ZERO,
            timer: None,
        }
    }

    /// Returns when the next warning is due, with the time waited so far. Cancel safe.
    pub(crate) async fn due(&mut self) -> Duration {
        let Some(after) = self.after else {
            return std::future::pending().await;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        timer.as_mut().await;
        self.timer = None;
        self.waited += after;
        self.after = Some(self.waited);
        self.waited
    }
}

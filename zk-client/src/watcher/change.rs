//! The first change after a read.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{channel::oneshot, future::FusedFuture};

use super::WatchEvent;
use crate::{
    core::{Command, Kind},
    driver::Shared,
};

/// The first change after a read, as a future.
///
/// Resolves exactly once: to the change, or to [`WatchEvent::SessionEnded`]. A lost connection does not
/// disturb it; a change made meanwhile is told after the reconnect. Two changes may come as one, and of a
/// node that is created *and* deleted during a gap nothing is told.
///
/// `'static`; dropping it is harmless at any time.
#[derive(Debug)]
#[must_use = "a change is told to this value only"]
pub struct WatchChange {
    shared: Arc<Shared>,
    path: String,
    event: oneshot::Receiver<WatchEvent>,
}

impl WatchChange {
    pub(crate) fn new(
        shared: Arc<Shared>,
        path: String,
        event: oneshot::Receiver<WatchEvent>,
    ) -> Self {
        Self {
            shared,
            path,
            event,
        }
    }
}

impl Future for WatchChange {
    type Output = WatchEvent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WatchEvent> {
        Pin::new(&mut self.event).poll(cx).map(|event| {
            event
                .unwrap_or(WatchEvent::SessionEnded)
                .below(&self.shared.chroot)
        })
    }
}

impl Drop for WatchChange {
    fn drop(&mut self) {
        if !self.event.is_terminated() {
            self.event.close();
            let prune = Kind::PruneWatchers(std::mem::take(&mut self.path));
            // A closed client has no watchers to prune.
            let _ = self.shared.inbox.push(Command::new(prune));
        }
    }
}

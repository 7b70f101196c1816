//! Watches as values: an event, and the future that resolves to it.

use zk_proto::Zxid;

/// What a watch has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// The node was created.
    Created(NodeChange),
    /// The node was deleted.
    Deleted(NodeChange),
    /// The node's data was set.
    DataChanged(NodeChange),
    /// A child of the node was created or deleted.
    ChildrenChanged(NodeChange),
    /// The session ended, and its watches with it: what happens from now on is not told.
    SessionEnded,
}

/// The node that changed, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeChange {
    /// The node.
    pub path: String,
    /// The transaction that changed it, where the server says so (3.9 and later).
    pub zxid: Option<Zxid>,
}

impl WatchEvent {
    /// The node that changed; `None` where the session ended instead.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.change().map(|change| change.path.as_str())
    }

    /// Whether the node was deleted.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }

    /// Whether it tells the end of the session instead of a change.
    #[must_use]
    pub const fn is_session_ended(&self) -> bool {
        matches!(self, Self::SessionEnded)
    }

    const fn change(&self) -> Option<&NodeChange> {
        match self {
            Self::Created(change)
            | Self::Deleted(change)
            | Self::DataChanged(change)
            | Self::ChildrenChanged(change) => Some(change),
            Self::SessionEnded => None,
        }
    }
}

#[cfg(feature = "driver")]
pub use change::WatchChange;

#[cfg(feature = "driver")]
mod change {
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll},
    };

    use futures::{channel::oneshot, future::FusedFuture};

    use super::{NodeChange, WatchEvent};
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

        fn to_user(&self, event: WatchEvent) -> WatchEvent {
            let user = |change: NodeChange| NodeChange {
                path: self.shared.chroot.strip(&change.path).to_owned(),
                ..change
            };
            match event {
                WatchEvent::Created(change) => WatchEvent::Created(user(change)),
                WatchEvent::Deleted(change) => WatchEvent::Deleted(user(change)),
                WatchEvent::DataChanged(change) => WatchEvent::DataChanged(user(change)),
                WatchEvent::ChildrenChanged(change) => WatchEvent::ChildrenChanged(user(change)),
                WatchEvent::SessionEnded => WatchEvent::SessionEnded,
            }
        }
    }

    impl Future for WatchChange {
        type Output = WatchEvent;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WatchEvent> {
            Pin::new(&mut self.event)
                .poll(cx)
                .map(|event| self.to_user(event.unwrap_or(WatchEvent::SessionEnded)))
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
}

//! Watches as values: the events, the future of a one-shot watch, the stream of a persistent one.

mod event_queue;

#[cfg(feature = "driver")]
mod change;
#[cfg(feature = "driver")]
mod stream;

use zk_proto::Zxid;

#[cfg(feature = "driver")]
pub use self::{
    change::WatchChange,
    stream::{AddWatch, Watch},
};
pub use event_queue::EventQueue;

use crate::core::chroot::Chroot;

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
    /// Only of persistent watches: the connection is lost, and what happens until
    /// [`SessionReconnected`](Self::SessionReconnected) is not told.
    SessionDisconnected,
    /// Only of persistent watches: the watch is there again. What happened meanwhile was missed; read again.
    SessionReconnected,
    /// Only of persistent watches: events came faster than they were taken, and some were dropped; read again.
    Lagged,
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
    /// The node that changed; `None` for what is about the session.
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

    /// The node that changed and the transaction that did it; `None` for what is about the session.
    #[must_use]
    pub const fn change(&self) -> Option<&NodeChange> {
        match self {
            Self::Created(change)
            | Self::Deleted(change)
            | Self::DataChanged(change)
            | Self::ChildrenChanged(change) => Some(change),
            Self::SessionEnded
            | Self::SessionDisconnected
            | Self::SessionReconnected
            | Self::Lagged => None,
        }
    }

    /// The same with the path as the user knows it.
    pub(crate) fn below(mut self, chroot: &Chroot) -> Self {
        if let Self::Created(change)
        | Self::Deleted(change)
        | Self::DataChanged(change)
        | Self::ChildrenChanged(change) = &mut self
        {
            change.path = chroot.strip(&change.path).to_owned();
        }
        self
    }
}

//! The kinds of watches, and what each hears of.

use zk_proto::watch::{EventType, WatcherType};

/// Kinds of watches: a set, since one connection may have several at one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchKinds(pub(super) u8);

impl WatchKinds {
    /// A one-shot watch on a node's existence and data.
    pub const DATA: Self = Self(1);
    /// A one-shot watch on a node's list of children.
    pub const CHILD: Self = Self(2);
    /// A lasting watch on both.
    pub const PERSISTENT: Self = Self(4);
    /// A lasting watch on the existence and data of a node and all below it.
    pub const RECURSIVE: Self = Self(8);
    pub(super) const NONE: Self = Self(0);
    const ALL: Self = Self(15);

    /// The kinds that checkWatches and removeWatches mean.
    pub(super) const fn of(kind: WatcherType) -> Self {
        match kind {
            WatcherType::Children => Self::CHILD,
            WatcherType::Data => Self::DATA,
            WatcherType::Any => Self::ALL,
            WatcherType::Persistent => Self::PERSISTENT,
            WatcherType::PersistentRecursive => Self::RECURSIVE,
        }
    }

    /// Both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The kinds that hear of an event at their own path, and those of them that it uses up.
pub(super) const fn concerned(event: EventType) -> (WatchKinds, WatchKinds) {
    use WatchKinds as Kinds;
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => (
            Kinds::DATA.or(Kinds::PERSISTENT).or(Kinds::RECURSIVE),
            Kinds::DATA,
        ),
        EventType::NodeDeleted => (Kinds::ALL, Kinds::DATA.or(Kinds::CHILD)),
        EventType::NodeChildrenChanged => (Kinds::CHILD.or(Kinds::PERSISTENT), Kinds::CHILD),
        _ => (Kinds::NONE, Kinds::NONE),
    }
}

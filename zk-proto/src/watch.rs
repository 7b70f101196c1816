//! Watch events and the kinds of watches.

use bytes::BytesMut;

use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader, Utf8Bytes},
    record,
};

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident, $what:literal { $( $(#[$vmeta:meta])* $variant:ident = $value:literal, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name { $( $(#[$vmeta])* $variant = $value, )* }

        impl $name {
            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_i32(value: i32) -> Option<Self> {
                match value { $( $value => Some(Self::$variant), )* _ => None }
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut BytesMut) {
                (*self as i32).encode(out);
            }

            fn encoded_len(&self) -> usize {
                4
            }
        }

        impl Decode for $name {
            const MIN_LEN: usize = 4;

            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                let value = input.i32()?;
                Self::from_i32(value).ok_or(DecodeError::UnknownValue { what: $what, value: value.into() })
            }
        }
    };
}

numbered! {
    /// What happened to a watched node (`Watcher.Event.EventType`).
    EventType, "event type" {
        /// Nothing happened to a node; the connection's state changed.
        None = -1,
        /// The node was created.
        NodeCreated = 1,
        /// The node was deleted.
        NodeDeleted = 2,
        /// The node's data was set.
        NodeDataChanged = 3,
        /// A child of the node was created or deleted.
        NodeChildrenChanged = 4,
        /// A data watch was removed; made by clients, never sent.
        DataWatchRemoved = 5,
        /// A child watch was removed; made by clients, never sent.
        ChildWatchRemoved = 6,
        /// A persistent watch was removed; made by clients, never sent.
        PersistentWatchRemoved = 7,
    }
}

numbered! {
    /// A connection's state as events carry it (`Watcher.Event.KeeperState`).
    KeeperState, "keeper state" {
        /// No server.
        Disconnected = 0,
        /// Connected to a server of a quorum.
        SyncConnected = 3,
        /// Authentication failed.
        AuthFailed = 4,
        /// Connected to a read-only server.
        ConnectedReadOnly = 5,
        /// Authenticated by SASL.
        SaslAuthenticated = 6,
        /// The session is no more.
        Expired = -112,
        /// The client was closed.
        Closed = 7,
    }
}

numbered! {
    /// How a persistent watch watches (`AddWatchMode`).
    AddWatchMode, "watch mode" {
        /// One node, until removed: its data, its existence, its children.
        Persistent = 0,
        /// A node and everything below it, until removed; no events about children lists.
        PersistentRecursive = 1,
    }
}

numbered! {
    /// Which watches to check or remove (`Watcher.WatcherType`).
    WatcherType, "watcher type" {
        /// Child watches.
        Children = 1,
        /// Data and exists watches.
        Data = 2,
        /// All of them.
        Any = 3,
        /// Persistent watches.
        Persistent = 4,
        /// Persistent recursive watches.
        PersistentRecursive = 5,
    }
}

record! {
    /// A watch fired, or the connection's state changed.
    pub struct WatcherEvent {
        /// What happened.
        pub event_type: EventType,
        /// The connection's state, as the server sees it.
        pub state: KeeperState,
        /// The node.
        pub path: Utf8Bytes,
    }
}

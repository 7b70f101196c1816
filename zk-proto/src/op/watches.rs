//! setWatches, setWatches2, addWatch, removeWatches, checkWatches.

use crate::{
    jute::Utf8Bytes,
    record,
    watch::{AddWatchMode, WatcherType},
    zxid::Zxid,
};

record! {
    /// Register one-shot watches again after a reconnect; the answer has no body.
    ///
    /// What happened since `relative_zxid` is told at once, as events before the answer.
    pub struct SetWatchesRequest {
        /// The last zxid the client has seen.
        pub relative_zxid: Zxid,
        /// Paths with a data watch on an existing node.
        pub data: Vec<Utf8Bytes>,
        /// Paths with a watch on a node that did not exist.
        pub exist: Vec<Utf8Bytes>,
        /// Paths with a child watch.
        pub child: Vec<Utf8Bytes>,
    }
}

record! {
    /// As [`SetWatchesRequest`], with persistent watches, for which nothing is caught up.
    pub struct SetWatches2Request {
        /// The last zxid the client has seen.
        pub relative_zxid: Zxid,
        /// Paths with a data watch on an existing node.
        pub data: Vec<Utf8Bytes>,
        /// Paths with a watch on a node that did not exist.
        pub exist: Vec<Utf8Bytes>,
        /// Paths with a child watch.
        pub child: Vec<Utf8Bytes>,
        /// Paths with a persistent watch.
        pub persistent: Vec<Utf8Bytes>,
        /// Paths with a persistent recursive watch.
        pub persistent_recursive: Vec<Utf8Bytes>,
    }
}

record! {
    /// Add a persistent watch; the answer is an [`super::ErrorResponse`].
    pub struct AddWatchRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// How to watch.
        pub mode: AddWatchMode,
    }
}

record! {
    /// Remove watches of this connection; the answer has no body, and no event is sent.
    pub struct RemoveWatchesRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Which watches.
        pub kind: WatcherType,
    }
}

record! {
    /// Ask whether this connection has such a watch; the answer has no body, `NoWatcher` where it has not.
    pub struct CheckWatchesRequest {
        /// The node.
        pub path: Utf8Bytes,
        /// Which watches.
        pub kind: WatcherType,
    }
}

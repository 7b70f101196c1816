//! The watches of the ensemble in memory: one-shot, persistent and recursive ones.

use std::collections::BTreeSet;

use bytes::BytesMut;
use tokio::sync::mpsc::UnboundedSender;
use zk_proto::{
    Encode, Xid, Zxid,
    frame::put_frame,
    header::ReplyHeader,
    watch::{AddWatchMode, EventType, KeeperState, WatcherEvent, WatcherType},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Child,
    Persistent,
    Recursive,
}

impl From<AddWatchMode> for Kind {
    fn from(mode: AddWatchMode) -> Self {
        match mode {
            AddWatchMode::Persistent => Self::Persistent,
            AddWatchMode::PersistentRecursive => Self::Recursive,
        }
    }
}

impl Kind {
    fn sees(self, watched: &str, event: EventType, path: &str) -> bool {
        let child_event = event == EventType::NodeChildrenChanged;
        let below = || {
            let rest = path.strip_prefix(watched);
            watched == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self {
            Self::Data => watched == path && !child_event,
            Self::Child => watched == path && (child_event || event == EventType::NodeDeleted),
            Self::Persistent => watched == path,
            Self::Recursive => !child_event && below(),
        }
    }

    const fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Child)
    }
}

struct Watch {
    connection: u64,
    path: String,
    kind: Kind,
    outbox: UnboundedSender<BytesMut>,
}

#[derive(Default)]
pub(crate) struct WatchTable {
    watches: Vec<Watch>,
}

impl WatchTable {
    pub(crate) fn add(
        &mut self,
        connection: u64,
        path: &str,
        kind: Kind,
        outbox: &UnboundedSender<BytesMut>,
    ) {
        let same = |watch: &Watch| {
            (watch.connection, &*watch.path, watch.kind) == (connection, path, kind)
        };
        if !self.watches.iter().any(same) {
            self.watches.push(Watch {
                connection,
                path: path.to_owned(),
                kind,
                outbox: outbox.clone(),
            });
        }
    }

    pub(crate) fn remove(&mut self, connection: u64, path: &str, kind: WatcherType) -> bool {
        let kind = match kind {
            WatcherType::Data => Kind::Data,
            WatcherType::Children => Kind::Child,
            WatcherType::Persistent => Kind::Persistent,
            _ => Kind::Recursive,
        };
        self.take(connection, path, kind).is_some()
    }

    /// Tells what happened while a connection was not there, instead of its watch.
    pub(crate) fn catch_up(&mut self, connection: u64, path: &str, kind: Kind, event: EventType) {
        if let Some(watch) = self.take(connection, path, kind) {
            let _ = watch.outbox.send(frame(event, path, -1));
        }
    }

    /// Tells every connection once.
    pub(crate) fn fire(&mut self, event: EventType, path: &str, zxid: i64) {
        let mut told = BTreeSet::new();
        self.watches.retain(|watch| {
            let hit = watch.kind.sees(&watch.path, event, path);
            if hit && told.insert(watch.connection) {
                let _ = watch.outbox.send(frame(event, path, zxid));
            }
            !(hit && watch.kind.is_one_shot())
        });
    }

    pub(crate) fn forget(&mut self, connection: u64) {
        self.watches.retain(|watch| watch.connection != connection);
    }

    pub(crate) fn len(&self) -> usize {
        self.watches.len()
    }

    fn take(&mut self, connection: u64, path: &str, kind: Kind) -> Option<Watch> {
        let same = |watch: &Watch| {
            (watch.connection, &*watch.path, watch.kind) == (connection, path, kind)
        };
        let at = self.watches.iter().position(same)?;
        Some(self.watches.remove(at))
    }
}

fn frame(event_type: EventType, path: &str, zxid: i64) -> BytesMut {
    let header = ReplyHeader {
        xid: Xid::NOTIFICATION,
        zxid: Zxid(zxid),
        err: 0,
    };
    let event = WatcherEvent {
        event_type,
        state: KeeperState::SyncConnected,
        path: path.into(),
    };
    let mut out = BytesMut::new();
    put_frame(&mut out, &[&header, &event as &dyn Encode]);
    out
}

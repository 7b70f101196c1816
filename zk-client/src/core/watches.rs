//! Watches that the server holds for this session, and who waits for them.
//!
//! A one-shot watch is registered when the read that left it is *answered*, by what the answer says: a node's
//! data, a node that does not exist yet, or its children. A server forgets watches with the connection, so
//! they are registered again on the next one with the last zxid seen; what happened in between comes back as
//! events at once.
//!
//! Two things a client can miss across a gap, both ZooKeeper's: several changes come as one event, and a node
//! that was created *and* deleted meanwhile leaves no event to who waited for its creation.
//!
//! Facts from `ZKWatchManager.materialize` (which event tells which watchers) and `ClientCnxn.primeConnection`
//! (re-registration in chunks of 128 KiB).

use std::collections::BTreeMap;

use bytes::BytesMut;
use zk_proto::{
    ErrorCode, OpCode, Utf8Bytes, Xid, Zxid,
    frame::put_frame,
    header::RequestHeader,
    jute::Encode,
    op::{SetWatches2Request, SetWatchesRequest},
    watch::{AddWatchMode, EventType, WatcherEvent, WatcherType},
};

use super::{WatchRequest, Watcher, streams::Streams};
use crate::watcher::{NodeChange, WatchEvent};

/// The longest list of paths in one re-registration, in bytes; servers drop a connection over a frame that
/// exceeds their limit (ZOOKEEPER-706).
const CHUNK_BYTES: usize = 128 * 1024 - 64;

type Waiting = BTreeMap<String, Vec<Watcher>>;

#[derive(Debug, Default)]
pub(crate) struct Watches {
    data: Waiting,
    exist: Waiting,
    child: Waiting,
    /// Events that came before the answer that says what they are about.
    early: Vec<Early>,
}

#[derive(Debug)]
struct Early {
    event_type: EventType,
    path: Utf8Bytes,
    zxid: Zxid,
}

/// What a one-shot watch watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchKind {
    Data,
    Exist,
    Child,
}

impl WatchKind {
    /// The kind that a read leaves by its answer; `None` where it leaves none.
    pub(crate) const fn left_by(op: OpCode, code: ErrorCode) -> Option<Self> {
        match (op, code) {
            (OpCode::GetData | OpCode::Exists, ErrorCode::Ok) => Some(Self::Data),
            (OpCode::Exists, ErrorCode::NoNode) => Some(Self::Exist),
            (OpCode::GetChildren | OpCode::GetChildren2, ErrorCode::Ok) => Some(Self::Child),
            _ => None,
        }
    }

    /// What the server calls it: for one path it keeps one data watch and one child watch.
    pub(crate) const fn server_side(self) -> WatcherType {
        match self {
            Self::Data | Self::Exist => WatcherType::Data,
            Self::Child => WatcherType::Children,
        }
    }

    const fn is_told_of(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => {
                matches!(self, Self::Data | Self::Exist)
            }
            EventType::NodeDeleted => true,
            EventType::NodeChildrenChanged => matches!(self, Self::Child),
            _ => false,
        }
    }
}

/// What became of a watch whose read is answered.
#[derive(Debug)]
pub(crate) enum Registered {
    /// It waits for its event.
    Waiting,
    /// Its event came already.
    Told(Watcher, WatchEvent),
    /// Nobody waits for it any more.
    Unwanted(String),
}

impl Watches {
    /// Registers a watch that was left by a read answered at `zxid`.
    pub(crate) fn register(
        &mut self,
        kind: WatchKind,
        request: WatchRequest,
        zxid: Zxid,
    ) -> Registered {
        let early = self.early.iter().find(|early| {
            kind.is_told_of(early.event_type)
                && early.path == *request.path
                && (early.zxid <= Zxid::ZERO || early.zxid > zxid)
        });
        if let Some(early) = early {
            let event = event_of(early.event_type, &early.path, early.zxid);
            return Registered::Told(request.watcher, event);
        }
        if request.watcher.is_canceled() {
            return Registered::Unwanted(request.path);
        }
        let waiting = self.waiting(kind).entry(request.path).or_default();
        waiting.retain(|watcher| !watcher.is_canceled());
        waiting.push(request.watcher);
        Registered::Waiting
    }

    /// Whether somebody waits for what the server's watch of this kind tells.
    pub(crate) fn is_watched(&self, path: &str, server_side: WatcherType) -> bool {
        match server_side {
            WatcherType::Children => self.child.contains_key(path),
            _ => self.data.contains_key(path) || self.exist.contains_key(path),
        }
    }

    /// Everybody whom an event is for. With `keep`, it is also kept for reads under way, if it may be for them.
    pub(crate) fn fire(
        &mut self,
        event: WatcherEvent,
        zxid: Zxid,
        keep: bool,
    ) -> Vec<(Watcher, WatchEvent)> {
        let mut told = Vec::new();
        for kind in [WatchKind::Data, WatchKind::Exist, WatchKind::Child] {
            if kind.is_told_of(event.event_type) {
                told.extend(
                    self.waiting(kind)
                        .remove(event.path.as_str())
                        .into_iter()
                        .flatten(),
                );
            }
        }
        // With a zxid the answer of the read decides; without, an event that has takers is theirs.
        if keep && (told.is_empty() || zxid > Zxid::ZERO) {
            let (event_type, path) = (event.event_type, event.path.clone());
            self.early.push(Early {
                event_type,
                path,
                zxid,
            });
        }
        let event = event_of(event.event_type, &event.path, zxid);
        told.into_iter()
            .map(|watcher| (watcher, event.clone()))
            .collect()
    }

    /// No read that leaves a watch is under way any more.
    pub(crate) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// Later answers are of this zxid at least: they show what was told with it or before.
    pub(crate) fn forget_early_until(&mut self, zxid: Zxid) {
        self.early
            .retain(|early| early.zxid <= Zxid::ZERO || early.zxid > zxid);
    }

    /// Drops the watchers of a path that nobody waits for any more; tells which of the server's watches they had.
    pub(crate) fn prune(&mut self, path: &str) -> Vec<WatcherType> {
        let mut pruned = Vec::new();
        for kind in [WatchKind::Data, WatchKind::Exist, WatchKind::Child] {
            let waiting = self.waiting(kind);
            let Some(watchers) = waiting.get_mut(path) else {
                continue;
            };
            let before = watchers.len();
            watchers.retain(|watcher| !watcher.is_canceled());
            if watchers.len() < before {
                pruned.push(kind.server_side());
            }
            if watchers.is_empty() {
                waiting.remove(path);
            }
        }
        pruned.dedup();
        pruned
    }

    /// Everybody who waits, when the session ends.
    pub(crate) fn take_all(&mut self) -> Vec<Watcher> {
        self.early.clear();
        [&mut self.data, &mut self.exist, &mut self.child]
            .into_iter()
            .flat_map(|waiting| std::mem::take(waiting).into_values().flatten())
            .collect()
    }

    /// Writes the re-registration of everything, and says in how many requests.
    pub(crate) fn put_again(
        &mut self,
        streams: &Streams,
        relative_zxid: Zxid,
        out: &mut BytesMut,
    ) -> usize {
        self.early.clear();
        let lists = [
            (
                Kept::OneShot(WatchKind::Data),
                self.data.keys().collect::<Vec<_>>(),
            ),
            (Kept::OneShot(WatchKind::Exist), self.exist.keys().collect()),
            (Kept::OneShot(WatchKind::Child), self.child.keys().collect()),
            (
                Kept::Stream(AddWatchMode::Persistent),
                streams.paths(AddWatchMode::Persistent).collect(),
            ),
            (
                Kept::Stream(AddWatchMode::PersistentRecursive),
                streams.paths(AddWatchMode::PersistentRecursive).collect(),
            ),
        ];
        let mut frames = 0;
        let mut chunk = Chunk::new(relative_zxid);
        for (kept, paths) in lists {
            for path in paths {
                if chunk.is_full(path) {
                    frames += std::mem::replace(&mut chunk, Chunk::new(relative_zxid)).put(out);
                }
                chunk.add(kept, path);
            }
        }
        frames + chunk.put(out)
    }

    fn waiting(&mut self, kind: WatchKind) -> &mut Waiting {
        match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Exist => &mut self.exist,
            WatchKind::Child => &mut self.child,
        }
    }
}

/// What is registered again.
#[derive(Debug, Clone, Copy)]
enum Kept {
    OneShot(WatchKind),
    Stream(AddWatchMode),
}

/// One setWatches or setWatches2 request in the making.
struct Chunk {
    request: SetWatches2Request,
    bytes: usize,
}

impl Chunk {
    const fn new(relative_zxid: Zxid) -> Self {
        let request = SetWatches2Request {
            relative_zxid,
            data: Vec::new(),
            exist: Vec::new(),
            child: Vec::new(),
            persistent: Vec::new(),
            persistent_recursive: Vec::new(),
        };
        Self { request, bytes: 0 }
    }

    const fn is_full(&self, path: &str) -> bool {
        self.bytes > 0 && self.bytes + 4 + path.len() > CHUNK_BYTES
    }

    fn add(&mut self, kept: Kept, path: &str) {
        let list = match kept {
            Kept::OneShot(WatchKind::Data) => &mut self.request.data,
            Kept::OneShot(WatchKind::Exist) => &mut self.request.exist,
            Kept::OneShot(WatchKind::Child) => &mut self.request.child,
            Kept::Stream(AddWatchMode::Persistent) => &mut self.request.persistent,
            Kept::Stream(AddWatchMode::PersistentRecursive) => {
                &mut self.request.persistent_recursive
            }
        };
        let path = Utf8Bytes::from(path);
        self.bytes += path.encoded_len();
        list.push(path);
    }

    /// Writes it, in the older form that every server knows if that will do; says how many frames it took.
    fn put(self, out: &mut BytesMut) -> usize {
        if self.bytes == 0 {
            return 0;
        }
        let header = |op: OpCode| RequestHeader {
            xid: Xid::SET_WATCHES,
            op: op.code(),
        };
        let SetWatches2Request {
            relative_zxid,
            data,
            exist,
            child,
            ..
        } = &self.request;
        if self.request.persistent.is_empty() && self.request.persistent_recursive.is_empty() {
            let (data, exist, child) = (data.clone(), exist.clone(), child.clone());
            let request = SetWatchesRequest {
                relative_zxid: *relative_zxid,
                data,
                exist,
                child,
            };
            put_frame(out, &[&header(OpCode::SetWatches), &request]);
        } else {
            put_frame(out, &[&header(OpCode::SetWatches2), &self.request]);
        }
        1
    }
}

pub(crate) fn event_of(event_type: EventType, path: &str, zxid: Zxid) -> WatchEvent {
    let change = NodeChange {
        path: path.to_owned(),
        zxid: (zxid.0 > 0).then_some(zxid),
    };
    match event_type {
        EventType::NodeCreated => WatchEvent::Created(change),
        EventType::NodeDeleted => WatchEvent::Deleted(change),
        EventType::NodeChildrenChanged => WatchEvent::ChildrenChanged(change),
        _ => WatchEvent::DataChanged(change),
    }
}

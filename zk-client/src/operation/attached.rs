//! What comes with a request besides its answer: watches and claims, which undo themselves when dropped.

use std::sync::Arc;

use futures::channel::oneshot;
use zk_proto::watch::AddWatchMode;

use super::{Call, ClientParts, Wants};
use crate::{
    core::{Kind, Leaves, StreamRequest, WatchRequest},
    driver::Shared,
    evidence::EvidenceHold,
    watcher::{EventQueue, Watch, WatchChange, WatchEvent},
};

/// What comes with a submitted request and undoes itself when nobody wants it any more.
///
/// Small where it is nothing, as it is with most requests.
#[derive(Debug)]
pub enum Attached {
    /// Nothing.
    Nothing,
    /// A one-shot watch.
    Watch(Box<WatchChange>),
    /// A persistent watch.
    Stream(Box<Watch>),
    /// A claim on heartbeats, there to be dropped.
    Hold(#[allow(dead_code, reason = "kept for its drop")] EvidenceHold),
}

/// The command's kind, and what to attach to it once it is queued.
#[inline]
pub(super) fn prepare<C: Call>(parts: &ClientParts, call: &C) -> (Kind, Raw) {
    let path = || match call.is_absolute() {
        true => call.path().to_owned(),
        false => parts.shared.chroot.join(call.path()),
    };
    let op = call.op();
    match call.wants() {
        Wants::Answer => (Kind::Request(op, None), Raw::Nothing),
        Wants::Heartbeats => (Kind::Evidence, Raw::Hold),
        Wants::Watch => {
            let (watcher, events) = oneshot::channel();
            let request = WatchRequest {
                path: path(),
                watcher,
            };
            let raw = Raw::Watch(request.path.clone(), events);
            let leaves = Box::new(Leaves::Watch(request));
            (Kind::Request(op, Some(leaves)), raw)
        }
        Wants::Stream(mode) => {
            let queue = Arc::new(EventQueue::default());
            let raw = Raw::Stream(path(), mode, Arc::clone(&queue));
            let request = StreamRequest {
                path: path(),
                mode,
                queue,
            };
            let leaves = Box::new(Leaves::Stream(request));
            (Kind::Request(op, Some(leaves)), raw)
        }
    }
}

/// What will be attached to a request: nothing yet that tells the driver when it is dropped.
pub(super) enum Raw {
    Nothing,
    Hold,
    Watch(String, oneshot::Receiver<WatchEvent>),
    Stream(String, AddWatchMode, Arc<EventQueue>),
}

impl Raw {
    #[inline]
    pub(super) fn attach(self, shared: &Arc<Shared>) -> Attached {
        let shared = || Arc::clone(shared);
        match self {
            Self::Nothing => Attached::Nothing,
            Self::Hold => Attached::Hold(EvidenceHold::new(shared())),
            Self::Watch(path, events) => {
                Attached::Watch(Box::new(WatchChange::new(shared(), path, events)))
            }
            Self::Stream(path, mode, queue) => {
                Attached::Stream(Box::new(Watch::new(shared(), path, mode, queue)))
            }
        }
    }
}

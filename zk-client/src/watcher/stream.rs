//! A persistent watch: every change of a node, or of a whole subtree, until it is dropped.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use futures::Stream;
use zk_proto::{Encode, ErrorCode, OpCode, op::Response, watch::AddWatchMode};

use super::{EventQueue, WatchEvent};
use crate::{
    core::{Command, Kind, Reply, chroot::validate},
    driver::Shared,
    error::Failure,
    operation::{
        Attached, Call, Finish, Operation, Surroundings, Wants, sealed::Sealed, wrong_form,
    },
};

/// Add a persistent watch: [`Client::watch`](crate::Client::watch).
#[derive(Debug, Clone)]
pub struct AddWatch<'p> {
    pub(crate) path: &'p str,
    pub(crate) mode: AddWatchMode,
}

impl Operation<'_, AddWatch<'_>> {
    /// Watches everything below the node, too. Changes come as created, deleted and data changed, never as
    /// children changed.
    pub fn recursive(mut self) -> Self {
        self.call.mode = AddWatchMode::PersistentRecursive;
        self
    }
}

impl Sealed for AddWatch<'_> {}

impl Call for AddWatch<'_> {
    type Output = Watch;

    fn op(&self) -> OpCode {
        OpCode::AddWatch
    }

    fn path(&self) -> &str {
        self.path
    }

    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        validate(self.path)?;
        surroundings.chroot.put(self.path, out);
        self.mode.encode(out);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::Stream(self.mode)
    }

    fn finish(reply: Reply, context: Finish<'_>) -> Result<Watch, Failure> {
        match (reply.body()?, context.attached) {
            (Response::Error(answer), Attached::Stream(watch)) if answer.err == 0 => Ok(*watch),
            (Response::Error(answer), _) => Err(Failure::answered(ErrorCode::from_i32(answer.err))),
            (other, _) => wrong_form(other),
        }
    }
}

/// The changes of a node, as a [`Stream`] that ends with the session.
///
/// While there is no connection nothing is told and nothing made up for later: between
/// [`SessionDisconnected`](WatchEvent::SessionDisconnected) and
/// [`SessionReconnected`](WatchEvent::SessionReconnected) changes are missed, and a reader that mirrors the
/// nodes reads them again then. The last event is [`SessionEnded`](WatchEvent::SessionEnded).
///
/// Dropping it removes the watch, on the server too when it was the last of its kind on the path (servers from
/// 3.9 on; older ones keep sending events that nobody is told).
#[must_use = "the watch is removed when this is dropped"]
pub struct Watch {
    shared: Arc<Shared>,
    path: String,
    mode: AddWatchMode,
    queue: Arc<EventQueue>,
}

impl Watch {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        path: String,
        mode: AddWatchMode,
        queue: Arc<EventQueue>,
    ) -> Self {
        Self {
            shared,
            path,
            mode,
            queue,
        }
    }

    /// The next event; `None` after the end of the session.
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = WatchEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let next = self.queue.poll_next(cx);
        next.map(|event| event.map(|event| event.below(&self.shared.chroot)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.queue.abandon();
        let path = std::mem::take(&mut self.path);
        // A closed client has no watches to remove.
        let _ = self
            .shared
            .inbox
            .push(Command::new(Kind::RemoveStreams(path, self.mode)));
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("path", &self.shared.chroot.strip(&self.path))
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

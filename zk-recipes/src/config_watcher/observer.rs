//! One observer of a configuration: the last good value, and a stream of its changes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};
use zk_client::{ErrorKind, Zxid};

use super::{
    ConfigChange,
    state::{Known, Problem, Told},
};
use crate::{
    connection::{Setback, setback},
    error::{Error, Result},
};

/// How long a writer waits to be told of what overtook it, before it looks again.
const UNWATCHED: Duration = Duration::from_millis(500);

/// What is watched, as a stream of what its observer is told, and by its path in a log.
macro_rules! observed {
    ($($watched:ident)*) => {$(
        impl<T: Send + Sync + 'static> ::futures::Stream for $watched<T> {
            type Item = $crate::Result<$crate::ConfigChange<T>>;

            fn poll_next(
                mut self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Option<Self::Item>> {
                self.observer.poll_next(cx)
            }
        }

        impl<T> ::std::fmt::Debug for $watched<T> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($watched))
                    .field("path", &self.codec.path)
                    .finish_non_exhaustive()
            }
        }
    )*};
}
pub(super) use observed;

/// What one observer knows, and has been told.
pub(super) struct Observer<T> {
    pub(super) known: watch::Receiver<Known<T>>,
    told: Told,
    /// The value that was current at the start; only for the case that none is known, which is never.
    first: Arc<T>,
    /// The wait for the next change, when polled as a stream. (Behind a lock that nobody contends for, so that an observer can
    /// be shared.)
    waiting: Mutex<Option<BoxFuture<'static, Next<T>>>>,
    ended: bool,
    /// What its user has seen; what is written, is written over that.
    pub(super) basis: Basis,
}

/// The write that the user of one observer knows of: the last one before the value that it was given, or before it was told that
/// there is none. The task may have read more since then.
///
/// Shared by an observer and its writes, and by no other observer.
#[derive(Debug, Default)]
pub(super) struct Basis(Arc<Mutex<Option<Zxid>>>);

impl Basis {
    pub(super) fn get(&self) -> Option<Zxid> {
        *self.0.lock()
    }

    fn set(&self, written: Option<Zxid>) {
        *self.0.lock() = written;
    }

    /// The user knows of its own write now, unless it was given something else meanwhile.
    pub(super) fn advance(&self, from: Option<Zxid>, written: Zxid) {
        let mut known = self.0.lock();
        if *known == from {
            *known = Some(written);
        }
    }

    /// The same one, for a write.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Observer<T> {
    /// Waits for the first value; with `waits` as long as that takes, else it fails where there is none.
    pub(super) async fn start(
        mut known: watch::Receiver<Known<T>>,
        waits: bool,
        path: &Arc<str>,
    ) -> Result<Self> {
        let ready = |known: &Known<T>| {
            !known.is_stale() && (known.value().is_some() || !waits) || known.ended().is_some()
        };
        let closed = |_| Error::SessionGone {
            reason: ErrorKind::Closed,
        };
        let first = known.wait_for(ready).await.map_err(closed)?;
        if let Some(error) = first.ended() {
            return Err(error.clone());
        }
        match (first.value(), first.problem()) {
            (Some(value), _) => {
                let (told, value) = (first.told(), Arc::clone(value));
                let basis = Basis::default();
                basis.set(first.written());
                drop(first);
                Ok(Self {
                    known,
                    told,
                    first: value,
                    waiting: Mutex::new(None),
                    ended: false,
                    basis,
                })
            }
            (None, Some(Problem::Bad(bad))) => Err(Error::BadContent(bad.clone())),
            (None, _) => Err(Error::NoConfig {
                path: Arc::clone(path),
            }),
        }
    }

    /// The last good value.
    pub(super) fn current(&self) -> Arc<T> {
        let known = self.known.borrow();
        self.basis.set(known.written());
        known.value().unwrap_or(&self.first).clone()
    }

    /// Waits for the next thing to be told. Cancel safe.
    pub(super) async fn changed(&mut self) -> Result<ConfigChange<T>> {
        loop {
            if let Some(told) = self.next_told() {
                return told;
            }
            if self.known.changed().await.is_err() {
                return Err(self.task_gone());
            }
        }
    }

    /// Returns when what a transaction wrote was read, or something newer, or there is nothing left to be read: `look` finds that
    /// it was deleted again, or is not allowed.
    pub(super) async fn read_up_to<S, L>(&self, written: Zxid, look: impl Fn() -> L) -> Result<()>
    where
        L: Future<Output = zk_client::Result<Option<S>>>,
    {
        let mut known = self.known.clone();
        loop {
            let in_vain = {
                let known = known.borrow_and_update();
                match known.ended() {
                    _ if known.newest() >= written => return Ok(()),
                    Some(error) => return Err(error.clone()),
                    None => known.is_missing() || known.is_stale(),
                }
            };
            let is_gone = in_vain
                && match look().await {
                    Ok(found) => found.is_none(),
                    Err(error) => setback(&error) == Setback::Refused,
                };
            // Without its task nothing is read any more, but the value is written.
            if is_gone || known.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// The newest thing this observer has not been told.
    fn next_told(&mut self) -> Option<Result<ConfigChange<T>>> {
        let known = self.known.borrow_and_update();
        let change = known.next(&mut self.told).map(Ok);
        if change.is_some() {
            self.basis.set(known.written());
        }
        change.or_else(|| known.ended().map(|error| Err(error.clone())))
    }

    /// What is known, to be asked for what follows the present state.
    pub(super) fn asked(&self) -> watch::Receiver<Known<T>> {
        let mut known = self.known.clone();
        known.mark_unchanged();
        known
    }

    /// Somebody else was faster than a write: waits until that is read, or was since `known` was asked for. Not for ever: not
    /// everything that a write compares with is watched.
    pub(super) async fn overtaken(&self, known: &mut watch::Receiver<Known<T>>) -> Result<()> {
        let Ok(changed) = timeout(UNWATCHED, known.changed()).await else {
            return Ok(());
        };
        changed.map_err(|_| self.task_gone())?;
        let ended = known.borrow().ended().cloned();
        ended.map_or(Ok(()), Err)
    }

    /// The task is gone: with its runtime, or after an error that it left.
    fn task_gone(&self) -> Error {
        let error = self.known.borrow().ended().cloned();
        error.unwrap_or(Error::SessionGone {
            reason: ErrorKind::Closed,
        })
    }

    /// The same as a stream, which ends after an error.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ConfigChange<T>>>> {
        while !self.ended {
            if let Some(told) = self.next_told() {
                *self.waiting.get_mut() = None;
                self.ended = told.is_err();
                return Poll::Ready(Some(told));
            }
            let waiting = (self.waiting.get_mut())
                .get_or_insert_with(|| Box::pin(next_state(self.known.clone())));
            let next = ready!(Pin::as_mut(waiting).poll(cx));
            *self.waiting.get_mut() = None;
            self.known = next.known;
            if next.is_last {
                let told = self.next_told();
                self.ended = told.is_none();
                return Poll::Ready(Some(told.unwrap_or_else(|| Err(self.task_gone()))));
            }
        }
        Poll::Ready(None)
    }
}

/// What a wait for the next change ends with.
struct Next<T> {
    known: watch::Receiver<Known<T>>,
    /// The sender is gone: nothing follows.
    is_last: bool,
}

/// The receiver once there is something it has not seen, or its sender is gone.
async fn next_state<T>(mut known: watch::Receiver<Known<T>>) -> Next<T> {
    let is_last = known.changed().await.is_err();
    known.mark_changed();
    Next { known, is_last }
}

impl<T> Clone for Observer<T> {
    fn clone(&self) -> Self {
        Self {
            known: self.known.clone(),
            told: self.told,
            first: Arc::clone(&self.first),
            waiting: Mutex::new(None),
            ended: self.ended,
            basis: self.basis.clone(),
        }
    }
}

impl Clone for Basis {
    /// Another observer's, which begins with what this one's user has seen.
    fn clone(&self) -> Self {
        Self(Arc::new(Mutex::new(self.get())))
    }
}

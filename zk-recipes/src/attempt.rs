//! An operation of a recipe as a future: begun at the first poll, carried out by a task of the client's runtime.
//!
//! Whoever awaits holds one end of a channel. When that is dropped the task notices and undoes what has to be undone, so
//! nothing has to be spawned in a `Drop`, and dropping works outside a runtime.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle, time::Sleep};
use tracing::{Instrument, Span};
use zk_client::{Client, ErrorKind};

use crate::error::{Error, Result};

/// Where the task leaves its result; closed when nobody waits any more.
pub(crate) type Answer<T> = oneshot::Sender<Result<T>>;

/// Starts the task; the future of what it answers.
type Start<T> = Box<dyn FnOnce(&Handle, Span) -> BoxFuture<'static, Result<T>> + Send>;

/// An operation of a recipe: a future of its result.
///
/// Nothing happens until it is first polled. What happens then happens on the client's runtime, so it can be polled
/// anywhere. `'static`, so it can be spawned. A panic of what it was given to call goes on in whoever awaits.
///
/// # Cancel safety
///
/// Dropping it at any time, in or outside a runtime, leaves no ephemeral node behind on a session that lives on. What else
/// it means is said at the method that made it.
#[must_use = "nothing happens until it is awaited"]
pub struct Attempt<T> {
    client: Client,
    path: Arc<str>,
    timeout: Option<Duration>,
    span: Span,
    stage: Stage<T>,
}

enum Stage<T> {
    New(Start<T>),
    Running {
        answer: BoxFuture<'static, Result<T>>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Done,
}

impl<T: Send + 'static> Attempt<T> {
    /// An operation whose task sees to everything by itself: to the answer, and to its end when nobody waits any more.
    ///
    /// An answer that nobody took is dropped, wherever it is by then.
    pub(crate) fn new<F>(
        place: (&Client, &Arc<str>, Span),
        start: impl FnOnce(Answer<T>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::taking(place, start, |answer| answer)
    }

    /// The same where `take` makes the result of the answer, at the moment when whoever waits is given it.
    pub(crate) fn taking<A, F>(
        (client, path, span): (&Client, &Arc<str>, Span),
        start: impl FnOnce(Answer<A>) -> F + Send + 'static,
        take: impl FnOnce(A) -> T + Send + 'static,
    ) -> Self
    where
        A: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let start = move |runtime: &Handle, span: Span| {
            let (sender, answer) = oneshot::channel();
            // The client's runtime and not the caller's: it lives as long as the session can.
            let task = runtime.spawn(start(sender).instrument(span));
            let taken = async move {
                match answer.await {
                    Ok(answer) => answer.map(take),
                    Err(_) => Err(end_of(task).await),
                }
            };
            taken.boxed()
        };
        Self {
            client: client.clone(),
            path: Arc::clone(path),
            timeout: None,
            span,
            stage: Stage::New(Box::new(start)),
        }
    }

    /// An operation that may just be dropped half way.
    pub(crate) fn plain(
        place: (&Client, &Arc<str>, Span),
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self::begun(place, || work)
    }

    /// The same where something is done at the first poll, whatever becomes of the rest.
    pub(crate) fn begun<F>(
        place: (&Client, &Arc<str>, Span),
        begin: impl FnOnce() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        Self::new(place, |mut answer| {
            let work = begin();
            async move {
                let result = tokio::select! {
                    biased;
                    () = answer.closed() => return,
                    result = work => result,
                };
                // Whoever waited may be gone by now.
                let _ = answer.send(result);
            }
        })
    }

    /// Gives up after this long, counted from the first poll, with [`Error::Timeout`].
    ///
    /// That is as if it had been dropped then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn start(&self, start: Start<T>) -> Stage<T> {
        let runtime = self.client.runtime();
        let answer = start(runtime, self.span.clone());
        let _context = runtime.enter();
        let timer = self
            .timeout
            .map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Stage::Running { answer, timer }
    }

    fn out_of_time(&self) -> Error {
        Error::Timeout {
            path: Arc::clone(&self.path),
            waited: self.timeout.unwrap_or_default(),
        }
    }
}

impl<T: Send + 'static> Future for Attempt<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = &mut *self;
        if let Stage::New(_) = this.stage
            && let Stage::New(start) = std::mem::replace(&mut this.stage, Stage::Done)
        {
            this.stage = this.start(start);
        }
        let Stage::Running { answer, timer } = &mut this.stage else {
            return Poll::Pending;
        };
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            this.stage = Stage::Done;
            return Poll::Ready(answer);
        }
        let Some(timer) = timer else {
            return Poll::Pending;
        };
        ready!(timer.as_mut().poll(cx));
        this.stage = Stage::Done;
        Poll::Ready(Err(this.out_of_time()))
    }
}

/// Why a task ended without an answer: the client's runtime is gone, or the task panicked, and then so does who waits.
async fn end_of(task: JoinHandle<()>) -> Error {
    match task.await {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Error::SessionGone {
            reason: ErrorKind::Closed,
        },
    }
}

impl<T> fmt::Debug for Attempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

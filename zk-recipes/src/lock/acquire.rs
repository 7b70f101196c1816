//! What to acquire and how, and the wait for it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{sync::oneshot, time::Sleep};
use tracing::Instrument;
use zk_client::Client;

use super::{LockContender, LockGuard, LockLayout, contender::Contender, holder};
use crate::error::{Error, Result};

/// How long a contender waits before it says who holds the lock, and again after each doubling.
const WARN_AFTER: Duration = Duration::from_secs(30);

/// How a contender contends.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) layout: LockLayout,
    pub(super) identity: Option<String>,
    pub(super) warn_after: Option<Duration>,
}

/// The wait for a lock: a future of its [`LockGuard`].
///
/// Nothing happens until it is first polled. What happens then happens on the client's runtime, so it can be polled
/// anywhere. `'static`, so it can be spawned.
///
/// # Cancel safety
///
/// Dropping it at any time, in or outside a runtime, leaves no node behind on a session that lives on: what was begun is
/// undone in the background.
#[must_use = "nothing is acquired until it is awaited"]
pub struct Acquire {
    attempt: Attempt,
}

/// A single try for a lock: a future of its [`LockGuard`], or of `None` where somebody else holds or waits for it.
///
/// Cancel safe as [`Acquire`].
#[must_use = "nothing is acquired until it is awaited"]
pub struct TryAcquire {
    attempt: Attempt,
}

struct Attempt {
    client: Option<Client>,
    path: Arc<str>,
    options: Options,
    waits: bool,
    timeout: Option<Duration>,
    stage: Stage,
}

enum Stage {
    New,
    Running {
        answer: oneshot::Receiver<Result<Option<LockGuard>>>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Done,
}

impl Acquire {
    pub(super) fn new(client: Option<Client>, path: &str) -> Self {
        let options = Options {
            layout: LockLayout::default(),
            identity: None,
            warn_after: Some(WARN_AFTER),
        };
        let (path, waits, timeout, stage) = (path.into(), true, None, Stage::New);
        Self {
            attempt: Attempt {
                client,
                path,
                options,
                waits,
                timeout,
                stage,
            },
        }
    }

    /// Gives up after this long, counted from the first poll.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.attempt.timeout = Some(timeout);
        self
    }

    /// Whose names to use; everybody who uses the lock must use the same.
    pub fn layout(mut self, layout: LockLayout) -> Self {
        self.attempt.options.layout = layout;
        self
    }

    /// What to tell others who ask who holds the lock; the client's identity unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.attempt.options.identity = Some(identity.into());
        self
    }

    /// After how long a wait to warn (through `tracing`) who is holding the lock, and again after each doubling; 30 s unless
    /// told.
    pub fn warn_after(mut self, wait: Duration) -> Self {
        self.attempt.options.warn_after = Some(wait);
        self
    }

    /// Never warns about a long wait.
    pub fn without_warning(mut self) -> Self {
        self.attempt.options.warn_after = None;
        self
    }

    /// Takes the lock only if nobody holds it or waits for it.
    pub fn try_acquire(mut self) -> TryAcquire {
        self.attempt.waits = false;
        TryAcquire {
            attempt: self.attempt,
        }
    }

    /// Lists who holds the lock and who waits for it, in the order of the queue.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentClient`] without a client, and what the client reports.
    pub async fn contenders(self) -> Result<Vec<LockContender>> {
        let Attempt {
            client,
            path,
            options,
            ..
        } = self.attempt;
        let client = client.ok_or(Error::NoCurrentClient)?;
        holder::contenders(&client, &path, options.layout).await
    }
}

impl Attempt {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<LockGuard>>> {
        if let Stage::New = self.stage {
            self.stage = self.start()?;
        }
        let Stage::Running { answer, timer } = &mut self.stage else {
            return Poll::Ready(Err(self.out_of_time()));
        };
        if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
            self.stage = Stage::Done;
            return Poll::Ready(answer.map_or_else(|_| Err(closed()), checked));
        }
        let Some(timer) = timer else {
            return Poll::Pending;
        };
        ready!(timer.as_mut().poll(cx));
        self.stage = Stage::Done;
        Poll::Ready(Err(self.out_of_time()))
    }

    fn start(&mut self) -> Result<Stage> {
        let client = self.client.take().ok_or(Error::NoCurrentClient)?;
        let (sender, answer) = oneshot::channel();
        let (path, options, waits) = (Arc::clone(&self.path), self.options.clone(), self.waits);
        // The client's runtime and not the caller's: it lives as long as the session can.
        let runtime = client.runtime().clone();
        let contender = Contender {
            client,
            path,
            options,
            waits,
        };
        let span = tracing::debug_span!("lock", path = %self.path);
        runtime.spawn(contender.run(sender).instrument(span));
        let _context = runtime.enter();
        let timer = self
            .timeout
            .map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Ok(Stage::Running { answer, timer })
    }

    fn out_of_time(&self) -> Error {
        let waited = self.timeout.unwrap_or_default();
        Error::Timeout {
            path: Arc::clone(&self.path),
            waited,
        }
    }
}

/// A guard whose lock was lost before it could be handed over is none.
fn checked(answer: Result<Option<LockGuard>>) -> Result<Option<LockGuard>> {
    let guard = answer?;
    if let Some(guard) = &guard {
        guard.ensure()?;
    }
    Ok(guard)
}

/// The client's runtime is gone, and with it the contender's task.
const fn closed() -> Error {
    Error::SessionGone {
        reason: zk_client::ErrorKind::Closed,
    }
}

impl Future for Acquire {
    type Output = Result<LockGuard>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<LockGuard>> {
        let answer = ready!(self.attempt.poll(cx))?;
        // Who waits is never sent away.
        Poll::Ready(answer.ok_or_else(|| self.attempt.out_of_time()))
    }
}

impl Future for TryAcquire {
    type Output = Result<Option<LockGuard>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<LockGuard>>> {
        self.attempt.poll(cx)
    }
}

impl TryAcquire {
    /// Gives up after this long, counted from the first poll: without a connection even a try takes its time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.attempt.timeout = Some(timeout);
        self
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("path", &self.attempt.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TryAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryAcquire")
            .field("path", &self.attempt.path)
            .finish_non_exhaustive()
    }
}

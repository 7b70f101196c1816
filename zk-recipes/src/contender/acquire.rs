//! What to acquire and how, and the wait for it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::Sleep,
};
use tracing::Instrument;
use zk_client::Client;

use super::{Guard, Heartbeat, Kind, LockContender, LockLayout, Mutual, Naming, Queued, who};
use crate::error::{Error, Result};

/// How long a contender waits before it says who holds what it waits for, and again after each doubling.
const WARN_AFTER: Duration = Duration::from_secs(30);

/// How a contender contends.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) layout: LockLayout,
    pub(crate) identity: Option<String>,
    pub(crate) warn_after: Option<Duration>,
    pub(crate) heartbeat: Heartbeat,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            layout: LockLayout::default(),
            identity: None,
            warn_after: Some(WARN_AFTER),
            heartbeat: Heartbeat::default(),
        }
    }
}

/// What whoever waits is sent: the guard, or `None` where it was not to be waited for.
pub(crate) type Answer<K> = oneshot::Sender<Result<Option<Guard<K>>>>;

/// What one contender wants.
#[derive(Debug)]
pub(crate) struct Wanted<K: Kind> {
    pub(crate) client: Client,
    pub(crate) path: Arc<str>,
    pub(crate) options: Options,
    /// Whether to stand in the queue, or to leave when somebody is before.
    pub(crate) waits: bool,
    /// Told when there is a place in the queue, by kinds that queue.
    pub(crate) queued: Option<watch::Sender<bool>>,
    pub(crate) wish: K::Wish,
}

/// The wait for a lock, a lease or a leadership: a future of its [`Guard`].
///
/// Nothing happens until it is first polled. What happens then happens on the client's runtime, so it can be polled
/// anywhere. `'static`, so it can be spawned.
///
/// # Cancel safety
///
/// Dropping it at any time, in or outside a runtime, leaves no node behind on a session that lives on: what was begun is
/// undone in the background.
#[must_use = "nothing is acquired until it is awaited"]
pub struct Acquire<K: Kind = Mutual> {
    attempt: Attempt<K>,
}

/// A single try: a future of the [`Guard`], or of `None` where somebody else holds it or waits for it.
///
/// Of a [semaphore](crate::semaphore) also where somebody else is just acquiring a lease.
///
/// Cancel safe as [`Acquire`].
#[must_use = "nothing is acquired until it is awaited"]
pub struct TryAcquire<K: Kind = Mutual> {
    attempt: Attempt<K>,
}

struct Attempt<K: Kind> {
    client: Option<Client>,
    path: Arc<str>,
    options: Options,
    wish: K::Wish,
    waits: bool,
    queued: Option<watch::Sender<bool>>,
    timeout: Option<Duration>,
    stage: Stage<K>,
}

enum Stage<K: Kind> {
    New,
    Running {
        answer: oneshot::Receiver<Result<Option<Guard<K>>>>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Done,
}

// No part of it is pinned in place.
impl<K: Kind> Unpin for Attempt<K> {}

impl<K: Kind> Acquire<K> {
    pub(crate) fn new(client: Option<Client>, path: &str) -> Self {
        Self {
            attempt: Attempt {
                client,
                path: path.into(),
                options: Options::default(),
                wish: K::Wish::default(),
                waits: true,
                queued: None,
                timeout: None,
                stage: Stage::New,
            },
        }
    }

    /// The same with other options.
    pub(crate) fn with_options(mut self, options: Options) -> Self {
        self.attempt.options = options;
        self
    }

    /// The same, that also tells when it has a place in the queue.
    pub(crate) fn telling(mut self, queued: watch::Sender<bool>) -> Self {
        self.attempt.queued = Some(queued);
        self
    }

    /// What is to be said about this kind besides the path.
    pub(crate) const fn wish(&mut self) -> &mut K::Wish {
        &mut self.attempt.wish
    }

    /// The client, the path and the options.
    pub(crate) fn parts(&self) -> Result<(&Client, &Arc<str>, &Options)> {
        let client = self.attempt.client.as_ref().ok_or(Error::NoCurrentClient)?;
        Ok((client, &self.attempt.path, &self.attempt.options))
    }

    /// Gives up after this long, counted from the first poll.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.attempt.timeout = Some(timeout);
        self
    }

    /// Whose names to use; everybody who uses the same path must use the same.
    ///
    /// An [`unfair lock`](crate::unfair_lock) has no names, and does not look at this.
    pub fn layout(mut self, layout: LockLayout) -> Self {
        self.attempt.options.layout = layout;
        self
    }

    /// What to tell others who ask who holds it; the client's identity unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.attempt.options.identity = Some(identity.into());
        self
    }

    /// What is to prove that it still is held; [`Heartbeat::Sync`] unless told.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.attempt.options.heartbeat = heartbeat;
        self
    }

    /// After how long a wait to warn (through `tracing`) who holds what is waited for, and again after each doubling; 30 s
    /// unless told.
    pub fn warn_after(mut self, wait: Duration) -> Self {
        self.attempt.options.warn_after = Some(wait);
        self
    }

    /// Never warns about a long wait.
    pub fn without_warning(mut self) -> Self {
        self.attempt.options.warn_after = None;
        self
    }

    /// Takes it only if that needs no waiting for others.
    ///
    /// A try at a [semaphore](crate::semaphore) needs its mutex as well, and may be told `None` although there is room.
    pub fn try_acquire(mut self) -> TryAcquire<K> {
        self.attempt.waits = false;
        TryAcquire {
            attempt: self.attempt,
        }
    }
}

impl<K: Queued> Acquire<K> {
    /// Lists who holds it and who waits for it, in the order of the queue.
    ///
    /// # Errors
    ///
    /// [`Error::NoCurrentClient`] without a client, and what the client reports.
    pub async fn contenders(self) -> Result<Vec<LockContender>> {
        let (client, path, options) = self.parts()?;
        who::contenders(client, path, Naming::new(K::ROLE, options.layout)).await
    }
}

impl<K: Kind> Attempt<K> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Guard<K>>>> {
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

    fn start(&mut self) -> Result<Stage<K>> {
        let client = self.client.take().ok_or(Error::NoCurrentClient)?;
        let (sender, answer) = oneshot::channel();
        // The client's runtime and not the caller's: it lives as long as the session can.
        let runtime = client.runtime().clone();
        let wanted = Wanted {
            client,
            path: Arc::clone(&self.path),
            options: self.options.clone(),
            waits: self.waits,
            queued: self.queued.take(),
            wish: self.wish.clone(),
        };
        let span = tracing::debug_span!("lock", path = %self.path);
        runtime.spawn(K::contend(wanted, sender).instrument(span));
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

/// A guard that was lost before it could be handed over is none.
fn checked<K: Kind>(answer: Result<Option<Guard<K>>>) -> Result<Option<Guard<K>>> {
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

impl<K: Kind> Future for Acquire<K> {
    type Output = Result<Guard<K>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Guard<K>>> {
        let answer = ready!(self.attempt.poll(cx))?;
        // Who waits is never sent away.
        Poll::Ready(answer.ok_or_else(|| self.attempt.out_of_time()))
    }
}

impl<K: Kind> Future for TryAcquire<K> {
    type Output = Result<Option<Guard<K>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<Guard<K>>>> {
        self.attempt.poll(cx)
    }
}

impl<K: Kind> TryAcquire<K> {
    /// Gives up after this long, counted from the first poll: without a connection even a try takes its time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.attempt.timeout = Some(timeout);
        self
    }
}

impl<K: Kind> fmt::Debug for Acquire<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("path", &self.attempt.path)
            .finish_non_exhaustive()
    }
}

impl<K: Kind> fmt::Debug for TryAcquire<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryAcquire")
            .field("path", &self.attempt.path)
            .finish_non_exhaustive()
    }
}

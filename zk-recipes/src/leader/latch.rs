//! The latch: takes part in an election until it is closed, and always says who is leading, it or somebody else.
//!
//! One task contends, holds, and contends again after a loss. All state is in that task; what it shows is the last state.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::Instrument;
use zk_client::Client;

use super::{
    LeaderClaim, LeaderGuard, Leadership,
    decision::{Next, Told, next},
};
use crate::{
    attempt::Attempt,
    connection::{Patience, Setback, end_of, is_bound, setback, within},
    contender::{Contender, Naming, Options, Role, Wanted, contenders, serve},
    error::{Error, Result},
    lock::{Heartbeat, LockContender, LockLayout},
};

/// How to take part in an election.
#[derive(Debug, Clone)]
#[must_use = "nobody takes part until it is started"]
pub struct LatchBuilder {
    pub(super) client: Client,
    pub(super) path: Arc<str>,
    pub(super) options: Options,
    timeout: Option<Duration>,
}

/// What a latch knows of its own leadership.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LatchState {
    /// In the queue, or on the way there: somebody else leads, or nobody.
    Waiting,
    /// Leads, with this claim. Ask the claim's [`ensure`](crate::lock::Claim::ensure) before every side effect.
    Leader(LeaderClaim),
    /// The latch was closed.
    Closed,
    /// The latch cannot take part any more, and does not try again: the client's session is gone for good, or the server
    /// refuses. (A refusal, and another recipe's contender in the directory, is that only before the latch has its first place
    /// in the queue; later it may pass, as a server that is short of space or a broken ACL does, and it is warned of and
    /// waited out.)
    Failed(Error),
}

/// One participant of an election, until it is closed or dropped.
///
/// Dropping it leaves the election in the background, also outside a runtime; [`close`](Self::close) waits for that.
#[must_use = "dropping the latch leaves the election"]
pub struct LeaderLatch {
    builder: LatchBuilder,
    state: watch::Receiver<LatchState>,
    /// Ends the task when dropped; the task answers when it is done.
    close: oneshot::Sender<oneshot::Sender<Result<()>>>,
}

impl LatchBuilder {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            options: Options::default(),
            timeout: None,
        }
    }

    /// Lets [`start`](Self::start) give up after this long.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whose names to use; everybody who takes part must use the same.
    pub const fn layout(mut self, layout: LockLayout) -> Self {
        self.options.layout = layout;
        self
    }

    /// What is to prove that it still leads; [`Heartbeat::Sync`] unless told.
    pub const fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// What to tell others who ask who takes part; the client's identity unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.options.identity = Some(identity.into());
        self
    }

    /// Lists who takes part, in the order of the queue, the leader first.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. Cancel safe.
    pub fn participants(&self) -> Attempt<Vec<LockContender>> {
        let naming = Naming::new(Role::Leader, self.options.layout);
        let (client, path) = (self.client.clone(), Arc::clone(&self.path));
        self.attempt(async move { contenders(&client, &path, naming).await })
    }

    fn attempt<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("latch", path = %self.path);
        Attempt::plain((&self.client, &self.path, span), work)
    }

    /// Takes part from now on; returns when there is a place in the queue.
    ///
    /// Dropped before that, it leaves nothing behind.
    ///
    /// # Errors
    ///
    /// What the server says against it; [`Error::ForeignContender`] where another recipe is at work in the directory;
    /// [`Error::SessionGone`] when the client has no session for good; [`Error::Timeout`] when a time was given and has passed.
    /// A lost connection is waited for.
    pub async fn start(self) -> Result<LeaderLatch> {
        let (client, path, timeout) = (self.client.clone(), Arc::clone(&self.path), self.timeout);
        within((&client, &path), timeout, self.queue()).await
    }

    async fn queue(mut self) -> Result<LeaderLatch> {
        // That somebody else leads for long is what an election is for.
        self.options.warn_after = None;
        let (state, receiver) = watch::channel(LatchState::Waiting);
        let (close, closed) = oneshot::channel();
        let (queued, mut told) = watch::channel(false);
        let task = Task {
            builder: self.clone(),
            state,
        };
        let span = tracing::debug_span!("latch", path = %self.path);
        let runtime = self.client.runtime().clone();
        runtime.spawn(task.run(queued, closed).instrument(span));
        let latch = LeaderLatch {
            builder: self,
            state: receiver,
            close,
        };
        match told.wait_for(|queued| *queued).await.is_ok() {
            true => Ok(latch),
            false => Err(latch.failure().await),
        }
    }

    /// Contends for one leadership: the task that does, and where it leaves the guard.
    pub(super) fn contend(&self, queued: &watch::Sender<bool>) -> (JoinHandle<()>, Answered) {
        let (sender, answer) = oneshot::channel();
        let serving = serve(self.contender(queued), sender).in_current_span();
        (self.client.runtime().spawn(serving), answer)
    }

    /// The contender of one leadership.
    fn contender(&self, queued: &watch::Sender<bool>) -> Contender {
        let wanted: Wanted<Leadership> = Wanted {
            client: self.client.clone(),
            path: Arc::clone(&self.path),
            options: self.options.clone(),
            waits: true,
            queued: Some(queued.clone()),
            wish: (),
        };
        Contender::new(wanted, Role::Leader)
    }

    /// Waits until the last contender's node is gone, or its session: before that another could queue behind it.
    pub(super) async fn settle(&self, serving: &mut JoinHandle<()>, pause: Option<&mut Patience>) {
        // Only the runtime's end could cancel it.
        let _ = serving.await;
        if let Some(patience) = pause {
            // Without a session the next contender says so.
            let _ = patience.wait(&self.client).await;
        }
    }
}

/// What became of one contender.
#[derive(Debug)]
pub(super) enum Outcome {
    Leads(LeaderGuard),
    /// It was lost in the moment of the grant.
    Lost,
    /// Not now: that may pass.
    Refused,
    /// It will not get better.
    Failed(Error),
}

impl Outcome {
    /// `queued` tells whether there ever was a place in the queue.
    pub(super) fn of(
        client: &Client,
        answered: Result<Result<Option<LeaderGuard>>, oneshot::error::RecvError>,
        queued: bool,
    ) -> Self {
        let told = match &answered {
            Ok(Ok(Some(guard))) => Told::Granted {
                is_certain: guard.ensure().is_ok(),
            },
            Ok(Ok(None)) => Told::Lost,
            Ok(Err(error)) if error.is_lost() => Told::Lost,
            Ok(Err(error)) => Told::Refused {
                may_pass: may_pass(client, error),
            },
            Err(_) => Told::Gone,
        };
        match (next(told, queued), answered) {
            (Next::Lead, Ok(Ok(Some(guard)))) => Self::Leads(guard),
            (Next::Lead | Next::Contend, _) => Self::Lost,
            (Next::Pause, answered) => {
                let error = answered.ok().and_then(Result::err);
                tracing::warn!(?error, "cannot take part in the election now");
                Self::Refused
            }
            (Next::Stop, Ok(Err(error))) => {
                tracing::warn!(%error, "does not take part in the election any more");
                Self::Failed(error)
            }
            // The client's runtime is going down.
            (Next::Stop, _) => Self::Failed(Error::SessionGone {
                reason: zk_client::ErrorKind::Closed,
            }),
        }
    }
}

/// Whether a refusal may pass for somebody who took part before: whoever strays into the directory goes, space is made, an ACL is
/// mended, servers that only grant sessions answer again. An election must not lose its candidates by what lasts for minutes.
fn may_pass(client: &Client, error: &Error) -> bool {
    match error {
        Error::ForeignContender { .. } => true,
        Error::Client(error) if setback(error) == Setback::SessionEnded => {
            let is_over = end_of(client, client.state()).is_some();
            !is_over && !is_bound(error, &client.session())
        }
        Error::Client(_) => true,
        _ => false,
    }
}

impl LeaderLatch {
    /// The election's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.builder.path
    }

    /// Whether this participant certainly leads now. Synchronous and cheap.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leadership().is_some()
    }

    /// The leadership, if this participant certainly has it now: its epoch, and `ensure`, `run`, `lost` and `commit`.
    #[must_use]
    pub fn leadership(&self) -> Option<LeaderClaim> {
        match &*self.state.borrow() {
            LatchState::Leader(claim) if claim.ensure().is_ok() => Some(claim.clone()),
            _ => None,
        }
    }

    /// The present state, and every later one, as long as they are taken fast enough; always the last.
    ///
    /// Ends after [`LatchState::Closed`] or [`LatchState::Failed`].
    pub fn changes(&self) -> LatchChanges {
        LatchChanges::new(self.state.clone())
    }

    /// Waits until this participant leads.
    ///
    /// # Errors
    ///
    /// The future says why it never will: what made the latch fail, or that it was closed. Cancel safe.
    pub fn leads(&self) -> Attempt<LeaderClaim> {
        let mut changes = self.changes();
        self.builder.attempt(async move {
            while let Some(state) = changes.next().await {
                match state {
                    LatchState::Leader(claim) if claim.ensure().is_ok() => return Ok(claim),
                    LatchState::Failed(error) => return Err(error),
                    _ => {}
                }
            }
            Err(Error::SessionGone {
                reason: zk_client::ErrorKind::Closed,
            })
        })
    }

    /// Lists who takes part, in the order of the queue, the leader first.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. Cancel safe.
    pub fn participants(&self) -> Attempt<Vec<LockContender>> {
        self.builder.participants()
    }

    /// Leaves the election, and returns when its node is gone, as far as that can be known.
    ///
    /// Without a connection it waits for one, at most as long as a session can last: then the node is gone, or is as soon as
    /// the server has noticed the end of the session or the connection is back. `Ok` then, too, and after a loss: this
    /// participant certainly leads no more, but its node may stand for a little longer.
    ///
    /// # Errors
    ///
    /// Why the latch had failed before, and what the server says against deleting the node of a leader.
    pub async fn close(self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        if self.close.send(reply).is_err() {
            // The task is over: its last state says why.
            return match &*self.state.borrow() {
                LatchState::Failed(error) => Err(error.clone()),
                _ => Ok(()),
            };
        }
        done.await.unwrap_or(Ok(()))
    }

    /// Why it ended.
    async fn failure(mut self) -> Error {
        let gone = Error::SessionGone {
            reason: zk_client::ErrorKind::Closed,
        };
        let failed = |state: &LatchState| matches!(state, LatchState::Failed(_));
        match self.state.wait_for(failed).await.as_deref() {
            Ok(LatchState::Failed(error)) => error.clone(),
            _ => gone,
        }
    }
}

/// Where a contender's guard is to be waited for; dropping it takes the contender back.
pub(super) type Answered = oneshot::Receiver<Result<Option<LeaderGuard>>>;

/// The task behind a latch.
struct Task {
    builder: LatchBuilder,
    state: watch::Sender<LatchState>,
}

type CloseRequests = oneshot::Receiver<oneshot::Sender<Result<()>>>;

impl Task {
    async fn run(self, queued: watch::Sender<bool>, mut close: CloseRequests) {
        let mut patience = Patience::new();
        loop {
            let (mut serving, mut answer) = self.builder.contend(&queued);
            let answered = tokio::select! {
                biased;
                request = &mut close => {
                    drop(answer);
                    return self.leave(request.ok(), serving).await;
                }
                answered = &mut answer => answered,
            };
            let mut is_refused = false;
            let was_queued = *queued.borrow();
            match Outcome::of(&self.builder.client, answered, was_queued) {
                Outcome::Leads(guard) => {
                    patience.reset();
                    if let Some(request) = self.lead(guard, &mut close).await {
                        return request;
                    }
                }
                Outcome::Lost => {}
                Outcome::Refused => is_refused = true,
                Outcome::Failed(error) => {
                    self.state.send_replace(LatchState::Failed(error));
                    return;
                }
            }
            let pause = is_refused.then_some(&mut patience);
            tokio::select! {
                biased;
                request = &mut close => return self.leave(request.ok(), serving).await,
                () = self.builder.settle(&mut serving, pause) => {}
            }
        }
    }

    /// The latch was closed while it did not lead.
    async fn leave(&self, to: Option<oneshot::Sender<Result<()>>>, serving: JoinHandle<()>) {
        self.state.send_replace(LatchState::Closed);
        let done = tokio::time::timeout(self.longest(), serving).await;
        tracing::debug!(withdrawn = done.is_ok(), "left the election");
        reply(to, Ok(()));
    }

    /// Leads until that is lost (`None`) or the latch closed.
    async fn lead(&self, guard: LeaderGuard, close: &mut CloseRequests) -> Option<()> {
        tracing::info!(path = %self.builder.path, epoch = %guard.token(), "leads");
        self.state.send_replace(LatchState::Leader(guard.claim()));
        let request = tokio::select! {
            biased;
            request = close => request,
            reason = guard.lost() => {
                tracing::warn!(path = %self.builder.path, %reason, "leads no more; queues again");
                self.state.send_replace(LatchState::Waiting);
                return None;
            }
        };
        self.state.send_replace(LatchState::Closed);
        let released = match guard.release().await {
            Err(error) if error.is_lost() => Ok(()),
            released => released,
        };
        reply(request.ok(), released);
        Some(())
    }

    /// How long a session can last that nobody hears of.
    fn longest(&self) -> Duration {
        self.builder.client.session().timeout()
    }
}

fn reply(to: Option<oneshot::Sender<Result<()>>>, result: Result<()>) {
    if let Some(to) = to {
        // Whoever closed may not wait any more.
        let _ = to.send(result);
    }
}

impl fmt::Debug for LeaderLatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderLatch")
            .field("path", &self.builder.path)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The states of a latch, as a [`Stream`].
///
/// What follows faster than it is taken is left out, but never the last state.
#[must_use = "streams do nothing unless polled"]
pub struct LatchChanges {
    states: BoxStream<'static, LatchState>,
}

impl LatchChanges {
    fn new(state: watch::Receiver<LatchState>) -> Self {
        let next = |(mut state, first): (watch::Receiver<LatchState>, bool)| async move {
            if !first {
                state.changed().await.ok()?;
            }
            let now = state.borrow_and_update().clone();
            Some((now, (state, false)))
        };
        Self {
            states: futures::stream::unfold((state, true), next).boxed(),
        }
    }

    /// The next state; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<LatchState> {
        self.states.next().await
    }
}

impl Stream for LatchChanges {
    type Item = LatchState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LatchState>> {
        self.states.poll_next_unpin(cx)
    }
}

impl fmt::Debug for LatchChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchChanges").finish_non_exhaustive()
    }
}

//! How an operation becomes a request: the one future behind every builder.
//!
//! Invariants: a request is submitted when the builder is first polled, and never again except for a read
//! whose connection broke under it; dropping the future leaves the request to its fate and the session intact.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures::channel::oneshot;
use zk_proto::{ErrorCode, OpCode, op::Response, watch::AddWatchMode};

use crate::{
    client::Client,
    core::{Command, Kind, Leaves, Moment, Reply, StreamRequest, WatchRequest, chroot::Chroot},
    driver::{Shared, Ticket},
    error::{Error, ErrorKind, Failure, Result, changes_something, op_name},
    evidence::EvidenceHold,
    watcher::{EventQueue, Watch, WatchChange, WatchEvent},
};

type Answer = oneshot::Receiver<Result<Reply, Failure>>;

/// An operation of a client, not submitted yet; awaiting it carries it out.
///
/// # Order
/// Operations are sent in the order in which they are submitted, which is when they are first polled, and
/// answered in that order.
///
/// # Cancel safety
/// Dropping the future never harms the session. An operation that was submitted may still be carried out.
#[must_use = "an operation does nothing until it is awaited or submitted"]
pub struct Operation<'c, C: Call> {
    client: &'c Client,
    pub(crate) call: C,
    stage: Stage,
    /// Sent how often.
    attempts: u32,
    /// For what is sent again: the first deadline holds.
    deadline: Option<Moment>,
}

#[derive(Debug)]
enum Stage {
    /// Not submitted; with a place in the queue where there was no room.
    New(Option<Ticket>),
    Submitted(Answer, Attached),
    Done,
}

/// What comes with a submitted request and undoes itself when nobody wants it any more.
#[derive(Debug)]
pub enum Attached {
    /// Nothing.
    Nothing,
    /// A one-shot watch.
    Watch(WatchChange),
    /// A persistent watch.
    Stream(Watch),
    /// A claim on heartbeats, there to be dropped.
    Hold(#[allow(dead_code, reason = "kept for its drop")] EvidenceHold),
}

/// What an operation asks for and how its answer is read; the crate's own, for its builders.
pub trait Call: sealed::Sealed + Unpin {
    /// What the operation results in.
    type Output: 'static;

    #[doc(hidden)]
    fn op(&self) -> OpCode;

    #[doc(hidden)]
    fn path(&self) -> &str;

    #[doc(hidden)]
    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure>;

    #[doc(hidden)]
    fn wants(&self) -> Wants {
        Wants::Answer
    }

    #[doc(hidden)]
    fn finish(reply: Reply, context: Finish<'_>) -> Result<Self::Output, Failure>;
}

/// What an operation wants besides its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Answer,
    /// A one-shot watch.
    Watch,
    /// A persistent watch.
    Stream(AddWatchMode),
    /// Heartbeats.
    Heartbeats,
}

/// What an operation is encoded with.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'s> {
    pub(crate) chroot: &'s Chroot,
    pub(crate) default_acl: &'s [zk_proto::Acl],
    pub(crate) watch: bool,
}

/// What an answer is read with.
#[derive(Debug)]
pub struct Finish<'s> {
    pub(crate) parts: &'s ClientParts,
    pub(crate) attached: Attached,
}

impl Finish<'_> {
    /// The path as the user knows it.
    pub(crate) fn user_path(&self, path: &str) -> String {
        self.parts.shared.chroot.strip(path).to_owned()
    }
}

/// What outlives a client's borrow.
#[derive(Debug, Clone)]
pub struct ClientParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generation: Option<u64>,
}

pub(crate) mod sealed {
    /// Keeps [`Call`](super::Call) the crate's own; its methods are not for users.
    pub trait Sealed {}
}

impl Reply {
    /// The body, or the server's error.
    pub(crate) fn body(self) -> Result<Response, Failure> {
        match self.code {
            ErrorCode::Ok => Ok(self.response),
            code => Err(Failure::answered(code)),
        }
    }
}

/// The answer has another form than its operation's; the session core decodes by operation, so it cannot be.
pub(crate) fn wrong_form<T>(_: Response) -> Result<T, Failure> {
    Err(Failure::answered(ErrorCode::MarshallingError))
}

impl<'c, C: Call> Operation<'c, C> {
    pub(crate) const fn new(client: &'c Client, call: C) -> Self {
        Self {
            client,
            call,
            stage: Stage::New(None),
            attempts: 0,
            deadline: None,
        }
    }

    pub(crate) const fn client(&self) -> &'c Client {
        self.client
    }

    /// The same with another call; only before the first poll, as builders are used.
    pub(crate) fn map<D: Call>(mut self, map: impl FnOnce(C) -> D) -> Operation<'c, D>
    where
        C: Clone,
    {
        self.leave_queue();
        Operation::new(self.client, map(self.call.clone()))
    }

    /// Queues the operation and returns at once, with its answer to be awaited later.
    ///
    /// For pipelines whose order matters: what is submitted first is carried out first. Waits only while the
    /// client has too many unanswered requests.
    ///
    /// # Errors
    /// When it cannot be queued: an invalid path, a request that is too large, a closed client.
    pub async fn submit(mut self) -> Result<Pending<C::Output>> {
        let (answer, attached) = std::future::poll_fn(|cx| self.poll_submit(cx)).await?;
        self.stage = Stage::Done;
        Ok(Pending {
            answer,
            attached,
            parts: self.client.parts().clone(),
            op: op_name(self.call.op()),
            sent: self.call.op(),
            path: self.call.path().to_owned(),
            finish: C::finish,
        })
    }

    fn poll_submit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Answer, Attached)>> {
        let Stage::New(ticket) = &mut self.stage else {
            return Poll::Ready(Err(self.error(Failure::not_applied(ErrorKind::Closed))));
        };
        let (parts, call, deadline) = (self.client.parts(), &self.call, self.deadline);
        let shared = &parts.shared;
        let surroundings = Surroundings {
            chroot: &shared.chroot,
            default_acl: &shared.settings.default_acl,
            watch: false,
        };
        let timeout = || shared.clock.now() + shared.settings.request_timeout;
        let submitted = shared
            .inbox
            .poll_submit(cx, ticket, timeout, |batch, waited| {
                let (slot, answer) = oneshot::channel();
                let (kind, raw) = prepare(parts, call);
                let mut command = Command::new(kind).answering(slot);
                command.generation = parts.generation;
                command.deadline = deadline.or(waited);
                let limit = shared.settings.max_request_len;
                batch.push_request(command, limit, |out| call.encode(&surroundings, out))?;
                // Only now: what is attached tells the driver when it is dropped, through this very inbox.
                Ok((answer, raw.attach(shared)))
            });
        if submitted.is_ready() {
            tracing::trace!(
                op = op_name(self.call.op()),
                path = self.call.path(),
                "submitted"
            );
        }
        submitted.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> Error {
        Error::new(failure, op_name(self.call.op()), Some(self.call.path()))
    }

    /// Counts an attempt; the first one sets the deadline of all.
    fn submitted(&mut self) {
        self.attempts += 1;
        if self.deadline.is_none() && !changes_something(self.call.op()) {
            let shared = &self.client.parts().shared;
            self.deadline = Some(shared.clock.now() + shared.settings.request_timeout);
        }
    }

    /// Whether a failed attempt is repeated: only what changes nothing, and only after a broken connection.
    fn is_repeated(&self, failure: &Failure) -> bool {
        failure.kind == ErrorKind::ConnectionLoss
            && !changes_something(self.call.op())
            && self.attempts < self.client.parts().shared.settings.read_attempts
    }

    fn leave_queue(&mut self) {
        if let Stage::New(Some(ticket)) = self.stage {
            self.client.parts().shared.inbox.leave(ticket);
        }
        self.stage = Stage::Done;
    }
}

/// The command's kind, and what to attach to it once it is queued.
fn prepare<C: Call>(parts: &ClientParts, call: &C) -> (Kind, Raw) {
    let (op, path) = (call.op(), || parts.shared.chroot.join(call.path()));
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
            (Kind::Request(op, Some(Leaves::Watch(request))), raw)
        }
        Wants::Stream(mode) => {
            let queue = Arc::new(EventQueue::default());
            let raw = Raw::Stream(path(), mode, Arc::clone(&queue));
            let request = StreamRequest {
                path: path(),
                mode,
                queue,
            };
            (Kind::Request(op, Some(Leaves::Stream(request))), raw)
        }
    }
}

/// What will be attached to a request: nothing yet that tells the driver when it is dropped.
enum Raw {
    Nothing,
    Hold,
    Watch(String, oneshot::Receiver<WatchEvent>),
    Stream(String, AddWatchMode, Arc<EventQueue>),
}

impl Raw {
    fn attach(self, shared: &Arc<Shared>) -> Attached {
        let shared = || Arc::clone(shared);
        match self {
            Self::Nothing => Attached::Nothing,
            Self::Hold => Attached::Hold(EvidenceHold::new(shared())),
            Self::Watch(path, events) => Attached::Watch(WatchChange::new(shared(), path, events)),
            Self::Stream(path, mode, queue) => {
                Attached::Stream(Watch::new(shared(), path, mode, queue))
            }
        }
    }
}

impl<C: Call> Future for Operation<'_, C> {
    type Output = Result<C::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if matches!(this.stage, Stage::New(_)) {
                let (answer, attached) = ready!(this.poll_submit(cx))?;
                this.submitted();
                this.stage = Stage::Submitted(answer, attached);
            }
            let Stage::Submitted(answer, _) = &mut this.stage else {
                return Poll::Ready(Err(this.error(Failure::not_applied(ErrorKind::Closed))));
            };
            let result = ready!(poll_answer(answer, this.call.op(), cx));
            let stage = std::mem::replace(&mut this.stage, Stage::Done);
            match (result, stage) {
                (Ok(reply), Stage::Submitted(_, attached)) => {
                    let parts = this.client.parts();
                    let output = C::finish(reply, Finish { parts, attached });
                    return Poll::Ready(output.map_err(|failure| this.error(failure)));
                }
                (Err(failure), _) if this.is_repeated(&failure) => this.stage = Stage::New(None),
                (Err(failure), _) => return Poll::Ready(Err(this.error(failure))),
                (Ok(_), _) => {}
            }
        }
    }
}

/// The answer; where the driver is gone, the client is closed and the outcome open.
fn poll_answer(
    answer: &mut Answer,
    op: OpCode,
    cx: &mut Context<'_>,
) -> Poll<Result<Reply, Failure>> {
    Pin::new(answer)
        .poll(cx)
        .map(|answer| answer.unwrap_or_else(|_| Err(Failure::in_flight(ErrorKind::Closed, op))))
}

impl<C: Call> Drop for Operation<'_, C> {
    fn drop(&mut self) {
        self.leave_queue();
    }
}

impl<C: Call> fmt::Debug for Operation<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("op", &op_name(self.call.op()))
            .field("path", &self.call.path())
            .finish_non_exhaustive()
    }
}

/// The answer to an operation that was submitted.
///
/// Owns everything it needs. Dropping it neither cancels the operation nor harms the session. A connection
/// that breaks before the answer is CONNECTIONLOSS here also for reads: repeating one alone would break the
/// order that pipelines are for.
#[must_use = "the operation is carried out in any case, but its result is lost"]
pub struct Pending<T> {
    answer: Answer,
    attached: Attached,
    parts: ClientParts,
    op: &'static str,
    sent: OpCode,
    path: String,
    finish: fn(Reply, Finish<'_>) -> Result<T, Failure>,
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = ready!(poll_answer(&mut this.answer, this.sent, cx));
        let attached = std::mem::replace(&mut this.attached, Attached::Nothing);
        let context = Finish {
            parts: &this.parts,
            attached,
        };
        let output = result.and_then(|reply| (this.finish)(reply, context));
        Poll::Ready(output.map_err(|failure| Error::new(failure, this.op, Some(&this.path))))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("op", &self.op)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

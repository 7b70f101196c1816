//! How an operation becomes a request: the one future behind every builder.
//!
//! Invariants: a request is submitted when the builder is first polled, and never again except for a read
//! whose connection broke under it; dropping the future leaves the request to its fate and the session intact.

mod answer;
mod attached;
mod call;
mod pending;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use crate::{
    client::Client,
    core::{Command, Moment, slot},
    driver::Ticket,
    error::{Error, ErrorKind, Failure, Result, changes_something, is_young, op_name},
};

use answer::Answer;
pub use attached::Attached;
use attached::prepare;
pub(crate) use call::sealed;
pub(crate) use call::wrong_form;
pub use call::{Call, ClientParts, Finish, Surroundings, Wants};
pub use pending::Pending;

/// An operation of a client, not submitted yet; awaiting it carries it out.
///
/// # Order
/// Operations are sent in the order in which they are submitted, which is when they are first polled, and
/// answered in that order. The one exception is a read whose connection broke: it is sent once more, in the same session
/// and behind what was submitted meanwhile ([`submit`](Self::submit) does not repeat it).
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
    /// How long it may take, where that is not the client's request timeout.
    limit: Option<Duration>,
    /// For what is sent again, and with a limit of its own: the first deadline holds.
    deadline: Option<Moment>,
    /// For what is sent again: the session of the first attempt.
    generation: Option<u64>,
}

/// How often a read is sent that servers of an older version answer by closing the connection.
const YOUNG_ATTEMPTS: u32 = 3;

#[derive(Debug)]
enum Stage {
    /// Not submitted; with a place in the queue where there was no room.
    New(Option<Ticket>),
    Submitted(Answer, Attached),
    Done,
}

impl<'c, C: Call> Operation<'c, C> {
    pub(crate) const fn new(client: &'c Client, call: C) -> Self {
        Self {
            client,
            call,
            stage: Stage::New(None),
            attempts: 0,
            limit: None,
            deadline: None,
            generation: None,
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
        let mut mapped = Operation::new(self.client, map(self.call.clone()));
        mapped.limit = self.limit;
        mapped
    }

    /// Gives the operation this long in all instead of the client's request timeout.
    pub const fn within(mut self, time: Duration) -> Self {
        self.limit = Some(time);
        self
    }

    /// The same with a point in time at which the whole that it is part of is up.
    pub(crate) const fn until(mut self, deadline: Moment) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(crate) const fn limit(&self) -> Option<Duration> {
        self.limit
    }

    pub(crate) const fn limited(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Queues the operation and returns at once, with its answer to be awaited later.
    ///
    /// For pipelines whose order matters: what is submitted first is carried out first. Waits only while the
    /// client has too many unanswered requests.
    ///
    /// # Errors
    /// When it cannot be queued: an invalid path, a request that is too large, a closed client.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room gives up its place, and nothing is sent.
    pub async fn submit(mut self) -> Result<Pending<C::Output>> {
        let submitted = std::future::poll_fn(|cx| self.poll_submit(cx.waker(), None));
        let (answer, attached) = submitted.await?;
        self.stage = Stage::Done;
        Ok(Pending {
            answer,
            attached,
            parts: self.client.parts().clone(),
            op: op_name(self.call.op()),
            path: self.call.path().to_owned(),
            finish: C::finish,
        })
    }

    /// `waker` is told when there is room, and `awaiting` when there is an answer.
    fn poll_submit(
        &mut self,
        waker: &Waker,
        awaiting: Option<&Waker>,
    ) -> Poll<Result<(Answer, Attached)>> {
        let Stage::New(ticket) = &mut self.stage else {
            return Poll::Ready(Err(self.error(Failure::not_applied(ErrorKind::Closed))));
        };
        let (parts, call) = (self.client.parts(), &self.call);
        let shared = &parts.shared;
        if let (None, Some(limit)) = (self.deadline, self.limit) {
            self.deadline = Some(shared.clock.now() + limit);
        }
        let (deadline, generation) = (self.deadline, parts.generation.or(self.generation));
        let surroundings = Surroundings {
            chroot: &shared.chroot,
            default_acl: &shared.settings.default_acl,
            watch: false,
        };
        let timeout =
            || deadline.unwrap_or_else(|| shared.clock.now() + shared.settings.request_timeout);
        let submitted = shared
            .inbox
            .poll_submit(waker, ticket, timeout, |batch, waited| {
                let (slot, answer) = slot::channel_waking(awaiting);
                let (kind, raw) = prepare(parts, call);
                let mut command = Command::new(kind).answering(slot);
                command.generation = generation;
                command.deadline = deadline.or(waited);
                let limit = shared.settings.max_request_len;
                batch.push_request(command, limit, |out| call.encode(&surroundings, out))?;
                // Only now: what is attached tells the driver when it is dropped, through this very inbox.
                Ok((answer, raw.attach(shared)))
            })
            .map_ok(|(answer, attached)| {
                (
                    Answer::new(answer, call.op(), call.path(), shared),
                    attached,
                )
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
        let path = Some(self.call.path()).filter(|path| !path.is_empty());
        Error::new(failure, op_name(self.call.op()), path)
    }

    /// Whether a failed attempt is repeated: only what changes nothing, and only after a broken connection.
    ///
    /// What a server may not know at all is suspected of having broken it: it costs everybody's requests no more than a
    /// few connections.
    fn is_repeated(&self, failure: &Failure) -> bool {
        let allowed = self.client.parts().shared.settings.read_attempts;
        let allowed = match is_young(self.call.op()) {
            true => allowed.min(YOUNG_ATTEMPTS),
            false => allowed,
        };
        failure.kind == ErrorKind::ConnectionLoss
            && failure.again.is_some()
            && !changes_something(self.call.op())
            && self.attempts < allowed
    }

    /// A repetition that finds its session gone says what the first attempt would have said.
    fn as_first(&self, failure: Failure) -> Failure {
        match failure.kind {
            ErrorKind::SessionChanged if self.client.parts().generation.is_none() => Failure {
                kind: ErrorKind::SessionExpired,
                ..failure
            },
            _ => failure,
        }
    }

    fn leave_queue(&mut self) {
        if let Stage::New(Some(ticket)) = self.stage {
            self.client.parts().shared.inbox.leave(ticket);
        }
        self.stage = Stage::Done;
    }
}

impl<C: Call> Future for Operation<'_, C> {
    type Output = Result<C::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::New(_) => {
                    let waker = cx.waker();
                    let (answer, attached) = ready!(this.poll_submit(waker, Some(waker)))?;
                    this.attempts += 1;
                    this.stage = Stage::Submitted(answer, attached);
                    // Whom to wake is known to the slot already.
                    return Poll::Pending;
                }
                Stage::Submitted(answer, attached) => {
                    let result = ready!(answer.poll(cx));
                    let attached = std::mem::replace(attached, Attached::Nothing);
                    this.stage = Stage::Done;
                    match result {
                        Ok(reply) => {
                            let parts = this.client.parts();
                            let output = C::finish(reply, Finish { parts, attached });
                            return Poll::Ready(output.map_err(|failure| this.error(failure)));
                        }
                        Err(failure) if this.is_repeated(&failure) => {
                            this.deadline = failure.again.map(|again| again.until);
                            this.generation = failure.again.map(|again| again.generation);
                            this.stage = Stage::New(None);
                        }
                        Err(failure) => {
                            let failure = this.as_first(failure);
                            return Poll::Ready(Err(this.error(failure)));
                        }
                    }
                }
                Stage::Done => {
                    return Poll::Ready(Err(this.error(Failure::not_applied(ErrorKind::Closed))));
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        create::{Create, Created},
        read::{Get, Node, Watched},
        watcher::{Watch, WatchChange},
    };

    fn assert_send_unpin<T: Send + Unpin>() {}

    fn assert_static<T: Send + Unpin + 'static>() {}

    #[test]
    fn builders_move_between_threads_and_answers_own_what_they_need() {
        assert_send_unpin::<Operation<'_, Create<'_>>>();
        assert_send_unpin::<Operation<'_, Watched<Get<'_>>>>();
        assert_static::<Pending<Created>>();
        assert_static::<Pending<(Node, WatchChange)>>();
        assert_static::<WatchChange>();
        assert_static::<Watch>();
        assert_static::<crate::SessionEnded>();
        assert_static::<crate::EvidenceLost>();
        assert_static::<crate::States>();
    }
}

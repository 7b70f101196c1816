//! The answer to an operation whose submission is done.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{Answer, Attached, ClientParts, Finish};
use crate::{
    core::Reply,
    error::{Error, Failure, Result},
};

/// The answer to an operation that was submitted.
///
/// Owns everything it needs. Dropping it neither cancels the operation nor harms the session. A connection
/// that breaks before the answer is CONNECTIONLOSS here also for reads: repeating one alone would break the
/// order that pipelines are for.
#[must_use = "the operation is carried out in any case, but its result is lost"]
pub struct Pending<T> {
    pub(super) answer: Answer,
    pub(super) attached: Attached,
    pub(super) parts: ClientParts,
    pub(super) op: &'static str,
    pub(super) path: String,
    pub(super) finish: fn(Reply, Finish<'_>) -> Result<T, Failure>,
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = ready!(this.answer.poll(cx));
        let attached = std::mem::replace(&mut this.attached, Attached::Nothing);
        let context = Finish {
            parts: &this.parts,
            attached,
        };
        let output = result.and_then(|reply| (this.finish)(reply, context));
        let path = Some(this.path.as_str()).filter(|path| !path.is_empty());
        Poll::Ready(output.map_err(|failure| Error::new(failure, this.op, path)))
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

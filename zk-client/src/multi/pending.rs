//! The answers to multis whose submission is done.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use zk_proto::ErrorCode;

use super::{
    MultiReadResult, MultiResult, read,
    wire::{MultiOutcome, Part, judge},
};
use crate::{error::Result, operation::Pending};

/// The answer to a multi that was submitted: [`Multi::submit`](super::Multi::submit).
///
/// Owns everything it needs; dropping it leaves the multi to its fate.
#[must_use = "the multi is carried out in any case, but its results are lost"]
pub struct PendingMulti {
    pub(super) answer: Pending<Vec<MultiOutcome>>,
    pub(super) parts: Vec<Part>,
    pub(super) fenced: usize,
}

impl Future for PendingMulti {
    type Output = Result<Vec<MultiResult>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcomes = ready!(Pin::new(&mut self.answer).poll(cx))?;
        Poll::Ready(judge(outcomes, &self.parts, self.fenced))
    }
}

impl fmt::Debug for PendingMulti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingMulti").finish_non_exhaustive()
    }
}

/// The answer to a multiRead that was submitted: [`MultiRead::submit`](super::MultiRead::submit).
///
/// Owns everything it needs.
#[must_use = "the reads are carried out in any case, but their results are lost"]
pub struct PendingMultiRead {
    pub(super) answer: Pending<Vec<Result<MultiReadResult, ErrorCode>>>,
    pub(super) parts: Vec<read::Part>,
}

impl Future for PendingMultiRead {
    type Output = Result<Vec<Result<MultiReadResult>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let found = ready!(Pin::new(&mut self.answer).poll(cx))?;
        Poll::Ready(read::named(found, &self.parts))
    }
}

impl fmt::Debug for PendingMultiRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingMultiRead").finish_non_exhaustive()
    }
}

//! The wait for an answer, as operators see it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use zk_proto::OpCode;

use crate::{
    core::{Reply, slot},
    driver::Shared,
    error::{ErrorKind, Failure},
    observe::Request,
};

/// Waits for the answer to a request, and takes note of it.
pub(super) struct Answer {
    receiver: slot::Receiver,
    op: OpCode,
    request: Request,
}

impl Answer {
    #[inline]
    pub(super) fn new(receiver: slot::Receiver, op: OpCode, path: &str, shared: &Shared) -> Self {
        let request = Request::submitted(op, path, shared);
        Self {
            receiver,
            op,
            request,
        }
    }

    /// The answer; where the driver is gone, the client is closed and the outcome open.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Failure>> {
        let answer = ready!(Pin::new(&mut self.receiver).poll(cx));
        let result = answer.unwrap_or_else(|_| Err(Failure::in_flight(ErrorKind::Closed, self.op)));
        self.request.answered(&result);
        Poll::Ready(result)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

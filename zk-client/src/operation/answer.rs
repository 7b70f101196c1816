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
        let (result, at) = match answer {
            Ok((result, at)) => (result, Some(at)),
            Err(_) => (Err(Failure::in_flight(ErrorKind::Closed, self.op)), None),
        };
        self.request.answered(&result, at);
        Poll::Ready(result)
    }
}

impl Drop for Answer {
    /// What nobody waits for any longer is taken note of, too.
    #[inline]
    fn drop(&mut self) {
        if self.request.is_open() {
            match self.receiver.try_recv() {
                Ok(Some((result, at))) => self.request.answered(&result, Some(at)),
                _ => self.request.given_up(),
            }
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

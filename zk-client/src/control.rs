//! Calls that are no requests of their own: presenting credentials, closing, waiting for a session.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    core::{Command, Kind, Moment, auth::Credential, slot},
    driver::Shared,
    error::{Error, ErrorKind, Failure, Result},
    operation::ClientParts,
};

/// A command and the wait for its answer.
struct Control {
    shared: Arc<Shared>,
    op: &'static str,
    stage: Stage,
}

enum Stage {
    New(Command),
    Waiting(slot::Receiver),
    Done,
}

impl Control {
    fn new(shared: &Arc<Shared>, op: &'static str, kind: Kind) -> Self {
        let stage = Stage::New(Command::new(kind));
        Self {
            shared: Arc::clone(shared),
            op,
            stage,
        }
    }

    /// Gives the command this long from now, if it is not on its way.
    fn within(&mut self, time: Duration) {
        let deadline: Moment = self.shared.clock.now() + time;
        if let Stage::New(command) = &mut self.stage {
            command.deadline = Some(deadline);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_failure(cx)
            .map_err(|failure| Error::new(failure, self.op, None))
    }

    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut answer = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::New(command) => {
                let (slot, answer) = slot::channel();
                self.shared.inbox.push(command.answering(slot))?;
                answer
            }
            Stage::Waiting(answer) => answer,
            Stage::Done => return Poll::Ready(Err(Failure::not_applied(ErrorKind::Closed))),
        };
        match Pin::new(&mut answer).poll(cx) {
            Poll::Ready(Ok(result)) => Poll::Ready(result.map(drop)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::not_applied(ErrorKind::Closed))),
            Poll::Pending => {
                self.stage = Stage::Waiting(answer);
                Poll::Pending
            }
        }
    }
}

macro_rules! control {
    ($( $(#[$meta:meta])* $name:ident: $op:literal; )*) => { $(
        $(#[$meta])*
        #[must_use = "it does nothing until it is awaited"]
        pub struct $name {
            control: Control,
        }

        impl $name {
            /// Gives it this long instead of the request timeout.
            pub fn within(mut self, time: Duration) -> Self {
                self.control.within(time);
                self
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )* };
}

control! {
    /// Presenting credentials: [`Client::add_auth`](crate::Client::add_auth).
    ///
    /// # Errors
    /// [`AuthFailed`](crate::ErrorKind::AuthFailed) when the server refuses them.
    AddAuth: "addAuth";
    /// Closing the session: [`Client::close`](crate::Client::close).
    ///
    /// # Errors
    /// [`OperationTimeout`](crate::ErrorKind::OperationTimeout) when no server confirmed it in time. The client is
    /// closed all the same, and the session left to expire.
    Close: "close";
}

impl AddAuth {
    pub(crate) fn new(parts: &ClientParts, credential: Credential) -> Self {
        Self {
            control: Control::new(&parts.shared, "addAuth", Kind::Auth(credential)),
        }
    }
}

impl Future for AddAuth {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.control.poll(cx)
    }
}

impl Close {
    pub(crate) fn new(parts: &ClientParts) -> Self {
        Self {
            control: Control::new(&parts.shared, "close", Kind::Close),
        }
    }
}

impl Future for Close {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match ready!(self.control.poll(cx)) {
            // Closed already is what was asked for.
            Err(error) if error.kind() == ErrorKind::Closed => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

/// Waits until there is a session.
pub(crate) async fn ready(shared: &Arc<Shared>, time: Duration) -> Result<()> {
    let mut control = Control::new(shared, "connect", Kind::Ready);
    control.within(time);
    std::future::poll_fn(|cx| control.poll(cx)).await
}

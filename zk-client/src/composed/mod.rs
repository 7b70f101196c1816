//! Operations that take several requests: whole paths, whole subtrees, compare-and-set, protected creates.
//!
//! Each is a loop over plain operations, so none is atomic; what each promises instead is on its method of
//! [`Client`]. A step whose repetition is harmless is repeated after a lost connection, until the time of the whole is
//! up: the request timeout, unless [`Composed::within`] says otherwise.

mod create_all;
mod delete_all;
mod protected;
mod update;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;

pub use create_all::{CreateAll, Ensure};
pub use delete_all::DeleteAll;
pub use protected::ProtectedCreate;
pub use update::Update;

use crate::{
    client::Client,
    core::Moment,
    error::{Error, ErrorKind, Failure, Outcome, Result},
};

/// An operation of several requests, not begun yet; awaiting it carries it out.
///
/// # Cancel safety
/// Dropping the future never harms the session; steps that were submitted may still be carried out, later ones
/// are not begun.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Composed<'c, S: Steps<'c>> {
    stage: Stage<'c, S>,
    limit: Option<Duration>,
}

enum Stage<'c, S: Steps<'c>> {
    New(&'c Client, S),
    Running(BoxFuture<'c, Result<S::Output>>),
    Done,
}

/// What a composed operation does; the crate's own.
pub trait Steps<'c>: Unpin {
    /// What the operation results in.
    type Output;

    #[doc(hidden)]
    fn run(self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<Self::Output>>;
}

/// How long a composed operation may take.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Time {
    begin: Moment,
    limit: Option<Duration>,
}

impl Time {
    /// When the whole is up.
    fn deadline(self, client: &Client) -> Moment {
        let usual = client.parts().shared.settings.request_timeout;
        self.begin + self.limit.unwrap_or(usual)
    }

    /// When the next part of a whole of any size is up: the request timeout from now, unless the whole has a limit.
    fn deadline_of_part(self, client: &Client) -> Moment {
        match self.limit {
            Some(limit) => self.begin + limit,
            None => {
                client.parts().shared.clock.now() + client.parts().shared.settings.request_timeout
            }
        }
    }
}

impl<'c, S: Steps<'c>> Composed<'c, S> {
    pub(crate) const fn new(client: &'c Client, steps: S) -> Self {
        Self {
            stage: Stage::New(client, steps),
            limit: None,
        }
    }

    /// Gives the whole this long instead of the client's request timeout.
    pub const fn within(mut self, time: Duration) -> Self {
        self.limit = Some(time);
        self
    }

    const fn limited(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    fn change(mut self, change: impl FnOnce(&mut S)) -> Self {
        if let Stage::New(_, steps) = &mut self.stage {
            change(steps);
        }
        self
    }
}

impl<'c, S: Steps<'c>> Future for Composed<'c, S> {
    type Output = Result<S::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::New(..) = self.stage
            && let Stage::New(client, steps) = std::mem::replace(&mut self.stage, Stage::Done)
        {
            let (begin, limit) = (client.parts().shared.clock.now(), self.limit);
            self.stage = Stage::Running(steps.run(client, Time { begin, limit }));
        }
        match &mut self.stage {
            Stage::Running(steps) => steps.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl<'c, S: Steps<'c>> fmt::Debug for Composed<'c, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composed").finish_non_exhaustive()
    }
}

/// The node above; of a sequential node whose name is the number alone (`/jobs/`), the one before the slash.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// The connection, or the wait for an answer, broke off something that changes a node: nothing that the server said.
///
/// Not where it was never sent: then the client was told not to wait for a connection, or has waited long enough.
fn is_link_trouble(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ConnectionLoss | ErrorKind::OperationTimeout => {
            error.outcome() == Outcome::Unknown
        }
        _ => error.is_retryable(),
    }
}

/// A later step failed, so how much of the whole was carried out stays open.
fn unsettled(error: &Error, op: &'static str, path: &str) -> Error {
    let failure = Failure {
        outcome: Outcome::Unknown,
        ..Failure::not_applied(error.kind())
    };
    Error::new(failure, op, Some(path))
}

/// Waits a little before what a busy server did not do is tried once more; false where there is no time left for that.
async fn pause(client: &Client, attempt: u32, deadline: Moment) -> bool {
    let shared = &client.parts().shared;
    let delay = shared.pause(attempt);
    if delay >= deadline.since(shared.clock.now()) {
        return false;
    }
    let sleep = {
        let _runtime = shared.runtime.enter();
        tokio::time::sleep(delay)
    };
    sleep.await;
    true
}

fn is_over(client: &Client, deadline: Moment) -> bool {
    client.parts().shared.clock.now() >= deadline
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn parents_of_paths() {
        let cases = [
            ("/", None),
            ("/a", Some("/")),
            ("/a/b", Some("/a")),
            ("/a/", Some("/a")),
            ("/a/b/", Some("/a/b")),
        ];
        for (path, above) in cases {
            assert_eq!(parent(path), above, "{path}");
        }
    }
}

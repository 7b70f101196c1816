//! Calls that are no requests of their own: presenting credentials, closing, waiting for a session.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use zk_proto::{Password, SessionId};

use crate::{
    core::{
        Command, Host, Kind, Moment, auth::Credential, chroot::Chroot,
        host_provider::parse_connect_string, slot,
    },
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
    Failed(Failure),
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
            Stage::Failed(failure) => return Poll::Ready(Err(failure)),
            Stage::Done => return Poll::Ready(Err(Failure::not_applied(ErrorKind::Closed))),
        };
        match Pin::new(&mut answer).poll(cx) {
            Poll::Ready(Ok((result, _))) => Poll::Ready(result.map(drop)),
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
    /// Leaving the session to others: [`Client::detach`](crate::Client::detach).
    ///
    /// # Errors
    /// [`OperationTimeout`](crate::ErrorKind::OperationTimeout) when what was submitted before was not carried out in
    /// time, and [`SessionExpired`](crate::ErrorKind::SessionExpired) where there is no session to leave to anybody. The
    /// client is closed all the same.
    Detach: "detach";
    /// Changing the list of servers: [`Client::update_hosts`](crate::Client::update_hosts).
    ///
    /// # Errors
    /// [`BadArguments`](crate::ErrorKind::BadArguments) for a connect string that is none or has another chroot.
    UpdateHosts: "updateHosts";
}

impl AddAuth {
    pub(crate) fn new(parts: &ClientParts, credential: Credential) -> Self {
        Self {
            control: Control::new(&parts.shared, "addAuth", Kind::Auth(Box::new(credential))),
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

impl Detach {
    pub(crate) fn new(parts: &ClientParts) -> Self {
        Self {
            control: Control::new(&parts.shared, "detach", Kind::Detach),
        }
    }
}

impl Future for Detach {
    type Output = Result<(SessionId, Password)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.control.poll(cx))?;
        let session = self.control.shared.session();
        match session.id {
            SessionId::NONE => {
                let failure = Failure::not_applied(ErrorKind::SessionExpired);
                Poll::Ready(Err(Error::new(failure, self.control.op, None)))
            }
            id => Poll::Ready(Ok((id, session.password))),
        }
    }
}

impl UpdateHosts {
    pub(crate) fn new(parts: &ClientParts, connect_string: &str) -> Self {
        let mut control = Control::new(&parts.shared, "updateHosts", Kind::Ready);
        control.stage = match hosts_of(&parts.shared, connect_string) {
            Ok(hosts) => Stage::New(Command::new(Kind::UpdateHosts(hosts))),
            Err(failure) => Stage::Failed(failure),
        };
        Self { control }
    }
}

/// The servers of a connect string whose chroot, if it has one, is the client's.
fn hosts_of(shared: &Shared, connect_string: &str) -> Result<Vec<Host>, Failure> {
    let (hosts, chroot) = parse_connect_string(connect_string)?;
    match chroot.is_empty() || Chroot::new(chroot)? == shared.chroot {
        true => Ok(hosts),
        false => Err(Failure::bad_arguments(
            "a client's chroot stays what it was when it connected",
        )),
    }
}

impl Future for UpdateHosts {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.control.poll(cx)
    }
}

/// Waits until there is a session.
pub(crate) async fn ready(shared: &Arc<Shared>, time: Duration) -> Result<()> {
    let mut control = Control::new(shared, "connect", Kind::Ready);
    control.within(time);
    std::future::poll_fn(|cx| control.poll(cx)).await
}

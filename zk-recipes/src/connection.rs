//! What a recipe does about a client's error: go on when there is a connection again, begin anew, or give up.

use std::{sync::Arc, time::Duration};

use zk_client::{
    Client, Error as ClientError, ErrorKind, OnExpiry, Outcome, Session, SessionState,
};

use crate::error::Error;

/// In how many sessions, one after another, nothing may be possible at all: more means that the client is itself bound to
/// a session that is over.
const FRUITLESS_MAX: u32 = 3;

/// The shortest and the longest pause between two attempts on a connection that is up and still does not serve.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What an error of an operation means for the recipe that wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The connection broke or the server is busy: the same session may go on.
    Connection,
    /// The session that the operation was bound to is over.
    SessionEnded,
    /// The server or the client said no; it will say so again.
    Refused,
}

pub(crate) fn setback(error: &ClientError) -> Setback {
    match error.kind() {
        ErrorKind::ConnectionLoss
        | ErrorKind::OperationTimeout
        | ErrorKind::SessionMoved
        | ErrorKind::Throttled
        | ErrorKind::ReadOnly
        | ErrorKind::ConnectFailed => Setback::Connection,
        ErrorKind::SessionExpired
        | ErrorKind::SessionChanged
        | ErrorKind::Closed
        | ErrorKind::AuthFailed => Setback::SessionEnded,
        _ => Setback::Refused,
    }
}

/// Whether an error in the client's present session says that the client itself is bound to one that is over.
pub(crate) fn is_bound(error: &ClientError, session: &Session) -> bool {
    error.kind() == ErrorKind::SessionChanged && session.is_current()
}

/// Waits between attempts: for a connection, and a little longer each time.
#[derive(Debug)]
pub(crate) struct Patience {
    pause: Duration,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self { pause: PAUSE_MIN }
    }

    /// Something went well: the next pause is a short one again.
    pub(crate) const fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Returns when another attempt makes sense.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`] when the client has no session and will not open another.
    pub(crate) async fn wait(&mut self, client: &Client) -> Result<(), Error> {
        if let Some(reason) = end_of(client, client.state()) {
            return Err(Error::SessionGone { reason });
        }
        timer(client, || tokio::time::sleep(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        connected(client).await
    }
}

/// Goes on after setbacks, in the next session where one ended, as long as that makes sense.
#[derive(Debug)]
pub(crate) struct Persistence {
    patience: Patience,
    fruitless: u32,
}

impl Persistence {
    pub(crate) const fn new() -> Self {
        Self {
            patience: Patience::new(),
            fruitless: 0,
        }
    }

    /// Something went well.
    pub(crate) const fn reset(&mut self) {
        self.patience.reset();
        self.fruitless = 0;
    }

    /// Returns when another attempt makes sense.
    ///
    /// # Errors
    ///
    /// The error itself where it is the server's or the client's last word; [`Error::SessionGone`] when there will be no
    /// session any more.
    pub(crate) async fn after(&mut self, client: &Client, error: ClientError) -> Result<(), Error> {
        tracing::debug!(%error, "set back");
        match setback(&error) {
            Setback::Refused => return Err(error.into()),
            Setback::Connection => {}
            Setback::SessionEnded => {
                self.fruitless += 1;
                if self.fruitless > FRUITLESS_MAX {
                    return Err(error.into());
                }
            }
        }
        self.patience.wait(client).await
    }
}

/// A change that is attempted until it is known what became of it.
#[derive(Debug)]
pub(crate) struct Change<'c> {
    client: &'c Client,
    path: &'c Arc<str>,
    persistence: Persistence,
    /// Whether the outcome of an attempt is unknown.
    undecided: bool,
}

impl<'c> Change<'c> {
    /// None was made yet.
    pub(crate) const fn new(client: &'c Client, path: &'c Arc<str>) -> Self {
        Self {
            client,
            path,
            persistence: Persistence::new(),
            undecided: false,
        }
    }

    /// Whether an attempt that brought an error may have been carried out all the same.
    pub(crate) const fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// An attempt failed; returns when another makes sense.
    ///
    /// # Errors
    ///
    /// As [`hindered`](Self::hindered).
    pub(crate) async fn failed(&mut self, error: ClientError) -> Result<(), Error> {
        self.undecided |= error.outcome() == Outcome::Unknown;
        self.hindered(error).await
    }

    /// Something else failed that an attempt needs; returns when another makes sense.
    ///
    /// # Errors
    ///
    /// As [`Persistence::after`]; [`Error::Unknown`] instead where an earlier attempt may have been carried out, of which this error
    /// says nothing.
    pub(crate) async fn hindered(&mut self, error: ClientError) -> Result<(), Error> {
        let over = self.persistence.after(self.client, error).await;
        over.map_err(|error| match self.undecided {
            true => Error::Unknown {
                path: Arc::clone(self.path),
            },
            false => error,
        })
    }
}

/// Waits for a connection, in this session or, where the client renews, in the next.
///
/// # Errors
///
/// [`Error::SessionGone`] when there will be none.
pub(crate) async fn connected(client: &Client) -> Result<(), Error> {
    if client.state().is_connected() {
        return Ok(());
    }
    let mut states = client.states();
    while let Some(state) = states.next().await {
        if state.is_connected() {
            return Ok(());
        }
        if let Some(reason) = end_of(client, state) {
            return Err(Error::SessionGone { reason });
        }
    }
    Err(Error::SessionGone {
        reason: ErrorKind::Closed,
    })
}

/// Why no session follows, if this state is the last.
pub(crate) fn end_of(client: &Client, state: SessionState) -> Option<ErrorKind> {
    match state {
        SessionState::Expired if client.on_expiry() == OnExpiry::Stop => {
            Some(ErrorKind::SessionExpired)
        }
        SessionState::AuthFailed => Some(ErrorKind::AuthFailed),
        SessionState::Closed => Some(ErrorKind::Closed),
        _ => None,
    }
}

/// Makes a timer on the runtime of whoever awaits; where there is none, on the client's, which may end before.
pub(crate) fn timer<T>(client: &Client, timer: impl FnOnce() -> T) -> T {
    let without = tokio::runtime::Handle::try_current().is_err();
    let _entered = without.then(|| client.runtime().enter());
    timer()
}

/// Waits for a start for so long, where a time was given. Needs no runtime of whoever awaits.
///
/// # Errors
///
/// [`Error::Timeout`] when the time has passed, and those of the work.
pub(crate) async fn within<T>(
    (client, path): (&Client, &Arc<str>),
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(waited) = timeout else {
        return work.await;
    };
    let timed = timer(client, || tokio::time::timeout(waited, work));
    let path = Arc::clone(path);
    (timed.await).unwrap_or_else(|_| Err(Error::Timeout { path, waited }))
}

//! What went wrong with an operation, and whether it may have been carried out all the same.
//!
//! ZooKeeper's answers ([`ErrorCode`](zk_proto::ErrorCode)) and the client's own reasons share one [`ErrorKind`], because callers
//! match on both in the same place. The field that matters most is [`Error::outcome`]: a broken connection
//! leaves it open whether the server carried the operation out, and no error hides that.

mod failure;
mod kind;

use std::{error::Error as StdError, fmt, sync::Arc};

pub use failure::{Again, Failure};
#[cfg(feature = "driver")]
pub(crate) use failure::{changes_something, is_young, op_name};
pub use kind::ErrorKind;

/// The result of a client call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. Cheap to clone.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    failure: Failure,
    op: &'static str,
    path: Option<String>,
    part: Option<usize>,
}

/// Whether a failed operation may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was certainly not carried out.
    NotApplied,
    /// It was carried out, or it was not: nobody can tell from here.
    Unknown,
}

impl Error {
    pub(crate) fn new(failure: Failure, op: &'static str, path: Option<&str>) -> Self {
        let path = path.map(str::to_owned);
        let part = None;
        Self {
            inner: Arc::new(Inner {
                failure,
                op,
                path,
                part,
            }),
        }
    }

    pub(crate) fn in_part(
        failure: Failure,
        op: &'static str,
        path: Option<String>,
        part: Option<usize>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                failure,
                op,
                path,
                part,
            }),
        }
    }

    /// The reason, to match on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.failure.kind
    }

    /// Whether the operation may have been carried out all the same.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.inner.failure.outcome
    }

    /// The operation that failed, in ZooKeeper's words (`create`, `getData`, ...).
    #[must_use]
    pub fn op(&self) -> &'static str {
        self.inner.op
    }

    /// The path it was about, as the caller gave it.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.inner.path.as_deref()
    }

    /// In a multi: which of its operations failed, counted from 0.
    #[must_use]
    pub fn multi_index(&self) -> Option<usize> {
        self.inner.part
    }

    /// Whether the same call may succeed later and cannot have been carried out yet.
    ///
    /// True where the outcome is [`Outcome::NotApplied`] and the reason is a passing one: the connection, a
    /// timeout, a busy server, a session that moved. An operation of unknown outcome is never retryable by
    /// this measure: look before you repeat it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let passing = matches!(
            self.kind(),
            ErrorKind::ConnectionLoss
                | ErrorKind::OperationTimeout
                | ErrorKind::SessionMoved
                | ErrorKind::Throttled
                | ErrorKind::ConnectFailed
        );
        passing && self.outcome() == Outcome::NotApplied
    }

    /// Whether the session that the call was made in is no more.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::SessionExpired | ErrorKind::SessionChanged | ErrorKind::Closed
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op())?;
        if let Some(path) = self.path() {
            write!(f, " {path}")?;
        }
        if let Some(part) = self.multi_index() {
            write!(f, " (operation {part} of a multi)")?;
        }
        write!(f, ": {}", self.kind().description())?;
        if let Some(source) = &self.inner.failure.source {
            write!(f, " ({source})")?;
        }
        match self.outcome() {
            Outcome::NotApplied => Ok(()),
            Outcome::Unknown => f.write_str("; whether it was carried out is unknown"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("op", &self.op())
            .field("path", &self.path())
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.failure.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

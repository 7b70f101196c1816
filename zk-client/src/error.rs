//! What went wrong with an operation, and whether it may have been carried out all the same.
//!
//! ZooKeeper's answers ([`ErrorCode`]) and the client's own reasons share one [`ErrorKind`], because callers
//! match on both in the same place. The field that matters most is [`Error::outcome`]: a broken connection
//! leaves it open whether the server carried the operation out, and no error hides that.

use std::{error::Error as StdError, fmt, sync::Arc};

use zk_proto::{ErrorCode, OpCode};

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

/// The reasons for which an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such node.
    NoNode,
    /// There is such a node already.
    NodeExists,
    /// The node has another version than the one given.
    BadVersion,
    /// The node has children.
    NotEmpty,
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals,
    /// The client may not do this.
    NoAuth,
    /// The ACL is empty or malformed, or names nobody.
    InvalidAcl,
    /// An argument is invalid: a malformed path or connect string, a bad flag.
    BadArguments,
    /// The request is longer than servers accept (`jute.maxbuffer`); it was not sent.
    TooLarge,
    /// The server does not know the operation, or has it switched off.
    Unimplemented,
    /// The server is read-only.
    ReadOnly,
    /// The write would exceed a quota.
    QuotaExceeded,
    /// The server is overloaded and dropped the request.
    Throttled,
    /// There is no such watch.
    NoWatcher,
    /// The session has moved to another server.
    SessionMoved,
    /// An earlier part of the multi failed, so this part was not carried out.
    RuntimeInconsistency,
    /// Another answer of the server.
    Server(ErrorCode),
    /// The connection broke before the answer came, or (fail-fast) there is none.
    ConnectionLoss,
    /// No answer within the request timeout.
    OperationTimeout,
    /// The session ended; its ephemeral nodes and watches are gone.
    SessionExpired,
    /// The session that this call was bound to is no longer the client's.
    SessionChanged,
    /// The server refused the credentials.
    AuthFailed,
    /// No session could be opened in time.
    ConnectFailed,
    /// The client is closed.
    Closed,
    /// There is no current client: none is installed and no scope is entered.
    NoCurrentClient,
}

impl ErrorKind {
    pub(crate) const fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NoNode => Self::NoNode,
            ErrorCode::NodeExists => Self::NodeExists,
            ErrorCode::BadVersion => Self::BadVersion,
            ErrorCode::NotEmpty => Self::NotEmpty,
            ErrorCode::NoChildrenForEphemerals => Self::NoChildrenForEphemerals,
            ErrorCode::NoAuth => Self::NoAuth,
            ErrorCode::InvalidAcl => Self::InvalidAcl,
            ErrorCode::BadArguments => Self::BadArguments,
            ErrorCode::Unimplemented => Self::Unimplemented,
            ErrorCode::NotReadOnly => Self::ReadOnly,
            ErrorCode::QuotaExceeded => Self::QuotaExceeded,
            ErrorCode::ThrottledOp => Self::Throttled,
            ErrorCode::NoWatcher => Self::NoWatcher,
            ErrorCode::SessionMoved => Self::SessionMoved,
            ErrorCode::RuntimeInconsistency => Self::RuntimeInconsistency,
            ErrorCode::ConnectionLoss => Self::ConnectionLoss,
            ErrorCode::OperationTimeout | ErrorCode::RequestTimeout => Self::OperationTimeout,
            ErrorCode::SessionExpired => Self::SessionExpired,
            ErrorCode::AuthFailed => Self::AuthFailed,
            other => Self::Server(other),
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::NoNode => "no such node",
            Self::NodeExists => "node exists already",
            Self::BadVersion => "version does not match",
            Self::NotEmpty => "node has children",
            Self::NoChildrenForEphemerals => "ephemeral nodes cannot have children",
            Self::NoAuth => "not authorized",
            Self::InvalidAcl => "invalid ACL",
            Self::BadArguments => "bad arguments",
            Self::TooLarge => "request is longer than servers accept",
            Self::Unimplemented => "operation is unimplemented or disabled on the server",
            Self::ReadOnly => "server is read-only",
            Self::QuotaExceeded => "quota exceeded",
            Self::Throttled => "request throttled",
            Self::NoWatcher => "no such watch",
            Self::SessionMoved => "session moved to another server",
            Self::RuntimeInconsistency => {
                "not carried out because another part of the multi failed"
            }
            Self::Server(code) => code.description(),
            Self::ConnectionLoss => "connection loss",
            Self::OperationTimeout => "no answer within the request timeout",
            Self::SessionExpired => "session expired",
            Self::SessionChanged => "the session this call was bound to has ended",
            Self::AuthFailed => "authentication failed",
            Self::ConnectFailed => "no session could be opened",
            Self::Closed => "client is closed",
            Self::NoCurrentClient => "there is no current client",
        }
    }
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

/// What a lower layer knows of a failure; the call adds its operation and path to make an [`Error`].
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason.
    pub kind: ErrorKind,
    /// Whether it may have been carried out.
    pub outcome: Outcome,
    /// What lies beneath.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure that certainly changed nothing.
    #[must_use]
    pub const fn not_applied(kind: ErrorKind) -> Self {
        let outcome = Outcome::NotApplied;
        Self {
            kind,
            outcome,
            source: None,
        }
    }

    /// A failure of an operation that was sent: only reads are certain to have changed nothing.
    #[must_use]
    pub const fn in_flight(kind: ErrorKind, op: OpCode) -> Self {
        let outcome = match changes_something(op) {
            true => Outcome::Unknown,
            false => Outcome::NotApplied,
        };
        Self {
            kind,
            outcome,
            source: None,
        }
    }

    /// The server said no.
    #[must_use]
    pub const fn answered(code: ErrorCode) -> Self {
        let outcome = match code {
            ErrorCode::SystemError | ErrorCode::OperationTimeout | ErrorCode::RequestTimeout => {
                Outcome::Unknown
            }
            _ => Outcome::NotApplied,
        };
        let kind = ErrorKind::from_code(code);
        Self {
            kind,
            outcome,
            source: None,
        }
    }

    /// The same with what lies beneath.
    #[must_use]
    pub fn because(mut self, source: Option<Arc<dyn StdError + Send + Sync>>) -> Self {
        self.source = source;
        self
    }

    /// An argument that is no good, and why.
    #[must_use]
    pub fn bad_arguments(why: impl Into<String>) -> Self {
        let source: Box<dyn StdError + Send + Sync> = why.into().into();
        Self::not_applied(ErrorKind::BadArguments).because(Some(source.into()))
    }
}

/// Whether an operation leaves something behind that a repetition would meet.
pub(crate) const fn changes_something(op: OpCode) -> bool {
    op.is_write() || matches!(op, OpCode::Auth)
}

/// ZooKeeper's name of an operation, for messages.
pub(crate) const fn op_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "create",
        OpCode::Delete => "delete",
        OpCode::Exists => "exists",
        OpCode::GetData => "getData",
        OpCode::SetData => "setData",
        OpCode::GetAcl => "getACL",
        OpCode::SetAcl => "setACL",
        OpCode::GetChildren | OpCode::GetChildren2 => "getChildren",
        OpCode::Sync => "sync",
        OpCode::Check => "check",
        OpCode::Multi => "multi",
        OpCode::MultiRead => "multiRead",
        OpCode::Reconfig => "reconfig",
        OpCode::RemoveWatches => "removeWatches",
        OpCode::AddWatch => "addWatch",
        OpCode::Auth => "addAuth",
        OpCode::GetEphemerals => "getEphemerals",
        OpCode::GetAllChildrenNumber => "getAllChildrenNumber",
        OpCode::WhoAmI => "whoAmI",
        OpCode::CloseSession => "close",
        _ => "request",
    }
}

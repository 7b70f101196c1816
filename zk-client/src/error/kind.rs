//! The reasons for which an operation fails.

use zk_proto::ErrorCode;

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

    pub(super) const fn description(self) -> &'static str {
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

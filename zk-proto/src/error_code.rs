//! ZooKeeper's answers when it says no.

use std::fmt;

macro_rules! error_codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, $text:literal; )*) => {
        /// A reply's error code (`KeeperException.Code`): an answer, not a failure of this program.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $( $(#[$meta])* $name, )*
            /// A code this crate does not know (another implementation's own).
            Other(i32),
        }

        impl ErrorCode {
            /// Every code that has a name.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The code with this number.
            #[must_use]
            pub const fn from_i32(code: i32) -> Self {
                match code { $( $code => Self::$name, )* other => Self::Other(other) }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i32 {
                match self { $( Self::$name => $code, )* Self::Other(code) => code }
            }

            /// A short description in lower case.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $( Self::$name => $text, )* Self::Other(_) => "unknown error code" }
            }
        }
    };
}

error_codes! {
    /// No error.
    Ok = 0, "ok";
    /// Something went wrong on the server.
    SystemError = -1, "system error";
    /// An earlier part of the multi failed, so this part was not carried out.
    RuntimeInconsistency = -2, "not carried out because another part of the multi failed";
    /// The server found its data inconsistent.
    DataInconsistency = -3, "data inconsistency";
    /// The connection broke; whether the operation was carried out is unknown.
    ConnectionLoss = -4, "connection loss";
    /// The server could not decode the request.
    MarshallingError = -5, "marshalling error";
    /// The server does not know the operation, or has it switched off.
    Unimplemented = -6, "operation is unimplemented or disabled on the server";
    /// The operation took too long.
    OperationTimeout = -7, "operation timeout";
    /// An argument is invalid (a malformed path, a bad flag).
    BadArguments = -8, "bad arguments";
    /// The server does not know the session.
    UnknownSession = -12, "unknown session";
    /// No quorum of the new configuration is connected and in step.
    NewConfigNoQuorum = -13, "no quorum of the new configuration is in step with the leader";
    /// Another reconfiguration is under way.
    ReconfigInProgress = -14, "another reconfiguration is in progress";
    /// There is no such node.
    NoNode = -101, "no such node";
    /// The client may not do this.
    NoAuth = -102, "not authorized";
    /// The node has another version than the one given.
    BadVersion = -103, "version does not match";
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals = -108, "ephemeral nodes cannot have children";
    /// There is such a node already.
    NodeExists = -110, "node exists already";
    /// The node has children.
    NotEmpty = -111, "node has children";
    /// The session is no more; its ephemeral nodes and watches are gone.
    SessionExpired = -112, "session expired";
    /// A callback was invalid (client-side in Apache's client).
    InvalidCallback = -113, "invalid callback";
    /// The ACL is empty or malformed, or names nobody.
    InvalidAcl = -114, "invalid ACL";
    /// Authentication failed; the server closes the connection.
    AuthFailed = -115, "authentication failed";
    /// The client is closing its session.
    Closing = -116, "session is closing";
    /// Nothing happened (client-side in the C client).
    Nothing = -117, "nothing";
    /// The session has moved to another server.
    SessionMoved = -118, "session moved to another server";
    /// The server is read-only.
    NotReadOnly = -119, "server is read-only";
    /// A local session cannot own ephemeral nodes.
    EphemeralOnLocalSession = -120, "ephemeral node on a local session";
    /// There is no such watch.
    NoWatcher = -121, "no such watch";
    /// The request timed out.
    RequestTimeout = -122, "request timeout";
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123, "reconfiguration is disabled";
    /// The server demands SASL authentication.
    SessionClosedRequireSaslAuth = -124, "server requires SASL authentication";
    /// The write would exceed a quota.
    QuotaExceeded = -125, "quota exceeded";
    /// The server is overloaded and dropped the request.
    ThrottledOp = -127, "request throttled";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description(), self.code())
    }
}

//! What the layers below know of a failure.

use std::{error::Error as StdError, sync::Arc};

use zk_proto::{ErrorCode, OpCode};

use super::{ErrorKind, Outcome};
use crate::core::Moment;

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
    /// Where trying again makes sense and is left to the call: until when, and in which session.
    pub again: Option<Again>,
}

/// Until when a request may be tried again, and in which session: never in another than the one it was sent in.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// When the caller gives up.
    pub until: Moment,
    /// The session's generation.
    pub generation: u64,
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
            again: None,
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
            again: None,
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
            again: None,
        }
    }

    /// The same with what lies beneath.
    #[must_use]
    pub fn because(mut self, source: Option<Arc<dyn StdError + Send + Sync>>) -> Self {
        self.source = source;
        self
    }

    /// The same for what may be tried again, until then and in the session of this generation.
    #[must_use]
    pub const fn repeatable(mut self, until: Moment, generation: u64) -> Self {
        self.again = Some(Again { until, generation });
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

/// Whether servers that are still in use (3.5 and later) may not know a read, which they answer by closing the connection.
pub(crate) const fn is_young(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::MultiRead
            | OpCode::AddWatch
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::WhoAmI
    )
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

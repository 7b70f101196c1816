//! What can go wrong with a recipe.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use zk_client::{ErrorKind, Outcome, SessionId};

use crate::lock::{LockLayout, LostReason};

/// The result of a recipe's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a recipe could not do what was asked. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lock or leadership is not held any more. Stop touching what it protects.
    #[error("ownership of {path} is lost: {reason}")]
    Lost {
        /// The lock's path.
        path: Arc<str>,
        /// How it was lost.
        reason: LostReason,
    },
    /// The client has no session any more and will not open another: it was closed, refused, or told to stop on expiry.
    #[error("the client's session is gone for good: {}", gone(*reason))]
    SessionGone {
        /// [`SessionExpired`](ErrorKind::SessionExpired), [`Closed`](ErrorKind::Closed) or
        /// [`AuthFailed`](ErrorKind::AuthFailed).
        reason: ErrorKind,
    },
    /// The time given with `timeout` passed first. No ephemeral node of the attempt stays behind; what it writes for good (an
    /// item, a change of a number, a barrier) may have been written.
    #[error("not acquired within {waited:?}: {path}")]
    Timeout {
        /// The recipe's path.
        path: Arc<str>,
        /// The time that was given.
        waited: Duration,
    },
    /// There is no current client: none is installed, and no scope is entered.
    #[error(
        "there is no current client: install one, enter a client's scope, or call the method of a client"
    )]
    NoCurrentClient,
    /// A contender of another lock recipe is in the same directory, and the two cannot exclude each other.
    #[error("{path} holds {name}, a contender that the {layout:?} layout cannot be mixed with")]
    ForeignContender {
        /// The lock's path.
        path: Arc<str>,
        /// The foreign contender's node.
        name: String,
        /// The layout that this side uses.
        layout: LockLayout,
    },
    /// A semaphore's node names another count than this side, or none that could change; in kazoo's layout nobody could
    /// share it then. Or a member of a double barrier's present round waits for another number.
    #[error("{path} is {}, not for {asked}", count(*.told))]
    CountMismatch {
        /// The recipe's path.
        path: Arc<str>,
        /// What the others say; `None` where a count that can change was asked for.
        told: Option<i64>,
        /// What this side asked for.
        asked: u32,
    },
    /// There is no node to read the configuration from.
    #[error("there is no configuration at {path}")]
    NoConfig {
        /// The node's path.
        path: Arc<str>,
    },
    /// The content of a configuration could not be decoded, encoded, or was refused by a validation.
    #[error(transparent)]
    BadContent(BadContent),
    /// The configuration changed since it was last seen through this handle, so it was not written.
    #[error("{path} has changed since it was last seen")]
    Conflict {
        /// The node's path.
        path: Arc<str>,
    },
    /// Whether it was carried out cannot be told: the answer was lost, and nothing tells any more, because the session ended, or
    /// may have, or somebody else has written since, or because no marker was asked for.
    #[error("{path}: whether it was carried out is unknown")]
    Unknown {
        /// The path of what was to be changed.
        path: Arc<str>,
    },
    /// There is no room for the change: in the number, or in the version of its node.
    #[error("{path} has no room for this change")]
    Overflow {
        /// The counter's path.
        path: Arc<str>,
    },
    /// What another recipe uses is in the same directory, and the two cannot be mixed.
    #[error("{path} holds {name}, which belongs to a recipe that cannot be mixed with this one")]
    Foreign {
        /// The directory.
        path: Arc<str>,
        /// The foreign node.
        name: String,
    },
    /// A barrier was entered twice, or left without having been entered.
    #[error("{path} was entered twice, or left without having been entered")]
    OutOfTurn {
        /// The barrier's path.
        path: Arc<str>,
    },
    /// Somebody else has the name.
    #[error("{path} is taken by {holder} (session {session})")]
    NameTaken {
        /// The name's path.
        path: Arc<str>,
        /// Who the holder says it is.
        holder: String,
        /// The holder's session.
        session: SessionId,
    },
    /// The client reported an error.
    #[error(transparent)]
    Client(zk_client::Error),
}

impl Error {
    /// Whether the ownership that the call relied on is lost.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

impl From<zk_client::Error> for Error {
    fn from(error: zk_client::Error) -> Self {
        match (error.kind(), error.outcome()) {
            (reason @ (ErrorKind::Closed | ErrorKind::AuthFailed), Outcome::NotApplied) => {
                Self::SessionGone { reason }
            }
            (ErrorKind::NoCurrentClient, _) => Self::NoCurrentClient,
            _ => Self::Client(error),
        }
    }
}

fn count(told: Option<i64>) -> String {
    told.map_or_else(
        || "without a count that can change".to_owned(),
        |told| format!("for {told}"),
    )
}

const fn gone(reason: ErrorKind) -> &'static str {
    match reason {
        ErrorKind::SessionExpired => "it expired, and the client does not open another",
        ErrorKind::AuthFailed => "the server refused the credentials",
        _ => "the client is closed",
    }
}

/// Content of a node that a configuration refuses, and why.
#[derive(Debug, Clone)]
pub struct BadContent {
    path: Arc<str>,
    version: Option<i32>,
    source: Arc<dyn StdError + Send + Sync>,
}

impl BadContent {
    pub(crate) fn new(
        path: &Arc<str>,
        version: Option<i32>,
        source: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        Self {
            path: Arc::clone(path),
            version,
            source: source.into(),
        }
    }

    /// The node's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The version of the node that holds the content; `None` for content that was never written.
    #[must_use]
    pub const fn version(&self) -> Option<i32> {
        self.version
    }
}

impl fmt::Display for BadContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(
                f,
                "bad content in version {version} of {}: {}",
                self.path, self.source
            ),
            None => write!(f, "content not written to {}: {}", self.path, self.source),
        }
    }
}

impl StdError for BadContent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

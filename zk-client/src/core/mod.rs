//! The session, without a socket: what a ZooKeeper client decides.
//!
//! ```text
//!  commands --+                                  +--> Dial, Hangup, Write      (the driver's)
//!  bytes    --+--> Session::handle(now, input) --+--> Complete, Notify         (the callers')
//!  deadline --+                                  +--> Session, State, Evidence (everybody's)
//! ```
//!
//! The contract of every core in this project: hand in one [`Input`], then take outputs from
//! [`Session::poll_output`] until there is none (asserted), then wait for the next input, at the latest until
//! [`Session::next_deadline`]. Time comes in as a [`Moment`]; randomness comes from a seed.
//!
//! Invariants: completion order is submission order among requests of one connection; every command completes
//! exactly once, also when the session is dropped; nothing queued in one session is sent in another.
//!
//! Deliberately not here: sockets, tasks, clocks, name resolution, and the paths that users see (the chroot is
//! put on and taken off by the operations themselves, with [`chroot::Chroot`]).

pub mod auth;
pub mod batch;
pub mod body;
pub mod chroot;
pub mod evidence;
pub mod host_provider;
pub mod in_flight;
pub mod session;
pub mod slot;
pub mod streams;
pub mod unwanted;
pub mod watches;

use std::{
    fmt,
    ops::{Add, Sub},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use zk_proto::{ErrorCode, Password, SessionId, Xid, Zxid, op::Secret};

pub use batch::{Batch, Command, Kind, Leaves, StreamRequest, WatchRequest};
pub use body::Body;
pub use evidence::EvidenceState;
pub use host_provider::Host;
pub use session::Session;
pub use slot::Slot;

use crate::{
    error::Failure,
    retry::RetryPolicy,
    state::{SessionEnd, SessionState},
    watcher::{EventQueue, WatchEvent},
};

/// A point in time on the driver's clock: the time since some fixed moment.
///
/// The clock must keep counting while the machine sleeps, since sessions do not wait for anybody's laptop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, delay: Duration) -> Self {
        Self(self.0.saturating_sub(delay))
    }
}

/// What a session is told at its beginning.
#[derive(Debug, Clone)]
pub struct Config {
    /// The servers, in the order given.
    pub hosts: Vec<Host>,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// How long a request may take in all, the time without a connection included.
    pub request_timeout: Duration,
    /// What to do with requests while there is no connection.
    pub while_disconnected: WhileDisconnected,
    /// What to do when the session has expired.
    pub on_expiry: OnExpiry,
    /// Whether a read-only server will do.
    pub allow_read_only: bool,
    /// Whether the server and the client prove themselves to each other by SASL before anything else.
    pub sasl: bool,
    /// Credentials to present on every connection.
    pub credentials: Vec<auth::Credential>,
    /// The session to resume.
    pub resume: Option<(SessionId, Password)>,
    /// The pauses between rounds over all servers.
    pub retry: RetryPolicy,
    /// The longest reply to accept, in bytes.
    pub max_reply_len: usize,
    /// Where the random decisions start.
    pub seed: u64,
}

/// What happens to requests while there is no connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhileDisconnected {
    /// They wait for the next connection, at most until their request timeout.
    #[default]
    Wait,
    /// They fail at once with CONNECTIONLOSS.
    FailFast,
}

/// What happens when the session has expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// A new session is opened and announced ([`SessionState::Renewed`]).
    #[default]
    Renew,
    /// Every later call fails with [`ErrorKind::SessionExpired`](crate::ErrorKind::SessionExpired).
    Stop,
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Callers want something; the batch is left empty.
    Commands(&'a mut Batch),
    /// A server is connected: the host with this index in the last [`Output::Dial`].
    Dialed(usize),
    /// None of the hosts of the last [`Output::Dial`] could be connected.
    DialFailed(Arc<dyn std::error::Error + Send + Sync>),
    /// Bytes came; whole frames are taken off the front.
    Received(&'a mut BytesMut),
    /// The connection is closed or broken.
    LinkClosed(Option<Arc<dyn std::error::Error + Send + Sync>>),
    /// The search for a read-write server is over: one that was found, or none.
    Searched(Option<Host>),
    /// The next step of the SASL conversation.
    Sasl(SaslStep),
    /// Time passed.
    Deadline,
}

/// What a SASL mechanism wants next.
pub enum SaslStep {
    /// To send this token to the server.
    Respond(Bytes),
    /// Nothing: the conversation is over, and both sides have proved themselves.
    Done,
    /// To give up.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// Without the token, which with some mechanisms is a password.
impl fmt::Debug for SaslStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(_) => f.write_str("Respond"),
            Self::Done => f.write_str("Done"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// What a session wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Connect to one of these, the first ones preferred.
    Dial(Vec<Host>),
    /// Drop the connection, or the attempt to get one.
    Hangup,
    /// Write these bytes to the connection.
    Write(BytesMut),
    /// Ask these which of them takes writes, until one does.
    Search(Vec<Host>),
    /// Begin a SASL conversation with the server.
    SaslBegin,
    /// Go on with the SASL conversation: what the server answered.
    SaslChallenge(Secret),
    /// Answer a caller.
    Complete {
        /// Who asked.
        slot: Slot,
        /// The answer.
        result: Result<Reply, Failure>,
    },
    /// Tell the holder of a watch.
    Notify {
        /// Who watches.
        watcher: Watcher,
        /// What happened.
        event: WatchEvent,
    },
    /// Tell the reader of a persistent watch.
    Stream {
        /// Who reads.
        queue: Arc<EventQueue>,
        /// What happened.
        event: WatchEvent,
    },
    /// There is another session than before; with the id 0, there will be.
    Session(SessionInfo),
    /// The session with this generation is over.
    SessionEnded {
        /// Which.
        generation: u64,
        /// Why.
        reason: SessionEnd,
    },
    /// The session's state changed.
    State(SessionState),
    /// What is known about the leader's view of the session changed.
    Evidence(EvidenceState),
    /// This many requests, with this many bytes, are no longer waiting for an answer.
    Release {
        /// How many.
        commands: usize,
        /// How many bytes their frames have together.
        bytes: usize,
    },
    /// Everything is over; no input has an effect any more.
    Stop,
}

/// Where a watch event goes.
pub type Watcher = oneshot::Sender<WatchEvent>;

/// A server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The number of the request on its connection; 0 for what was none.
    pub xid: Xid,
    /// The transaction of a write; for a read the last one that the server had applied.
    pub zxid: Zxid,
    /// The error, or [`ErrorCode::Ok`].
    pub code: ErrorCode,
    /// The body; [`Body::Empty`] with an error.
    pub body: Body,
}

/// A session as the client knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Counts the client's sessions; a bound call names it.
    pub generation: u64,
    /// The session's id.
    pub id: SessionId,
    /// Its password.
    pub password: Password,
    /// The timeout granted.
    pub timeout: Duration,
    /// When the server was certainly told last that the client lives: the sending of the last request that was
    /// answered, as far as it was known when this was told.
    pub last_proof: Moment,
}

impl fmt::Debug for SessionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SessionInfo({}, generation {})",
            self.id, self.generation
        )
    }
}

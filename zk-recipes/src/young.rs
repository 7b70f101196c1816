//! Operations that a server in use may be too old to know, and what a client has found out about that.
//!
//! ZooKeeper before 3.6 answers `addWatch` and `multiRead` with UNIMPLEMENTED and closes the connection; the client may see the
//! end of the connection first. Either costs all users of the client their connection. So what one recipe has found out
//! counts for all recipes of the client: a refusal for good, and lost connections for the session, since they may
//! have been chance. (Whoever does without is dearer, and no less right: also where younger servers took over meanwhile.)

use std::marker::PhantomData;

use parking_lot::Mutex;
use zk_client::{Error, ErrorKind, SessionId};

/// With so many requests in a row that brought a lost connection instead of an answer (and the client has repeated each of them), the
/// server is one that closes it.
const LOST_MAX: u32 = 2;

/// `addWatch`: persistent watches.
#[derive(Debug)]
pub(crate) enum AddWatch {}

/// `multiRead`.
#[derive(Debug)]
pub(crate) enum MultiRead {}

/// What one client knows of one operation; shared by [`shared_state`](zk_client::Client::shared_state).
#[derive(Debug)]
pub(crate) struct Young<Op> {
    found: Mutex<Found>,
    op: PhantomData<fn() -> Op>,
}

#[derive(Debug, Default)]
struct Found {
    refused: bool,
    /// How many requests in a row brought a lost connection, all of them in this session.
    lost: u32,
    session: Option<SessionId>,
}

impl<Op> Default for Young<Op> {
    fn default() -> Self {
        Self {
            found: Mutex::default(),
            op: PhantomData,
        }
    }
}

impl<Op> Young<Op> {
    /// Whether there is no point in asking for it.
    pub(crate) fn is_unknown(&self, session: SessionId) -> bool {
        let found = self.found.lock();
        found.refused || found.session == Some(session) && found.lost >= LOST_MAX
    }

    /// What came of a request; the error, if it was one.
    pub(crate) fn learn(&self, session: SessionId, error: Option<&Error>) {
        let mut found = self.found.lock();
        match error.map(Error::kind) {
            Some(ErrorKind::Unimplemented) => found.refused = true,
            Some(ErrorKind::ConnectionLoss) if found.session == Some(session) => found.lost += 1,
            Some(ErrorKind::ConnectionLoss) => (found.session, found.lost) = (Some(session), 1),
            // What was found out already stands: others may have asked at the same time.
            _ if found.lost < LOST_MAX => found.lost = 0,
            _ => {}
        }
    }
}

//! Of whom connections hear, for the member that has to tell its leader.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering::AcqRel},
};

use parking_lot::Mutex;
use zk_proto::SessionId;

/// The sessions that were heard of since somebody last asked.
///
/// A connection enters its session once until then ([`Beacon`]), so that asking takes as long as there is to tell, however
/// many sessions there are.
#[derive(Debug, Default)]
pub struct HeardOf {
    sessions: Mutex<Vec<SessionId>>,
}

impl HeardOf {
    /// Enters a session; it may be entered already.
    pub fn enter(&self, session: SessionId) {
        self.sessions.lock().push(session);
    }

    /// Those entered since the last time, each once, by id.
    #[must_use]
    pub fn take(&self) -> Vec<SessionId> {
        let mut sessions = std::mem::take(&mut *self.sessions.lock());
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }
}

/// A connection's part: where it enters its session, and whether it has.
#[derive(Debug, Default)]
pub struct Beacon {
    to: OnceLock<(SessionId, Arc<HeardOf>)>,
    is_lit: AtomicBool,
}

impl Beacon {
    /// From now on the session is entered there whenever its client is heard of. A connection has one session.
    pub fn aim(&self, session: SessionId, to: &Arc<HeardOf>) {
        // A second time it is the same session.
        let _ = self.to.set((session, to.clone()));
    }

    /// The client was heard of, and that is noted already: whoever puts the beacon out sees it.
    pub fn light(&self) {
        if let Some((session, to)) = self.to.get()
            && !self.is_lit.swap(true, AcqRel)
        {
            to.enter(*session);
        }
    }

    /// What was heard so far is known; what comes is entered anew.
    pub fn put_out(&self) {
        self.is_lit.swap(false, AcqRel);
    }
}

//! What a lock protects, and the observer of who believes to hold it.

use parking_lot::Mutex;
use zk_client::Zxid;

use crate::world::now;

/// A resource that refuses stale tokens, and takes note of everything that must not happen.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    newest_grant: Zxid,
    newest_write: Zxid,
    tally: Tally,
    violations: Vec<String>,
}

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) grants: u64,
    pub(crate) writes: u64,
    /// Writes of holders of the past that came late, and were refused.
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) cancelled: u64,
    /// Writers that became readers.
    pub(crate) downgraded: u64,
    /// Transactions under a guard that were told to have gone through.
    pub(crate) committed: u64,
    /// How many were certain at once, at most.
    pub(crate) most: u64,
}

impl Resource {
    /// Somebody was granted the lock. Tokens grow from grant to grant.
    pub(crate) fn granted(&self, who: &str, token: Zxid) {
        let mut state = self.state.lock();
        if token <= state.newest_grant {
            let newest = state.newest_grant;
            state.violated(format!("{who} was granted {token} after {newest}"));
        }
        state.newest_grant = state.newest_grant.max(token);
        state.tally.grants += 1;
    }

    /// Somebody is certain to hold the lock. Nobody newer may have been granted it.
    pub(crate) fn certain(&self, who: &str, token: Zxid) {
        let mut state = self.state.lock();
        if token < state.newest_grant {
            let newest = state.newest_grant;
            state.violated(format!(
                "{who} is certain with {token}, but {newest} was granted"
            ));
        }
    }

    /// A write arrives, perhaps long after it was sent. A stale one is refused; that is what a fence is for.
    pub(crate) fn write(&self, token: Zxid) {
        let mut state = self.state.lock();
        match token < state.newest_write {
            true => state.tally.refused += 1,
            false => {
                state.newest_write = token;
                state.tally.writes += 1;
            }
        }
    }

    pub(crate) fn lost(&self) {
        self.state.lock().tally.lost += 1;
    }

    pub(crate) fn cancelled(&self) {
        self.state.lock().tally.cancelled += 1;
    }

    pub(crate) fn downgraded(&self) {
        self.state.lock().tally.downgraded += 1;
    }

    pub(crate) fn tally(&self) -> Tally {
        self.state.lock().tally
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }
}

impl State {
    fn violated(&mut self, what: String) {
        self.violations.push(format!("at {:?}: {what}", now()));
    }
}

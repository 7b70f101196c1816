//! Operations that a server in use may be too old to know, and what a client has found out about that.
//!
//! ZooKeeper before 3.6 answers `addWatch` and `multiRead` with UNIMPLEMENTED and closes the connection; the client may see the
//! end of the connection first. Either costs all users of the client their connection. So what one recipe has found out
//! counts for all recipes of the client. A refusal counts for good; lost connections may have been chance, so after two in a row
//! the client does without for a while, and asks again, each time after twice as many occasions: a server that knows
//! the operation is soon asked for it again, and one that does not closes ever fewer connections. (Whoever does without is
//! dearer, and no less right: also where younger servers took over meanwhile.)

use std::marker::PhantomData;

use parking_lot::Mutex;
use zk_client::{Error, ErrorKind};

/// With so many requests in a row that brought a lost connection instead of an answer (and the client has repeated each of them), the
/// server is suspected of closing it.
const LOST_MAX: u32 = 2;
/// On how many occasions the client then does without, the first time.
const FIRST_REST: u32 = 32;

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
    /// How many requests in a row brought a lost connection.
    lost: u32,
    /// On how many more occasions the client does without, and on how many the last time.
    rest: u32,
    last_rest: u32,
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
    /// Whether to do without it on this occasion.
    pub(crate) fn is_avoided(&self) -> bool {
        self.found.lock().is_avoided()
    }

    /// What came of a request; the error, if it was one.
    pub(crate) fn learn(&self, error: Option<&Error>) {
        self.found.lock().learn(error.map(Error::kind));
    }
}

impl Found {
    const fn is_avoided(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        self.refused || rests
    }

    fn learn(&mut self, error: Option<ErrorKind>) {
        match error {
            Some(ErrorKind::Unimplemented) => self.refused = true,
            Some(ErrorKind::ConnectionLoss) => {
                self.lost += 1;
                if self.lost >= LOST_MAX {
                    self.last_rest = self.last_rest.saturating_mul(2).max(FIRST_REST);
                    self.rest = self.last_rest;
                }
            }
            None => (self.lost, self.last_rest) = (0, 0),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Option<ErrorKind> = Some(ErrorKind::ConnectionLoss);

    /// On which of so many occasions it is asked for, where each request is lost.
    fn asked(found: &mut Found, occasions: usize) -> Vec<usize> {
        let is_asked = |_: &usize| {
            let is_asked = !found.is_avoided();
            if is_asked {
                found.learn(LOST);
            }
            is_asked
        };
        (0..occasions).filter(is_asked).collect()
    }

    #[test]
    fn what_is_lost_is_tried_again_and_ever_more_rarely() {
        let mut found = Found::default();
        assert_eq!(asked(&mut found, 1000), [0, 1, 34, 99, 228, 485, 998]);
    }

    #[test]
    fn an_answer_makes_up_for_what_was_lost() {
        let mut found = Found::default();
        asked(&mut found, 400);
        while found.is_avoided() {}
        found.learn(None);
        assert_eq!(asked(&mut found, 40), [0, 1, 34]);
    }

    #[test]
    fn a_refusal_is_for_good() {
        let mut found = Found::default();
        assert!(!found.is_avoided());
        found.learn(Some(ErrorKind::Unimplemented));
        found.learn(None);
        assert!((0..1000).all(|_| found.is_avoided()));
    }
}

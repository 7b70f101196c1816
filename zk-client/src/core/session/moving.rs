//! Turning from one server to another that is better: after the list of servers has changed, and from a
//! read-only server to one that takes writes.
//!
//! Moving loses nothing: from the decision on nothing new is sent, what was sent is waited for (for a sixth of the
//! session timeout at most), and then the session is resumed elsewhere.

use std::time::Duration;

use super::{Phase, Session};
use crate::core::{Host, Moment, Output};

/// The pauses between searches, from the first to the longest (as in `ClientCnxn`).
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The search for a server that takes writes.
#[derive(Debug)]
pub(super) struct Search {
    /// When to ask around; `None` while somebody does.
    next_at: Option<Moment>,
    pause: Duration,
}

impl Search {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            next_at: Some(now + PAUSE_MIN),
            pause: PAUSE_MIN,
        }
    }
}

impl Session {
    /// From now on there are these servers; leaves the present one if that balances the load.
    pub(super) fn update_hosts(&mut self, hosts: Vec<Host>) {
        let leave = self.hosts.update(hosts, &mut self.rng);
        tracing::info!(hosts = %self.hosts, leave, "the list of servers changed");
        match &self.phase {
            // The attempt under way is to servers that may not be there any more.
            Phase::Dialing { .. } => self.give_up_link(Duration::ZERO),
            Phase::Handshaking(_) | Phase::Authenticating { .. } if leave => {
                self.give_up_link(Duration::ZERO);
            }
            Phase::Live(_) if leave => self.begin_leaving(),
            _ => {}
        }
    }

    /// What the search for a read-write server brought.
    pub(super) fn searched(&mut self, found: Option<&Host>) {
        let now = self.now;
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        match (found, &mut live.search) {
            (Some(host), Some(_)) => {
                tracing::info!(server = %host, "takes writes");
                self.hosts.prefer(host);
                self.begin_leaving();
            }
            (None, Some(search)) => {
                search.pause = (search.pause * 2).min(PAUSE_MAX);
                search.next_at = Some(now + search.pause);
            }
            (_, None) => {}
        }
    }

    pub(super) const fn is_leaving(&self) -> bool {
        matches!(&self.phase, Phase::Live(live) if live.leaving.is_some())
    }

    pub(super) fn meet_moving_deadlines(&mut self) {
        let (now, settled) = (self.now, self.requests.is_settled());
        let Phase::Live(live) = &mut self.phase else {
            return;
        };
        if live.leaving.is_some_and(|until| settled || until <= now) {
            return self.give_up_link(Duration::ZERO);
        }
        if let Some(search) = &mut live.search
            && search.next_at.is_some_and(|at| at <= now)
        {
            search.next_at = None;
            let hosts = self.hosts.candidates();
            self.outputs.push_back(Output::Search(hosts));
        }
    }

    /// When there is something to do about moving.
    pub(super) fn moving_deadline(&self) -> Option<Moment> {
        let Phase::Live(live) = &self.phase else {
            return None;
        };
        let search = live.search.as_ref().and_then(|search| search.next_at);
        search.into_iter().chain(live.leaving).min()
    }

    fn begin_leaving(&mut self) {
        let until = self.now + self.timeout() / 6;
        if let Phase::Live(live) = &mut self.phase {
            live.leaving.get_or_insert(until);
            live.search = None;
        }
    }
}

//! Evidence that the *leader* still holds the session.
//!
//! A server answers pings itself, so a pinged session may have been expired by the leader for seconds. A
//! `sync` travels through the leader, behind every commit proposed before it; an expired session's connection
//! is cut by the commit of its end, so an answered `sync` means that no end was proposed when it passed. From
//! its *send* time the session is good for two thirds of its timeout: the previous heartbeat, at most a third
//! earlier, refreshed it.
//!
//! Evidence comes in *runs*: as long as every answer comes before the deadline that the one before it set, the
//! run goes on. Once a deadline has passed, the run is lost for good, also if the session turns out to live;
//! a later answer begins another run.

use std::time::Duration;

use super::Moment;

/// What is known of the leader's view, told whenever it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvidenceState {
    /// The run; a holder of evidence compares it with its own.
    pub run: u64,
    /// The session it is about.
    pub generation: u64,
    /// How long it is good; `None` once it is lost.
    pub until: Option<Moment>,
    /// The last runs that were lost because the session ended, 0 for none.
    pub ended_runs: [u64; ENDED_RUNS],
}

/// Of so many runs it is remembered that they went with their session; of an older one only that it is over.
const ENDED_RUNS: usize = 4;

impl EvidenceState {
    /// Why this run is lost: with its session or not; `None` while it is not.
    pub(crate) fn loss_of(&self, run: u64) -> Option<bool> {
        let goes_on = run == self.run && self.until.is_some();
        (!goes_on).then(|| run > 0 && self.ended_runs.contains(&run))
    }

    /// Ends the run, if there is one.
    pub(crate) fn lose(&mut self, session_ended: bool) -> Option<Self> {
        self.until.take()?;
        if session_ended {
            self.ended_runs.rotate_right(1);
            self.ended_runs[0] = self.run;
        }
        Some(*self)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Evidence {
    holders: usize,
    /// The session is being closed: nothing proves its life any more.
    closed: bool,
    state: EvidenceState,
    /// The last session that was warned of.
    warned_of: Option<u64>,
    /// When the last heartbeat was sent on this connection.
    last_sent: Option<Moment>,
    /// When the first heartbeat without an answer was sent on this connection.
    unanswered: Option<Moment>,
}

impl Evidence {
    /// One more holder wants heartbeats.
    pub(crate) const fn hold(&mut self) {
        self.holders += 1;
    }

    /// Whether this session was not warned of before; it counts as warned of now.
    pub(crate) fn is_to_be_warned_of(&mut self, generation: u64) -> bool {
        self.warned_of.replace(generation) != Some(generation)
    }

    /// One holder less; without any, the run ends unnoticed.
    pub(crate) fn release(&mut self) -> Option<EvidenceState> {
        self.holders = self.holders.saturating_sub(1);
        match self.holders {
            0 => self.lose(false),
            _ => None,
        }
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.holders > 0 && !self.closed
    }

    /// A `sync` was written.
    pub(crate) const fn sent(&mut self, now: Moment) {
        self.last_sent = Some(now);
        if self.unanswered.is_none() {
            self.unanswered = Some(now);
        }
    }

    /// The connection is gone, and with it what was sent.
    pub(crate) const fn link_lost(&mut self) {
        self.last_sent = None;
        self.unanswered = None;
    }

    /// When the next heartbeat is due, on a connection.
    pub(crate) fn heartbeat_due(&self, timeout: Duration) -> Option<Moment> {
        let due = self
            .last_sent
            .map_or_else(Moment::default, |sent| sent + timeout / 3);
        self.is_held().then_some(due)
    }

    /// When to look for another server that reaches the leader, since this one seems not to: a sixth of the
    /// timeout after a heartbeat, with as much left until the deadline.
    pub(crate) fn impatient_at(&self, timeout: Duration) -> Option<Moment> {
        let unanswered = self.unanswered.filter(|_| self.state.until.is_some());
        unanswered.map(|sent| sent + timeout / 6)
    }

    /// How long to wait at most between two attempts to connect: only a third of the timeout may be left to renew the
    /// proof, and it has to hold several.
    pub(crate) fn longest_pause(&self, timeout: Duration) -> Option<Duration> {
        self.state.until.map(|_| timeout / 16)
    }

    /// When the run is lost.
    pub(crate) const fn deadline(&self) -> Option<Moment> {
        self.state.until
    }

    /// A `sync` that was sent at `sent` in this session is answered.
    pub(crate) fn answered(
        &mut self,
        now: Moment,
        sent: Moment,
        timeout: Duration,
        generation: u64,
    ) -> Option<EvidenceState> {
        // Answers come in order: what is still unanswered was sent after this one.
        self.unanswered = self.last_sent.filter(|last| *last > sent);
        let until = sent + timeout * 2 / 3;
        if until <= now || !self.is_held() {
            return None;
        }
        self.state = match self.state.until {
            Some(known) => EvidenceState {
                until: Some(known.max(until)),
                ..self.state
            },
            None => EvidenceState {
                run: self.state.run + 1,
                generation,
                until: Some(until),
                ..self.state
            },
        };
        Some(self.state)
    }

    /// Ends the run if its deadline has come; asked before anything else is looked at.
    pub(crate) fn check(&mut self, now: Moment) -> Option<EvidenceState> {
        match self.state.until {
            Some(until) if until <= now => self.lose(false),
            _ => None,
        }
    }

    /// The session is over.
    pub(crate) fn session_ended(&mut self) -> Option<EvidenceState> {
        self.link_lost();
        self.lose(true)
    }

    /// The session is being closed, and the client with it.
    pub(crate) fn close(&mut self) -> Option<EvidenceState> {
        self.closed = true;
        self.session_ended()
    }

    fn lose(&mut self, session_ended: bool) -> Option<EvidenceState> {
        self.state.lose(session_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(9);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn held() -> Evidence {
        let mut evidence = Evidence::default();
        evidence.hold();
        evidence
    }

    #[test]
    fn evidence_counts_from_the_sending_and_never_shrinks() {
        let mut evidence = held();
        let first = evidence.answered(at(2), at(1), T, 0).unwrap();
        assert_eq!(first.until, Some(at(7)));
        let older = evidence.answered(at(3), at(0), T, 0).unwrap();
        assert_eq!(older, first);
    }

    #[test]
    fn a_run_that_is_lost_stays_lost() {
        let mut evidence = held();
        let run = evidence.answered(at(1), at(0), T, 0).unwrap().run;
        assert_eq!(evidence.check(at(5)), None);
        let lost = evidence.check(at(6)).unwrap();
        assert_eq!((lost.run, lost.until), (run, None));
        let next = evidence.answered(at(7), at(6), T, 0).unwrap();
        assert_eq!(next.run, run + 1);
    }

    #[test]
    fn why_a_run_was_lost_is_remembered_in_the_next() {
        let mut evidence = held();
        let run = |state: Option<EvidenceState>| state.unwrap().run;
        let first = run(evidence.answered(at(1), at(0), T, 0));
        evidence.check(at(6)).unwrap();
        let second = run(evidence.answered(at(7), at(6), T, 0));
        evidence.session_ended().unwrap();
        let state = evidence.answered(at(8), at(7), T, 1).unwrap();
        assert_eq!(state.loss_of(first), Some(false));
        assert_eq!(state.loss_of(second), Some(true));
        assert_eq!(state.loss_of(state.run), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_proves_nothing() {
        assert_eq!(held().answered(at(6), at(0), T, 0), None);
    }

    #[test]
    fn heartbeats_go_on_while_somebody_holds() {
        let mut evidence = held();
        assert_eq!(
            evidence.heartbeat_due(T),
            Some(at(0)),
            "at once on a new connection"
        );
        evidence.sent(at(4));
        assert_eq!(evidence.heartbeat_due(T), Some(at(7)));
        evidence.release();
        assert_eq!(evidence.heartbeat_due(T), None);
    }
}

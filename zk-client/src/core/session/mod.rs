//! The session: connecting, resuming, expiring, closing.
//!
//! ```text
//!   Idle --redial--> Dialing --Dialed--> Handshaking --ConnectResponse--> [Authenticating] --> Live
//!    ^                  |                     |                                 |             |
//!    +---- failed ------+------- failed ------+------------- failed ------------+- link lost -+
//!   Ended: expired (OnExpiry::Stop) or refused credentials; answers every command with the reason
//!   Stopped: closed; the driver's task ends
//! ```
//!
//! Facts from `ClientCnxn.java`: a ping after a third of the timeout without a request, a connection is dead
//! after two thirds of silence, `lastZxid` comes from replies and not from events.

mod commands;
mod deadlines;
mod link;
mod moving;
mod replies;
mod sasl;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, error::Error as StdError, sync::Arc, time::Duration};

use bytes::BytesMut;
use fastrand::Rng;
use zk_proto::{ErrorCode, Password, SessionId, Xid, Zxid};

use self::moving::Search;
use super::{
    Body, Config, Input, Moment, OnExpiry, Output, Reply, SessionInfo, Slot,
    auth::Auth,
    evidence::{Evidence, EvidenceState},
    host_provider::HostProvider,
    in_flight::{Entry, InFlight, Purpose},
    streams::Streams,
    unwanted::Unwanted,
    watches::Watches,
};
use crate::{
    error::{ErrorKind, Failure},
    state::{SessionEnd, SessionState},
    watcher::{EventQueue, WatchEvent},
};

type Source = Arc<dyn StdError + Send + Sync>;

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    config: Config,
    rng: Rng,
    now: Moment,
    phase: Phase,
    state: SessionState,
    /// The session to resume, if there is one.
    session: Option<Established>,
    /// Whether a server of a quorum ever confirmed it: one that only a read-only server knows cannot be resumed.
    known_to_quorum: bool,
    /// The session that expired and whose successor is not there yet.
    expired: Option<SessionId>,
    generation: u64,
    last_zxid: Zxid,
    /// When the last request was sent that a server of this session answered. Only this counts as its life.
    last_proof: Moment,
    hosts: HostProvider,
    auth: Auth,
    requests: InFlight,
    watches: Watches,
    streams: Streams,
    unwanted: Unwanted,
    /// How many re-registrations of watches the server has not answered.
    re_registrations: usize,
    evidence: Evidence,
    /// Who waits for a session, and until when.
    ready: Vec<(Slot, Moment)>,
    closing: Option<Closing>,
    /// The connection was given up for a better one, and no attempt to get that has failed.
    moving: bool,
    /// Why the last attempt failed or the last connection broke.
    last_error: Option<Source>,
    out: BytesMut,
    outputs: VecDeque<Output>,
    /// How many callers' requests are answered and not reported yet.
    released: usize,
    /// The bytes of their frames.
    released_bytes: usize,
}

#[derive(Debug)]
enum Phase {
    Idle { redial_at: Moment },
    Dialing { give_up: Moment },
    Handshaking(Handshake),
    Authenticating { give_up: Moment, read_only: bool },
    Live(Live),
    Ended(ErrorKind),
    Stopped,
}

/// A connect request on its way.
#[derive(Debug, Clone, Copy)]
struct Handshake {
    since: Moment,
    give_up: Moment,
    asked: SessionId,
}

#[derive(Debug)]
struct Live {
    since: Moment,
    last_heard: Moment,
    last_sent: Moment,
    /// When the pings were sent that are not answered.
    pings: VecDeque<Moment>,
    /// When the connection is given up for another one, at the latest; nothing new is sent any more.
    leaving: Option<Moment>,
    /// The search for a read-write server, on a connection to a read-only one.
    search: Option<Search>,
}

#[derive(Debug)]
struct Established {
    id: SessionId,
    password: Password,
    timeout: Duration,
}

/// The end of the session under way.
#[derive(Debug)]
struct Closing {
    deadline: Moment,
    slots: Vec<Slot>,
    /// The session itself goes on, for somebody else.
    detached: bool,
}

impl Session {
    /// A session that begins to connect at once.
    #[must_use]
    pub fn new(now: Moment, mut config: Config) -> Self {
        let mut rng = Rng::with_seed(config.seed);
        let hosts = HostProvider::new(std::mem::take(&mut config.hosts), &mut rng);
        let timeout = config.session_timeout;
        let session = config.resume.take().map(|(id, password)| Established {
            id,
            password,
            timeout,
        });
        let known_to_quorum = session.is_some();
        let auth = Auth::new(std::mem::take(&mut config.credentials));
        let mut session = Self {
            config,
            rng,
            now,
            phase: Phase::Idle { redial_at: now },
            state: SessionState::Connecting,
            session,
            known_to_quorum,
            expired: None,
            generation: 0,
            last_zxid: Zxid::ZERO,
            last_proof: now,
            hosts,
            auth,
            requests: InFlight::new(),
            watches: Watches::default(),
            streams: Streams::default(),
            unwanted: Unwanted::default(),
            re_registrations: 0,
            evidence: Evidence::default(),
            ready: Vec::new(),
            closing: None,
            moving: false,
            last_error: None,
            out: BytesMut::new(),
            outputs: VecDeque::new(),
            released: 0,
            released_bytes: 0,
        };
        session.meet_deadlines();
        session
    }

    /// Numbers requests from here on beginning with this, so that a test sees them wrap within its lifetime.
    #[cfg(any(test, feature = "testing"))]
    pub const fn number_from(&mut self, xid: Xid) {
        self.requests.number_from(xid);
    }

    /// Takes one input; every output of the one before must have been taken.
    ///
    /// # Panics
    /// When outputs are left: the driver broke the contract.
    pub fn handle(&mut self, now: Moment, input: Input<'_>) {
        assert!(
            self.outputs.is_empty(),
            "outputs are drained before the next input"
        );
        self.now = self.now.max(now);
        // First of all: evidence that lapsed before this input was looked at must not be revived by it.
        let lapsed = self.evidence.check(self.now);
        self.announce_evidence(lapsed);
        match input {
            Input::Commands(batch) => self.absorb(batch),
            Input::Dialed(place) => self.dialed(place),
            Input::DialFailed(error) => self.dial_failed(error),
            Input::Received(bytes) => self.received(bytes),
            Input::LinkClosed(error) => self.link_closed(error),
            Input::Searched(found) => self.searched(found.as_ref()),
            Input::Sasl(step) => self.sasl_step(step),
            Input::Deadline => {}
        }
        self.meet_deadlines();
        self.flush();
    }

    /// The next thing to do; `None` when the session waits for an input.
    #[inline]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When it wants [`Input::Deadline`] at the latest.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        self.earliest_deadline()
    }

    fn timeout(&self) -> Duration {
        self.session
            .as_ref()
            .map_or(self.config.session_timeout, |session| session.timeout)
    }

    fn session_id(&self) -> SessionId {
        self.session
            .as_ref()
            .map_or(SessionId::NONE, |session| session.id)
    }

    const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    const fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshaking(_))
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            if let Phase::Live(live) = &mut self.phase {
                live.last_sent = self.now;
            }
            self.outputs.push_back(Output::Write(self.out.split()));
        }
        if self.released > 0 {
            let commands = std::mem::take(&mut self.released);
            let bytes = std::mem::take(&mut self.released_bytes);
            self.outputs.push_back(Output::Release { commands, bytes });
        }
    }

    fn set_state(&mut self, state: SessionState) {
        if self.state != state {
            self.state = state;
            self.outputs.push_back(Output::State(state));
        }
    }

    fn announce_evidence(&mut self, change: Option<EvidenceState>) {
        self.outputs.extend(change.map(Output::Evidence));
    }

    #[inline]
    fn complete(&mut self, slot: Option<Slot>, result: Result<Reply, Failure>) {
        if let Some(slot) = slot {
            self.outputs.push_back(Output::Complete { slot, result });
        }
    }

    fn complete_empty(&mut self, slot: Option<Slot>) {
        let (zxid, code, body) = (self.last_zxid, ErrorCode::Ok, Body::Empty);
        self.complete(
            slot,
            Ok(Reply {
                xid: Xid(0),
                zxid,
                code,
                body,
            }),
        );
    }

    fn fail(&mut self, slot: Option<Slot>, kind: ErrorKind) {
        let source = self.last_error.clone();
        let failure = Failure::not_applied(kind).because(source);
        self.complete(slot, Err(failure));
    }

    /// Fails requests; what was sent has an unknown outcome unless it only reads.
    fn fail_requests(&mut self, entries: Vec<Entry>, kind: ErrorKind) {
        let generation = self.generation;
        let source = match kind {
            ErrorKind::ConnectionLoss => self.last_error.clone(),
            _ => None,
        };
        for entry in entries {
            let failure = match entry.sent_at {
                Some(_) => Failure::in_flight(kind, entry.op),
                None => Failure::not_applied(kind),
            };
            self.count_released(entry.purpose, entry.frame_len);
            let failure = failure.because(source.clone());
            let failure = failure.repeatable(entry.deadline(), generation);
            self.complete(entry.slot, Err(failure));
        }
    }

    #[inline]
    const fn count_released(&mut self, purpose: Purpose, frame_len: usize) {
        if matches!(purpose, Purpose::Request | Purpose::Evidence) {
            self.released += 1;
            self.released_bytes += frame_len;
        }
    }

    /// The session is no more: nothing of it is carried over into another.
    fn session_expired(&mut self) {
        let timeout = self.timeout();
        let ended = self.session.take().map(|session| session.id);
        tracing::info!(session = %ended.unwrap_or(SessionId::NONE), "session expired");
        self.hang_up();
        self.end_session(ErrorKind::SessionExpired, SessionEnd::Expired);
        self.known_to_quorum = false;
        self.expired = self.expired.or(ended);
        self.set_state(SessionState::Expired);
        let redial_at = self.now;
        match self.config.on_expiry {
            _ if self.closing.is_some() => self.stop(Ok(())),
            OnExpiry::Renew => {
                // What is bound from now on is bound to the session to come, which is likely to be granted as long.
                let info = self.info(SessionId::NONE, Password::zero(), timeout);
                self.outputs.push_back(Output::Session(info));
                self.phase = Phase::Idle { redial_at };
            }
            OnExpiry::Stop => self.end(ErrorKind::SessionExpired),
        }
    }

    /// A server refused what the client depends on.
    fn auth_failed(&mut self) {
        self.hang_up();
        self.session = None;
        self.end_session(ErrorKind::AuthFailed, SessionEnd::AuthFailed);
        self.set_state(SessionState::AuthFailed);
        match self.closing.is_some() {
            true => self.stop(Ok(())),
            false => self.end(ErrorKind::AuthFailed),
        }
    }

    /// Tells everybody who depends on the session that it is over.
    fn end_session(&mut self, kind: ErrorKind, reason: SessionEnd) {
        let generation = self.generation;
        self.generation += 1;
        self.outputs
            .push_back(Output::SessionEnded { generation, reason });
        let lost = self.evidence.session_ended();
        self.announce_evidence(lost);
        let sent = self.requests.take_sent();
        self.fail_requests(sent, kind);
        let unsent = self.requests.take_unsent();
        self.fail_requests(unsent, kind);
        for watcher in self.watches.take_all() {
            let event = WatchEvent::SessionEnded;
            self.outputs.push_back(Output::Notify { watcher, event });
        }
        let queues = self.streams.take_all();
        self.tell_streams(queues, &WatchEvent::SessionEnded);
    }

    fn tell_streams(&mut self, queues: Vec<Arc<EventQueue>>, event: &WatchEvent) {
        let tell = |queue| Output::Stream {
            queue,
            event: event.clone(),
        };
        self.outputs.extend(queues.into_iter().map(tell));
    }

    /// No session will follow; commands are answered with the reason until the client is closed.
    fn end(&mut self, kind: ErrorKind) {
        for (slot, _) in std::mem::take(&mut self.ready) {
            self.fail(Some(slot), kind);
        }
        for slot in self.auth.take_slots() {
            self.fail(Some(slot), kind);
        }
        self.phase = Phase::Ended(kind);
    }

    /// Everything is over.
    fn stop(&mut self, result: Result<(), Failure>) {
        self.hang_up();
        self.end_session(ErrorKind::Closed, SessionEnd::Closed);
        self.end(ErrorKind::Closed);
        self.phase = Phase::Stopped;
        self.set_state(SessionState::Closed);
        let closing = self.closing.take();
        for slot in closing.into_iter().flat_map(|closing| closing.slots) {
            match &result {
                Ok(()) => self.complete_empty(Some(slot)),
                Err(failure) => self.complete(Some(slot), Err(failure.clone())),
            }
        }
        self.outputs.push_back(Output::Stop);
    }

    const fn info(&self, id: SessionId, password: Password, timeout: Duration) -> SessionInfo {
        SessionInfo {
            generation: self.generation,
            id,
            password,
            timeout,
            last_proof: self.last_proof,
        }
    }

    /// When the last request was sent that a server of the session answered.
    #[must_use]
    pub const fn last_proof(&self) -> Moment {
        self.last_proof
    }
}

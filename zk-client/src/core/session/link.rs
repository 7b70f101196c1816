//! Getting a connection, shaking hands, and losing it again.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Decode, DecodeError, ErrorCode, Password, SessionId,
    connect::{ConnectRequest, ConnectResponse},
    frame::put_frame,
    header::ReplyHeader,
};

use super::{Established, Handshake, Live, Phase, Session, Source, moving::Search};
use crate::{
    core::{Moment, Output, WhileDisconnected, in_flight::Purpose},
    error::ErrorKind,
    state::{SessionEnd, SessionState},
    watcher::WatchEvent,
};

/// How long one server may take to answer, whatever the session timeout.
const HANDSHAKE_MIN: Duration = Duration::from_millis(500);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn dial(&mut self) {
        self.phase = Phase::Dialing {
            give_up: self.now + self.hosts.head_starts() + self.usual_patience(),
        };
        self.outputs
            .push_back(Output::Dial(self.hosts.candidates()));
    }

    pub(super) fn dialed(&mut self, place: usize) {
        if !matches!(self.phase, Phase::Dialing { .. }) {
            return;
        }
        self.hosts.connected(place);
        // A session that only a read-only server knows is asked for in vain (as `ClientCnxn` sees it).
        let (session_id, password) = match &self.session {
            Some(session) if self.known_to_quorum => (session.id, session.password.clone()),
            _ => (SessionId::NONE, Password::zero()),
        };
        let server = self.hosts.current().map(ToString::to_string);
        tracing::debug!(server, session = %session_id, "handshake");
        self.phase = Phase::Handshaking(Handshake {
            since: self.now,
            give_up: self.now + self.patience(),
            asked: session_id,
        });
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id,
            password,
            read_only: Some(self.config.allow_read_only),
        };
        put_frame(&mut self.out, &[&request]);
    }

    pub(super) fn dial_failed(&mut self, error: Source) {
        if !matches!(self.phase, Phase::Dialing { .. }) {
            return;
        }
        tracing::debug!(%error, hosts = %self.hosts, "no server could be connected");
        self.last_error = Some(error);
        self.hang_up();
        if std::mem::take(&mut self.moving) {
            self.fail_sent(self.is_impatient());
        }
        let delay = self
            .hosts
            .delay_after_round(&self.config.retry, &mut self.rng);
        self.phase = Phase::Idle {
            redial_at: self.now + self.no_longer_than_proof_allows(delay),
        };
    }

    fn no_longer_than_proof_allows(&self, delay: Duration) -> Duration {
        match self.evidence.longest_pause(self.timeout()) {
            Some(longest) => delay.min(longest),
            None => delay,
        }
    }

    pub(super) fn link_closed(&mut self, error: Option<Source>) {
        let error = error.unwrap_or_else(|| match self.phase {
            // A server that is behind what the client has seen says nothing either, nor does a read-only one of
            // Apache's 3.9 that is asked for a global session.
            Phase::Handshaking(_) => broken(
                "the server closed the connection instead of answering the connect request: \
                 it is not serving yet, is behind what this client has seen, \
                 or is read-only and takes no session of the quorum",
            ),
            _ => broken("the server closed the connection"),
        });
        self.link_lost(error);
    }

    /// Gives a connection up. What was sent over it has an unknown outcome now.
    pub(super) fn link_lost(&mut self, error: Source) {
        let lived = match &self.phase {
            Phase::Handshaking(_) | Phase::Authenticating { .. } => Duration::ZERO,
            Phase::Live(live) => self.now.since(live.since),
            _ => return,
        };
        match self.state.is_connected() {
            true => tracing::warn!(session = %self.session_id(), %error, "connection lost"),
            false => tracing::debug!(%error, "a server did not take the session"),
        }
        self.last_error = Some(error);
        if lived >= self.timeout() / 3 {
            self.hosts.proved_good();
        }
        let delay = self
            .hosts
            .delay_after_failure(&self.config.retry, &mut self.rng);
        self.give_up_link(self.no_longer_than_proof_allows(delay));
    }

    /// Drops the connection, and looks for another one after this time.
    pub(super) fn give_up_link(&mut self, delay: Duration) {
        // Who moves on purpose is connected again at once: even the impatient wait for that.
        self.moving = self.is_leaving();
        if self.is_live() {
            self.tell_streams(self.streams.all(), &WatchEvent::SessionDisconnected);
        }
        self.hang_up();
        self.evidence.link_lost();
        self.phase = Phase::Idle {
            redial_at: self.now + delay,
        };
        self.fail_sent(self.is_impatient() && !self.moving);
        if self.state.is_connected() {
            self.set_state(SessionState::Suspended);
        }
    }

    fn is_impatient(&self) -> bool {
        self.config.while_disconnected == WhileDisconnected::FailFast
    }

    fn fail_sent(&mut self, unsent_too: bool) {
        let mut lost = self.requests.take_sent();
        if unsent_too {
            let unsent = self.requests.take_unsent();
            lost.extend(unsent);
        }
        let closing = lost.iter().any(|entry| entry.purpose == Purpose::Close);
        self.watches.forget_early();
        self.unwanted.clear();
        self.fail_requests(lost, ErrorKind::ConnectionLoss);
        if closing {
            self.enqueue_close();
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.out.clear();
        if matches!(
            self.phase,
            Phase::Dialing { .. }
                | Phase::Handshaking(_)
                | Phase::Authenticating { .. }
                | Phase::Live(_)
        ) {
            self.outputs.push_back(Output::Hangup);
        }
    }

    /// The server's first frame.
    fn connect_response(&mut self, frame: Bytes, handshake: Handshake) {
        let response = match ConnectResponse::from_bytes(frame.clone()) {
            Ok(response) => response,
            Err(error) => return self.link_lost(refusal(frame, error)),
        };
        let granted = response.timeout_ms > 0 && response.session_id != SessionId::NONE;
        match handshake.asked {
            SessionId::NONE if !granted => {
                self.link_lost(broken("the server granted no session"));
            }
            SessionId::NONE => {
                self.local_session_over();
                // Also for who is closing: what was granted is to be ended.
                self.establish(&response, handshake.since);
            }
            id if granted && id == response.session_id => {
                self.establish(&response, handshake.since);
            }
            // Another session than the one asked for is a new one: the old one is over (ClickHouse#116690).
            _ => self.session_expired(),
        }
    }

    /// A session that only a read-only server knew has a successor now.
    fn local_session_over(&mut self) {
        if let Some(local) = self.session.take() {
            self.end_session(ErrorKind::SessionExpired, SessionEnd::Expired);
            self.expired = self.expired.or(Some(local.id));
            self.set_state(SessionState::Expired);
            if self
                .closing
                .as_ref()
                .is_some_and(|closing| !closing.detached)
            {
                self.enqueue_close();
            }
        }
    }

    fn establish(&mut self, response: &ConnectResponse, asked_at: Moment) {
        self.last_error = None;
        let read_only = response.read_only == Some(true);
        self.known_to_quorum |= !read_only;
        if !(read_only && self.known_to_quorum) {
            self.last_proof = asked_at;
        }
        let timeout = Duration::from_millis(u64::from(response.timeout_ms.unsigned_abs()));
        let session = Established {
            id: response.session_id,
            password: response.password.clone(),
            timeout,
        };
        tracing::info!(session = %session.id, ?timeout, "connected");
        let info = self.info(session.id, session.password.clone(), timeout);
        self.outputs.push_back(Output::Session(info));
        self.session = Some(session);
        match self.config.sasl {
            true => self.begin_sasl(read_only),
            false => self.go_live(read_only),
        }
    }

    /// The connection is there to be used.
    pub(super) fn go_live(&mut self, read_only: bool) {
        let now = self.now;
        self.moving = false;
        self.phase = Phase::Live(Live {
            since: now,
            last_heard: now,
            last_sent: now,
            pings: VecDeque::new(),
            leaving: None,
            search: read_only.then(|| Search::new(now)),
        });
        self.announce_connected(self.session_id(), read_only);
        self.prime();
        self.complete_ready();
    }

    /// Answers those who wait for a session, once the server has accepted the credentials.
    pub(super) fn complete_ready(&mut self) {
        if self.is_live() && self.auth.is_settled() {
            for (slot, _) in std::mem::take(&mut self.ready) {
                self.complete_empty(Some(slot));
            }
        }
    }

    fn announce_connected(&mut self, id: SessionId, read_only: bool) {
        let renewed = self
            .expired
            .take()
            .map(|old| SessionState::Renewed { old, new: id });
        match (renewed, read_only) {
            (Some(renewed), false) => self.set_state(renewed),
            (Some(renewed), true) => {
                self.set_state(renewed);
                self.set_state(SessionState::ReadOnly);
            }
            (None, true) => self.set_state(SessionState::ReadOnly),
            (None, false) => self.set_state(SessionState::Connected),
        }
    }

    /// What goes before everything else on a new connection: credentials, watches, a heartbeat, then the queue.
    fn prime(&mut self) {
        self.auth.replay(&mut self.out);
        let chunks = self
            .watches
            .put_again(&self.streams, self.last_zxid, &mut self.out);
        self.re_registrations = chunks;
        if chunks > 0 {
            tracing::debug!(chunks, "watches registered again");
        }
        self.requests.send_unsent(self.now, &mut self.out);
        if self.evidence.is_held() {
            self.send_heartbeat();
        }
    }

    /// How long a server may take where nothing is at stake.
    pub(super) fn usual_patience(&self) -> Duration {
        (self.timeout() / 3).clamp(HANDSHAKE_MIN, HANDSHAKE_MAX)
    }

    /// How long one server may take over the connect request: a share of what is left of the session, or of the
    /// proof that somebody holds, so that one that accepts connections and says nothing does not cost it.
    fn patience(&self) -> Duration {
        let usual = self.usual_patience();
        let session = self.session.as_ref().filter(|_| self.known_to_quorum);
        let session = session.map(|session| self.last_proof + session.timeout);
        let ends = session.into_iter().chain(self.evidence.deadline()).min();
        let left = ends.map_or(Duration::ZERO, |ends| ends.since(self.now));
        match left.is_zero() {
            true => usual,
            false => usual
                .min(left / self.hosts.left_in_round())
                .max(HANDSHAKE_MIN),
        }
    }
}

/// What a frame says that is no connect response.
fn refusal(frame: Bytes, error: DecodeError) -> Source {
    match ReplyHeader::from_bytes(frame) {
        // `ReadOnlyRequestProcessor` answers the creation of a session that is not local like any write.
        Ok(header) if header.err == ErrorCode::NotReadOnly.code() => {
            broken("the read-only server resumes sessions but opens none (localSessionsEnabled)")
        }
        _ => std::sync::Arc::new(error),
    }
}

/// An error of the link in words.
pub(super) fn broken(why: &'static str) -> Source {
    let error: Box<dyn std::error::Error + Send + Sync> = why.into();
    error.into()
}

impl Session {
    /// Takes whole frames off the front of what was received.
    pub(super) fn received(&mut self, bytes: &mut BytesMut) {
        loop {
            if !matches!(
                self.phase,
                Phase::Handshaking(_) | Phase::Authenticating { .. } | Phase::Live(_)
            ) {
                bytes.clear();
                return;
            }
            let frame = match zk_proto::frame::take_frame(bytes, self.config.max_reply_len) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.link_lost(std::sync::Arc::new(error));
                    continue;
                }
            };
            match self.phase {
                Phase::Live(_) => self.frame(frame),
                Phase::Handshaking(handshake) => self.connect_response(frame, handshake),
                _ => self.sasl_answer(frame),
            }
        }
        if let Phase::Live(live) = &mut self.phase {
            live.last_heard = self.now;
        }
    }
}

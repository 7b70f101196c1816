//! One client connection's protocol: bytes in, events out.
//!
//! The core knows frames, the words of four letters, the connect request and the order of a session's
//! requests; it holds no socket and no clock. Its driver feeds it what it read ([`Connection::receive`]),
//! takes events ([`Connection::next_event`]) and asks when to look again ([`Connection::next_deadline`]).
//!
//! Invariants:
//! * no memory is reserved on the word of a length; before a session a frame has at most 1 KiB;
//! * requests come out in the order in which they came in; what is carried out here comes out only when the peer
//!   has answered everything it was handed before, and a read that would have to wait for that goes to the peer
//!   too, which carries it out right behind what it waits for (rule (c) of the architecture). So replies leave in
//!   the order of the requests, and a pipeline of reads and writes never stalls;
//! * bytes that no client may send end the connection, as they do in Apache's server (`NIOServerCnxn`).
//!
//! Deliberately not here: what a request means, and the session's own life.

pub mod four_letter;
pub mod handle;
pub mod heard;
pub mod outbox;
pub mod reads;
pub mod reply;
mod request;

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;
use zk_proto::{
    Bytes, Decode, Reader,
    connect::ConnectRequest,
    frame::{self, MAX_BUFFER_BEFORE_SESSION},
    op::Request,
};

pub use self::request::{Refusal, Routed};
use self::{four_letter::FourLetterWord, request::route};
use crate::{limits::ConnLimits, time::Now};

/// What a connection asks for, in order.
#[derive(Debug, PartialEq)]
pub enum ConnEvent {
    /// A word of four letters and the number behind it, if there is one; answer it and close.
    FourLetter(FourLetterWord, Option<i64>),
    /// The client's first frame; hand it to the peer.
    Connect(ConnectRequest),
    /// A request.
    Request(Routed),
}

/// Why a connection ends without the client having asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client closed its side, or the link broke.
    #[error("closed by the client")]
    ByPeer,
    /// A frame's length is zero, negative or over the limit.
    #[error("bad frame: {0}")]
    BadFrame(zk_proto::DecodeError),
    /// The first frame is no connect request, or a later one has no header.
    #[error("malformed frame: {0}")]
    Malformed(zk_proto::DecodeError),
    /// No session in time.
    #[error("no session in time")]
    NoSession,
    /// A frame was begun and not finished in time.
    #[error("half a frame for too long")]
    HalfFrame,
    /// The client does not read its replies.
    #[error("replies not read for too long")]
    NotReading,
    /// The session belongs to another connection, is over, or was refused.
    #[error("closed by the server")]
    ByServer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing but a connect request or a word may come.
    Fresh,
    /// The connect request is with the peer; nothing more is read until it answers.
    Connecting,
    Open,
    /// Nothing more is read or handed out.
    Ended,
}

/// The protocol core of one client connection.
#[derive(Debug)]
pub struct Connection {
    limits: ConnLimits,
    stage: Stage,
    opened: Duration,
    half_frame_since: Option<Duration>,
    /// Whether the driver reads nothing for now.
    is_held: bool,
    frame_timeout: Duration,
    queue: VecDeque<Queued>,
    /// Bytes of requests queued or in flight.
    held_bytes: usize,
    /// How many requests went to the peer so far; the connect request counts.
    submitted: u64,
    /// The sizes of those that it has not answered.
    in_flight: VecDeque<usize>,
}

#[derive(Debug)]
struct Queued {
    event: ConnEvent,
    bytes: usize,
}

impl Connection {
    /// A connection accepted at `now`.
    #[must_use]
    pub fn new(limits: ConnLimits, now: Now) -> Self {
        Self {
            limits,
            stage: Stage::Fresh,
            opened: now.mono,
            half_frame_since: None,
            is_held: false,
            frame_timeout: limits.frame_timeout,
            queue: VecDeque::new(),
            held_bytes: 0,
            submitted: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// Tells whether the driver holds the client's bytes back; while it does, a half frame's clock stands still.
    /// Takes effect with the next [`receive`](Self::receive).
    pub const fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Takes every whole frame off the front of `input` and tells how many; what is left is half a frame.
    ///
    /// # Errors
    /// The reason to close at once, without a reply.
    pub fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<u64, CloseReason> {
        let mut taken = 0;
        while self.wants_input() {
            if self.stage == Stage::Fresh
                && let Some(word) = FourLetterWord::at_front_of(input)
            {
                self.stage = Stage::Ended;
                let argument = FourLetterWord::argument(input);
                self.push(ConnEvent::FourLetter(word, argument), 4);
                break;
            }
            let Some(body) = self.take_frame(input)? else {
                break;
            };
            taken += 1;
            self.accept(body)?;
        }
        self.half_frame_since = match self.half_frame_since {
            _ if input.is_empty() || self.is_held || !self.wants_input() => None,
            Some(since) if taken == 0 => Some(since),
            _ => Some(now.mono),
        };
        Ok(taken)
    }

    fn take_frame(&self, input: &mut BytesMut) -> Result<Option<Bytes>, CloseReason> {
        let limit = match self.stage {
            Stage::Fresh => MAX_BUFFER_BEFORE_SESSION.min(self.limits.max_buffer),
            _ => self.limits.max_buffer,
        };
        frame::take_frame(input, limit).map_err(CloseReason::BadFrame)
    }

    fn accept(&mut self, body: Bytes) -> Result<(), CloseReason> {
        let bytes = body.len();
        let mut reader = Reader::new(body);
        if self.stage == Stage::Fresh {
            let request = ConnectRequest::decode(&mut reader).map_err(CloseReason::Malformed)?;
            self.stage = Stage::Connecting;
            self.push(ConnEvent::Connect(request), bytes);
        } else {
            let routed = route(reader).map_err(CloseReason::Malformed)?;
            self.push(ConnEvent::Request(routed), bytes);
        }
        Ok(())
    }

    fn push(&mut self, event: ConnEvent, bytes: usize) {
        self.held_bytes += bytes;
        self.queue.push_back(Queued { event, bytes });
    }

    /// The next event, given how many of those handed to the peer it has answered.
    ///
    /// A read that would have to wait goes to the peer only if `may_travel` says so; else it stays here until
    /// everything before it is answered.
    pub fn next_event(
        &mut self,
        answered: u64,
        may_travel: impl FnOnce(&Request) -> bool,
    ) -> Option<ConnEvent> {
        self.note_answers(answered);
        let waits = !self.in_flight.is_empty();
        let to_peer = match &self.queue.front()?.event {
            ConnEvent::FourLetter(..) => false,
            ConnEvent::Connect(_) => true,
            ConnEvent::Request(Routed::Peer { .. }) => true,
            ConnEvent::Request(Routed::Read { request, .. }) => waits && may_travel(request),
            ConnEvent::Request(Routed::Local { .. } | Routed::Refused(_)) => false,
        };
        if waits && !to_peer {
            return None;
        }
        let Queued { event, bytes } = self.queue.pop_front()?;
        if !to_peer {
            self.held_bytes -= bytes;
            return Some(event);
        }
        self.submitted += 1;
        self.in_flight.push_back(bytes);
        Some(match event {
            ConnEvent::Request(Routed::Read { xid, request }) => {
                let request = Some(request);
                ConnEvent::Request(Routed::Peer { xid, request })
            }
            event => event,
        })
    }

    fn note_answers(&mut self, answered: u64) {
        let waiting = self.submitted.saturating_sub(answered);
        while self.in_flight.len() as u64 > waiting
            && let Some(bytes) = self.in_flight.pop_front()
        {
            self.held_bytes -= bytes;
        }
    }

    /// The peer has attached a session with this timeout: requests may come now.
    pub fn established(&mut self, timeout: Duration) {
        if self.stage == Stage::Connecting {
            self.stage = Stage::Open;
            self.frame_timeout = self.limits.frame_timeout.min(timeout / 2);
        }
    }

    /// Ends the connection: nothing more is read, and what is queued is dropped.
    pub fn end(&mut self) {
        self.stage = Stage::Ended;
        self.queue.clear();
        self.in_flight.clear();
        self.held_bytes = 0;
        self.half_frame_since = None;
    }

    /// Whether more bytes should be read now: not while the peer makes the session, and not while more is
    /// unanswered than one connection may have.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Open)
            && self.queue.len() + self.in_flight.len() < self.limits.max_requests
            && self.held_bytes < self.limits.max_request_bytes
    }

    /// How many requests were decoded and not yet handed out.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether the peer has something of this connection's to answer.
    #[must_use]
    pub fn awaits_answers(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether the client has a session here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// When to call [`check_deadline`](Self::check_deadline) at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Fresh => Some(self.opened + self.limits.connect_timeout),
            Stage::Open => self
                .half_frame_since
                .map(|since| since + self.frame_timeout),
            Stage::Connecting | Stage::Ended => None,
        }
    }

    /// The reason to close, if a deadline has passed.
    #[must_use]
    pub fn check_deadline(&self, now: Now) -> Option<CloseReason> {
        if now.mono < self.next_deadline()? {
            return None;
        }
        Some(match self.stage {
            Stage::Fresh => CloseReason::NoSession,
            _ => CloseReason::HalfFrame,
        })
    }
}

#[cfg(test)]
mod tests;

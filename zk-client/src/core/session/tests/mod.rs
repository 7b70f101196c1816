//! The session core against a server that the tests play, in memory and without a clock.

mod closing;
mod connecting;
mod evidence;
mod moving;
mod random;
mod requests;
mod sasl;
mod streams;
mod watches;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::channel::oneshot;
use zk_proto::{
    Decode, Encode, ErrorCode, OpCode, Password, Reader, SessionId, Stat, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::StatResponse,
    watch::{EventType, KeeperState, WatcherEvent},
};

use super::Session;
use crate::{
    core::{
        Batch, Command, Config, EvidenceState, Host, Input, Kind, Leaves, Moment, OnExpiry, Output,
        Reply, WatchRequest, WhileDisconnected, chroot::Chroot, slot,
    },
    error::{ErrorKind, Failure, Outcome},
    retry::RetryPolicy,
    state::SessionState,
    watcher::WatchEvent,
};

/// The session timeout of every test: a third of it is a round number.
const T: Duration = Duration::from_secs(9);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const SESSION: SessionId = SessionId(0x77);

type Answer = slot::Receiver;

/// A session, the tests' end of its connection, and everything it put out.
struct World {
    session: Session,
    now: Moment,
    hosts: usize,
    batch: Batch,
    /// Written and not looked at yet.
    wire: BytesMut,
    dials: usize,
    /// The last dial's hosts.
    offered: Vec<Host>,
    hangups: usize,
    states: Vec<SessionState>,
    evidence: Vec<EvidenceState>,
    released: usize,
    released_bytes: usize,
    /// The bytes of all requests that were handed in.
    submitted_bytes: usize,
    stopped: bool,
    searches: Vec<Vec<Host>>,
    /// What the mechanism was asked: to begin, or to answer a challenge.
    sasl: Vec<Option<Bytes>>,
}

/// A request as the server sees it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    xid: Xid,
    op: OpCode,
    body: Bytes,
}

fn config() -> Config {
    Config {
        hosts: vec![
            Host {
                name: "a".to_owned(),
                port: 1,
            },
            Host {
                name: "b".to_owned(),
                port: 2,
            },
        ],
        session_timeout: T,
        request_timeout: REQUEST_TIMEOUT,
        while_disconnected: WhileDisconnected::Wait,
        on_expiry: OnExpiry::Renew,
        allow_read_only: false,
        sasl: false,
        credentials: Vec::new(),
        resume: None,
        retry: RetryPolicy::constant(Duration::from_millis(100)),
        max_reply_len: 1024 * 1024,
        seed: 1,
    }
}

impl World {
    fn new(config: Config) -> Self {
        let hosts = config.hosts.len();
        let now = Moment(Duration::from_secs(1000));
        let mut world = Self {
            session: Session::new(now, config),
            now,
            hosts,
            batch: Batch::default(),
            wire: BytesMut::new(),
            dials: 0,
            offered: Vec::new(),
            hangups: 0,
            states: Vec::new(),
            evidence: Vec::new(),
            released: 0,
            released_bytes: 0,
            submitted_bytes: 0,
            stopped: false,
            searches: Vec::new(),
            sasl: Vec::new(),
        };
        world.drain();
        world
    }

    /// A session that is connected, its handshake off the wire.
    fn connected() -> Self {
        let mut world = Self::new(config());
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.dialed();
        self.grant(SESSION);
    }

    /// The TCP connection stands; the connect request is read off the wire.
    fn dialed(&mut self) -> ConnectRequest {
        self.wire.clear();
        self.handle(Input::Dialed(0));
        let frame = take_frame(&mut self.wire, 1024).unwrap().unwrap();
        ConnectRequest::from_bytes(frame).unwrap()
    }

    fn grant(&mut self, id: SessionId) {
        let password = Password::new(Bytes::from_static(b"0123456789abcdef"));
        self.respond(id, 9000, password);
    }

    fn refuse(&mut self) {
        self.respond(SessionId::NONE, 0, Password::zero());
    }

    fn respond(&mut self, session_id: SessionId, timeout_ms: i32, password: Password) {
        self.respond_as(session_id, timeout_ms, password, false);
    }

    /// The answer of a server that is read-only, or not.
    fn respond_as(
        &mut self,
        session_id: SessionId,
        timeout_ms: i32,
        password: Password,
        read_only: bool,
    ) {
        let read_only = Some(read_only);
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id,
            password,
            read_only,
        };
        let mut out = BytesMut::new();
        put_frame(&mut out, &[&response]);
        self.receive(&mut out);
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input);
        self.drain();
    }

    fn receive(&mut self, bytes: &mut BytesMut) {
        self.session.handle(self.now, Input::Received(bytes));
        self.drain();
    }

    fn cut(&mut self) {
        self.handle(Input::LinkClosed(None));
    }

    /// Time passes, from deadline to deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self
            .session
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            self.handle(Input::Deadline);
        }
        self.now = end;
        self.handle(Input::Deadline);
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Dial(hosts) => {
                    assert_eq!(hosts.len(), self.hosts, "every host is offered");
                    self.dials += 1;
                    self.offered = hosts;
                }
                Output::Hangup => {
                    self.hangups += 1;
                    self.wire.clear();
                }
                Output::Search(hosts) => self.searches.push(hosts),
                Output::SaslBegin => self.sasl.push(None),
                Output::SaslChallenge(challenge) => self.sasl.push(challenge.0),
                Output::Write(bytes) => self.wire.extend_from_slice(&bytes),
                Output::Complete { slot, result } => slot.send(result, self.now),
                Output::Notify { watcher, event } => drop(watcher.send(event)),
                Output::Stream { queue, event } => queue.push(event),
                Output::State(state) => self.states.push(state),
                Output::Evidence(state) => self.evidence.push(state),
                Output::Release { commands, bytes } => {
                    self.released += commands;
                    self.released_bytes += bytes;
                }
                Output::Session(_) | Output::SessionEnded { .. } => {}
                Output::Stop => self.stopped = true,
            }
        }
    }

    /// What was written since the last look.
    fn seen(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(frame) = take_frame(&mut self.wire, 16 << 20).unwrap() {
            let mut input = Reader::new(frame);
            let header = RequestHeader::decode(&mut input).unwrap();
            let op = OpCode::from_i32(header.op).unwrap();
            seen.push(Seen {
                xid: header.xid,
                op,
                body: input.rest().clone(),
            });
        }
        assert!(self.wire.is_empty(), "only whole frames are written");
        seen
    }

    fn seen_ops(&mut self) -> Vec<OpCode> {
        self.seen().into_iter().map(|seen| seen.op).collect()
    }

    fn submit(&mut self, op: OpCode, path: &str) -> Answer {
        self.submit_with(op, path, |_| {})
    }

    fn submit_with(&mut self, op: OpCode, path: &str, change: impl FnOnce(&mut Command)) -> Answer {
        let answer = self.put(Kind::Request(op, None), path, change);
        self.go();
        answer
    }

    /// Leaves a request in the batch without handing the batch in.
    fn put(&mut self, kind: Kind, path: &str, change: impl FnOnce(&mut Command)) -> Answer {
        let (slot, answer) = slot::channel();
        let mut command = Command::new(kind).answering(slot);
        change(&mut command);
        let encode = |out: &mut BytesMut| {
            Chroot::default().put(path, out);
            Ok(())
        };
        self.batch.push_request(command, 1 << 20, encode).unwrap();
        self.submitted_bytes += self.batch.last_frame_len();
        answer
    }

    fn command(&mut self, kind: Kind) -> Answer {
        let (slot, answer) = slot::channel();
        self.batch.push(Command::new(kind).answering(slot));
        self.go();
        answer
    }

    fn go(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.handle(Input::Commands(&mut batch));
        assert!(batch.is_empty(), "a batch is taken as a whole");
        self.batch = batch;
    }

    /// A read that leaves a watch.
    fn watch(&mut self, op: OpCode, path: &str) -> (Answer, oneshot::Receiver<WatchEvent>) {
        let (watcher, events) = oneshot::channel();
        let request = WatchRequest {
            path: path.to_owned(),
            watcher,
        };
        let leaves = Some(Box::new(Leaves::Watch(request)));
        let answer = self.put(Kind::Request(op, leaves), path, |_| {});
        self.go();
        (answer, events)
    }

    fn reply(&mut self, xid: Xid, zxid: i64, err: ErrorCode, body: &[&dyn Encode]) {
        let mut out = BytesMut::new();
        put_reply(&mut out, xid, zxid, err, body);
        self.receive(&mut out);
    }

    fn ok(&mut self, xid: Xid, zxid: i64) {
        self.reply(xid, zxid, ErrorCode::Ok, &[]);
    }

    fn stat(&mut self, xid: Xid, zxid: i64) {
        self.reply(
            xid,
            zxid,
            ErrorCode::Ok,
            &[&StatResponse {
                stat: Stat::default(),
            }],
        );
    }

    fn event(&mut self, event_type: EventType, path: &str, zxid: i64) {
        let mut out = BytesMut::new();
        put_event(&mut out, event_type, path, zxid);
        self.receive(&mut out);
    }

    fn last_state(&self) -> SessionState {
        *self.states.last().unwrap()
    }
}

fn put_reply(out: &mut BytesMut, xid: Xid, zxid: i64, err: ErrorCode, body: &[&dyn Encode]) {
    let header = ReplyHeader {
        xid,
        zxid: Zxid(zxid),
        err: err.code(),
    };
    let mut parts: Vec<&dyn Encode> = vec![&header];
    parts.extend_from_slice(body);
    put_frame(out, &parts);
}

fn put_event(out: &mut BytesMut, event_type: EventType, path: &str, zxid: i64) {
    let event = WatcherEvent {
        event_type,
        state: KeeperState::SyncConnected,
        path: path.into(),
    };
    put_reply(out, Xid::NOTIFICATION, zxid, ErrorCode::Ok, &[&event]);
}

/// The answer that must be there by now.
fn answered(answer: &mut Answer) -> Result<Reply, Failure> {
    answer
        .try_recv()
        .expect("the slot is not dropped")
        .expect("the answer is there")
        .0
}

fn failure(answer: &mut Answer) -> (ErrorKind, Outcome) {
    let failure = answered(answer).unwrap_err();
    (failure.kind, failure.outcome)
}

fn waits(answer: &mut Answer) -> bool {
    matches!(answer.try_recv(), Ok(None))
}

//! A client that is zk-client's session core: it dials, resumes, renews and registers watches again by itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use futures::channel::oneshot;
use zk_client::{
    Outcome, RetryPolicy, WatchEvent,
    core::{
        Batch, Body, Command, Config, Host, Input, Kind, Leaves, Moment, OnExpiry, Output, Reply,
        Session, WatchRequest, WhileDisconnected, slot,
    },
};
use zk_proto::{
    CreateMode, Encode as _, ErrorCode, OpCode, Reader, SessionId, Zxid,
    op::{MultiOp, Request, Response},
};
use zk_tests::requests::{
    ANY, children, create_as, get, multi, new_node, part_set, set, sync, watch_children, watch_data,
};

use super::{
    MS,
    check::{History, Read, Seen, Watched},
    client::{QUEUE, SHARED},
};

/// What the core wants of its world.
pub(super) enum Wish {
    /// To be connected to the first of these servers that takes it.
    Dial(Vec<usize>),
    HangUp,
    Write(Bytes),
}

/// A client.
pub(super) struct SessionClient {
    number: usize,
    core: Session,
    batch: Batch,
    input: BytesMut,
    session: SessionId,
    /// The newest state it was shown, of this session.
    seen: Zxid,
    /// The last write of this session that was acknowledged.
    written: Zxid,
    made: u32,
    /// Asked and not answered, in order.
    asked: VecDeque<Asked>,
    watching: Vec<Watching>,
}

struct Asked {
    request: Request,
    /// By what its effect is known, if it has one.
    name: Option<String>,
    answer: slot::Receiver,
    /// The last write that was acknowledged to anybody when this was asked.
    floor: Zxid,
    event: Option<oneshot::Receiver<WatchEvent>>,
}

struct Watching {
    seen: Seen,
    from: Zxid,
    event: oneshot::Receiver<WatchEvent>,
}

impl SessionClient {
    pub(super) fn new(number: usize, servers: usize, now: Duration, seed: u64) -> Self {
        let host = |server: usize| Host {
            name: "server".to_owned(),
            port: server as u16,
        };
        let config = Config {
            hosts: (0..servers).map(host).collect(),
            session_timeout: 2_000 * MS,
            request_timeout: 15_000 * MS,
            while_disconnected: WhileDisconnected::Wait,
            on_expiry: OnExpiry::Renew,
            allow_read_only: false,
            sasl: false,
            credentials: Vec::new(),
            resume: None,
            retry: RetryPolicy::constant(50 * MS),
            max_reply_len: 1 << 20,
            seed,
        };
        Self {
            number,
            core: Session::new(Moment(now), config),
            batch: Batch::default(),
            input: BytesMut::new(),
            session: SessionId::NONE,
            seen: Zxid::ZERO,
            written: Zxid::ZERO,
            made: 0,
            asked: VecDeque::new(),
            watching: Vec::new(),
        }
    }

    pub(super) fn unanswered(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn next_deadline(&mut self) -> Option<Duration> {
        self.core.next_deadline().map(|at| at.0)
    }

    /// What it wishes for from the start.
    pub(super) fn begin(&mut self, history: &mut History) -> Vec<Wish> {
        self.drain(history)
    }

    /// Connected to the one with this number among those that it wished for.
    pub(super) fn dialed(
        &mut self,
        now: Duration,
        place: usize,
        history: &mut History,
    ) -> Vec<Wish> {
        self.input.clear();
        self.core.handle(Moment(now), Input::Dialed(place));
        self.drain(history)
    }

    pub(super) fn dial_failed(&mut self, now: Duration, history: &mut History) -> Vec<Wish> {
        let error = Arc::new(std::io::Error::other("no server is up"));
        self.core.handle(Moment(now), Input::DialFailed(error));
        self.drain(history)
    }

    pub(super) fn hear(&mut self, now: Duration, bytes: &[u8], history: &mut History) -> Vec<Wish> {
        self.input.extend_from_slice(bytes);
        let input = Input::Received(&mut self.input);
        self.core.handle(Moment(now), input);
        self.drain(history)
    }

    pub(super) fn link_closed(&mut self, now: Duration, history: &mut History) -> Vec<Wish> {
        self.core.handle(Moment(now), Input::LinkClosed(None));
        self.drain(history)
    }

    pub(super) fn deadline(&mut self, now: Duration, history: &mut History) -> Vec<Wish> {
        self.core.handle(Moment(now), Input::Deadline);
        self.drain(history)
    }

    /// Something more to ask.
    pub(super) fn ask(
        &mut self,
        random: &mut Rng,
        now: Duration,
        history: &mut History,
    ) -> Vec<Wish> {
        for _ in 0..random.usize(1..4) {
            self.made += 1;
            let name = format!("s{}-{}", self.number, self.made);
            let data = name.as_bytes();
            let request = match random.u8(0..14) {
                0 => create_as(&format!("/p{name}"), data, CreateMode::Persistent),
                1 => create_as(&format!("/e{name}"), data, CreateMode::Ephemeral),
                2 => create_as(
                    &format!("{QUEUE}/n-"),
                    data,
                    CreateMode::PersistentSequential,
                ),
                3 | 4 => set(SHARED, data, ANY),
                5 => multi(vec![
                    part_set(SHARED, data, ANY),
                    MultiOp::Create(new_node(&format!("/m{name}"), data, CreateMode::Persistent)),
                ]),
                6 | 7 => sync(SHARED),
                8 | 9 if !self.watches(Seen::Shared) => watch_data(SHARED),
                10 if !self.watches(Seen::Queue) => watch_children(QUEUE),
                11 => children(QUEUE),
                _ => get(SHARED),
            };
            self.submit(request, name, history);
        }
        let input = Input::Commands(&mut self.batch);
        self.core.handle(Moment(now), input);
        self.drain(history)
    }

    /// Whether there is such a watch, or will be.
    fn watches(&self, seen: Seen) -> bool {
        let mut coming = self.asked.iter().filter(|asked| asked.event.is_some());
        coming.any(|asked| seen_by(&asked.request) == seen)
            || self.watching.iter().any(|watching| watching.seen == seen)
    }

    fn submit(&mut self, request: Request, name: String, history: &History) {
        let (path, watches) = match &request {
            Request::GetData(get) => (get.path.to_string(), get.watch),
            Request::GetChildren(get) => (get.path.to_string(), get.watch),
            _ => (String::new(), false),
        };
        let (watcher, event) = oneshot::channel();
        let leaves = Leaves::Watch(WatchRequest { path, watcher });
        let leaves = watches.then(|| Box::new(leaves));
        let (slot, answer) = slot::channel();
        let command = Command::new(Kind::Request(request.op_code(), leaves)).answering(slot);
        let encode = |out: &mut BytesMut| {
            request.encode(out);
            Ok(())
        };
        self.batch.push_request(command, 1 << 20, encode).unwrap();
        self.asked.push_back(Asked {
            name: request.op_code().is_write().then_some(name),
            request,
            answer,
            floor: history.newest,
            event: watches.then_some(event),
        });
    }

    fn drain(&mut self, history: &mut History) -> Vec<Wish> {
        let mut wishes = Vec::new();
        // What the end of one connection left open.
        let mut lost = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Dial(hosts) => {
                    let servers = hosts.iter().map(|host| usize::from(host.port));
                    wishes.push(Wish::Dial(servers.collect()));
                }
                Output::Hangup => wishes.push(Wish::HangUp),
                Output::Write(bytes) => wishes.push(Wish::Write(bytes.freeze())),
                Output::Complete { slot, result } => {
                    slot.send(result, Moment::default());
                    lost.extend(self.take_answer(history));
                }
                Output::Notify { watcher, event } => {
                    // Nobody waits where the request that was to leave it has failed.
                    if watcher.send(event).is_ok() {
                        self.take_event(history);
                    }
                }
                Output::Session(info) => {
                    if info.id == self.session {
                        history.resumed += 1;
                    } else {
                        (self.session, self.seen) = (info.id, Zxid::ZERO);
                        self.written = Zxid::ZERO;
                    }
                }
                Output::SessionEnded { .. } => history.expired += 1,
                Output::Stream { .. }
                | Output::State(_)
                | Output::Evidence(_)
                | Output::Release { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
        if !lost.is_empty() {
            history.lost.push(lost);
        }
        wishes
    }

    /// Takes in the one answer that has come; the name of a write whose outcome nobody knows.
    fn take_answer(&mut self, history: &mut History) -> Option<String> {
        let come = |asked: &mut Asked| Some(asked.answer.try_recv().unwrap()?.0);
        let mut all = self.asked.iter_mut().enumerate();
        let found = all.find_map(|(at, asked)| Some((at, come(asked)?)));
        let Some((at, answer)) = found else {
            panic!("an answer to nobody");
        };
        let asked = self.asked.remove(at)?;
        match answer {
            Ok(reply) => {
                assert_eq!(at, 0, "G6: answers have the order of questions");
                self.answered(asked, reply, history);
                None
            }
            Err(failure) => match failure.outcome {
                Outcome::Unknown => asked.name,
                _ => {
                    history.refused.extend(asked.name);
                    None
                }
            },
        }
    }

    fn answered(&mut self, asked: Asked, reply: Reply, history: &mut History) {
        let Reply { zxid, code, .. } = reply;
        assert_eq!(code, ErrorCode::Ok, "{:?}", asked.request);
        let barrier = self.written;
        assert!(
            asked.name.is_some() || zxid >= barrier,
            "G11: a read at {zxid} behind the own write {barrier}"
        );
        assert!(zxid >= self.seen, "G8: {zxid} after {}", self.seen);
        if let Some(name) = asked.name {
            assert!(zxid > self.seen, "G6: a write at {zxid}");
            assert!(zxid > asked.floor, "G5: {zxid} after {}", asked.floor);
            history.acknowledge(self.session, reply.xid, zxid);
            history.named.insert(name, zxid);
            self.written = zxid;
        }
        self.seen = zxid;
        let op = asked.request.op_code();
        let response = match reply.body {
            Body::Data(bytes) => Response::decode(op, &mut Reader::new(bytes)).unwrap(),
            Body::Decoded(response) => *response,
            Body::Empty | Body::Stat(_) => Response::Empty,
        };
        if op == OpCode::Sync {
            assert!(zxid >= asked.floor, "G10: {zxid} after {}", asked.floor);
            history.syncs += 1;
        }
        match response {
            Response::GetData(found) => history.reads.push(Read {
                at: zxid,
                data: found.data.unwrap_or_default(),
                changed: found.stat.mzxid,
                version: found.stat.version,
            }),
            Response::GetChildren(found) => {
                let names = found.children.iter();
                let names = names.map(ToString::to_string).collect();
                history.lists.push((zxid, names));
            }
            Response::Create(made) if made.path.starts_with(QUEUE) => {
                history.sequence.insert(zxid, made.path.to_string());
            }
            Response::Multi(made) => assert_eq!(made.results.len(), 2, "G12"),
            _ => {}
        }
        if let Some(event) = asked.event {
            self.watching.push(Watching {
                seen: seen_by(&asked.request),
                from: zxid,
                event,
            });
        }
    }

    fn take_event(&mut self, history: &mut History) {
        let come = |watching: &mut Watching| watching.event.try_recv().unwrap();
        let mut all = self.watching.iter_mut().enumerate();
        let found = all.find_map(|(at, watching)| Some((at, come(watching)?)));
        let Some((at, event)) = found else {
            panic!("G18: an event without a watch");
        };
        let watching = self.watching.swap_remove(at);
        let is_right = match (&event, watching.seen) {
            (WatchEvent::DataChanged(change), Seen::Shared) => change.path == SHARED,
            (WatchEvent::ChildrenChanged(change), Seen::Queue) => change.path == QUEUE,
            (WatchEvent::SessionEnded, _) => true,
            _ => false,
        };
        assert!(is_right, "G22: {event:?}");
        let zxid = event.change().and_then(|change| change.zxid);
        if let Some(zxid) = zxid {
            assert!(zxid > watching.from, "G21: {zxid}, before the watch");
            assert!(
                self.seen < zxid,
                "G19: {} was shown before {zxid}",
                self.seen
            );
        }
        history.events += usize::from(event.change().is_some());
        // Nothing may have changed before what it tells of; one that comes after a reconnect may tell of several changes.
        let until = zxid.map_or(self.seen, |zxid| Zxid(zxid.0 - 1));
        history.watched.push(watching.until(until));
    }

    /// It is all over: what was watched to the end, was.
    pub(super) fn finish(&mut self, history: &mut History) {
        let seen = self.seen;
        let watched = self.watching.drain(..).map(|watching| watching.until(seen));
        history.watched.extend(watched);
    }
}

impl Watching {
    const fn until(&self, until: Zxid) -> Watched {
        Watched {
            seen: self.seen,
            from: self.from,
            until,
        }
    }
}

const fn seen_by(request: &Request) -> Seen {
    match request {
        Request::GetChildren(_) => Seen::Queue,
        _ => Seen::Shared,
    }
}

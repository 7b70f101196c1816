//! A client: one session after the other, requests in a pipeline, and what it may conclude from the answers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use zk_proto::{
    CreateMode, Decode, Encode, ErrorCode, Password, Reader, SessionId, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::{GetDataRequest, GetDataResponse, Request},
    watch::WatcherEvent,
};
use zk_tests::requests::{ANY, create, create_as, get, set, sync};

use super::check::{History, Read, Seen, Watched};

fn watch(path: &str) -> Request {
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch: true,
    })
}

/// The node that everybody writes and reads.
pub(super) const SHARED: &str = "/shared";
/// Where everybody makes numbered nodes.
pub(super) const QUEUE: &str = "/queue";

/// A client.
pub(super) struct Client {
    number: usize,
    session: SessionId,
    password: Password,
    /// The newest state it has seen, of this session.
    seen: Zxid,
    /// The last write of this session that was acknowledged.
    written: Zxid,
    xid: i32,
    made: u32,
    /// Asked and not answered, in order.
    pending: VecDeque<Asked>,
    input: BytesMut,
    greeted: bool,
    /// Names of writes that earlier connections of this session may still bring.
    late: Vec<String>,
    /// The watch it has left on this connection.
    watch: Option<Watched>,
    /// The last zxid of any frame on this connection.
    last: Zxid,
    /// Puts a bug into what it is answered: reads are of a time before its last write.
    pub(super) reads_the_past: bool,
}

struct Asked {
    xid: i32,
    request: Request,
    /// The last write that was acknowledged to anybody when this was asked.
    floor: Zxid,
}

impl Asked {
    /// The data that only this write has.
    fn name(&self) -> Option<String> {
        let data = match &self.request {
            Request::SetData(set) => &set.data,
            Request::Create(create) => &create.data,
            _ => return None,
        };
        let data = data.as_ref().filter(|data| !data.is_empty())?;
        Some(String::from_utf8_lossy(data).into_owned())
    }
}

impl Client {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            session: SessionId::NONE,
            password: Password::zero(),
            seen: Zxid::ZERO,
            written: Zxid::ZERO,
            xid: 0,
            made: 0,
            pending: VecDeque::new(),
            input: BytesMut::new(),
            greeted: false,
            late: Vec::new(),
            watch: None,
            last: Zxid::ZERO,
            reads_the_past: false,
        }
    }

    pub(super) const fn has_session(&self) -> bool {
        self.greeted
    }

    pub(super) fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// The first frame of a new connection.
    pub(super) fn greet(&mut self) -> Bytes {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen,
            timeout_ms: 2_000,
            session_id: self.session,
            password: self.password.clone(),
            read_only: Some(false),
        };
        let mut out = BytesMut::new();
        put_frame(&mut out, &[&request]);
        out.freeze()
    }

    /// The connection is gone: nobody knows what became of what was asked.
    pub(super) fn cut(&mut self, history: &mut History) {
        let names = self.pending.drain(..).filter_map(|asked| asked.name());
        self.late.extend(names);
        self.input.clear();
        self.greeted = false;
        if let Some(mut watch) = self.watch.take() {
            watch.until = self.last;
            history.watched.push(watch);
        }
        self.last = Zxid::ZERO;
    }

    /// Something more to ask.
    pub(super) fn ask(&mut self, random: &mut Rng, history: &History) -> Bytes {
        self.made += 1;
        let name = format!("{}-{}", self.number, self.made);
        let request = match random.u8(0..10) {
            0 | 1 => create(&format!("/p{name}"), name.as_bytes()),
            2 => create_as(&format!("/e{name}"), b"", CreateMode::Ephemeral),
            3 | 4 => set(SHARED, name.as_bytes(), ANY),
            5 => sync(SHARED),
            6 | 7 if self.watch.is_none() && !self.is_asking_to_watch() => watch(SHARED),
            _ => get(SHARED),
        };
        self.ask_for(request, history)
    }

    fn is_asking_to_watch(&self) -> bool {
        let watches = |asked: &Asked| matches!(&asked.request, Request::GetData(get) if get.watch);
        self.pending.iter().any(watches)
    }

    pub(super) fn ask_for(&mut self, request: Request, history: &History) -> Bytes {
        self.xid += 1;
        let header = RequestHeader {
            xid: Xid(self.xid),
            op: request.op_code().code(),
        };
        let mut out = BytesMut::new();
        put_frame(&mut out, &[&header, &request as &dyn Encode]);
        self.pending.push_back(Asked {
            xid: self.xid,
            request,
            floor: history.newest,
        });
        out.freeze()
    }

    /// Takes in what has come.
    pub(super) fn hear(&mut self, bytes: &[u8], history: &mut History) {
        self.input.extend_from_slice(bytes);
        while let Some(frame) = take_frame(&mut self.input, 1 << 20).unwrap() {
            match self.greeted {
                false => self.greeting(frame, history),
                true => self.reply(frame, history),
            }
        }
    }

    fn greeting(&mut self, frame: Bytes, history: &mut History) {
        let response = ConnectResponse::from_bytes(frame).unwrap();
        if response.timeout_ms <= 0 {
            // Expired: another session begins, which has seen nothing.
            self.session = SessionId::NONE;
            self.password = Password::zero();
            self.seen = Zxid::ZERO;
            self.written = Zxid::ZERO;
            self.late.clear();
            history.expired += 1;
            return;
        }
        assert!(
            self.session == SessionId::NONE || self.session == response.session_id,
            "another session than the one asked for"
        );
        history.resumed += usize::from(self.session != SessionId::NONE);
        self.session = response.session_id;
        self.password = response.password;
        self.greeted = true;
        self.last = self.seen;
    }

    /// G8, G11: nothing goes back behind what this session has seen, and written.
    fn check_order(&self, header: &mut ReplyHeader, is_write: bool) {
        if self.reads_the_past && !is_write && self.written > Zxid::ZERO {
            header.zxid = Zxid(self.written.0 - 1);
        }
        assert!(
            is_write || header.zxid >= self.written,
            "G11: a read at {} behind the own write {}",
            header.zxid,
            self.written
        );
        assert!(
            header.zxid >= self.seen,
            "G8: {} after {}",
            header.zxid,
            self.seen
        );
    }

    fn reply(&mut self, frame: Bytes, history: &mut History) {
        let mut input = Reader::new(frame);
        let mut header = ReplyHeader::decode(&mut input).unwrap();
        if header.xid == Xid::NOTIFICATION {
            let event = WatcherEvent::decode(&mut input).unwrap();
            return self.event(header.zxid, &event, history);
        }
        let asked = self.pending.pop_front();
        let Some(asked) = asked else {
            panic!("an answer that nobody asked for: {header:?}");
        };
        assert_eq!(
            header.xid.0, asked.xid,
            "G6: answers have the order of questions"
        );
        let is_write = asked.request.op_code().is_write();
        self.check_order(&mut header, is_write);
        let error = ErrorCode::from_i32(header.err);
        if is_write {
            assert!(header.zxid > self.seen, "G6: a write at {}", header.zxid);
            assert!(
                header.zxid > asked.floor,
                "G5: {} after {}",
                header.zxid,
                asked.floor
            );
            assert_eq!(error, ErrorCode::Ok, "{:?}", asked.request);
            history.acknowledge(self.session, header.xid, header.zxid);
            self.written = header.zxid;
            if !self.late.is_empty() {
                let late = std::mem::take(&mut self.late);
                history.overtaken.push((late, header.zxid));
            }
        }
        if let Request::Sync(_) = asked.request {
            assert!(
                header.zxid >= asked.floor,
                "G10: {} after {}",
                header.zxid,
                asked.floor
            );
            history.syncs += 1;
        }
        (self.seen, self.last) = (header.zxid, header.zxid);
        if let Request::GetData(get) = &asked.request {
            assert_eq!(error, ErrorCode::Ok);
            let found = GetDataResponse::decode(&mut input).unwrap();
            history.reads.push(Read {
                at: header.zxid,
                data: found.data.unwrap_or_default(),
                changed: found.stat.mzxid,
                version: found.stat.version,
            });
            if get.watch {
                self.watch = Some(Watched {
                    seen: Seen::Shared,
                    from: header.zxid,
                    until: header.zxid,
                });
            }
        }
    }

    fn event(&mut self, zxid: Zxid, event: &WatcherEvent, history: &mut History) {
        assert_eq!(&*event.path, SHARED);
        let watch = self.watch.take();
        let Some(mut watch) = watch else {
            panic!("G18: an event without a watch: {event:?}");
        };
        assert!(zxid > watch.from, "G21: of {zxid}, before the watch");
        assert!(
            self.last < zxid,
            "G19: {} was shown before the event of {zxid}",
            self.last
        );
        history.events += 1;
        // Nothing may have changed before what it tells of.
        watch.until = Zxid(zxid.0 - 1);
        history.watched.push(watch);
    }
}

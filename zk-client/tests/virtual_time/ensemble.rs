//! A ZooKeeper of a few hundred lines, in memory, with faults on demand: the other end of the client in virtual
//! time. It knows sessions, plain and ephemeral nodes and watches, and nothing of quorums.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
    time::Instant,
};
use zk_client::net::{Net, Stream};
use zk_proto::{
    Decode, ErrorCode, OpCode, Password, Reader, SessionId, Stat, Utf8Bytes, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::{
        Create2Response, ErrorResponse, GetChildrenResponse, GetDataResponse, MultiOp,
        MultiResponse, MultiResult, Request, Response, SetWatches2Request, StatResponse,
        SyncResponse,
    },
    watch::EventType,
};

use crate::watch_table::{Kind, WatchTable};

/// A handle to the ensemble and its faults.
#[derive(Clone)]
pub(crate) struct Ensemble {
    world: Arc<Mutex<World>>,
    /// Grows to cut every connection.
    cuts: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct World {
    zxid: i64,
    nodes: BTreeMap<String, Node>,
    sessions: BTreeMap<i64, Session>,
    next_session: i64,
    watches: WatchTable,
    next_connection: u64,
    faults: Faults,
    seen: Vec<OpCode>,
    connects: usize,
    /// How many connections there are.
    links: usize,
    /// The data that nodes were given by clients.
    history: BTreeMap<String, Vec<Bytes>>,
}

#[derive(Default)]
struct Node {
    data: Option<Bytes>,
    stat: Stat,
}

struct Session {
    timeout: Duration,
    /// When the quorum heard of it last.
    last_heard: Instant,
    connection: u64,
    host: u16,
}

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// Hosts that refuse connections.
    pub(crate) down: BTreeSet<u16>,
    /// Hosts whose connections never come about.
    pub(crate) silent: BTreeSet<u16>,
    /// How long the servers take over every answer and event.
    pub(crate) delay: Duration,
    /// No server answers anything.
    pub(crate) mute: bool,
    /// Hosts without a quorum: they answer reads of those who accept that, and open sessions that they alone know.
    pub(crate) read_only: BTreeSet<u16>,
    /// Hosts that take connections and answer nothing.
    pub(crate) mute_hosts: BTreeSet<u16>,
    /// Every connect request is answered in another language.
    pub(crate) rubbish: bool,
    /// Sessions that there are go on, and no other begins.
    pub(crate) no_new_sessions: bool,
    /// The answers to `getData` lack their end.
    pub(crate) cut_short: bool,
    /// An operation that the servers do not know: they close the connection.
    pub(crate) unknown: Option<OpCode>,
    /// No write is carried out, the servers being busy.
    pub(crate) throttled: bool,
    /// How many of the next writes are carried out while their connection breaks before the answer.
    pub(crate) lose_replies: usize,
}

impl Ensemble {
    pub(crate) fn new() -> Self {
        let mut world = World {
            next_session: 1,
            ..World::default()
        };
        world.nodes.insert("/".to_owned(), Node::default());
        let cuts = Arc::new(watch::Sender::new(0));
        Self {
            world: Arc::new(Mutex::new(world)),
            cuts,
        }
    }

    pub(crate) fn fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.world.lock().unwrap().faults);
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends a session on the server's side, and its connections.
    pub(crate) fn expire(&self, id: SessionId) {
        self.world.lock().unwrap().end_session(id.0);
        self.cut();
    }

    /// Changes a node behind the clients' backs.
    pub(crate) fn set(&self, path: &str, data: &str) {
        let mut world = self.world.lock().unwrap();
        world.zxid += 1;
        let zxid = Zxid(world.zxid);
        let node = world.nodes.entry(path.to_owned()).or_default();
        let existed = node.stat.czxid != Zxid::ZERO;
        node.data = Some(Bytes::copy_from_slice(data.as_bytes()));
        node.stat.mzxid = zxid;
        node.stat.version += 1;
        if !existed {
            node.stat.czxid = zxid;
            world.fire(EventType::NodeCreated, path);
            world.fire_parent(path);
        } else {
            world.fire(EventType::NodeDataChanged, path);
        }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.world
            .lock()
            .unwrap()
            .nodes
            .keys()
            .skip(1)
            .cloned()
            .collect()
    }

    /// The operations seen since the last look, pings left out.
    pub(crate) fn seen(&self) -> Vec<OpCode> {
        let seen = std::mem::take(&mut self.world.lock().unwrap().seen);
        seen.into_iter().filter(|op| *op != OpCode::Ping).collect()
    }

    /// Deletes a node behind the clients' backs.
    pub(crate) fn delete(&self, path: &str) {
        let mut world = self.world.lock().unwrap();
        world.zxid += 1;
        world.nodes.remove(path);
        world.fire(EventType::NodeDeleted, path);
        world.fire_parent(path);
    }

    /// How many sessions are connected through each host.
    pub(crate) fn loads(&self) -> BTreeMap<u16, usize> {
        let world = self.world.lock().unwrap();
        let mut loads = BTreeMap::new();
        for session in world.sessions.values() {
            *loads.entry(session.host).or_default() += 1;
        }
        loads
    }

    /// How many watches the servers hold.
    pub(crate) fn watches(&self) -> usize {
        self.world.lock().unwrap().watches.len()
    }

    /// The data that a node was given by clients, in order.
    pub(crate) fn history(&self, path: &str) -> Vec<Bytes> {
        let world = self.world.lock().unwrap();
        world.history.get(path).cloned().unwrap_or_default()
    }

    /// How many connect requests came so far.
    pub(crate) fn connects(&self) -> usize {
        self.world.lock().unwrap().connects
    }

    /// Whether a session is there and has not timed out.
    pub(crate) fn lives(&self, id: SessionId) -> bool {
        self.world.lock().unwrap().lives(id.0)
    }

    /// Whether the quorum has this session, or has not noticed its end.
    pub(crate) fn knows(&self, id: SessionId) -> bool {
        self.world.lock().unwrap().sessions.contains_key(&id.0)
    }

    /// How long the quorum keeps a session at least if it hears nothing from now on.
    pub(crate) fn time_left(&self, id: SessionId) -> Duration {
        let world = self.world.lock().unwrap();
        let left = |session: &Session| session.timeout.saturating_sub(session.last_heard.elapsed());
        world.sessions.get(&id.0).map_or(Duration::ZERO, left)
    }

    /// How many sessions there are that have not timed out.
    pub(crate) fn sessions(&self) -> usize {
        let mut world = self.world.lock().unwrap();
        let ids: Vec<_> = world.sessions.keys().copied().collect();
        ids.into_iter().filter(|id| world.lives(*id)).count()
    }

    /// How many sessions began so far.
    pub(crate) fn opened(&self) -> i64 {
        self.world.lock().unwrap().next_session - 1
    }

    /// How many connections there are.
    pub(crate) fn links(&self) -> usize {
        self.world.lock().unwrap().links
    }

    async fn serve(self, host: u16, mut stream: DuplexStream) {
        let mut cuts = self.cuts.subscribe();
        let (outbox, mut events) = tokio::sync::mpsc::unbounded_channel();
        let connection = {
            let mut world = self.world.lock().unwrap();
            world.next_connection += 1;
            world.links += 1;
            world.next_connection
        };
        let mut link = Link {
            connection,
            host,
            session: None,
            outbox,
        };
        let mut input = BytesMut::new();
        loop {
            tokio::select! {
                biased;
                _ = cuts.changed() => break,
                Some(event) = events.recv() => {
                    let delay = self.world.lock().unwrap().faults.delay;
                    tokio::select! {
                        biased;
                        _ = cuts.changed() => break,
                        () = tokio::time::sleep(delay), if !delay.is_zero() => {}
                        () = std::future::ready(()), if delay.is_zero() => {}
                    }
                    if stream.write_all(&event).await.is_err() { break }
                }
                read = stream.read_buf(&mut input) => {
                    if !matches!(read, Ok(1..)) { break }
                    if link.session.is_none() && input.starts_with(b"isro") {
                        let answer = self.world.lock().unwrap().is_read_only(host);
                        let _ = stream.write_all(answer).await;
                        break
                    }
                    let mut open = true;
                    while let Some(frame) = take_frame(&mut input, 1 << 20).unwrap() {
                        let (out, go_on) = self.world.lock().unwrap().handle(&mut link, frame);
                        let _ = link.outbox.send(out);
                        if !go_on { open = false; break }
                    }
                    if !open {
                        let delay = self.world.lock().unwrap().faults.delay;
                        tokio::time::sleep(delay).await;
                        while let Ok(out) = events.try_recv() {
                            if stream.write_all(&out).await.is_err() { break }
                        }
                        break
                    }
                }
            }
        }
        let mut world = self.world.lock().unwrap();
        world.links -= 1;
        world.watches.forget(connection);
    }
}

struct Link {
    connection: u64,
    host: u16,
    session: Option<i64>,
    outbox: tokio::sync::mpsc::UnboundedSender<BytesMut>,
}

impl World {
    /// One frame of a client: what to write, and whether the connection goes on.
    fn handle(&mut self, link: &mut Link, frame: Bytes) -> (BytesMut, bool) {
        if self.faults.mute || self.faults.mute_hosts.contains(&link.host) {
            return (BytesMut::new(), true);
        }
        match link.session {
            None => self.handshake(link, frame),
            Some(id) => self.request(link, id, frame),
        }
    }

    /// The word that asks for it, answered.
    fn is_read_only(&self, host: u16) -> &'static [u8] {
        let faults = &self.faults;
        match faults.read_only.contains(&host) {
            _ if faults.mute || faults.mute_hosts.contains(&host) => b"",
            true => b"ro",
            false => b"rw",
        }
    }

    fn handshake(&mut self, link: &mut Link, frame: Bytes) -> (BytesMut, bool) {
        self.connects += 1;
        if self.faults.rubbish {
            return (BytesMut::from("HTTP/1.1 400 Bad Request\r\n\r\n"), false);
        }
        let request = ConnectRequest::from_bytes(frame).unwrap();
        assert!(
            request.last_zxid_seen.0 <= self.zxid,
            "the client cannot be ahead of the only history"
        );
        let timeout = Duration::from_millis(u64::from(request.timeout_ms.unsigned_abs()));
        if self.faults.read_only.contains(&link.host) {
            return self.read_only_handshake(link, &request);
        }
        let id = match request.session_id {
            SessionId::NONE if self.faults.no_new_sessions => return (BytesMut::new(), false),
            SessionId::NONE => {
                self.next_session += 1;
                self.zxid += 1;
                Some(self.next_session)
            }
            SessionId(id) => Some(id).filter(|id| self.lives(*id)),
        };
        let mut out = BytesMut::new();
        let Some(id) = id else {
            put_frame(&mut out, &[&ConnectResponse::expired(request.read_only)]);
            return (out, false);
        };
        let (last_heard, connection, host) = (Instant::now(), link.connection, link.host);
        self.sessions.insert(
            id,
            Session {
                timeout,
                last_heard,
                connection,
                host,
            },
        );
        link.session = Some(id);
        put_frame(&mut out, &[&granted(id, &request, false)]);
        (out, true)
    }

    /// A server without a quorum: nobody else is told of its sessions.
    fn read_only_handshake(
        &mut self,
        link: &mut Link,
        request: &ConnectRequest,
    ) -> (BytesMut, bool) {
        let mut out = BytesMut::new();
        if request.read_only != Some(true) {
            return (out, false);
        }
        let id = match request.session_id.0 {
            0 => {
                self.next_session += 1;
                self.next_session
            }
            id => id,
        };
        link.session = Some(id);
        put_frame(&mut out, &[&granted(id, request, true)]);
        (out, true)
    }

    fn lives(&mut self, id: i64) -> bool {
        let lives = self
            .sessions
            .get(&id)
            .is_some_and(|session| session.last_heard.elapsed() < session.timeout);
        if !lives {
            self.end_session(id);
        }
        lives
    }

    fn request(&mut self, link: &Link, id: i64, frame: Bytes) -> (BytesMut, bool) {
        let mut out = BytesMut::new();
        let read_only = self.faults.read_only.contains(&link.host);
        if !read_only {
            if !self.lives(id) || self.sessions[&id].connection != link.connection {
                return (out, false);
            }
            self.sessions.get_mut(&id).unwrap().last_heard = Instant::now();
        }
        let mut input = Reader::new(frame);
        let header = RequestHeader::decode(&mut input).unwrap();
        let op = OpCode::from_i32(header.op).unwrap();
        self.seen.push(op);
        let request = Request::decode(op, &mut input).unwrap();
        if self.faults.unknown == Some(op) {
            return (out, false);
        }
        let write = op.is_write() && !read_only;
        if write {
            self.zxid += 1;
        }
        let result = match op {
            OpCode::CloseSession if read_only => Ok(Response::Empty),
            _ if read_only && (op.is_write() || op == OpCode::Sync) => Err(ErrorCode::NotReadOnly),
            _ if write && self.faults.throttled => Err(ErrorCode::ThrottledOp),
            _ => self.carry_out(link, id, request),
        };
        if write && self.faults.lose_replies > 0 {
            self.faults.lose_replies -= 1;
            return (out, false);
        }
        let code = *result.as_ref().err().unwrap_or(&ErrorCode::Ok);
        let zxid = if header.xid == Xid::AUTH {
            Zxid::ZERO
        } else {
            Zxid(self.zxid)
        };
        let reply = ReplyHeader {
            xid: header.xid,
            zxid,
            err: code.code(),
        };
        match &result {
            Ok(_) if self.faults.cut_short && op == OpCode::GetData => {
                put_frame(&mut out, &[&reply]);
            }
            Ok(response) => put_frame(&mut out, &[&reply, response]),
            Err(_) => put_frame(&mut out, &[&reply]),
        }
        (
            out,
            op != OpCode::CloseSession && code != ErrorCode::AuthFailed,
        )
    }

    fn carry_out(&mut self, link: &Link, id: i64, request: Request) -> Result<Response, ErrorCode> {
        match request {
            Request::Create2(request) => {
                self.create(id, &request.path, request.data, request.flags)
            }
            Request::Delete(request) => {
                self.nodes
                    .remove(request.path.as_str())
                    .ok_or(ErrorCode::NoNode)?;
                self.fire(EventType::NodeDeleted, &request.path);
                self.fire_parent(&request.path);
                Ok(Response::Empty)
            }
            Request::Exists(request) => {
                self.watch(link, request.watch, &request.path, Kind::Data);
                let node = self
                    .nodes
                    .get(request.path.as_str())
                    .ok_or(ErrorCode::NoNode)?;
                Ok(Response::Stat(StatResponse { stat: node.stat }))
            }
            Request::GetData(request) => {
                let node = self
                    .nodes
                    .get(request.path.as_str())
                    .ok_or(ErrorCode::NoNode)?;
                let (data, stat) = (node.data.clone(), node.stat);
                self.watch(link, request.watch, &request.path, Kind::Data);
                Ok(Response::GetData(GetDataResponse { data, stat }))
            }
            Request::SetData(request) => {
                self.check(&request.path, request.version)?;
                Ok(Response::Stat(self.put(&request.path, request.data)))
            }
            Request::Multi(request) => Ok(Response::Multi(MultiResponse {
                results: self.carry_out_together(request.ops),
            })),
            Request::GetChildren(request) => {
                self.watch(link, request.watch, &request.path, Kind::Child);
                let children = self.children(&request.path);
                Ok(Response::GetChildren(GetChildrenResponse { children }))
            }
            Request::Sync(request) => Ok(Response::Sync(SyncResponse { path: request.path })),
            Request::Auth(request) if request.scheme != "digest" => Err(ErrorCode::AuthFailed),
            Request::CloseSession => {
                self.end_session(id);
                Ok(Response::Empty)
            }
            Request::Ping | Request::Auth(_) => Ok(Response::Empty),
            request => self.carry_out_watch(link, request),
        }
    }

    /// Whether a node is there and has this version.
    fn check(&self, path: &str, version: i32) -> Result<(), ErrorCode> {
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        match version == -1 || version == node.stat.version {
            true => Ok(()),
            false => Err(ErrorCode::BadVersion),
        }
    }

    /// New data for a node that is there.
    fn put(&mut self, path: &str, data: Option<Bytes>) -> StatResponse {
        let zxid = Zxid(self.zxid);
        let node = self.nodes.get_mut(path).unwrap();
        let written = data.clone().unwrap_or_default();
        let history = self.history.entry(path.to_owned()).or_default();
        history.push(written);
        node.data = data;
        node.stat.version += 1;
        node.stat.mzxid = zxid;
        let stat = node.stat;
        self.fire(EventType::NodeDataChanged, path);
        StatResponse { stat }
    }

    /// Checks and sets, all or nothing; the tests need no others.
    fn carry_out_together(&mut self, ops: Vec<MultiOp>) -> Vec<MultiResult> {
        let refused = |op: &MultiOp| match op {
            MultiOp::Check(check) => self.check(&check.path, check.version).err(),
            MultiOp::SetData(set) => self.check(&set.path, set.version).err(),
            _ => Some(ErrorCode::Unimplemented),
        };
        let failed = ops
            .iter()
            .enumerate()
            .find_map(|(at, op)| Some((at, refused(op)?)));
        let result = |(at, op): (usize, MultiOp)| match (failed, op) {
            (None, MultiOp::SetData(set)) => MultiResult::SetData(self.put(&set.path, set.data)),
            (None, _) => MultiResult::Check,
            (Some((failed, code)), _) => {
                let code = match at.cmp(&failed) {
                    std::cmp::Ordering::Less => ErrorCode::Ok,
                    std::cmp::Ordering::Equal => code,
                    std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
                };
                let err = code.code();
                MultiResult::Error(ErrorResponse { err })
            }
        };
        ops.into_iter().enumerate().map(result).collect()
    }

    fn carry_out_watch(&mut self, link: &Link, request: Request) -> Result<Response, ErrorCode> {
        match request {
            Request::SetWatches(request) => {
                let request = SetWatches2Request {
                    relative_zxid: request.relative_zxid,
                    data: request.data,
                    exist: request.exist,
                    child: request.child,
                    persistent: Vec::new(),
                    persistent_recursive: Vec::new(),
                };
                self.set_watches(link, &request);
                Ok(Response::Empty)
            }
            Request::SetWatches2(request) => {
                self.set_watches(link, &request);
                Ok(Response::Empty)
            }
            Request::AddWatch(request) => {
                self.watch(link, true, &request.path, request.mode.into());
                Ok(Response::Error(ErrorResponse { err: 0 }))
            }
            Request::RemoveWatches(request) => {
                match self
                    .watches
                    .remove(link.connection, &request.path, request.kind)
                {
                    true => Ok(Response::Empty),
                    false => Err(ErrorCode::NoWatcher),
                }
            }
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn create(
        &mut self,
        id: i64,
        path: &str,
        data: Option<Bytes>,
        flags: i32,
    ) -> Result<Response, ErrorCode> {
        let zxid = Zxid(self.zxid);
        let above = self.nodes.get_mut(parent(path)).ok_or(ErrorCode::NoNode)?;
        let counter = above.stat.cversion;
        let path = if flags & 2 != 0 {
            format!("{path}{counter:010}")
        } else {
            path.to_owned()
        };
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        self.nodes.get_mut(parent(&path)).unwrap().stat.cversion += 1;
        let ephemeral_owner = SessionId(if flags & 1 != 0 { id } else { 0 });
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            ephemeral_owner,
            ..Stat::default()
        };
        self.nodes.insert(path.clone(), Node { data, stat });
        self.fire(EventType::NodeCreated, &path);
        self.fire_parent(&path);
        Ok(Response::Create2(Create2Response {
            path: path.into(),
            stat,
        }))
    }

    fn children(&self, path: &str) -> Vec<Utf8Bytes> {
        let names = self
            .nodes
            .keys()
            .filter(|node| *node != "/" && parent(node) == path);
        names
            .filter_map(|node| node.rsplit('/').next())
            .map(Utf8Bytes::from)
            .collect()
    }

    fn end_session(&mut self, id: i64) {
        if self.sessions.remove(&id).is_none() {
            return;
        }
        self.zxid += 1;
        let owned = |node: &Node| node.stat.ephemeral_owner == SessionId(id);
        let gone: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| owned(node))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.nodes.remove(&path);
            self.fire(EventType::NodeDeleted, &path);
            self.fire_parent(&path);
        }
    }

    fn watch(&mut self, link: &Link, wanted: bool, path: &str, kind: Kind) {
        if wanted {
            self.watches.add(link.connection, path, kind, &link.outbox);
        }
    }

    fn set_watches(&mut self, link: &Link, request: &SetWatches2Request) {
        let since = request.relative_zxid;
        for path in request.data.iter().chain(&request.exist) {
            self.watch(link, true, path, Kind::Data);
            let event = match self.nodes.get(path.as_str()).map(|node| node.stat.mzxid) {
                None if request.data.contains(path) => EventType::NodeDeleted,
                Some(_) if request.exist.contains(path) => EventType::NodeCreated,
                Some(mzxid) if mzxid > since => EventType::NodeDataChanged,
                _ => continue,
            };
            self.watches
                .catch_up(link.connection, path, Kind::Data, event);
        }
        for path in &request.child {
            self.watch(link, true, path, Kind::Child);
            let event = match self.nodes.get(path.as_str()).map(|node| node.stat.pzxid) {
                None => EventType::NodeDeleted,
                Some(pzxid) if pzxid > since => EventType::NodeChildrenChanged,
                Some(_) => continue,
            };
            self.watches
                .catch_up(link.connection, path, Kind::Child, event);
        }
        for path in &request.persistent {
            self.watch(link, true, path, Kind::Persistent);
        }
        for path in &request.persistent_recursive {
            self.watch(link, true, path, Kind::Recursive);
        }
    }

    fn fire(&mut self, event_type: EventType, path: &str) {
        self.watches.fire(event_type, path, self.zxid);
    }

    /// A node came or went.
    fn fire_parent(&mut self, path: &str) {
        let parent = parent(path);
        if let Some(node) = self.nodes.get_mut(parent) {
            node.stat.pzxid = Zxid(self.zxid);
        }
        self.fire(EventType::NodeChildrenChanged, parent);
    }
}

fn granted(id: i64, request: &ConnectRequest, read_only: bool) -> ConnectResponse {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: request.timeout_ms,
        session_id: SessionId(id),
        password: Password::new(Bytes::from_static(b"0123456789abcdef")),
        read_only: Some(read_only),
    }
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((parent @ "/..", _)) => parent,
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

impl Net for Ensemble {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let found = match host {
            "zk" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
        };
        Box::pin(std::future::ready(found))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let ensemble = self.clone();
        Box::pin(async move {
            let (down, silent) = {
                let faults = &ensemble.world.lock().unwrap().faults;
                (
                    faults.down.contains(&address.port()),
                    faults.silent.contains(&address.port()),
                )
            };
            if silent {
                return std::future::pending().await;
            }
            if down {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            // A round trip takes a millisecond, so that time passes at all.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(ensemble.serve(address.port(), far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

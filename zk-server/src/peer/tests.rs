//! The peer with a disk that answers when the test says so.

use std::net::SocketAddr;

use zk_proto::{
    Bytes, CreateMode, Decode, ErrorCode, Password, Reader, SessionId, Xid,
    acl::Acl,
    connect::{ConnectRequest, ConnectResponse},
    frame::take_frame,
    header::ReplyHeader,
    op::{
        CreateRequest, CreateTtlRequest, DeleteRequest, ExistsRequest, GetDataRequest, Request,
        SetDataRequest, SyncRequest,
    },
};

use super::*;
use crate::{
    auth::AuthConfig,
    config::Config,
    conn::handle::ConnHandle,
    frames::Frames,
    storage::{Directories, LogExecutor, MemDisk, RecoveryOptions, mem_disk::FaultyCall, recover},
};

mod ends;
mod following;
mod leading;
mod read_only;

/// A peer, and what it asked of its disk and was not done yet.
struct World {
    peer: Peer,
    log: LogExecutor,
    disk: MemDisk,
    shared: Arc<Shared>,
    now: Now,
    ops: Vec<DiskOp>,
    woken: Vec<u64>,
    cuts: Vec<Cut>,
    /// What a member of an ensemble wanted of its ports, and has not got.
    orders: Vec<Order>,
    fatal: Option<crate::error::Fatal>,
}

/// A frame to a client: its xid, its error, whether it is an event.
type Seen = (i32, i32);

fn options(config: &Config, local_sessions: LocalSessions) -> PeerOptions {
    PeerOptions {
        server: ServerId(1),
        tick: Duration::from_secs(2),
        min_session_timeout_ms: 4_000,
        max_session_timeout_ms: 40_000,
        snapshots: SnapshotTrigger::new(config, 0, 0),
        reaper: ReaperOptions::default(),
        prep: PrepOptions::default(),
        passwords: Passwords::Apache,
        local_sessions,
        read_only: false,
        snapshot_size_factor: 0.33,
        leader_serves: true,
        #[cfg(feature = "testing")]
        reply_before_write: false,
    }
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        Self::with_sessions(settings, LocalSessions::Off)
    }

    fn with_sessions(settings: &[(&str, &str)], local_sessions: LocalSessions) -> Self {
        Self::on(settings, local_sessions, |_| {})
    }

    /// With a tree that something was done to before the peer saw it.
    fn on(
        settings: &[(&str, &str)],
        local_sessions: LocalSessions,
        prepare: impl FnOnce(&mut DataTree),
    ) -> Self {
        let mut config = Config::default();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        let disk = MemDisk::new();
        let directories = Directories::on(Arc::new(disk.clone())).unwrap();
        let mut recovered = recover(&directories, &RecoveryOptions::of(&config, 0)).unwrap();
        prepare(&mut recovered.tree);
        let auth = AuthConfig::default();
        let shared = Arc::new(Shared::new(recovered.tree, 0, auth, MaxConns::default()));
        let now = Now {
            mono: Duration::from_secs(1),
            wall_ms: 1_700_000_000_000,
        };
        let options = options(&config, local_sessions);
        Self {
            peer: Peer::new(options, shared.clone(), now),
            log: recovered.log,
            disk,
            shared,
            now,
            ops: Vec::new(),
            woken: Vec::new(),
            cuts: Vec::new(),
            orders: Vec::new(),
            fatal: None,
        }
    }

    fn handle(&mut self, input: Input) {
        self.peer.handle(self.now, input);
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Disk(op) => self.ops.push(op),
                Output::Wake(conn) => self.woken.push(conn.serial),
                Output::TakeSnapshot { cut } => self.cuts.push(cut),
                Output::Stop(fatal) => self.fatal = Some(fatal),
                Output::Quorum(order) => self.orders.push(order),
            }
        }
    }

    /// The disk does what it was asked to, in one batch.
    fn sync(&mut self) {
        while !self.ops.is_empty() {
            let mut done = Vec::new();
            self.log.execute(std::mem::take(&mut self.ops), &mut done);
            for done in done {
                self.handle(Input::Disk(done));
            }
        }
    }

    fn accept(&self) -> Arc<ConnHandle> {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let conns = &self.shared.conns;
        conns.open(remote, &self.shared.auth, self.now).unwrap()
    }

    fn ask_for_session(
        &mut self,
        conn: &Arc<ConnHandle>,
        session_id: SessionId,
        password: Password,
    ) {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: 10_000,
            session_id,
            password,
            read_only: None,
        };
        let conn = conn.clone();
        self.handle(Input::Submit(Submit::Connect { conn, request }));
    }

    fn connect(&mut self) -> (Arc<ConnHandle>, ConnectResponse) {
        let conn = self.accept();
        self.ask_for_session(&conn, SessionId::NONE, Password::zero());
        self.sync();
        let response = response(&conn);
        assert_ne!(response.session_id, SessionId::NONE);
        (conn, response)
    }

    fn submit(&mut self, conn: &Arc<ConnHandle>, first: i32, requests: Vec<Request>) {
        let requests = (first..).map(Xid).zip(requests.into_iter().map(Some));
        self.handle(Input::Submit(Submit::Requests {
            conn: conn.clone(),
            credentials: conn.credentials(),
            received: self.now.mono,
            requests: requests.collect(),
        }));
    }

    fn later(&mut self, by: Duration) {
        self.now.mono += by;
    }
}

fn response(conn: &ConnHandle) -> ConnectResponse {
    let mut out = Frames::new();
    conn.outbox.collect(&mut out, usize::MAX);
    let body = take_frame(out.own_mut(), 1024).unwrap().unwrap();
    ConnectResponse::from_bytes(body).unwrap()
}

/// What is in a connection's outbox: xids and errors.
fn seen(conn: &ConnHandle) -> Vec<Seen> {
    let mut out = Frames::new();
    conn.outbox.collect(&mut out, usize::MAX);
    let frames = std::iter::from_fn(|| take_frame(out.own_mut(), 1 << 20).unwrap());
    frames
        .map(|body| {
            let header = ReplyHeader::decode(&mut Reader::new(body)).unwrap();
            (header.xid.0, header.err)
        })
        .collect()
}

fn create(path: &str, mode: CreateMode) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(Bytes::from_static(b"x")),
        acl: Acl::open(),
        flags: mode.flags(),
    })
}

fn set(path: &str) -> Request {
    Request::SetData(SetDataRequest {
        path: path.into(),
        data: None,
        version: -1,
    })
}

fn get(path: &str, watch: bool) -> Request {
    let path = path.into();
    Request::GetData(GetDataRequest { path, watch })
}

fn exists(path: &str) -> Request {
    let path = path.into();
    Request::Exists(ExistsRequest { path, watch: false })
}

const NO_NODE: i32 = ErrorCode::NoNode.code();

#[test]
fn nothing_is_applied_or_answered_before_the_disk_has_it() {
    let mut world = World::new();
    let (conn, _) = world.connect();
    let before = world.shared.tree.read().last_zxid();
    let requests = vec![
        create("/a", CreateMode::Persistent),
        set("/a"),
        set("/none"),
    ];
    world.submit(&conn, 1, requests);
    assert_eq!(world.ops.len(), 3, "a refusal is logged too");
    assert_eq!(seen(&conn), []);
    assert!(world.shared.tree.read().node("/a").is_none());
    world.woken.clear();
    world.sync();
    assert_eq!(seen(&conn), [(1, 0), (2, 0), (3, NO_NODE)]);
    assert_eq!(world.woken, [conn.serial], "one batch, one waking");
    assert_eq!(world.shared.tree.read().last_zxid().0, before.0 + 3);
}

#[test]
fn a_read_runs_right_behind_the_write_it_waits_for_and_waits_for_no_other() {
    let mut world = World::new();
    let (one, _) = world.connect();
    let (other, _) = world.connect();
    world.submit(
        &one,
        1,
        vec![
            create("/a", CreateMode::Persistent),
            exists("/a"),
            exists("/b"),
        ],
    );
    let first: Vec<_> = world.ops.drain(..).collect();
    world.submit(
        &other,
        1,
        vec![create("/b", CreateMode::Persistent), exists("/b")],
    );
    world.submit(&one, 4, vec![set("/a"), exists("/b")]);
    let rest = std::mem::replace(&mut world.ops, first);
    world.sync();
    assert_eq!(seen(&one), [(1, 0), (2, 0), (3, NO_NODE)]);
    assert_eq!(seen(&other), []);
    world.ops = rest;
    world.sync();
    assert_eq!(seen(&one), [(4, 0), (5, 0)]);
    assert_eq!(seen(&other), [(1, 0), (2, 0)]);
    world.submit(&one, 6, vec![exists("/a")]);
    assert!(world.ops.is_empty());
    assert_eq!(
        seen(&one),
        [(6, 0)],
        "with nothing to wait for it runs at once"
    );
}

#[test]
fn a_sync_waits_for_what_was_proposed_before_it_and_for_nothing_after() {
    let mut world = World::new();
    let (one, _) = world.connect();
    let (other, _) = world.connect();
    let sync = || Request::Sync(SyncRequest { path: "/".into() });
    world.submit(&one, 1, vec![sync()]);
    assert_eq!(seen(&one), [(1, 0)]);
    world.submit(&other, 1, vec![create("/a", CreateMode::Persistent)]);
    let first: Vec<_> = world.ops.drain(..).collect();
    world.submit(&one, 2, vec![sync(), exists("/a")]);
    world.submit(&other, 2, vec![set("/a")]);
    assert_eq!(seen(&one), []);
    let rest = std::mem::replace(&mut world.ops, first);
    world.sync();
    assert_eq!(seen(&one), [(2, 0), (3, 0)]);
    assert_eq!(seen(&other), [(1, 0)]);
    world.ops = rest;
    world.sync();
}

#[test]
fn events_stand_before_the_reply_that_caused_them_and_before_later_reads() {
    let mut world = World::new();
    let (watcher, _) = world.connect();
    let (writer, _) = world.connect();
    world.submit(&writer, 1, vec![create("/a", CreateMode::Persistent)]);
    world.sync();
    seen(&writer);
    world.submit(&writer, 2, vec![set("/a"), get("/a", true), set("/a")]);
    world.submit(&watcher, 1, vec![get("/a", true)]);
    assert_eq!(seen(&watcher), [(1, 0)], "a read with nothing before it");
    world.sync();
    assert_eq!(seen(&writer), [(2, 0), (3, 0), (-1, 0), (4, 0)]);
    assert_eq!(seen(&watcher), [(-1, 0)]);
}

#[test]
fn answers_for_a_connection_that_is_gone_reach_nobody_who_has_its_id_now() {
    let mut world = World::new();
    let (old, session) = world.connect();
    world.submit(
        &old,
        1,
        vec![
            get("/", true),
            create("/a", CreateMode::Persistent),
            exists("/"),
        ],
    );
    let conn = old.clone();
    world.handle(Input::Submit(Submit::Closed { conn }));
    let new = world.accept();
    assert_eq!(new.id, old.id);
    world.ask_for_session(&new, session.session_id, session.password);
    response(&new);
    world.sync();
    assert_eq!(seen(&new), []);
    assert!(world.shared.tree.read().node("/a").is_some());
    assert_eq!(world.shared.watches.lock().count(), 0);
}

#[test]
fn what_comes_over_a_connection_that_lost_its_session_is_dropped() {
    let mut world = World::new();
    let (old, session) = world.connect();
    let new = world.accept();
    world.ask_for_session(&new, session.session_id, session.password);
    assert!(old.outbox.is_closing());
    world.submit(&old, 1, vec![create("/a", CreateMode::Persistent)]);
    assert!(world.ops.is_empty());
    world.submit(&new, 1, vec![create("/b", CreateMode::Persistent)]);
    assert_eq!(world.ops.len(), 1);
}

#[test]
fn closing_a_session_drops_what_stands_behind_it() {
    let mut world = World::new();
    let (conn, session) = world.connect();
    let requests = vec![
        create("/mine", CreateMode::Ephemeral),
        Request::CloseSession,
        create("/late", CreateMode::Ephemeral),
    ];
    world.submit(&conn, 1, requests);
    assert_eq!(world.ops.len(), 2);
    world.sync();
    assert_eq!(seen(&conn), [(1, 0), (2, 0)]);
    assert!(conn.outbox.is_closing());
    let tree = world.shared.tree.read();
    assert!(tree.node("/mine").is_none() && tree.node("/late").is_none());
    assert_eq!(tree.session_timeout(session.session_id), None);
}

#[test]
fn sessions_expire_by_their_last_sign_of_life_and_take_their_nodes() {
    let mut world = World::new();
    let (silent, _) = world.connect();
    let (alive, _) = world.connect();
    world.submit(&silent, 1, vec![create("/mine", CreateMode::Ephemeral)]);
    world.sync();
    while world.shared.tree.read().node("/mine").is_some() {
        let deadline = world.peer.next_deadline().unwrap();
        assert!(deadline <= Duration::from_secs(13 + 1), "{deadline:?}");
        world.now.mono = deadline;
        alive.heard(world.now);
        world.handle(Input::Deadline);
        world.sync();
    }
    assert!(world.now.mono >= Duration::from_secs(11));
    assert!(silent.outbox.is_closing() && !alive.outbox.is_closing());
}

#[test]
fn an_expired_session_is_not_resumed_while_its_end_is_being_logged() {
    let mut world = World::new();
    let (_conn, session) = world.connect();
    world.handle(Input::Expire(session.session_id));
    let new = world.accept();
    world.ask_for_session(&new, session.session_id, session.password);
    assert_eq!(response(&new).session_id, SessionId::NONE);
    assert!(new.outbox.is_closing());
}

#[test]
fn a_session_whose_client_is_gone_before_it_is_made_expires_like_any_other() {
    let mut world = World::new();
    let conn = world.accept();
    world.ask_for_session(&conn, SessionId::NONE, Password::zero());
    world.handle(Input::Submit(Submit::Closed { conn }));
    world.sync();
    assert_eq!(world.shared.tree.read().sessions().len(), 1);
    for _ in 0..10 {
        world.later(Duration::from_secs(2));
        world.handle(Input::Deadline);
        world.sync();
    }
    assert_eq!(world.shared.tree.read().sessions().len(), 0);
}

#[test]
fn a_snapshot_is_due_after_so_many_transactions_and_one_at_a_time() {
    let mut world = World::with(&[("snapCount", "10")]);
    let (conn, _) = world.connect();
    world.submit(&conn, 1, vec![create("/a", CreateMode::Persistent)]);
    for _ in 0..40 {
        world.submit(&conn, 2, vec![set("/a")]);
        world.sync();
    }
    assert_eq!(world.cuts.len(), 1, "the second waits for the first");
    let cut = world.cuts.pop().unwrap();
    assert!(cut.zxid.0 > 5 && cut.zxid.0 <= 11, "{:?}", cut.zxid);
    world.handle(Input::SnapshotDone { cut });
    for _ in 0..10 {
        world.submit(&conn, 2, vec![set("/a")]);
        world.sync();
    }
    assert_eq!(world.cuts.len(), 1);
}

#[test]
fn empty_containers_and_ttl_nodes_past_their_time_go_at_the_next_look() {
    let mut world = World::with(&[("extendedTypesEnabled", "true")]);
    let (conn, _) = world.connect();
    let container = |path: &str| {
        Request::CreateContainer(CreateRequest {
            path: path.into(),
            data: None,
            acl: Acl::open(),
            flags: CreateMode::Container.flags(),
        })
    };
    let delete = Request::Delete(DeleteRequest {
        path: "/c/x".into(),
        version: -1,
    });
    let ttl = Request::CreateTtl(CreateTtlRequest {
        path: "/t".into(),
        data: None,
        acl: Acl::open(),
        flags: CreateMode::PersistentWithTtl.flags(),
        ttl_ms: 1_000,
    });
    let child = create("/c/x", CreateMode::Persistent);
    world.submit(
        &conn,
        1,
        vec![container("/c"), child, delete, ttl, container("/unused")],
    );
    world.sync();
    assert_eq!(seen(&conn), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
    world.later(Duration::from_secs(60));
    world.now.wall_ms += 60_000;
    conn.heard(world.now);
    world.handle(Input::Deadline);
    world.sync();
    let tree = world.shared.tree.read();
    let is_there = |path| tree.node(path).is_some();
    assert_eq!(["/c", "/t", "/unused"].map(is_there), [false, false, true]);
}

#[test]
fn what_a_client_made_or_wrote_after_the_look_stays() {
    let mut world = World::with(&[("extendedTypesEnabled", "true")]);
    let (conn, _) = world.connect();
    let create = |path: &str, mode: CreateMode| CreateRequest {
        path: path.into(),
        data: None,
        acl: Acl::open(),
        flags: mode.flags(),
    };
    let container = || Request::CreateContainer(create("/c", CreateMode::Container));
    let delete = |path: &str| {
        let (path, version) = (path.into(), -1);
        Request::Delete(DeleteRequest { path, version })
    };
    let ttl = Request::CreateTtl(CreateTtlRequest {
        path: "/t".into(),
        data: None,
        acl: Acl::open(),
        flags: CreateMode::PersistentWithTtl.flags(),
        ttl_ms: 1_000,
    });
    let child = Request::Create(create("/c/x", CreateMode::Persistent));
    world.submit(&conn, 1, vec![container(), child, delete("/c/x"), ttl]);
    world.sync();
    world.later(Duration::from_secs(60));
    world.now.wall_ms += 60_000;
    conn.heard(world.now);
    // Proposed, and not applied when the tree is looked over.
    world.submit(&conn, 5, vec![delete("/c"), container(), set("/t")]);
    world.handle(Input::Deadline);
    world.sync();
    assert_eq!(seen(&conn).len(), 7);
    let tree = world.shared.tree.read();
    assert!(tree.node("/c").is_some() && tree.node("/t").is_some());
}

#[test]
fn a_failed_disk_stops_the_member_for_good() {
    let mut world = World::new();
    let (conn, _) = world.connect();
    world
        .disk
        .fail(FaultyCall::Sync, 1, std::io::ErrorKind::Other);
    world.submit(&conn, 1, vec![create("/a", CreateMode::Persistent)]);
    world.sync();
    assert!(world.fatal.is_some());
    assert_eq!(seen(&conn), []);
    world.disk.heal();
    world.submit(&conn, 2, vec![create("/b", CreateMode::Persistent)]);
    assert!(world.ops.is_empty(), "it takes nothing in any more");
}

#[test]
#[should_panic(expected = "outputs are drained before the next input")]
fn outputs_must_be_drained() {
    let mut world = World::new();
    let (conn, _) = world.connect();
    let submit = || {
        Input::Submit(Submit::Requests {
            conn: conn.clone(),
            credentials: conn.credentials(),
            received: Duration::ZERO,
            requests: vec![(Xid(1), Some(set("/")))],
        })
    };
    world.peer.handle(world.now, submit());
    world.peer.handle(world.now, submit());
}

#[test]
fn a_local_session_begins_and_ends_without_a_transaction() {
    let mut world = World::with_sessions(&[], LocalSessions::On);
    let (conn, response) = world.connect();
    let session = response.session_id;
    assert_eq!(world.shared.tree.read().last_zxid(), Zxid(0));
    world.submit(
        &conn,
        1,
        vec![create("/a", CreateMode::Persistent), Request::CloseSession],
    );
    assert_eq!(seen(&conn), [], "behind its write");
    world.sync();
    assert_eq!(seen(&conn), [(1, 0), (2, 0)]);
    assert!(conn.outbox.is_closing());
    let tree = world.shared.tree.read();
    assert_eq!((tree.last_zxid(), tree.sessions().len()), (Zxid(1), 0));
    drop(tree);
    assert!(!world.peer.sessions.contains(session));
    assert_eq!(world.shared.metrics.local_sessions.get(), 0);
}

#[test]
fn a_local_session_has_no_nodes_of_its_own() {
    let mut world = World::with_sessions(&[], LocalSessions::On);
    let (conn, _) = world.connect();
    let ephemeral = create("/e", CreateMode::Ephemeral);
    world.submit(
        &conn,
        1,
        vec![ephemeral, create("/a", CreateMode::Persistent)],
    );
    world.sync();
    let refused = ErrorCode::EphemeralOnLocalSession.code();
    assert_eq!(seen(&conn), [(1, refused), (2, 0)]);
    assert_eq!(world.shared.metrics.local_sessions.get(), 1);
}

#[test]
fn a_local_session_becomes_the_ensembles_with_its_first_node() {
    let mut world = World::with_sessions(&[], LocalSessions::Upgrading);
    let (conn, response) = world.connect();
    let session = response.session_id;
    let requests = ["/e", "/f"].map(|path| create(path, CreateMode::Ephemeral));
    world.submit(&conn, 1, requests.to_vec());
    world.sync();
    assert_eq!(seen(&conn), [(1, 0), (2, 0)]);
    let tree = world.shared.tree.read();
    assert_eq!(tree.session_timeout(session), Some(10_000));
    assert_eq!(
        tree.last_zxid(),
        Zxid(3),
        "one transaction more than requests"
    );
    assert_eq!(tree.ephemerals(session).count(), 2);
    drop(tree);
    assert_eq!(world.shared.metrics.global_sessions.get(), 1);
    world.handle(Input::Expire(session));
    world.sync();
    let tree = world.shared.tree.read();
    assert_eq!(
        (tree.sessions().len(), tree.ephemerals(session).count()),
        (0, 0)
    );
}

#[test]
fn a_silent_local_session_expires_without_a_transaction() {
    let mut world = World::with_sessions(&[], LocalSessions::On);
    let (conn, response) = world.connect();
    for _ in 0..10 {
        world.later(Duration::from_secs(2));
        world.handle(Input::Deadline);
        world.sync();
    }
    assert!(conn.outbox.is_closing());
    assert_eq!(world.shared.tree.read().last_zxid(), Zxid(0));
    let new = world.accept();
    world.ask_for_session(&new, response.session_id, response.password);
    assert_eq!(self::response(&new).session_id, SessionId::NONE);
}

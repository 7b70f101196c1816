//! One server: its disk, which outlives it, and its process: the peer, its log, and the connections of its clients.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use zk_server::{
    auth::AuthConfig,
    config::Config,
    conn::{CloseReason, Connection, handle::ConnHandle, reads::Reads},
    frames::Frames,
    limits::ConnLimits,
    peer::{
        Input, LocalSessions, MaxConns, Peer, PeerOptions, QuorumInput, ReaperOptions, Shared,
        Submit,
    },
    prep::PrepOptions,
    session::Passwords,
    storage::{
        Directories, DiskOp, LogExecutor, MemDisk, RecoveryOptions, SnapshotOptions,
        SnapshotTrigger, put_piece, recover, write_snapshot,
    },
    time::Now,
    tree::{Cut, DataTree, TreeBuilder},
    zab::{Epochs, ZabConfig},
};

/// A server, running or not.
pub(super) struct Server {
    pub(super) disk: MemDisk,
    pub(super) process: Option<Process>,
    /// Counts the processes: what was meant for an earlier one does not reach a later one.
    pub(super) incarnation: u32,
    /// Until when its process stands still.
    pub(super) paused_until: Duration,
    /// How far its wall clock is off, in milliseconds.
    pub(super) skew_ms: i64,
    /// Whether a record in its log was ever spoiled.
    pub(super) spoiled: bool,
}

/// A running server.
pub(super) struct Process {
    pub(super) peer: Peer,
    pub(super) shared: Arc<Shared>,
    pub(super) directories: Directories,
    log: LogExecutor,
    recovery: RecoveryOptions,
    /// Asked of the disk and not done.
    pub(super) work: Vec<Work>,
    pub(super) disk_is_busy: bool,
    pub(super) timer: Option<Duration>,
    pub(super) conns: BTreeMap<u64, Conn>,
}

/// Something for the disk to do, in order.
pub(super) enum Work {
    Op(DiskOp),
    Install(Cut),
    Recover(u64),
}

/// A client's connection, as its server sees it.
pub(super) struct Conn {
    pub(super) handle: Arc<ConnHandle>,
    core: Connection,
    reads: Reads,
    answered: u64,
    input: BytesMut,
    output: Frames,
}

/// What came of looking after a connection.
#[derive(Default)]
pub(super) struct Served {
    pub(super) to_peer: Vec<Input>,
    pub(super) to_client: Bytes,
    /// The connection has ended.
    pub(super) ended: bool,
}

fn settings() -> Config {
    let mut config = Config::default();
    for (key, value) in [("snapCount", "40"), ("preAllocSize", "0")] {
        config.set(key, value).unwrap();
    }
    config
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            disk: MemDisk::new(),
            process: None,
            incarnation: 0,
            paused_until: Duration::ZERO,
            skew_ms: 0,
            spoiled: false,
        }
    }

    pub(super) fn now(&self, mono: Duration) -> Now {
        const WALL_MS: i64 = 1_700_000_000_000;
        Now {
            mono,
            wall_ms: WALL_MS + mono.as_millis() as i64 + self.skew_ms,
        }
    }

    /// Starts on what the disk has kept.
    pub(super) fn start(&mut self, mono: Duration, config: ZabConfig, answers_early: bool) {
        let settings = settings();
        let directories = Directories::on(Arc::new(self.disk.clone())).unwrap();
        let mut recovery = RecoveryOptions::of(&settings, 1);
        recovery.can_be_synced = true;
        let recovered = recover(&directories, &recovery).unwrap();
        assert_eq!(
            recovered.digest_mismatch, None,
            "the log makes another tree"
        );
        assert!(
            self.spoiled || !recovered.awaits_sync,
            "nobody spoiled this log"
        );
        let last = recovered.tree.last_zxid().epoch();
        let current = recovered.current_epoch.unwrap_or(last);
        let epochs = Epochs {
            accepted: recovered.accepted_epoch.unwrap_or(last).max(current),
            current,
            awaits_sync: recovered.awaits_sync,
        };
        let auth = AuthConfig::default();
        let shared = Shared::new(recovered.tree, 1, auth, MaxConns::default());
        let shared = Arc::new(shared);
        let options = PeerOptions {
            server: config.me,
            tick: config.tick,
            min_session_timeout_ms: 500,
            max_session_timeout_ms: 4_000,
            snapshots: SnapshotTrigger::new(&settings, 1, recovered.txns_since_snapshot),
            prep: PrepOptions::default(),
            passwords: Passwords::Apache,
            read_only: false,
            snapshot_size_factor: 0.33,
            leader_serves: true,
            local_sessions: LocalSessions::Off,
            reaper: ReaperOptions::default(),
            reply_before_write: answers_early,
        };
        let peer = Peer::among(options, shared.clone(), self.now(mono), config, epochs);
        self.incarnation += 1;
        self.paused_until = Duration::ZERO;
        self.process = Some(Process {
            peer,
            shared,
            directories,
            log: recovered.log,
            recovery,
            work: Vec::new(),
            disk_is_busy: false,
            timer: None,
            conns: BTreeMap::new(),
        });
    }
}

impl Process {
    /// Does what was asked of the disk.
    pub(super) fn work(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        for work in std::mem::take(&mut self.work) {
            match work {
                Work::Op(op) => {
                    let mut done = Vec::new();
                    self.log.execute([op], &mut done);
                    inputs.extend(done.into_iter().map(Input::Disk));
                }
                Work::Install(cut) => {
                    let written = self.write_snapshot(&cut);
                    assert!(written, "a disk without faults");
                    let written = Ok(());
                    inputs.push(Input::Quorum(QuorumInput::Installed { cut, written }));
                }
                Work::Recover(generation) => {
                    self.log.close();
                    let recovered = recover(&self.directories, &self.recovery).unwrap();
                    self.log = recovered.log;
                    let generation = [DiskOp::NewGeneration(generation)];
                    self.log.execute(generation, &mut Vec::new());
                    let tree = Ok(Box::new(recovered.tree));
                    inputs.push(Input::Quorum(QuorumInput::Recovered(tree)));
                }
            }
        }
        inputs
    }

    pub(super) fn write_snapshot(&self, cut: &Cut) -> bool {
        let tree = self.shared.tree.read();
        let mut piece = |out: &mut BytesMut| Ok(put_piece(&tree, cut, out));
        let options = SnapshotOptions {
            digest: true,
            last_processed: true,
        };
        write_snapshot(&self.directories, cut, &mut piece, &options).is_ok()
    }

    /// The tree of a cut, as a learner builds it.
    pub(super) fn copy(&self, cut: &Cut) -> Box<DataTree> {
        let tree = self.shared.tree.read();
        let mut builder = TreeBuilder::new(&self.recovery.tree);
        for (session, timeout) in &cut.sessions {
            builder.session(*session, *timeout);
        }
        for (number, acl) in &cut.acls {
            builder.acl(*number, acl.entries().to_vec());
        }
        while tree.walk_cut(cut, usize::MAX, |node| builder.node(&node).unwrap()) {}
        Box::new(builder.finish(cut.zxid).unwrap())
    }

    /// A client has connected.
    pub(super) fn accept(&mut self, id: u64, now: Now) {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let handle = self.shared.conns.open(remote, &self.shared.auth, now);
        let conn = Conn {
            handle: handle.unwrap(),
            core: Connection::new(ConnLimits::default(), now),
            reads: Reads::default(),
            answered: 0,
            input: BytesMut::new(),
            output: Frames::new(),
        };
        self.conns.insert(id, conn);
    }

    /// The connection that the peer means.
    pub(super) fn conn_of(&self, handle: &ConnHandle) -> Option<u64> {
        let mut conns = self.conns.iter();
        conns.find_map(|(id, conn)| (conn.handle.serial == handle.serial).then_some(*id))
    }

    /// Looks after a connection, as its task does.
    pub(super) fn serve(&mut self, id: u64, now: Now, bytes: &[u8]) -> Served {
        let mut served = Served::default();
        let Some(conn) = self.conns.get_mut(&id) else {
            return served;
        };
        conn.input.extend_from_slice(bytes);
        if !bytes.is_empty() {
            conn.handle.heard(now);
        }
        let ended = conn.turn(&self.shared, now, &mut served.to_peer);
        served.to_client = conn.output.own_mut().split().freeze();
        if ended.unwrap_or(true) {
            served.ended = true;
            self.hang_up(id, &mut served.to_peer);
        }
        served
    }

    /// The connection is gone.
    pub(super) fn hang_up(&mut self, id: u64, to_peer: &mut Vec<Input>) {
        if let Some(conn) = self.conns.remove(&id) {
            let conn = conn.handle;
            to_peer.push(Input::Submit(Submit::Closed { conn }));
        }
    }
}

impl Conn {
    /// Takes in what the peer has said, and then what the client has; whether that is the end.
    fn turn(
        &mut self,
        shared: &Shared,
        now: Now,
        to_peer: &mut Vec<Input>,
    ) -> Result<bool, CloseReason> {
        loop {
            let seen = self.handle.outbox.collect(&mut self.output, usize::MAX);
            self.answered = seen.answered;
            if let Some(established) = seen.established {
                let timeout = Duration::from_millis(established.timeout_ms.into());
                self.core.established(timeout);
            }
            if seen.closing {
                self.core.end();
                return Ok(true);
            }
            let frames = self.core.receive(now, &mut self.input)?;
            let answered = self.answered;
            let handle = &self.handle;
            let handed = self
                .reads
                .carry_out(&mut self.core, answered, shared, handle, now)?;
            let conn = self.handle.clone();
            let is_quiet = frames == 0 && handed.connect.is_none() && handed.requests.is_empty();
            if let Some(request) = handed.connect {
                let conn = conn.clone();
                to_peer.push(Input::Submit(Submit::Connect { conn, request }));
            }
            if !handed.requests.is_empty() {
                to_peer.push(Input::Submit(Submit::Requests {
                    credentials: conn.credentials(),
                    conn,
                    received: now.mono,
                    requests: handed.requests,
                }));
            }
            if is_quiet && !handed.more {
                let _ = self.handle.outbox.collect(&mut self.output, usize::MAX);
                return Ok(false);
            }
        }
    }
}

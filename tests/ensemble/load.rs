//! Clients that write all the while, and know what must be there in the end.
//!
//! Every client has a home of its own, one session as long as that lives, and one request at a time. When its
//! connection is lost it goes to the next member and resumes its session there. What was acknowledged counts; what was in
//! flight then is in doubt, and is done under another name.

#![allow(
    clippy::disallowed_methods,
    reason = "measures real servers, on threads"
)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use zk_proto::{Acl, CreateMode, ErrorCode, Zxid, op::Request};
use zk_tests::{
    frames::FrameClient,
    requests::{
        ANY, auth, create, create_as, create_for, create_ttl, delete, exists, multi, part_check,
        part_create, part_set, set, sync,
    },
};

use crate::dump::{Files, READER, Seen};

/// At most twenty ticks of a second, which is what both servers grant.
const SESSION_MS: i32 = 20_000;

/// How long one answer may take before the client looks for another member.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a client thinks between two requests, so that the tree stays small enough to be compared often.
const PAUSE: Duration = Duration::from_millis(2);

/// How many nodes a client keeps.
const KEPT: usize = 60;

/// The load on one ensemble.
#[derive(Debug)]
pub(crate) struct Load {
    writers: Vec<JoinHandle<Ledger>>,
    progress: Arc<Progress>,
    extended: bool,
}

/// What is known while it goes on.
#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    members: Mutex<Vec<SocketAddr>>,
    so_far: watch::Sender<SoFar>,
}

#[derive(Debug, Default, Clone, Copy)]
struct SoFar {
    acknowledged: u64,
    /// When the last of them came.
    last: Option<Instant>,
    /// A client has found something wrong.
    is_over: bool,
}

/// Tells those who wait when the thread that has it panics.
struct Alarm(Arc<Progress>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.so_far.send_modify(|so_far| so_far.is_over = true);
        }
    }
}

/// What one client knows of its own writes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    home: String,
    number: u64,
    /// Must be there.
    live: VecDeque<String>,
    /// Must not be there.
    gone: BTreeSet<String>,
    /// The number in the register was this at least, and is that at most.
    register: (u64, u64),
    /// Of every acknowledgement.
    zxids: Vec<Zxid>,
    ephemeral: Option<String>,
    resumed: u64,
    lost_sessions: u64,
    last_zxid: Zxid,
}

impl Load {
    /// So many clients, from now on; `extended` where the servers know nodes with a time to live.
    pub(crate) async fn begin(members: Vec<SocketAddr>, writers: usize, extended: bool) -> Self {
        let mut load = Self {
            writers: Vec::new(),
            progress: Arc::default(),
            extended,
        };
        load.go_to(members.clone());
        for writer in 0..writers {
            let ledger = Ledger {
                home: format!("/w{writer}"),
                ..Ledger::default()
            };
            let member = members[writer % members.len()];
            let mut client = FrameClient::connect(member, SESSION_MS).await.unwrap();
            for request in [
                create(&ledger.home, b""),
                create(&format!("{}/r", ledger.home), b"0"),
            ] {
                let answer = client.call(&request).await.unwrap();
                assert_eq!(answer.code, ErrorCode::Ok, "{request:?}");
            }
            client.close().await.unwrap();
            load.spawn(writer, ledger);
        }
        load
    }

    fn spawn(&mut self, writer: usize, ledger: Ledger) {
        let writer = Writer {
            next: writer,
            progress: Arc::clone(&self.progress),
            ledger,
            extended: self.extended,
        };
        // On a thread of its own, so that a test may wait for processes meanwhile.
        let alarm = Alarm(Arc::clone(&self.progress));
        self.writers.push(thread::spawn(move || {
            let _alarm = alarm;
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(writer.run())
        }));
    }

    /// From now on, clients that look for a member look among these.
    pub(crate) fn go_to(&self, members: Vec<SocketAddr>) {
        *self.progress.members.lock() = members;
    }

    /// How many writes have been acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.progress.so_far.borrow().acknowledged
    }

    /// Waits for so many more acknowledgements; they must come.
    pub(crate) async fn grown(&mut self, by: u64, limit: Duration) {
        let target = self.acknowledged() + by;
        let grown = |so_far: &SoFar| so_far.acknowledged >= target;
        self.come_to(limit, grown).await;
    }

    /// Waits for an acknowledgement after `moment`; gives how long after it came.
    pub(crate) async fn acknowledged_after(
        &mut self,
        moment: Instant,
        limit: Duration,
    ) -> Duration {
        let is_after = |so_far: &SoFar| so_far.last.is_some_and(|last| last > moment);
        let so_far = self.come_to(limit, is_after).await;
        so_far.last.map_or(limit, |last| last - moment)
    }

    /// Waits until things have come so far.
    async fn come_to(&self, limit: Duration, is_there: impl Fn(&SoFar) -> bool) -> SoFar {
        let mut progress = self.progress.so_far.subscribe();
        let there = progress.wait_for(|so_far| so_far.is_over || is_there(so_far));
        let Ok(Ok(so_far)) = timeout(limit, there).await.map(|it| it.map(|it| *it)) else {
            panic!("nothing is acknowledged any more");
        };
        assert!(!so_far.is_over, "a client has ended");
        so_far
    }

    /// Lets the clients finish and gives what they know.
    pub(crate) fn pause(&mut self) -> Vec<Ledger> {
        self.progress.stop.store(true, Relaxed);
        let ended = self.writers.drain(..).map(|writer| writer.join().unwrap());
        ended.collect()
    }

    /// Goes on after [`pause`](Self::pause).
    pub(crate) fn go_on(&mut self, ledgers: Vec<Ledger>) {
        self.progress.stop.store(false, Relaxed);
        for (writer, ledger) in ledgers.into_iter().enumerate() {
            self.spawn(writer, ledger);
        }
    }
}

impl Ledger {
    /// How many times the client resumed its session at another member.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// How many of its sessions nobody knew any more.
    pub(crate) fn lost_sessions(&self) -> u64 {
        self.lost_sessions
    }

    /// The node below which it writes.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    /// G3, G4: everything acknowledged is there, as acknowledged.
    pub(crate) fn check(&self, seen: &Seen) {
        for path in &self.live {
            assert!(
                seen.contains_key(path),
                "{path} was acknowledged and is lost"
            );
        }
        for path in &self.gone {
            assert!(!seen.contains_key(path), "{path} is back");
        }
        let (data, _, _) = &seen[&format!("{}/r", self.home)];
        let text = data.as_deref().map(String::from_utf8_lossy);
        let value: u64 = text.unwrap_or_default().parse().unwrap();
        let (least, most) = self.register;
        assert!(
            (least..=most).contains(&value),
            "{}/r is {value}; {least} was acknowledged and {most} asked for",
            self.home
        );
    }
}

/// G3, G5: every acknowledgement has its own zxid, growing for each client, and its record in some log.
pub(crate) fn check_zxids(ledgers: &[Ledger], members: &[Files]) {
    let mut acknowledged = BTreeMap::new();
    for ledger in ledgers {
        for zxid in &ledger.zxids {
            let other = acknowledged.insert(*zxid, &ledger.home);
            assert!(other.is_none(), "{zxid} for {other:?} and {}", ledger.home);
        }
    }
    let logged: BTreeSet<_> = members
        .iter()
        .flat_map(|files| files.records.iter().map(|(zxid, _)| *zxid))
        .collect();
    for (zxid, whose) in acknowledged {
        assert!(logged.contains(&zxid), "{zxid} of {whose} is in no log");
    }
}

struct Writer {
    next: usize,
    progress: Arc<Progress>,
    ledger: Ledger,
    extended: bool,
}

impl Writer {
    async fn run(mut self) -> Ledger {
        let mut session = None;
        let mut heard = Instant::now();
        while !self.progress.stop.load(Relaxed) {
            let member = {
                let members = self.progress.members.lock();
                members[self.next % members.len()]
            };
            self.next += 1;
            let resuming = session.is_some();
            let Some(mut client) = attach(member, &session, self.ledger.last_zxid).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            if client.refused() {
                // No honest ensemble has expired a session that was heard of so lately.
                let timeout_ms = session.map_or(0, |known: Resumption| known.timeout_ms);
                let lives = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)) * 3 / 4;
                assert!(
                    !resuming || heard.elapsed() > lives,
                    "{member} does not know a session that was alive {:?} ago",
                    heard.elapsed()
                );
                self.ledger.lost_sessions += u64::from(resuming);
                session = None;
                self.ledger.ephemeral = None;
                continue;
            }
            let mine = client.resumption(self.ledger.last_zxid);
            self.ledger.resumed += u64::from(resuming);
            session = Some(mine);
            match self.write(&mut client, &mut heard).await {
                // Its session ends with it.
                Ok(()) => {
                    let closed = timeout(PATIENCE, client.close()).await;
                    if matches!(closed, Ok(Ok(()))) {
                        session = None;
                        self.ledger.ephemeral = None;
                    }
                }
                Err(_) => client.cut(),
            }
        }
        self.ledger.ephemeral = None;
        self.ledger
    }

    /// Writes until it is told to stop, or the connection is lost.
    async fn write(&mut self, client: &mut FrameClient, heard: &mut Instant) -> io::Result<()> {
        self.ask(client, &auth(READER.0, READER.1)).await?;
        // What was acknowledged elsewhere is seen here; and the session's own node has not gone.
        self.ask(client, &sync("/")).await?;
        match self.ledger.ephemeral.clone() {
            Some(path) => drop(self.ask(client, &exists(&path)).await?),
            None => {
                let path = format!(
                    "{}/e{:x}-{}",
                    self.ledger.home,
                    client.id().0,
                    self.ledger.number
                );
                self.ledger.number += 1;
                self.ask(client, &create_as(&path, b"", CreateMode::Ephemeral))
                    .await?;
                self.ledger.ephemeral = Some(path);
            }
        }
        while !self.progress.stop.load(Relaxed) {
            self.step(client).await?;
            *heard = Instant::now();
            self.progress.so_far.send_modify(|so_far| {
                so_far.acknowledged += 1;
                so_far.last = Some(*heard);
            });
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// One write, acknowledged.
    async fn step(&mut self, client: &mut FrameClient) -> io::Result<()> {
        self.ledger.number += 1;
        let number = self.ledger.number;
        let text = number.to_string();
        let (path, register) = (
            format!("{}/n{number}", self.ledger.home),
            format!("{}/r", self.ledger.home),
        );
        if self.ledger.live.len() >= KEPT
            && let Some(oldest) = self.ledger.live.pop_front()
        {
            // In doubt unless it is acknowledged: neither live nor gone.
            let zxid = self.ask(client, &delete(&oldest, ANY)).await?;
            self.ledger.gone.insert(oldest);
            self.ledger.zxids.push(zxid);
            return Ok(());
        }
        let (request, creates, sets) = match number % 7 {
            0 => (create_for(&path, Acl::creator_all()), true, false),
            1 => (set(&register, text.as_bytes(), ANY), false, true),
            2 => {
                let ops = vec![
                    part_create(&path),
                    part_set(&register, text.as_bytes(), ANY),
                ];
                (multi(ops), true, true)
            }
            3 if self.extended => {
                let mode = CreateMode::PersistentWithTtl;
                (create_ttl(&path, mode, 90_000_000), true, false)
            }
            // Refused as a whole: a transaction that changes nothing.
            4 => {
                let ops = vec![part_create(&path), part_check(&register, i32::MAX)];
                (multi(ops), false, false)
            }
            _ => (create(&path, text.as_bytes()), true, false),
        };
        if sets {
            self.ledger.register.1 = number;
        }
        let zxid = self.ask(client, &request).await?;
        self.ledger.zxids.push(zxid);
        if sets {
            self.ledger.register.0 = number;
        }
        if creates {
            self.ledger.live.push_back(path);
        }
        Ok(())
    }

    /// The zxid of the answer, which is no refusal.
    async fn ask(&mut self, client: &mut FrameClient, request: &Request) -> io::Result<Zxid> {
        let answer = timeout(PATIENCE, client.call(request)).await??;
        assert_eq!(answer.code, ErrorCode::Ok, "{request:?}");
        if !matches!(request, Request::Auth(_)) {
            let before = self.ledger.last_zxid;
            assert!(answer.zxid >= before, "G8: {} after {before}", answer.zxid);
            self.ledger.last_zxid = answer.zxid;
        }
        Ok(answer.zxid)
    }
}

type Resumption = zk_proto::connect::ConnectRequest;

async fn attach(
    member: SocketAddr,
    session: &Option<Resumption>,
    last_zxid: Zxid,
) -> Option<FrameClient> {
    let attached = async {
        match session {
            None => FrameClient::connect(member, SESSION_MS).await,
            Some(known) => {
                let mut request = known.clone();
                request.last_zxid_seen = last_zxid;
                FrameClient::open(member, &request).await
            }
        }
    };
    timeout(PATIENCE, attached).await.ok()?.ok()
}

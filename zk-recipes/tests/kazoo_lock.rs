//! One lock, one read-write lock, one semaphore and one election for kazoo and for us, in kazoo's layout; and what is
//! refused, because it cannot work.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{path::PathBuf, process::Stdio};

use support::{client, server, soon, unique, until_contenders};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use zk_recipes::prelude::*;

/// Acquires and releases as it is told, line by line: what, where, and what to do with it.
const SCRIPT: &str = r#"
import sys
import threading
from kazoo.client import KazooClient

zk = KazooClient(hosts=sys.argv[1])
zk.start()


class Leader:
    """kazoo's election calls back; this asks it to acquire and release."""

    def __init__(self, path):
        self.election = zk.Election(path, "kazoo")

    def acquire(self, blocking=True):
        leads, self.resigned = threading.Event(), threading.Event()

        def lead():
            leads.set()
            self.resigned.wait()

        self.thread = threading.Thread(target=self.election.run, args=(lead,))
        self.thread.start()
        return leads.wait()

    def release(self):
        self.resigned.set()
        self.thread.join()
        return True

    def contenders(self):
        return self.election.contenders()


KINDS = {
    "lock": lambda path: zk.Lock(path, "kazoo"),
    "read": lambda path: zk.ReadLock(path, "kazoo"),
    "write": lambda path: zk.WriteLock(path, "kazoo"),
    "semaphore": lambda path: zk.Semaphore(path, "kazoo", max_leases=2),
    "election": Leader,
}
made = {}
for line in sys.stdin:
    kind, path, word = line.split()
    it = made.setdefault((kind, path), KINDS[kind](path))
    try:
        if word == "acquire":
            print("acquired", it.acquire(), flush=True)
        elif word == "try":
            print("acquired", it.acquire(blocking=False), flush=True)
        elif word == "contenders":
            print("contenders", ",".join(it.contenders()), flush=True)
        elif word == "holders":
            print("holders", ",".join(sorted(it.lease_holders())), flush=True)
        elif word == "release":
            print("released", it.release(), flush=True)
    except ValueError as error:
        print("refused", error, flush=True)
zk.stop()
"#;

/// A kazoo client in a process of its own, killed with this value.
struct Kazoo {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Kazoo {
    fn start(python: PathBuf, address: &str) -> Self {
        let mut process = Command::new(python)
            .args(["-B", "-c", SCRIPT, address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            commands,
            answers,
        }
    }

    async fn tell(&mut self, word: &str) {
        self.commands
            .write_all(format!("{word}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn answer(&mut self) -> String {
        soon("kazoo's answer", self.answers.next_line())
            .await
            .unwrap()
            .unwrap()
    }

    async fn ask(&mut self, word: &str) -> String {
        self.tell(word).await;
        self.answer().await
    }

    /// Asks, and does not wait for the answer.
    async fn begin(&mut self, what: &str, path: &str) {
        self.tell(&format!("{what} {path} acquire")).await;
    }

    async fn acquires(&mut self, what: &str, path: &str) {
        self.begin(what, path).await;
        assert_eq!(self.answer().await, "acquired True");
    }

    /// Whether kazoo gets it without waiting.
    async fn tries(&mut self, what: &str, path: &str) -> bool {
        self.ask(&format!("{what} {path} try")).await == "acquired True"
    }

    async fn releases(&mut self, what: &str, path: &str) {
        let answer = self.ask(&format!("{what} {path} release")).await;
        assert_eq!(answer, "released True");
    }
}

/// The python that can import kazoo, or `None`, loudly.
fn python() -> Option<PathBuf> {
    let installed =
        || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/zk-tests/kazoo/bin/python"));
    let python = std::env::var_os("ZK_KAZOO_PYTHON")
        .map(PathBuf::from)
        .or_else(installed);
    let python = python.filter(|python| python.exists());
    if python.is_none() {
        eprintln!(
            "SKIPPED: .ci/apache installs kazoo; or set ZK_KAZOO_PYTHON to a python that has it"
        );
    }
    python
}

#[tokio::test]
async fn kazoo_and_we_share_a_lock() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo"));
    let mut kazoo = Kazoo::start(python, address);
    let lock = || client.lock(&path).layout(LockLayout::Kazoo);

    kazoo.acquires("lock", &path).await;
    assert!(lock().try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(lock().identity("ours").into_future());
    until_contenders(&client, &path, 2).await;
    let contenders = kazoo.ask(&format!("lock {path} contenders")).await;
    assert_eq!(contenders, "contenders kazoo,ours");
    assert!(!waiter.is_finished());
    kazoo.releases("lock", &path).await;

    let guard = soon("our turn", waiter).await.unwrap().unwrap();
    kazoo.begin("lock", &path).await;
    until_contenders(&client, &path, 2).await;
    let identities: Vec<_> = (lock().contenders().await.unwrap().into_iter())
        .map(|who| who.identity)
        .collect();
    assert_eq!(identities, ["ours", "kazoo"]);
    guard.ensure().unwrap();
    guard.release().await.unwrap();
    assert_eq!(kazoo.answer().await, "acquired True");
    kazoo.releases("lock", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_a_read_write_lock() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-rw"));
    let mut kazoo = Kazoo::start(python, address);
    let read = || client.read_lock(&path).layout(LockLayout::Kazoo);
    let write = || client.write_lock(&path).layout(LockLayout::Kazoo);

    // kazoo writes, and we wait to read; then we read together.
    kazoo.acquires("write", &path).await;
    assert!(read().try_acquire().await.unwrap().is_none());
    let reader = tokio::spawn(read().into_future());
    until_contenders(&client, &path, 2).await;
    kazoo.releases("write", &path).await;
    let reader = soon("our reading", reader).await.unwrap().unwrap();
    kazoo.acquires("read", &path).await;
    assert!(!kazoo.tries("write", &path).await);

    // We want to write, and wait for kazoo to have read.
    reader.release().await.unwrap();
    let writer = tokio::spawn(write().into_future());
    until_contenders(&client, &path, 2).await;
    assert!(!writer.is_finished());
    kazoo.releases("read", &path).await;
    let writer = soon("our writing", writer).await.unwrap().unwrap();
    assert!(!kazoo.tries("read", &path).await);

    // We downgrade: kazoo may read and not write.
    let reader = writer.downgrade().await.unwrap();
    kazoo.acquires("read", &path).await;
    assert!(!kazoo.tries("write", &path).await);
    kazoo.releases("read", &path).await;
    kazoo.begin("write", &path).await;
    until_contenders(&client, &path, 2).await;
    reader.release().await.unwrap();
    assert_eq!(kazoo.answer().await, "acquired True");
    kazoo.releases("write", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_an_election() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-election"));
    let mut kazoo = Kazoo::start(python, address);

    kazoo.acquires("election", &path).await;
    let latch = client
        .latch(&path)
        .layout(LockLayout::Kazoo)
        .identity("ours");
    let latch = latch.start().await.unwrap();
    assert!(!latch.is_leader());
    let contenders = kazoo.ask(&format!("election {path} contenders")).await;
    assert_eq!(contenders, "contenders kazoo,ours");
    kazoo.releases("election", &path).await;
    let claim = soon("our leadership", latch.leads()).await.unwrap();
    kazoo.begin("election", &path).await;
    until_contenders(&client, &path, 2).await;
    claim.ensure().unwrap();
    latch.close().await.unwrap();
    assert_eq!(kazoo.answer().await, "acquired True");
    kazoo.releases("election", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_a_semaphore() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-semaphore"));
    let mut kazoo = Kazoo::start(python, address);
    let semaphore = |count| {
        client
            .semaphore(&path, count)
            .layout(LockLayout::Kazoo)
            .identity("ours")
    };

    kazoo.acquires("semaphore", &path).await;
    let lease = semaphore(2).await.unwrap();
    let holders = kazoo.ask(&format!("semaphore {path} holders")).await;
    assert_eq!(holders, "holders kazoo,ours");
    assert!(semaphore(2).try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(semaphore(2).into_future());
    until_contenders(&client, &format!("{path}-__lock__"), 1).await;
    kazoo.releases("semaphore", &path).await;
    let second = soon("room", waiter).await.unwrap().unwrap();
    assert!(!kazoo.tries("semaphore", &path).await);
    lease.release().await.unwrap();
    kazoo.acquires("semaphore", &path).await;
    second.ensure().unwrap();
    kazoo.releases("semaphore", &path).await;
    second.release().await.unwrap();
    until_contenders(&client, &path, 0).await;

    // Another count is refused on both sides.
    assert!(matches!(
        semaphore(3).await,
        Err(zk_recipes::Error::CountMismatch { .. })
    ));
    let path = unique("kazoo-semaphore");
    let three = client
        .semaphore(&path, 3)
        .layout(LockLayout::Kazoo)
        .await
        .unwrap();
    let refused = kazoo.ask(&format!("semaphore {path} acquire")).await;
    assert!(refused.starts_with("refused"), "{refused}");
    three.release().await.unwrap();
}

#[tokio::test]
async fn kazoo_in_curators_layout_is_refused() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let client = client(address).await;
    let mut kazoo = Kazoo::start(python, address);
    for kind in ["lock", "read", "write", "election"] {
        let path = unique("kazoo-refused");
        kazoo.acquires(kind, &path).await;
        let refusals = [
            client.lock(&path).await.map(drop),
            client.read_lock(&path).await.map(drop),
            client.write_lock(&path).await.map(drop),
            client.leader(&path).await.map(drop),
            client.latch(&path).start().await.map(drop),
        ];
        for refused in refusals {
            assert!(
                matches!(refused, Err(zk_recipes::Error::ForeignContender { .. })),
                "{kind}: {refused:?}"
            );
        }
        // kazoo's mutex does not see its readers: ours refuses to go beside them.
        if kind == "read" {
            let refused = client.lock(&path).layout(LockLayout::Kazoo).await;
            assert!(matches!(
                refused,
                Err(zk_recipes::Error::ForeignContender { .. })
            ));
        }
        until_contenders(&client, &path, 1).await;
        kazoo.releases(kind, &path).await;
    }
}

//! One lock for kazoo and for us, in kazoo's layout.

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

/// Acquires and releases as it is told, line by line.
const SCRIPT: &str = r#"
import sys
from kazoo.client import KazooClient

zk = KazooClient(hosts=sys.argv[1])
zk.start()
lock = zk.Lock(sys.argv[2], "kazoo")
for line in sys.stdin:
    word = line.strip()
    if word == "acquire":
        print("acquired", lock.acquire(), flush=True)
    elif word == "try":
        print("acquired", lock.acquire(blocking=False), flush=True)
    elif word == "contenders":
        print("contenders", ",".join(lock.contenders()), flush=True)
    elif word == "release":
        print("released", lock.release(), flush=True)
zk.stop()
"#;

/// A kazoo client in a process of its own, killed with this value.
struct Kazoo {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Kazoo {
    fn start(python: PathBuf, address: &str, path: &str) -> Self {
        let mut process = Command::new(python)
            .args(["-B", "-c", SCRIPT, address, path])
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
async fn kazoo_and_we_take_turns_in_kazoos_layout() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo"));
    let mut kazoo = Kazoo::start(python, address, &path);
    let lock = || client.lock(&path).layout(LockLayout::Kazoo);

    assert_eq!(kazoo.ask("acquire").await, "acquired True");
    assert!(lock().try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(lock().identity("ours").into_future());
    until_contenders(&client, &path, 2).await;
    assert_eq!(kazoo.ask("contenders").await, "contenders kazoo,ours");
    assert!(!waiter.is_finished());
    assert_eq!(kazoo.ask("release").await, "released True");

    let guard = soon("our turn", waiter).await.unwrap().unwrap();
    kazoo.tell("acquire").await;
    until_contenders(&client, &path, 2).await;
    let identities: Vec<_> = (lock().contenders().await.unwrap().into_iter())
        .map(|who| who.identity)
        .collect();
    assert_eq!(identities, ["ours", "kazoo"]);
    guard.ensure().unwrap();
    guard.release().await.unwrap();
    assert_eq!(kazoo.answer().await, "acquired True");
    assert_eq!(kazoo.ask("release").await, "released True");
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_in_curators_layout_is_refused() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-refused"));
    let mut kazoo = Kazoo::start(python, address, &path);
    assert_eq!(kazoo.ask("acquire").await, "acquired True");
    let refused = client.lock(&path).await;
    assert!(
        matches!(refused, Err(zk_recipes::Error::ForeignContender { .. })),
        "{refused:?}"
    );
    until_contenders(&client, &path, 1).await;
}

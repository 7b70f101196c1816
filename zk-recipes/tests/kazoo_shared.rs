//! A queue and counters shared with kazoo, in its layouts, and what cannot be shared.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{collections::BTreeSet, path::PathBuf, process::Stdio};

use support::{children, client, server, soon, unique, until_children};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};
use zk_recipes::{Error, prelude::*};

/// Does as it is told, line by line, on recipes at the path of its second argument.
const SCRIPT: &str = r#"
import sys
from kazoo.client import KazooClient

zk = KazooClient(hosts=sys.argv[1])
zk.start()
path = sys.argv[2]
queue = zk.LockingQueue(path + "/queue")
simple = zk.Queue(path + "/simple")
count = zk.Counter(path + "/count", support_curator=True)
text = zk.Counter(path + "/text")
barrier = zk.Barrier(path + "/barrier")
double = zk.DoubleBarrier(path + "/double", 1)
for line in sys.stdin:
    word, _, argument = line.strip().partition(" ")
    if word == "put":
        priority, _, item = argument.partition(" ")
        print("put", queue.put(item.encode(), int(priority)), flush=True)
    elif word == "get":
        item = queue.get(float(argument))
        print("got", item.decode() if item else None, flush=True)
    elif word == "consume":
        print("consumed", queue.consume(), flush=True)
    elif word == "release":
        print("released", queue.release(), flush=True)
    elif word == "simple":
        print("put", simple.put(argument.encode()), flush=True)
    elif word == "count":
        count += int(argument)
        print("count", count.post_value, flush=True)
    elif word == "text":
        text += int(argument)
        print("text", text.post_value, flush=True)
    elif word == "set":
        print("set", barrier.create(), flush=True)
    elif word == "remove":
        print("removed", barrier.remove(), flush=True)
    elif word == "wait":
        print("waited", barrier.wait(float(argument)), flush=True)
    elif word == "double":
        double.enter()
        print("entered", flush=True)
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

    async fn tell(&mut self, words: &str) {
        let line = format!("{words}\n");
        self.commands.write_all(line.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> String {
        let answer = soon("kazoo's answer", self.answers.next_line()).await;
        answer.unwrap().unwrap()
    }

    async fn ask(&mut self, words: &str) -> String {
        self.tell(words).await;
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

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.data().to_vec()).unwrap()
}

#[tokio::test]
async fn kazoo_and_we_share_a_queue() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-queue"));
    let queue = client.queue(&format!("{path}/queue"));
    let mut kazoo = Kazoo::start(python, address, &path);

    // Each takes what the other put, by priority and in order.
    assert_eq!(kazoo.ask("put 100 theirs").await, "put None");
    queue.put("ours").await.unwrap();
    queue.put_at(5, "urgent").await.unwrap();
    assert_eq!(kazoo.ask("get 10").await, "got urgent");
    let delivery = soon("theirs", queue.take()).await.unwrap();
    assert_eq!(
        (text(&delivery).as_str(), delivery.priority()),
        ("theirs", 100)
    );
    // What one has claimed the other does not get.
    let ours = soon("ours", queue.take()).await.unwrap();
    assert_eq!(text(&ours), "ours");
    assert!(queue.try_take().await.unwrap().is_none());
    delivery.ack().await.unwrap();
    assert_eq!(kazoo.ask("consume").await, "consumed True");
    assert_eq!(queue.len().await.unwrap(), 1);
    // What one gives back the other gets.
    kazoo.tell("get 20").await;
    ours.nack().await.unwrap();
    assert_eq!(kazoo.answer().await, "got ours");
    let waiting = tokio::spawn(queue.take());
    assert_eq!(kazoo.ask("release").await, "released True");
    let ours = soon("ours", waiting).await.unwrap().unwrap();
    ours.ack().await.unwrap();
    assert_eq!(kazoo.ask("get 0.2").await, "got None");
}

#[tokio::test]
async fn nothing_is_processed_twice_by_kazoo_and_us_together() {
    const ITEMS: usize = 30;
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-both"));
    let queue = client.queue(&format!("{path}/queue"));
    let mut kazoo = Kazoo::start(python, address, &path);
    for item in 0..ITEMS {
        match item % 2 {
            0 => queue.put(item.to_string()).await.unwrap(),
            _ => assert_eq!(kazoo.ask(&format!("put 100 {item}")).await, "put None"),
        }
    }
    let ours = tokio::spawn(async move {
        let mut items = Vec::new();
        while items.len() < ITEMS / 2 {
            let delivery = queue.take().await.unwrap();
            items.push(text(&delivery));
            delivery.ack().await.unwrap();
        }
        items
    });
    let mut all = Vec::new();
    while all.len() < ITEMS / 2 {
        if let Some(item) = kazoo.ask("get 5").await.strip_prefix("got ") {
            assert_eq!(kazoo.ask("consume").await, "consumed True");
            all.push(item.to_owned());
        }
    }
    all.extend(soon("our half", ours).await.unwrap());
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (ITEMS, ITEMS), "{all:?}");
    for directory in ["entries", "taken"] {
        until_children(
            &client,
            &format!("{path}/queue/{directory}"),
            directory,
            <[String]>::is_empty,
        )
        .await;
    }
}

#[tokio::test]
async fn kazoo_and_we_share_counters_and_a_barrier() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-counter"));
    let mut kazoo = Kazoo::start(python, address, &path);

    let count = client
        .shared_count(&format!("{path}/count"))
        .seed(40)
        .start()
        .await
        .unwrap();
    assert_eq!(kazoo.ask("count 2").await, "count 42");
    assert_eq!(count.add(1).await.unwrap().before, 42);
    assert_eq!(kazoo.ask("count -3").await, "count 40");

    let text = client
        .atomic_long(&format!("{path}/text"))
        .layout(CounterLayout::KazooText);
    assert_eq!(kazoo.ask("text 5").await, "text 5");
    assert_eq!(text.add(-7).await.unwrap().after, -2);
    assert_eq!(kazoo.ask("text 1").await, "text -1");
    assert_eq!(text.get().await.unwrap(), -1);

    let barrier = client.barrier(&format!("{path}/barrier"));
    assert_eq!(kazoo.ask("set").await, "set None");
    let waiting = tokio::spawn(barrier.wait());
    assert_eq!(kazoo.ask("wait 0.1").await, "waited False");
    assert!(!waiting.is_finished());
    assert_eq!(kazoo.ask("remove").await, "removed True");
    soon("the barrier", waiting).await.unwrap().unwrap();
    barrier.set().await.unwrap();
    kazoo.tell("wait 20").await;
    assert!(barrier.remove().await.unwrap());
    assert_eq!(kazoo.answer().await, "waited True");
}

#[tokio::test]
async fn what_cannot_be_shared_with_kazoo_is_refused() {
    let Some(python) = python() else {
        return;
    };
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("kazoo-refused"));
    let mut kazoo = Kazoo::start(python, address, &path);

    // A queue that deletes what it hands out.
    assert_eq!(kazoo.ask("simple item").await, "put None");
    let queue = client.queue(&format!("{path}/simple"));
    assert!(matches!(queue.take().await, Err(Error::Foreign { .. })));
    assert!(matches!(queue.put("x").await, Err(Error::Foreign { .. })));
    assert_eq!(children(&client, &format!("{path}/simple")).await.len(), 1);

    // A counter in digits as a number of eight bytes, or of four.
    assert_eq!(kazoo.ask("text 5").await, "text 5");
    let long = client.atomic_long(&format!("{path}/text"));
    assert!(matches!(long.add(1).await, Err(Error::BadContent(_))));
    let count = client.shared_count(&format!("{path}/text")).start().await;
    assert!(matches!(count, Err(Error::BadContent(_))));
    assert_eq!(kazoo.ask("text 1").await, "text 6");

    // A double barrier that has no rounds.
    assert_eq!(kazoo.ask("double").await, "entered");
    let double = client.double_barrier(&format!("{path}/double"), 1);
    let refused = double.enter().await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
}

//! What a hand-over costs, with many waiting: requests are counted by a proxy, and nobody but the successor is woken.

#![allow(
    clippy::async_yields_async,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{builder, children, client, proxy::Proxy, soon, unique, until_contenders};
use tokio::{sync::mpsc, task::JoinSet};
use zk_recipes::prelude::*;
use zk_server::Server;

/// Opcodes (`ZooDefs.OpCode`).
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const SYNC: i32 = 9;

const CONTENDERS: usize = 500;
const CLIENTS: usize = 5;
/// How many cancel at the same time, on one session.
const TASKS: u64 = 20;
/// So many nodes of theirs at once, at most: the withdrawals that may be on their way (128), and as many again of those
/// that are cancelled meanwhile.
const BACKLOG: usize = 256;

#[tokio::test]
async fn among_five_hundred_a_hand_over_costs_a_delete_and_two_requests() {
    // With a long timeout, so that no heartbeat comes in between.
    let server = Server::builder().set("maxSessionTimeout", "600000");
    let server = server.start().await.unwrap();
    let (proxy, path) = (Proxy::start(&server.connect_string()).await, unique("cost"));
    let other = client(&server.connect_string()).await;
    let first = other.lock(&path).await.unwrap();
    let (served, mut turns) = mpsc::unbounded_channel();
    let (mut contenders, mut clients) = (JoinSet::new(), Vec::new());
    for _ in 0..CLIENTS {
        let long = builder(proxy.address()).session_timeout(Duration::from_secs(600));
        let client = long.connect().await.unwrap();
        for _ in 0..CONTENDERS / CLIENTS {
            let (acquire, served) = (client.lock(&path), served.clone());
            contenders.spawn(async move {
                let guard = acquire.await.unwrap();
                served.send(guard.token()).unwrap();
                guard.release().await.unwrap();
            });
        }
        clients.push(client);
    }
    // The last thing that a contender does before it waits is to read its predecessor's node, after its own.
    soon(
        "everybody waits",
        proxy.until_seen(GET_DATA, 2 * CONTENDERS),
    )
    .await;
    until_contenders(&other, &path, CONTENDERS + 1).await;
    for client in &clients {
        client.who_am_i().await.unwrap(); // everything before it is answered
    }
    proxy.seen();
    first.release().await.unwrap();
    soon("all turns", contenders.join_all()).await;
    drop(served);
    let mut tokens = Vec::new();
    while let Some(token) = turns.recv().await {
        tokens.push(token);
    }
    assert_eq!(tokens.len(), CONTENDERS);
    assert!(tokens.is_sorted_by(|a, b| a < b), "served in order");
    let mut cost = BTreeMap::new();
    for op in proxy.seen() {
        *cost.entry(op).or_insert(0) += 1;
    }
    let expected = [
        (DELETE, CONTENDERS),
        (GET_CHILDREN, CONTENDERS),
        (SYNC, CONTENDERS),
    ];
    assert_eq!(cost, BTreeMap::from(expected), "by opcode");
}

/// `ZK_CANCELLED` attempts, each dropped within three milliseconds; 2 000 unless told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_attempts_leave_no_child_on_a_session_that_lives_on() {
    let told = std::env::var("ZK_CANCELLED")
        .ok()
        .and_then(|text| text.parse().ok());
    let attempts: u64 = told.unwrap_or(2_000);
    let server = support::server().await;
    let (client, path) = (client(server.address()).await, unique("cancelled"));
    let session = client.session();
    let holder = client.lock(&path).await.unwrap();
    let mut tasks = JoinSet::new();
    let (observer, observed) = (support::client(server.address()).await, path.clone());
    let most = tokio::spawn(async move {
        let mut most = 0;
        // The holder is the last to go.
        loop {
            match children(&observer, &observed).await.len() {
                0 => return most,
                now => most = most.max(now),
            }
        }
    });
    for task in 0..TASKS {
        let (client, path) = (client.clone(), path.clone());
        tasks.spawn(async move {
            for attempt in 0..attempts / TASKS {
                // Before the create, during it, while looking, while waiting.
                let moment = Duration::from_millis((attempt + task) % 4);
                let acquired = tokio::time::timeout(moment, client.lock(&path)).await;
                assert!(acquired.is_err(), "somebody else holds it");
            }
        });
    }
    tasks.join_all().await;
    until_contenders(&client, &path, 1).await;
    assert!(session.is_current(), "it is one session");
    // A create and a delete each: not all of the attempts were cancelled before they had begun.
    let changes = client.exists(&path).await.unwrap().unwrap().cversion;
    assert!(changes > 100, "{changes}");
    holder.release().await.unwrap();
    assert_eq!(children(&client, &path).await, [""; 0]);
    let most = soon("the observer", most).await.unwrap();
    println!(
        "{attempts} attempts, {} nodes, at most {most} at once",
        changes / 2
    );
    assert!(most < BACKLOG, "{most} at once");
}

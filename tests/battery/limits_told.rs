//! Limits that are configured.

use std::io;

use zk_proto::frame::MAX_BUFFER;
use zk_tests::{
    frames::{FrameClient, new_session},
    requests::{create, exists, get, set},
};

use crate::subject::{Subject, TIMEOUT_MS};

cases_with! {
    connections_from_one_address: [("maxClientCnxns", "3")],
    connections_in_all: [("maxClientCnxns", "0"), ("maxCnxns", "3")],
    no_limit_to_connections: [("maxClientCnxns", "0")],
    a_small_buffer: [("jute.maxbuffer", "1000")],
    a_large_buffer: [("jute.maxbuffer", "4000000")],
    few_outstanding_requests: [("globalOutstandingLimit", "1")],
    timeouts: [("minSessionTimeout", "1234"), ("maxSessionTimeout", "5678")],
    quotas_that_only_warn: [("enforceQuota", "false")],
}

async fn connections_from_one_address(s: Subject) {
    // The case's own node was made over a connection that may still be closing.
    let first = until_three(&s).await;
    assert!(is_full(&s, [127, 0, 0, 1]).await);
    assert!(!is_full(&s, [127, 0, 0, 2]).await, "another address");
    drop(first);
    until_three(&s).await;
}

async fn connections_in_all(s: Subject) {
    let _first = until_three(&s).await;
    assert!(is_full(&s, [127, 0, 0, 1]).await);
    assert!(is_full(&s, [127, 0, 0, 2]).await, "another address");
}

async fn no_limit_to_connections(s: Subject) {
    let mut peers = Vec::new();
    for _ in 0..100 {
        peers.push(s.peer().await);
    }
    for peer in &mut peers {
        peer.stat("/").await;
    }
}

async fn a_small_buffer(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create(&s.path("a"), &[7; 800])).await;
    let _ = p.0.send(&set(&s.path("a"), &[7; 1000], -1)).await;
    p.closed().await;
}

async fn a_large_buffer(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create(&s.path("a"), &vec![7; 3 * MAX_BUFFER])).await;
    let data = p.data(&s.path("a")).await.unwrap();
    assert_eq!(data.len(), 3 * MAX_BUFFER);
}

/// It slows clients down, and loses nothing.
async fn few_outstanding_requests(s: Subject) {
    let (mut p, mut q) = (s.peer().await, s.peer().await);
    let mut sent = Vec::new();
    for n in 0..300 {
        let path = s.path(&n.to_string());
        for peer in [&mut p, &mut q] {
            sent.push(peer.0.send(&create(&path, b"")).await.unwrap());
            peer.0.send(&get(&path)).await.unwrap();
            peer.0.send(&exists("/nope")).await.unwrap();
        }
    }
    for peer in [&mut p, &mut q] {
        let mut last = None;
        for _ in 0..900 {
            let reply = peer.0.reply().await.unwrap();
            assert!(last < Some(reply.xid), "in order");
            last = Some(reply.xid);
        }
    }
    assert_eq!(s.peer().await.names(s.root()).await.len(), 300);
}

async fn timeouts(s: Subject) {
    for (asked, given) in [(1, 1234), (2000, 2000), (TIMEOUT_MS, 5678)] {
        assert_eq!(s.peer_for(asked).await.0.session().timeout_ms, given);
    }
}

async fn quotas_that_only_warn(s: Subject) {
    let mut p = s.peer().await;
    let quota = format!("/zookeeper/quota{}", s.root());
    p.create(&quota).await;
    p.ok(create(
        &format!("{quota}/zookeeper_limits"),
        b"count=1,bytes=1=;byteHardLimit=1;countHardLimit=1",
    ))
    .await;
    p.create(&format!("{quota}/zookeeper_stats")).await;
    p.ok(create(&s.path("a"), b"more than a byte")).await;
    p.create(&s.path("b")).await;
}

/// Three connections with sessions, as soon as so many are admitted.
async fn until_three(s: &Subject) -> Vec<FrameClient> {
    let mut clients = Vec::new();
    while clients.len() < 3 {
        match FrameClient::connect(s.addr(), TIMEOUT_MS).await {
            Ok(client) => clients.push(client),
            Err(error) => assert!(is_refusal(&error), "{error}"),
        }
    }
    clients
}

async fn is_full(s: &Subject, from: [u8; 4]) -> bool {
    let request = new_session(TIMEOUT_MS);
    match FrameClient::open_from(from.into(), s.addr(), &request).await {
        Ok(_) => false,
        Err(error) => {
            assert!(is_refusal(&error), "{error}");
            true
        }
    }
}

/// Closed without a word.
fn is_refusal(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ];
    kinds.contains(&error.kind())
}

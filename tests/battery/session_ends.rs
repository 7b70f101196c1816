//! How sessions end, and what keeps them alive.

use crate::session::refused;
use crate::subject::{Subject, told};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use zk_proto::{
    CreateMode, ErrorCode, OpCode, Zxid,
    op::Request,
    watch::EventType::{NodeChildrenChanged, NodeDeleted},
};
use zk_tests::{
    frames::Incoming,
    requests::{create, create_as, exists, get, sync, watch_children, watch_exists},
};

cases! {
    a_closed_session_cannot_be_resumed,
    closing_answers_and_ends_the_connection,
    requests_behind_a_close_are_dropped,
    close_ignores_a_body,
    a_silent_session_expires,
    an_expired_session_cannot_be_resumed,
    pings_keep_a_session_alive,
    any_request_keeps_a_session_alive,
    a_lost_connection_ends_no_session,
}

async fn a_closed_session_cannot_be_resumed(s: Subject) {
    let p = s.peer().await;
    let resume = p.0.resumption(Zxid::ZERO);
    p.close().await;
    refused(&s, &resume).await;
}

async fn closing_answers_and_ends_the_connection(s: Subject) {
    let mut p = s.peer().await;
    let last = p.ask(sync("/")).await.zxid;
    let xid = p.0.send(&Request::CloseSession).await.unwrap();
    let reply = p.0.reply().await.unwrap();
    assert_eq!(
        (reply.xid, reply.code, reply.body),
        (xid, ErrorCode::Ok, Bytes::new())
    );
    assert!(reply.zxid > last, "its own zxid");
    p.closed().await;
}

async fn requests_behind_a_close_are_dropped(s: Subject) {
    let mut p = s.peer().await;
    p.0.send(&create(&s.path("before"), b"")).await.unwrap();
    p.0.send(&Request::CloseSession).await.unwrap();
    // The server may have closed the connection already.
    let _ = p.0.send(&create(&s.path("behind"), b"")).await;
    let rest = p.0.rest().await.unwrap();
    // Apache, when it is fast enough to read on, answers that the session is no more.
    let expired = |incoming: &Incoming| matches!(incoming, Incoming::Reply(reply) if reply.code == ErrorCode::SessionExpired);
    assert!(rest.len() >= 2, "{rest:?}");
    assert!(rest[2..].iter().all(expired), "{rest:?}");
    assert_eq!(s.peer().await.names(s.root()).await, ["before"]);
}

async fn close_ignores_a_body(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::CloseSession, &[&1_i64]).await;
    assert_eq!(reply.code, ErrorCode::Ok);
    p.closed().await;
}

async fn a_silent_session_expires(s: Subject) {
    let (mut p, mut silent) = (s.peer().await, s.peer_for(1000).await);
    silent
        .ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let silent_since = Instant::now();
    p.ok(watch_exists(&s.path("e"))).await;
    p.ok(watch_children(s.root())).await;
    let deleted = timeout(Duration::from_secs(8), p.event())
        .await
        .expect("expired by now");
    assert_eq!(told(deleted.clone()), (NodeDeleted, s.path("e")));
    assert_eq!(
        told(p.event().await),
        (NodeChildrenChanged, s.root().to_owned())
    );
    let lived = silent_since.elapsed();
    assert!(
        lived >= Duration::from_millis(990),
        "expired after {lived:?}"
    );
    assert_eq!(p.stat(s.root()).await.pzxid, deleted.zxid);
    silent.closed().await;
}

async fn an_expired_session_cannot_be_resumed(s: Subject) {
    let mut silent = s.peer_for(1000).await;
    let resume = silent.0.resumption(Zxid::ZERO);
    silent.closed().await;
    refused(&s, &resume).await;
}

async fn pings_keep_a_session_alive(s: Subject) {
    kept_alive_by(&s, Request::Ping).await;
}

async fn any_request_keeps_a_session_alive(s: Subject) {
    kept_alive_by(&s, exists("/nope")).await;
}

async fn a_lost_connection_ends_no_session(s: Subject) {
    let (mut p, mut lost) = (s.peer().await, s.peer().await);
    lost.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let resume = lost.0.resumption(Zxid::ZERO);
    lost.0.cut();
    p.ok(get(&s.path("e"))).await;
    s.connect(&resume).await.unwrap().close().await;
}

/// A session of one second outlives three of silence but for this request, twice a second.
async fn kept_alive_by(s: &Subject, request: Request) {
    let mut p = s.peer_for(1000).await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let mut beat = tokio::time::interval(Duration::from_millis(300));
    for _ in 0..10 {
        beat.tick().await;
        p.0.send(&request).await.unwrap();
        assert!(matches!(p.0.next().await.unwrap(), Incoming::Reply(_)));
    }
    s.peer().await.ok(get(&s.path("e"))).await;
}

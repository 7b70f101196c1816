//! Containers, TTL nodes, and the flags that make them.

use crate::create::BAD;
use crate::subject::{REAPER_MS, Subject, TIMEOUT_MS};
use std::time::Duration;
use zk_proto::{CreateMode, ErrorCode, SessionId, Zxid, op::Request};
use zk_tests::{
    frames::Incoming,
    requests::{
        ANY, create_as, create_container, create_ttl, create2, delete, get, new_node, new_ttl_node,
        watch_exists,
    },
};

cases! {
    unknown_flags,
    flag_four_without_its_operation_is_ignored,
    container_ignores_its_flags_kind,
    ttl_bounds,
    ttl_flags,
    a_ttl_with_another_kinds_flag,
    an_empty_container_is_reaped,
    a_ttl_node_is_reaped,
}

async fn unknown_flags(s: Subject) {
    let mut p = s.peer().await;
    for flags in [5, 6, 7, -1, 100] {
        let mut record = new_node(&s.path("a"), b"", CreateMode::Persistent);
        record.flags = flags;
        p.fails(Request::Create(record.clone()), BAD).await;
        p.fails(Request::Create2(record.clone()), BAD).await;
        p.fails(Request::CreateContainer(record), BAD).await;
    }
}

async fn flag_four_without_its_operation_is_ignored(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_as(&s.path("one"), b"", CreateMode::Container))
        .await;
    p.ok(create2(&s.path("two"), b"", CreateMode::Container))
        .await;
    p.ok(create_container(&s.path("box"))).await;
    for parent in ["one", "two", "box"] {
        let child = s.path(&format!("{parent}/c"));
        p.create(&child).await;
        p.ok(delete(&child, ANY)).await;
    }
    gone(&s, "box").await;
    assert_eq!(
        p.names(s.root()).await,
        ["one", "two"],
        "they are plain nodes"
    );
}

async fn container_ignores_its_flags_kind(s: Subject) {
    let mut p = s.peer().await;
    for flags in 0..=4 {
        let mut record = new_node(&s.path(&format!("c{flags}")), b"", CreateMode::Container);
        record.flags = flags;
        let path = p.created(Request::CreateContainer(record)).await;
        let suffix = if matches!(flags, 2 | 3) {
            format!("{flags:010}")
        } else {
            String::new()
        };
        assert_eq!(path, s.path(&format!("c{flags}{suffix}")));
        assert_eq!(
            p.stat(&path).await.ephemeral_owner,
            SessionId::NONE,
            "flag {flags}"
        );
        p.create(&format!("{path}/child")).await;
    }
}

async fn ttl_bounds(s: Subject) {
    let mut p = s.peer().await;
    let mode = CreateMode::PersistentWithTtl;
    for ttl in [i64::MIN, -1, 0, 1 << 40, i64::MAX] {
        p.fails(create_ttl(&s.path("t"), mode, ttl), BAD).await;
    }
    let stat = p
        .stat_of(create_ttl(&s.path("t"), mode, (1 << 40) - 1))
        .await;
    assert_eq!(
        stat.ephemeral_owner,
        SessionId::NONE,
        "the mark of a TTL node stays inside"
    );
    assert_eq!(p.stat(&s.path("t")).await.ephemeral_owner, SessionId::NONE);
}

async fn ttl_flags(s: Subject) {
    let mut p = s.peer().await;
    for flags in [0, 1, 2, 3, 4, 7, -1] {
        let mut record = new_ttl_node(&s.path("t"), CreateMode::PersistentWithTtl, 1000);
        record.flags = flags;
        p.fails(Request::CreateTtl(record), BAD).await;
    }
}

/// Apache logs it and ends, now and at every start.
async fn a_ttl_with_another_kinds_flag(s: Subject) {
    if s.is_apache() {
        return;
    }
    let mut p = s.peer().await;
    for flags in 0..=4 {
        for ttl_ms in [-1, -2, i64::MIN] {
            let mut record = new_ttl_node(&s.path("t"), CreateMode::PersistentWithTtl, ttl_ms);
            record.flags = flags;
            p.fails(Request::CreateTtl(record), BAD).await;
        }
    }
    assert_eq!(p.names(s.root()).await, [""; 0]);
}

async fn an_empty_container_is_reaped(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_container(&s.path("never-used"))).await;
    p.ok(create_container(&s.path("used"))).await;
    p.ok(create_container(&s.path("full"))).await;
    p.create(&s.path("full/c")).await;
    p.create(&s.path("used/c")).await;
    p.ok(delete(&s.path("used/c"), ANY)).await;
    gone(&s, "used").await;
    assert_eq!(p.names(s.root()).await, ["full", "never-used"]);
    // Two more rounds of the reaper, as long as it takes for another container to come and go.
    p.ok(create_container(&s.path("later"))).await;
    p.create(&s.path("later/c")).await;
    p.ok(delete(&s.path("later/c"), ANY)).await;
    gone(&s, "later").await;
    assert_eq!(p.names(s.root()).await, ["full", "never-used"]);
}

async fn a_ttl_node_is_reaped(s: Subject) {
    let mut p = s.peer().await;
    let brief = i64::try_from(REAPER_MS).unwrap() / 2;
    p.ok(create_ttl(
        &s.path("long"),
        CreateMode::PersistentWithTtl,
        600_000,
    ))
    .await;
    p.ok(create_ttl(
        &s.path("full"),
        CreateMode::PersistentWithTtl,
        brief,
    ))
    .await;
    p.create(&s.path("full/c")).await;
    p.ok(create_ttl(
        &s.path("brief"),
        CreateMode::PersistentWithTtl,
        brief,
    ))
    .await;
    gone(&s, "brief").await;
    assert_eq!(p.names(s.root()).await, ["full", "long"]);
    p.ok(delete(&s.path("full/c"), ANY)).await;
    gone(&s, "full").await;
}

/// Waits until the server has deleted a node by itself.
async fn gone(s: &Subject, name: &str) {
    let mut p = s.peer_for(TIMEOUT_MS).await;
    let reply = p.ask(watch_exists(&s.path(name))).await;
    if reply.code == ErrorCode::NoNode {
        return;
    }
    let wait = Duration::from_millis(10 * REAPER_MS).max(Duration::from_secs(5));
    let event = tokio::time::timeout(wait, p.0.next())
        .await
        .expect("reaped by now")
        .unwrap();
    assert!(matches!(event, Incoming::Event(e) if e.path == s.path(name) && e.zxid > Zxid::ZERO));
    p.fails(get(&s.path(name)), ErrorCode::NoNode).await;
}

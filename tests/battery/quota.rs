//! Quotas, soft and hard.

use crate::subject::{Peer, Subject};
use zk_proto::{CreateMode, ErrorCode};
use zk_tests::requests::{ANY, create, create_as, delete, set};

cases! {
    a_soft_quota_stops_nothing,
    a_hard_quota_on_the_count,
    a_hard_quota_on_the_bytes,
    quota_statistics_are_kept,
    quota_comes_before_the_version,
    limits_that_are_none,
    statistics_that_are_none,
}

async fn a_soft_quota_stops_nothing(s: Subject) {
    let mut p = s.peer().await;
    let _quota = quota(&s, &mut p, "q", "count=1,bytes=1").await;
    p.create(&s.path("q/a")).await;
    p.ok(create(&s.path("q/b"), b"bytes")).await;
}

async fn a_hard_quota_on_the_count(s: Subject) {
    let mut p = s.peer().await;
    let _quota = quota(
        &s,
        &mut p,
        "q",
        "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
    )
    .await;
    p.create(&s.path("q/a")).await;
    p.fails(create(&s.path("q/b"), b""), ErrorCode::QuotaExceeded)
        .await;
    let container = create_as(&s.path("q/a/b"), b"", CreateMode::Ephemeral);
    p.fails(container, ErrorCode::QuotaExceeded).await;
    p.ok(delete(&s.path("q/a"), ANY)).await;
    p.create(&s.path("q/b")).await;
    p.create(&s.path("elsewhere")).await;
}

async fn a_hard_quota_on_the_bytes(s: Subject) {
    let mut p = s.peer().await;
    let _quota = quota(
        &s,
        &mut p,
        "q",
        "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1",
    )
    .await;
    p.ok(create(&s.path("q/a"), b"12345")).await;
    p.fails(create(&s.path("q/b"), b"123456"), ErrorCode::QuotaExceeded)
        .await;
    p.fails(set(&s.path("q"), b"123456", ANY), ErrorCode::QuotaExceeded)
        .await;
    p.ok(set(&s.path("q/a"), b"1234567890", ANY)).await;
    p.fails(
        set(&s.path("q/a"), b"12345678901", ANY),
        ErrorCode::QuotaExceeded,
    )
    .await;
    p.ok(set(&s.path("q/a"), b"1", ANY)).await;
    p.ok(create(&s.path("q/b"), b"123456")).await;
}

async fn quota_statistics_are_kept(s: Subject) {
    let mut p = s.peer().await;
    let limits = quota(&s, &mut p, "q", "count=100,bytes=100").await;
    let stats = limits.replace("zookeeper_limits", "zookeeper_stats");
    let read = async |p: &mut Peer| p.data(&stats).await;
    assert_eq!(read(&mut p).await.as_deref(), Some(&b"count=1,bytes=0"[..]));
    p.ok(create(&s.path("q/a"), b"12345")).await;
    p.ok(create(&s.path("q/a/b"), b"123")).await;
    assert_eq!(read(&mut p).await.as_deref(), Some(&b"count=3,bytes=8"[..]));
    p.ok(set(&s.path("q/a"), b"1", ANY)).await;
    p.ok(delete(&s.path("q/a/b"), ANY)).await;
    assert_eq!(read(&mut p).await.as_deref(), Some(&b"count=2,bytes=1"[..]));
}

async fn quota_comes_before_the_version(s: Subject) {
    let mut p = s.peer().await;
    let _quota = quota(
        &s,
        &mut p,
        "q",
        "count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=-1",
    )
    .await;
    p.fails(set(&s.path("q"), b"12", 99), ErrorCode::QuotaExceeded)
        .await;
    p.fails(set(&s.path("q"), b"1", 99), ErrorCode::BadVersion)
        .await;
}

/// Apache answers MarshallingError to every write below, ours takes them for no limit.
async fn limits_that_are_none(s: Subject) {
    let mut p = s.peer().await;
    let limits = quota(&s, &mut p, "q", "count=-1,bytes=-1").await;
    let write = create_as(&s.path("q/n-"), b"", CreateMode::PersistentSequential);
    for text in ["#", "count=x", "=", "countHardLimit", "countHardLimit="] {
        p.ok(set(&limits, text.as_bytes(), ANY)).await;
        let expected = match s.is_apache() {
            true => ErrorCode::MarshallingError,
            false => ErrorCode::Ok,
        };
        assert_eq!(p.ask(write.clone()).await.code, expected, "{text}");
    }
    for text in ["", "count=1=2", "other=3", "bytes=5;"] {
        p.ok(set(&limits, text.as_bytes(), ANY)).await;
        p.ok(write.clone()).await;
    }
}

/// Apache ends with the first write under such a quota.
async fn statistics_that_are_none(s: Subject) {
    if s.is_apache() {
        return;
    }
    let mut p = s.peer().await;
    let limits = quota(&s, &mut p, "q", "count=1,bytes=1").await;
    let stats = limits.replace("zookeeper_limits", "zookeeper_stats");
    for text in ["#", "", "count", "count=x,bytes=y", "=", "\0"] {
        p.ok(set(&stats, text.as_bytes(), ANY)).await;
        p.ok(create_as(
            &s.path("q/n-"),
            b"",
            CreateMode::PersistentSequential,
        ))
        .await;
    }
    p.ok(delete(&stats, ANY)).await;
    p.create(&s.path("q/without")).await;
}

/// Makes a node with a quota, as Apache's shell does; answers the path of its limits.
async fn quota(s: &Subject, p: &mut Peer, name: &str, limits: &str) -> String {
    let node = s.path(name);
    p.create(&node).await;
    let mut path = "/zookeeper/quota".to_owned();
    for part in node.split('/').skip(1) {
        path = format!("{path}/{part}");
        p.create(&path).await;
    }
    let limits_path = format!("{path}/zookeeper_limits");
    p.ok(create(&limits_path, limits.as_bytes())).await;
    p.ok(create(
        &format!("{path}/zookeeper_stats"),
        b"count=0,bytes=0",
    ))
    .await;
    limits_path
}

//! Which kind of node a part of a multi creates, and under which name.

use crate::multi::{MARSHALLING, codes, created};
use crate::subject::Subject;
use zk_proto::{
    CreateMode, ErrorCode,
    op::{Create2Response, MultiOp, MultiResult},
};
use zk_tests::requests::{ANY, multi, new_node, new_ttl_node, part_check, part_create};

cases! {
    kinds_of_creates,
    the_flags_decide_the_kind,
    flags_that_spoil_the_whole_multi,
    an_unknown_ttl_spoils_only_its_part,
    suffixes_count_within,
    suffixes_of_a_failed_multi_are_used_again,
}

async fn kinds_of_creates(s: Subject) {
    let mut p = s.peer().await;
    let results = p
        .multi(vec![
            MultiOp::Create(new_node(&s.path("one"), b"", CreateMode::Ephemeral)),
            MultiOp::Create2(new_node(&s.path("two"), b"", CreateMode::Ephemeral)),
            MultiOp::CreateContainer(new_node(&s.path("box"), b"", CreateMode::Container)),
            MultiOp::CreateTtl(new_ttl_node(
                &s.path("ttl"),
                CreateMode::PersistentWithTtl,
                99_999,
            )),
        ])
        .await;
    assert_eq!(results[0], created(&s.path("one")));
    for (result, name) in results[1..].iter().zip(["two", "box", "ttl"]) {
        let stat = p.stat(&s.path(name)).await;
        let path = s.path(name).as_str().into();
        assert_eq!(
            *result,
            MultiResult::Create2(Create2Response { path, stat })
        );
    }
    assert_eq!(p.stat(&s.path("two")).await.ephemeral_owner, p.id());
}

/// Outside a multi, flag 4 of operations 1 and 15 is a plain node, and operation 21 refuses flag 0.
async fn the_flags_decide_the_kind(s: Subject) {
    let mut p = s.peer().await;
    let container = |name: &str| new_node(&s.path(name), b"", CreateMode::Container);
    let mut flag_0 = new_ttl_node(&s.path("f0"), CreateMode::PersistentWithTtl, 99_999);
    flag_0.flags = 0;
    let results = p
        .multi(vec![
            MultiOp::Create(container("one")),
            MultiOp::Create2(container("two")),
            MultiOp::CreateContainer(new_node(&s.path("n"), b"", CreateMode::Persistent)),
            MultiOp::CreateTtl(flag_0),
        ])
        .await;
    let kinds: Vec<bool> = results
        .iter()
        .map(|r| matches!(r, MultiResult::Create2(_)))
        .collect();
    assert_eq!(kinds, [true, true, true, false], "{results:?}");
    assert_eq!(results[3], created(&s.path("f0")));
}

async fn flags_that_spoil_the_whole_multi(s: Subject) {
    let mut p = s.peer().await;
    for flags in [5, 6, 7, -1, 100] {
        let mut record = new_node(&s.path("a"), b"", CreateMode::Persistent);
        record.flags = flags;
        for part in [MultiOp::Create(record.clone()), MultiOp::Create2(record)] {
            p.fails(multi(vec![part_create(&s.path("b")), part]), MARSHALLING)
                .await;
        }
    }
    assert_eq!(p.names(s.root()).await, [""; 0]);
}

async fn an_unknown_ttl_spoils_only_its_part(s: Subject) {
    let mut p = s.peer().await;
    let part = MultiOp::CreateTtl(new_ttl_node(&s.path("a"), CreateMode::PersistentWithTtl, 0));
    let results = p.multi(vec![part_create(&s.path("b")), part]).await;
    assert_eq!(codes(&results), [0, ErrorCode::BadArguments.code()]);
}

async fn suffixes_count_within(s: Subject) {
    let mut p = s.peer().await;
    let part = || {
        MultiOp::Create(new_node(
            &s.path("n-"),
            b"",
            CreateMode::PersistentSequential,
        ))
    };
    let results = p
        .multi(vec![part(), part_create(&s.path("x")), part()])
        .await;
    assert_eq!(results[0], created(&s.path("n-0000000000")));
    assert_eq!(results[2], created(&s.path("n-0000000002")));
}

async fn suffixes_of_a_failed_multi_are_used_again(s: Subject) {
    let mut p = s.peer().await;
    let part = || {
        MultiOp::Create(new_node(
            &s.path("n-"),
            b"",
            CreateMode::PersistentSequential,
        ))
    };
    let results = p
        .multi(vec![part(), part(), part_check(&s.path("nope"), ANY)])
        .await;
    assert_eq!(codes(&results)[2], ErrorCode::NoNode.code());
    let results = p.multi(vec![part()]).await;
    assert_eq!(results, [created(&s.path("n-0000000000"))]);
}

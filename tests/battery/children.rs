//! getChildren, getChildren2, getAllChildrenNumber, getEphemerals.

use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, Perms,
    op::{Request, Response},
};
use zk_tests::requests::{
    ANY, all_children_number, children, children2, create_as, create_for, delete, ephemerals, only,
};

use crate::subject::{Peer, Subject, sorted};

cases! {
    children_are_names_not_paths,
    children2_adds_the_stat,
    no_node_and_no_auth,
    the_servers_own_nodes,
    all_children_number_counts_descendants,
    all_children_number_asks_no_acl_below,
    all_children_number_of_the_whole_tree,
    ephemerals_of_this_session_alone,
    the_prefix_is_text,
    many_children,
    a_null_path,
}

async fn children_are_names_not_paths(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(p.names(s.root()).await, [""; 0]);
    for name in ["b", "a", "a/x", "ä"] {
        p.create(&s.path(name)).await;
    }
    assert_eq!(p.names(s.root()).await, ["a", "b", "ä"]);
    p.ok(delete(&s.path("b"), ANY)).await;
    assert_eq!(p.names(s.root()).await, ["a", "ä"]);
}

async fn children2_adds_the_stat(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("b")).await;
    let Response::GetChildren2(answer) = p.ok(children2(s.root())).await else {
        panic!("another record");
    };
    assert_eq!(sorted(answer.children), ["a", "b"]);
    assert_eq!(answer.stat, p.stat(s.root()).await);
    assert_eq!((answer.stat.num_children, answer.stat.cversion), (2, 2));
}

async fn no_node_and_no_auth(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(
        &s.path("dark"),
        only(Perms::WRITE, "world", "anyone"),
    ))
    .await;
    for request in [children, children2, all_children_number] {
        p.fails(request(&s.path("nope")), ErrorCode::NoNode).await;
        p.fails(request(&s.path("dark")), ErrorCode::NoAuth).await;
    }
}

async fn the_servers_own_nodes(s: Subject) {
    let mut p = s.peer().await;
    let names = p.names("/zookeeper").await;
    assert!(names.contains(&"config".to_owned()) && names.contains(&"quota".to_owned()));
}

async fn all_children_number_counts_descendants(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(total(&mut p, s.root()).await, 0);
    for name in ["a", "a/b", "a/b/c", "ab"] {
        p.create(&s.path(name)).await;
    }
    assert_eq!(total(&mut p, s.root()).await, 4);
    assert_eq!(
        total(&mut p, &s.path("a")).await,
        2,
        "/ab is no descendant of /a"
    );
    assert_eq!(total(&mut p, &s.path("a/b/c")).await, 0);
}

async fn all_children_number_asks_no_acl_below(s: Subject) {
    let mut p = s.peer().await;
    let no_read = only(Perms::CREATE, "world", "anyone");
    p.ok(create_for(&s.path("dark"), no_read)).await;
    p.create(&s.path("dark/c")).await;
    assert_eq!(total(&mut p, s.root()).await, 2);
}

/// With the empty path, "/" itself counts too.
async fn all_children_number_of_the_whole_tree(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    let below = total(&mut p, "/").await;
    assert_eq!(total(&mut p, "").await, below + 1);
    assert!(below >= 3, "zookeeper, config and quota are always there");
}

async fn ephemerals_of_this_session_alone(s: Subject) {
    let (mut p, mut other) = (s.peer().await, s.peer().await);
    p.create(&s.path("plain")).await;
    for name in ["e2", "e1", "plain/e3"] {
        p.ok(create_as(&s.path(name), b"", CreateMode::Ephemeral))
            .await;
    }
    other
        .ok(create_as(&s.path("e9"), b"", CreateMode::Ephemeral))
        .await;
    let all = [s.path("e1"), s.path("e2"), s.path("plain/e3")];
    for prefix in ["/", ""] {
        assert_eq!(owned(&mut p, prefix).await, all);
    }
    if s.is_apache() {
        let null = p.raw(OpCode::GetEphemerals, &[&-1_i32]).await;
        let Ok(Response::GetEphemerals(null)) = null.response(OpCode::GetEphemerals) else {
            panic!("{null:?}");
        };
        assert_eq!(sorted(null.ephemerals), all);
    }
    assert_eq!(owned(&mut other, s.root()).await, [s.path("e9")]);
    p.ok(delete(&s.path("e1"), ANY)).await;
    assert_eq!(owned(&mut p, "/").await, all[1..]);
}

async fn the_prefix_is_text(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for name in ["ab", "a/b", "b"] {
        p.ok(create_as(&s.path(name), b"", CreateMode::Ephemeral))
            .await;
    }
    assert_eq!(
        owned(&mut p, &s.path("a")).await,
        [s.path("a/b"), s.path("ab")]
    );
    assert_eq!(owned(&mut p, &s.path("a/")).await, [s.path("a/b")]);
    assert_eq!(owned(&mut p, "nope").await, [""; 0]);
    // Space counts for nothing, but only what Java takes for space.
    assert_eq!(owned(&mut p, " \t/ ").await.len(), 3);
    assert_eq!(owned(&mut p, "\u{a0}").await, [""; 0]);
    // No ACL is asked either: it is the session's own.
    p.ok(create_for(&s.path("open"), Acl::open())).await;
    p.ok(create_as(&s.path("open/e"), b"", CreateMode::Ephemeral))
        .await;
    let closed = only(Perms::CREATE, "world", "anyone");
    p.ok(zk_tests::requests::set_acl(&s.path("open"), closed, ANY))
        .await;
    assert_eq!(owned(&mut p, &s.path("open")).await, [s.path("open/e")]);
}

async fn many_children(s: Subject) {
    let mut p = s.peer().await;
    let names: Vec<String> = (0..500).map(|i| format!("child-{i:04}")).collect();
    for name in &names {
        p.0.send(&zk_tests::requests::create(&s.path(name), b""))
            .await
            .unwrap();
    }
    for _ in &names {
        assert_eq!(p.0.reply().await.unwrap().code, ErrorCode::Ok);
    }
    assert_eq!(p.names(s.root()).await, names);
    assert_eq!(p.stat(s.root()).await.num_children, 500);
    assert_eq!(total(&mut p, s.root()).await, 500);
}

async fn a_null_path(s: Subject) {
    let mut p = s.peer().await;
    for op in [OpCode::GetChildren, OpCode::GetChildren2] {
        let reply = p.raw(op, &[&-1_i32, &false]).await;
        assert_eq!(reply.code, ErrorCode::MarshallingError, "{op:?}");
    }
}

async fn total(p: &mut Peer, path: &str) -> i32 {
    match p.ok(all_children_number(path)).await {
        Response::GetAllChildrenNumber(r) => r.total,
        other => panic!("{other:?}"),
    }
}

async fn owned(p: &mut Peer, prefix: &str) -> Vec<String> {
    let request: Request = ephemerals(prefix);
    match p.ok(request).await {
        Response::GetEphemerals(r) => sorted(r.ephemerals),
        other => panic!("{other:?}"),
    }
}

//! delete, deleteContainer.

use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, Perms,
    op::{DeleteContainerRequest, Request, Response},
};
use zk_tests::requests::{ANY, auth, create, create_as, create_for, delete, exists, only, set};

use crate::subject::Subject;

cases! {
    a_deleted_node_is_gone,
    any_version_or_the_right_one,
    negative_versions_are_compared,
    a_version_counts_only_its_own_node,
    not_empty,
    the_version_comes_before_not_empty,
    no_parent_no_node,
    permission_comes_before_the_node,
    a_trailing_slash_asks_its_own_parent,
    the_right_belongs_to_the_parent,
    what_can_never_be_deleted,
    the_path_is_not_checked_further,
    anyone_may_delete_an_ephemeral,
    a_deleted_name_begins_anew,
    a_null_path,
    delete_container_is_no_clients_business,
}

async fn a_deleted_node_is_gone(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    assert_eq!(p.ok(delete(&s.path("a"), ANY)).await, Response::Empty);
    p.fails(exists(&s.path("a")), ErrorCode::NoNode).await;
    p.fails(delete(&s.path("a"), ANY), ErrorCode::NoNode).await;
}

async fn any_version_or_the_right_one(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(set(&s.path("a"), b"x", 0)).await;
    for wrong in [0, 2, i32::MAX] {
        p.fails(delete(&s.path("a"), wrong), ErrorCode::BadVersion)
            .await;
    }
    p.ok(delete(&s.path("a"), 1)).await;
    p.create(&s.path("a")).await;
    p.ok(delete(&s.path("a"), ANY)).await;
}

async fn negative_versions_are_compared(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for version in [-2, i32::MIN] {
        p.fails(delete(&s.path("a"), version), ErrorCode::BadVersion)
            .await;
    }
}

async fn a_version_counts_only_its_own_node(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.ok(delete(&s.path("a/b"), ANY)).await;
    p.ok(delete(&s.path("a"), 0)).await;
}

async fn not_empty(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.fails(delete(&s.path("a"), ANY), ErrorCode::NotEmpty)
        .await;
    p.fails(delete(&s.path("a"), 0), ErrorCode::NotEmpty).await;
}

async fn the_version_comes_before_not_empty(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.fails(delete(&s.path("a"), 7), ErrorCode::BadVersion)
        .await;
}

async fn no_parent_no_node(s: Subject) {
    let mut p = s.peer().await;
    p.fails(delete(&s.path("nope/x"), ANY), ErrorCode::NoNode)
        .await;
    p.fails(delete("nope/x", ANY), ErrorCode::NoNode).await;
}

async fn permission_comes_before_the_node(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.fails(delete(&s.path("locked/nope"), ANY), ErrorCode::NoAuth)
        .await;
}

async fn a_trailing_slash_asks_its_own_parent(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.create(&s.path("open")).await;
    p.fails(delete(&s.path("locked/"), ANY), ErrorCode::NoAuth)
        .await;
    p.fails(delete(&s.path("open/"), ANY), ErrorCode::NoNode)
        .await;
}

async fn the_right_belongs_to_the_parent(s: Subject) {
    let mut p = s.peer().await;
    let mut other = s.peer().await;
    other.ok(auth("digest", b"owner:pw")).await;
    other
        .ok(create_for(&s.path("private"), Acl::creator_all()))
        .await;
    p.ok(delete(&s.path("private"), ANY)).await;
    let all_but_delete = Perms(Perms::ALL.0 & !Perms::DELETE.0);
    p.ok(create_for(
        &s.path("keep"),
        only(all_but_delete, "world", "anyone"),
    ))
    .await;
    p.create(&s.path("keep/c")).await;
    p.fails(delete(&s.path("keep/c"), ANY), ErrorCode::NoAuth)
        .await;
}

async fn what_can_never_be_deleted(s: Subject) {
    let mut p = s.peer().await;
    for path in [
        "/",
        "",
        "a",
        "/\0",
        "/zookeeper",
        "/zookeeper/quota",
        "/zookeeper/config",
    ] {
        p.fails(delete(path, ANY), ErrorCode::BadArguments).await;
        p.fails(delete(path, 99), ErrorCode::BadArguments).await;
    }
}

async fn the_path_is_not_checked_further(s: Subject) {
    let mut p = s.peer().await;
    for path in ["//", "/./x", "/..", "/a//b", "/\u{1}", "/zookeeper/nope"] {
        p.fails(delete(path, ANY), ErrorCode::NoNode).await;
    }
}

async fn anyone_may_delete_an_ephemeral(s: Subject) {
    let (mut owner, mut other) = (s.peer().await, s.peer().await);
    owner
        .ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    other.ok(delete(&s.path("e"), ANY)).await;
    // The name is free, and its new node does not go with the old owner's session.
    other.create(&s.path("e")).await;
    owner.close().await;
    assert_eq!(other.names(s.root()).await, ["e"]);
}

async fn a_deleted_name_begins_anew(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(set(&s.path("a"), b"old", ANY)).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    let created = p.ask(create(&s.path("a"), b"new")).await;
    let stat = p.stat(&s.path("a")).await;
    assert_eq!(
        (stat.version, stat.cversion, stat.czxid),
        (0, 0, created.zxid)
    );
}

async fn a_null_path(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::Delete, &[&-1_i32, &ANY]).await;
    assert_eq!(reply.code, ErrorCode::MarshallingError);
}

/// Apache carries it out for anybody, without asking any ACL; we refuse it as any unknown operation.
async fn delete_container_is_no_clients_business(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let request = Request::DeleteContainer(DeleteContainerRequest {
        path: s.path("a").as_str().into(),
    });
    let reply = p.ask(request).await;
    let mut other = s.peer().await;
    if s.is_apache() {
        assert_eq!(reply.code, ErrorCode::Ok);
        assert_eq!(other.names(s.root()).await, [""; 0]);
    } else {
        assert_eq!(reply.code, ErrorCode::Unimplemented);
        p.closed().await;
        assert_eq!(other.names(s.root()).await, ["a"]);
    }
}

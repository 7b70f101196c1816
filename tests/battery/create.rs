//! create, create2, createContainer, createTTL.

use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, SessionId,
    op::{CreateRequest, Request, Response},
};
use zk_tests::requests::{
    ANY, create, create_as, create_container, create_for, create_ttl, create2, delete, new_node,
    new_ttl_node,
};

use crate::subject::Subject;

cases! {
    a_new_nodes_stat,
    create_answers_the_path_create2_the_stat_too,
    null_data_stays_null,
    a_child_changes_three_fields_of_its_parent,
    ephemerals_belong_to_their_session,
    ephemerals_have_no_children,
    the_suffix_counts_every_create,
    the_flag_is_looked_at_first,
    the_acl_is_looked_at_before_the_tree,
    permission_comes_before_the_last_name,
    the_parent_comes_before_the_rest_of_the_path,
    existence_comes_before_the_ephemeral_parent,
    bytes_behind_the_record_are_ignored,
}

pub(crate) const BAD: ErrorCode = ErrorCode::BadArguments;

async fn a_new_nodes_stat(s: Subject) {
    let mut p = s.peer().await;
    let reply = p
        .ask(create2(&s.path("a"), b"data", CreateMode::Persistent))
        .await;
    let Ok(Response::Create2(created)) = reply.response(OpCode::Create2) else {
        panic!("{reply:?}");
    };
    let stat = created.stat;
    assert_eq!(created.path, s.path("a").as_str());
    assert_eq!([stat.czxid, stat.mzxid, stat.pzxid], [reply.zxid; 3]);
    assert_eq!(
        [
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.num_children
        ],
        [0; 4]
    );
    assert_eq!(stat.ephemeral_owner, SessionId::NONE);
    assert_eq!(stat.data_length, 4);
    assert_eq!(stat.ctime, stat.mtime);
    assert!(
        stat.ctime > 1_700_000_000_000,
        "milliseconds since the epoch: {}",
        stat.ctime
    );
    assert_eq!(p.stat(&s.path("a")).await, stat, "exists says the same");
}

async fn create_answers_the_path_create2_the_stat_too(s: Subject) {
    let mut p = s.peer().await;
    let plain = p.ok(create(&s.path("a"), b"")).await;
    assert!(matches!(plain, Response::Create(r) if r.path == s.path("a").as_str()));
    for request in [
        create2(&s.path("b"), b"", CreateMode::Persistent),
        create_container(&s.path("c")),
        create_ttl(&s.path("d"), CreateMode::PersistentWithTtl, 60_000),
    ] {
        let path = request.path().unwrap().to_owned();
        let answer = p.ok(request).await;
        assert!(matches!(answer, Response::Create2(r) if r.path == path.as_str()));
    }
}

async fn null_data_stays_null(s: Subject) {
    let mut p = s.peer().await;
    let mut record = new_node(&s.path("null"), b"", CreateMode::Persistent);
    record.data = None;
    p.ok(Request::Create(record)).await;
    p.create(&s.path("empty")).await;
    assert_eq!(p.data(&s.path("null")).await, None);
    assert_eq!(p.data(&s.path("empty")).await.as_deref(), Some(&b""[..]));
    assert_eq!(p.stat(&s.path("null")).await.data_length, 0);
}

async fn a_child_changes_three_fields_of_its_parent(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("p")).await;
    let mut expected = p.stat(&s.path("p")).await;
    let created = p.ask(create(&s.path("p/c"), b"")).await;
    expected.cversion = 1;
    expected.num_children = 1;
    expected.pzxid = created.zxid;
    assert_eq!(p.stat(&s.path("p")).await, expected);
    let deleted = p.ask(delete(&s.path("p/c"), ANY)).await;
    expected.cversion = 2;
    expected.num_children = 0;
    expected.pzxid = deleted.zxid;
    assert_eq!(p.stat(&s.path("p")).await, expected);
}

async fn ephemerals_belong_to_their_session(s: Subject) {
    let (mut owner, mut other) = (s.peer().await, s.peer().await);
    for (name, mode) in [
        ("e", CreateMode::Ephemeral),
        ("s-", CreateMode::EphemeralSequential),
    ] {
        let path = owner.created(create_as(&s.path(name), b"", mode)).await;
        assert_eq!(other.stat(&path).await.ephemeral_owner, owner.id());
    }
    assert_eq!(other.names(s.root()).await, ["e", "s-0000000001"]);
    owner.close().await;
    assert_eq!(other.names(s.root()).await, [""; 0]);
    assert_eq!(other.stat(s.root()).await.cversion, 4);
}

async fn ephemerals_have_no_children(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let before = p.stat(&s.path("e")).await;
    for mode in [
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
    ] {
        let child = create_as(&s.path("e/c"), b"", mode);
        p.fails(child, ErrorCode::NoChildrenForEphemerals).await;
    }
    assert_eq!(p.stat(&s.path("e")).await, before);
}

async fn the_suffix_counts_every_create(s: Subject) {
    let mut p = s.peer().await;
    let sequential = |name: &str| create_as(&s.path(name), b"", CreateMode::PersistentSequential);
    assert_eq!(p.created(sequential("a-")).await, s.path("a-0000000000"));
    p.create(&s.path("plain")).await;
    p.ok(delete(&s.path("plain"), ANY)).await;
    assert_eq!(p.created(sequential("b-")).await, s.path("b-0000000002"));
    p.fails(create(&s.path("b-0000000002"), b""), ErrorCode::NodeExists)
        .await;
    let ttl = create_ttl(
        &s.path("t-"),
        CreateMode::PersistentSequentialWithTtl,
        60_000,
    );
    assert_eq!(p.created(ttl).await, s.path("t-0000000003"));
    let ephemeral = create_as(&s.path("e-"), b"", CreateMode::EphemeralSequential);
    assert_eq!(p.created(ephemeral).await, s.path("e-0000000004"));
}

async fn the_flag_is_looked_at_first(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "nope", "/nope/nope", "//"] {
        let record = CreateRequest {
            path: path.into(),
            data: None,
            acl: Vec::new(),
            flags: 99,
        };
        p.fails(Request::Create(record), BAD).await;
    }
    let mut record = new_ttl_node("/nope/nope", CreateMode::PersistentWithTtl, 0);
    record.acl = Vec::new();
    p.fails(Request::CreateTtl(record), BAD).await;
}

async fn the_acl_is_looked_at_before_the_tree(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    for path in ["nope/x", "locked/x", "locked", "locked//x", "a."] {
        p.fails(create_for(&s.path(path), Vec::new()), ErrorCode::InvalidAcl)
            .await;
    }
    p.fails(create_for("", Vec::new()), BAD).await;
    p.fails(create_for("/\0", Vec::new()), BAD).await;
}

async fn permission_comes_before_the_last_name(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    for name in ["x", "..", "", "\u{1}"] {
        let path = s.path(&format!("locked/{name}"));
        p.fails(create(&path, b""), ErrorCode::NoAuth).await;
    }
}

async fn the_parent_comes_before_the_rest_of_the_path(s: Subject) {
    let mut p = s.peer().await;
    for path in ["nope/x", "a//b", "./x", "../x", "nope/\u{1}"] {
        p.fails(create(&s.path(path), b""), ErrorCode::NoNode).await;
    }
}

async fn existence_comes_before_the_ephemeral_parent(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("p")).await;
    p.create(&s.path("p/c")).await;
    p.fails(create(&s.path("p/c"), b""), ErrorCode::NodeExists)
        .await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    p.fails(create(&s.path("e/\u{1}"), b""), BAD).await;
    p.fails(
        create(&s.path("e/c"), b""),
        ErrorCode::NoChildrenForEphemerals,
    )
    .await;
}

async fn bytes_behind_the_record_are_ignored(s: Subject) {
    let mut p = s.peer().await;
    let record = new_node(&s.path("a"), b"", CreateMode::Persistent);
    let reply = p.raw(OpCode::Create, &[&record, &0x1234_5678_i32]).await;
    assert_eq!(reply.code, ErrorCode::Ok);
}

/// What follows the path in a create's record.
pub(crate) fn tail() -> impl zk_proto::Encode {
    Tail(new_node("", b"", CreateMode::Persistent))
}

struct Tail(CreateRequest);

impl zk_proto::Encode for Tail {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.data.encode(out);
        self.0.acl.encode(out);
        self.0.flags.encode(out);
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len() - 4
    }
}

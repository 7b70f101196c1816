//! multi, multiRead, and check, which lives only inside multi.

use bytes::Bytes;
use zk_proto::{
    Acl, CreateMode, Encode, ErrorCode, OpCode,
    op::{
        CreateResponse, DeleteContainerRequest, ErrorResponse, MultiHeader, MultiOp, MultiResult,
        Request,
    },
};
use zk_tests::requests::{
    ANY, create_for, exists, multi, new_node, part_check, part_children, part_create, part_delete,
    part_get, part_set,
};

use crate::subject::Subject;

cases! {
    one_zxid_for_all,
    each_part_answers_its_record,
    parts_see_the_parts_before_them,
    a_failure_undoes_everything,
    results_of_a_failed_multi,
    the_bytes_of_a_failed_multi,
    every_code_a_part_can_fail_with,
    an_empty_multi,
    check_needs_read_and_the_version,
    check_order,
    reads_do_not_belong_here,
    unknown_and_unfinished_parts,
    any_header_that_says_done_ends_it,
    ephemerals_created_and_deleted_within,
    delete_container_within,
    a_large_multi,
}

pub(crate) const MARSHALLING: ErrorCode = ErrorCode::MarshallingError;
pub(crate) const END: MultiHeader = MultiHeader {
    op: -1,
    done: true,
    err: -1,
};

async fn one_zxid_for_all(s: Subject) {
    let mut p = s.peer().await;
    let parts = vec![
        part_create(&s.path("a")),
        part_create(&s.path("a/b")),
        part_set(&s.path("a"), b"x", 0),
    ];
    let reply = p.ask(multi(parts)).await;
    assert_eq!(reply.code, ErrorCode::Ok);
    let (a, b) = (p.stat(&s.path("a")).await, p.stat(&s.path("a/b")).await);
    assert_eq!([a.czxid, a.mzxid, a.pzxid, b.czxid], [reply.zxid; 4]);
    assert_eq!((a.ctime, b.ctime), (a.mtime, a.mtime), "and one time");
    assert_eq!(p.stat(s.root()).await.pzxid, reply.zxid);
}

async fn each_part_answers_its_record(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("old")).await;
    let results = p
        .multi(vec![
            part_create(&s.path("a")),
            part_set(&s.path("a"), b"xyz", 0),
            part_check(&s.path("a"), 1),
            part_delete(&s.path("old")),
        ])
        .await;
    let a = p.stat(&s.path("a")).await;
    assert_eq!(results[0], created(&s.path("a")));
    assert!(matches!(results[1], MultiResult::SetData(r) if r.stat == a));
    assert_eq!(results[2..], [MultiResult::Check, MultiResult::Delete]);
}

async fn parts_see_the_parts_before_them(s: Subject) {
    let mut p = s.peer().await;
    let (a, b) = (s.path("a"), s.path("a/b"));
    let results = p
        .multi(vec![
            part_create(&a),
            part_set(&a, b"1", 0),
            part_set(&a, b"2", 1),
            part_create(&b),
            part_check(&b, 0),
            part_delete(&b),
            part_delete(&a),
            part_create(&a),
            part_check(&a, 0),
        ])
        .await;
    assert!(
        !results.iter().any(|r| matches!(r, MultiResult::Error(_))),
        "{results:?}"
    );
    assert_eq!(p.data(&a).await.as_deref(), Some(&b""[..]));
    let root = p.stat(s.root()).await;
    assert_eq!((root.cversion, root.num_children), (3, 1));
}

async fn a_failure_undoes_everything(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("old")).await;
    let before = (p.stat(s.root()).await, p.stat(&s.path("old")).await);
    let results = p
        .multi(vec![
            part_create(&s.path("new")),
            part_set(&s.path("old"), b"x", ANY),
            part_delete(&s.path("old")),
            part_check(&s.path("nope"), ANY),
        ])
        .await;
    assert_eq!(codes(&results), [0, 0, 0, ErrorCode::NoNode.code()]);
    assert_eq!(
        (p.stat(s.root()).await, p.stat(&s.path("old")).await),
        before
    );
    p.fails(exists(&s.path("new")), ErrorCode::NoNode).await;
}

async fn results_of_a_failed_multi(s: Subject) {
    let mut p = s.peer().await;
    let fine = || part_create(&s.path("a"));
    let bad = || part_set(&s.path("nope"), b"", ANY);
    let no_node = ErrorCode::NoNode.code();
    let rest = ErrorCode::RuntimeInconsistency.code();
    let results = p.multi(vec![bad(), fine(), bad()]).await;
    assert_eq!(codes(&results), [no_node, rest, rest]);
    let results = p.multi(vec![fine(), bad(), fine()]).await;
    assert_eq!(codes(&results), [0, no_node, rest]);
}

/// The header of each result repeats its code; the reply's own header says 0.
async fn the_bytes_of_a_failed_multi(s: Subject) {
    let mut p = s.peer().await;
    let reply = p
        .ask(multi(vec![
            part_check("/", ANY),
            part_check(&s.path("nope"), ANY),
        ]))
        .await;
    assert_eq!(reply.code, ErrorCode::Ok);
    let header = |code| MultiHeader {
        op: -1,
        done: false,
        err: code,
    };
    let no_node = ErrorCode::NoNode.code();
    let mut expected = bytes::BytesMut::new();
    for code in [0, no_node] {
        header(code).encode(&mut expected);
        ErrorResponse { err: code }.encode(&mut expected);
    }
    END.encode(&mut expected);
    assert_eq!(reply.body, expected.freeze());
}

async fn every_code_a_part_can_fail_with(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    let ephemeral = new_node(&s.path("e"), b"", CreateMode::Ephemeral);
    p.ok(Request::Create(ephemeral)).await;
    let mut no_acl = new_node(&s.path("x"), b"", CreateMode::Persistent);
    no_acl.acl = Vec::new();
    let rows = [
        (part_create(&s.path("a")), ErrorCode::NodeExists),
        (part_create(&s.path("nope/x")), ErrorCode::NoNode),
        (part_create(&s.path("locked/x")), ErrorCode::NoAuth),
        (
            part_create(&s.path("e/x")),
            ErrorCode::NoChildrenForEphemerals,
        ),
        (part_create(&s.path("a/")), ErrorCode::BadArguments),
        (MultiOp::Create(no_acl), ErrorCode::InvalidAcl),
        (part_delete(&s.path("a")), ErrorCode::NotEmpty),
        (part_delete("/"), ErrorCode::BadArguments),
        (part_set(&s.path("a"), b"", 7), ErrorCode::BadVersion),
        (part_check(&s.path("a"), 7), ErrorCode::BadVersion),
    ];
    for (part, code) in rows {
        let results = p.multi(vec![part.clone()]).await;
        assert_eq!(codes(&results), [code.code()], "{part:?}");
    }
}

async fn an_empty_multi(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(p.multi(Vec::new()).await, []);
}

async fn check_needs_read_and_the_version(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let before = p.stat(&s.path("a")).await;
    for version in [0, ANY] {
        assert_eq!(
            p.multi(vec![part_check(&s.path("a"), version)]).await,
            [MultiResult::Check]
        );
    }
    for version in [1, -2, i32::MIN] {
        let results = p.multi(vec![part_check(&s.path("a"), version)]).await;
        assert_eq!(codes(&results), [ErrorCode::BadVersion.code()]);
    }
    assert_eq!(p.stat(&s.path("a")).await, before);
}

async fn check_order(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(
        &s.path("locked"),
        Vec::from([Acl::new(zk_proto::Perms::WRITE, "world", "anyone")]),
    ))
    .await;
    let locked = s.path("locked");
    let rows = [
        ("", ErrorCode::BadArguments),
        ("a", ErrorCode::BadArguments),
        ("/nope//x", ErrorCode::BadArguments),
        ("/nope/x", ErrorCode::NoNode),
        (&locked, ErrorCode::NoAuth),
    ];
    for (path, code) in rows {
        assert_eq!(
            codes(&p.multi(vec![part_check(path, 9)]).await),
            [code.code()],
            "{path}"
        );
    }
}

async fn reads_do_not_belong_here(s: Subject) {
    let mut p = s.peer().await;
    p.fails(multi(vec![part_get("/")]), MARSHALLING).await;
    p.fails(multi(vec![part_children("/")]), MARSHALLING).await;
    p.fails(
        multi(vec![part_create(&s.path("a")), part_get("/")]),
        MARSHALLING,
    )
    .await;
    assert_eq!(p.names(s.root()).await, [""; 0]);
}

async fn unknown_and_unfinished_parts(s: Subject) {
    let mut p = s.peer().await;
    let part = |op| MultiHeader {
        op,
        done: false,
        err: -1,
    };
    let record = new_node(&s.path("a"), b"", CreateMode::Persistent);
    let rows: [&[&dyn Encode]; 6] = [
        &[],
        &[&part(99), &record, &END],
        &[&part(-1), &END],
        &[&part(OpCode::SetAcl.code()), &record, &END],
        &[&part(OpCode::Create.code()), &record],
        &[&part(OpCode::Create.code()), &1_i32, &END],
    ];
    for row in rows {
        let reply = p.raw(OpCode::Multi, row).await;
        assert_eq!((reply.code, reply.body), (MARSHALLING, Bytes::new()));
    }
    assert_eq!(p.names(s.root()).await, [""; 0]);
}

async fn any_header_that_says_done_ends_it(s: Subject) {
    let mut p = s.peer().await;
    let record = new_node(&s.path("a"), b"", CreateMode::Persistent);
    let part = MultiHeader {
        op: OpCode::Create.code(),
        done: false,
        err: -1,
    };
    let end = MultiHeader {
        op: 99,
        done: true,
        err: 7,
    };
    let reply = p.raw(OpCode::Multi, &[&part, &record, &end, &1_i64]).await;
    assert_eq!(reply.code, ErrorCode::Ok);
    assert_eq!(p.names(s.root()).await, ["a"]);
}

async fn ephemerals_created_and_deleted_within(s: Subject) {
    let (mut p, mut other) = (s.peer().await, s.peer().await);
    let ephemeral =
        |name: &str| MultiOp::Create(new_node(&s.path(name), b"", CreateMode::Ephemeral));
    let parts = vec![ephemeral("a"), ephemeral("b"), part_delete(&s.path("a"))];
    p.multi(parts).await;
    // A multi that fails leaves no ephemeral behind either.
    p.multi(vec![ephemeral("c"), part_check(&s.path("nope"), ANY)])
        .await;
    assert_eq!(other.names(s.root()).await, ["b"]);
    p.close().await;
    assert_eq!(other.names(s.root()).await, [""; 0]);
}

async fn delete_container_within(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let path = s.path("a").as_str().into();
    let part = MultiOp::DeleteContainer(DeleteContainerRequest { path });
    p.fails(multi(vec![part]), MARSHALLING).await;
    assert_eq!(p.names(s.root()).await, ["a"]);
}

async fn a_large_multi(s: Subject) {
    let mut p = s.peer().await;
    let parts = (0..2000)
        .map(|i| part_create(&s.path(&format!("n{i:04}"))))
        .collect();
    assert_eq!(p.multi(parts).await.len(), 2000);
    let parts = (0..2000)
        .map(|i| part_delete(&s.path(&format!("n{i:04}"))))
        .collect();
    assert_eq!(p.multi(parts).await, vec![MultiResult::Delete; 2000]);
    assert_eq!(p.stat(s.root()).await.cversion, 4000);
}

pub(crate) fn created(path: &str) -> MultiResult {
    MultiResult::Create(CreateResponse { path: path.into() })
}

pub(crate) fn codes(results: &[MultiResult]) -> Vec<i32> {
    results
        .iter()
        .map(|result| match result {
            MultiResult::Error(error) => error.err,
            other => panic!("not an error: {other:?}"),
        })
        .collect()
}

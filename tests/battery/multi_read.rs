//! multiRead: several reads at one zxid.

use crate::multi::{END, MARSHALLING, codes};
use crate::subject::{Subject, sorted};
use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, OpCode,
    op::{
        ExistsRequest, GetChildrenRequest, GetDataRequest, MultiHeader, MultiOp, MultiResult,
        Response,
    },
};
use zk_tests::requests::{
    ANY, create_for, get, multi_read, part_children, part_create, part_get, watch_data,
};

cases! {
    reads_at_one_zxid,
    each_read_fails_alone,
    reading_nothing,
    reads_leave_no_watch,
    other_reads_cannot_be_decoded,
    writes_in_a_multi_read,
}

async fn reads_at_one_zxid(s: Subject) {
    let mut p = s.peer().await;
    p.ok(zk_tests::requests::create(&s.path("a"), b"data"))
        .await;
    p.create(&s.path("a/b")).await;
    let parts = vec![part_get(&s.path("a")), part_children(&s.path("a"))];
    let Response::Multi(answer) = p.ok(multi_read(parts)).await else {
        panic!("another record");
    };
    let stat = p.stat(&s.path("a")).await;
    let [MultiResult::GetData(data), MultiResult::GetChildren(names)] = &answer.results[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (data.data.as_deref(), data.stat),
        (Some(&b"data"[..]), stat)
    );
    assert_eq!(sorted(names.children.clone()), ["b"]);
}

async fn each_read_fails_alone(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(
        &s.path("dark"),
        vec![Acl::new(zk_proto::Perms::WRITE, "world", "anyone")],
    ))
    .await;
    let parts = vec![
        part_get(&s.path("nope")),
        part_children(s.root()),
        part_get(&s.path("dark")),
        part_get(s.root()),
    ];
    let Response::Multi(answer) = p.ok(multi_read(parts)).await else {
        panic!("another record");
    };
    let results = answer.results;
    assert_eq!(codes(&results[..1]), [ErrorCode::NoNode.code()]);
    assert!(matches!(&results[1], MultiResult::GetChildren(r) if r.children == ["dark"]));
    assert_eq!(codes(&results[2..3]), [ErrorCode::NoAuth.code()]);
    assert!(matches!(&results[3], MultiResult::GetData(_)));
}

async fn reading_nothing(s: Subject) {
    let mut p = s.peer().await;
    let answer = p.ok(multi_read(Vec::new())).await;
    assert!(matches!(answer, Response::Multi(r) if r.results.is_empty()));
}

async fn reads_leave_no_watch(s: Subject) {
    let mut p = s.peer().await;
    let path = zk_proto::Utf8Bytes::from(s.root());
    let get = MultiOp::GetData(GetDataRequest {
        path: path.clone(),
        watch: true,
    });
    let names = MultiOp::GetChildren(GetChildrenRequest { path, watch: true });
    p.ok(multi_read(vec![get, names])).await;
    p.create(&s.path("a")).await;
    p.ok(zk_tests::requests::set(s.root(), b"", ANY)).await;
    assert_eq!(p.heard().await, []);
    // The watch of a plain read is there to show that one would have been heard.
    p.ok(watch_data(s.root())).await;
    p.ok(zk_tests::requests::set(s.root(), b"", ANY)).await;
    assert_eq!(p.heard().await.len(), 1);
}

async fn other_reads_cannot_be_decoded(s: Subject) {
    let mut p = s.peer().await;
    let record = ExistsRequest {
        path: s.root().into(),
        watch: false,
    };
    for op in [OpCode::Exists, OpCode::GetChildren2, OpCode::GetAcl] {
        let part = MultiHeader {
            op: op.code(),
            done: false,
            err: -1,
        };
        let reply = p.raw(OpCode::MultiRead, &[&part, &record, &END]).await;
        assert_eq!(
            (reply.code, reply.body),
            (MARSHALLING, Bytes::new()),
            "{op:?}"
        );
    }
}

/// In Apache the one refusal with a body, an end marker; here no refusal has one.
async fn writes_in_a_multi_read(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.ask(multi_read(vec![part_create(&s.path("a"))])).await;
    let body: &[u8] = match s.is_apache() {
        true => b"\xff\xff\xff\xff\x01\xff\xff\xff\xff",
        false => b"",
    };
    assert_eq!((reply.code, reply.body.as_ref()), (MARSHALLING, body));
    let mixed = multi_read(vec![part_create(&s.path("a")), part_get("/")]);
    p.fails(mixed, MARSHALLING).await;
    p.fails(get(&s.path("a")), ErrorCode::NoNode).await;
}

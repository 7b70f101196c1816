//! create, create2, createContainer, createTTL.

use std::time::Duration;

use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, SessionId, Zxid,
    op::{CreateRequest, Request, Response},
};
use zk_tests::{
    frames::Incoming,
    requests::{
        ANY, create, create_as, create_container, create_for, create_ttl, create2, delete, get,
        new_node, new_ttl_node, watch_exists,
    },
};

use crate::subject::{REAPER_MS, Subject, TIMEOUT_MS};

cases! {
    a_new_nodes_stat,
    create_answers_the_path_create2_the_stat_too,
    null_data_stays_null,
    a_child_changes_three_fields_of_its_parent,
    ephemerals_belong_to_their_session,
    ephemerals_have_no_children,
    the_suffix_counts_every_create,
    sequential_names_may_be_empty_or_dots,
    the_root_exists,
    the_path_must_begin_with_a_slash,
    double_slashes_and_dots_are_refused,
    characters_that_are_refused,
    invalid_utf8_becomes_a_refused_character,
    unicode_names,
    a_trailing_slash,
    unknown_flags,
    flag_four_without_its_operation_is_ignored,
    container_ignores_its_flags_kind,
    ttl_bounds,
    ttl_flags,
    a_ttl_with_another_kinds_flag,
    the_flag_is_looked_at_first,
    the_acl_is_looked_at_before_the_tree,
    permission_comes_before_the_last_name,
    the_parent_comes_before_the_rest_of_the_path,
    existence_comes_before_the_ephemeral_parent,
    below_zookeeper,
    a_null_path,
    bytes_behind_the_record_are_ignored,
    an_empty_container_is_reaped,
    a_ttl_node_is_reaped,
}

const BAD: ErrorCode = ErrorCode::BadArguments;

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

async fn sequential_names_may_be_empty_or_dots(s: Subject) {
    let mut p = s.peer().await;
    for (name, expected) in [
        ("", "0000000000"),
        (".", ".0000000001"),
        ("..", "..0000000002"),
    ] {
        let request = create_as(&s.path(name), b"", CreateMode::PersistentSequential);
        assert_eq!(p.created(request).await, s.path(expected));
    }
}

async fn the_root_exists(s: Subject) {
    let mut p = s.peer().await;
    p.fails(create("/", b""), ErrorCode::NodeExists).await;
    let sequential = create_as("/", b"", CreateMode::EphemeralSequential);
    let path = p.created(sequential).await;
    assert!(
        path.len() == 11 && path[1..].bytes().all(|b| b.is_ascii_digit()),
        "{path}"
    );
}

async fn the_path_must_begin_with_a_slash(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "a"] {
        p.fails(create(path, b""), BAD).await;
        p.fails(create_as(path, b"", CreateMode::PersistentSequential), BAD)
            .await;
    }
    // The parent, "a", is looked for first.
    p.fails(create("a/b", b""), ErrorCode::NoNode).await;
}

async fn double_slashes_and_dots_are_refused(s: Subject) {
    let mut p = s.peer().await;
    for path in ["//", "//x", "/.", "/.."] {
        p.fails(create(path, b""), BAD).await;
    }
    p.fails(create_as("//", b"", CreateMode::PersistentSequential), BAD)
        .await;
    p.fails(create(&s.path("."), b""), BAD).await;
    p.fails(create(&s.path(".."), b""), BAD).await;
    for name in ["...", "a.", ".a", "..a", "a..b"] {
        p.create(&s.path(name)).await;
    }
}

async fn characters_that_are_refused(s: Subject) {
    let mut p = s.peer().await;
    let refused = [
        '\0',
        '\u{1}',
        '\u{1f}',
        '\u{7f}',
        '\u{80}',
        '\u{9f}',
        '\u{e000}',
        '\u{f8ff}',
        '\u{fff0}',
        '\u{ffff}',
        '\u{10000}',
        '😀',
    ];
    for character in refused {
        p.fails(create(&s.path(&format!("a{character}")), b""), BAD)
            .await;
    }
    for character in [' ', '~', '\u{a0}', '\u{d7ff}', '\u{f900}', '\u{ffef}'] {
        p.create(&s.path(&format!("a{character}"))).await;
    }
}

async fn invalid_utf8_becomes_a_refused_character(s: Subject) {
    let mut p = s.peer().await;
    let mut path = s.path("x").into_bytes();
    path.push(0xff);
    let reply = p
        .raw(OpCode::Create, &[&Some(bytes::Bytes::from(path)), &tail()])
        .await;
    assert_eq!(reply.code, BAD);
}

async fn unicode_names(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("größe-漢")).await;
    assert_eq!(p.names(s.root()).await, ["größe-漢"]);
    p.ok(create(&s.path("größe-漢/ü"), "naïve".as_bytes()))
        .await;
    assert_eq!(
        p.data(&s.path("größe-漢/ü")).await.as_deref(),
        Some("naïve".as_bytes())
    );
}

async fn a_trailing_slash(s: Subject) {
    let mut p = s.peer().await;
    p.fails(create(&s.path("nope/"), b""), ErrorCode::NoNode)
        .await;
    p.create(&s.path("there")).await;
    p.fails(create(&s.path("there/"), b""), BAD).await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.fails(create(&s.path("locked/"), b""), ErrorCode::NoAuth)
        .await;
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

async fn below_zookeeper(s: Subject) {
    let mut p = s.peer().await;
    let own = s.root().replace('/', "");
    for parent in ["/zookeeper", "/zookeeper/quota"] {
        let path = format!("{parent}/{own}");
        p.create(&path).await;
        p.ok(delete(&path, ANY)).await;
    }
    p.fails(create("/zookeeper/config/c", b""), ErrorCode::NoAuth)
        .await;
}

async fn a_null_path(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::Create, &[&-1_i32, &tail()]).await;
    assert_eq!(reply.code, ErrorCode::MarshallingError);
    p.create(&s.path("on")).await;
}

async fn bytes_behind_the_record_are_ignored(s: Subject) {
    let mut p = s.peer().await;
    let record = new_node(&s.path("a"), b"", CreateMode::Persistent);
    let reply = p.raw(OpCode::Create, &[&record, &0x1234_5678_i32]).await;
    assert_eq!(reply.code, ErrorCode::Ok);
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

/// What follows the path in a create's record.
fn tail() -> impl zk_proto::Encode {
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

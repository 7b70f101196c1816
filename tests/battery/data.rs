//! exists, getData, setData, sync, and the quotas that bound them.

use bytes::Bytes;
use zk_proto::{
    Acl, ErrorCode, OpCode, Perms, Utf8Bytes, Zxid,
    op::{Request, Response, SetDataRequest},
};
use zk_tests::requests::{
    ANY, children, children2, create, create_for, delete, exists, get, get_acl, multi, only,
    part_create, part_set, set, sync, watch_exists,
};

use crate::subject::Subject;

cases! {
    set_changes_three_fields,
    null_and_empty_data_differ,
    versions_must_match_or_be_any,
    versions_count_inside_a_multi,
    the_order_of_set_datas_checks,
    set_data_of_the_servers_own_nodes,
    a_null_path,
    reads_do_not_check_paths,
    the_empty_path_is_the_root,
    nul_in_a_path,
    reading_needs_the_right_to_read,
    sync_echoes_whatever_it_is_asked,
    characters_beyond_the_first_plane,
    large_data_comes_back_whole,
    the_config_node,
    header_zxids,
    what_cannot_be_decoded_consumes_no_zxid,
}

async fn set_changes_three_fields(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create(&s.path("a"), b"one")).await;
    let before = p.stat(&s.path("a")).await;
    let reply = p.ask(set(&s.path("a"), b"three", ANY)).await;
    let Ok(Response::Stat(after)) = reply.response(OpCode::SetData) else {
        panic!("{reply:?}");
    };
    let mut expected = before;
    expected.mzxid = reply.zxid;
    expected.version = 1;
    expected.data_length = 5;
    expected.mtime = after.stat.mtime;
    assert!(after.stat.mtime >= before.mtime);
    assert_eq!(after.stat, expected);
    assert_eq!(p.stat_of(get(&s.path("a"))).await, expected);
    assert_eq!(p.data(&s.path("a")).await.as_deref(), Some(&b"three"[..]));
}

async fn null_and_empty_data_differ(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for data in [
        None,
        Some(Bytes::new()),
        Some(Bytes::from_static(b"x")),
        None,
    ] {
        let request = SetDataRequest {
            path: s.path("a").as_str().into(),
            data: data.clone(),
            version: ANY,
        };
        p.ok(Request::SetData(request)).await;
        assert_eq!(p.data(&s.path("a")).await, data);
    }
}

async fn versions_must_match_or_be_any(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for wrong in [1, -2, i32::MAX, i32::MIN] {
        p.fails(set(&s.path("a"), b"x", wrong), ErrorCode::BadVersion)
            .await;
    }
    for right in [0, 1, 2, ANY] {
        p.ok(set(&s.path("a"), b"x", right)).await;
    }
    assert_eq!(p.stat(&s.path("a")).await.version, 4);
}

async fn versions_count_inside_a_multi(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let sets = (0..1000)
        .map(|version| part_set(&s.path("a"), b"", version))
        .collect();
    let reply = p.ask(multi(sets)).await;
    let stat = p.stat(&s.path("a")).await;
    assert_eq!((stat.version, stat.mzxid), (1000, reply.zxid));
}

async fn the_order_of_set_datas_checks(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "a", "//", "/a/", "/a//b", "/./x", "/\0", "/\u{1}"] {
        p.fails(set(path, b"", 99), ErrorCode::BadArguments).await;
    }
    p.fails(set(&s.path("nope"), b"", 99), ErrorCode::NoNode)
        .await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.fails(set(&s.path("locked"), b"", 99), ErrorCode::NoAuth)
        .await;
}

async fn set_data_of_the_servers_own_nodes(s: Subject) {
    let mut p = s.peer().await;
    for path in ["/", "/zookeeper", "/zookeeper/quota"] {
        p.ok(set(path, b"", ANY)).await;
    }
    p.fails(set("/zookeeper/config", b"", ANY), ErrorCode::NoAuth)
        .await;
}

/// No path at all: Apache tells setData's from the others', and echoes sync's; ours cannot decode any.
async fn a_null_path(s: Subject) {
    let mut p = s.peer().await;
    let null = -1_i32;
    let set = p.raw(OpCode::SetData, &[&null, &null, &null]).await;
    let expected = match s.is_apache() {
        true => ErrorCode::BadArguments,
        false => ErrorCode::MarshallingError,
    };
    assert_eq!(set.code, expected);
    for op in [OpCode::GetData, OpCode::Exists] {
        let read = p.raw(op, &[&null, &false]).await;
        assert_eq!(
            (read.code, read.body),
            (ErrorCode::MarshallingError, Bytes::new()),
            "{op:?}"
        );
    }
}

async fn reads_do_not_check_paths(s: Subject) {
    let mut p = s.peer().await;
    for path in [
        "abc",
        "//",
        "/.",
        "/nope/",
        "/\u{1}",
        "zookeeper",
        "/zookeeper/",
    ] {
        for request in [
            exists(path),
            get(path),
            children(path),
            children2(path),
            get_acl(path),
        ] {
            p.fails(request, ErrorCode::NoNode).await;
        }
    }
    p.fails(get(&format!("{}/", s.root())), ErrorCode::NoNode)
        .await;
}

async fn the_empty_path_is_the_root(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(p.stat("").await.czxid, Zxid::ZERO);
    assert_eq!(p.stat_of(get("")).await.czxid, Zxid::ZERO);
    assert_eq!(p.stat_of(get_acl("")).await.czxid, Zxid::ZERO);
    assert!(p.names("").await.contains(&"zookeeper".to_owned()));
    assert!(p.names("/").await.contains(&"zookeeper".to_owned()));
}

async fn nul_in_a_path(s: Subject) {
    let mut p = s.peer().await;
    p.fails(exists("/\0"), ErrorCode::BadArguments).await;
    p.fails(watch_exists("/\0"), ErrorCode::BadArguments).await;
    p.fails(get("/\0"), ErrorCode::NoNode).await;
    p.fails(children("/\0"), ErrorCode::NoNode).await;
}

async fn reading_needs_the_right_to_read(s: Subject) {
    let mut p = s.peer().await;
    let all_but_read = Perms(Perms::ALL.0 & !Perms::READ.0);
    p.ok(create_for(
        &s.path("dark"),
        only(all_but_read, "world", "anyone"),
    ))
    .await;
    let path = s.path("dark");
    for request in [exists(&path), get(&path), children(&path), children2(&path)] {
        p.fails(request, ErrorCode::NoAuth).await;
    }
    p.ok(get_acl(&path)).await;
    p.ok(set(&path, b"blind", 0)).await;
    assert_eq!(
        p.names(s.root()).await,
        ["dark"],
        "the parent tells its name"
    );
}

async fn sync_echoes_whatever_it_is_asked(s: Subject) {
    let mut p = s.peer().await;
    for path in [s.root(), "/nope", "", "abc", "//", "/\0"] {
        let answer = p.ok(sync(path)).await;
        assert!(matches!(answer, Response::Sync(r) if r.path == path));
    }
    let null = p.raw(OpCode::Sync, &[&-1_i32]).await;
    let expected: (_, &[u8]) = match s.is_apache() {
        true => (ErrorCode::Ok, b"\xff\xff\xff\xff"),
        false => (ErrorCode::MarshallingError, b""),
    };
    assert_eq!((null.code, null.body.as_ref()), expected);
}

/// Apache sends each as two surrogates of three bytes, which is no UTF-8.
async fn characters_beyond_the_first_plane(s: Subject) {
    let mut p = s.peer().await;
    let path = Utf8Bytes::from("/\u{1f600}");
    let reply = p.raw(OpCode::Sync, &[&path]).await;
    let echoed = if s.is_apache() {
        &b"/\xed\xa0\xbd\xed\xb8\x80"[..]
    } else {
        path.as_bytes()
    };
    assert_eq!(&reply.body[4..], echoed);
}

async fn large_data_comes_back_whole(s: Subject) {
    let mut p = s.peer().await;
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    p.ok(create(&s.path("big"), &data)).await;
    assert_eq!(p.data(&s.path("big")).await.as_deref(), Some(&data[..]));
    assert_eq!(p.stat(&s.path("big")).await.data_length, 1_000_000);
    p.ok(delete(&s.path("big"), ANY)).await;
}

async fn the_config_node(s: Subject) {
    let mut p = s.peer().await;
    let stat = p.stat("/zookeeper/config").await;
    assert_eq!((stat.version, stat.cversion, stat.aversion), (0, 0, -1));
    assert_eq!(
        (stat.czxid, stat.ctime, stat.data_length),
        (Zxid::ZERO, 0, 0)
    );
    assert_eq!(p.data("/zookeeper/config").await.as_deref(), Some(&b""[..]));
}

/// A write is answered with its own zxid, also when it is refused; a read with the last one applied.
async fn header_zxids(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    let mut last = p.ask(sync("/")).await.zxid;
    let mut writes = vec![
        create(&s.path("a"), b""),
        create(&s.path("a"), b""),
        set(&s.path("a"), b"", 9),
        set("", b"", 9),
        delete(&s.path("nope"), ANY),
        multi(Vec::new()),
        multi(vec![part_create(&s.path("b")), part_create(&s.path("b"))]),
    ];
    for write in writes.drain(..) {
        last = last.successor().unwrap();
        assert_eq!(p.ask(write.clone()).await.zxid, last, "{write:?}");
        let reads = [get(&s.path("a")), get("/nope"), sync("/"), Request::Ping];
        for read in reads {
            assert_eq!(
                p.ask(read.clone()).await.zxid,
                last,
                "{read:?} after {write:?}"
            );
        }
    }
}

async fn what_cannot_be_decoded_consumes_no_zxid(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    let last = p.ask(sync("/")).await.zxid;
    for op in [
        OpCode::Create,
        OpCode::Create2,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::SetAcl,
    ] {
        let reply = p.raw(op, &[&Utf8Bytes::from_static("/x")]).await;
        assert_eq!(
            (reply.code, reply.zxid),
            (ErrorCode::MarshallingError, last),
            "{op:?}"
        );
    }
    // A multi's parts are read later, when it has its zxid.
    let reply = p.raw(OpCode::Multi, &[&1_i32]).await;
    assert_eq!(
        (reply.code, reply.zxid),
        (ErrorCode::MarshallingError, last.successor().unwrap())
    );
}

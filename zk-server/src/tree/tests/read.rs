//! Reads, their refusals, and what getACL hides.

use zk_proto::{
    Perms, Utf8Bytes,
    op::{
        CheckWatchesRequest, ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest,
        GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, MultiOp, MultiRequest,
        MultiResult, RemoveWatchesRequest,
    },
    watch::WatcherType,
};

use super::*;

fn get(path: &str) -> Request {
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch: true,
    })
}

fn exists(path: &str) -> Request {
    Request::Exists(ExistsRequest {
        path: path.into(),
        watch: true,
    })
}

fn children(path: &str) -> Request {
    Request::GetChildren(GetChildrenRequest {
        path: path.into(),
        watch: true,
    })
}

#[test]
fn data_and_stat_come_together() {
    let mut server = Server::new();
    server.clock_ms = 77;
    server.create("/a", b"abc");
    server.create("/a/x", b"");
    server.create("/a/y", b"");
    server.write(&delete("/a/x"));
    let Ok(Response::GetData(answer)) = server.read(&get("/a")) else {
        panic!("no data");
    };
    assert_eq!(answer.data.as_deref(), Some(&b"abc"[..]));
    let expected = Stat {
        czxid: Zxid(1),
        mzxid: Zxid(1),
        ctime: 77,
        mtime: 77,
        version: 0,
        cversion: 3,
        aversion: 0,
        ephemeral_owner: SessionId::NONE,
        data_length: 3,
        num_children: 1,
        pzxid: Zxid(4),
    };
    assert_eq!(answer.stat, expected);
    let Ok(Response::GetChildren2(answer)) =
        server.read(&Request::GetChildren2(GetChildrenRequest {
            path: "/a".into(),
            watch: false,
        }))
    else {
        panic!("no children");
    };
    assert_eq!(
        (answer.children, answer.stat),
        (vec![Utf8Bytes::from("y")], expected)
    );
}

#[test]
fn null_data_stays_null() {
    let mut server = Server::new();
    server.write(&Request::Create(CreateRequest {
        path: "/null".into(),
        data: None,
        acl: Acl::open(),
        flags: 0,
    }));
    let Ok(Response::GetData(answer)) = server.read(&get("/null")) else {
        panic!("no data");
    };
    assert_eq!((answer.data, answer.stat.data_length), (None, 0));
}

#[test]
fn refused_reads_leave_no_watch_but_exists_of_nothing_does() {
    let mut server = Server::new();
    let secret = create("/secret", b"", Acl::creator_all(), 0);
    assert_eq!(server.write(&secret).error(), ErrorCode::Ok);
    for (request, error, watches) in [
        (get("/secret"), ErrorCode::NoAuth, 0),
        (exists("/secret"), ErrorCode::NoAuth, 0),
        (children("/secret"), ErrorCode::NoAuth, 0),
        (get("/nothing"), ErrorCode::NoNode, 0),
        (children("/nothing"), ErrorCode::NoNode, 0),
        (get("relative"), ErrorCode::NoNode, 0),
        (get("/nul\0"), ErrorCode::NoNode, 0),
        (exists("/nul\0"), ErrorCode::BadArguments, 0),
        (exists("/nothing"), ErrorCode::NoNode, 1),
        (exists("relative"), ErrorCode::NoNode, 2),
    ] {
        assert_eq!(server.read_by(2, &request), Err(error), "{request:?}");
        assert_eq!(server.watches.get_mut().count(), watches, "{request:?}");
    }
    assert!(server.read(&get("/secret")).is_ok());
    assert!(matches!(server.read(&get("")), Ok(Response::GetData(_))));
}

#[test]
fn acls_are_masked_without_admin() {
    let mut server = Server::new();
    let hash = server.clients[0].ids()[1].id.clone();
    let acl = vec![
        Acl::new(Perms::ADMIN, "digest", hash),
        Acl::new(Perms::READ, "world", "anyone"),
    ];
    server.write(&create("/a", b"", acl.clone(), 0));
    let request = Request::GetAcl(GetAclRequest { path: "/a".into() });
    let shown = |server: &Server, client| match server.read_by(client, &request) {
        Ok(Response::GetAcl(answer)) => answer.acl,
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(&server, 1), acl);
    let masked = shown(&server, 2);
    assert_eq!((&*masked[0].id.id, &masked[1]), ("alice:x", &acl[1]));
    server.write(&create(
        "/write-only",
        b"",
        vec![Acl::new(Perms::WRITE, "world", "anyone")],
        0,
    ));
    let request = Request::GetAcl(GetAclRequest {
        path: "/write-only".into(),
    });
    assert_eq!(server.read(&request), Err(ErrorCode::NoAuth));
}

#[test]
fn nodes_below_are_counted() {
    let mut server = Server::new();
    for path in ["/a", "/a/b", "/a/b/c", "/a/d", "/ab"] {
        server.create(path, b"");
    }
    for (path, expected) in [
        ("/a", 3),
        ("/a/b", 1),
        ("/ab", 0),
        ("/", 8),
        ("", 9),
        ("/zookeeper", 2),
    ] {
        let request =
            Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path: path.into() });
        let Ok(Response::GetAllChildrenNumber(answer)) = server.read(&request) else {
            panic!("{path}");
        };
        assert_eq!(answer.total, expected, "{path}");
    }
}

#[test]
fn a_session_lists_its_own_ephemerals() {
    let mut server = Server::new();
    for path in ["/a1", "/a2", "/b"] {
        server.write(&create(path, b"", Acl::open(), 1));
    }
    for (client, prefix, expected) in [
        (1, "/", &["/a1", "/a2", "/b"][..]),
        (1, "", &["/a1", "/a2", "/b"]),
        (1, " ", &["/a1", "/a2", "/b"]),
        (1, "/a", &["/a1", "/a2"]),
        (1, "a", &[]),
        (2, "/", &[]),
    ] {
        let request = Request::GetEphemerals(GetEphemeralsRequest {
            prefix: prefix.into(),
        });
        let Ok(Response::GetEphemerals(answer)) = server.read_by(client, &request) else {
            panic!("{prefix}");
        };
        assert_eq!(answer.ephemerals, expected, "{client} {prefix:?}");
    }
}

#[test]
fn several_reads_have_an_answer_each() {
    let mut server = Server::new();
    server.create("/a", b"1");
    let get = |path: &str| {
        MultiOp::GetData(GetDataRequest {
            path: path.into(),
            watch: true,
        })
    };
    let list = MultiOp::GetChildren(GetChildrenRequest {
        path: "/".into(),
        watch: true,
    });
    let mut ops = vec![get("/a"), get("/b"), list];
    let request = Request::MultiRead(MultiRequest { ops: ops.clone() });
    let Ok(Response::Multi(answer)) = server.read(&request) else {
        panic!("no answer");
    };
    assert!(matches!(
        &answer.results[..],
        [MultiResult::GetData(data), MultiResult::Error(error), MultiResult::GetChildren(list)]
            if data.data.as_deref() == Some(b"1") && error.err == -101 && list.children.len() == 2
    ));
    assert_eq!(server.watches.get_mut().count(), 0);
    ops.push(MultiOp::Delete(DeleteRequest {
        path: "/a".into(),
        version: -1,
    }));
    assert_eq!(
        server.read(&Request::MultiRead(MultiRequest { ops })),
        Err(ErrorCode::MarshallingError)
    );
}

#[test]
fn one_frame_cannot_ask_for_more_than_an_answer_may_hold() {
    let mut server = Server::new();
    static BIG: [u8; 1 << 20] = [7; 1 << 20];
    server.create("/big", &BIG);
    let ask = |parts: usize| {
        let part = MultiOp::GetData(GetDataRequest {
            path: "/big".into(),
            watch: false,
        });
        let ops = vec![part; parts];
        Request::MultiRead(MultiRequest { ops })
    };
    let most = crate::limits::MAX_REPLY >> 20;
    assert_eq!(server.read(&ask(most)), Err(ErrorCode::MarshallingError));
    assert!(server.read(&ask(3)).is_ok());
}

#[test]
fn watches_are_checked_and_removed() {
    let mut server = Server::new();
    let check = |path: &str, kind| {
        let path = path.into();
        Request::CheckWatches(CheckWatchesRequest { path, kind })
    };
    let remove = |path: &str, kind| {
        let path = path.into();
        Request::RemoveWatches(RemoveWatchesRequest { path, kind })
    };
    server.read(&children("/")).unwrap();
    for (request, answer) in [
        (check("/", WatcherType::Children), Ok(Response::Empty)),
        (check("/", WatcherType::Data), Err(ErrorCode::NoWatcher)),
        (remove("/", WatcherType::Data), Err(ErrorCode::NoWatcher)),
        (remove("/x", WatcherType::Any), Err(ErrorCode::NoWatcher)),
        (remove("/", WatcherType::Any), Ok(Response::Empty)),
        (check("/", WatcherType::Any), Err(ErrorCode::NoWatcher)),
    ] {
        assert_eq!(server.read(&request), answer, "{request:?}");
    }
    assert_eq!(server.watches.get_mut().count(), 0);
    assert!(matches!(
        server.read(&Request::WhoAmI),
        Ok(Response::WhoAmI(_))
    ));
    assert_eq!(server.read(&delete("/")), Err(ErrorCode::Unimplemented));
}

/// A long list is handed out by reference, and never an old one.
#[test]
fn a_long_list_of_children_is_that_of_now() {
    let mut server = Server::new();
    server.create("/a", b"");
    let name = |n: usize| format!("child-with-a-long-name-{n:06}");
    let names = |server: &Server| match server.read(&children("/a")) {
        Ok(Response::GetChildren(answer)) => answer.children.len(),
        other => panic!("{other:?}"),
    };
    for n in 0..1000 {
        server.create(&format!("/a/{}", name(n)), b"");
    }
    assert_eq!(names(&server), 1000);
    let list = || server.tree.node("/a").unwrap().shared_children().unwrap();
    assert_eq!(list().as_ptr(), list().as_ptr(), "kept");
    server.create("/a/another", b"");
    assert_eq!(names(&server), 1001);
    server.write(&delete("/a/another"));
    server.write(&delete(&format!("/a/{}", name(0))));
    assert_eq!(names(&server), 999);
    for n in 1..1000 {
        server.write(&delete(&format!("/a/{}", name(n))));
    }
    assert_eq!(names(&server), 0);
    server.write(&delete("/a"));
    server.create("/b", b"");
    assert!(server.tree.node("/b").unwrap().shared_children().is_none());
}

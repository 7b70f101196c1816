//! G22 and G23: which watch hears of which write, in which order, and who is not told.

use zk_proto::{
    Acl, Perms,
    op::{
        AddWatchRequest, ExistsRequest, GetChildrenRequest, GetDataRequest, MultiOp, MultiRequest,
        SetAclRequest, SetWatches2Request, SetWatchesRequest,
    },
    watch::{AddWatchMode, EventType::*},
};

use super::*;

fn watch(server: &mut Server, client: u32, kind: &str, path: &str) {
    let watch = true;
    let path = path.into();
    let request = match kind {
        "data" => Request::GetData(GetDataRequest { path, watch }),
        "exists" => Request::Exists(ExistsRequest { path, watch }),
        "child" => Request::GetChildren(GetChildrenRequest { path, watch }),
        "persistent" => Request::AddWatch(AddWatchRequest {
            path,
            mode: AddWatchMode::Persistent,
        }),
        _ => Request::AddWatch(AddWatchRequest {
            path,
            mode: AddWatchMode::PersistentRecursive,
        }),
    };
    // Where there is no node only exists leaves a watch.
    let _answer = server.read_by(client, &request);
}

fn told(server: &mut Server) -> Vec<(EventType, String)> {
    let told = std::mem::take(&mut server.told);
    told.into_iter()
        .map(|(_, kind, path)| (kind, path))
        .collect()
}

type Told = &'static [(EventType, &'static str)];

/// A kind of watch on `/a`, whether there is such a node, a write, and what it and its like after it tell.
type Case = (&'static str, bool, fn() -> Request, Told, Told);

#[rustfmt::skip]
const CASES: [Case; 17] = {
    const SET: fn() -> Request = || set("/a", b"x");
    const DELETE: fn() -> Request = || delete("/a");
    const CREATE: fn() -> Request = || create("/a", b"", Acl::open(), 0);
    const ADD_CHILD: fn() -> Request = || create("/a/b", b"", Acl::open(), 2);
    const SET_ACL: fn() -> Request = || set_acl("/a");
    const CHANGED: Told = &[(NodeDataChanged, "/a")];
    const DELETED: Told = &[(NodeDeleted, "/a")];
    const CHILDREN: Told = &[(NodeChildrenChanged, "/a")];
    [
        ("exists",     false, CREATE,    &[(NodeCreated, "/a")],              &[]),
        ("data",       true,  SET,       CHANGED,                             &[]),
        ("exists",     true,  SET,       CHANGED,                             &[]),
        ("child",      true,  SET,       &[],                                 &[]),
        ("persistent", true,  SET,       CHANGED,                             CHANGED),
        ("recursive",  true,  SET,       CHANGED,                             CHANGED),
        ("data",       true,  DELETE,    DELETED,                             &[]),
        ("exists",     true,  DELETE,    DELETED,                             &[]),
        ("child",      true,  DELETE,    DELETED,                             &[]),
        ("persistent", true,  DELETE,    DELETED,                             &[]),
        ("recursive",  true,  DELETE,    DELETED,                             &[]),
        ("data",       true,  ADD_CHILD, &[],                                 &[]),
        ("child",      true,  ADD_CHILD, CHILDREN,                            &[]),
        ("persistent", true,  ADD_CHILD, CHILDREN,                            CHILDREN),
        ("recursive",  true,  ADD_CHILD, &[(NodeCreated, "/a/b0000000000")],  &[(NodeCreated, "/a/b0000000001")]),
        ("persistent", true,  SET_ACL,   &[],                                 &[]),
        ("recursive",  true,  SET_ACL,   &[],                                 &[]),
    ]
};

#[test]
fn every_watch_hears_of_every_write_as_apache_has_it() {
    for (kind, exists, request, first, second) in CASES {
        let mut server = Server::new();
        if exists {
            server.create("/a", b"");
        }
        watch(&mut server, 1, kind, "/a");
        for expected in [first, second] {
            server.write(&request());
            let expected: Vec<_> = expected
                .iter()
                .map(|(kind, path)| (*kind, (*path).to_owned()))
                .collect();
            assert_eq!(told(&mut server), expected, "{kind} {:?}", request());
        }
    }
}

fn set_acl(path: &str) -> Request {
    Request::SetAcl(SetAclRequest {
        path: path.into(),
        acl: Acl::open(),
        version: -1,
    })
}

#[test]
fn a_multi_tells_part_by_part() {
    let mut server = Server::new();
    server.create("/r", b"");
    watch(&mut server, 1, "persistent", "/r");
    watch(&mut server, 1, "recursive", "/r");
    let part = |request| match request {
        Request::Create(r) => MultiOp::Create(r),
        Request::SetData(r) => MultiOp::SetData(r),
        Request::Delete(r) => MultiOp::Delete(r),
        other => panic!("{other:?}"),
    };
    let ops = [
        create("/r/x", b"", Acl::open(), 0),
        set("/r/x", b"1"),
        delete("/r/x"),
    ];
    let ops: Vec<_> = ops.into_iter().map(part).collect();
    server.write(&Request::Multi(MultiRequest { ops: ops.clone() }));
    let x = || "/r/x".to_owned();
    let r = || "/r".to_owned();
    assert_eq!(
        told(&mut server),
        [
            (NodeCreated, x()),
            (NodeChildrenChanged, r()),
            (NodeDataChanged, x()),
            (NodeDeleted, x()),
            (NodeChildrenChanged, r()),
        ]
    );
    let failing = ops.into_iter().chain([part(delete("/nowhere"))]).collect();
    server.write(&Request::Multi(MultiRequest { ops: failing }));
    assert_eq!(told(&mut server), []);
}

#[test]
fn the_end_of_a_session_tells_node_by_node() {
    let mut server = Server::new();
    server.create("/e", b"");
    for name in ["/e/b", "/e/a"] {
        let applied = server.write(&create(name, b"", Acl::open(), 1));
        assert_eq!(applied.error(), ErrorCode::Ok);
    }
    watch(&mut server, 2, "child", "/e");
    watch(&mut server, 1, "persistent", "/e");
    watch(&mut server, 2, "exists", "/e/a");
    server.carry_out(1, WriteOp::CloseSession);
    let told: Vec<_> = std::mem::take(&mut server.told);
    let children = |client| (client, NodeChildrenChanged, "/e".to_owned());
    let deleted = (2, NodeDeleted, "/e/a".to_owned());
    assert_eq!(told.len(), 4);
    // The one-shot child watch hears of the first node only, the persistent one of both.
    assert!(told[..2].contains(&children(1)) && told[..2].contains(&children(2)));
    assert_eq!(told[2..], [deleted, children(1)]);
}

/// CVE-2024-23944; and a one-shot watch that may not be told is used up all the same.
#[test]
fn who_may_not_read_is_not_told() {
    let mut server = Server::new();
    server.create("/open", b"");
    watch(&mut server, 2, "recursive", "/open");
    let secret = create("/open/secret", b"", Acl::creator_all(), 0);
    assert_eq!(server.write(&secret).error(), ErrorCode::Ok);
    server.write(&set("/open/secret", b"x"));
    assert_eq!(server.told, []);
    // Left while it could be read, fires when it cannot.
    server.create("/closing", b"");
    watch(&mut server, 2, "data", "/closing");
    server.write(&Request::SetAcl(SetAclRequest {
        path: "/closing".into(),
        acl: Acl::creator_all(),
        version: -1,
    }));
    server.write(&set("/closing", b"x"));
    server.write(&Request::SetAcl(SetAclRequest {
        path: "/closing".into(),
        acl: Acl::open(),
        version: -1,
    }));
    server.write(&set("/closing", b"y"));
    server.write(&delete("/open/secret"));
    assert_eq!(server.told, []);
    server.write(&delete("/closing"));
    assert_eq!(server.told, []);
    // A node that its parent's readers may see.
    let acl = vec![Acl::new(Perms::READ, "world", "anyone")];
    server.write(&create("/open/seen", b"", acl, 0));
    assert_eq!(server.told, [(2, NodeCreated, "/open/seen".to_owned())]);
}

#[test]
fn a_reconnected_client_catches_up() {
    let mut server = Server::new();
    for path in ["/old", "/changed", "/parent"] {
        server.create(path, b"");
    }
    let since = server.zxid;
    server.write(&set("/changed", b"x"));
    server.create("/parent/new", b"");
    let paths = |paths: &[&'static str]| paths.iter().map(|path| (*path).into()).collect();
    let (data, exist) = (
        paths(&["/old", "/changed", "/gone"]),
        paths(&["/parent", "/absent"]),
    );
    let (child, persistent) = (paths(&["/parent", "/old", "/gone"]), paths(&["/changed"]));
    let mut fired = Vec::new();
    let request = Request::SetWatches2(SetWatches2Request {
        relative_zxid: since,
        data,
        exist,
        child,
        persistent,
        persistent_recursive: paths(&["/parent"]),
    });
    set_watches(
        &server.tree,
        &server.watches,
        ConnId(2),
        &request,
        |kind, path| {
            fired.push((kind, path.to_owned()));
        },
    );
    let event = |kind, path: &str| (kind, path.to_owned());
    assert_eq!(
        fired,
        [
            event(NodeDataChanged, "/changed"),
            event(NodeDeleted, "/gone"),
            event(NodeCreated, "/parent"),
            event(NodeChildrenChanged, "/parent"),
            event(NodeDeleted, "/gone"),
        ]
    );
    // What did not fire was left: two watches on /old, one on /absent; persistent ones in any case.
    assert_eq!(server.watches.get_mut().count(), 2 + 1 + 2 + 1);
    server.write(&delete("/old"));
    server.create("/absent", b"");
    server.write(&set("/changed", b"y"));
    server.write(&set("/parent/new", b"z"));
    let told: Vec<_> = server
        .told
        .iter()
        .map(|(_, kind, path)| (*kind, path.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (NodeDeleted, "/old"),
            (NodeCreated, "/absent"),
            (NodeDataChanged, "/changed"),
            (NodeDataChanged, "/parent/new"),
        ]
    );
}

#[test]
fn the_older_request_catches_up_alike() {
    let mut server = Server::new();
    server.create("/a", b"");
    let request = Request::SetWatches(SetWatchesRequest {
        relative_zxid: Zxid::ZERO,
        data: vec!["/a".into()],
        exist: vec!["/b".into()],
        child: vec!["/a".into()],
    });
    let mut fired = Vec::new();
    set_watches(
        &server.tree,
        &server.watches,
        ConnId(1),
        &request,
        |kind, _| fired.push(kind),
    );
    assert_eq!(fired, [NodeDataChanged, NodeChildrenChanged]);
    assert_eq!(server.watches.get_mut().count(), 1);
}

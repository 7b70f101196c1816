//! Single rules of applying: replays, multis, sessions, container and TTL nodes, and the answers' bytes.

use zk_proto::{
    op::{CreateTtlRequest, MultiOp, MultiRequest, MultiResult},
    txn::{CloseSessionTxn, CreateSessionTxn, CreateTxn, DeleteTxn, ErrorTxn, Txn, TxnHeader},
};

use super::{
    super::{
        CutNode, TreeBuilder,
        path::{CONFIG, QUOTA, ZOOKEEPER},
    },
    *,
};

#[test]
fn a_fresh_tree_is_apaches() {
    let tree = DataTree::new(&TreeOptions::default());
    assert_eq!(tree.digest(), zk_proto::persist::TreeDigest(0x51c6_d660));
    assert_eq!(tree.node_count(), 5);
    assert_eq!(tree.approximate_data_size(), 44);
    let config = tree.node(CONFIG).unwrap();
    assert_eq!(config.stat().aversion, -1);
    assert_eq!(config.acl().entries(), Acl::read_only());
    let names = |path: &str| -> Vec<String> {
        let children = tree.node(path).unwrap().children();
        children.map(|child| child.path()).collect()
    };
    assert_eq!(names("/"), ["/zookeeper"]);
    assert_eq!(names(""), ["/zookeeper"]);
    assert_eq!(names(ZOOKEEPER), [QUOTA, CONFIG]);
    let stat = tree.node("/").unwrap().stat();
    // Nobody ever created /zookeeper: one child, no create.
    assert_eq!((stat.cversion, stat.num_children), (-1, 1));
    for absent in [
        "zookeeper",
        "/zookeeper/",
        "//zookeeper",
        "/zookeeper/q",
        "/quota",
        "x",
    ] {
        assert!(tree.node(absent).is_none(), "{absent}");
    }
}

#[test]
fn a_members_own_configuration_is_no_transaction() {
    let mut tree = DataTree::new(&TreeOptions::default());
    let digest = tree.digest();
    tree.set_config("server.1=h:1:2:participant\nversion=0", Zxid::ZERO, 5);
    tree.set_config("server.1=h:1:2:participant\nversion=0", Zxid::ZERO, 9);
    let config = tree.node(CONFIG).unwrap();
    let stat = config.stat();
    // As Apache's members have it.
    assert_eq!((stat.version, stat.mzxid, stat.mtime), (-1, Zxid::ZERO, 5));
    assert!(config.data().unwrap().ends_with(b"version=0"));
    assert_eq!((tree.digest(), tree.last_zxid()), (digest, Zxid::ZERO));
    let txn = Txn::Reconfig(zk_proto::txn::SetDataTxn {
        path: CONFIG.into(),
        data: Some(Bytes::from_static(b"version=100000007")),
        version: -1,
    });
    apply(&mut tree, 0x1_0000_0007, &txn);
    tree.set_config("server.1=h:1:2:participant\nversion=0", Zxid::ZERO, 11);
    let config = tree.node(CONFIG).unwrap();
    assert_eq!(
        config.data(),
        Some(&b"version=100000007"[..]),
        "a later one stays"
    );
}

fn apply(tree: &mut DataTree, zxid: i64, txn: &Txn) -> Applied {
    let header = TxnHeader {
        client_id: SessionId(7),
        cxid: Xid(1),
        zxid: Zxid(zxid),
        time: zxid,
        kind: txn.op_code().code(),
    };
    tree.apply(&header, txn, &mut Effects::new())
}

fn created(path: &str, parent_cversion: i32) -> Txn {
    Txn::Create(CreateTxn {
        path: path.into(),
        data: None,
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion,
    })
}

/// ZOOKEEPER-3125, 3249: what is replayed over a later state does not take it back.
#[test]
fn a_replayed_create_or_delete_lowers_nothing() {
    let mut tree = DataTree::new(&TreeOptions::default());
    apply(&mut tree, 1, &created("/p", 1));
    apply(&mut tree, 5, &created("/p/later", 3));
    let before = tree.node("/p").unwrap().stat_persisted();
    assert_eq!((before.cversion, before.pzxid), (3, Zxid(5)));
    apply(&mut tree, 2, &created("/p/early", 1));
    let gone = Txn::Delete(DeleteTxn {
        path: "/p/early".into(),
    });
    apply(&mut tree, 3, &gone);
    assert_eq!(
        apply(&mut tree, 4, &gone),
        Applied::Error(ErrorCode::NoNode)
    );
    assert_eq!(tree.node("/p").unwrap().stat_persisted(), before);
    assert_eq!(tree.last_zxid(), Zxid(5));
    // The node is there, but its parent was caught before it counted it.
    let caught = apply(&mut tree, 9, &created("/p/later", 7));
    assert_eq!(caught, Applied::Error(ErrorCode::NodeExists));
    let after = tree.node("/p").unwrap().stat_persisted();
    assert_eq!((after.cversion, after.pzxid), (7, Zxid(9)));
    // Logs before 3.4 do not say.
    apply(&mut tree, 10, &created("/p/old", -1));
    assert_eq!(tree.node("/p").unwrap().stat_persisted().cversion, 8);
}

/// A parent whose children were created after its delete, which is replayed.
#[test]
fn a_replayed_delete_takes_what_is_below_with_it() {
    let mut tree = DataTree::new(&TreeOptions::default());
    let empty = tree.digest();
    for (zxid, path) in [(1, "/p"), (2, "/p/a"), (3, "/p/a/b"), (4, "/p/c")] {
        apply(&mut tree, zxid, &created(path, 1));
    }
    let delete = Txn::Delete(DeleteTxn { path: "/p".into() });
    assert_eq!(apply(&mut tree, 5, &delete), Applied::Deleted);
    assert_eq!(tree.node_count(), 5);
    assert_eq!(tree.approximate_data_size(), 44);
    assert!(tree.node("/p/a/b").is_none());
    assert_ne!(tree.digest(), empty, "the root has changed");
}

#[test]
fn sequence_numbers_count_creates_and_stay_at_the_largest() {
    let mut server = Server::new();
    server.create("/s", b"");
    let path_of = |applied: Applied| match applied {
        Applied::Created { path, .. } => path.to_string(),
        other => panic!("{other:?}"),
    };
    let next = create("/s/n-", b"", Acl::open(), 2);
    assert_eq!(path_of(server.write(&next)), "/s/n-0000000000");
    server.create("/s/other", b"");
    server.write(&delete("/s/other"));
    assert_eq!(path_of(server.write(&next)), "/s/n-0000000002");
    let failing = MultiRequest {
        ops: vec![
            MultiOp::Create(CreateRequest {
                path: "/s/n-".into(),
                data: None,
                acl: Acl::open(),
                flags: 2,
            }),
            MultiOp::Delete(DeleteRequest {
                path: "/none".into(),
                version: -1,
            }),
        ],
    };
    server.write(&Request::Multi(failing));
    assert_eq!(path_of(server.write(&next)), "/s/n-0000000003");
    server.zxid = Zxid(100);
    apply(&mut server.tree, 100, &created("/s/jump", i32::MAX - 1));
    assert_eq!(path_of(server.write(&next)), "/s/n-2147483646");
    assert_eq!(path_of(server.write(&next)), "/s/n-2147483647");
    let stuck = server.write(&next);
    assert_eq!(stuck, Applied::Error(ErrorCode::NodeExists));
}

#[test]
fn a_failed_multi_answers_in_apaches_shape() {
    let mut server = Server::new();
    let ops = [
        create("/a", b"", Acl::open(), 0),
        delete("/none"),
        set("/a", b"x"),
    ];
    let ops = ops.into_iter().map(|request| match request {
        Request::Create(r) => MultiOp::Create(r),
        Request::Delete(r) => MultiOp::Delete(r),
        Request::SetData(r) => MultiOp::SetData(r),
        other => panic!("{other:?}"),
    });
    let ops: Vec<_> = ops.collect();
    let applied = server.write(&Request::Multi(MultiRequest { ops: ops.clone() }));
    assert_eq!(applied.error(), ErrorCode::Ok);
    let mut out = BytesMut::new();
    applied.encode_reply(&mut out);
    let expected = concat!(
        "ffffffff0000000000",
        "00000000", // the create would have been fine
        "ffffffff00ffffff9b",
        "ffffff9b", // -101
        "ffffffff00fffffffe",
        "fffffffe", // -2
        "ffffffff01ffffffff",
    );
    assert_eq!(hex(&out), expected);
    assert!(server.tree.node("/a").is_none());

    let good = vec![ops[0].clone(), ops[2].clone()];
    let applied = server.write(&Request::Multi(MultiRequest { ops: good }));
    out.clear();
    applied.encode_reply(&mut out);
    let Response::Multi(answer) = decoded(OpCode::Multi, &out) else {
        panic!("no multi");
    };
    assert!(matches!(
        &answer.results[..],
        [MultiResult::Create(a), MultiResult::SetData(b)] if a.path == "/a" && b.stat.version == 1
    ));
    let empty = server.write(&Request::Multi(MultiRequest::default()));
    out.clear();
    empty.encode_reply(&mut out);
    assert_eq!(hex(&out), "ffffffff01ffffffff");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The log has the real parts before the failing one.
#[test]
fn the_parts_before_a_failed_one_are_passed_over() {
    let mut tree = DataTree::new(&TreeOptions::default());
    let failed = Txn::Error(ErrorTxn { err: -110 });
    let after = Txn::Error(ErrorTxn { err: -2 });
    let multi = Txn::Multi(vec![created("/m", 1), failed, after, created("/n", 2)]);
    let codes = [
        ErrorCode::Ok,
        ErrorCode::NodeExists,
        ErrorCode::RuntimeInconsistency,
        ErrorCode::RuntimeInconsistency,
    ];
    let expected = codes.map(Applied::Error).to_vec();
    assert_eq!(apply(&mut tree, 1, &multi), Applied::Multi(expected));
    assert!(tree.node("/m").is_none() && tree.node("/n").is_none());
}

#[test]
fn a_session_ends_with_the_list_and_with_what_else_it_owns() {
    for body in [None, Some(vec![]), Some(vec!["/e1", "/gone", "/e2"])] {
        let mut tree = DataTree::new(&TreeOptions::default());
        let session = Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 });
        assert_eq!(apply(&mut tree, 1, &session), Applied::SessionCreated);
        assert_eq!(tree.session_timeout(SessionId(7)), Some(4000));
        for (zxid, path) in [(2, "/e1"), (3, "/e2")] {
            let Txn::Create(txn) = created(path, 1) else {
                panic!("no create");
            };
            let ephemeral = true;
            apply(
                &mut tree,
                zxid,
                &Txn::Create(CreateTxn { ephemeral, ..txn }),
            );
        }
        assert_eq!(tree.ephemeral_count(), 2);
        assert_eq!(
            tree.ephemeral_sessions().collect::<Vec<_>>(),
            [SessionId(7)]
        );
        let close = Txn::CloseSession(body.map(|paths| CloseSessionTxn {
            paths_to_delete: paths.into_iter().map(Into::into).collect(),
        }));
        for zxid in [4, 5] {
            assert_eq!(apply(&mut tree, zxid, &close), Applied::SessionClosed);
            assert_eq!((tree.node_count(), tree.ephemeral_count()), (5, 0));
            assert_eq!(tree.sessions().len(), 0);
        }
    }
}

#[test]
fn the_server_reaps_what_is_not_needed() {
    let mut server = Server::new();
    let container = |path: &str| {
        Request::CreateContainer(CreateRequest {
            path: path.into(),
            data: None,
            acl: Acl::open(),
            flags: 4,
        })
    };
    let ttl = |path: &str, ttl_ms| {
        Request::CreateTtl(CreateTtlRequest {
            path: path.into(),
            data: None,
            acl: Acl::open(),
            flags: 5,
            ttl_ms,
        })
    };
    for request in [
        container("/unused"),
        container("/full"),
        container("/emptied"),
        ttl("/ttl", 100),
        ttl("/ttl-full", 100),
        create("/emptied/x", b"", Acl::open(), 0),
        create("/full/x", b"", Acl::open(), 0),
        create("/ttl-full/x", b"", Acl::open(), 0),
        delete("/emptied/x"),
    ] {
        assert_eq!(server.write(&request).error(), ErrorCode::Ok);
    }
    let due = |server: &Server, now_ms, never_used_ms| {
        let mut due: Vec<_> = server.tree.reapable(now_ms, never_used_ms).collect();
        due.sort();
        due
    };
    assert_eq!(due(&server, 100, 0), ["/emptied"]);
    assert_eq!(due(&server, 101, 101), ["/emptied", "/ttl"]);
    assert_eq!(due(&server, 102, 101), ["/emptied", "/ttl", "/unused"]);
    // What clients see of them, and what is kept.
    let node = server.tree.node("/ttl").unwrap();
    assert_eq!(node.stat().ephemeral_owner, SessionId::NONE);
    assert_eq!(
        node.stat_persisted().ephemeral_owner.cast_unsigned() >> 56,
        0xff
    );
    server.clock_ms = 1;
    server.create("/plain", b"");
    for (path, now_ms, error) in [
        ("/emptied", 1, ErrorCode::Ok),
        ("/emptied", 1, ErrorCode::NoNode),
        ("/full", 1, ErrorCode::NotEmpty),
        ("/ttl", 100, ErrorCode::BadVersion),
        ("/ttl", 101, ErrorCode::Ok),
        ("/plain", 1, ErrorCode::BadVersion),
    ] {
        server.clock_ms = now_ms;
        let applied = server.carry_out(2, WriteOp::DeleteContainer(path));
        assert_eq!(applied.error(), error, "{path}");
    }
}

#[test]
fn every_128th_digest_is_kept() {
    let mut tree = DataTree::new(&TreeOptions::default());
    let last = 128 * 1030;
    for zxid in 1..=last {
        apply(&mut tree, zxid, &Txn::Error(ErrorTxn { err: -1 }));
    }
    let log: Vec<_> = tree.digest_log().map(|(zxid, _)| zxid.0).collect();
    assert_eq!((log[0], log.len()), (128 * 7, 1024));
    assert_eq!(tree.digest_log().last(), Some((Zxid(last), tree.digest())));
}

#[test]
fn ttl_nodes_of_353_are_known_where_that_is_asked_for() {
    let owner = SessionId(i64::MIN | 1000);
    for (emulate, seen_owner, due) in [(true, SessionId::NONE, &["/old"][..]), (false, owner, &[])]
    {
        let options = TreeOptions {
            extended_types: true,
            emulate_353_ttl: emulate,
            ..TreeOptions::default()
        };
        let mut builder = TreeBuilder::new(&options);
        for (path, owner) in [("", 0), ("/old", owner.0)] {
            let stat = zk_proto::stat::StatPersisted {
                ephemeral_owner: owner,
                ..Default::default()
            };
            let node = CutNode {
                path,
                data: None,
                acl: zk_proto::persist::OPEN_ACL_ID,
                stat,
            };
            builder.node(&node).unwrap();
        }
        let tree = builder.finish(Zxid(1)).unwrap();
        assert_eq!(
            tree.node("/old").unwrap().stat().ephemeral_owner,
            seen_owner
        );
        assert_eq!(tree.reapable(1000, 0).count(), 0, "not yet");
        assert_eq!(tree.reapable(1001, 0).collect::<Vec<_>>(), due);
    }
}

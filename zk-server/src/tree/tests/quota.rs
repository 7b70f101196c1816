//! Quotas end to end: the stats follow the tree, and hard limits refuse.

use super::*;

fn stats(server: &Server) -> String {
    let node = server
        .tree
        .node("/zookeeper/quota/q/zookeeper_stats")
        .unwrap();
    String::from_utf8(node.data().unwrap().to_vec()).unwrap()
}

fn limited(limits: &'static [u8]) -> Server {
    let mut server = Server::with(PrepOptions {
        enforce_quota: true,
        ..PrepOptions::default()
    });
    server.create("/q", b"12345");
    server.create("/q/below", b"678");
    server.create("/zookeeper/quota/q", b"");
    server.create("/zookeeper/quota/q/zookeeper_limits", limits);
    server.create("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0");
    server
}

#[test]
fn stats_follow_the_tree() {
    let mut server = limited(b"count=1,bytes=1");
    assert_eq!(stats(&server), "count=2,bytes=8");
    let version = server.stat("/zookeeper/quota/q/zookeeper_stats").version;
    server.create("/q/more", b"ab");
    assert_eq!(stats(&server), "count=3,bytes=10");
    server.write(&set("/q/more", b"abcdef"));
    assert_eq!(stats(&server), "count=3,bytes=14");
    server.write(&delete("/q/below"));
    assert_eq!(stats(&server), "count=2,bytes=11");
    server.create("/other", b"xyz");
    assert_eq!(stats(&server), "count=2,bytes=11");
    assert_eq!(
        server.stat("/zookeeper/quota/q/zookeeper_stats").version,
        version
    );
    server.write(&delete("/zookeeper/quota/q/zookeeper_limits"));
    server.create("/q/unlimited", b"xyz");
    assert_eq!(stats(&server), "count=2,bytes=11");
}

#[test]
fn hard_limits_refuse_and_soft_ones_do_not() {
    let mut server = limited(b"count=1,bytes=1=;byteHardLimit=10;countHardLimit=3");
    for (request, error) in [
        (
            create("/q/big", b"abc", Acl::open(), 0),
            ErrorCode::QuotaExceeded,
        ),
        (set("/q", b"12345678"), ErrorCode::QuotaExceeded),
        (set("/q", b"1234567"), ErrorCode::Ok),
        (set("/q", b""), ErrorCode::Ok),
        (create("/q/third", b"abc", Acl::open(), 0), ErrorCode::Ok),
        (
            create("/q/fourth", b"", Acl::open(), 0),
            ErrorCode::QuotaExceeded,
        ),
        (
            create("/elsewhere", b"abcdefghijklmn", Acl::open(), 0),
            ErrorCode::Ok,
        ),
        (delete("/q/third"), ErrorCode::Ok),
        (create("/q/fourth", b"", Acl::open(), 0), ErrorCode::Ok),
    ] {
        assert_eq!(server.write(&request).error(), error, "{request:?}");
    }
}

#[test]
fn a_restored_tree_knows_its_quotas() {
    let mut server = limited(b"count=-1,bytes=-1=;countHardLimit=2");
    let mut builder = super::super::TreeBuilder::new(server.tree.options());
    let cut = server.tree.begin_cut();
    for (number, acl) in &cut.acls {
        builder.acl(*number, acl.entries().to_vec());
    }
    while server
        .tree
        .walk_cut(&cut, 1, |node| builder.node(&node).unwrap())
    {}
    server.tree.end_cut(cut);
    server.tree = builder.finish(server.zxid).unwrap();
    assert_eq!(stats(&server), "count=2,bytes=8");
    let refused = server.write(&create("/q/more", b"", Acl::open(), 0));
    assert_eq!(refused.error(), ErrorCode::QuotaExceeded);
}

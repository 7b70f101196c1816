//! Transactions that are longer than one may be.

use zk_proto::op::{CreateRequest, MultiOp, MultiRequest};

use super::*;

fn server() -> Server {
    Server::with(PrepOptions {
        max_txn: 1000,
        ..PrepOptions::default()
    })
}

#[test]
fn what_is_too_long_is_refused_and_leaves_nothing() {
    let mut server = server();
    let part = |path: &str| {
        MultiOp::Create(CreateRequest {
            path: path.into(),
            data: Some(Bytes::from_static(&[7; 400])),
            acl: Acl::open(),
            flags: 0,
        })
    };
    let multi = |paths: &[&str]| {
        let ops = paths.iter().map(|path| part(path)).collect();
        Request::Multi(MultiRequest { ops })
    };
    for request in [
        create("/a", &[7; 1000], Acl::open(), 0),
        multi(&["/a", "/b", "/c"]),
    ] {
        let refused = server.write(&request).error();
        assert_eq!(refused, ErrorCode::MarshallingError);
    }
    assert_eq!(server.write(&multi(&["/a", "/b"])).error(), ErrorCode::Ok);
}

#[test]
fn a_session_ends_however_many_nodes_it_has() {
    let mut server = server();
    for n in 0..40 {
        let path = format!("/the-node-with-the-number-{n}");
        let made = server.write(&create(&path, b"", Acl::open(), 1));
        assert_eq!(made.error(), ErrorCode::Ok);
    }
    assert_eq!(server.tree.ephemeral_count(), 40);
    server.carry_out(1, WriteOp::CloseSession);
    assert_eq!(server.tree.ephemeral_count(), 0);
}

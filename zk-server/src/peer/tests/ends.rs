//! Many sessions ending at once.

use zk_proto::{
    OpCode,
    txn::{CreateTxn, Txn, TxnHeader},
};

use super::{super::sessions::END_AT_ONCE, *};

#[test]
fn a_mass_of_sessions_ends_in_slices_each_with_its_node() {
    let mut world = World::new();
    let count = 2 * END_AT_ONCE + 1;
    let conns: Vec<_> = (0..count)
        .map(|_| {
            let conn = world.accept();
            world.ask_for_session(&conn, SessionId::NONE, Password::zero());
            conn
        })
        .collect();
    world.sync();
    for (i, conn) in conns.iter().enumerate() {
        response(conn);
        let path = format!("/n{i}");
        world.submit(conn, 1, vec![create(&path, CreateMode::Ephemeral)]);
    }
    world.sync();
    world.later(Duration::from_secs(60));
    let mut slices = Vec::new();
    while world
        .peer
        .next_deadline()
        .is_some_and(|at| at <= world.now.mono)
    {
        world.handle(Input::Deadline);
        slices.push(world.ops.len());
        // Others' requests come between, and the disk is slow: nothing is applied yet.
        world.later(Duration::from_millis(1));
    }
    let ended = [END_AT_ONCE, 2 * END_AT_ONCE, count];
    assert!(
        slices.starts_with(&ended) && slices.ends_with(&[count]),
        "{slices:?}"
    );
    world.sync();
    let tree = world.shared.tree.read();
    assert_eq!((tree.sessions().len(), tree.ephemeral_count()), (0, 0));
    assert_eq!(world.shared.metrics.digest_mismatches.get(), 0);
}

#[test]
fn nodes_whose_session_is_not_known_go_at_the_start() {
    let mut world = World::on(&[], LocalSessions::Off, |tree| {
        let header = TxnHeader {
            client_id: SessionId(77),
            cxid: Xid(1),
            zxid: Zxid(1),
            time: 0,
            kind: OpCode::Create.code(),
        };
        let txn = Txn::Create(CreateTxn {
            path: "/orphan".into(),
            data: None,
            acl: Acl::open(),
            ephemeral: true,
            parent_cversion: 1,
        });
        tree.apply(&header, &txn, &mut Effects::new());
        assert_eq!(tree.ephemeral_count(), 1);
    });
    assert!(world.peer.next_deadline().unwrap() <= world.now.mono);
    world.handle(Input::Deadline);
    world.sync();
    let tree = world.shared.tree.read();
    assert!(tree.node("/orphan").is_none());
    assert_eq!((tree.last_zxid(), tree.ephemeral_count()), (Zxid(2), 0));
}

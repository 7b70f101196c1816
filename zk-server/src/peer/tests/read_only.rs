//! A member of three that finds no quorum.

use zk_proto::{
    Epoch,
    quorum::{Notification, ServerState},
};

use super::*;
use crate::{
    election,
    reconfig::{Configuration, Configurations},
    zab::{COUNTER_MAX, ZabConfig},
};

/// Server 1 of three, and a session of the ensemble's; alone for `read_only`'s grace if that is on; a tick is two seconds.
fn lonely(read_only: bool) -> (World, SessionId) {
    let mut world = World::new();
    let (_, granted) = world.connect();
    let global = granted.session_id;
    // Ids are made of the time.
    world.now.wall_ms += 1000;
    let three = "server.1=h:1:2\nserver.2=h:3:4\nserver.3=h:5:6";
    let three = Configuration::parse(three).unwrap();
    let second = Duration::from_secs(1);
    let config = ZabConfig {
        me: ServerId(1),
        configurations: Configurations::new(ServerId(1), three, false),
        tick: 2 * second,
        init_limit: 20 * second,
        sync_limit: 10 * second,
        connect_retry: second / 200,
        counter_max: COUNTER_MAX,
    };
    let options = PeerOptions {
        read_only,
        ..options(&Config::default(), LocalSessions::Off)
    };
    let (shared, now) = (world.shared.clone(), world.now);
    world.peer = Peer::among(options, shared, now, config, Epochs::default());
    world.handle(Input::Quorum(QuorumInput::Start));
    world.sync();
    world.later(2 * second);
    world.handle(Input::Deadline);
    (world, global)
}

fn connect(world: &mut World, session_id: SessionId, read_only: Option<bool>) -> Arc<ConnHandle> {
    let conn = world.accept();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 10_000,
        session_id,
        password: Passwords::Apache.password(session_id),
        read_only,
    };
    world.handle(Input::Submit(Submit::Connect {
        conn: conn.clone(),
        request,
    }));
    conn
}

fn mode(world: &World) -> Option<&'static str> {
    *world.shared.mode.read()
}

#[test]
fn only_clients_that_can_do_with_reads_are_let_in_and_only_with_sessions_of_this_members() {
    let (mut world, global) = lonely(true);
    assert_eq!(mode(&world), Some("read-only"));
    for read_only in [None, Some(false)] {
        let refused = connect(&mut world, SessionId::NONE, read_only);
        assert!(refused.outbox.is_closing(), "{read_only:?}");
        assert_eq!(seen(&refused), [], "without a word");
    }
    let known = connect(&mut world, global, Some(true));
    assert!(known.outbox.is_closing() && seen(&known).is_empty());
    let made_by = |server: i64| SessionId(server << 56 | 77);
    let unknown = connect(&mut world, made_by(1), Some(true));
    assert_eq!(response(&unknown).session_id, SessionId::NONE, "expired");
    // It may be alive, and made when this member was cut off already.
    let of_another = connect(&mut world, made_by(2), Some(true));
    assert!(of_another.outbox.is_closing() && seen(&of_another).is_empty());

    let conn = connect(&mut world, SessionId::NONE, Some(true));
    let granted = response(&conn);
    assert_eq!(granted.read_only, Some(true));
    let again = connect(&mut world, granted.session_id, Some(true));
    assert_eq!(response(&again).session_id, granted.session_id);
    assert!(conn.outbox.is_closing(), "the session has moved");
    assert_eq!(world.ops.len(), 0, "nothing is logged");
}

#[test]
fn what_needs_a_quorum_is_refused_and_reads_keep_their_place() {
    let (mut world, global) = lonely(true);
    let conn = connect(&mut world, SessionId::NONE, Some(true));
    response(&conn);
    let exists = Request::Exists(ExistsRequest {
        path: "/".into(),
        watch: false,
    });
    let sync = Request::Sync(SyncRequest { path: "/".into() });
    let requests = vec![
        create("/a", CreateMode::Persistent),
        exists.clone(),
        sync,
        exists,
        Request::CloseSession,
    ];
    world.submit(&conn, 1, requests);
    let refused = ErrorCode::NotReadOnly.code();
    let expected = [(1, refused), (2, 0), (3, refused), (4, 0), (5, 0)];
    assert_eq!(seen(&conn), expected);
    assert!(conn.outbox.is_closing());
    let tree = world.shared.tree.read();
    assert_eq!(tree.last_zxid(), Zxid(1), "no zxid moves (ZOOKEEPER-3526)");
    assert!(tree.session_timeout(global).is_some(), "ZOOKEEPER-3864");
}

#[test]
fn a_silent_client_is_forgotten_and_the_ensembles_are_not() {
    let (mut world, global) = lonely(true);
    let conn = connect(&mut world, SessionId::NONE, Some(true));
    let granted = response(&conn);
    world.later(Duration::from_secs(60));
    world.handle(Input::Deadline);
    assert!(conn.outbox.is_closing());
    let again = connect(&mut world, granted.session_id, Some(true));
    assert_eq!(response(&again).session_id, SessionId::NONE);
    assert_eq!(world.ops.len(), 0);
    let tree = world.shared.tree.read();
    assert!(tree.session_timeout(global).is_some());
}

#[test]
fn a_leader_ends_it() {
    let (mut world, _) = lonely(true);
    let conn = connect(&mut world, SessionId::NONE, Some(true));
    response(&conn);
    for (server, state) in [(2, ServerState::Following), (3, ServerState::Leading)] {
        let notification = Notification {
            state,
            leader: ServerId(3),
            zxid: Zxid(1),
            round: 9,
            peer_epoch: Epoch(1),
            config: None,
        };
        let from = ServerId(server);
        let input = election::Input::Notification { from, notification };
        world.handle(Input::Quorum(QuorumInput::Election(input)));
    }
    assert_eq!(mode(&world), None, "it follows, and has not synced yet");
    assert!(conn.outbox.is_closing());
}

#[test]
fn nobody_is_served_where_it_is_not_configured() {
    let (mut world, _) = lonely(false);
    assert_eq!(mode(&world), None);
    let conn = connect(&mut world, SessionId::NONE, Some(true));
    assert!(conn.outbox.is_closing() && seen(&conn).is_empty());
}

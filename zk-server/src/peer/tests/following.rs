//! A member that follows, and what its clients and its leader ask of it.

use zk_proto::{
    Encode as _, Epoch,
    quorum::{LearnerMessage, Notification, PROTOCOL_VERSION, ServerState, SessionTouch},
    txn::{ErrorTxn, Txn, TxnHeader, TxnLogEntry},
};

use super::*;
use crate::{
    election,
    reconfig::{Configuration, Configurations},
    zab::{COUNTER_MAX, LearnerInput, LinkId, ZabConfig},
};

/// Server 1 follows server 2.
fn following(local_sessions: LocalSessions) -> (World, LinkId) {
    let mut world = World::new();
    let two = Configuration::parse("server.1=h:1:2\nserver.2=h:3:4").unwrap();
    let second = Duration::from_secs(1);
    let config = ZabConfig {
        me: ServerId(1),
        configurations: Configurations::new(ServerId(1), two, false),
        tick: 2 * second,
        init_limit: 20 * second,
        sync_limit: 10 * second,
        connect_retry: second / 200,
        counter_max: COUNTER_MAX,
    };
    let options = options(&Config::default(), local_sessions);
    let (shared, now) = (world.shared.clone(), world.now);
    world.peer = Peer::among(options, shared, now, config, Epochs::default());
    world.handle(Input::Quorum(QuorumInput::Start));
    world.sync();
    let from = ServerId(2);
    let notification = Notification {
        state: ServerState::Looking,
        leader: from,
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: Epoch(0),
        config: None,
    };
    let input = election::Input::Notification { from, notification };
    world.handle(Input::Quorum(QuorumInput::Election(input)));
    world.sync();
    let connects = |world: &World| {
        world.orders.iter().find_map(|order| match order {
            Order::Connect { link, .. } => Some(*link),
            _ => None,
        })
    };
    for _ in 0..20 {
        if connects(&world).is_some() {
            break;
        }
        world.later(second / 10);
        world.handle(Input::Deadline);
        world.sync();
    }
    let link = connects(&world).expect("it has elected server 2");
    tell(&mut world, link, LearnerInput::Connected);
    let epoch = Epoch(1);
    let protocol_version = PROTOCOL_VERSION;
    let new_leader = Zxid::new(epoch, 0);
    for message in [
        LearnerMessage::LeaderInfo {
            epoch,
            protocol_version,
        },
        LearnerMessage::Diff(Zxid::ZERO),
        LearnerMessage::NewLeader {
            zxid: new_leader,
            config: None,
        },
        LearnerMessage::UpToDate,
    ] {
        hear(&mut world, link, message);
    }
    assert_eq!(*world.shared.mode.read(), Some("follower"));
    world.orders.clear();
    (world, link)
}

fn tell(world: &mut World, link: LinkId, input: LearnerInput) {
    world.handle(Input::Quorum(QuorumInput::Learner { link, input }));
    world.sync();
}

fn hear(world: &mut World, link: LinkId, message: LearnerMessage) {
    tell(world, link, LearnerInput::Message(message));
}

/// What the leader was told since the last time.
fn told(world: &mut World) -> Vec<LearnerMessage> {
    let orders = std::mem::take(&mut world.orders);
    let told = orders.into_iter().filter_map(|order| match order {
        Order::Tell(message) => Some(message),
        _ => None,
    });
    told.collect()
}

/// A client comes with a session that the leader knows.
fn come(world: &mut World, session: SessionId) -> Arc<ConnHandle> {
    let conn = world.accept();
    world.ask_for_session(&conn, session, Passwords::Apache.password(session));
    let asked = told(world);
    let [LearnerMessage::Revalidate(touch)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(touch.session, session);
    conn
}

fn resume(world: &mut World, link: LinkId, session: SessionId) -> Arc<ConnHandle> {
    let conn = come(world, session);
    let valid = true;
    hear(world, link, LearnerMessage::Revalidated { session, valid });
    assert_eq!(response(&conn).session_id, session);
    conn
}

const SESSION: SessionId = SessionId(2 << 56 | 7);

#[test]
fn a_connection_that_is_gone_when_the_leader_answers_takes_nobodys_place() {
    let (mut world, link) = following(LocalSessions::On);
    let gone = come(&mut world, SESSION);
    let conn = gone.clone();
    world.handle(Input::Submit(Submit::Closed { conn }));
    let next = world.accept();
    assert_eq!(next.id, gone.id, "the next one gets its id");
    world.ask_for_session(&next, SessionId::NONE, Password::zero());
    assert_ne!(response(&next).session_id, SessionId::NONE);
    let (session, valid) = (SESSION, true);
    hear(
        &mut world,
        link,
        LearnerMessage::Revalidated { session, valid },
    );
    told(&mut world);
    world.submit(&next, 1, vec![create("/a", CreateMode::Persistent)]);
    assert!(
        matches!(told(&mut world)[..], [LearnerMessage::Request { .. }]),
        "what it writes goes to the leader"
    );
}

#[test]
fn what_comes_late_over_a_sessions_older_connection_goes_nowhere() {
    let (mut world, link) = following(LocalSessions::Off);
    let old = resume(&mut world, link, SESSION);
    // Meanwhile its client may have been elsewhere, and seen what became of what it had sent.
    let new = come(&mut world, SESSION);
    world.submit(&old, 1, vec![create("/late", CreateMode::Persistent)]);
    assert_eq!(told(&mut world), []);
    let (session, valid) = (SESSION, true);
    hear(
        &mut world,
        link,
        LearnerMessage::Revalidated { session, valid },
    );
    world.submit(&new, 1, vec![create("/new", CreateMode::Persistent)]);
    assert!(matches!(
        told(&mut world)[..],
        [LearnerMessage::Request { .. }]
    ));
}

#[test]
fn nothing_behind_a_request_that_gets_no_answer_is_answered() {
    let (mut world, link) = following(LocalSessions::Off);
    let conn = resume(&mut world, link, SESSION);
    let watch = world.shared.watches.lock().count();
    let requests = vec![set("/a"), get("/", true), exists("/b")];
    world.submit(&conn, 1, requests);
    let asked = told(&mut world);
    let [LearnerMessage::Request { .. }] = &asked[..] else {
        panic!("{asked:?}");
    };
    let zxid = Zxid::new(Epoch(1), 1);
    let txn = Txn::Error(ErrorTxn {
        err: ErrorCode::SessionMoved.code(),
    });
    let header = TxnHeader {
        client_id: SESSION,
        cxid: Xid(1),
        zxid,
        time: 0,
        kind: txn.op_code().code(),
    };
    let digest = None;
    let entry = TxnLogEntry {
        header,
        txn,
        digest,
    };
    let entry = entry.to_bytes();
    hear(&mut world, link, LearnerMessage::Proposal { zxid, entry });
    hear(&mut world, link, LearnerMessage::Commit(zxid));
    assert_eq!(world.shared.tree.read().last_zxid(), zxid);
    assert!(conn.outbox.is_closing());
    assert_eq!(seen(&conn), [], "the client counts answers");
    assert_eq!(world.shared.watches.lock().count(), watch);
}

/// ZOOKEEPER-710: the leader heard late of a connection that was given up, and takes the session for that server's.
#[test]
fn who_is_told_that_its_session_has_moved_is_not_answered_and_has_to_come_again() {
    let moved = || {
        let err = ErrorCode::SessionMoved.code();
        Txn::Error(ErrorTxn { err })
    };
    let other = || {
        let err = ErrorCode::NoNode.code();
        Txn::Error(ErrorTxn { err })
    };
    // A multi is told it of each of its operations.
    for (txn, ends) in [
        (moved(), true),
        (Txn::Multi(vec![moved(), moved()]), true),
        (other(), false),
    ] {
        let (mut world, link) = following(LocalSessions::Off);
        let conn = resume(&mut world, link, SESSION);
        world.submit(&conn, 1, vec![set("/a"), get("/a", false)]);
        let zxid = Zxid::new(Epoch(1), 1);
        let header = TxnHeader {
            client_id: SESSION,
            cxid: Xid(1),
            zxid,
            time: 0,
            kind: txn.op_code().code(),
        };
        let digest = None;
        let entry = TxnLogEntry {
            header,
            txn,
            digest,
        };
        let entry = entry.to_bytes();
        hear(&mut world, link, LearnerMessage::Proposal { zxid, entry });
        hear(&mut world, link, LearnerMessage::Commit(zxid));
        assert_eq!(conn.outbox.is_closing(), ends);
        let no_node = ErrorCode::NoNode.code();
        let answers = match ends {
            true => vec![],
            false => vec![(1, no_node), (2, no_node)],
        };
        assert_eq!(seen(&conn), answers);
    }
}

#[test]
fn the_leader_is_told_of_every_sign_of_life() {
    let (mut world, link) = following(LocalSessions::Off);
    let conn = resume(&mut world, link, SESSION);
    let ping = |world: &mut World, at: u64, heard: u64| {
        world.now.mono = Duration::from_micros(at);
        let touched = None;
        let zxid = Zxid::new(Epoch(1), 0);
        hear(world, link, LearnerMessage::Ping { zxid, touched });
        conn.heard(Now {
            mono: Duration::from_micros(heard),
            ..world.now
        });
        let answers = told(world);
        let [LearnerMessage::Ping { touched, .. }] = &answers[..] else {
            panic!("{answers:?}");
        };
        let sessions = touched.iter().flatten();
        sessions.map(|touch: &SessionTouch| touch.session).collect()
    };
    let start = 60_000_000;
    let _: Vec<_> = ping(&mut world, start + 100_900, start + 100_950);
    let told: Vec<SessionId> = ping(&mut world, start + 1_100_000, 0);
    assert_eq!(told, [SESSION], "it was heard of in between");
    let told: Vec<SessionId> = ping(&mut world, start + 2_100_000, 0);
    assert_eq!(told, [], "and not since");
}

#[test]
fn while_its_own_space_is_low_a_follower_refuses_what_needs_room() {
    let (mut world, link) = following(LocalSessions::Off);
    let conn = resume(&mut world, link, SESSION);
    world.handle(Input::LowSpace(true));
    world.submit(&conn, 1, vec![create("/a", CreateMode::Persistent)]);
    assert_eq!(told(&mut world), []);
    assert_eq!(seen(&conn), [(1, ErrorCode::SystemError.code())]);
}

#[test]
fn a_snapshot_of_a_tree_that_is_to_go_is_abandoned() {
    let (mut world, link) = following(LocalSessions::Off);
    tell(&mut world, link, LearnerInput::Disconnected);
    world.peer.snapshotting = true;
    world.orders.clear();
    let other = DataTree::new(&crate::tree::TreeOptions::default());
    let recovered = QuorumInput::Recovered(Ok(Box::new(other)));
    world.handle(Input::Quorum(recovered));
    assert!(matches!(world.orders[..], [Order::AbandonSnapshot]));
}

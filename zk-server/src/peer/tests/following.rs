//! A member that follows, and what its clients and its leader ask of it.

use zk_proto::{
    Encode as _, Epoch,
    quorum::{LearnerMessage, Notification, PROTOCOL_VERSION, ServerState, SessionTouch},
    txn::{ErrorTxn, SetDataTxn, Txn, TxnHeader, TxnLogEntry},
};

use super::*;
use crate::{
    election,
    reconfig::{Configuration, Configurations},
    zab::{COUNTER_MAX, LearnerInput, LinkId, ZabConfig},
};

/// Server 1 of these, which looks for a leader.
fn looking(local_sessions: LocalSessions, servers: &str, reconfig: bool) -> World {
    let mut world = World::new();
    let known = Configuration::parse(servers).unwrap();
    let second = Duration::from_secs(1);
    let config = ZabConfig {
        me: ServerId(1),
        configurations: Configurations::new(ServerId(1), known, reconfig),
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
    world
}

/// What a server says of its vote for server 2.
fn vote(world: &mut World, from: i64, state: ServerState) {
    let from = ServerId(from);
    let notification = Notification {
        state,
        leader: ServerId(2),
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: Epoch(0),
        config: None,
    };
    let input = election::Input::Notification { from, notification };
    world.handle(Input::Quorum(QuorumInput::Election(input)));
    world.sync();
}

/// The link that it wants, as soon as it wants one.
fn connects(world: &mut World) -> LinkId {
    for _ in 0..200 {
        let link = world.orders.iter().find_map(|order| match order {
            Order::Connect { link, .. } => Some(*link),
            _ => None,
        });
        if let Some(link) = link {
            return link;
        }
        world.later(Duration::from_millis(10));
        world.handle(Input::Deadline);
        world.sync();
    }
    panic!("it does not call server 2");
}

/// The leader's history is none, and here is its epoch.
fn introduce(world: &mut World, link: LinkId) {
    tell(world, link, LearnerInput::Connected);
    let (epoch, protocol_version) = (Epoch(1), PROTOCOL_VERSION);
    let info = LearnerMessage::LeaderInfo {
        epoch,
        protocol_version,
    };
    hear(world, link, info);
    hear(world, link, LearnerMessage::Diff(Zxid::ZERO));
}

fn new_leader(text: Option<&str>) -> LearnerMessage {
    LearnerMessage::NewLeader {
        zxid: Zxid::new(Epoch(1), 0),
        config: text.map(Into::into),
    }
}

/// Server 1 follows server 2.
fn following(local_sessions: LocalSessions) -> (World, LinkId) {
    following_with(local_sessions, false)
}

fn following_with(local_sessions: LocalSessions, reconfig: bool) -> (World, LinkId) {
    let servers = "server.1=h:1:2\nserver.2=h:3:4";
    let mut world = looking(local_sessions, servers, reconfig);
    vote(&mut world, 2, ServerState::Looking);
    let link = connects(&mut world);
    introduce(&mut world, link);
    hear(&mut world, link, new_leader(None));
    hear(&mut world, link, LearnerMessage::UpToDate);
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

/// The leader proposes what this session has asked for first.
fn proposal(client_id: SessionId, zxid: Zxid, txn: Txn) -> LearnerMessage {
    let header = TxnHeader {
        client_id,
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
    LearnerMessage::Proposal { zxid, entry }
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
    hear(&mut world, link, proposal(SESSION, zxid, txn));
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
    let ping = |world: &mut World, at: u64, heard: Option<u64>| {
        world.now.mono = Duration::from_micros(at);
        let touched = None;
        let zxid = Zxid::new(Epoch(1), 0);
        hear(world, link, LearnerMessage::Ping { zxid, touched });
        if let Some(heard) = heard {
            conn.heard(Now {
                mono: Duration::from_micros(heard),
                ..world.now
            });
        }
        let answers = told(world);
        let [LearnerMessage::Ping { touched, .. }] = &answers[..] else {
            panic!("{answers:?}");
        };
        let sessions = touched.iter().flatten();
        sessions.map(|touch: &SessionTouch| touch.session).collect()
    };
    let start = 60_000_000;
    let _: Vec<_> = ping(&mut world, start + 100_900, Some(start + 100_950));
    let told: Vec<SessionId> = ping(&mut world, start + 1_100_000, None);
    assert_eq!(told, [SESSION], "it was heard of in between");
    let told: Vec<SessionId> = ping(&mut world, start + 2_100_000, None);
    assert_eq!(told, [], "and not since");
    let _: Vec<_> = ping(&mut world, start + 3_100_000, Some(start + 3_200_000));
    let told: Vec<SessionId> = ping(&mut world, start + 4_100_000, None);
    assert_eq!(told, [SESSION], "and again");
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

#[test]
fn a_reconfiguration_that_cannot_be_read_is_not_logged() {
    let (mut world, link) = following_with(LocalSessions::Off, true);
    let zxid = Zxid::new(Epoch(1), 1);
    let txn = Txn::Reconfig(SetDataTxn {
        path: "/zookeeper/config".into(),
        data: Some(Bytes::from_static(b"x")),
        version: 1,
    });
    hear(&mut world, link, proposal(SessionId(1), zxid, txn));
    assert_ne!(*world.shared.mode.read(), Some("follower"));
    assert_eq!(world.log.last_zxid(), Zxid::ZERO);
    assert_eq!(world.shared.tree.read().last_zxid(), Zxid::ZERO);
}

#[test]
fn whoever_cannot_read_what_it_would_be_counted_by_does_not_join() {
    for (reconfig, joins) in [(true, false), (false, true)] {
        let servers = "server.1=h:1:2\nserver.2=h:3:4";
        let mut world = looking(LocalSessions::Off, servers, reconfig);
        vote(&mut world, 2, ServerState::Looking);
        let link = connects(&mut world);
        introduce(&mut world, link);
        told(&mut world);
        hear(&mut world, link, new_leader(Some("nonsense")));
        let told = told(&mut world);
        let acknowledges = told
            .iter()
            .any(|message| matches!(message, LearnerMessage::Ack(_)));
        assert_eq!(acknowledges, joins, "{told:?}");
    }
}

#[test]
fn a_leader_whose_history_cannot_be_read_is_not_called_without_a_pause() {
    let servers = "server.1=h:1:2\nserver.2=h:3:4\nserver.3=h:5:6";
    let mut world = looking(LocalSessions::Off, servers, false);
    let (mut calls, began) = (0, world.now.mono);
    while world.now.mono - began < Duration::from_secs(10) {
        let link = connects_again(&mut world);
        world.orders.clear();
        introduce(&mut world, link);
        tell(&mut world, link, LearnerInput::Disconnected);
        calls += 1;
        assert!(calls < 40, "after {:?}", world.now.mono - began);
    }
    assert!(calls > 10, "and it does not give up: {calls}");

    // Whoever has served begins anew.
    let link = connects_again(&mut world);
    introduce(&mut world, link);
    hear(&mut world, link, new_leader(None));
    hear(&mut world, link, LearnerMessage::UpToDate);
    world.orders.clear();
    tell(&mut world, link, LearnerInput::Disconnected);
    let lost = world.now.mono;
    connects_again(&mut world);
    assert_eq!(world.now.mono, lost);
}

/// The others have elected server 2 long ago.
fn connects_again(world: &mut World) -> LinkId {
    vote(world, 3, ServerState::Following);
    vote(world, 2, ServerState::Leading);
    connects(world)
}

#[test]
fn a_leader_hears_of_a_server_that_applies_a_long_history() {
    const LAST: i64 = 20_000;
    let servers = "server.1=h:1:2\nserver.2=h:3:4";
    let mut world = looking(LocalSessions::Off, servers, false);
    vote(&mut world, 2, ServerState::Looking);
    let link = connects(&mut world);
    introduce(&mut world, link);
    let say = |world: &mut World, message| {
        let input = LearnerInput::Message(message);
        world.handle(Input::Quorum(QuorumInput::Learner { link, input }));
    };
    for counter in 1..=LAST {
        let zxid = Zxid(counter);
        let txn = Txn::Error(ErrorTxn { err: -1 });
        say(&mut world, proposal(SessionId(1), zxid, txn));
        say(&mut world, LearnerMessage::Commit(zxid));
    }
    hear(&mut world, link, new_leader(None));
    hear(&mut world, link, LearnerMessage::UpToDate);
    let applied = |world: &World| world.shared.tree.read().last_zxid();
    let mut steps = 0;
    while applied(&world) < Zxid(LAST) {
        assert_ne!(
            *world.shared.mode.read(),
            Some("follower"),
            "it lags behind"
        );
        assert!(steps > 0 || applied(&world) > Zxid::ZERO);
        world.orders.clear();
        let zxid = Zxid::new(Epoch(1), 0);
        let touched = None;
        hear(&mut world, link, LearnerMessage::Ping { zxid, touched });
        assert!(matches!(
            told(&mut world)[..],
            [LearnerMessage::Ping { .. }]
        ));
        let due = world.peer.next_deadline().unwrap();
        assert!(due <= world.now.mono, "it goes on at once");
        world.handle(Input::Deadline);
        steps += 1;
    }
    assert!(steps > 1, "{steps}");
    assert_eq!(*world.shared.mode.read(), Some("follower"));
    let zxid = Zxid::new(Epoch(1), 1);
    let txn = Txn::Error(ErrorTxn { err: -1 });
    hear(&mut world, link, proposal(SessionId(1), zxid, txn));
    hear(&mut world, link, LearnerMessage::Commit(zxid));
    assert_eq!(applied(&world), zxid, "then as ever");
}

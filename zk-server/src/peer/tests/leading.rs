//! A leader that is a quorum by itself, and clients of its one learner, an observer.

use zk_proto::{
    Encode, Epoch, OpCode,
    op::ReconfigRequest,
    quorum::{LearnerInfo, LearnerMessage, PROTOCOL_VERSION, SessionTouch},
    txn::{Txn, TxnLogEntry},
};

use super::*;
use crate::{
    reconfig::{Configuration, Configurations},
    zab::{COUNTER_MAX, LeaderInput, LinkId, ZabConfig},
};

const LINK: LinkId = LinkId(7);

/// Server 1 leads, and server 2 observes.
fn leading() -> World {
    leading_with(&Config::default())
}

fn leading_with(settings: &Config) -> World {
    let mut world = World::new();
    let two = "server.1=h:1:2\nserver.2=h:3:4:observer";
    let two = Configuration::parse(two).unwrap();
    let second = Duration::from_secs(1);
    let config = ZabConfig {
        me: ServerId(1),
        configurations: Configurations::new(ServerId(1), two, settings.reconfig_enabled),
        tick: 2 * second,
        init_limit: 20 * second,
        sync_limit: 10 * second,
        connect_retry: second / 200,
        counter_max: COUNTER_MAX,
    };
    let mut options = options(settings, LocalSessions::Off);
    options.prep.reconfig_enabled = settings.reconfig_enabled;
    let (shared, now) = (world.shared.clone(), world.now);
    world.peer = Peer::among(options, shared, now, config, Epochs::default());
    world.handle(Input::Quorum(QuorumInput::Start));
    for _ in 0..20 {
        world.sync();
        if *world.shared.mode.read() == Some("leader") {
            break;
        }
        world.later(second / 10);
        world.handle(Input::Deadline);
    }
    assert_eq!(*world.shared.mode.read(), Some("leader"));
    world.handle(Input::Quorum(QuorumInput::Leader(LeaderInput::Opened(
        LINK,
    ))));
    let info = LearnerInfo {
        server_id: ServerId(2),
        protocol_version: PROTOCOL_VERSION,
        config_version: Zxid::ZERO,
    };
    hear(
        &mut world,
        LearnerMessage::ObserverInfo {
            accepted_epoch: Epoch(0),
            info,
        },
    );
    let last_zxid = world.shared.tree.read().last_zxid();
    let current_epoch = Some(0);
    hear(
        &mut world,
        LearnerMessage::AckEpoch {
            last_zxid,
            current_epoch,
        },
    );
    hear(&mut world, LearnerMessage::Ack(Zxid::new(Epoch(1), 0)));
    world.sync();
    world.orders.clear();
    world
}

fn hear(world: &mut World, message: LearnerMessage) {
    let input = LeaderInput::Message {
        link: LINK,
        message,
    };
    world.handle(Input::Quorum(QuorumInput::Leader(input)));
}

fn forward(world: &mut World, session: SessionId, op: OpCode, body: Bytes) {
    hear(
        world,
        LearnerMessage::Request {
            session,
            cxid: Xid(1),
            op: op.code(),
            body,
            identities: None,
        },
    );
}

fn owners(world: &World) -> Vec<SessionId> {
    let ensemble = world.peer.ensemble.as_ref().unwrap();
    ensemble.owners.keys().copied().collect()
}

#[test]
fn who_has_a_session_is_forgotten_with_the_session() {
    let mut world = leading();
    for id in 1..=20 {
        let session = SessionId(id);
        forward(
            &mut world,
            session,
            OpCode::CreateSession,
            10_000_i32.to_bytes(),
        );
        world.sync();
        assert_eq!(owners(&world), [session]);
        if id % 2 == 0 {
            forward(&mut world, session, OpCode::CloseSession, Bytes::new());
        } else {
            world.handle(Input::Expire(session));
        }
        world.sync();
        assert_eq!(owners(&world), [], "after session {id}");
    }
    assert_eq!(world.shared.tree.read().sessions().len(), 0);
}

#[test]
fn only_the_right_password_takes_a_session_from_its_learner() {
    let mut world = leading();
    let session = SessionId(77);
    forward(
        &mut world,
        session,
        OpCode::CreateSession,
        10_000_i32.to_bytes(),
    );
    world.sync();
    let touch = SessionTouch {
        session,
        timeout_ms: 10_000,
    };
    hear(&mut world, LearnerMessage::Revalidate(touch));
    let stranger = world.accept();
    world.ask_for_session(&stranger, session, Password::zero());
    assert_eq!(response(&stranger).session_id, SessionId::NONE);
    assert_eq!(owners(&world), [session]);
    let client = world.accept();
    world.ask_for_session(&client, session, Passwords::Apache.password(session));
    assert_eq!(response(&client).session_id, session);
    assert_eq!(owners(&world), []);
}

fn forward_write(world: &mut World, session: SessionId, request: &Request) {
    forward(world, session, request.op_code(), request.to_bytes());
}

fn has(world: &World, path: &str) -> bool {
    world.shared.tree.read().node(path).is_some()
}

#[test]
fn what_a_session_sent_before_it_was_at_the_leader_comes_too_late_after_it() {
    let mut world = leading();
    let session = SessionId(77);
    let timeout = 10_000_i32.to_bytes();
    forward(&mut world, session, OpCode::CreateSession, timeout);
    world.sync();
    forward_write(
        &mut world,
        session,
        &create("/early", CreateMode::Persistent),
    );
    let client = world.accept();
    world.ask_for_session(&client, session, Passwords::Apache.password(session));
    assert_eq!(response(&client).session_id, session);
    let conn = client.clone();
    world.handle(Input::Submit(Submit::Closed { conn }));
    forward_write(
        &mut world,
        session,
        &create("/late", CreateMode::Persistent),
    );
    world.sync();
    assert!(has(&world, "/early") && !has(&world, "/late"));

    let touch = SessionTouch {
        session,
        timeout_ms: 10_000,
    };
    hear(&mut world, LearnerMessage::Revalidate(touch));
    forward_write(
        &mut world,
        session,
        &create("/back", CreateMode::Persistent),
    );
    world.sync();
    assert!(has(&world, "/back"), "it has come back to the learner");
}

#[test]
fn while_space_is_low_learners_clients_are_refused_too() {
    let mut world = leading();
    let session = SessionId(77);
    let timeout = 10_000_i32.to_bytes();
    forward(&mut world, session, OpCode::CreateSession, timeout);
    forward_write(&mut world, session, &create("/a", CreateMode::Persistent));
    world.sync();
    world.handle(Input::LowSpace(true));
    world.orders.clear();
    forward_write(&mut world, session, &create("/b", CreateMode::Persistent));
    forward_write(&mut world, session, &create("/c", CreateMode::Ephemeral));
    world.sync();
    assert!(!has(&world, "/b") && !has(&world, "/c"));
    let informs = world.orders.iter().filter(|order| {
        let Order::Send { message, .. } = order else {
            return false;
        };
        matches!(message, LearnerMessage::Inform { .. })
    });
    assert_eq!(informs.count(), 2, "the refusals are transactions");
    let delete = Request::Delete(DeleteRequest {
        path: "/a".into(),
        version: -1,
    });
    forward_write(&mut world, session, &delete);
    world.sync();
    assert!(!has(&world, "/a"), "what makes room is carried out");
    world.handle(Input::LowSpace(false));
    forward_write(&mut world, session, &create("/d", CreateMode::Persistent));
    world.sync();
    assert!(has(&world, "/d"));
}

#[test]
fn a_request_of_a_learners_client_is_a_sign_of_life() {
    let mut world = leading();
    let session = SessionId(77);
    let timeout = 10_000_i32.to_bytes();
    forward(&mut world, session, OpCode::CreateSession, timeout);
    world.sync();
    world.later(Duration::from_secs(9));
    forward(&mut world, session, OpCode::Sync, Bytes::new());
    // Its bucket falls due after ten to twelve seconds.
    world.later(Duration::from_secs(4));
    world.handle(Input::Deadline);
    world.sync();
    assert_eq!(world.shared.tree.read().sessions().len(), 1);
    world.later(Duration::from_secs(9));
    world.handle(Input::Deadline);
    world.sync();
    assert_eq!(world.shared.tree.read().sessions().len(), 0);
}

#[test]
fn an_epoch_does_not_begin_with_a_snapshot() {
    let mut world = leading();
    let session = SessionId(77);
    let timeout = 10_000_i32.to_bytes();
    forward(&mut world, session, OpCode::CreateSession, timeout);
    world.sync();
    assert_eq!(world.shared.tree.read().last_zxid(), Zxid::new(Epoch(1), 1));
    assert!(world.cuts.is_empty(), "one transaction is logged");
}

/// What the last transaction says that learners heard of, if it is a refusal.
fn last_refusal(world: &World) -> Option<ErrorCode> {
    let informs = world.orders.iter().filter_map(|order| match order {
        Order::Send {
            message: LearnerMessage::Inform { entry, .. },
            ..
        } => Some(entry.clone()),
        _ => None,
    });
    let entry = TxnLogEntry::decode(&mut Reader::new(informs.last()?)).unwrap();
    match entry.txn {
        Txn::Error(error) => Some(ErrorCode::from_i32(error.err)),
        _ => None,
    }
}

#[test]
fn one_that_cannot_write_its_configuration_files_refuses_a_reconfiguration_and_tries_them_again() {
    let settings = Config {
        reconfig_enabled: true,
        ..Config::default()
    };
    let mut world = leading_with(&settings);
    let session = SessionId(77);
    let timeout = 10_000_i32.to_bytes();
    forward(&mut world, session, OpCode::CreateSession, timeout);
    world.sync();
    let ask = |world: &mut World| {
        world.orders.clear();
        let request = ReconfigRequest {
            joining: Some("server.3=h:5:6:observer;7".into()),
            leaving: None,
            new_members: None,
            config_id: 5,
        };
        forward(world, session, OpCode::Reconfig, request.to_bytes());
        world.sync();
        let tried = world.orders.iter();
        let tried = tried.filter(|order| matches!(order, Order::Configure(_)));
        (last_refusal(world), tried.count())
    };
    let wrong = Some(ErrorCode::BadVersion);
    assert_eq!(ask(&mut world), (wrong, 0), "as far as it gets otherwise");
    for (written, expected) in [
        (false, (Some(ErrorCode::ReconfigDisabled), 1)),
        (true, (wrong, 0)),
    ] {
        world.handle(Input::Quorum(QuorumInput::Configured { written }));
        assert_eq!(ask(&mut world), expected);
    }
}

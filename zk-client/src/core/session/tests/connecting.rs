//! Handshakes, lost connections, expiry and renewal.

use zk_proto::op::AuthRequest;

use super::*;
use crate::core::auth::Credential;

#[test]
fn a_new_session_is_asked_for_with_nothing_and_announced() {
    let mut world = World::new(config());
    let mut ready = world.command(Kind::Ready);
    assert_eq!(world.dials, 1);
    let request = world.dialed();
    assert_eq!(
        (request.session_id, request.timeout_ms),
        (SessionId::NONE, 9000)
    );
    assert_eq!(
        (request.last_zxid_seen, request.read_only),
        (Zxid::ZERO, Some(false))
    );
    assert!(waits(&mut ready));
    world.grant(SESSION);
    assert_eq!(world.states, [SessionState::Connected]);
    answered(&mut ready).unwrap();
}

#[test]
fn a_lost_connection_resumes_the_session_with_the_last_zxid_seen() {
    let mut world = World::connected();
    let _sync = world.submit(OpCode::Delete, "/a");
    world.ok(Xid(1), 55);
    world.cut();
    assert_eq!(world.last_state(), SessionState::Suspended);
    assert_eq!(world.dials, 2, "the next server is tried at once");
    let request = world.dialed();
    assert_eq!(request.session_id, SESSION);
    assert_eq!(request.password.as_bytes(), b"0123456789abcdef");
    assert_eq!(request.last_zxid_seen, Zxid(55));
    world.grant(SESSION);
    assert_eq!(world.last_state(), SessionState::Connected);
}

#[test]
fn events_do_not_count_as_seen_since_others_of_their_zxid_may_be_under_way() {
    let mut world = World::connected();
    world.event(EventType::NodeDeleted, "/a", 90);
    world.cut();
    assert_eq!(world.dialed().last_zxid_seen, Zxid::ZERO);
}

#[test]
fn a_round_over_all_servers_without_success_is_followed_by_a_pause() {
    let mut world = World::new(config());
    let refused = || Input::DialFailed(std::sync::Arc::new(std::io::Error::other("refused")));
    world.handle(refused());
    assert_eq!(world.dials, 1);
    world.pass(Duration::from_millis(99));
    assert_eq!(world.dials, 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.dials, 2);
    world.handle(refused());
    world.pass(Duration::from_millis(100));
    assert_eq!(world.dials, 3);
}

#[test]
fn a_server_that_closes_every_new_connection_is_not_hammered() {
    let mut world = World::new(config());
    world.dialed();
    world.cut();
    assert_eq!(world.dials, 2, "the other server is tried at once");
    world.dialed();
    world.cut();
    assert_eq!(world.dials, 2, "after both servers failed there is a pause");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.dials, 3);
}

#[test]
fn a_server_that_does_not_answer_the_connect_request_is_given_up() {
    let mut world = World::new(config());
    world.dialed();
    world.pass(T / 3);
    assert_eq!((world.hangups, world.dials), (1, 2));
    // The second host joins the race a quarter of a second later.
    world.pass(T / 3 + Duration::from_millis(250));
    assert_eq!(
        world.hangups, 2,
        "nor does it wait for ever for a connection"
    );
}

#[test]
fn nobody_waits_for_a_session_longer_than_they_said() {
    let mut world = World::new(config());
    let (slot, mut ready) = slot::channel();
    let mut command = Command::new(Kind::Ready).answering(slot);
    command.deadline = Some(world.now + Duration::from_secs(1));
    world.batch.push(command);
    world.go();
    world.handle(Input::DialFailed(std::sync::Arc::new(
        std::io::Error::other("refused"),
    )));
    world.pass(Duration::from_secs(1));
    let failure = answered(&mut ready).unwrap_err();
    assert_eq!(
        (failure.kind, failure.outcome),
        (ErrorKind::ConnectFailed, Outcome::NotApplied)
    );
    assert_eq!(failure.source.unwrap().to_string(), "refused");
}

#[test]
fn an_expired_session_takes_everything_with_it_and_a_new_one_is_announced() {
    let mut world = World::connected();
    let (_, mut change) = world.watch(OpCode::Exists, "/w");
    world.reply(Xid(1), 5, ErrorCode::NoNode, &[]);
    world.cut();
    let mut queued = world.submit(OpCode::SetData, "/a");
    world.dialed();
    world.refuse();
    assert_eq!(
        failure(&mut queued),
        (ErrorKind::SessionExpired, Outcome::NotApplied)
    );
    assert_eq!(change.try_recv(), Ok(Some(WatchEvent::SessionEnded)));
    assert_eq!(world.last_state(), SessionState::Expired);
    let mut later = world.submit(OpCode::SetData, "/b");
    let request = world.dialed();
    assert_eq!(
        (request.session_id, request.password.as_bytes()),
        (SessionId::NONE, &[0; 16][..])
    );
    world.grant(SessionId(0x88));
    let renewed = SessionState::Renewed {
        old: SESSION,
        new: SessionId(0x88),
    };
    assert_eq!(world.last_state(), renewed);
    assert_eq!(
        world.seen_ops(),
        [OpCode::SetData],
        "no watch of the old session is registered"
    );
    assert!(waits(&mut later));
}

#[test]
fn another_session_than_the_one_asked_for_is_an_expiry() {
    let mut world = World::connected();
    world.cut();
    let mut queued = world.submit(OpCode::GetData, "/a");
    world.dialed();
    world.grant(SessionId(0x99));
    assert_eq!(failure(&mut queued).0, ErrorKind::SessionExpired);
    assert_eq!(world.last_state(), SessionState::Expired);
    assert_eq!(world.dialed().session_id, SessionId::NONE);
}

#[test]
fn a_client_told_to_stop_stays_expired_and_says_so() {
    let mut world = World::new(Config {
        on_expiry: OnExpiry::Stop,
        ..config()
    });
    world.connect();
    world.cut();
    world.dialed();
    world.refuse();
    let dials = world.dials;
    let mut later = world.submit(OpCode::GetData, "/a");
    assert_eq!(
        failure(&mut later),
        (ErrorKind::SessionExpired, Outcome::NotApplied)
    );
    let mut ready = world.command(Kind::Ready);
    assert_eq!(failure(&mut ready).0, ErrorKind::SessionExpired);
    world.pass(T * 10);
    assert_eq!((world.dials, world.session.next_deadline()), (dials, None));
    let mut closed = world.command(Kind::Close);
    answered(&mut closed).unwrap();
    assert!(world.stopped);
}

#[test]
fn a_session_handed_in_is_resumed_and_its_expiry_is_renewed() {
    let resume = Some((SessionId(5), Password::new(Bytes::from_static(b"pw"))));
    let mut world = World::new(Config { resume, ..config() });
    let mut ready = world.command(Kind::Ready);
    let request = world.dialed();
    assert_eq!(
        (request.session_id, request.password.as_bytes()),
        (SessionId(5), &b"pw"[..])
    );
    world.refuse();
    assert!(waits(&mut ready));
    world.connect();
    assert_eq!(
        world.last_state(),
        SessionState::Renewed {
            old: SessionId(5),
            new: SESSION
        }
    );
    answered(&mut ready).unwrap();
}

#[test]
fn what_is_bound_to_a_session_never_runs_in_another() {
    let mut world = World::connected();
    let mut bound = world.submit_with(OpCode::SetData, "/a", |command| {
        command.generation = Some(0)
    });
    assert_eq!(world.seen_ops(), [OpCode::SetData]);
    world.stat(Xid(1), 3);
    answered(&mut bound).unwrap();
    world.cut();
    world.dialed();
    world.refuse();
    let between = |world: &mut World| {
        let mut bound = world.submit_with(OpCode::SetData, "/a", |command| {
            command.generation = Some(0)
        });
        assert_eq!(
            failure(&mut bound),
            (ErrorKind::SessionChanged, Outcome::NotApplied)
        );
    };
    between(&mut world);
    world.connect();
    between(&mut world);
    let _sent = world.submit_with(OpCode::SetData, "/a", |command| {
        command.generation = Some(1)
    });
    assert_eq!(world.seen_ops(), [OpCode::SetData]);
}

#[test]
fn pings_keep_an_idle_session_and_silence_ends_a_connection() {
    let mut world = World::connected();
    world.pass(T / 3 - Duration::from_millis(1));
    assert!(world.seen().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(
        world.seen(),
        [Seen {
            xid: Xid::PING,
            op: OpCode::Ping,
            body: Bytes::new()
        }]
    );
    world.ok(Xid::PING, 0);
    world.pass(T / 3);
    assert_eq!(world.seen_ops(), [OpCode::Ping]);
    assert_eq!(world.hangups, 0);
    world.pass(T / 3);
    assert_eq!(
        (world.hangups, world.last_state()),
        (1, SessionState::Suspended)
    );
}

#[test]
fn requests_keep_a_session_as_pings_do() {
    let mut world = World::connected();
    for xid in 1..10 {
        world.pass(T / 4);
        let _answer = world.submit(OpCode::Delete, "/a");
        assert_eq!(world.seen_ops(), [OpCode::Delete]);
        world.ok(Xid(xid), 1);
    }
}

#[test]
fn credentials_go_before_the_queue_on_every_connection() {
    let credentials = vec![Credential::new("digest", "a:b")];
    let mut world = World::new(Config {
        credentials,
        ..config()
    });
    let _queued = world.submit(OpCode::GetData, "/a");
    let mut ready = world.command(Kind::Ready);
    world.connect();
    let seen = world.seen();
    assert_eq!(seen[0].xid, Xid::AUTH);
    let request = AuthRequest::from_bytes(seen[0].body.clone()).unwrap();
    assert_eq!(request.scheme, "digest");
    assert_eq!(seen[1].op, OpCode::GetData);
    assert!(
        waits(&mut ready),
        "there is no session for use before the credentials are accepted"
    );
    world.ok(Xid::AUTH, 0);
    answered(&mut ready).unwrap();
    let mut added = world.command(Kind::Auth(Box::new(Credential::new("digest", "c:d"))));
    assert_eq!(world.seen_ops(), [OpCode::Auth]);
    world.ok(Xid::AUTH, 0);
    answered(&mut added).unwrap();
    world.cut();
    world.connect();
    assert_eq!(world.seen_ops(), [OpCode::Auth, OpCode::Auth]);
}

#[test]
fn refused_credentials_of_the_client_end_it_and_refused_new_ones_do_not() {
    let credentials = vec![Credential::new("digest", "a:b")];
    let mut world = World::new(Config {
        credentials,
        ..config()
    });
    world.connect();
    world.ok(Xid::AUTH, 0);
    let mut added = world.command(Kind::Auth(Box::new(Credential::new("nonsense", ""))));
    world.reply(Xid::AUTH, 0, ErrorCode::AuthFailed, &[]);
    assert_eq!(
        failure(&mut added),
        (ErrorKind::AuthFailed, Outcome::NotApplied)
    );
    world.cut();
    world.connect();
    assert_eq!(world.last_state(), SessionState::Connected);
    let mut waiting = world.submit(OpCode::SetData, "/a");
    world.reply(Xid::AUTH, 0, ErrorCode::AuthFailed, &[]);
    assert_eq!(
        failure(&mut waiting),
        (ErrorKind::AuthFailed, Outcome::Unknown)
    );
    assert_eq!(world.last_state(), SessionState::AuthFailed);
    let mut later = world.submit(OpCode::SetData, "/a");
    assert_eq!(
        failure(&mut later),
        (ErrorKind::AuthFailed, Outcome::NotApplied)
    );
}

#[test]
fn nonsense_from_the_server_ends_the_connection() {
    let garbage: [&[u8]; 6] = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x03abc",
        b"\0\0\0\x10\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x10\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x10\xff\xff\xff\xfc\0\0\0\0\0\0\0\0\0\0\0\0",
    ];
    for bytes in garbage {
        let mut world = World::connected();
        let mut write = world.submit(OpCode::SetData, "/a");
        let mut read = world.submit(OpCode::GetData, "/a");
        world.receive(&mut BytesMut::from(bytes));
        assert_eq!((world.hangups, world.dials), (1, 2), "{bytes:?}");
        assert_eq!(
            failure(&mut write),
            (ErrorKind::ConnectionLoss, Outcome::Unknown)
        );
        assert_eq!(
            failure(&mut read),
            (ErrorKind::ConnectionLoss, Outcome::NotApplied)
        );
    }
}

#[test]
fn nonsense_instead_of_a_handshake_is_a_failed_attempt() {
    for bytes in [&b"\0\0\0\x01x"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let mut world = World::new(config());
        world.dialed();
        world.receive(&mut BytesMut::from(bytes));
        assert_eq!((world.hangups, world.dials), (1, 2), "{bytes:?}");
        assert_eq!(world.states, []);
    }
}

#[test]
#[should_panic(expected = "drained")]
fn an_input_before_the_outputs_are_drained_is_a_defect_of_the_driver() {
    let mut session = Session::new(Moment::default(), config());
    session.handle(Moment::default(), Input::Deadline);
}

#[test]
fn what_failed_before_a_lasting_connection_does_not_count() {
    let retry =
        RetryPolicy::exponential(Duration::from_millis(100), Duration::from_secs(60)).jitter(0.0);
    let mut world = World::new(Config { retry, ..config() });
    for _ in 0..10 {
        world.handle(Input::DialFailed(std::sync::Arc::new(
            std::io::Error::other("refused"),
        )));
        let pause = world.session.next_deadline().unwrap().since(world.now);
        world.pass(pause);
    }
    world.connect();
    world.pass(T / 3);
    world.cut();
    world.dialed();
    let dials = world.dials;
    world.cut();
    world.pass(Duration::from_millis(100));
    assert_eq!(world.dials, dials + 1, "the first pause, not the eleventh");
}

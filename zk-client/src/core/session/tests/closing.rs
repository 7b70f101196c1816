//! The end of a session, asked for.

use super::*;

#[test]
fn closing_comes_after_everything_submitted_before() {
    let mut world = World::connected();
    let mut write = world.submit(OpCode::SetData, "/a");
    let mut closed = world.command(Kind::Close);
    assert_eq!(world.seen_ops(), [OpCode::SetData, OpCode::CloseSession]);
    let mut late = world.submit(OpCode::SetData, "/b");
    assert_eq!(failure(&mut late), (ErrorKind::Closed, Outcome::NotApplied));
    world.stat(Xid(1), 1);
    answered(&mut write).unwrap();
    assert!(waits(&mut closed));
    world.ok(Xid(2), 2);
    answered(&mut closed).unwrap();
    assert!(world.stopped);
    assert_eq!(world.last_state(), SessionState::Closed);
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn closing_is_carried_over_a_lost_connection() {
    let mut world = World::connected();
    let mut closed = world.command(Kind::Close);
    world.cut();
    assert!(waits(&mut closed));
    world.connect();
    let seen = world.seen();
    assert_eq!(seen[0].op, OpCode::CloseSession);
    world.cut();
    world.pass(Duration::from_millis(100));
    world.dialed();
    world.refuse();
    answered(&mut closed).unwrap();
    assert!(world.stopped, "an expired session is closed");
}

#[test]
fn closing_is_bounded_when_no_server_answers() {
    let mut world = World::connected();
    let mut write = world.submit(OpCode::SetData, "/a");
    let (slot, mut closed) = slot::channel();
    let mut command = Command::new(Kind::Close).answering(slot);
    command.deadline = Some(world.now + Duration::from_secs(2));
    world.batch.push(command);
    world.go();
    world.pass(Duration::from_secs(2));
    assert_eq!(failure(&mut write), (ErrorKind::Closed, Outcome::Unknown));
    assert_eq!(
        failure(&mut closed),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    assert!(world.stopped);
}

#[test]
fn a_client_without_a_session_closes_at_once() {
    let mut world = World::new(config());
    let mut ready = world.command(Kind::Ready);
    let mut closed = world.command(Kind::Close);
    answered(&mut closed).unwrap();
    assert_eq!(failure(&mut ready).0, ErrorKind::Closed);
    assert!(world.stopped);
}

#[test]
fn a_session_that_is_being_granted_is_ended_again() {
    let mut world = World::new(config());
    world.dialed();
    let mut closed = world.command(Kind::Close);
    assert!(waits(&mut closed), "a server may have made it by now");
    world.grant(SESSION);
    let seen = world.seen();
    assert_eq!((seen.len(), seen[0].op), (1, OpCode::CloseSession));
    world.ok(seen[0].xid, 1);
    answered(&mut closed).unwrap();
    assert!(world.stopped);
}

#[test]
fn a_session_that_is_being_granted_is_left_to_others() {
    let mut world = World::new(config());
    world.dialed();
    let mut detached = world.command(Kind::Detach);
    assert!(waits(&mut detached));
    world.grant(SESSION);
    answered(&mut detached).unwrap();
    assert!(world.stopped && world.seen().is_empty());
}

#[test]
fn who_is_closing_asks_for_no_session_a_second_time() {
    for detach in [false, true] {
        for silent in [false, true] {
            let mut world = World::new(config());
            world.dialed();
            let mut closed = world.command(match detach {
                true => Kind::Detach,
                false => Kind::Close,
            });
            match silent {
                true => world.pass(T / 3),
                false => world.cut(),
            }
            answered(&mut closed).unwrap();
            assert!(world.stopped);
            assert_eq!(world.dials, 1);
        }
    }
}

#[test]
fn what_was_submitted_before_the_first_session_is_carried_out_before_closing() {
    let mut world = World::new(config());
    let mut queued = world.submit(OpCode::SetData, "/a");
    let mut closed = world.command(Kind::Close);
    assert!(waits(&mut queued) && waits(&mut closed));
    world.connect();
    let seen = world.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.op).collect::<Vec<_>>(),
        [OpCode::SetData, OpCode::CloseSession]
    );
    world.stat(seen[0].xid, 1);
    world.ok(seen[1].xid, 2);
    answered(&mut queued).unwrap();
    answered(&mut closed).unwrap();
    assert!(world.stopped);
}

#[test]
fn closing_before_the_first_session_is_bounded() {
    let mut world = World::new(config());
    let mut queued = world.submit(OpCode::SetData, "/a");
    let mut closed = world.command(Kind::Close);
    world.pass(REQUEST_TIMEOUT);
    assert_eq!(failure(&mut queued).1, Outcome::NotApplied);
    assert!(answered(&mut closed).is_err() && world.stopped);
}

#[test]
fn closing_twice_is_closing_once() {
    let mut world = World::connected();
    let mut first = world.command(Kind::Close);
    let mut second = world.command(Kind::Close);
    assert_eq!(world.seen_ops(), [OpCode::CloseSession]);
    world.ok(Xid(1), 2);
    answered(&mut first).unwrap();
    answered(&mut second).unwrap();
    let mut third = world.command(Kind::Close);
    answered(&mut third).unwrap();
    let mut late = world.submit(OpCode::SetData, "/b");
    assert_eq!(failure(&mut late).0, ErrorKind::Closed);
}

#[test]
fn the_end_of_the_session_is_told_to_watchers() {
    let mut world = World::connected();
    let (_, mut change) = world.watch(OpCode::Exists, "/a");
    world.reply(Xid(1), 1, ErrorCode::NoNode, &[]);
    let _closed = world.command(Kind::Close);
    world.ok(Xid(2), 2);
    assert_eq!(change.try_recv(), Ok(Some(WatchEvent::SessionEnded)));
}

#[test]
fn an_impatient_client_closes_as_patiently_as_any() {
    let mut world = World::new(Config {
        while_disconnected: WhileDisconnected::FailFast,
        ..config()
    });
    world.connect();
    world.cut();
    let mut closed = world.command(Kind::Close);
    // One server after the other fails before one takes the session.
    for _ in 0..3 {
        world.dialed();
        world.cut();
        world.pass(Duration::from_millis(100));
    }
    assert!(waits(&mut closed));
    world.connect();
    let seen = world.seen();
    assert_eq!(seen[0].op, OpCode::CloseSession);
    world.ok(seen[0].xid, 2);
    answered(&mut closed).unwrap();
}

#[test]
fn a_client_detaches_when_everything_is_answered_and_leaves_the_session_alone() {
    let mut world = World::connected();
    let mut pending = world.submit(OpCode::SetData, "/a");
    let mut detached = world.command(Kind::Detach);
    let mut late = world.submit(OpCode::SetData, "/b");
    assert_eq!(failure(&mut late), (ErrorKind::Closed, Outcome::NotApplied));
    assert!(waits(&mut detached));
    let seen = world.seen();
    assert_eq!(seen.len(), 1);
    world.stat(seen[0].xid, 2);
    answered(&mut pending).unwrap();
    answered(&mut detached).unwrap();
    assert!(world.stopped && world.seen().is_empty());
}

#[test]
fn detaching_is_bounded() {
    let mut world = World::connected();
    let mut pending = world.submit(OpCode::SetData, "/a");
    let mut detached = world.command(Kind::Detach);
    world.cut();
    assert_eq!(failure(&mut pending).1, Outcome::Unknown);
    answered(&mut detached).unwrap();
    let mut world = World::connected();
    world.cut();
    let mut pending = world.submit(OpCode::SetData, "/a");
    let mut detached = world.command(Kind::Detach);
    world.pass(REQUEST_TIMEOUT);
    assert_eq!(failure(&mut pending).1, Outcome::NotApplied);
    assert!(answered(&mut detached).is_err() && world.stopped);
}

//! Turning to another server: a changed list, and a read-only server.

use super::*;

fn host(name: &str, port: u16) -> Host {
    Host {
        name: name.to_owned(),
        port,
    }
}

fn password() -> Password {
    Password::new(Bytes::from_static(b"0123456789abcdef"))
}

fn update(world: &mut World, hosts: Vec<Host>) -> Answer {
    world.hosts = hosts.len();
    world.command(Kind::UpdateHosts(hosts))
}

#[test]
fn a_server_that_left_the_list_is_left_once_everything_is_answered() {
    let mut world = World::connected();
    let mut pending = world.submit(OpCode::SetData, "/a");
    let xid = world.seen().remove(0).xid;
    let mut updated = update(&mut world, vec![host("c", 3), host("d", 4)]);
    answered(&mut updated).unwrap();
    let mut late = world.submit(OpCode::SetData, "/b");
    assert!(world.seen().is_empty() && world.hangups == 0);
    world.stat(xid, 10);
    answered(&mut pending).unwrap();
    assert_eq!((world.hangups, world.dials), (1, 2));
    assert!(["c", "d"].contains(&world.offered[0].name.as_str()));
    assert_eq!(world.last_state(), SessionState::Suspended);
    let request = world.dialed();
    assert_eq!(
        (request.session_id, request.last_zxid_seen.0),
        (SESSION, 10)
    );
    world.grant(SESSION);
    let seen = world.seen().remove(0);
    world.stat(seen.xid, 11);
    answered(&mut late).unwrap();
    assert_eq!(world.last_state(), SessionState::Connected);
}

#[test]
fn what_an_impatient_client_asks_while_it_moves_is_answered_by_the_next_server() {
    let mut world = World::new(Config {
        while_disconnected: WhileDisconnected::FailFast,
        ..config()
    });
    world.connect();
    let mut pending = world.submit(OpCode::SetData, "/a");
    let xid = world.seen().remove(0).xid;
    drop(update(&mut world, vec![host("c", 3)]));
    let mut late = world.submit(OpCode::SetData, "/b");
    world.stat(xid, 10);
    answered(&mut pending).unwrap();
    assert!(waits(&mut late));
    world.connect();
    let seen = world.seen().remove(0);
    world.stat(seen.xid, 11);
    answered(&mut late).unwrap();
}

/// Connected, told of another list, and on its way there.
fn impatient_on_its_way() -> World {
    let mut world = World::new(Config {
        while_disconnected: WhileDisconnected::FailFast,
        ..config()
    });
    world.connect();
    drop(update(&mut world, vec![host("c", 3)]));
    assert_eq!((world.hangups, world.dials), (1, 2));
    world
}

#[test]
fn what_an_impatient_client_asks_on_the_way_waits_for_the_next_server() {
    let mut world = impatient_on_its_way();
    let mut dialing = world.submit(OpCode::SetData, "/a");
    world.dialed();
    let mut shaking = world.submit(OpCode::SetData, "/b");
    assert!(waits(&mut dialing) && waits(&mut shaking));
    world.grant(SESSION);
    assert_eq!(world.seen_ops(), [OpCode::SetData, OpCode::SetData]);
}

#[test]
fn an_impatient_client_does_not_wait_for_a_second_attempt() {
    let mut world = impatient_on_its_way();
    let mut dialing = world.submit(OpCode::SetData, "/a");
    world.handle(Input::DialFailed(std::sync::Arc::new(
        std::io::Error::other("refused"),
    )));
    let expected = (ErrorKind::ConnectionLoss, Outcome::NotApplied);
    assert_eq!(failure(&mut dialing), expected);
    let mut late = world.submit(OpCode::SetData, "/b");
    assert_eq!(failure(&mut late), expected);
    let mut world = impatient_on_its_way();
    let mut shaking = world.submit(OpCode::SetData, "/a");
    world.dialed();
    world.cut();
    assert_eq!(failure(&mut shaking), expected);
}

#[test]
fn a_server_that_does_not_answer_is_left_all_the_same() {
    let mut world = World::connected();
    let mut pending = world.submit(OpCode::SetData, "/a");
    drop(update(&mut world, vec![host("c", 3)]));
    world.pass(T / 6 - Duration::from_millis(1));
    assert!(waits(&mut pending) && world.hangups == 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        failure(&mut pending),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    assert_eq!(world.hangups, 1);
}

#[test]
fn a_server_that_stays_in_the_list_is_kept() {
    let mut world = World::connected();
    drop(update(&mut world, vec![host("b", 2), host("a", 1)]));
    world.pass(T / 2);
    assert_eq!((world.hangups, world.dials), (0, 1));
}

#[test]
fn an_attempt_under_way_starts_over_with_the_new_list() {
    let mut world = World::new(config());
    drop(update(&mut world, vec![host("c", 3)]));
    assert_eq!((world.hangups, world.dials), (1, 2));
    assert_eq!(world.offered, [host("c", 3)]);
    world.connect();
    assert_eq!(world.last_state(), SessionState::Connected);
}

fn read_only() -> World {
    let mut world = World::new(Config {
        allow_read_only: true,
        ..config()
    });
    world.dialed();
    world.respond_as(SESSION, 9000, password(), true);
    world
}

#[test]
fn a_read_only_server_is_left_for_one_that_takes_writes() {
    let mut world = World::connected();
    world.cut();
    world.dialed();
    world.respond_as(SESSION, 9000, password(), true);
    assert_eq!(world.last_state(), SessionState::ReadOnly);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.searches.len(), 1);
    // The pauses double, and nobody asks twice at once.
    world.pass(Duration::from_secs(1));
    assert_eq!(world.searches.len(), 1);
    world.handle(Input::Searched(None));
    world.pass(Duration::from_millis(199));
    assert_eq!(world.searches.len(), 1);
    world.pass(Duration::from_millis(1));
    let found = world.searches[1][1].clone();
    world.handle(Input::Searched(Some(found.clone())));
    assert_eq!(world.offered[0], found);
    let request = world.dialed();
    assert_eq!(
        request.session_id, SESSION,
        "a session of the quorum is resumed"
    );
    world.grant(SESSION);
    assert_eq!(world.last_state(), SessionState::Connected);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.searches.len(), 2);
}

#[test]
fn a_session_that_only_a_read_only_server_knows_has_a_successor_elsewhere() {
    let mut world = read_only();
    let mut waiting = {
        let mut bound = world.submit_with(OpCode::GetData, "/a", |command| {
            command.generation = Some(0);
        });
        assert!(waits(&mut bound));
        bound
    };
    world.pass(Duration::from_millis(100));
    let found = world.searches[0][0].clone();
    let xid = world.seen().remove(0).xid;
    world.handle(Input::Searched(Some(found)));
    let mut queued = world.submit(OpCode::GetData, "/b");
    world.reply(xid, 1, ErrorCode::NoNode, &[]);
    assert_eq!(answered(&mut waiting).unwrap().code, ErrorCode::NoNode);
    assert_eq!(world.dialed().session_id, SessionId::NONE);
    let other = SessionId(0x78);
    world.grant(other);
    let (old, new) = (SESSION, other);
    assert_eq!(world.last_state(), SessionState::Renewed { old, new });
    assert_eq!(failure(&mut queued).0, ErrorKind::SessionExpired);
}

#[test]
fn a_client_that_lost_its_local_session_closes_the_next_one() {
    let mut world = read_only();
    world.cut();
    let mut closed = world.command(Kind::Close);
    world.connect();
    let seen = world.seen();
    assert_eq!((seen.len(), seen[0].op), (1, OpCode::CloseSession));
    world.ok(seen[0].xid, 1);
    answered(&mut closed).unwrap();
    assert!(world.stopped);
}

#[test]
fn a_server_without_a_quorum_keeps_no_session_of_the_quorum_alive() {
    let mut world = World::connected();
    let proved = world.session.last_proof();
    world.cut();
    world.pass(Duration::from_secs(1));
    world.dialed();
    world.respond_as(SESSION, 9000, password(), true);
    let mut read = world.submit(OpCode::GetData, "/a");
    let xid = world.seen().pop().unwrap().xid;
    world.reply(xid, 1, ErrorCode::NoNode, &[]);
    answered(&mut read).unwrap();
    assert_eq!(world.session.last_proof(), proved);
    // A session that it opened itself lives with it.
    let mut world = read_only();
    let opened = world.session.last_proof();
    world.pass(Duration::from_secs(1));
    let mut read = world.submit(OpCode::GetData, "/a");
    let xid = world.seen().pop().unwrap().xid;
    world.reply(xid, 1, ErrorCode::NoNode, &[]);
    answered(&mut read).unwrap();
    assert_eq!(world.session.last_proof(), opened + Duration::from_secs(1));
}

//! The SASL conversation on a new connection.

use zk_proto::op::{SaslRequest, SaslResponse, Secret};

use super::*;
use crate::core::SaslStep;

fn world() -> World {
    let mut world = World::new(Config {
        sasl: true,
        ..config()
    });
    world.connect();
    assert_eq!(world.sasl, [None]);
    world
}

fn respond(world: &mut World, token: &'static [u8]) -> Seen {
    world.handle(Input::Sasl(SaslStep::Respond(Bytes::from_static(token))));
    let seen = world.seen().remove(0);
    let request = SaslRequest::from_bytes(seen.body.clone()).unwrap();
    assert_eq!(seen.op, OpCode::Sasl);
    assert_eq!(request.token.0.as_deref(), Some(token));
    seen
}

fn challenge(world: &mut World, xid: Xid, token: &'static [u8]) {
    let token = Secret(Some(Bytes::from_static(token)));
    world.reply(xid, 0, ErrorCode::Ok, &[&SaslResponse { token }]);
}

#[test]
fn nothing_is_sent_or_told_before_the_conversation_is_over() {
    let mut world = world();
    let mut ready = world.command(Kind::Ready);
    let mut pending = world.submit(OpCode::Sync, "/");
    let first = respond(&mut world, b"");
    assert!(world.states.is_empty() && waits(&mut ready));
    challenge(&mut world, first.xid, b"who?");
    assert_eq!(world.sasl[1].as_deref(), Some(&b"who?"[..]));
    let second = respond(&mut world, b"bob");
    challenge(&mut world, second.xid, b"");
    world.handle(Input::Sasl(SaslStep::Done));
    assert_eq!(world.last_state(), SessionState::Connected);
    answered(&mut ready).unwrap();
    assert_eq!(world.seen_ops(), [OpCode::Sync]);
    assert!(waits(&mut pending));
    // On the next connection it is held again.
    world.cut();
    world.connect();
    assert_eq!(world.sasl.len(), 4);
}

#[test]
fn a_refused_token_ends_the_client() {
    let mut world = world();
    let mut pending = world.submit(OpCode::Sync, "/");
    let first = respond(&mut world, b"");
    world.reply(first.xid, 0, ErrorCode::AuthFailed, &[]);
    assert_eq!(world.last_state(), SessionState::AuthFailed);
    assert_eq!(
        failure(&mut pending),
        (ErrorKind::AuthFailed, Outcome::NotApplied)
    );
}

#[test]
fn a_mechanism_that_gives_up_ends_the_client() {
    let mut world = world();
    let mut ready = world.command(Kind::Ready);
    world.handle(Input::Sasl(SaslStep::Failed(std::sync::Arc::new(
        std::io::Error::other("an impostor"),
    ))));
    assert_eq!(world.last_state(), SessionState::AuthFailed);
    assert!(format!("{:?}", answered(&mut ready)).contains("an impostor"));
}

#[test]
fn a_conversation_that_breaks_or_stalls_is_begun_again_elsewhere() {
    let mut world = world();
    respond(&mut world, b"");
    world.cut();
    // A late step of the old conversation means nothing on the new connection.
    world.dialed();
    world.handle(Input::Sasl(SaslStep::Done));
    assert!(world.states.is_empty());
    world.grant(SESSION);
    assert_eq!(world.sasl, [None, None]);
    let hangups = world.hangups;
    world.pass(T / 3);
    assert_eq!(world.hangups, hangups + 1);
}

#[test]
fn tokens_are_not_shown() {
    let token = || Bytes::from_static(b"secret");
    let step = SaslStep::Respond(token());
    let challenge = Output::SaslChallenge(Secret(Some(token())));
    let shown = format!("{step:?} {challenge:?}");
    assert!(
        shown.contains("Respond") && !shown.contains("secret"),
        "{shown}"
    );
    assert!(!shown.contains("115"), "{shown}");
}

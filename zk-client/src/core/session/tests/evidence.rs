//! Heartbeats through the leader, and what they prove.

use std::sync::Arc;

use super::*;

/// Asks for evidence and answers the `sync` after `delay`.
fn prove(world: &mut World, delay: Duration) {
    let _answer = world.put(Kind::Evidence, "/", |_| {});
    world.go();
    let seen = world.seen().pop().unwrap();
    assert_eq!(seen.op, OpCode::Sync);
    world.pass(delay);
    answer_sync(world, seen.xid);
}

fn answer_sync(world: &mut World, xid: Xid) {
    let body = zk_proto::op::SyncResponse { path: "/".into() };
    world.reply(xid, 1, ErrorCode::Ok, &[&body]);
}

fn until(world: &World) -> Option<Duration> {
    let until = world.evidence.last().unwrap().until?;
    Some(until.since(world.now))
}

#[test]
fn evidence_counts_from_the_sending_of_the_sync() {
    let mut world = World::connected();
    prove(&mut world, Duration::from_secs(1));
    assert_eq!(until(&world), Some(T * 2 / 3 - Duration::from_secs(1)));
}

#[test]
fn heartbeats_go_out_every_third_of_the_timeout_while_somebody_holds() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    for _ in 0..5 {
        world.pass(T / 3);
        let seen = world.seen();
        assert_eq!(
            seen.iter().map(|seen| seen.op).collect::<Vec<_>>(),
            [OpCode::Sync]
        );
        answer_sync(&mut world, seen[0].xid);
        assert_eq!(until(&world), Some(T * 2 / 3));
    }
    world.batch.push(Command::new(Kind::ReleaseEvidence));
    world.go();
    assert_eq!(until(&world), None);
    world.pass(T / 3);
    assert_eq!(world.seen_ops(), [OpCode::Ping]);
}

#[test]
fn pings_prove_nothing() {
    let mut config = config();
    config.hosts.truncate(1);
    let mut world = World::new(config);
    world.connect();
    prove(&mut world, Duration::ZERO);
    let run = world.evidence[0].run;
    for _ in 0..2 {
        world.pass(T / 3);
        world.ok(Xid::PING, 0);
    }
    let lost = world.evidence.last().unwrap();
    assert_eq!(
        (lost.run, lost.until, lost.loss_of(run)),
        (run, None, Some(false))
    );
    assert_eq!(world.last_state(), SessionState::Connected);
}

#[test]
fn a_lost_connection_loses_nothing_before_the_deadline() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    world.pass(Duration::from_secs(1));
    world.cut();
    world.pass(Duration::from_secs(2));
    world.connect();
    let seen = world.seen();
    assert_eq!(seen[0].op, OpCode::Sync, "a heartbeat at once");
    answer_sync(&mut world, seen[0].xid);
    assert_eq!(until(&world), Some(T * 2 / 3));
    assert!(world.evidence.iter().all(|state| state.run == 1));
}

#[test]
fn while_a_proof_runs_out_attempts_to_connect_come_close_together() {
    let mut config = config();
    config.retry = RetryPolicy::constant(T);
    let mut world = World::new(config);
    world.connect();
    prove(&mut world, Duration::ZERO);
    world.cut();
    let refused = || Input::DialFailed(Arc::new(std::io::Error::other("refused")));
    world.handle(refused());
    let before = world.dials;
    for attempt in 1..=8 {
        world.pass(T / 16);
        assert_eq!(world.dials, before + attempt);
        world.handle(refused());
    }
    // Once it is lost there is no hurry any more.
    world.pass(T / 4);
    assert_eq!(until(&world), None);
    let before = world.dials;
    world.handle(refused());
    world.pass(T / 2);
    assert_eq!(world.dials, before);
}

#[test]
fn what_is_presumed_lost_stays_lost() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    world.pass(T / 3);
    let xid = world.seen()[0].xid;
    // The driver was away: the answer and the deadline are looked at together, after the deadline.
    world.now = world.now + T / 3;
    answer_sync(&mut world, xid);
    assert_eq!(world.evidence[1].until, None);
    assert_eq!(
        world.evidence.last().unwrap().run,
        2,
        "a run of its own, for new holders"
    );
}

#[test]
fn the_end_of_the_session_ends_the_evidence() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    world.cut();
    world.dialed();
    world.refuse();
    let lost = world.evidence.last().unwrap();
    assert_eq!((lost.until, lost.loss_of(lost.run)), (None, Some(true)));
    world.connect();
    assert_eq!(
        world.seen_ops(),
        [OpCode::Sync],
        "its holder is still there, and learns nothing new"
    );
}

#[test]
fn a_server_that_does_not_reach_the_leader_is_left_while_there_is_time() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    world.pass(T / 3);
    assert_eq!(world.seen_ops(), [OpCode::Sync]);
    // It goes on to answer everything that needs no leader.
    world.event(EventType::NodeCreated, "/other", 1);
    world.pass(T / 6);
    assert_eq!(
        (world.hangups, world.last_state()),
        (1, SessionState::Suspended)
    );
    world.connect();
    let seen = world.seen();
    answer_sync(&mut world, seen[0].xid);
    world.pass(T / 6);
    assert!(
        world.evidence.iter().all(|state| state.until.is_some()),
        "nothing was lost"
    );
    assert_eq!(world.hangups, 1);
}

#[test]
fn a_session_that_is_being_closed_proves_nothing() {
    let mut world = World::connected();
    prove(&mut world, Duration::ZERO);
    let heartbeat = world.put(Kind::Evidence, "/", |_| {});
    world.go();
    let sync = world.seen().pop().unwrap();
    let _closed = world.command(Kind::Close);
    assert_eq!(until(&world), None, "the answer may take long");
    let lost = world.evidence.last().unwrap();
    assert_eq!(lost.loss_of(lost.run), Some(true));
    answer_sync(&mut world, sync.xid);
    drop(heartbeat);
    assert_eq!(until(&world), None);
    world.seen();
    world.pass(T / 3);
    assert!(!world.seen_ops().contains(&OpCode::Sync));
}

//! Requests: order, deadlines, what a lost connection leaves open.

use zk_proto::op::GetDataResponse;

use super::*;

#[test]
fn a_batch_leaves_in_one_write_and_is_answered_in_order() {
    let mut world = World::connected();
    let mut answers: Vec<_> = (0..3)
        .map(|_| world.put(Kind::Request(OpCode::Delete, None), "/a", |_| {}))
        .collect();
    world.go();
    let seen = world.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.xid.0).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(seen[0].body, Bytes::from_static(b"\0\0\0\x02/a"));
    let mut out = BytesMut::new();
    for xid in 1..=3 {
        put_reply(&mut out, Xid(xid), i64::from(xid), ErrorCode::Ok, &[]);
    }
    world.receive(&mut out);
    let zxids: Vec<_> = answers
        .iter_mut()
        .map(|answer| answered(answer).unwrap().zxid.0)
        .collect();
    assert_eq!(zxids, [1, 2, 3]);
    assert_eq!(world.released, 3);
}

#[test]
fn replies_may_come_in_any_pieces() {
    let mut world = World::connected();
    let mut answer = world.submit(OpCode::SetData, "/a");
    let mut whole = BytesMut::new();
    put_reply(
        &mut whole,
        Xid(1),
        7,
        ErrorCode::Ok,
        &[&StatResponse {
            stat: Stat::default(),
        }],
    );
    let mut input = BytesMut::new();
    for byte in whole {
        assert!(waits(&mut answer));
        input.put_u8(byte);
        world.session.handle(world.now, Input::Received(&mut input));
        world.drain();
    }
    answered(&mut answer).unwrap();
}

#[test]
fn an_error_code_is_an_answer_with_a_definite_outcome() {
    let mut world = World::connected();
    let mut answer = world.submit(OpCode::Delete, "/a");
    world.reply(Xid(1), 7, ErrorCode::NotEmpty, &[]);
    let reply = answered(&mut answer).unwrap();
    assert_eq!(
        (reply.code, reply.body),
        (ErrorCode::NotEmpty, crate::core::Body::Empty)
    );
}

#[test]
fn an_answer_out_of_order_ends_the_connection() {
    let mut world = World::connected();
    let mut first = world.submit(OpCode::Delete, "/a");
    let mut second = world.submit(OpCode::Delete, "/b");
    world.ok(Xid(2), 7);
    assert_eq!(world.hangups, 1);
    for answer in [&mut first, &mut second] {
        assert_eq!(
            failure(answer),
            (ErrorKind::ConnectionLoss, Outcome::Unknown)
        );
    }
    assert_eq!(world.released, 2);
}

#[test]
fn a_lost_connection_leaves_writes_open_and_keeps_what_was_not_sent() {
    let mut world = World::connected();
    let mut sent = world.submit(OpCode::SetData, "/a");
    world.cut();
    assert_eq!(
        failure(&mut sent),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    let mut queued = [
        world.submit(OpCode::SetData, "/b"),
        world.submit(OpCode::Delete, "/c"),
    ];
    world.connect();
    let seen = world.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.op).collect::<Vec<_>>(),
        [OpCode::SetData, OpCode::Delete]
    );
    assert!(queued.iter_mut().all(waits));
    world.stat(seen[0].xid, 1);
    world.ok(seen[1].xid, 2);
    for answer in &mut queued {
        answered(answer).unwrap();
    }
}

#[test]
fn an_impatient_client_fails_at_once_without_a_connection() {
    let mut world = World::new(Config {
        while_disconnected: WhileDisconnected::FailFast,
        ..config()
    });
    let mut early = world.submit(OpCode::SetData, "/a");
    assert_eq!(
        failure(&mut early),
        (ErrorKind::ConnectionLoss, Outcome::NotApplied)
    );
    world.connect();
    let mut sent = world.submit(OpCode::SetData, "/a");
    world.cut();
    assert_eq!(
        failure(&mut sent),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    let mut late = world.submit(OpCode::SetData, "/a");
    assert_eq!(
        failure(&mut late),
        (ErrorKind::ConnectionLoss, Outcome::NotApplied)
    );
    assert_eq!(world.released, 3);
}

#[test]
fn a_request_waits_for_a_connection_no_longer_than_its_timeout() {
    let mut world = World::new(config());
    let mut first = world.submit(OpCode::SetData, "/a");
    world.pass(Duration::from_secs(1));
    let mut second = world.submit(OpCode::SetData, "/b");
    world.pass(REQUEST_TIMEOUT - Duration::from_secs(1));
    assert_eq!(
        failure(&mut first),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert!(waits(&mut second));
    world.handle(Input::DialFailed(std::sync::Arc::new(
        std::io::Error::other("refused"),
    )));
    world.pass(Duration::from_millis(100));
    world.connect();
    let seen = world.seen();
    assert_eq!(seen.len(), 1, "what timed out is never sent");
    assert!(seen[0].body.ends_with(b"/b"));
    world.stat(seen[0].xid, 1);
    answered(&mut second).unwrap();
}

#[test]
fn a_request_that_timed_out_is_answered_later_without_confusion() {
    let mut world = World::connected();
    let mut first = world.submit(OpCode::SetData, "/a");
    for _ in 0..5 {
        world.pass(T / 3);
        world.ok(Xid::PING, 0);
    }
    assert_eq!(
        failure(&mut first),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    let mut second = world.submit(OpCode::Delete, "/a");
    world.stat(Xid(1), 1);
    world.ok(Xid(2), 2);
    assert_eq!(answered(&mut second).unwrap().zxid, Zxid(2));
    assert_eq!(world.hangups, 0);
}

#[test]
fn a_deadline_of_its_own_is_kept_also_out_of_order() {
    let mut world = World::new(config());
    let mut patient = world.submit(OpCode::SetData, "/a");
    let soon = world.now + Duration::from_secs(1);
    let mut hurried = world.submit_with(OpCode::SetData, "/b", |command| {
        command.deadline = Some(soon)
    });
    let mut last = world.submit(OpCode::SetData, "/c");
    world.pass(Duration::from_secs(1));
    assert_eq!(
        failure(&mut hurried),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert!(waits(&mut patient) && waits(&mut last));
    world.connect();
    let seen = world.seen();
    assert_eq!(seen.len(), 2);
    world.stat(seen[0].xid, 1);
    world.stat(seen[1].xid, 2);
    answered(&mut patient).unwrap();
    answered(&mut last).unwrap();
}

#[test]
fn xids_wrap_past_the_reserved_ones() {
    let mut world = World::connected();
    world.session.number_from(Xid(i32::MAX - 1));
    let mut answers: Vec<_> = (0..4).map(|_| world.submit(OpCode::Delete, "/a")).collect();
    let xids: Vec<_> = world.seen().iter().map(|seen| seen.xid.0).collect();
    assert_eq!(xids, [i32::MAX - 1, i32::MAX, 1, 2]);
    for xid in xids {
        world.ok(Xid(xid), 1);
    }
    for answer in &mut answers {
        answered(answer).unwrap();
    }
}

#[test]
fn a_reply_cut_short_fails_its_own_request_too() {
    let mut world = World::connected();
    let mut answer = world.submit(OpCode::SetData, "/a");
    world.ok(Xid(1), 7);
    assert_eq!(
        failure(&mut answer),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    assert_eq!((world.hangups, world.released), (1, 1));
}

#[test]
fn a_request_too_large_for_servers_is_not_sent() {
    let mut batch = Batch::default();
    let command = || Command::new(Kind::Request(OpCode::SetData, None));
    let encode = |len| {
        move |out: &mut BytesMut| {
            out.put_bytes(0, len);
            Ok(())
        }
    };
    let failure = batch.push_request(command(), 100, encode(93)).unwrap_err();
    assert_eq!(
        (failure.kind, failure.outcome),
        (ErrorKind::TooLarge, Outcome::NotApplied)
    );
    assert!(batch.is_empty() && batch.frames.is_empty());
    batch.push_request(command(), 100, encode(92)).unwrap();
    assert_eq!(batch.frames.len(), 104);
}

#[test]
fn an_outage_does_not_pile_up_what_nobody_waits_for() {
    let mut world = World::connected();
    world.cut();
    let bulk = |path: &str| format!("/{path}/{}", "x".repeat(1000));
    for round in 0..50 {
        for number in 0..100 {
            drop(world.submit(OpCode::Delete, &bulk(&format!("{round}-{number}"))));
        }
        world.pass(REQUEST_TIMEOUT);
    }
    assert_eq!(
        (world.released, world.released_bytes),
        (5000, world.submitted_bytes)
    );
    let requests = &world.session.requests;
    assert!(requests.is_empty() && !requests.has_unsent());
    let mut last = world.submit(OpCode::Sync, "/");
    world.connect();
    let seen = world.seen();
    assert_eq!(seen.len(), 1);
    world.ok(seen[0].xid, 1);
    assert!(!waits(&mut last));
}

#[test]
fn an_outage_does_not_pile_up_what_is_behind_a_patient_request() {
    let mut world = World::new(config());
    let hour = world.now + Duration::from_secs(3600);
    let patient = |world: &mut World, path: &str| {
        world.submit_with(OpCode::SetData, path, |command| {
            command.deadline = Some(hour);
        })
    };
    let mut first = patient(&mut world, "/first");
    let bulk = |number: u32| format!("/{number}/{}", "x".repeat(1000));
    let mut others = Vec::new();
    for round in 0..50 {
        for number in 0..100 {
            drop(world.submit(OpCode::Delete, &bulk(round * 100 + number)));
        }
        others.push(patient(&mut world, &format!("/other{round}")));
        world.pass(REQUEST_TIMEOUT);
        let kept = world.session.requests.kept();
        assert!(kept.0 < 1200 && kept.1 < 1_200_000, "{kept:?}");
    }
    assert_eq!(world.released, 5000);
    let soon = world.now + Duration::from_secs(1);
    let mut hurried = world.submit_with(OpCode::Delete, "/hurried", |command| {
        command.deadline = Some(soon);
    });
    world.pass(Duration::from_secs(1));
    assert_eq!(failure(&mut hurried).0, ErrorKind::OperationTimeout);
    world.connect();
    let seen = world.seen();
    assert_eq!(seen.len(), 51);
    assert!(seen[0].body.ends_with(b"/first") && seen[50].body.ends_with(b"/other49"));
    for seen in &seen {
        world.stat(seen.xid, 1);
    }
    answered(&mut first).unwrap();
    for other in &mut others {
        answered(other).unwrap();
    }
}

#[test]
fn what_times_out_behind_a_patient_request_is_swept_and_every_deadline_kept() {
    let mut world = World::new(config());
    let mut rng = fastrand::Rng::with_seed(3);
    let start = world.now;
    let mut open = Vec::new();
    for number in 0..5000_u32 {
        let deadline = start + Duration::from_millis(rng.u64(1..60_000));
        let own = rng.u32(0..3) == 0;
        let answer = world.submit_with(OpCode::Delete, "/a", |command| {
            command.deadline = own.then_some(deadline);
        });
        let deadline = match own {
            true => deadline,
            false => world.now + REQUEST_TIMEOUT,
        };
        open.push((deadline, answer));
        if number % 10 == 0 {
            world.pass(Duration::from_millis(100));
            open.retain_mut(|(deadline, answer)| {
                let over = *deadline <= world.now;
                assert_eq!(waits_or_over(answer), !over, "{number}");
                !over
            });
        }
    }
}

/// True while it waits; with a failure by its deadline otherwise.
fn waits_or_over(answer: &mut Answer) -> bool {
    match answer.try_recv() {
        Ok(None) => true,
        Ok(Some((Err(failure), _))) => {
            assert_eq!(failure.kind, ErrorKind::OperationTimeout);
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_go_out_while_a_long_answer_comes_in() {
    let mut world = World::connected();
    let mut answer = world.submit(OpCode::GetData, "/big");
    let xid = world.seen().remove(0).xid;
    let mut bytes = BytesMut::new();
    let data = GetDataResponse {
        data: Some(Bytes::from(vec![7; 1_000_000])),
        stat: Stat::default(),
    };
    put_reply(&mut bytes, xid, 1, ErrorCode::Ok, &[&data]);
    let (mut received, mut pings) = (BytesMut::new(), 0);
    while !bytes.is_empty() {
        let some = bytes.len().min(10_000);
        received.extend_from_slice(&bytes.split_to(some));
        world.pass(Duration::from_secs(1));
        world.receive(&mut received);
        pings += world
            .seen()
            .iter()
            .filter(|seen| seen.op == OpCode::Ping)
            .count();
    }
    answered(&mut answer).unwrap_err();
    assert!(pings >= 30, "{pings} pings in a hundred seconds");
    assert_eq!(world.hangups, 0);
}

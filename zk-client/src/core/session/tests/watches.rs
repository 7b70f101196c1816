//! One-shot watches: which event tells whom, across gaps and out of order.

use zk_proto::{
    op::{GetChildrenResponse, GetDataResponse, RemoveWatchesRequest, SetWatchesRequest},
    watch::WatcherType,
};

use super::*;

/// Answers the oldest request of a read with success.
fn answer_read(world: &mut World, seen: &Seen, zxid: i64) {
    let stat = Stat::default();
    match seen.op {
        OpCode::GetData => {
            let body = GetDataResponse { data: None, stat };
            world.reply(seen.xid, zxid, ErrorCode::Ok, &[&body]);
        }
        OpCode::GetChildren => {
            let body = GetChildrenResponse {
                children: Vec::new(),
            };
            world.reply(seen.xid, zxid, ErrorCode::Ok, &[&body]);
        }
        _ => world.stat(seen.xid, zxid),
    }
}

fn watch_registered(world: &mut World, op: OpCode, path: &str) -> oneshot::Receiver<WatchEvent> {
    let (_, events) = world.watch(op, path);
    let seen = world.seen().pop().unwrap();
    answer_read(world, &seen, 10);
    events
}

fn told(events: &mut oneshot::Receiver<WatchEvent>) -> Option<&'static str> {
    match events.try_recv() {
        Ok(None) => None,
        Ok(Some(WatchEvent::Created(_))) => Some("created"),
        Ok(Some(WatchEvent::Deleted(_))) => Some("deleted"),
        Ok(Some(WatchEvent::DataChanged(_))) => Some("data"),
        Ok(Some(WatchEvent::ChildrenChanged(_))) => Some("children"),
        Ok(Some(WatchEvent::SessionEnded)) => Some("ended"),
        Ok(Some(_)) => Some("a stream's event"),
        Err(_) => Some("dropped"),
    }
}

#[test]
fn each_event_tells_the_watches_it_is_for() {
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
    let table = [
        (
            NodeCreated,
            [Some("created"), Some("created"), Some("created"), None],
        ),
        (
            NodeDataChanged,
            [Some("data"), Some("data"), Some("data"), None],
        ),
        (NodeChildrenChanged, [None, None, None, Some("children")]),
        (NodeDeleted, [Some("deleted"); 4]),
    ];
    for (event, expected) in table {
        let mut world = World::connected();
        let mut data = watch_registered(&mut world, OpCode::GetData, "/a");
        let mut exists = watch_registered(&mut world, OpCode::Exists, "/a");
        let (_, mut absent) = world.watch(OpCode::Exists, "/a");
        let xid = world.seen()[0].xid;
        world.reply(xid, 10, ErrorCode::NoNode, &[]);
        let mut child = watch_registered(&mut world, OpCode::GetChildren, "/a");
        let mut other = watch_registered(&mut world, OpCode::GetData, "/other");
        world.event(event, "/a", 11);
        let all = [&mut data, &mut exists, &mut absent, &mut child].map(told);
        assert_eq!(all, expected, "{event:?}");
        assert_eq!(told(&mut other), None);
        world.event(event, "/a", 12);
    }
}

#[test]
fn a_read_that_fails_leaves_no_watch() {
    let mut world = World::connected();
    let (_, mut data) = world.watch(OpCode::GetData, "/a");
    world.reply(Xid(1), 1, ErrorCode::NoNode, &[]);
    assert_eq!(told(&mut data), Some("dropped"));
    let (_, mut exists) = world.watch(OpCode::Exists, "/a");
    world.reply(Xid(2), 1, ErrorCode::NoAuth, &[]);
    assert_eq!(told(&mut exists), Some("dropped"));
    let (_, mut lost) = world.watch(OpCode::Exists, "/a");
    world.cut();
    assert_eq!(told(&mut lost), Some("dropped"));
}

#[test]
fn the_event_says_which_node_and_which_transaction() {
    let mut world = World::connected();
    let mut events = watch_registered(&mut world, OpCode::GetData, "/a");
    world.event(EventType::NodeDataChanged, "/a", 0x20);
    let event = events.try_recv().unwrap().unwrap();
    let WatchEvent::DataChanged(change) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        (change.path.as_str(), change.zxid),
        ("/a", Some(Zxid(0x20)))
    );
}

#[test]
fn an_event_that_overtakes_its_reads_answer_is_not_lost() {
    let mut world = World::connected();
    let (_, mut events) = world.watch(OpCode::GetData, "/a");
    let seen = world.seen().pop().unwrap();
    world.event(EventType::NodeDataChanged, "/a", 12);
    answer_read(&mut world, &seen, 11);
    assert_eq!(told(&mut events), Some("data"));
}

#[test]
fn an_early_event_that_the_answer_already_shows_is_not_told() {
    let mut world = World::connected();
    let (_, mut events) = world.watch(OpCode::GetData, "/a");
    let seen = world.seen().pop().unwrap();
    world.event(EventType::NodeDataChanged, "/a", 12);
    answer_read(&mut world, &seen, 12);
    assert_eq!(told(&mut events), None);
    world.event(EventType::NodeDeleted, "/a", 13);
    assert_eq!(told(&mut events), Some("deleted"));
}

#[test]
fn an_event_for_a_registered_watch_does_not_tell_a_read_under_way() {
    let mut world = World::connected();
    let mut first = watch_registered(&mut world, OpCode::GetData, "/a");
    let (_, mut second) = world.watch(OpCode::GetData, "/a");
    let seen = world.seen().pop().unwrap();
    world.event(EventType::NodeDataChanged, "/a", 12);
    answer_read(&mut world, &seen, 12);
    assert_eq!((told(&mut first), told(&mut second)), (Some("data"), None));
}

#[test]
fn watches_are_registered_again_before_anything_else_is_sent() {
    let mut world = World::connected();
    let mut data = watch_registered(&mut world, OpCode::GetData, "/d");
    let _child = watch_registered(&mut world, OpCode::GetChildren, "/c");
    let (_, _absent) = world.watch(OpCode::Exists, "/e");
    let xid = world.seen()[0].xid;
    world.reply(xid, 42, ErrorCode::NoNode, &[]);
    world.cut();
    let _queued = world.submit(OpCode::SetData, "/a");
    world.connect();
    let seen = world.seen();
    assert_eq!(
        (seen[0].xid, seen[0].op),
        (Xid::SET_WATCHES, OpCode::SetWatches)
    );
    let request = SetWatchesRequest::from_bytes(seen[0].body.clone()).unwrap();
    let expected = SetWatchesRequest {
        relative_zxid: Zxid(42),
        data: vec!["/d".into()],
        exist: vec!["/e".into()],
        child: vec!["/c".into()],
    };
    assert_eq!(request, expected);
    assert_eq!(seen[1].op, OpCode::SetData);
    world.event(EventType::NodeDeleted, "/d", -1);
    world.ok(Xid::SET_WATCHES, 50);
    assert_eq!(told(&mut data), Some("deleted"));
}

#[test]
fn a_re_registration_is_cut_into_frames_that_servers_take() {
    let mut world = World::connected();
    let paths: Vec<_> = (0..3000).map(|n| format!("/{n:0>200}")).collect();
    let mut events: Vec<_> = paths
        .iter()
        .map(|path| watch_registered(&mut world, OpCode::GetData, path))
        .collect();
    world.cut();
    world.connect();
    let seen = world.seen();
    assert!(seen.len() > 4);
    let mut registered = 0;
    for request in seen {
        assert!(
            request.body.len() + 8 < 128 * 1024,
            "{}",
            request.body.len()
        );
        let request = SetWatchesRequest::from_bytes(request.body).unwrap();
        assert_eq!(request.relative_zxid, Zxid(10));
        registered += request.data.len();
    }
    assert_eq!(registered, paths.len());
    assert_eq!(told(&mut events[7]), None);
}

/// What was removed from the server since the last look, and in the second from now.
fn removed(world: &mut World) -> Vec<(String, WatcherType)> {
    world.pass(Duration::from_secs(1));
    let seen = world.seen();
    assert!(
        seen.iter().all(|seen| seen.op == OpCode::RemoveWatches),
        "{seen:?}"
    );
    let decode = |seen: Seen| {
        let request = RemoveWatchesRequest::from_bytes(seen.body).unwrap();
        (request.path.to_string(), request.kind)
    };
    seen.into_iter().map(decode).collect()
}

fn prune(world: &mut World, path: &str) {
    world
        .batch
        .push(Command::new(Kind::PruneWatchers(path.to_owned())));
    world.go();
}

#[test]
fn a_watch_that_nobody_waits_for_is_removed_here_and_at_the_server() {
    let mut world = World::connected();
    let first = watch_registered(&mut world, OpCode::GetData, "/a");
    let second = watch_registered(&mut world, OpCode::Exists, "/a");
    let child = watch_registered(&mut world, OpCode::GetChildren, "/a");
    drop(first);
    prune(&mut world, "/a");
    assert_eq!(
        removed(&mut world),
        [],
        "the server has one data watch for both"
    );
    drop(second);
    prune(&mut world, "/a");
    assert_eq!(removed(&mut world), [("/a".to_owned(), WatcherType::Data)]);
    world.cut();
    world.connect();
    let request = SetWatchesRequest::from_bytes(world.seen().remove(0).body).unwrap();
    assert_eq!(
        (request.data.len(), request.exist.len(), request.child.len()),
        (0, 0, 1)
    );
    drop(child);
}

#[test]
fn a_watch_that_fires_or_is_wanted_again_soon_costs_no_request() {
    let mut world = World::connected();
    for op in [OpCode::GetData, OpCode::GetChildren] {
        drop(watch_registered(&mut world, op, "/a"));
        drop(watch_registered(&mut world, op, "/b"));
    }
    prune(&mut world, "/a");
    prune(&mut world, "/b");
    world.event(EventType::NodeDeleted, "/a", 11);
    let again = watch_registered(&mut world, OpCode::GetData, "/b");
    assert_eq!(
        removed(&mut world),
        [("/b".to_owned(), WatcherType::Children)]
    );
    drop(again);
}

#[test]
fn a_watch_that_a_read_under_way_will_leave_is_not_removed() {
    let mut world = World::connected();
    let first = watch_registered(&mut world, OpCode::GetData, "/a");
    let (_, mut second) = world.watch(OpCode::Exists, "/a");
    let seen = world.seen().remove(0);
    drop(first);
    prune(&mut world, "/a");
    assert_eq!(removed(&mut world), []);
    answer_read(&mut world, &seen, 10);
    world.event(EventType::NodeDeleted, "/a", 11);
    assert_eq!(told(&mut second), Some("deleted"));
}

#[test]
fn a_watch_that_was_given_up_before_its_answer_is_removed_after_it() {
    let mut world = World::connected();
    let (_, events) = world.watch(OpCode::GetChildren, "/a");
    let seen = world.seen().remove(0);
    drop(events);
    prune(&mut world, "/a");
    assert_eq!(removed(&mut world), []);
    answer_read(&mut world, &seen, 10);
    assert_eq!(
        removed(&mut world),
        [("/a".to_owned(), WatcherType::Children)]
    );
    world.cut();
    world.connect();
    assert!(world.seen().is_empty());
}

#[test]
fn a_read_that_is_answered_later_than_an_event_is_not_told_of_it() {
    let mut world = World::connected();
    let (_, mut events) = world.watch(OpCode::GetData, "/a");
    let (_, mut others) = world.watch(OpCode::GetData, "/b");
    let seen = world.seen();
    for zxid in 1..=20 {
        world.event(EventType::NodeDataChanged, "/b", zxid);
    }
    answer_read(&mut world, &seen[0], 20);
    answer_read(&mut world, &seen[1], 20);
    assert_eq!((told(&mut events), told(&mut others)), (None, None));
}

#[test]
fn a_server_that_refuses_the_watches_loses_the_connection() {
    let mut world = World::connected();
    let mut events = watch_registered(&mut world, OpCode::GetData, "/a");
    world.cut();
    world.connect();
    world.reply(Xid::SET_WATCHES, 1, ErrorCode::MarshallingError, &[]);
    assert_eq!(world.hangups, 2);
    assert_eq!(
        told(&mut events),
        None,
        "it waits for a server that takes it"
    );
}

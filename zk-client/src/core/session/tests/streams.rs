//! Persistent watches: gaps are told, readers share one watch of the server's, the last one removes it.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use zk_proto::{
    op::{ErrorResponse, RemoveWatchesRequest, SetWatches2Request},
    watch::{AddWatchMode, WatcherType},
};

use super::*;
use crate::{core::StreamRequest, watcher::EventQueue};

const RECURSIVE: AddWatchMode = AddWatchMode::PersistentRecursive;

/// Asks for a persistent watch, and leaves the request unanswered.
fn ask(world: &mut World, path: &str, mode: AddWatchMode) -> (Arc<EventQueue>, Seen) {
    let queue = Arc::new(EventQueue::default());
    let request = StreamRequest {
        path: path.to_owned(),
        mode,
        queue: Arc::clone(&queue),
    };
    let leaves = Some(Box::new(Leaves::Stream(request)));
    drop(world.put(Kind::Request(OpCode::AddWatch, leaves), path, |_| {}));
    world.go();
    let seen = world.seen().pop().unwrap();
    assert_eq!(seen.op, OpCode::AddWatch);
    (queue, seen)
}

fn added(world: &mut World, seen: &Seen) {
    world.reply(seen.xid, 5, ErrorCode::Ok, &[&ErrorResponse { err: 0 }]);
}

fn watch(world: &mut World, path: &str, mode: AddWatchMode) -> Arc<EventQueue> {
    let (queue, seen) = ask(world, path, mode);
    added(world, &seen);
    queue
}

fn leave(world: &mut World, queue: &EventQueue, path: &str, mode: AddWatchMode) {
    queue.abandon();
    world
        .batch
        .push(Command::new(Kind::RemoveStreams(path.to_owned(), mode)));
    world.go();
}

fn taken(queue: &EventQueue) -> Vec<String> {
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = queue.poll_next(&mut Context::from_waker(Waker::noop())) {
        events.push(match &event {
            WatchEvent::Created(change) => format!("created {}", change.path),
            WatchEvent::Deleted(change) => format!("deleted {}", change.path),
            WatchEvent::DataChanged(change) => format!("data {}", change.path),
            WatchEvent::ChildrenChanged(change) => format!("children {}", change.path),
            other => format!("{other:?}"),
        });
    }
    events
}

#[test]
fn every_change_is_told_not_only_the_first() {
    let mut world = World::connected();
    let queue = watch(&mut world, "/a", RECURSIVE);
    world.event(EventType::NodeCreated, "/a/b", 6);
    world.event(EventType::NodeDataChanged, "/a/b", 7);
    world.event(EventType::NodeDeleted, "/a/b", 8);
    world.event(EventType::NodeDeleted, "/other", 9);
    assert_eq!(taken(&queue), ["created /a/b", "data /a/b", "deleted /a/b"]);
}

#[test]
fn a_gap_is_told_and_its_end_once_the_watch_is_there_again() {
    let mut world = World::connected();
    let recursive = watch(&mut world, "/a", RECURSIVE);
    let _plain = watch(&mut world, "/p", AddWatchMode::Persistent);
    world.cut();
    assert_eq!(taken(&recursive), ["SessionDisconnected"]);
    world.connect();
    let seen = world.seen();
    assert_eq!(
        (seen[0].op, seen[0].xid),
        (OpCode::SetWatches2, Xid::SET_WATCHES)
    );
    let request = SetWatches2Request::from_bytes(seen[0].body.clone()).unwrap();
    assert_eq!(request.persistent, ["/p"]);
    assert_eq!(request.persistent_recursive, ["/a"]);
    assert!(taken(&recursive).is_empty());
    world.ok(Xid::SET_WATCHES, 9);
    assert_eq!(taken(&recursive), ["SessionReconnected"]);
    world.cut();
    world.pass(Duration::from_millis(100));
    world.dialed();
    world.refuse();
    assert_eq!(taken(&recursive), ["SessionDisconnected", "SessionEnded"]);
    world.connect();
    assert!(world.seen().is_empty(), "the new session has no watches");
}

#[test]
fn the_last_reader_removes_the_watch() {
    let mut world = World::connected();
    let first = watch(&mut world, "/a", RECURSIVE);
    let second = watch(&mut world, "/a", RECURSIVE);
    leave(&mut world, &first, "/a", RECURSIVE);
    assert!(world.seen().is_empty());
    world.event(EventType::NodeCreated, "/a", 6);
    assert_eq!(taken(&second), ["created /a"]);
    leave(&mut world, &second, "/a", RECURSIVE);
    let seen = world.seen().remove(0);
    let request = RemoveWatchesRequest::from_bytes(seen.body).unwrap();
    assert_eq!(
        (request.path.as_str(), request.kind),
        ("/a", WatcherType::PersistentRecursive)
    );
    world.reply(seen.xid, 7, ErrorCode::NoWatcher, &[]);
    assert_eq!(world.hangups, 0);
    world.cut();
    world.connect();
    assert!(world.seen().is_empty());
}

#[test]
fn a_watch_that_somebody_is_about_to_read_is_not_removed() {
    let mut world = World::connected();
    let first = watch(&mut world, "/a", RECURSIVE);
    let (second, asked) = ask(&mut world, "/a", RECURSIVE);
    leave(&mut world, &first, "/a", RECURSIVE);
    assert!(world.seen().is_empty());
    added(&mut world, &asked);
    world.event(EventType::NodeCreated, "/a", 6);
    assert_eq!(taken(&second), ["created /a"]);
}

#[test]
fn a_reader_that_goes_before_the_answer_leaves_nothing_behind() {
    let mut world = World::connected();
    let (queue, asked) = ask(&mut world, "/a", RECURSIVE);
    leave(&mut world, &queue, "/a", RECURSIVE);
    assert!(world.seen().is_empty());
    added(&mut world, &asked);
    assert_eq!(world.seen_ops(), [OpCode::RemoveWatches]);
}

#[test]
fn a_one_shot_watch_and_a_persistent_one_are_both_told() {
    let mut world = World::connected();
    let queue = watch(&mut world, "/", RECURSIVE);
    let (_, mut events) = world.watch(OpCode::Exists, "/a");
    let xid = world.seen()[0].xid;
    world.event(EventType::NodeCreated, "/a", 8);
    world.reply(xid, 7, ErrorCode::NoNode, &[]);
    assert!(matches!(
        events.try_recv(),
        Ok(Some(WatchEvent::Created(_)))
    ));
    assert_eq!(taken(&queue), ["created /a"]);
}

//! setWatches and setWatches2: what a client hears that comes back with its watches.

use zk_proto::{
    ErrorCode, OpCode, Perms, Xid, Zxid,
    watch::{
        EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted},
        WatcherType,
    },
};
use zk_tests::{
    frames::Event,
    requests::{
        ANY, check_watches, create, create_for, delete, get, only, set, set_persistent_watches,
        set_watches,
    },
};

use crate::subject::Subject;

cases! {
    set_watches_catches_up_on_data,
    set_watches_catches_up_on_existence,
    set_watches_catches_up_on_children,
    set_watches_registers_what_has_not_changed,
    set_watches_order,
    set_watches_of_a_node_in_two_lists,
    set_watches_asks_no_rights,
    set_watches_two_catches_up_on_no_persistent_watch,
    set_watches_answers,
    null_lists_of_set_watches,
}

const RECURSIVE: WatcherType = WatcherType::PersistentRecursive;
const NO_WATCHER: ErrorCode = ErrorCode::NoWatcher;

async fn set_watches_catches_up_on_data(s: Subject) {
    let mut p = s.peer().await;
    for name in ["changed", "deleted", "same"] {
        p.create(&s.path(name)).await;
    }
    let since = p.ask(get(s.root())).await.zxid;
    p.ok(set(&s.path("changed"), b"", ANY)).await;
    p.ok(delete(&s.path("deleted"), ANY)).await;
    let paths = ["changed", "deleted", "same"].map(|name| s.path(name));
    p.ok(set_watches(
        since,
        &paths.each_ref().map(String::as_str),
        &[],
        &[],
    ))
    .await;
    let expected = [
        Event::new(Zxid(-1), NodeDataChanged, &paths[0]),
        Event::new(Zxid(-1), NodeDeleted, &paths[1]),
    ];
    assert_eq!(p.events(), expected);
    p.fails(check_watches(&paths[0], WatcherType::Data), NO_WATCHER)
        .await;
    p.ok(check_watches(&paths[2], WatcherType::Data)).await;
}

async fn set_watches_catches_up_on_existence(s: Subject) {
    let mut p = s.peer().await;
    let since = p.ask(get(s.root())).await.zxid;
    p.create(&s.path("there")).await;
    let (there, not) = (s.path("there"), s.path("not"));
    p.ok(set_watches(since, &[], &[&there, &not], &[])).await;
    assert_eq!(p.told(), [(NodeCreated, there.clone())]);
    p.create(&not).await;
    assert_eq!(p.told(), [(NodeCreated, not)]);
    // Whatever the zxid: a node that exists is news to who waits for it.
    let now = p.ask(get(s.root())).await.zxid;
    p.ok(set_watches(now, &[], &[&there], &[])).await;
    assert_eq!(p.told(), [(NodeCreated, there)]);
}

async fn set_watches_catches_up_on_children(s: Subject) {
    let mut p = s.peer().await;
    for name in ["more", "fewer", "same", "deleted", "fewer/c"] {
        p.create(&s.path(name)).await;
    }
    let since = p.ask(get(s.root())).await.zxid;
    p.create(&s.path("more/c")).await;
    p.ok(delete(&s.path("fewer/c"), ANY)).await;
    p.ok(delete(&s.path("deleted"), ANY)).await;
    p.ok(set(&s.path("same"), b"", ANY)).await;
    let paths = ["more", "fewer", "deleted", "same"].map(|name| s.path(name));
    p.ok(set_watches(
        since,
        &[],
        &[],
        &paths.each_ref().map(String::as_str),
    ))
    .await;
    let kinds = [NodeChildrenChanged, NodeChildrenChanged, NodeDeleted];
    let expected: Vec<_> = kinds.into_iter().zip(paths.clone()).collect();
    assert_eq!(p.told(), expected);
    p.ok(check_watches(&paths[3], WatcherType::Children)).await;
}

async fn set_watches_registers_what_has_not_changed(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let now = p.ask(get(s.root())).await.zxid;
    let a = s.path("a");
    p.ok(set_watches(now, &[&a], &[], &[&a])).await;
    assert_eq!(p.told(), []);
    p.ok(set(&a, b"", ANY)).await;
    p.create(&s.path("a/b")).await;
    assert_eq!(
        p.told(),
        [(NodeDataChanged, a.clone()), (NodeChildrenChanged, a)]
    );
}

async fn set_watches_order(s: Subject) {
    let mut p = s.peer().await;
    let since = p.ask(get(s.root())).await.zxid;
    for name in ["z", "a", "z/c"] {
        p.create(&s.path(name)).await;
    }
    p.ok(set(&s.path("z"), b"", ANY)).await;
    p.ok(set(&s.path("a"), b"", ANY)).await;
    let (z, a, c) = (s.path("z"), s.path("a"), s.path("z/c"));
    p.ok(set_watches(since, &[&z, &a], &[&c, &a], &[&z])).await;
    let expected = [
        (NodeDataChanged, &z),
        (NodeDataChanged, &a),
        (NodeCreated, &c),
        (NodeCreated, &a),
        (NodeChildrenChanged, &z),
    ];
    assert_eq!(p.told(), expected.map(|(kind, path)| (kind, path.clone())));
}

async fn set_watches_of_a_node_in_two_lists(s: Subject) {
    let mut p = s.peer().await;
    let gone = s.path("gone");
    p.ok(set_watches(Zxid::ZERO, &[&gone, &gone], &[], &[&gone]))
        .await;
    assert_eq!(p.told(), vec![(NodeDeleted, gone); 3]);
}

async fn set_watches_asks_no_rights(s: Subject) {
    let mut p = s.peer().await;
    let since = p.ask(get(s.root())).await.zxid;
    let dark = s.path("dark");
    p.ok(create_for(&dark, only(Perms::NONE, "world", "anyone")))
        .await;
    p.ok(set_watches(since, &[&dark], &[&dark], &[&dark])).await;
    let expected = [NodeDataChanged, NodeCreated, NodeChildrenChanged];
    assert_eq!(p.told(), expected.map(|kind| (kind, dark.clone())));
}

async fn set_watches_two_catches_up_on_no_persistent_watch(s: Subject) {
    let mut p = s.peer().await;
    let (a, gone) = (s.path("a"), s.path("gone"));
    let since = p.ask(get(s.root())).await.zxid;
    p.create(&a).await;
    p.ok(set_persistent_watches(since, &[&a, &gone], &[s.root()]))
        .await;
    assert_eq!(p.told(), []);
    for (path, kind) in [
        (&a, WatcherType::Persistent),
        (&gone, WatcherType::Persistent),
    ] {
        p.ok(check_watches(path, kind)).await;
    }
    p.ok(check_watches(s.root(), RECURSIVE)).await;
    p.create(&gone).await;
    assert_eq!(p.told(), [(NodeCreated, gone)]);
}

async fn set_watches_answers(s: Subject) {
    let mut p = s.peer().await;
    let last = p.ask(create(&s.path("a"), b"")).await.zxid;
    let reply = p.ask(set_watches(Zxid::ZERO, &[], &[], &[])).await;
    assert_eq!((reply.xid, reply.code), (Xid::SET_WATCHES, ErrorCode::Ok));
    assert!(reply.zxid >= last && reply.body.is_empty());
}

/// Apache cannot decode them; here they are empty, as null lists are everywhere else.
async fn null_lists_of_set_watches(s: Subject) {
    let mut p = s.peer().await;
    let null = -1_i32;
    let reply = p
        .raw(OpCode::SetWatches, &[&0_i64, &null, &null, &null])
        .await;
    let expected = match s.is_apache() {
        true => ErrorCode::MarshallingError,
        false => ErrorCode::Ok,
    };
    assert_eq!(reply.code, expected);
}

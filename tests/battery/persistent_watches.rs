//! addWatch, checkWatches, removeWatches, and what persistent and recursive watches tell.

use zk_proto::{
    CreateMode, ErrorCode, OpCode, Perms,
    op::{Request, Response},
    watch::{
        AddWatchMode::{Persistent, PersistentRecursive},
        EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted},
        WatcherType,
    },
};
use zk_tests::{
    frames::Event,
    requests::{
        ANY, add_watch, auth, check_watches, create_as, create_for, delete, multi, only,
        part_create, part_delete, part_set, remove_watches, set, watch_children, watch_data,
    },
};

use crate::subject::Subject;

cases! {
    a_persistent_watch_stays,
    a_persistent_watch_needs_no_node,
    a_recursive_watch_tells_of_everything_below,
    recursive_watches_at_several_depths,
    all_kinds_side_by_side,
    persistent_and_recursive_on_one_node,
    add_watch_answers_zero,
    unknown_modes_and_kinds,
    check_watches_by_kind,
    remove_watches_by_kind,
    remove_any_takes_everything,
    removing_is_silent,
    watches_are_this_connections,
    multi_fires_part_by_part,
    closing_fires_a_persistent_watch_for_each,
    rights_are_those_of_the_moment,
    a_recursive_watch_hides_what_may_not_be_read,
}

const RECURSIVE: WatcherType = WatcherType::PersistentRecursive;
const NO_WATCHER: ErrorCode = ErrorCode::NoWatcher;

async fn a_persistent_watch_stays(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    let expected = [
        NodeCreated,
        NodeDataChanged,
        NodeDataChanged,
        NodeChildrenChanged,
        NodeChildrenChanged,
        NodeDeleted,
        NodeCreated,
    ];
    p.create(&s.path("a")).await;
    p.ok(set(&s.path("a"), b"1", ANY)).await;
    p.ok(set(&s.path("a"), b"2", ANY)).await;
    p.create(&s.path("a/b")).await;
    p.ok(set(&s.path("a/b"), b"", ANY)).await;
    p.ok(delete(&s.path("a/b"), ANY)).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    p.create(&s.path("a")).await;
    assert_eq!(p.told(), expected.map(|kind| (kind, s.path("a"))));
}

async fn a_persistent_watch_needs_no_node(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "abc", "//", "/nope/nope"] {
        p.ok(add_watch(path, Persistent)).await;
        p.ok(check_watches(path, WatcherType::Persistent)).await;
    }
    let dark = only(Perms::NONE, "world", "anyone");
    p.ok(create_for(&s.path("dark"), dark)).await;
    p.ok(add_watch(&s.path("dark"), PersistentRecursive)).await;
}

async fn a_recursive_watch_tells_of_everything_below(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(&s.path("a"), PersistentRecursive)).await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.create(&s.path("ab")).await;
    p.create(&s.path("a/b/c")).await;
    p.ok(set(&s.path("a/b/c"), b"", ANY)).await;
    p.ok(delete(&s.path("a/b/c"), ANY)).await;
    p.ok(set(&s.path("a"), b"", ANY)).await;
    let expected = [
        (NodeCreated, "a"),
        (NodeCreated, "a/b"),
        (NodeCreated, "a/b/c"),
        (NodeDataChanged, "a/b/c"),
        (NodeDeleted, "a/b/c"),
        (NodeDataChanged, "a"),
    ];
    assert_eq!(p.told(), expected.map(|(kind, name)| (kind, s.path(name))));
}

async fn recursive_watches_at_several_depths(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for path in [s.root().to_owned(), s.path("a"), s.path("a/b")] {
        p.ok(add_watch(&path, PersistentRecursive)).await;
    }
    p.create(&s.path("a/b")).await;
    assert_eq!(
        p.told(),
        [(NodeCreated, s.path("a/b"))],
        "one event, however many watches"
    );
}

async fn all_kinds_side_by_side(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(watch_children(&s.path("a"))).await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    p.ok(add_watch(&s.path("a"), PersistentRecursive)).await;
    for kind in [
        WatcherType::Data,
        WatcherType::Children,
        WatcherType::Persistent,
        RECURSIVE,
    ] {
        p.ok(check_watches(&s.path("a"), kind)).await;
    }
    for _ in 0..2 {
        p.ok(set(&s.path("a"), b"", ANY)).await;
        assert_eq!(p.told(), [(NodeDataChanged, s.path("a"))]);
    }
    // The one-shot data watch is used up, the others are not.
    p.fails(check_watches(&s.path("a"), WatcherType::Data), NO_WATCHER)
        .await;
    for kind in [WatcherType::Children, WatcherType::Persistent, RECURSIVE] {
        p.ok(check_watches(&s.path("a"), kind)).await;
    }
}

async fn persistent_and_recursive_on_one_node(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    p.ok(add_watch(&s.path("a"), PersistentRecursive)).await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.ok(delete(&s.path("a/b"), ANY)).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    let expected = [
        (NodeCreated, "a"),
        (NodeCreated, "a/b"),
        (NodeChildrenChanged, "a"),
        (NodeDeleted, "a/b"),
        (NodeChildrenChanged, "a"),
        (NodeDeleted, "a"),
    ];
    assert_eq!(p.told(), expected.map(|(kind, name)| (kind, s.path(name))));
}

async fn add_watch_answers_zero(s: Subject) {
    let mut p = s.peer().await;
    for mode in [Persistent, PersistentRecursive] {
        let answer = p.ok(add_watch(s.root(), mode)).await;
        assert!(matches!(answer, Response::Error(r) if r.err == 0));
    }
}

async fn unknown_modes_and_kinds(s: Subject) {
    let mut p = s.peer().await;
    let path = zk_proto::Utf8Bytes::from(s.root());
    for mode in [2_i32, -1, 99] {
        let reply = p.raw(OpCode::AddWatch, &[&path, &mode]).await;
        assert_eq!(reply.code, ErrorCode::MarshallingError, "mode {mode}");
    }
    for op in [OpCode::CheckWatches, OpCode::RemoveWatches] {
        for kind in [0_i32, 6, -1] {
            let reply = p.raw(op, &[&path, &kind]).await;
            assert_eq!(
                reply.code,
                ErrorCode::MarshallingError,
                "{op:?} kind {kind}"
            );
        }
    }
}

async fn check_watches_by_kind(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let rows: [(Request, WatcherType); 4] = [
        (watch_data(&s.path("a")), WatcherType::Data),
        (watch_children(&s.path("a")), WatcherType::Children),
        (add_watch(&s.path("a"), Persistent), WatcherType::Persistent),
        (add_watch(&s.path("a"), PersistentRecursive), RECURSIVE),
    ];
    for (register, kind) in rows {
        p.fails(check_watches(&s.path("a"), WatcherType::Any), NO_WATCHER)
            .await;
        p.ok(register).await;
        for other in [
            WatcherType::Data,
            WatcherType::Children,
            WatcherType::Persistent,
            RECURSIVE,
        ] {
            let expected = if other == kind {
                ErrorCode::Ok
            } else {
                NO_WATCHER
            };
            let reply = p.ask(check_watches(&s.path("a"), other)).await;
            assert_eq!(reply.code, expected, "{other:?} where there is {kind:?}");
        }
        p.ok(check_watches(&s.path("a"), WatcherType::Any)).await;
        p.ok(remove_watches(&s.path("a"), kind)).await;
    }
    p.fails(check_watches("/nope/nope", WatcherType::Any), NO_WATCHER)
        .await;
}

async fn remove_watches_by_kind(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let a = s.path("a");
    p.ok(watch_data(&a)).await;
    p.ok(watch_children(&a)).await;
    p.ok(add_watch(&a, Persistent)).await;
    p.ok(remove_watches(&a, WatcherType::Persistent)).await;
    p.fails(remove_watches(&a, WatcherType::Persistent), NO_WATCHER)
        .await;
    p.ok(remove_watches(&a, WatcherType::Data)).await;
    p.ok(set(&a, b"", ANY)).await;
    assert_eq!(p.told(), []);
    p.create(&s.path("a/b")).await;
    assert_eq!(p.told(), [(NodeChildrenChanged, a.clone())]);
    p.fails(remove_watches(&a, WatcherType::Children), NO_WATCHER)
        .await;
}

async fn remove_any_takes_everything(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let a = s.path("a");
    p.ok(watch_data(&a)).await;
    p.ok(watch_children(&a)).await;
    p.ok(add_watch(&a, Persistent)).await;
    p.ok(add_watch(&a, PersistentRecursive)).await;
    p.ok(remove_watches(&a, WatcherType::Any)).await;
    p.fails(check_watches(&a, WatcherType::Any), NO_WATCHER)
        .await;
    p.ok(set(&a, b"", ANY)).await;
    assert_eq!(p.heard().await, []);
}

async fn removing_is_silent(s: Subject) {
    let mut p = s.peer().await;
    p.ok(watch_children(s.root())).await;
    p.ok(remove_watches(s.root(), WatcherType::Children)).await;
    assert_eq!(p.heard().await, []);
}

async fn watches_are_this_connections(s: Subject) {
    let (mut p, mut other) = (s.peer().await, s.peer().await);
    p.ok(watch_children(s.root())).await;
    other
        .fails(check_watches(s.root(), WatcherType::Any), NO_WATCHER)
        .await;
    other
        .fails(remove_watches(s.root(), WatcherType::Any), NO_WATCHER)
        .await;
    p.ok(check_watches(s.root(), WatcherType::Children)).await;
}

async fn multi_fires_part_by_part(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(s.root(), Persistent)).await;
    p.ok(add_watch(s.root(), PersistentRecursive)).await;
    let x = s.path("x");
    let parts = vec![part_create(&x), part_set(&x, b"", ANY), part_delete(&x)];
    let reply = p.ask(multi(parts)).await;
    let expected = [
        (NodeCreated, x.as_str()),
        (NodeChildrenChanged, s.root()),
        (NodeDataChanged, &x),
        (NodeDeleted, &x),
        (NodeChildrenChanged, s.root()),
    ];
    assert_eq!(
        p.events(),
        expected.map(|(kind, path)| Event::new(reply.zxid, kind, path))
    );
}

async fn closing_fires_a_persistent_watch_for_each(s: Subject) {
    let (mut p, mut owner) = (s.peer().await, s.peer().await);
    for name in ["a", "b", "c"] {
        owner
            .ok(create_as(&s.path(name), b"", CreateMode::Ephemeral))
            .await;
    }
    p.ok(add_watch(s.root(), Persistent)).await;
    owner.close().await;
    assert_eq!(
        p.heard().await,
        vec![(NodeChildrenChanged, s.root().to_owned()); 3]
    );
}

async fn rights_are_those_of_the_moment(s: Subject) {
    let (mut p, mut owner) = (s.peer().await, s.peer().await);
    owner.ok(auth("digest", b"owner:pw")).await;
    owner
        .ok(create_for(&s.path("a"), zk_proto::Acl::creator_all()))
        .await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    owner.ok(set(&s.path("a"), b"", ANY)).await;
    assert_eq!(p.heard().await, []);
    p.ok(auth("digest", b"owner:pw")).await;
    owner.ok(set(&s.path("a"), b"", ANY)).await;
    assert_eq!(p.heard().await, [(NodeDataChanged, s.path("a"))]);
}

async fn a_recursive_watch_hides_what_may_not_be_read(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(s.root(), PersistentRecursive)).await;
    let unreadable = only(Perms(31 & !Perms::READ.0), "world", "anyone");
    p.ok(create_for(&s.path("dark"), unreadable)).await;
    p.create(&s.path("dark/light")).await;
    p.ok(set(&s.path("dark"), b"", ANY)).await;
    assert_eq!(p.heard().await, [(NodeCreated, s.path("dark/light"))]);
}

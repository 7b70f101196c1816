//! One-shot watches: what fires them, in which order, and what they say.

use zk_proto::{
    CreateMode, ErrorCode, Perms, Zxid,
    op::Request,
    watch::{
        AddWatchMode::{Persistent, PersistentRecursive},
        EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted},
        WatcherType,
    },
};
use zk_tests::{
    frames::Event,
    requests::{
        ANY, add_watch, check_watches, create, create_as, create_for, delete, exists, only,
        part_create, part_delete, set, set_acl, watch_children, watch_data, watch_exists,
    },
};

use crate::subject::{Subject, told};

cases! {
    a_data_watch_fires_once,
    a_child_watch_fires_once,
    an_exists_watch_waits_for_the_node,
    get_data_of_a_missing_node_leaves_no_watch,
    a_refused_read_leaves_no_watch,
    setting_the_same_data_fires,
    what_fires_nothing,
    a_refused_write_fires_nothing,
    deletion_fires_one_event_per_connection,
    deletion_fires_a_child_watch,
    registering_twice_fires_once,
    the_events_zxid,
    events_come_before_the_reply_that_caused_them,
    events_come_before_a_read_that_shows_their_cause,
    the_node_comes_before_its_parent,
    one_write_tells_every_connection,
    watches_end_with_the_connection,
    a_failed_multi_fires_nothing,
    closing_a_session_fires_for_its_ephemerals,
    without_read_the_watch_is_lost_unheard,
    created_without_read_is_unheard,
    the_empty_path_and_the_root,
}

const NO_WATCHER: ErrorCode = ErrorCode::NoWatcher;

async fn a_data_watch_fires_once(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(watch_data(&s.path("a"))).await;
    for _ in 0..3 {
        p.ok(set(&s.path("a"), b"x", ANY)).await;
    }
    assert_eq!(p.told(), [(NodeDataChanged, s.path("a"))]);
    p.ok(watch_exists(&s.path("a"))).await;
    p.ok(set(&s.path("a"), b"x", ANY)).await;
    assert_eq!(p.told(), [(NodeDataChanged, s.path("a"))]);
}

async fn a_child_watch_fires_once(s: Subject) {
    let mut p = s.peer().await;
    p.ok(watch_children(s.root())).await;
    p.create(&s.path("a")).await;
    p.create(&s.path("b")).await;
    assert_eq!(p.told(), [(NodeChildrenChanged, s.root().to_owned())]);
    let record = zk_proto::op::GetChildrenRequest {
        path: s.root().into(),
        watch: true,
    };
    p.ok(Request::GetChildren2(record)).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    p.ok(delete(&s.path("b"), ANY)).await;
    assert_eq!(p.told(), [(NodeChildrenChanged, s.root().to_owned())]);
}

async fn an_exists_watch_waits_for_the_node(s: Subject) {
    let mut p = s.peer().await;
    p.fails(watch_exists(&s.path("a")), ErrorCode::NoNode).await;
    p.create(&s.path("b")).await;
    assert_eq!(p.told(), []);
    p.create(&s.path("a")).await;
    assert_eq!(p.told(), [(NodeCreated, s.path("a"))]);
    p.ok(set(&s.path("a"), b"", ANY)).await;
    assert_eq!(p.told(), []);
}

async fn get_data_of_a_missing_node_leaves_no_watch(s: Subject) {
    let mut p = s.peer().await;
    p.fails(watch_data(&s.path("a")), ErrorCode::NoNode).await;
    p.fails(watch_children(&s.path("a")), ErrorCode::NoNode)
        .await;
    p.create(&s.path("a")).await;
    assert_eq!(p.told(), []);
}

async fn a_refused_read_leaves_no_watch(s: Subject) {
    let mut p = s.peer().await;
    let blind = only(Perms(31 & !Perms::READ.0), "world", "anyone");
    p.ok(create_for(&s.path("a"), blind)).await;
    for request in [watch_data, watch_exists, watch_children] {
        p.fails(request(&s.path("a")), ErrorCode::NoAuth).await;
    }
    for kind in [WatcherType::Data, WatcherType::Children, WatcherType::Any] {
        p.fails(check_watches(&s.path("a"), kind), NO_WATCHER).await;
    }
}

async fn setting_the_same_data_fires(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create(&s.path("a"), b"same")).await;
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(set(&s.path("a"), b"same", ANY)).await;
    assert_eq!(p.told(), [(NodeDataChanged, s.path("a"))]);
}

async fn what_fires_nothing(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(watch_children(&s.path("a"))).await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    p.ok(set_acl(&s.path("a"), zk_proto::Acl::open(), ANY))
        .await;
    // A grandchild, and a child's data, are not what these watch.
    p.create(&s.path("a/b/c")).await;
    p.ok(set(&s.path("a/b"), b"", ANY)).await;
    // Neither is a sibling with a longer name.
    p.create(&s.path("ab")).await;
    p.ok(exists(&s.path("a"))).await;
    assert_eq!(p.heard().await, []);
}

async fn a_refused_write_fires_nothing(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.create(&s.path("a/b")).await;
    p.ok(add_watch(s.root(), PersistentRecursive)).await;
    p.fails(set(&s.path("a"), b"", 9), ErrorCode::BadVersion)
        .await;
    p.fails(delete(&s.path("a"), ANY), ErrorCode::NotEmpty)
        .await;
    p.fails(create(&s.path("a"), b""), ErrorCode::NodeExists)
        .await;
    assert_eq!(p.heard().await, []);
}

async fn deletion_fires_one_event_per_connection(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(watch_exists(&s.path("a"))).await;
    p.ok(watch_children(&s.path("a"))).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    assert_eq!(p.told(), [(NodeDeleted, s.path("a"))]);
    p.create(&s.path("a")).await;
    assert_eq!(p.told(), [], "all of them are gone");
}

async fn deletion_fires_a_child_watch(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(watch_children(&s.path("a"))).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    assert_eq!(p.told(), [(NodeDeleted, s.path("a"))]);
}

async fn registering_twice_fires_once(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    for _ in 0..3 {
        p.ok(watch_data(&s.path("a"))).await;
        p.ok(watch_exists(&s.path("a"))).await;
        p.ok(watch_children(&s.path("a"))).await;
    }
    p.ok(set(&s.path("a"), b"", ANY)).await;
    p.create(&s.path("a/b")).await;
    assert_eq!(
        p.told(),
        [
            (NodeDataChanged, s.path("a")),
            (NodeChildrenChanged, s.path("a"))
        ]
    );
}

async fn the_events_zxid(s: Subject) {
    let mut p = s.peer().await;
    p.fails(watch_exists(&s.path("a")), ErrorCode::NoNode).await;
    let created = p.ask(create(&s.path("a"), b"")).await;
    p.ok(watch_data(&s.path("a"))).await;
    let changed = p.ask(set(&s.path("a"), b"", ANY)).await;
    p.ok(watch_children(&s.path("a"))).await;
    let deleted = p.ask(delete(&s.path("a"), ANY)).await;
    let expected = [
        Event::new(created.zxid, NodeCreated, &s.path("a")),
        Event::new(changed.zxid, NodeDataChanged, &s.path("a")),
        Event::new(deleted.zxid, NodeDeleted, &s.path("a")),
    ];
    assert_eq!(p.events(), expected);
}

async fn events_come_before_the_reply_that_caused_them(s: Subject) {
    let mut p = s.peer().await;
    p.ok(watch_children(s.root())).await;
    p.0.send(&create(&s.path("a"), b"")).await.unwrap();
    assert_eq!(
        told(p.event().await),
        (NodeChildrenChanged, s.root().to_owned())
    );
    assert_eq!(p.0.reply().await.unwrap().code, ErrorCode::Ok);
}

async fn events_come_before_a_read_that_shows_their_cause(s: Subject) {
    let (mut watcher, mut writer) = (s.peer().await, s.peer().await);
    for known in 0..50 {
        watcher.ok(watch_children(s.root())).await;
        let create = create_as(&s.path("n-"), b"", CreateMode::PersistentSequential);
        writer.0.send(&create).await.unwrap();
        let sees_it = watcher.stat(s.root()).await.num_children > known;
        assert!(
            !sees_it || watcher.told().len() == 1,
            "node {known} came before its event"
        );
        assert_eq!(writer.0.reply().await.unwrap().code, ErrorCode::Ok);
        watcher.heard().await;
    }
}

async fn the_node_comes_before_its_parent(s: Subject) {
    let mut p = s.peer().await;
    p.fails(watch_exists(&s.path("a")), ErrorCode::NoNode).await;
    p.ok(watch_children(s.root())).await;
    p.create(&s.path("a")).await;
    assert_eq!(
        p.told(),
        [
            (NodeCreated, s.path("a")),
            (NodeChildrenChanged, s.root().to_owned())
        ]
    );
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(watch_children(s.root())).await;
    p.ok(delete(&s.path("a"), ANY)).await;
    assert_eq!(
        p.told(),
        [
            (NodeDeleted, s.path("a")),
            (NodeChildrenChanged, s.root().to_owned())
        ]
    );
}

async fn one_write_tells_every_connection(s: Subject) {
    let mut writer = s.peer().await;
    writer.create(&s.path("a")).await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        let mut watcher = s.peer().await;
        watcher.ok(watch_data(&s.path("a"))).await;
        watchers.push(watcher);
    }
    let changed = writer.ask(set(&s.path("a"), b"", ANY)).await;
    for mut watcher in watchers {
        assert_eq!(
            watcher.event().await,
            Event::new(changed.zxid, NodeDataChanged, &s.path("a"))
        );
    }
    assert_eq!(writer.heard().await, []);
}

async fn watches_end_with_the_connection(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(watch_data(&s.path("a"))).await;
    p.ok(add_watch(&s.path("a"), Persistent)).await;
    let resume = p.0.resumption(Zxid::ZERO);
    p.0.cut();
    let mut again = s.connect(&resume).await.unwrap();
    again
        .fails(check_watches(&s.path("a"), WatcherType::Any), NO_WATCHER)
        .await;
    again.ok(set(&s.path("a"), b"", ANY)).await;
    assert_eq!(again.heard().await, []);
}

async fn a_failed_multi_fires_nothing(s: Subject) {
    let mut p = s.peer().await;
    p.ok(add_watch(s.root(), PersistentRecursive)).await;
    let parts = vec![part_create(&s.path("x")), part_delete(&s.path("nope"))];
    p.multi(parts).await;
    assert_eq!(p.heard().await, []);
}

/// The order of the nodes is the server's own; within one node it is deleted, parent.
async fn closing_a_session_fires_for_its_ephemerals(s: Subject) {
    let (mut p, mut owner) = (s.peer().await, s.peer().await);
    for name in ["a", "b", "c"] {
        owner
            .ok(create_as(&s.path(name), b"", CreateMode::Ephemeral))
            .await;
        p.ok(watch_data(&s.path(name))).await;
    }
    p.ok(watch_children(s.root())).await;
    owner.close().await;
    p.ok(Request::Ping).await;
    let events = p.events();
    let zxid = p.stat(s.root()).await.pzxid;
    assert!(events.iter().all(|event| event.zxid == zxid), "{events:?}");
    let mut told: Vec<_> = events.into_iter().map(told).collect();
    assert_eq!(told.remove(1), (NodeChildrenChanged, s.root().to_owned()));
    told.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        told,
        ["a", "b", "c"].map(|name| (NodeDeleted, s.path(name)))
    );
}

async fn without_read_the_watch_is_lost_unheard(s: Subject) {
    let (mut p, mut owner) = (s.peer().await, s.peer().await);
    for last in [set(&s.path("a"), b"", ANY), delete(&s.path("a"), ANY)] {
        owner.create(&s.path("a")).await;
        p.ok(watch_data(&s.path("a"))).await;
        let unreadable = only(Perms(31 & !Perms::READ.0), "world", "anyone");
        owner.ok(set_acl(&s.path("a"), unreadable, ANY)).await;
        owner.ok(last).await;
        assert_eq!(p.heard().await, []);
        p.fails(check_watches(&s.path("a"), WatcherType::Data), NO_WATCHER)
            .await;
        owner.ask(delete(&s.path("a"), ANY)).await;
    }
}

async fn created_without_read_is_unheard(s: Subject) {
    let mut p = s.peer().await;
    p.fails(watch_exists(&s.path("a")), ErrorCode::NoNode).await;
    let unreadable = only(Perms(31 & !Perms::READ.0), "world", "anyone");
    p.ok(create_for(&s.path("a"), unreadable)).await;
    assert_eq!(p.heard().await, []);
    p.fails(check_watches(&s.path("a"), WatcherType::Data), NO_WATCHER)
        .await;
}

async fn the_empty_path_and_the_root(s: Subject) {
    let mut p = s.peer().await;
    // A read of "" answers as the root, but watches "", which nothing ever changes under that name.
    p.ok(watch_children("/")).await;
    let path = p
        .created(create_as("/", b"", CreateMode::EphemeralSequential))
        .await;
    assert_eq!(p.told(), [(NodeChildrenChanged, "/".to_owned())]);
    p.ok(watch_children("")).await;
    p.ok(delete(&path, ANY)).await;
    assert_eq!(p.told(), []);
    p.ok(check_watches("", WatcherType::Children)).await;
}

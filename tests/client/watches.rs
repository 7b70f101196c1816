//! Every kind of watch: what it tells, and that it survives a lost connection and a change of servers.

use futures::future::join_all;
use zk_client::{Client, SessionState, WatchEvent};

use crate::subject::{Subject, until};

cases! {
    a_watch_tells_the_first_change_once,
    a_persistent_watch_tells_every_change_of_its_node,
    a_recursive_watch_tells_every_change_below,
    a_dropped_watch_is_removed_and_others_stay,
    watches_of_every_kind_survive_a_lost_connection,
    watches_of_every_kind_follow_to_another_server,
    thousands_of_watches_are_registered_again,
    the_end_of_the_session_is_told_to_every_watch,
}

async fn a_watch_tells_the_first_change_once(subject: &Subject) {
    let client = subject.client().await;
    let (absent, created) = client.exists("/a").watch().await.unwrap();
    assert_eq!(absent, None);
    client.create("/a", b"x").await.unwrap();
    assert!(matches!(created.await, WatchEvent::Created(node) if node.path == "/a"));
    let (_, changed) = client.get("/a").watch().await.unwrap();
    let (names, child) = client.children("/a").watch().await.unwrap();
    assert!(names.is_empty());
    let (_, gone) = client.exists("/a/b").watch().await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    assert!(matches!(child.await, WatchEvent::ChildrenChanged(node) if node.path == "/a"));
    assert!(matches!(gone.await, WatchEvent::Created(node) if node.path == "/a/b"));
    client.set("/a", b"y").await.unwrap();
    client.set("/a", b"z").await.unwrap();
    assert!(matches!(changed.await, WatchEvent::DataChanged(node) if node.path == "/a"));
    let (_, gone) = client.get("/a/b").watch().await.unwrap();
    let (_, gone_too) = client.children("/a/b").watch().await.unwrap();
    client.delete("/a/b").await.unwrap();
    assert!(gone.await.is_deleted() && gone_too.await.is_deleted());
}

async fn a_persistent_watch_tells_every_change_of_its_node(subject: &Subject) {
    let client = subject.client().await;
    let mut watch = client.watch("/a").await.unwrap();
    client.create("/a", b"").await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    client.set("/a/b", b"not told").await.unwrap();
    client.set("/a", b"x").await.unwrap();
    client.delete("/a/b").await.unwrap();
    client.delete("/a").await.unwrap();
    assert!(matches!(next(&mut watch).await, WatchEvent::Created(_)));
    assert!(matches!(
        next(&mut watch).await,
        WatchEvent::ChildrenChanged(_)
    ));
    assert!(matches!(next(&mut watch).await, WatchEvent::DataChanged(_)));
    assert!(matches!(
        next(&mut watch).await,
        WatchEvent::ChildrenChanged(_)
    ));
    assert!(next(&mut watch).await.is_deleted());
}

async fn a_recursive_watch_tells_every_change_below(subject: &Subject) {
    let client = subject.client().await;
    client.create("/a", b"").await.unwrap();
    let mut watch = client.watch("/a").recursive().await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    client.create("/a/b/c", b"").await.unwrap();
    client.set("/a/b", b"x").await.unwrap();
    client.delete("/a/b/c").await.unwrap();
    let told = [
        next(&mut watch).await,
        next(&mut watch).await,
        next(&mut watch).await,
        next(&mut watch).await,
    ];
    let paths: Vec<_> = told.iter().filter_map(WatchEvent::path).collect();
    assert_eq!(paths, ["/a/b", "/a/b/c", "/a/b", "/a/b/c"]);
    assert!(matches!(told[0], WatchEvent::Created(_)));
    assert!(matches!(told[2], WatchEvent::DataChanged(_)));
    assert!(told[3].is_deleted());
}

async fn a_dropped_watch_is_removed_and_others_stay(subject: &Subject) {
    let client = subject.client().await;
    client.create("/a", b"").await.unwrap();
    let first = client.watch("/a").await.unwrap();
    let mut second = client.watch("/a").await.unwrap();
    let mut recursive = client.watch("/a").recursive().await.unwrap();
    drop(first);
    client.set("/a", b"1").await.unwrap();
    assert_eq!(next(&mut second).await.path(), Some("/a"));
    drop(second);
    client.set("/a", b"2").await.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut recursive).await.path(), Some("/a"));
    }
    let (_, change) = client.get("/a").watch().await.unwrap();
    drop(recursive);
    client.set("/a", b"3").await.unwrap();
    assert_eq!(change.await.path(), Some("/a"));
}

async fn watches_of_every_kind_survive_a_lost_connection(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    every_watch_survives(subject, &client, || proxy.cut()).await;
    assert!(proxy.accepted() >= 2);
}

async fn watches_of_every_kind_follow_to_another_server(subject: &Subject) {
    let (one, two) = (subject.proxy().await, subject.proxy().await);
    two.down();
    let client = subject.through(&[&one, &two]).connect().await.unwrap();
    every_watch_survives(subject, &client, || {
        two.up();
        one.down();
    })
    .await;
    // The other way round, and the watches that are left follow again.
    let (_, change) = client.get("/d").watch().await.unwrap();
    one.up();
    two.down();
    until(&client, SessionState::is_connected).await;
    subject.client().await.set("/d", "last").await.unwrap();
    assert!(matches!(change.await, WatchEvent::DataChanged(_)));
}

/// `away` takes the connection from the client, which finds another.
///
/// Persistent watches have nodes of their own: Apache before 3.9 keeps one kind of watch for each path
/// (ZOOKEEPER-4466).
async fn every_watch_survives(subject: &Subject, client: &Client, away: impl Fn()) {
    let other = subject.client().await;
    for path in ["/d", "/p", "/r"] {
        other.create(path, b"").await.unwrap();
    }
    let id = client.session().id();
    let (_, data) = client.get("/d").watch().await.unwrap();
    let (_, child) = client.children("/d").watch().await.unwrap();
    let (_, absent) = client.exists("/e").watch().await.unwrap();
    let (_, later) = client.exists("/f").watch().await.unwrap();
    let mut plain = client.watch("/p").await.unwrap();
    let mut recursive = client.watch("/r").recursive().await.unwrap();
    let mut states = client.states();
    away();
    // Before the reconnect or after it: whichever it is, nothing may be missed.
    other.set("/d", b"x").await.unwrap();
    other.create("/d/c", b"").await.unwrap();
    other.create("/e", b"").await.unwrap();
    assert!(matches!(data.await, WatchEvent::DataChanged(_)));
    assert!(matches!(child.await, WatchEvent::ChildrenChanged(_)));
    assert!(matches!(absent.await, WatchEvent::Created(_)));
    for expected in [
        SessionState::Connected,
        SessionState::Suspended,
        SessionState::Connected,
    ] {
        assert_eq!(states.next().await, Some(expected));
    }
    assert_eq!(client.session().id(), id);
    for watch in [&mut plain, &mut recursive] {
        assert_eq!(next(watch).await, WatchEvent::SessionDisconnected);
        assert_eq!(next(watch).await, WatchEvent::SessionReconnected);
    }
    other.create("/r/after", b"").await.unwrap();
    assert_eq!(next(&mut recursive).await.path(), Some("/r/after"));
    other.create("/p/after", b"").await.unwrap();
    assert!(matches!(
        next(&mut plain).await,
        WatchEvent::ChildrenChanged(_)
    ));
    other.create("/f", b"").await.unwrap();
    assert_eq!(later.await.path(), Some("/f"));
}

/// Their paths do not fit into one frame.
async fn thousands_of_watches_are_registered_again(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    let paths: Vec<_> = (0..10_000).map(|n| format!("/{n:0>120}")).collect();
    let watched = join_all(paths.iter().map(|path| client.exists(path).watch())).await;
    let mut states = client.states();
    proxy.cut();
    for _ in 0..3 {
        states.next().await.unwrap();
    }
    let other = subject.client().await;
    let created = join_all(paths.iter().step_by(7).map(|path| other.create(path, ""))).await;
    assert!(created.iter().all(Result::is_ok));
    for (watched, path) in watched.into_iter().zip(&paths).step_by(7) {
        assert_eq!(watched.unwrap().1.await.path(), Some(path.as_str()));
    }
}

async fn the_end_of_the_session_is_told_to_every_watch(subject: &Subject) {
    let client = subject.client().await;
    client.create("/a", b"").await.unwrap();
    let (_, change) = client.get("/a").watch().await.unwrap();
    let mut plain = client.watch("/a").await.unwrap();
    client.close().await.unwrap();
    assert_eq!(change.await, WatchEvent::SessionEnded);
    assert_eq!(plain.next().await, Some(WatchEvent::SessionEnded));
    assert_eq!(plain.next().await, None);
}

async fn next(watch: &mut zk_client::Watch) -> WatchEvent {
    watch.next().await.unwrap()
}

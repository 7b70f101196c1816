//! Caches: what they hold, what they tell, and that neither misses anything.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{builder, client, proxy::Proxy, server, soon, unique};
use zk_client::Client;
use zk_recipes::{cache::CacheSource, prelude::*};

/// Opcodes (`ZooDefs.OpCode`).
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const REMOVE_WATCHES: i32 = 18;
const ADD_WATCH: i32 = 106;

/// Waits until the cache is stale, or is not.
async fn until_stale(cache: &Cache, stale: bool) {
    let wait = async {
        while cache.is_stale() != stale {
            tokio::task::yield_now().await;
        }
    };
    soon("its state", wait).await;
}

/// Both ways of watching.
fn both(source: CacheSource) -> [CacheSource; 2] {
    [source.clone(), source.one_shot_watches()]
}

/// What a stream tells, in short, up to and with the next `Synced`, or so many.
async fn told(changes: &mut zk_recipes::CacheChanges, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        let change = soon("a change", changes.next()).await.unwrap().unwrap();
        told.push(match change {
            CacheChange::Added(node) => format!("+{}", node.name()),
            CacheChange::Changed { old, new } => {
                assert_eq!(old.path, new.path);
                format!("{}={}", new.name(), String::from_utf8_lossy(&new.data))
            }
            CacheChange::Removed(node) => format!("-{}", node.name()),
            CacheChange::Synced => "synced".into(),
            other => panic!("{other:?}"),
        });
    }
    told
}

/// Waits until the cache holds just these nodes and data.
async fn until_holds(cache: &Cache, expected: &BTreeMap<String, String>) {
    let mut changes = cache.changes();
    soon("the cache", async {
        loop {
            let snapshot = cache.snapshot();
            let held: BTreeMap<String, String> = snapshot
                .iter()
                .map(|(path, node)| {
                    let data = String::from_utf8_lossy(&node.data).into_owned();
                    (path.to_string(), data)
                })
                .collect();
            if held == *expected {
                return;
            }
            changes.next().await.unwrap().unwrap();
        }
    })
    .await;
}

/// Everything below a node, as the server has it.
async fn read(client: &Client, root: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        if let Some(node) = client.get_opt(&path).await.unwrap() {
            let data = String::from_utf8_lossy(&node.data).into_owned();
            let names = client.children(&path).await.unwrap();
            left.extend(names.iter().map(|name| format!("{path}/{name}")));
            found.insert(path, data);
        }
    }
    found
}

#[tokio::test]
async fn a_cache_tells_what_is_there_and_then_what_changes() {
    let server = server().await;
    let client = client(server.address()).await;
    let base = unique("cache");
    for path in ["a/b", "a/c", "d"] {
        client
            .create_all(&format!("{base}/{path}"), "")
            .await
            .unwrap();
    }
    for source in both(client.tree_cache(&format!("{base}/a"))) {
        let cache = source.start().await.unwrap();
        assert_eq!((cache.len(), cache.is_stale()), (3, false));
        let mut changes = cache.changes();
        assert_eq!(told(&mut changes, 4).await, ["+a", "+b", "+c", "synced"]);
        client.set(&format!("{base}/a/b"), "1").await.unwrap();
        assert_eq!(told(&mut changes, 1).await, ["b=1"]);
        client.create(&format!("{base}/a/b/e"), "").await.unwrap();
        assert_eq!(told(&mut changes, 1).await, ["+e"]);
        client.set(&format!("{base}/d"), "not told").await.unwrap();
        client.delete_all(&format!("{base}/a/b")).await.unwrap();
        let mut gone = told(&mut changes, 2).await;
        gone.sort();
        assert_eq!(gone, ["-b", "-e"]);
        // Who comes late is told the same state.
        assert_eq!(told(&mut cache.changes(), 3).await, ["+a", "+c", "synced"]);
        client.create(&format!("{base}/a/b"), "").await.unwrap();
        assert_eq!(told(&mut changes, 1).await, ["+b"]);
    }
}

#[tokio::test]
async fn children_and_nodes_are_followed_from_before_they_exist() {
    let server = server().await;
    let client = client(server.address()).await;
    for way in 0..2 {
        let base = unique("cache-absent");
        let child = format!("{base}/a");
        let [plain, one_shot] = both(client.children_cache(&base));
        let children = if way == 0 { plain } else { one_shot };
        let [plain, one_shot] = both(client.node_cache(&child));
        let node = if way == 0 { plain } else { one_shot };
        let (children, node) = (children.start().await.unwrap(), node.start().await.unwrap());
        assert!(children.is_empty() && node.is_empty() && !node.is_stale());
        let (mut told_children, mut told_node) = (children.changes(), node.changes());
        assert_eq!(told(&mut told_children, 1).await, ["synced"]);
        assert_eq!(told(&mut told_node, 1).await, ["synced"]);
        for round in 0..3 {
            client.create_all(&child, "x").await.unwrap();
            assert_eq!(told(&mut told_children, 1).await, ["+a"], "{round}");
            assert_eq!(told(&mut told_node, 1).await, ["+a"], "{round}");
            client.create(&format!("{child}/below"), "").await.unwrap();
            client.set(&child, "y").await.unwrap();
            assert_eq!(told(&mut told_children, 1).await, ["a=y"], "{round}");
            assert_eq!(told(&mut told_node, 1).await, ["a=y"], "{round}");
            client.delete_all(&base).await.unwrap();
            assert_eq!(told(&mut told_children, 1).await, ["-a"], "{round}");
            assert_eq!(told(&mut told_node, 1).await, ["-a"], "{round}");
        }
        assert!(children.get(&child).is_none() && node.get(&child).is_none());
    }
}

#[tokio::test]
async fn what_happens_without_a_connection_and_across_an_expiry_is_made_up_for() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    for (way, ends) in [(0, false), (1, false), (0, true), (1, true)] {
        let base = unique("cache-gap");
        for number in 0..20 {
            other
                .create_all(&format!("{base}/{number}/x"), "old")
                .await
                .unwrap();
        }
        let [plain, one_shot] = both(client.tree_cache(&base));
        let source = if way == 0 { plain } else { one_shot };
        let cache = source.start().await.unwrap();
        until_holds(&cache, &read(&other, &base).await).await;
        let mut states = client.states();
        proxy.cut();
        while states.next().await.unwrap().is_connected() {}
        soon("staleness", async {
            while !cache.is_stale() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for number in 0..10 {
            other
                .set(&format!("{base}/{number}/x"), "new")
                .await
                .unwrap();
            other
                .delete_all(&format!("{base}/{}", number + 10))
                .await
                .unwrap();
            other
                .create(&format!("{base}/{number}/y"), "")
                .await
                .unwrap();
        }
        if ends {
            server.end(&client.session()).await;
        }
        proxy.restore();
        until_holds(&cache, &read(&other, &base).await).await;
        soon("the end of staleness", async {
            while cache.is_stale() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        other.set(&base, "after").await.unwrap();
        until_holds(&cache, &read(&other, &base).await).await;
    }
}

#[tokio::test]
async fn what_a_snapshot_shows_was_there_at_one_moment() {
    let server = server().await;
    let (client, writer) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let base = unique("cache-moment");
    let names = ["a", "b", "c", "d"].map(|name| format!("{base}/{name}"));
    writer.create_all(&base, "").await.unwrap();
    for name in &names {
        writer.create(name, "0").await.unwrap();
    }
    for source in both(client.children_cache(&base)) {
        let cache = source.start().await.unwrap();
        let (mut changes, mut told) = (cache.changes(), cache.changes());
        // All of them get the same number in one transaction: whoever sees two numbers at once saw two moments.
        let writes = async {
            for number in 0..300 {
                let mut multi = writer.multi();
                for name in &names {
                    multi = multi.set(name, number.to_string()).any();
                }
                multi.commit().await.unwrap();
                // After 64 rounds that were all overtaken, what was read is shown as it is, on a slow machine.
                let is_old = |node: &CachedNode| node.data != number.to_string();
                while number % 32 == 31 && cache.snapshot().values().any(is_old) {
                    told.next().await.unwrap().unwrap();
                }
            }
        };
        let mut seen = 0;
        let looks = async {
            loop {
                let snapshot = cache.snapshot();
                let mut numbers: Vec<_> = snapshot.values().map(|node| &node.data).collect();
                assert_eq!(numbers.len(), 4);
                numbers.dedup();
                assert_eq!(numbers.len(), 1, "{numbers:?}");
                seen += 1;
                if numbers[0] == "299" {
                    return;
                }
                changes.next().await.unwrap().unwrap();
            }
        };
        soon("the last number", async { tokio::join!(writes, looks) }).await;
        assert!(seen > 3, "{seen}");
        writer.set(&names[0], "0").await.unwrap();
        for name in &names {
            writer.set(name, "0").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_change_that_was_told_and_is_not_read_makes_it_stale() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let other = client(server.address()).await;
    let client = builder(proxy.address()).request_timeout(Duration::from_millis(100));
    let client = client.connect().await.unwrap();
    for way in 0..2 {
        let path = unique("cache-unread");
        other.create_all(&path, "1").await.unwrap();
        let source = both(client.node_cache(&path)).into_iter().nth(way);
        let cache = source.unwrap().start().await.unwrap();
        let mut changes = cache.changes();
        told(&mut changes, 2).await;
        assert!(!cache.is_stale());
        proxy.hold_next(GET_DATA);
        other.set(&path, "2").await.unwrap();
        until_stale(&cache, true).await;
        assert!(client.state().is_connected());
        assert_eq!(cache.get(&path).unwrap().data, "1", "served all the same");
        proxy.release();
        assert!(told(&mut changes, 1).await[0].ends_with("=2"));
        assert!(!cache.is_stale());
    }
}

#[tokio::test]
async fn a_doubt_ends_also_where_nothing_has_changed() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = (client(server.address()).await, unique("cache-doubt"));
    other.create_all(&path, "").await.unwrap();
    let client = builder(proxy.address()).request_timeout(Duration::from_millis(100));
    let client = client.connect().await.unwrap();
    let source = client.children_cache(&path).one_shot_watches();
    let cache = source.start().await.unwrap();
    let mut changes = cache.changes();
    assert_eq!(told(&mut changes, 1).await, ["synced"]);
    proxy.seen();
    proxy.hold_next(GET_CHILDREN);
    let child = format!("{path}/short-lived");
    other.create(&child, "").await.unwrap();
    soon("the look", proxy.until_seen(GET_CHILDREN, 1)).await;
    other.delete(&child).await.unwrap();
    until_stale(&cache, true).await;
    // What is asked from here on finds nothing new.
    proxy.seen();
    soon("another look", proxy.until_seen(GET_CHILDREN, 1)).await;
    proxy.release();
    until_stale(&cache, false).await;
    assert!(cache.is_empty());
    other.create(&child, "").await.unwrap();
    assert_eq!(told(&mut changes, 1).await, ["+short-lived"]);
}

#[tokio::test]
async fn a_closed_client_ends_the_cache_and_says_so() {
    let server = server().await;
    let client = client(server.address()).await;
    let base = unique("cache-end");
    let cache = client.tree_cache(&base).start().await.unwrap();
    let mut changes = cache.changes();
    assert_eq!(told(&mut changes, 1).await, ["synced"]);
    client.close().await.unwrap();
    let end = soon("the end", changes.next()).await;
    assert!(matches!(
        end,
        Some(Err(zk_recipes::Error::SessionGone { .. }))
    ));
    assert!(changes.next().await.is_none() && cache.is_stale());
    let error = client.tree_cache(&base).start().await.unwrap_err();
    assert!(matches!(error, zk_recipes::Error::SessionGone { .. }));
}

#[tokio::test]
async fn a_server_without_persistent_watches_is_asked_no_more() {
    let server = server().await;
    let other = client(server.address()).await;
    // It refuses and closes the connection, or is seen only to close it: each request is repeated by itself, and two of them
    // are lost before they are taken for a refusal.
    for is_seen in [true, false] {
        let proxy = Proxy::start(server.address()).await;
        let client = client(proxy.address()).await;
        match is_seen {
            true => proxy.forget(ADD_WATCH),
            false => proxy.close_at(ADD_WATCH),
        }
        let asked = || {
            let seen = proxy.seen();
            seen.into_iter().filter(|op| *op == ADD_WATCH).count()
        };
        let base = unique("cache-old");
        other.create_all(&base, "").await.unwrap();
        let first = soon("the start", client.children_cache(&base).start());
        let first = first.await.unwrap();
        let times = asked();
        assert!((1..=6).contains(&times), "{times}");
        let second = soon("the start", client.tree_cache(&base).start());
        let second = second.await.unwrap();
        let (mut one, mut two) = (first.changes(), second.changes());
        assert_eq!(told(&mut one, 1).await, ["synced"]);
        assert_eq!(told(&mut two, 2).await.last().unwrap(), "synced");
        other.create(&format!("{base}/a"), "").await.unwrap();
        assert_eq!(told(&mut one, 1).await, ["+a"]);
        assert_eq!(told(&mut two, 1).await, ["+a"]);
        assert_eq!(asked(), 0);
    }
}

#[tokio::test]
async fn dropping_a_cache_removes_its_watches() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let client = client(proxy.address()).await;
    let base = unique("cache-drop");
    client.create_all(&base, "").await.unwrap();
    // One of the whole; and of the node two, for its data and for its children.
    for (source, watches) in both(client.tree_cache(&base)).into_iter().zip([1, 2]) {
        let cache = source.start().await.unwrap();
        let mut changes = cache.changes();
        drop(cache);
        // The stream alone keeps it running.
        assert_eq!(told(&mut changes, 2).await.len(), 2);
        client.set(&base, "x").await.unwrap();
        assert!(told(&mut changes, 1).await[0].ends_with("=x"));
        assert!(!proxy.seen().contains(&REMOVE_WATCHES));
        drop(changes);
        soon("the removal", proxy.until_seen(REMOVE_WATCHES, watches)).await;
        client.set(&base, "").await.unwrap();
        client.sync(&base).await.unwrap();
        let more = proxy.seen();
        assert!(
            !more.contains(&REMOVE_WATCHES) && !more.contains(&GET_DATA),
            "{more:?}"
        );
    }
}

#[tokio::test]
async fn a_cache_of_the_root_is_read_again_whatever_its_nodes_are_called() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (direct, base) = (client(server.address()).await, unique("cache-root"));
    direct.create_all(&format!("{base}/é/ü"), "").await.unwrap();
    let chroot = format!("{}{base}", proxy.address());
    let rooted = client(&chroot).await;
    for source in both(rooted.tree_cache("/")) {
        let cache = source.start().await.unwrap();
        let mut changes = cache.changes();
        assert_eq!(told(&mut changes, 4).await, ["+", "+é", "+ü", "synced"]);
        proxy.blink();
        assert_eq!(told(&mut changes, 1).await, ["synced"]);
        direct.create(&format!("{base}/ö"), "").await.unwrap();
        assert_eq!(told(&mut changes, 1).await, ["+ö"]);
        direct.delete(&format!("{base}/ö")).await.unwrap();
        assert_eq!(told(&mut changes, 1).await, ["-ö"]);
    }
}

#[tokio::test]
async fn a_cache_starts_and_catches_up_under_writes_without_a_pause() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (cached, writer) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let base = unique("cache-busy");
    writer.create_all(&format!("{base}/a/b"), "").await.unwrap();
    let busy = format!("{base}/a/b");
    // There are always many writes on their way.
    let writing = tokio::spawn(async move {
        let mut on_their_way = std::collections::VecDeque::new();
        for number in 0_u64.. {
            let write = writer.set(&busy, number.to_string()).submit().await;
            on_their_way.push_back(write.unwrap());
            if on_their_way.len() > 100 {
                on_their_way.pop_front().unwrap().await.unwrap();
            }
        }
    });
    for source in both(cached.tree_cache(&base)) {
        let cache = soon("the start", source.start()).await.unwrap();
        let mut changes = cache.changes();
        proxy.blink();
        let mut syncs = 0;
        soon("both readings of everything", async {
            while syncs < 2 {
                let change = changes.next().await.unwrap().unwrap();
                syncs += u32::from(change == CacheChange::Synced);
            }
        })
        .await;
        assert_eq!(cache.len(), 3);
    }
    assert!(!writing.is_finished());
    writing.abort();
}

#[test]
fn the_end_of_its_task_is_told() {
    let (theirs, ours) = (
        tokio::runtime::Runtime::new().unwrap(),
        tokio::runtime::Runtime::new().unwrap(),
    );
    let server = ours.block_on(server());
    let cache = theirs.block_on(async {
        let client = client(server.address()).await;
        client.tree_cache(&unique("cache-end")).start().await
    });
    let (cache, mut changes) = cache.map(|cache| (cache.clone(), cache.changes())).unwrap();
    assert_eq!(ours.block_on(told(&mut changes, 1)), ["synced"]);
    theirs.shutdown_background();
    let end = ours.block_on(async { soon("the end", changes.next()).await });
    assert!(end.unwrap().is_err());
    assert!(cache.is_stale());
}

#[tokio::test]
async fn a_start_gives_up_in_time() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let cached = client(proxy.address()).await;
    proxy.cut();
    let limit = Duration::from_millis(50);
    let cache = cached.tree_cache(&unique("cache-late")).timeout(limit);
    let error = soon("giving up", cache.start()).await.unwrap_err();
    assert!(
        matches!(error, zk_recipes::Error::Timeout { .. }),
        "{error}"
    );
}

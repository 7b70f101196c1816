//! The client against a running ZooKeeper: set `ZK_TEST_CONNECT=host:port` to run it.
//!
//! Every test works below a node of its own, so that they run side by side on any server.
#![allow(missing_docs, clippy::unwrap_used)]

use zk_client::{Client, ErrorKind, MultiResult, Outcome};

/// A client whose chroot is a fresh node, or `None` where no server is named.
async fn client(name: &str) -> Option<Client> {
    let Ok(hosts) = std::env::var("ZK_TEST_CONNECT") else {
        eprintln!("SKIPPED {name}: ZK_TEST_CONNECT is not set");
        return None;
    };
    let outside = Client::connect(&hosts).await.unwrap();
    let root = format!("/live-{name}-{}", outside.guid());
    outside.create(&root, b"").await.unwrap();
    outside.close().await.unwrap();
    Some(Client::connect(&format!("{hosts}{root}")).await.unwrap())
}

#[tokio::test]
async fn a_node_is_created_read_changed_listed_and_deleted() {
    let Some(client) = client("crud").await else {
        return;
    };
    let created = client.create("/a", b"x").await.unwrap();
    assert_eq!(created.path, "/a");
    let node = client.get("/a").await.unwrap();
    assert_eq!((&node.data[..], node.stat), (&b"x"[..], created.stat));
    let stat = client.set("/a", "y").version(0).await.unwrap();
    assert_eq!(stat.version, 1);
    let error = client.set("/a", "z").version(0).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::BadVersion, Outcome::NotApplied)
    );
    assert_eq!((error.op(), error.path()), ("setData", Some("/a")));
    assert_eq!(client.exists("/a").await.unwrap(), Some(stat));
    assert_eq!(client.exists("/b").await.unwrap(), None);
    assert_eq!(client.get_opt("/b").await.unwrap(), None);
    assert_eq!(client.children("/").await.unwrap(), ["a"]);
    client.sync("/").await.unwrap();
    client.delete("/a").version(1).await.unwrap();
    assert_eq!(
        client.get("/a").await.unwrap_err().kind(),
        ErrorKind::NoNode
    );
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_multi_goes_through_as_a_whole_or_not_at_all() {
    let Some(client) = client("multi").await else {
        return;
    };
    let results = client
        .multi()
        .create("/a", "1")
        .create("/a/s-", "2")
        .sequential()
        .set("/a", "3")
        .version(0)
        .check("/a", 1)
        .commit()
        .await
        .unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(results[1].created_path(), Some("/a/s-0000000000"));
    assert_eq!(results[3], MultiResult::Checked);
    let error = client
        .multi()
        .set("/a", "4")
        .delete("/nothing")
        .set("/a", "5")
        .commit()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.multi_index(), error.path()),
        (ErrorKind::NoNode, Some(1), Some("/nothing"))
    );
    assert_eq!(&client.get("/a").await.unwrap().data[..], b"3");
}

#[tokio::test]
async fn a_watch_tells_the_first_change_once() {
    let Some(client) = client("watch").await else {
        return;
    };
    let (absent, created) = client.exists("/a").watch().await.unwrap();
    assert_eq!(absent, None);
    client.create("/a", b"x").await.unwrap();
    assert_eq!(created.await.path(), Some("/a"));
    let (_, changed) = client.get("/a").watch().await.unwrap();
    let (names, child) = client.children("/a").watch().await.unwrap();
    assert!(names.is_empty());
    client.create("/a/b", b"").await.unwrap();
    assert_eq!(child.await.path(), Some("/a"));
    client.set("/a", b"y").await.unwrap();
    assert_eq!(changed.await.path(), Some("/a"));
}

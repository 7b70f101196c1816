//! The chroot: it is in front of every path that is sent, and of none that is told.

use zk_client::{Client, ErrorKind, WatchEvent};

use crate::subject::Subject;

cases! {
    the_server_sees_the_chroot_in_every_path,
    the_user_sees_it_in_none,
    a_chroot_that_is_missing_is_made_on_request,
    the_root_below_a_chroot_is_the_chroots_node,
    a_name_that_is_the_counter_alone_is_below_the_chroot,
}

async fn the_server_sees_the_chroot_in_every_path(subject: &Subject) {
    let client = subject.client().await;
    let outside = Client::connect(&subject.server()).await.unwrap();
    let at = |path: &str| format!("{}{path}", subject.root());
    client.create("/a", "1").await.unwrap();
    assert_eq!(outside.get(&at("/a")).await.unwrap().data, "1");
    client.set("/a", "2").await.unwrap();
    assert_eq!(outside.get(&at("/a")).await.unwrap().data, "2");
    client.create_all("/x/y/z", "").await.unwrap();
    assert!(outside.exists(&at("/x/y/z")).await.unwrap().is_some());
    client.ensure("/m/n").await.unwrap();
    assert!(outside.exists(&at("/m/n")).await.unwrap().is_some());
    let multi = client
        .multi()
        .create("/b", "")
        .set("/b", "3")
        .check("/b", 1);
    multi.delete("/a").commit().await.unwrap();
    assert_eq!(outside.get(&at("/b")).await.unwrap().data, "3");
    assert_eq!(outside.exists(&at("/a")).await.unwrap(), None);
    client
        .set_acl("/b", zk_client::Acl::read_only())
        .await
        .unwrap();
    assert_eq!(outside.get_acl(&at("/b")).await.unwrap().stat.aversion, 1);
    client.delete_all("/x").await.unwrap();
    client.delete("/m/n").await.unwrap();
    assert_eq!(outside.exists(&at("/x")).await.unwrap(), None);
    assert!(outside.children(&at("/m")).await.unwrap().is_empty());
}

async fn the_user_sees_it_in_none(subject: &Subject) {
    let client = subject.client().await;
    let created = client.create_all("/a/b/s-", "").sequential().await.unwrap();
    assert_eq!(created.path, "/a/b/s-0000000000");
    let protected = client
        .create("/a/p-", "")
        .ephemeral()
        .sequential()
        .protected();
    let protected = protected.await.unwrap().path;
    assert!(protected.starts_with("/a/_c_"), "{protected}");
    assert_eq!(client.ephemerals("/").await.unwrap(), [protected.as_str()]);
    assert_eq!(client.ephemerals("/a/_c_").await.unwrap().len(), 1);
    let error = client.get("/a/nothing").await.unwrap_err();
    assert_eq!(error.to_string(), "getData /a/nothing: no such node");
    let results = client.multi().create("/a/m-", "").sequential().commit();
    assert_eq!(
        results.await.unwrap()[0].created_path(),
        Some("/a/m-0000000002")
    );
    let failed = client.multi().delete("/a/no").commit().await.unwrap_err();
    assert_eq!(
        (failed.multi_index(), failed.path()),
        (Some(0), Some("/a/no"))
    );
    let read = client.multi_read().get("/a/no").run().await.unwrap();
    assert_eq!(read[0].as_ref().unwrap_err().path(), Some("/a/no"));

    let (_, data) = client.get("/a").watch().await.unwrap();
    let (_, child) = client.children("/a").watch().await.unwrap();
    let (_, absent) = client.exists("/a/new").watch().await.unwrap();
    let mut recursive = client.watch("/").recursive().await.unwrap();
    client.set("/a", "x").await.unwrap();
    client.create("/a/new", "").await.unwrap();
    assert!(matches!(data.await, WatchEvent::DataChanged(node) if node.path == "/a"));
    assert!(matches!(child.await, WatchEvent::ChildrenChanged(node) if node.path == "/a"));
    assert!(matches!(absent.await, WatchEvent::Created(node) if node.path == "/a/new"));
    assert_eq!(recursive.next().await.unwrap().path(), Some("/a"));
    assert_eq!(recursive.next().await.unwrap().path(), Some("/a/new"));
    client.sync("/a").await.unwrap();
}

async fn a_chroot_that_is_missing_is_made_on_request(subject: &Subject) {
    let hosts = format!("{}/made/x/y", subject.hosts());
    let inside = Client::connect(&hosts).await.unwrap();
    let error = inside.create("/a", b"").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (ErrorKind::NoNode, Some("/a"))
    );
    inside.create_all("/a/b", b"").await.unwrap();
    inside.ensure("/").await.unwrap();
    let mut names = inside.children("/").await.unwrap();
    names.sort();
    assert_eq!(names, ["a"]);
    let outer = subject.client().await;
    assert!(outer.exists("/made/x/y/a/b").await.unwrap().is_some());
}

async fn the_root_below_a_chroot_is_the_chroots_node(subject: &Subject) {
    let client = subject.client().await;
    let (node, change) = client.get("/").watch().await.unwrap();
    let (_, child) = client.children("/").watch().await.unwrap();
    client
        .set("/", "root")
        .version(node.stat.version)
        .await
        .unwrap();
    assert_eq!(change.await.path(), Some("/"));
    client.create("/a", "").await.unwrap();
    assert_eq!(child.await.path(), Some("/"));
    assert_eq!(client.get("/").await.unwrap().data, "root");
}

async fn a_name_that_is_the_counter_alone_is_below_the_chroot(subject: &Subject) {
    let client = subject.client().await;
    let plain = client.create("/", "").sequential().await.unwrap();
    assert_eq!(plain.path, "/0000000000");
    let own = client.create("/", "").ephemeral().sequential();
    assert_eq!(own.await.unwrap().path, "/0000000001");
    let composed = client.create_all("/", "").sequential().await.unwrap();
    assert_eq!(composed.path, "/0000000002");
    let results = client.multi().create("/", "").sequential().commit();
    let results = results.await.unwrap();
    assert_eq!(results[0].created_path(), Some("/0000000003"));
    let protected = client.create("/", "").sequential().protected();
    let protected = protected.await.unwrap().path;
    assert!(protected.starts_with("/_c_") && protected.ends_with("-0000000004"));
    for path in [&plain.path, &composed.path, &protected] {
        assert!(client.exists(path).await.unwrap().is_some(), "{path}");
    }
    assert_eq!(client.children("/").await.unwrap().len(), 5);
    // A chroot that is missing is made first.
    let below = Client::connect(&format!("{}/none", subject.hosts())).await;
    let created = below.unwrap().create_all("/", "").sequential().await;
    assert_eq!(created.unwrap().path, "/0000000000");
}

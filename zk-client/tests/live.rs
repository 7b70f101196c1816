//! The client against a running ZooKeeper: set `ZK_TEST_CONNECT=host:port` to run it.
//!
//! Every test works below a node of its own, so that they run side by side on any server.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use futures::future::join_all;
use zk_client::{Acl, Client, ErrorKind, MultiResult, Outcome, Perms, SessionState};

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

#[tokio::test]
async fn what_a_watch_tells_is_the_path_below_the_chroot() {
    let Some(client) = client("chroot").await else {
        return;
    };
    client.create_all("/a/b/c", b"").await.unwrap();
    let (_, change) = client.children("/a/b").watch().await.unwrap();
    let created = client
        .create("/a/b/s-", b"")
        .sequential()
        .ephemeral()
        .await
        .unwrap();
    assert_eq!(created.path, "/a/b/s-0000000001");
    assert_eq!(created.stat.ephemeral_owner, client.session().id());
    assert_eq!(change.await.path(), Some("/a/b"));
    assert_eq!(client.ephemerals("/").await.unwrap(), ["/a/b/s-0000000001"]);
    assert_eq!(client.count_descendants("/").await.unwrap(), 4);
    let error = client.get("/a/nothing").await.unwrap_err();
    assert_eq!(error.to_string(), "getData /a/nothing: no such node");
    client.delete_all("/a").await.unwrap();
    assert_eq!(client.children("/").await.unwrap(), Vec::<String>::new());
    let error = client.delete_all("/a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNode);
}

#[tokio::test]
async fn a_chroot_that_is_missing_is_made_on_request() {
    let Some(client) = client("missing").await else {
        return;
    };
    let hosts = std::env::var("ZK_TEST_CONNECT").unwrap();
    let root = format!("/live-made-{}", client.guid());
    let inside = Client::connect(&format!("{hosts}{root}/x/y"))
        .await
        .unwrap();
    assert_eq!(
        inside.create("/a", b"").await.unwrap_err().kind(),
        ErrorKind::NoNode
    );
    inside.create_all("/a/b", b"").await.unwrap();
    inside.ensure("/").await.unwrap();
    inside.ensure("/c/d").container().await.unwrap();
    inside.ensure("/c/d").await.unwrap();
    let mut names = inside.children("/").await.unwrap();
    names.sort();
    assert_eq!(names, ["a", "c"]);
    let error = inside.create_all("/a/b", b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NodeExists);
}

#[tokio::test]
async fn updates_of_many_tasks_are_all_counted() {
    let Some(client) = client("update").await else {
        return;
    };
    client.create("/n", "0").await.unwrap();
    let add = |_| async {
        let plus_one = |old: &zk_client::Node| {
            let number: u32 = std::str::from_utf8(&old.data).unwrap().parse().unwrap();
            (number + 1).to_string()
        };
        client.update("/n", plus_one).await.unwrap()
    };
    join_all((0..10).map(add)).await;
    assert_eq!(&client.get("/n").await.unwrap().data[..], b"10");
}

#[tokio::test]
async fn a_pipeline_is_carried_out_in_the_order_of_its_submission() {
    let Some(client) = client("pipeline").await else {
        return;
    };
    let mut pending = Vec::new();
    pending.push(client.create("/a", b"").submit().await.unwrap());
    for n in 0..100 {
        let path = format!("/a/{n}");
        pending.push(client.create(&path, b"x").submit().await.unwrap());
    }
    let last = client.children("/a").submit().await.unwrap();
    let mut zxids = Vec::new();
    for created in pending {
        zxids.push(created.await.unwrap().stat.czxid);
    }
    assert!(zxids.is_sorted());
    assert_eq!(last.await.unwrap().len(), 100);
}

#[tokio::test]
async fn an_acl_binds_those_who_are_not_in_it() {
    let Some(client) = client("acl").await else {
        return;
    };
    client.add_auth("digest", "alice:secret").await.unwrap();
    client
        .create("/mine", b"x")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    let who = client.who_am_i().await.unwrap();
    assert!(
        who.iter()
            .any(|identity| identity.scheme == "digest" && identity.user == "alice"),
        "{who:?}"
    );
    let acl = client.get_acl("/mine").await.unwrap();
    assert_eq!((acl.acl.len(), acl.acl[0].perms), (1, Perms::ALL));
    client.set_acl("/mine", acl.acl).version(0).await.unwrap();
    let stranger = Client::connect(&root_of(&client).await).await.unwrap();
    let error = stranger.get("/mine").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::NoAuth, Outcome::NotApplied)
    );
    let error = client.add_auth("nonsense", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    // The server hangs up after that; the session is resumed with the credentials that were good.
    assert_eq!(&client.get("/mine").await.unwrap().data[..], b"x");
}

/// The connect string of a client's chroot, as another client would write it.
async fn root_of(client: &Client) -> String {
    let hosts = std::env::var("ZK_TEST_CONNECT").unwrap();
    client.create("/root", b"").ephemeral().await.unwrap();
    let outside = Client::connect(&hosts).await.unwrap();
    for name in outside.children("/").await.unwrap() {
        let marker = outside.exists(&format!("/{name}/root")).await.unwrap();
        if marker.is_some_and(|stat| stat.ephemeral_owner == client.session().id()) {
            return format!("{hosts}/{name}");
        }
    }
    panic!("the client's root is not among the root's children");
}

#[tokio::test]
async fn closing_frees_ephemerals_at_once_and_ends_the_states() {
    let Some(client) = client("close").await else {
        return;
    };
    let other = Client::connect(&root_of(&client).await).await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let mut states = client.states();
    assert_eq!(states.next().await, Some(SessionState::Connected));
    let session = client.session();
    client.close().within(Duration::from_secs(5)).await.unwrap();
    assert_eq!(other.exists("/e").await.unwrap(), None);
    assert_eq!(states.next().await, Some(SessionState::Closed));
    assert_eq!(states.next().await, None);
    assert_eq!(
        client.get("/e").await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        session.get("/e").await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert!(!session.is_current());
    client.close().await.unwrap();
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_session() {
    let Some(client) = client("drop").await else {
        return;
    };
    let other = Client::connect(&root_of(&client).await).await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, gone) = other.exists("/e").watch().await.unwrap();
    let ended = client.session().ended();
    drop(client);
    assert!(gone.await.is_deleted());
    assert_eq!(ended.await, zk_client::SessionEnd::Closed);
}

#[tokio::test]
async fn a_session_can_be_resumed_by_its_id_and_password() {
    let Some(client) = client("resume").await else {
        return;
    };
    let hosts = root_of(&client).await;
    client.create("/e", b"").ephemeral().await.unwrap();
    let session = client.session();
    let (id, password) = (session.id(), session.password().clone());
    // Leaves without closing: the runtime of that client ends under it.
    let resumed = Client::builder(&hosts)
        .session(id, password)
        .connect()
        .await
        .unwrap();
    assert_eq!(resumed.session().id(), id);
    assert_eq!(
        resumed.exists("/e").await.unwrap().unwrap().ephemeral_owner,
        id
    );
}

#[tokio::test]
async fn evidence_of_life_comes_through_the_leader() {
    let Some(client) = client("evidence").await else {
        return;
    };
    let session = client.session();
    let evidence = session.evidence().await.unwrap();
    let left = evidence.time_left().unwrap();
    assert!(
        left > session.timeout() / 2 && left <= session.timeout() * 2 / 3,
        "{left:?}"
    );
    let lost = evidence.lost();
    client.close().await.unwrap();
    assert_eq!(lost.await, zk_client::EvidenceLoss::SessionEnded);
    assert_eq!(evidence.time_left(), None);
}

#[tokio::test]
async fn a_protected_create_has_a_name_that_is_found_again() {
    let Some(client) = client("protected").await else {
        return;
    };
    let created = client
        .create("/lock-", b"")
        .ephemeral()
        .sequential()
        .protected()
        .await
        .unwrap();
    let name = created.path.strip_prefix("/_c_").unwrap();
    assert!(
        name.ends_with("-lock-0000000000") && name.len() == 36 + 16,
        "{name}"
    );
}

#[tokio::test]
async fn container_and_ttl_nodes_are_what_they_are_called() {
    let Some(client) = client("kinds").await else {
        return;
    };
    client.create("/box", b"").container().await.unwrap();
    match client
        .create("/tmp", b"")
        .ttl(Duration::from_secs(300))
        .await
    {
        Ok(created) => assert_eq!(created.path, "/tmp"),
        // Apache's servers have TTL nodes switched off unless told.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unimplemented),
    }
    let error = client
        .create("/no", b"")
        .container()
        .ephemeral()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments);
}

//! The client against a running server: one of ours, or the one that `ZK_TEST_CONNECT=host:port` names.
//!
//! Every test works below a node of its own, so that they run side by side on any server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use zk_client::{
    Acl, Client, ErrorKind, MultiResult, Outcome, Perms, SessionState, WatchEvent,
    net::{Net, Stream, TcpNet},
};
use zk_server::Server;

/// The server: the one that the environment names, else one of ours that lives as long as the process.
fn hosts() -> String {
    static OURS: OnceLock<String> = OnceLock::new();
    std::env::var("ZK_TEST_CONNECT").unwrap_or_else(|_| OURS.get_or_init(start_ours).clone())
}

/// Starts a server on a thread of its own: every test has a runtime that ends with it.
fn start_ours() -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::builder()
                .set("maxClientCnxns", "0")
                .set("tickTime", "500");
            let server = server.start().await.unwrap();
            sender.send(server.connect_string()).unwrap();
            server.failed().await
        })
    });
    receiver.recv().unwrap()
}

/// A client whose chroot is a fresh node.
async fn client(name: &str) -> Client {
    // RUST_LOG=zk_client=debug shows what goes on.
    if let Ok(asked) = std::env::var("RUST_LOG") {
        let filter: Targets = asked.parse().unwrap();
        // Another test may have been first.
        let _ = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_test_writer())
            .with(filter)
            .try_init();
    }
    let outside = Client::connect(&hosts()).await.unwrap();
    let root = format!("/live-{name}-{}", outside.guid());
    outside.create(&root, b"").await.unwrap();
    outside.close().await.unwrap();
    Client::connect(&format!("{}{root}", hosts()))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_node_is_created_read_changed_listed_and_deleted() {
    let client = client("crud").await;
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
    let client = client("multi").await;
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
    let client = client("watch").await;
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
    let client = client("chroot").await;
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
    let client = client("missing").await;
    let hosts = hosts();
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
    let client = client("update").await;
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
    let client = client("pipeline").await;
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
async fn a_pipeline_longer_than_what_servers_hold_does_not_stall() {
    let outer = client("long").await;
    let patient = Client::builder(root_of(&outer).await).session_timeout(Duration::from_secs(30));
    // Shorter than the pause until the next ping, which would wake a server that went to sleep over it.
    let client = patient
        .request_timeout(Duration::from_secs(8))
        .connect()
        .await
        .unwrap();
    let paths: Vec<_> = (0..4000).map(|n| format!("/{n}")).collect();
    let created = join_all(paths.iter().map(|path| client.create(path, b""))).await;
    let failed: Vec<_> = created.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of 4000: {}", failed.len(), failed[0]);
}

#[tokio::test]
async fn an_acl_binds_those_who_are_not_in_it() {
    let client = client("acl").await;
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
    let hosts = hosts();
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
    let client = client("close").await;
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
    let client = client("drop").await;
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
    let client = client("resume").await;
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
    let client = client("evidence").await;
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
    let client = client("protected").await;
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
    let client = client("kinds").await;
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

#[tokio::test]
async fn a_recursive_watch_tells_every_change_below() {
    let client = client("stream").await;
    client.create("/a", b"").await.unwrap();
    let mut watch = client.watch("/a").recursive().await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    client.set("/a/b", b"x").await.unwrap();
    client.delete("/a/b").await.unwrap();
    let mut paths = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await.unwrap();
        assert_eq!(event.path(), Some("/a/b"));
        paths.push(event);
    }
    assert!(
        matches!(paths[0], WatchEvent::Created(_)) && paths[2].is_deleted(),
        "{paths:?}"
    );
    let mut plain = client.watch("/a").await.unwrap();
    drop(watch);
    client.create("/a/c", b"").await.unwrap();
    assert!(matches!(
        plain.next().await,
        Some(WatchEvent::ChildrenChanged(_))
    ));
    client.close().await.unwrap();
    assert_eq!(plain.next().await, Some(WatchEvent::SessionEnded));
    assert_eq!(plain.next().await, None);
}

/// TCP whose connections can be cut.
#[derive(Clone)]
struct Scissors {
    cuts: Arc<watch::Sender<u32>>,
}

impl Scissors {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Net for Scissors {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        TcpNet.resolve(host, port)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let mut cuts = self.cuts.subscribe();
        Box::pin(async move {
            let mut server = TcpNet.connect(address).await?;
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                tokio::select! {
                    _ = cuts.changed() => {}
                    _ = tokio::io::copy_bidirectional(&mut far, &mut server) => {}
                }
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

async fn client_with_scissors(name: &str) -> (Client, Client, Scissors) {
    let other = client(name).await;
    let scissors = Scissors {
        cuts: Arc::new(watch::Sender::new(0)),
    };
    let builder = Client::builder(root_of(&other).await).net(Arc::new(scissors.clone()));
    (builder.connect().await.unwrap(), other, scissors)
}

#[tokio::test]
async fn watches_of_every_kind_survive_a_lost_connection() {
    let (client, other, scissors) = client_with_scissors("survive").await;
    other.create("/d", b"").await.unwrap();
    let id = client.session().id();
    let (_, data) = client.get("/d").watch().await.unwrap();
    let (_, child) = client.children("/d").watch().await.unwrap();
    let (_, absent) = client.exists("/e").watch().await.unwrap();
    let (_, later) = client.exists("/f").watch().await.unwrap();
    let mut recursive = client.watch("/d").recursive().await.unwrap();
    let mut states = client.states();
    scissors.cut();
    // Both before and after the reconnect: whichever it is, nothing may be missed.
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
    while recursive.next().await.unwrap() != WatchEvent::SessionReconnected {}
    other.create("/d/after", b"").await.unwrap();
    // Changes that were made after the reconnect, if it was that quick, come before.
    while recursive.next().await.unwrap().path() != Some("/d/after") {}
    other.create("/f", b"").await.unwrap();
    assert_eq!(later.await.path(), Some("/f"));
}

#[tokio::test]
async fn thousands_of_watches_are_registered_again() {
    let (client, other, scissors) = client_with_scissors("many").await;
    let paths: Vec<_> = (0..3000).map(|n| format!("/{n:0>120}")).collect();
    let watched = join_all(paths.iter().map(|path| client.exists(path).watch())).await;
    let mut states = client.states();
    scissors.cut();
    for _ in 0..3 {
        states.next().await.unwrap();
    }
    let created = join_all(paths.iter().map(|path| other.create(path, b""))).await;
    assert!(created.iter().all(Result::is_ok));
    for (watched, path) in watched.into_iter().zip(&paths) {
        assert_eq!(watched.unwrap().1.await.path(), Some(path.as_str()));
    }
}

#[tokio::test]
async fn an_expired_session_is_renewed_and_says_so() {
    let (client, _other, scissors) = client_with_scissors("renew").await;
    let old = client.session();
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, change) = client.get("/e").watch().await.unwrap();
    let mut states = client.states();
    // Who has the id and the password can end a session.
    let thief = Client::builder(hosts()).session(old.id(), old.password().clone());
    thief.connect().await.unwrap().close().await.unwrap();
    scissors.cut();
    let renewed = loop {
        match states.next().await.unwrap() {
            SessionState::Renewed { old, new } => break (old, new),
            _ => continue,
        }
    };
    assert_eq!(renewed, (old.id(), client.session().id()));
    assert!(matches!(
        change.await,
        WatchEvent::SessionEnded | WatchEvent::Deleted(_)
    ));
    assert_eq!(client.exists("/e").await.unwrap(), None);
    assert_eq!(
        old.get("/e").await.unwrap_err().kind(),
        ErrorKind::SessionChanged
    );
}

#[tokio::test]
async fn reads_of_one_moment_have_a_result_each() {
    let client = client("multi-read").await;
    client.create("/a", b"x").await.unwrap();
    client.create("/a/b", b"").await.unwrap();
    let reads = client.multi_read().get("/a").children("/a").get("/nothing");
    let found = reads.run().await.unwrap();
    let node = found[0].as_ref().unwrap().node().unwrap();
    assert_eq!(&node.data[..], b"x");
    let names = found[1].as_ref().unwrap().children().unwrap();
    assert_eq!(names, ["b"]);
    let error = found[2].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "getData /nothing: no such node");
}

#[tokio::test]
async fn composed_creates_take_names_that_are_a_number_alone_and_refuse_bad_paths() {
    let client = client("numbers").await;
    let created = client.create_all("/jobs/", b"").sequential().await.unwrap();
    assert_eq!(created.path, "/jobs/0000000000");
    for path in ["job", "", "/a//b"] {
        let refused = client.create(path, b"").protected().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadArguments, "{path:?}");
    }
    assert_eq!(client.children("/").await.unwrap(), ["jobs"]);
}

//! Rarer operations, against a server of our own in the same process.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use zk_client::{Client, ErrorKind, MultiResult};
use zk_server::Server;

async fn client(server: &Server) -> Client {
    let outside = Client::connect(&server.connect_string()).await.unwrap();
    outside.ensure("/root").await.unwrap();
    outside.close().await.unwrap();
    Client::connect(&format!("{}/root", server.connect_string()))
        .await
        .unwrap()
}

#[tokio::test]
async fn multis_are_pipelined_in_the_order_of_their_submission() {
    let server = Server::builder().start().await.unwrap();
    let client = client(&server).await;
    let mut writes = Vec::new();
    for version in 0..50 {
        let multi = match version {
            0 => client.multi().create("/a", b"0").any(),
            version => client
                .multi()
                .set("/a", version.to_string())
                .version(version - 1)
                .any(),
        };
        let multi = multi.create("/a/s-", b"").sequential();
        writes.push(multi.within(Duration::from_secs(9)).submit().await.unwrap());
    }
    let failing = client.multi().check("/a", 7).delete("/a/nothing");
    let failing = failing.submit().await.unwrap();
    let reads = client.multi_read().get("/a").children("/a").get("/nothing");
    let reads = reads.submit().await.unwrap();
    for (number, written) in writes.into_iter().enumerate() {
        let results = written.await.unwrap();
        let path = format!("/a/s-{number:010}");
        assert_eq!(results[1].created_path(), Some(&*path));
        assert!(number == 0 || matches!(results[0], MultiResult::Set(_)));
    }
    let error = failing.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.multi_index()),
        (ErrorKind::BadVersion, Some(0))
    );
    assert_eq!(error.path(), Some("/a"));
    let found = reads.await.unwrap();
    assert_eq!(&found[0].as_ref().unwrap().node().unwrap().data[..], b"49");
    assert_eq!(found[1].as_ref().unwrap().children().unwrap().len(), 50);
    assert_eq!(found[2].as_ref().unwrap_err().path(), Some("/nothing"));
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_a_server_knows_of_a_client_is_told_below_its_chroot() {
    let server = Server::builder().start().await.unwrap();
    let client = client(&server).await;
    client.create_all("/x/y/z", b"").await.unwrap();
    client.create("/x/mine", b"").ephemeral().await.unwrap();
    assert_eq!(client.ephemerals("/x").await.unwrap(), ["/x/mine"]);
    assert!(client.ephemerals("/y").await.unwrap().is_empty());
    assert_eq!(client.count_descendants("/").await.unwrap(), 4);
    client.add_auth("digest", "alice:secret").await.unwrap();
    let known = client.who_am_i().await.unwrap();
    assert!(
        known.iter().any(|identity| identity.user == "alice"),
        "{known:?}"
    );
    // The configuration is the ensemble's: no chroot applies to it.
    let (config, change) = client.ensemble_config().watch().await.unwrap();
    assert_eq!((config.version, &*config.connect_string()), (None, ""));
    drop(change);
    client.reconfig().leave(3).await.unwrap_err();
    client.delete_all("/x").await.unwrap();
    assert!(client.children("/").await.unwrap().is_empty());
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_session_is_handed_on_by_detaching() {
    let server = Server::builder().start().await.unwrap();
    let client = client(&server).await;
    client.create("/mine", b"").ephemeral().await.unwrap();
    let (id, password) = client.detach().await.unwrap();
    let hosts = format!("{}/root", server.connect_string());
    let heir = Client::builder(hosts)
        .session(id, password)
        .connect()
        .await
        .unwrap();
    assert_eq!(heir.ephemerals("/").await.unwrap(), ["/mine"]);
    heir.close().await.unwrap();
    let after = Client::connect(&server.connect_string()).await.unwrap();
    assert!(after.exists("/root/mine").await.unwrap().is_none());
    after.close().await.unwrap();
}

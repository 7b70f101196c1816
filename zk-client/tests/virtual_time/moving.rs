//! A list of servers that changes, and a session that is handed on.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use zk_client::{Client, ErrorKind, SessionState};

use crate::{builder, connected, ensemble::Ensemble, until};

#[tokio::test(start_paused = true)]
async fn clients_spread_over_new_servers_and_lose_nothing() {
    let ensemble = Ensemble::new();
    ensemble.set("/a", "");
    let mut clients = Vec::new();
    for seed in 0..200 {
        let builder = Client::builder("zk:1,zk:2").net(Arc::new(ensemble.clone()));
        clients.push(builder.seed(seed).connect().await.unwrap());
    }
    let load = |ensemble: &Ensemble| -> BTreeMap<u16, usize> { ensemble.loads() };
    assert_eq!(load(&ensemble).len(), 2);
    // Requests are under way all the time, and none of them is lost.
    let writing = join_all(clients.iter().map(|client| async {
        for _ in 0..20 {
            client.set("/a", "x").await.unwrap();
        }
    }));
    let update = join_all(
        clients
            .iter()
            .map(|client| client.update_hosts("zk:1,zk:2,zk:3,zk:4")),
    );
    let (_, updated) = tokio::join!(writing, update);
    assert!(updated.into_iter().all(|updated| updated.is_ok()));
    join_all(
        clients
            .iter()
            .map(|client| until(client, SessionState::is_connected)),
    )
    .await;
    let loads = load(&ensemble);
    assert_eq!(loads.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(
        loads.values().all(|load| (30..=70).contains(load)),
        "{loads:?}"
    );
    let update = join_all(
        clients
            .iter()
            .map(|client| client.update_hosts("zk:3,zk:5")),
    )
    .await;
    assert!(update.into_iter().all(|updated| updated.is_ok()));
    for client in &clients {
        client.set("/a", "y").await.unwrap();
    }
    let loads = load(&ensemble);
    assert_eq!(loads.keys().copied().collect::<Vec<_>>(), [3, 5]);
    assert!(
        loads.values().all(|load| (75..=125).contains(load)),
        "{loads:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_none_changes_nothing() {
    let (_ensemble, client) = connected().await;
    for bad in ["", "zk:x", "zk:1/other"] {
        let error = client.update_hosts(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments, "{bad}");
    }
    client.update_hosts("zk:1,zk:2/").await.unwrap();
    assert_eq!(client.state(), SessionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_handed_on_with_its_nodes() {
    let (ensemble, client) = connected().await;
    client.create("/own", b"").ephemeral().await.unwrap();
    let session = client.session().id();
    let pending = client.create("/late", b"").submit().await.unwrap();
    let (id, password) = client.detach().await.unwrap();
    assert_eq!(id, session);
    assert_eq!(pending.await.unwrap().path, "/late");
    assert_eq!(client.state(), SessionState::Closed);
    drop(client);
    let heir = builder(&ensemble)
        .session(id, password)
        .connect()
        .await
        .unwrap();
    let owner = heir.exists("/own").await.unwrap().unwrap().ephemeral_owner;
    assert_eq!((owner, heir.session().id()), (id, id));
    heir.close().await.unwrap();
    assert_eq!(ensemble.paths(), ["/late"]);
}

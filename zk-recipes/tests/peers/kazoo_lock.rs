//! One lock, one read-write lock, one semaphore and one election for kazoo and for us, in kazoo's layout; and what is
//! refused, because it cannot work.

use zk_recipes::prelude::*;

use crate::{
    peer::Peer,
    support::{client, server, soon, unique, until_contenders},
};

#[tokio::test]
async fn kazoo_and_we_share_a_lock() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo"));
    let lock = || client.lock(&path).layout(LockLayout::Kazoo);

    kazoo.acquires("lock", &path).await;
    assert!(lock().try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(lock().identity("ours").into_future());
    until_contenders(&client, &path, 2).await;
    let contenders = kazoo.ask("lock", &path, "contenders").await;
    assert_eq!(contenders, "kazoo,ours");
    assert!(!waiter.is_finished());
    kazoo.releases("lock", &path).await;

    let guard = soon("our turn", waiter).await.unwrap().unwrap();
    kazoo.tell("lock", &path, "acquire").await;
    until_contenders(&client, &path, 2).await;
    let identities: Vec<_> = (lock().contenders().await.unwrap().into_iter())
        .map(|who| who.identity)
        .collect();
    assert_eq!(identities, ["ours", "kazoo"]);
    guard.ensure().unwrap();
    guard.release().await.unwrap();
    kazoo.has_acquired().await;
    kazoo.releases("lock", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_a_read_write_lock() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-rw"));
    let read = || client.read_lock(&path).layout(LockLayout::Kazoo);
    let write = || client.write_lock(&path).layout(LockLayout::Kazoo);

    // kazoo writes, and we wait to read; then we read together.
    kazoo.acquires("write", &path).await;
    assert!(read().try_acquire().await.unwrap().is_none());
    let reader = tokio::spawn(read().into_future());
    until_contenders(&client, &path, 2).await;
    kazoo.releases("write", &path).await;
    let reader = soon("our reading", reader).await.unwrap().unwrap();
    kazoo.acquires("read", &path).await;
    assert!(!kazoo.tries("write", &path).await);

    // We want to write, and wait for kazoo to have read.
    reader.release().await.unwrap();
    let writer = tokio::spawn(write().into_future());
    until_contenders(&client, &path, 2).await;
    assert!(!writer.is_finished());
    kazoo.releases("read", &path).await;
    let writer = soon("our writing", writer).await.unwrap().unwrap();
    assert!(!kazoo.tries("read", &path).await);

    // We downgrade: kazoo may read and not write.
    let reader = writer.downgrade().await.unwrap();
    kazoo.acquires("read", &path).await;
    assert!(!kazoo.tries("write", &path).await);
    kazoo.releases("read", &path).await;
    kazoo.tell("write", &path, "acquire").await;
    until_contenders(&client, &path, 2).await;
    reader.release().await.unwrap();
    kazoo.has_acquired().await;
    kazoo.releases("write", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_an_election() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-election"));

    kazoo.acquires("election", &path).await;
    let latch = client
        .latch(&path)
        .layout(LockLayout::Kazoo)
        .identity("ours");
    let latch = latch.start().await.unwrap();
    assert!(!latch.is_leader());
    let contenders = kazoo.ask("election", &path, "contenders").await;
    assert_eq!(contenders, "kazoo,ours");
    kazoo.releases("election", &path).await;
    let claim = soon("our leadership", latch.leads()).await.unwrap();
    kazoo.tell("election", &path, "acquire").await;
    until_contenders(&client, &path, 2).await;
    claim.ensure().unwrap();
    latch.close().await.unwrap();
    kazoo.has_acquired().await;
    kazoo.releases("election", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoo_and_we_share_a_semaphore() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-semaphore"));
    let semaphore = |count| {
        client
            .semaphore(&path, count)
            .layout(LockLayout::Kazoo)
            .identity("ours")
    };

    kazoo.acquires("semaphore", &path).await;
    let lease = semaphore(2).await.unwrap();
    let holders = kazoo.ask("semaphore", &path, "holders").await;
    assert_eq!(holders, "kazoo,ours");
    assert!(semaphore(2).try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(semaphore(2).into_future());
    until_contenders(&client, &format!("{path}-__lock__"), 1).await;
    kazoo.releases("semaphore", &path).await;
    let second = soon("room", waiter).await.unwrap().unwrap();
    assert!(!kazoo.tries("semaphore", &path).await);
    lease.release().await.unwrap();
    kazoo.acquires("semaphore", &path).await;
    second.ensure().unwrap();
    kazoo.releases("semaphore", &path).await;
    second.release().await.unwrap();
    until_contenders(&client, &path, 0).await;

    // Another count is refused on both sides.
    assert!(matches!(
        semaphore(3).await,
        Err(zk_recipes::Error::CountMismatch { .. })
    ));
    let path = unique("kazoo-semaphore");
    let three = client
        .semaphore(&path, 3)
        .layout(LockLayout::Kazoo)
        .await
        .unwrap();
    let refused = kazoo.ask("semaphore", &path, "acquire").await;
    assert!(refused.starts_with("refused"), "{refused}");
    three.release().await.unwrap();
}

#[tokio::test]
async fn kazoo_in_curators_layout_is_refused() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let client = client(address).await;
    for kind in ["lock", "read", "write", "election"] {
        let path = unique("kazoo-refused");
        kazoo.acquires(kind, &path).await;
        let refusals = [
            client.lock(&path).await.map(drop),
            client.read_lock(&path).await.map(drop),
            client.write_lock(&path).await.map(drop),
            client.leader(&path).await.map(drop),
            client.latch(&path).start().await.map(drop),
        ];
        for refused in refusals {
            assert!(
                matches!(refused, Err(zk_recipes::Error::ForeignContender { .. })),
                "{kind}: {refused:?}"
            );
        }
        // kazoo's mutex does not see its readers: ours refuses to go beside them.
        if kind == "read" {
            let refused = client.lock(&path).layout(LockLayout::Kazoo).await;
            assert!(matches!(
                refused,
                Err(zk_recipes::Error::ForeignContender { .. })
            ));
        }
        until_contenders(&client, &path, 1).await;
        kazoo.releases(kind, &path).await;
    }
}

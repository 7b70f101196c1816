//! Locks, elections, counters, barriers, groups and services shared with Curator, and what cannot be shared.

use zk_recipes::{Error, prelude::*};

use crate::{
    peer::Peer,
    support::{children, client, server, soon, unique, until_children, until_contenders},
};

#[tokio::test]
async fn curator_and_we_share_locks() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;

    let path = unique("curator-lock");
    curator.acquires("lock", &path).await;
    assert!(client.lock(&path).try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    assert!(!waiter.is_finished());
    curator.releases("lock", &path).await;
    let guard = soon("our turn", waiter).await.unwrap().unwrap();
    assert!(!curator.tries("lock", &path).await);
    curator.tell("lock", &path, "acquire").await;
    until_contenders(&client, &path, 2).await;
    guard.release().await.unwrap();
    curator.has_acquired().await;
    curator.releases("lock", &path).await;

    // Readers together, writers alone; we downgrade, and Curator may read and not write.
    let path = unique("curator-rw");
    curator.acquires("write", &path).await;
    assert!(
        client
            .read_lock(&path)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let writer = tokio::spawn(client.write_lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    assert!(!curator.tries("read", &path).await);
    curator.releases("write", &path).await;
    let writer = soon("our writing", writer).await.unwrap().unwrap();
    assert!(!curator.tries("read", &path).await);
    let reader = writer.downgrade().await.unwrap();
    curator.acquires("read", &path).await;
    assert!(!curator.tries("write", &path).await);
    let writer = tokio::spawn(client.write_lock(&path).into_future());
    until_contenders(&client, &path, 3).await;
    reader.release().await.unwrap();
    until_contenders(&client, &path, 2).await;
    assert!(!writer.is_finished());
    curator.releases("read", &path).await;
    let writer = soon("our writing again", writer).await.unwrap().unwrap();
    writer.release().await.unwrap();
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn curator_and_we_ask_each_other_to_let_go() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;

    // Its Revoker asks us.
    let path = unique("curator-revokes");
    let guard = client.lock(&path).await.unwrap();
    assert_eq!(curator.ask("revocable", &path, "revoke").await, "true");
    soon("the request", guard.revocation()).await.unwrap();
    guard.ensure().unwrap();
    guard.release().await.unwrap();

    // We ask a mutex of its that was made revocable.
    let path = unique("curator-revoked");
    curator.acquires("revocable", &path).await;
    let contenders = client.lock(&path).contenders().await.unwrap();
    assert!(client.lock(&path).revoke(&contenders[0]).await.unwrap());
    assert_eq!(curator.answer().await, "true");
    assert!(client.lock(&path).try_acquire().await.unwrap().is_none());
    curator.releases("revocable", &path).await;
    client.lock(&path).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn curator_and_we_share_a_semaphore_and_an_election() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;

    let path = unique("curator-semaphore");
    let semaphore = || client.semaphore(&path, 2);
    curator.acquires("semaphore", &path).await;
    let lease = semaphore().await.unwrap();
    assert!(semaphore().try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn(semaphore().into_future());
    until_contenders(&client, &format!("{path}/locks"), 1).await;
    curator.releases("semaphore", &path).await;
    let second = soon("room", waiter).await.unwrap().unwrap();
    assert!(!curator.tries("semaphore", &path).await);
    lease.release().await.unwrap();
    curator.acquires("semaphore", &path).await;
    second.release().await.unwrap();
    curator.releases("semaphore", &path).await;
    for directory in ["locks", "leases"] {
        let directory = format!("{path}/{directory}");
        until_children(&client, &directory, &directory, <[String]>::is_empty).await;
    }

    let path = unique("curator-latch");
    curator.acquires("latch", &path).await;
    let latch = client.latch(&path).identity("ours").start().await.unwrap();
    assert!(!latch.is_leader());
    assert_eq!(
        curator.ask("latch", &path, "contenders").await,
        "curator,ours"
    );
    curator.releases("latch", &path).await;
    let claim = soon("our leadership", latch.leads()).await.unwrap();
    curator.tell("latch", &path, "acquire").await;
    until_contenders(&client, &path, 2).await;
    claim.ensure().unwrap();
    let participants = latch.participants().await.unwrap();
    let identities: Vec<_> = participants.iter().map(|who| &*who.identity).collect();
    assert_eq!(identities, ["ours", "curator"]);
    latch.close().await.unwrap();
    curator.has_acquired().await;
    curator.releases("latch", &path).await;
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn curator_and_we_share_counters_and_barriers() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;

    let path = unique("curator-long");
    let long = client.atomic_long(&path);
    assert_eq!(curator.ask("long", &path, "add 5").await, "5");
    assert_eq!(long.add(-7).await.unwrap().after, -2);
    assert_eq!(curator.ask("long", &path, "add 1").await, "-1");
    let path = unique("curator-long");
    assert_eq!(
        client.atomic_long(&path).increment().await.unwrap().after,
        1
    );
    assert_eq!(curator.ask("long", &path, "add 1").await, "2");

    let path = unique("curator-count");
    assert_eq!(curator.ask("count", &path, "get").await, "7");
    let mut count = client.shared_count(&path).start().await.unwrap();
    assert_eq!(count.current(), 7);
    assert_eq!(curator.ask("count", &path, "set 8").await, "8");
    soon("Curator's count", count.changed()).await.unwrap();
    assert_eq!((count.current(), count.add(1).await.unwrap().after), (8, 9));
    let path = unique("curator-count");
    let count = client.shared_count(&path).seed(4).start().await.unwrap();
    assert_eq!(curator.ask("count", &path, "get").await, "4");
    drop(count);

    let path = unique("curator-barrier");
    assert_eq!(curator.ask("barrier", &path, "set").await, "true");
    let waiting = tokio::spawn(client.barrier(&path).wait());
    assert_eq!(curator.ask("barrier", &path, "wait 100").await, "false");
    assert!(!waiting.is_finished());
    assert_eq!(curator.ask("barrier", &path, "remove").await, "true");
    soon("the barrier", waiting).await.unwrap().unwrap();
    client.barrier(&path).set().await.unwrap();
    curator.tell("barrier", &path, "wait 20000").await;
    assert!(client.barrier(&path).remove().await.unwrap());
    assert_eq!(curator.answer().await, "true");
}

#[tokio::test]
async fn curator_and_we_share_groups_and_services() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;

    let path = unique("curator-group");
    let group = client.group(&path);
    let member = group.join("ours", "there").start().await.unwrap();
    assert_eq!(curator.ask("group", &path, "join").await, "true");
    until_contenders(&client, &path, 2).await;
    let members = group.members().await.unwrap();
    let who: Vec<_> = (members.iter())
        .map(|member| (&*member.name, &*member.data))
        .collect();
    assert_eq!(who, [("curator", &b"here"[..]), ("ours", b"there")]);
    assert_eq!(
        curator.ask("group", &path, "members 2").await,
        "curator,ours"
    );
    member.leave().await.unwrap();

    let path = unique("curator-services");
    let services = client.discovery(&path);
    let ours: ServiceInstance = ServiceInstance::new("billing")
        .id("ours")
        .address("10.0.0.1")
        .port(80)
        .uri_spec("http://{address}:{port}/");
    let registration = services.register(ours).await.unwrap();
    assert_eq!(
        curator.ask("discovery", &path, "register billing").await,
        "true"
    );
    let both = "ours=http://10.0.0.1:80/,theirs=http://10.0.0.2:81/";
    assert_eq!(curator.ask("discovery", &path, "query billing").await, both);
    let mut found = services.instances::<()>("billing").await.unwrap();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let uris: Vec<_> = found
        .iter()
        .map(|found| format!("{}={}", found.id, found.uri().unwrap()))
        .collect();
    assert_eq!(uris.join(","), both);
    registration.release().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_shared_with_curator_is_refused() {
    let server = server().await;
    let address = server.address();
    let Some(mut curator) = Peer::curator(address) else {
        return;
    };
    let client = client(address).await;
    let is_foreign = |refused: zk_recipes::Result<()>, what: &str| {
        assert!(
            matches!(refused, Err(Error::ForeignContender { .. })),
            "{what}: {refused:?}"
        );
    };

    // Another layout, and another recipe in the same directory.
    for kind in ["lock", "read", "latch"] {
        let path = unique("curator-refused");
        curator.acquires(kind, &path).await;
        let lock = client.lock(&path).layout(LockLayout::Kazoo);
        is_foreign(lock.await.map(drop), kind);
        if kind != "lock" {
            is_foreign(client.lock(&path).await.map(drop), kind);
        }
        if kind != "read" {
            is_foreign(client.read_lock(&path).await.map(drop), kind);
            is_foreign(client.write_lock(&path).await.map(drop), kind);
        }
        if kind != "latch" {
            is_foreign(client.leader(&path).await.map(drop), kind);
        }
        until_contenders(&client, &path, 1).await;
        curator.releases(kind, &path).await;
    }

    // A queue that deletes what it hands out, and a double barrier without rounds.
    let path = unique("curator-simple");
    assert_eq!(curator.ask("simple", &path, "offer item").await, "true");
    let queue = client.queue(&path);
    assert!(matches!(queue.take().await, Err(Error::Foreign { .. })));
    assert!(matches!(queue.put("x").await, Err(Error::Foreign { .. })));
    assert_eq!(children(&client, &path).await.len(), 1);
    let path = unique("curator-double");
    assert_eq!(curator.ask("double", &path, "enter").await, "true");
    let refused = client.double_barrier(&path, 1).enter().await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");

    // A long as a count.
    let path = unique("curator-long");
    assert_eq!(curator.ask("long", &path, "add 5").await, "5");
    let count = client.shared_count(&path).start().await;
    assert!(matches!(count, Err(Error::BadContent(_))));
}

//! Read-write lock, semaphore, multi-lock and unfair lock against a real server.

#![allow(
    clippy::async_yields_async,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{sync::Arc, time::Duration};

use support::{
    builder, children, client,
    proxy::{Leg, Proxy},
    server, soon, unique, until_children, until_contenders,
};
use tokio::{sync::Notify, task::JoinSet};
use zk_client::{Acl, ErrorKind, Perms};
use zk_recipes::{Error, prelude::*};

/// Opcodes (`ZooDefs.OpCode`).
const CREATE2: i32 = 15;
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;

/// Everything but to delete children.
fn undeletable() -> Acl {
    Acl::new(Perms(Perms::ALL.0 & !Perms::DELETE.0), "world", "anyone")
}

#[tokio::test]
async fn readers_share_and_writers_wait_their_turn() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("rw"));
    let first = client.read_lock(&path).await.unwrap();
    let second = client.read_lock(&path).await.unwrap();
    let writer = tokio::spawn(client.write_lock(&path).identity("w").into_future());
    until_contenders(&client, &path, 3).await;
    // Readers that come after a writer wait for it: it is not starved.
    let late = tokio::spawn(client.read_lock(&path).into_future());
    until_contenders(&client, &path, 4).await;
    assert!(
        client
            .read_lock(&path)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    first.release().await.unwrap();
    assert!(!writer.is_finished() && !late.is_finished());
    second.release().await.unwrap();
    let writer = soon("the writer", writer).await.unwrap().unwrap();
    assert!(!late.is_finished());
    let queue = client.write_lock(&path).contenders().await.unwrap();
    assert_eq!((queue.len(), &*queue[0].identity), (2, "w"));
    assert_eq!(queue[0].token, writer.token());
    assert!(queue[0].node.contains("__WRIT__") && queue[1].node.contains("__READ__"));
    assert!(queue[0].age() < support::PATIENCE);
    writer.release().await.unwrap();
    let late = soon("the late reader", late).await.unwrap().unwrap();
    late.ensure().unwrap();
    assert!(
        client
            .write_lock(&path)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let shared = client
        .read_lock(&path)
        .try_acquire()
        .await
        .unwrap()
        .unwrap();
    drop((late, shared));
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn a_writer_downgrades_and_lets_readers_in_but_no_writer() {
    let server = server().await;
    for layout in [LockLayout::Curator, LockLayout::Kazoo] {
        let (client, path) = (client(server.address()).await, unique("downgrade"));
        let write = || client.write_lock(&path).layout(layout);
        let read = || client.read_lock(&path).layout(layout);
        let writer = write().identity("me").await.unwrap();
        let (claim, lost) = (writer.claim(), writer.lost());
        let reading = tokio::spawn(read().into_future());
        until_contenders(&client, &path, 2).await;
        let writing = tokio::spawn(write().into_future());
        until_contenders(&client, &path, 3).await;
        let reader = writer.downgrade().await.unwrap();
        assert_eq!(lost.await, LostReason::Released);
        assert!(claim.ensure().is_err(), "it is no writer any more");
        let other = soon("the other reader", reading).await.unwrap().unwrap();
        assert!(!writing.is_finished());
        let queue = write().contenders().await.unwrap();
        assert_eq!((queue.len(), &*queue[0].identity), (3, "me"), "{queue:?}");
        assert!(reader.node_path().ends_with(&queue[0].node));
        other.release().await.unwrap();
        reader.ensure().unwrap();
        assert!(!writing.is_finished());
        reader.release().await.unwrap();
        drop(soon("the next writer", writing).await.unwrap().unwrap());
        until_contenders(&client, &path, 0).await;
    }
}

#[tokio::test]
async fn a_downgrade_survives_a_lost_reply() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, path) = (client(proxy.address()).await, unique("downgrade-lost"));
    for (round, leg) in [Leg::Request, Leg::Reply].into_iter().enumerate() {
        let writer = client.write_lock(&path).await.unwrap();
        proxy.lose_multi(leg);
        let reader = soon("the downgrade", writer.downgrade()).await.unwrap();
        assert_eq!(proxy.lost(), round + 1);
        assert_eq!(children(&client, &path).await.len(), 1);
        reader.ensure().unwrap();
        reader.release().await.unwrap();
        assert_eq!(children(&client, &path).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_downgrade_without_proof_of_life_is_lost_and_leaves_nothing() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let short = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let (cut_off, other, path) = (
        short.connect().await.unwrap(),
        client(server.address()).await,
        unique("downgrade-cut"),
    );
    let writer = cut_off.write_lock(&path).await.unwrap();
    // The transaction is carried out, its answer lost, and nothing heard any more.
    proxy.lose_multi_and_stay_cut();
    let error = soon("the loss", writer.downgrade()).await.unwrap_err();
    let Error::Lost { reason, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*reason, LostReason::NoProofOfLife);
    proxy.restore();
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn a_downgrade_that_is_refused_gives_everything_back_once_it_may() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("downgrade-refused"));
    let writer = client.write_lock(&path).await.unwrap();
    client.set_acl(&path, vec![undeletable()]).await.unwrap();
    let refused = soon("the refusal", writer.downgrade()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Client(error) if error.kind() == ErrorKind::NoAuth),
        "{refused}"
    );
    until_contenders(&client, &path, 1).await;
    client.set_acl(&path, Acl::open()).await.unwrap();
    let next = soon("the next writer", client.write_lock(&path)).await;
    next.unwrap().release().await.unwrap();
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn a_downgrade_gives_up_in_time_and_leaves_nothing() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("downgrade-late");
    let writer = client.write_lock(&path).await.unwrap();
    proxy.lose_multi_and_stay_cut();
    let downgrade = writer.downgrade().timeout(Duration::from_millis(300));
    let error = soon("giving up", downgrade).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    proxy.restore();
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn a_downgrade_of_a_lost_lock_is_told_and_leaves_nothing() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("downgrade-none"));
    let writer = client.write_lock(&path).await.unwrap();
    let node = writer.node_path().to_owned();
    client.delete(&node).await.unwrap();
    assert!(writer.downgrade().await.unwrap_err().is_lost());
    let writer = client.write_lock(&path).await.unwrap();
    // Dropped half way: released.
    tokio::spawn(writer.downgrade()).abort();
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn mutexes_and_read_write_locks_refuse_each_other() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("mixed"));
    let refused = |result: Result<bool, Error>| {
        assert!(
            matches!(result, Err(Error::ForeignContender { .. })),
            "{result:?}"
        );
    };
    let mutex = client.lock(&path).await.unwrap();
    refused(client.read_lock(&path).await.map(|_| true));
    refused(client.write_lock(&path).await.map(|_| true));
    refused(client.leader(&path).await.map(|_| true));
    mutex.release().await.unwrap();
    let reader = client.read_lock(&path).await.unwrap();
    refused(client.lock(&path).await.map(|_| true));
    refused(
        client
            .read_lock(&path)
            .layout(LockLayout::Kazoo)
            .await
            .map(|_| true),
    );
    reader.release().await.unwrap();
    // In kazoo's layout a mutex does not see readers, and so must not go beside them.
    let reader = client
        .read_lock(&path)
        .layout(LockLayout::Kazoo)
        .await
        .unwrap();
    refused(
        client
            .lock(&path)
            .layout(LockLayout::Kazoo)
            .await
            .map(|_| true),
    );
    reader.release().await.unwrap();
    until_contenders(&client, &path, 0).await;
    // Who is refused leaves no node that the rightful ones would have to look at.
    let proxy = Proxy::start(server.address()).await;
    let stray = support::client(proxy.address()).await;
    let mutex = client.lock(&path).await.unwrap();
    refused(stray.read_lock(&path).await.map(|_| true));
    assert!(!proxy.seen().contains(&CREATE2));
    drop(mutex);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_semaphore_hands_out_so_many_leases() {
    let server = server().await;
    for layout in [LockLayout::Curator, LockLayout::Kazoo] {
        let path = unique("semaphore");
        let (most, full) = (3, Arc::new(Notify::new()));
        let held = Arc::new(parking_lot::Mutex::new((0, 0)));
        let mut contenders = JoinSet::new();
        for _ in 0..6 {
            let (client, path) = (client(server.address()).await, path.clone());
            let (held, full) = (Arc::clone(&held), Arc::clone(&full));
            contenders.spawn(async move {
                for turn in 0..5 {
                    let lease = client.semaphore(&path, most).layout(layout).await.unwrap();
                    let filled = full.notified();
                    let now = {
                        let mut held = held.lock();
                        *held = (held.0 + 1, held.1.max(held.0 + 1));
                        held.1
                    };
                    match now {
                        now if now >= most => full.notify_waiters(),
                        // The first ones wait for each other: all of the leases can be had at once.
                        _ if turn == 0 => filled.await,
                        _ => {}
                    }
                    lease.ensure().unwrap();
                    held.lock().0 -= 1;
                    lease.release().await.unwrap();
                }
            });
        }
        soon("all contenders", contenders.join_all()).await;
        assert_eq!(held.lock().1, most);
    }
}

#[tokio::test]
async fn leases_are_tried_waited_for_and_given_back() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("leases"));
    let semaphore = || client.semaphore(&path, 2);
    let first = semaphore().identity("first").await.unwrap();
    let second = semaphore().identity("second").await.unwrap();
    let mutex = async || client.get(&format!("{path}/locks")).await.unwrap().stat;
    let before = mutex().await.cversion;
    assert!(semaphore().try_acquire().await.unwrap().is_none());
    // A try that is too late is nobody's predecessor.
    assert_eq!(mutex().await.cversion, before);
    let late = semaphore().timeout(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let holders = semaphore().holders().await.unwrap();
    let names: Vec<_> = holders.iter().map(|holder| &*holder.identity).collect();
    assert_eq!(names, ["first", "second"]);
    let waiter = tokio::spawn(semaphore().into_future());
    let (locks, leases) = (format!("{path}/locks"), format!("{path}/leases"));
    until_contenders(&client, &locks, 1).await;
    first.release().await.unwrap();
    let third = soon("the third", waiter).await.unwrap().unwrap();
    until_contenders(&client, &locks, 0).await;
    assert_eq!(children(&client, &leases).await.len(), 2);
    drop((second, third));
    until_contenders(&client, &leases, 0).await;
}

#[tokio::test]
async fn the_count_of_a_semaphore_can_change() {
    let server = server().await;
    let (client, path, count) = (
        client(server.address()).await,
        unique("counted"),
        unique("count"),
    );
    let semaphore = || client.semaphore(&path, 1).count_at(&count);
    let first = semaphore().await.unwrap();
    let waiter = tokio::spawn(semaphore().into_future());
    until_contenders(&client, &format!("{path}/locks"), 1).await;
    client
        .create_all(&count, &2_i32.to_be_bytes()[..])
        .await
        .unwrap();
    let second = soon("more room", waiter).await.unwrap().unwrap();
    // Less than are out: they stay, and nobody comes in before enough of them are released.
    client.set(&count, &1_i32.to_be_bytes()[..]).await.unwrap();
    second.ensure().unwrap();
    first.release().await.unwrap();
    assert!(semaphore().try_acquire().await.unwrap().is_none());
    second.release().await.unwrap();
    semaphore().await.unwrap().release().await.unwrap();
    client.set(&count, "rubbish").await.unwrap();
    semaphore().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_lease() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, path) = (client(proxy.address()).await, unique("lease-lost"));
    let leases = format!("{path}/leases");
    client
        .semaphore(&path, 2)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    for (round, leg) in [Leg::Request, Leg::Reply].into_iter().enumerate() {
        proxy.lose_multi(leg);
        let lease = soon("the lease", client.semaphore(&path, 2)).await.unwrap();
        assert_eq!(proxy.lost(), round + 1);
        assert_eq!(children(&client, &leases).await.len(), 1);
        lease.release().await.unwrap();
        assert_eq!(children(&client, &leases).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_lease_of_curators_counts() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("lease-curator"));
    client
        .semaphore(&path, 1)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let leases = format!("{path}/leases");
    let name = format!("{leases}/_c_{}-lease-", client.guid());
    let theirs = client
        .create(&name, "")
        .ephemeral()
        .sequential()
        .await
        .unwrap();
    assert!(
        client
            .semaphore(&path, 1)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let waiter = tokio::spawn(client.semaphore(&path, 1).into_future());
    until_contenders(&client, &format!("{path}/locks"), 1).await;
    client.delete(&theirs.path).await.unwrap();
    drop(soon("the lease", waiter).await.unwrap().unwrap());
    until_contenders(&client, &leases, 0).await;
}

#[tokio::test]
async fn a_lease_that_turns_out_to_be_one_too_many_is_given_back() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (late, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("lease-over"),
    );
    let leases = format!("{path}/leases");
    // Between the create of the lease and the look at it, one that counts as older appears: it has no number.
    proxy.lose_multi_and_stay_cut();
    let waiter = tokio::spawn(late.semaphore(&path, 1).into_future());
    until_contenders(&other, &leases, 1).await;
    let first = children(&other, &leases).await.remove(0);
    let older = format!("{leases}/somebody");
    other.create(&older, "").ephemeral().await.unwrap();
    proxy.restore();
    until_children(&other, &leases, "only the older", |names| {
        names == ["somebody"]
    })
    .await;
    assert!(!waiter.is_finished());
    other.delete(&older).await.unwrap();
    let lease = soon("the lease", waiter).await.unwrap().unwrap();
    assert!(!lease.node_path().ends_with(&first), "another one");
    assert_eq!(children(&other, &leases).await.len(), 1);
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_too_many_that_may_not_be_deleted_is_not_waited_behind() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (late, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("lease-undeletable"),
    );
    let leases = format!("{path}/leases");
    for waits in [true, false] {
        proxy.lose_multi_and_stay_cut();
        let semaphore = late.semaphore(&path, 1);
        let seeking = tokio::spawn(async move {
            match waits {
                true => semaphore.await.map(Some),
                false => semaphore.try_acquire().await,
            }
        });
        until_contenders(&other, &leases, 1).await;
        let older = format!("{leases}/somebody");
        other.create(&older, "").ephemeral().await.unwrap();
        other.set_acl(&leases, vec![undeletable()]).await.unwrap();
        proxy.seen();
        proxy.restore();
        let lease = match waits {
            // Who does not wait is answered, and the node goes when it may.
            false => soon("the answer", seeking).await,
            true => {
                soon("refusals", proxy.until_seen(DELETE, 2)).await;
                other.set_acl(&leases, Acl::open()).await.unwrap();
                other.delete(&older).await.unwrap();
                soon("the lease", seeking).await
            }
        };
        let lease = lease.unwrap().unwrap();
        assert_eq!(lease.is_some(), waits);
        if !waits {
            other.set_acl(&leases, Acl::open()).await.unwrap();
            other.delete(&older).await.unwrap();
        }
        drop(lease);
        until_contenders(&other, &leases, 0).await;
    }
}

#[tokio::test]
async fn kazoos_count_is_everybodys_count() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("count-kazoo"));
    let semaphore = |count| client.semaphore(&path, count).layout(LockLayout::Kazoo);
    let lease = semaphore(2).await.unwrap();
    assert_eq!(client.get(&path).await.unwrap().data, "2");
    let refused = semaphore(3).await;
    assert!(matches!(
        refused,
        Err(Error::CountMismatch {
            told: Some(2),
            asked: 3,
            ..
        })
    ));
    let refused = semaphore(2).count_at("/x").await;
    assert!(matches!(
        refused,
        Err(Error::CountMismatch { told: None, .. })
    ));
    lease.release().await.unwrap();
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn kazoos_count_is_written_again_when_somebody_deletes_it() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("count-again"));
    let semaphore = |count| client.semaphore(&path, count).layout(LockLayout::Kazoo);
    let lease = semaphore(1).await.unwrap();
    let waiter = tokio::spawn(semaphore(1).into_future());
    until_contenders(&client, &format!("{path}-__lock__"), 1).await;
    let everything = client.multi().delete(lease.node_path()).delete(&path);
    everything.commit().await.unwrap();
    let next = soon("the next", waiter).await.unwrap().unwrap();
    assert_eq!(client.get(&path).await.unwrap().data, "1");
    let refused = semaphore(2).await;
    assert!(matches!(
        refused,
        Err(Error::CountMismatch { told: Some(1), .. })
    ));
    drop((lease, next));
    until_contenders(&client, &path, 0).await;
    // A node to stay: no container that the server would take away.
    assert_eq!(
        client.get(&path).await.unwrap().stat.ephemeral_owner,
        zk_client::SessionId::NONE
    );
}

#[tokio::test]
async fn a_long_wait_for_a_lease_says_who_holds_one() {
    let server = server().await;
    let log = support::Log::default();
    let _subscriber = log.capture();
    let (client, path) = (client(server.address()).await, unique("lease-warning"));
    let lease = client
        .semaphore(&path, 1)
        .identity("billing-7")
        .await
        .unwrap();
    let waiting = || client.semaphore(&path, 1).without_warning();
    let first = tokio::spawn(waiting().into_future());
    let mutex = format!("{path}/locks");
    until_contenders(&client, &mutex, 1).await;
    // Also whoever waits behind a waiter is told of the holder.
    let after = Duration::from_millis(20);
    let second = tokio::spawn(waiting().warn_after(after).into_future());
    // The second warning: by then the mutex would have told of the first waiter.
    soon("the warnings", log.contains("waited=40ms")).await;
    assert!(log.text().contains("holder=billing-7"), "{}", log.text());
    assert!(!log.text().contains("/locks\""), "{}", log.text());
    drop(lease);
    drop(soon("the first", first).await.unwrap().unwrap());
    drop(soon("the second", second).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_multi_lock_is_all_or_nothing() {
    let server = server().await;
    let client = client(server.address()).await;
    let paths = [unique("multi"), unique("multi"), unique("multi")];
    let all = || client.multi_lock(&paths);
    let guard = all().await.unwrap();
    assert_eq!(guard.guards().len(), 3);
    guard.ensure().unwrap();
    assert_eq!(guard.run(async { 42 }).await.unwrap(), 42);
    guard.release().await.unwrap();
    // One of them is held: the deadline is one for all, and those before it are given back.
    let held = client.lock(&paths[1]).await.unwrap();
    let late = all().timeout(Duration::from_millis(80)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    assert!(all().try_acquire().await.unwrap().is_none());
    until_contenders(&client, &paths[0], 0).await;
    until_contenders(&client, &paths[1], 1).await;
    held.release().await.unwrap();
    // Any lost one loses the whole.
    let guard = all().try_acquire().await.unwrap().unwrap();
    client.delete(guard.guards()[1].node_path()).await.unwrap();
    assert_eq!(
        soon("the loss", guard.lost()).await,
        LostReason::NodeDeleted
    );
    assert!(guard.ensure().unwrap_err().is_lost());
    assert!(
        guard
            .run(std::future::pending::<()>())
            .await
            .unwrap_err()
            .is_lost()
    );
    drop(guard);
    for path in &paths {
        until_contenders(&client, path, 0).await;
    }
}

#[tokio::test]
async fn a_multi_lock_that_loses_one_while_it_waits_begins_again() {
    let server = server().await;
    let (client, other) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let paths = [unique("multi-again-a"), unique("multi-again-b")];
    let held = other.lock(&paths[1]).await.unwrap();
    let waiter = tokio::spawn(client.multi_lock(&paths).into_future());
    until_contenders(&other, &paths[1], 2).await;
    let first = children(&other, &paths[0]).await.remove(0);
    other
        .delete(&format!("{}/{first}", paths[0]))
        .await
        .unwrap();
    // At once, and not only when it has the second, too.
    until_children(&other, &paths[0], "another node", |names| {
        names.len() == 1 && names[0] != first
    })
    .await;
    // The same after an expiry.
    let session = client.session();
    server.end(&session).await;
    while client.session().id() == session.id() {
        tokio::task::yield_now().await;
    }
    until_contenders(&other, &paths[1], 2).await;
    held.release().await.unwrap();
    let guard = soon("the locks", waiter).await.unwrap().unwrap();
    guard.ensure().unwrap();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multi_locks_in_any_order_never_wait_for_each_other() {
    let server = server().await;
    let (a, b) = (unique("multi-order"), unique("multi-order"));
    let mut contenders = JoinSet::new();
    for place in 0..4 {
        let client = client(server.address()).await;
        let paths = if place % 2 == 0 {
            [a.clone(), b.clone()]
        } else {
            [b.clone(), a.clone()]
        };
        contenders.spawn(async move {
            for _ in 0..15 {
                client
                    .multi_lock(&paths)
                    .await
                    .unwrap()
                    .release()
                    .await
                    .unwrap();
            }
        });
    }
    soon("all contenders", contenders.join_all()).await;
}

#[tokio::test]
async fn an_unfair_lock_is_one_node() {
    let server = server().await;
    let path = unique("unfair");
    let client = builder(server.address())
        .identity("me")
        .connect()
        .await
        .unwrap();
    let other = support::client(server.address()).await;
    let guard = client.unfair_lock(&path).await.unwrap();
    let holder = other.unfair_lock(&path).holder().await.unwrap().unwrap();
    assert_eq!((&*holder.identity, holder.token), ("me", guard.token()));
    assert!(
        client
            .unfair_lock(&path)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        other
            .unfair_lock(&path)
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let waiter = tokio::spawn(other.unfair_lock(&path).into_future());
    let late = client
        .unfair_lock(&path)
        .timeout(Duration::from_millis(50))
        .await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    guard.ensure().unwrap();
    let token = guard.token();
    guard.release().await.unwrap();
    let next = soon("the next", waiter).await.unwrap().unwrap();
    assert!(next.token() > token);
    next.release().await.unwrap();
    assert!(client.exists(&path).await.unwrap().is_none());
    client.create(&path, "not a lock").await.unwrap();
    let refused = client.unfair_lock(&path).await;
    assert!(matches!(refused, Err(Error::Foreign { .. })));
    let tried = client.unfair_lock(&path).try_acquire().await;
    let told = tried.unwrap_err().to_string();
    let (above, name) = path.rsplit_once('/').unwrap();
    assert!(
        told.starts_with(&format!("{above} holds {name},")),
        "{told}"
    );
}

#[tokio::test]
async fn an_unfair_lock_survives_lost_replies() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("unfair-lost"),
    );
    for round in 1..=3 {
        proxy.lose_next(CREATE2, Leg::Reply);
        let guard = soon("the lock", client.unfair_lock(&path)).await.unwrap();
        assert_eq!(proxy.lost(), 2 * round - 1);
        let waiter = tokio::spawn(other.unfair_lock(&path).into_future());
        // The delete is carried out and its answer lost; meanwhile the next holder makes a node of the same name.
        proxy.lose_next(DELETE, Leg::Reply);
        let released = tokio::spawn(guard.release());
        let next = soon("the next", waiter).await.unwrap().unwrap();
        soon("the release", released).await.unwrap().unwrap();
        assert_eq!(proxy.lost(), 2 * round);
        next.ensure().unwrap();
        let holder = other.unfair_lock(&path).holder().await.unwrap().unwrap();
        assert_eq!(holder.token, next.token(), "its node was left alone");
        next.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_unfair_lock_leaves_the_next_holders_node_alone() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("unfair-deleted"),
    );
    // While its holder is away somebody deletes its node by hand, and somebody else takes the lock.
    let guard = client.unfair_lock(&path).await.unwrap();
    proxy.cut();
    other.delete(&path).await.unwrap();
    let next = other.unfair_lock(&path).await.unwrap();
    proxy.seen();
    proxy.restore();
    assert_eq!(
        soon("the loss", guard.lost()).await,
        LostReason::NodeDeleted
    );
    assert!(guard.release().await.unwrap_err().is_lost());
    // It looks at the node twice, to see that it was deleted and before it would delete it, and asks for nothing else.
    let seen = soon("the looks", proxy.until_seen(GET_DATA, 2)).await;
    client.who_am_i().await.unwrap(); // everything before it is answered
    assert!(!seen.contains(&DELETE) && !proxy.seen().contains(&DELETE));
    next.ensure().unwrap();
    let holder = other.unfair_lock(&path).holder().await.unwrap().unwrap();
    assert_eq!(holder.token, next.token(), "its node was left alone");
    next.release().await.unwrap();
}

#[tokio::test]
async fn waiters_outlive_any_number_of_sessions() {
    let server = server().await;
    let (holder, waiting, path) = (
        client(server.address()).await,
        client(server.address()).await,
        unique("expiries"),
    );
    let under = |name: &str| format!("{path}/{name}");
    let held = (
        holder.lock(&under("l")).await.unwrap(),
        holder.semaphore(&under("s"), 1).await.unwrap(),
        holder.unfair_lock(&under("u")).await.unwrap(),
    );
    // One that holds the semaphore's mutex while it waits, and one that waits for that.
    let first = tokio::spawn(holder.semaphore(&under("s"), 1).into_future());
    until_contenders(&holder, &under("s/locks"), 1).await;
    let lock = tokio::spawn(waiting.lock(&under("l")).into_future());
    let second = tokio::spawn(waiting.semaphore(&under("s"), 1).into_future());
    let alone = (
        holder.semaphore(&under("t"), 1).await.unwrap(),
        tokio::spawn(waiting.semaphore(&under("t"), 1).into_future()),
    );
    let unfair = tokio::spawn(waiting.unfair_lock(&under("u")).into_future());
    let expiries = async {
        for _ in 0..6 {
            until_contenders(&holder, &under("l"), 2).await;
            until_contenders(&holder, &under("s/locks"), 2).await;
            until_contenders(&holder, &under("t/locks"), 1).await;
            let session = waiting.session();
            server.end(&session).await;
            while waiting.session().id() == session.id() {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("six sessions", expiries).await;
    assert!(!unfair.is_finished() && !alone.1.is_finished());
    drop((held, alone.0));
    drop(soon("the lock", lock).await.unwrap().unwrap());
    drop(soon("the first lease", first).await.unwrap().unwrap());
    drop(soon("the second lease", second).await.unwrap().unwrap());
    drop(soon("the other lease", alone.1).await.unwrap().unwrap());
    drop(soon("the unfair lock", unfair).await.unwrap().unwrap());
}

#[tokio::test]
async fn cancelled_attempts_of_the_whole_family_leave_nothing() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("family-cancel"),
    );
    let under = |name: &str| format!("{path}/{name}");
    let held = (
        other.write_lock(&under("rw")).await.unwrap(),
        other.semaphore(&under("s"), 1).await.unwrap(),
        other.unfair_lock(&under("u")).await.unwrap(),
        other.leader(&under("e")).await.unwrap(),
    );
    for attempt in 0..60_u64 {
        let moment = Duration::from_micros(attempt * 97 % 4000);
        let (rw, s, u, e) = (under("rw"), under("s"), under("u"), under("e"));
        let all = async {
            tokio::select! {
                biased;
                _ = client.read_lock(&rw) => {}
                _ = client.write_lock(&rw) => {}
                _ = client.semaphore(&s, 1) => {}
                _ = client.unfair_lock(&u) => {}
                _ = client.leader(&e) => {}
                _ = client.latch(&e).start() => std::future::pending().await,
                _ = client.multi_lock([&under("m1"), &under("m2")]).into_future() => {}
            }
        };
        drop(tokio::time::timeout(moment, all).await);
        if attempt % 20 == 0 {
            proxy.blink();
        }
    }
    soon("nothing left", async {
        while !client.ephemerals("/").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(held.0.ensure().is_ok() && held.1.ensure().is_ok());
    assert!(held.2.ensure().is_ok() && held.3.ensure().is_ok());
}

#[tokio::test]
async fn what_a_stranger_may_not_create_is_refused() {
    let server = server().await;
    let path = unique("family-noauth");
    let owner = builder(server.address())
        .auth("digest", "a:b")
        .default_acl(Acl::creator_all())
        .connect()
        .await
        .unwrap();
    owner.create_all(&path, "").await.unwrap();
    let stranger = client(server.address()).await;
    let refused = |error: Error| {
        let is_refused =
            matches!(&error, Error::Client(error) if error.kind() == ErrorKind::NoAuth);
        assert!(is_refused, "{error}");
    };
    refused(stranger.read_lock(&path).await.unwrap_err());
    refused(stranger.semaphore(&path, 1).await.unwrap_err());
    refused(
        stranger
            .unfair_lock(&format!("{path}/u"))
            .await
            .unwrap_err(),
    );
    refused(stranger.multi_lock([&path]).await.unwrap_err());
    refused(stranger.latch(&path).start().await.unwrap_err());
    until_children(&owner, &path, "nothing", <[String]>::is_empty).await;
}

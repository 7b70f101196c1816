//! The lock against a real server.

#![allow(
    clippy::async_yields_async,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use support::{
    FencedStore, Log, builder, children, client,
    proxy::{Leg, PING, Proxy},
    server, soon, unique, until_children, until_contenders,
};
use tokio::task::JoinSet;
use zk_client::{Acl, ErrorKind, Perms, SessionEnd};
use zk_recipes::{
    Error,
    lock::{Heartbeat, LockContender},
    prelude::*,
};

/// Opcodes (`ZooDefs.OpCode`).
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const MULTI: i32 = 14;
const CREATE2: i32 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_holder_at_a_time_and_every_token_is_larger() {
    let server = server().await;
    let address = server.address();
    let (path, store) = (unique("exclusion"), FencedStore::new());
    let mut contenders = JoinSet::new();
    for _ in 0..4 {
        let (client, path, store) = (client(address).await, path.clone(), Arc::clone(&store));
        contenders.spawn(async move {
            for _ in 0..25 {
                let guard = client.lock(&path).await.unwrap();
                store.enter(&guard);
                assert!(guard.ensure().is_ok());
                tokio::task::yield_now().await;
                assert!(
                    store.write(guard.token()),
                    "tokens grow from holder to holder"
                );
                store.leave(&guard);
                guard.release().await.unwrap();
            }
        });
    }
    soon("all contenders", contenders.join_all()).await;
    assert_eq!(
        (store.writes(), store.overlaps(), store.refused()),
        (100, 0, 0)
    );
}

#[tokio::test]
async fn the_queue_is_served_in_order() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("fair"));
    let first = client.lock(&path).await.unwrap();
    let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
    for place in 1..=5 {
        let (acquire, sender) = (client.lock(&path), sender.clone());
        tokio::spawn(async move {
            let guard = acquire.await.unwrap();
            sender.send((place, guard.token())).unwrap();
            guard.release().await.unwrap();
        });
        until_contenders(&client, &path, place + 1).await;
    }
    let mut last = first.token();
    first.release().await.unwrap();
    for expected in 1..=5 {
        let (place, token) = soon("the next holder", served.recv()).await.unwrap();
        assert_eq!(place, expected);
        assert!(token > last);
        last = token;
    }
}

#[tokio::test]
async fn two_hundred_cancelled_attempts_leave_no_node() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("cancel"));
    let holder = client.lock(&path).await.unwrap();
    for attempt in 0..200_u64 {
        let mut acquire = client.lock(&path);
        // Cancelled after a different number of turns each time: before the create, during it, while looking, waiting.
        let mut turns = attempt % 20;
        let cancelled = std::future::poll_fn(|cx| {
            let polled = pin!(&mut acquire).poll(cx);
            assert!(polled.is_pending(), "somebody else holds it");
            if turns == 0 {
                return std::task::Poll::Ready(());
            }
            turns -= 1;
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        });
        cancelled.await;
        drop(acquire);
        if attempt % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    until_contenders(&client, &path, 1).await;
    holder.release().await.unwrap();
    assert_eq!(children(&client, &path).await, [""; 0]);
}

#[tokio::test]
async fn a_holder_whose_session_expires_is_told_and_its_waiter_goes_on() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let doomed = builder(proxy.address())
        .session_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let (other, path, store) = (client(address).await, unique("expiry"), FencedStore::new());
    let guard = doomed.lock(&path).await.unwrap();
    assert!(store.write(guard.token()));
    let waiter = tokio::spawn(other.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    let lost = guard.lost();
    proxy.cut();
    let reason = soon("the loss", lost).await;
    assert_eq!(reason, LostReason::NoProofOfLife);
    assert!(matches!(
        guard.ensure(),
        Err(Error::Lost {
            reason: LostReason::NoProofOfLife,
            ..
        })
    ));
    assert_eq!(
        children(&other, &path).await.len(),
        2,
        "told before the server let anybody else in"
    );
    let next = soon("the next holder", waiter).await.unwrap().unwrap();
    assert!(store.write(next.token()));
    assert!(
        !store.write(guard.token()),
        "the fenced store refuses the old holder"
    );
    proxy.restore();
    assert_eq!(guard.lost().await, LostReason::NoProofOfLife, "sticky");
    assert!(guard.release().await.unwrap_err().is_lost());
}

#[tokio::test]
async fn a_session_that_the_server_ends_ends_guard_and_place_in_the_queue() {
    let server = server().await;
    let (client, other, path) = (
        client(server.address()).await,
        client(server.address()).await,
        unique("ended"),
    );
    let guard = client.lock(&path).await.unwrap();
    let waiter = tokio::spawn(other.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    let (first, second) = (client.session(), other.session());
    server.end(&second).await;
    soon("the waiter's end", second.ended()).await;
    until_contenders(&client, &path, 2).await;
    server.end(&first).await;
    let reason = soon("the loss", guard.lost()).await;
    // The node goes with the session, and the server may tell that first.
    assert!(
        matches!(reason, LostReason::SessionEnded | LostReason::NodeDeleted),
        "{reason}"
    );
    let next = soon("the next holder", waiter).await.unwrap().unwrap();
    assert!(next.token() > guard.token());
    drop(guard);
    next.ensure().unwrap();
}

#[tokio::test]
async fn presumed_lost_is_lost_and_the_node_goes_when_the_session_lives() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = builder(proxy.address())
        .session_timeout(Duration::from_secs(3))
        .connect()
        .await
        .unwrap();
    let (other, path) = (support::client(address).await, unique("presumed"));
    let session = client.session();
    let guard = client.lock(&path).await.unwrap();
    proxy.cut();
    assert_eq!(
        soon("the loss", guard.lost()).await,
        LostReason::NoProofOfLife
    );
    proxy.restore();
    until_contenders(&other, &path, 0).await;
    assert!(
        session.is_current(),
        "the session lived on, and the node was deleted nevertheless"
    );
    assert!(guard.ensure().is_err());
}

#[tokio::test]
async fn a_short_suspension_loses_nothing() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = client(proxy.address()).await;
    let path = unique("suspension");
    let guard = client.lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    for _ in 0..5 {
        proxy.blink();
        client.sync("/").await.unwrap();
        guard.ensure().unwrap();
    }
    assert!(!waiter.is_finished());
    guard.release().await.unwrap();
    let next = soon("the waiter", waiter).await.unwrap().unwrap();
    next.release().await.unwrap();
    assert_eq!(children(&client, &path).await, [""; 0]);
}

#[tokio::test]
async fn a_lost_reply_to_the_create_makes_no_second_node() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = client(proxy.address()).await;
    let path = unique("lost-reply");
    client.lock(&path).await.unwrap().release().await.unwrap();
    for _ in 0..3 {
        proxy.lose_create_replies(1);
        let guard = soon("the lock", client.lock(&path)).await.unwrap();
        assert_eq!(
            children(&client, &path).await.len(),
            1,
            "the node was found, not made again"
        );
        guard.ensure().unwrap();
        guard.release().await.unwrap();
        assert_eq!(children(&client, &path).await, [""; 0]);
    }
    assert_eq!(proxy.lost(), 3);
}

#[tokio::test]
async fn a_create_that_is_cancelled_while_its_reply_is_lost_leaves_nothing() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(address).await,
        unique("lost-cancel"),
    );
    other.lock(&path).await.unwrap().release().await.unwrap();
    proxy.lose_create_reply_and_stay_cut();
    let acquire = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&other, &path, 1).await;
    acquire.abort();
    assert!(acquire.await.unwrap_err().is_cancelled());
    proxy.restore();
    until_contenders(&other, &path, 0).await;
    assert_eq!(proxy.lost(), 1);
}

#[tokio::test]
async fn a_node_of_a_dying_session_is_never_adopted() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = builder(proxy.address())
        .session_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let (other, path) = (support::client(address).await, unique("dying"));
    other.lock(&path).await.unwrap().release().await.unwrap();
    let old = client.session().id();
    proxy.lose_create_reply_and_stay_cut();
    let acquire = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&other, &path, 1).await;
    until_contenders(&other, &path, 0).await; // the session has expired
    proxy.restore();
    let guard = soon("the lock in the next session", acquire)
        .await
        .unwrap()
        .unwrap();
    let contenders = other.lock(&path).contenders().await.unwrap();
    assert_eq!(contenders.len(), 1);
    assert_ne!(contenders[0].session, old);
    assert_eq!(contenders[0].token, guard.token());
}

#[tokio::test]
async fn a_waiter_whose_session_expires_queues_again() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = builder(proxy.address())
        .session_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let (other, path) = (support::client(address).await, unique("waiter-expiry"));
    let holder = other.lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    proxy.cut();
    until_contenders(&other, &path, 1).await;
    proxy.restore();
    until_contenders(&other, &path, 2).await;
    assert!(!waiter.is_finished());
    holder.release().await.unwrap();
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

#[tokio::test]
async fn somebody_else_deleting_the_node_is_a_loss() {
    let server = server().await;
    let address = server.address();
    let (holder, admin, path) = (
        client(address).await,
        client(address).await,
        unique("deleted"),
    );
    let guard = holder.lock(&path).await.unwrap();
    let (lost, node) = (guard.lost(), guard.node_path().to_owned());
    admin.set(&node, "touched").await.unwrap(); // not a loss
    admin.delete(&node).await.unwrap();
    assert_eq!(soon("the loss", lost).await, LostReason::NodeDeleted);
    assert!(matches!(
        guard.ensure(),
        Err(Error::Lost {
            reason: LostReason::NodeDeleted,
            ..
        })
    ));
    assert!(guard.release().await.is_err());
}

#[tokio::test]
async fn a_waiter_whose_node_is_deleted_queues_again() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("deleted-waiter"));
    let holder = client.lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    let queue = client.lock(&path).contenders().await.unwrap();
    client
        .delete(&format!("{path}/{}", queue[1].node))
        .await
        .unwrap();
    soon("another node", async {
        loop {
            let now = client.lock(&path).contenders().await.unwrap();
            if now.len() == 2 && now[1].node != queue[1].node {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    holder.release().await.unwrap();
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

#[test]
fn a_guard_can_be_dropped_outside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(server());
    let address = server.address();
    let path = unique("outside");
    let (client, guard) = runtime.block_on(async {
        let client = client(address).await;
        let guard = client.lock(&path).await.unwrap();
        (client, guard)
    });
    let mut begun = Box::pin(client.lock(&path).timeout(Duration::from_secs(30)));
    std::thread::spawn(move || {
        // Also polled outside, with a timeout, since everything happens on the client's runtime.
        let mut context = Context::from_waker(Waker::noop());
        assert!(begun.as_mut().poll(&mut context).is_pending());
        drop(guard);
        drop(begun);
    })
    .join()
    .unwrap();
    let waiting = runtime.block_on(async {
        let guard = soon("the lock", client.lock(&path)).await.unwrap();
        let mut waiting = Box::pin(client.lock(&path));
        assert!(
            waiting
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        until_contenders(&client, &path, 2).await;
        drop(guard);
        waiting
    });
    drop(waiting); // perhaps holding a guard already
    runtime.block_on(until_contenders(&client, &path, 0));
}

#[tokio::test]
async fn run_stops_the_work_when_the_lock_is_lost() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("run"));
    let guard = client.lock(&path).await.unwrap();
    assert_eq!(guard.run(async { 42 }).await.unwrap(), 42);
    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let work = guard.run(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    let deletion = client.delete(guard.node_path());
    let (result, deleted) = soon("the loss", async { tokio::join!(work, deletion) }).await;
    deleted.unwrap();
    assert!(result.unwrap_err().is_lost());
    assert_eq!(Arc::strong_count(&dropped), 1, "the work was dropped");
    let never = guard
        .run(async { panic!("not polled without the lock") })
        .await;
    assert!(never.unwrap_err().is_lost());
}

#[tokio::test]
async fn try_acquire_takes_a_free_lock_only() {
    let server = server().await;
    let address = server.address();
    let (client, other, path) = (client(address).await, client(address).await, unique("try"));
    let guard = client.lock(&path).try_acquire().await.unwrap().unwrap();
    assert!(other.lock(&path).try_acquire().await.unwrap().is_none());
    assert!(client.lock(&path).try_acquire().await.unwrap().is_none());
    assert_eq!(children(&client, &path).await.len(), 1);
    guard.release().await.unwrap();
    let guard = other.lock(&path).try_acquire().await.unwrap();
    assert!(guard.is_some());
}

#[tokio::test]
async fn a_timeout_gives_up_and_leaves_nothing() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("timeout"));
    let holder = client.lock(&path).await.unwrap();
    let late = client.lock(&path).timeout(Duration::from_millis(50)).await;
    assert!(
        matches!(late, Err(Error::Timeout { waited, .. }) if waited == Duration::from_millis(50))
    );
    until_contenders(&client, &path, 1).await;
    holder.release().await.unwrap();
    drop(
        client
            .lock(&path)
            .timeout(Duration::from_secs(30))
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn a_commit_goes_through_only_under_the_lock() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("commit"));
    let value = unique("value");
    let guard = client.lock(&path).await.unwrap();
    client.create(&value, "0").await.unwrap();
    let results = guard.commit(client.multi().set(&value, "1")).await.unwrap();
    assert_eq!(results.len(), 1);
    let refused = guard
        .commit(client.multi().set(&value, "2").version(77))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Client(error) if error.kind() == ErrorKind::BadVersion));
    guard.ensure().unwrap();
    client.delete(guard.node_path()).await.unwrap();
    let lost = guard
        .commit(client.multi().set(&value, "3"))
        .await
        .unwrap_err();
    assert!(lost.is_lost(), "{lost}");
    assert_eq!(client.get(&value).await.unwrap().data, "1");
}

#[tokio::test]
async fn a_commit_can_release_in_the_same_transaction() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("commit-release"));
    let value = unique("value");
    let guard = client.lock(&path).await.unwrap();
    let lost = guard.lost();
    client.create(&value, "0").await.unwrap();
    guard
        .commit_and_release(client.multi().set(&value, "1"))
        .await
        .unwrap();
    assert_eq!(lost.await, LostReason::Released);
    assert_eq!(children(&client, &path).await, [""; 0]);
    assert_eq!(client.get(&value).await.unwrap().data, "1");
    let guard = client.lock(&path).await.unwrap();
    let refused = guard
        .commit_and_release(client.multi().set(&value, "2").version(77))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Client(error) if error.kind() == ErrorKind::BadVersion));
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn a_releasing_commit_says_what_became_of_it_when_the_connection_breaks() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = client(proxy.address()).await;
    let (path, value) = (unique("commit-cut"), unique("value"));
    client.create_all(&value, "0").await.unwrap();
    for (round, leg) in [Leg::Request, Leg::Reply].into_iter().enumerate() {
        let guard = client.lock(&path).await.unwrap();
        proxy.lose_multi(leg);
        let commit = guard.commit_and_release(client.multi().set(&value, "1"));
        soon("the commit", commit).await.unwrap();
        assert_eq!(proxy.lost(), round + 1);
        let version = client.exists(&value).await.unwrap().unwrap().version;
        assert_eq!(usize::try_from(version), Ok(round + 1), "carried out once");
        assert_eq!(children(&client, &path).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_client_that_has_no_session_yet_can_lock() {
    let server = server().await;
    let path = unique("lazy");
    let lazy = builder(server.address()).connect_lazy().unwrap();
    let guard = soon("the lock", lazy.lock(&path)).await.unwrap();
    let contenders = lazy.lock(&path).contenders().await.unwrap();
    assert_eq!(contenders.len(), 1, "{contenders:?}");
    guard.release().await.unwrap();
    let lazy = builder(server.address()).connect_lazy().unwrap();
    lazy.close().await.unwrap();
    assert!(lazy.lock(&path).await.is_err());
}

#[tokio::test]
async fn contenders_say_who_they_are() {
    let server = server().await;
    let address = server.address();
    let client = builder(address)
        .identity("billing-7")
        .connect()
        .await
        .unwrap();
    let path = unique("contenders");
    assert_eq!(client.lock(&path).contenders().await.unwrap(), []);
    let guard = client.lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.lock(&path).identity("the other one").into_future());
    until_contenders(&client, &path, 2).await;
    let contenders = client.lock(&path).contenders().await.unwrap();
    let identities: Vec<_> = contenders
        .iter()
        .map(|contender: &LockContender| contender.identity.as_str())
        .collect();
    assert_eq!(identities, ["billing-7", "the other one"]);
    assert_eq!(contenders[0].token, guard.token());
    assert!(contenders[0].since <= contenders[1].since);
    drop(guard);
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

#[tokio::test]
async fn contenders_of_another_family_are_refused_and_other_children_ignored() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("foreign"));
    let guard = client.lock(&path).await.unwrap();
    client.create(&format!("{path}/ключ"), "").await.unwrap();
    client.create(&format!("{path}/leases"), "").await.unwrap();
    guard.release().await.unwrap();
    client.lock(&path).await.unwrap().release().await.unwrap();
    let kazoo = client.lock(&path).layout(LockLayout::Kazoo).await.unwrap();
    let refused = client.lock(&path).await;
    assert!(
        matches!(refused, Err(Error::ForeignContender { name, .. }) if name.contains("__lock__"))
    );
    kazoo.release().await.unwrap();
    until_children(&client, &path, "nothing of the refused attempt", |names| {
        names.len() == 2
    })
    .await;
    drop(client.lock(&path).await.unwrap());
}

#[tokio::test]
async fn the_directory_is_made_again_as_a_container() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("container"));
    client.lock(&path).await.unwrap().release().await.unwrap();
    let made = client.exists(&path).await.unwrap().unwrap();
    client.delete(&path).await.unwrap(); // as the server does with an empty container
    client.lock(&path).await.unwrap().release().await.unwrap();
    assert!(client.exists(&path).await.unwrap().unwrap().czxid > made.czxid);
}

#[tokio::test]
async fn a_closed_client_ends_guard_and_waiter() {
    let server = server().await;
    let address = server.address();
    let (client, other, path) = (
        client(address).await,
        client(address).await,
        unique("close"),
    );
    let guard = client.lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    client.close().await.unwrap();
    let reason = soon("the loss", guard.lost()).await;
    // Closing deletes the node, and the server may tell that before it confirms the end.
    assert!(
        matches!(reason, LostReason::SessionEnded | LostReason::NodeDeleted),
        "{reason}"
    );
    let ended = soon("the waiter", waiter).await.unwrap();
    assert!(
        matches!(
            ended,
            Err(Error::SessionGone {
                reason: ErrorKind::Closed
            })
        ),
        "{ended:?}"
    );
    assert!(matches!(
        client.lock(&path).await,
        Err(Error::SessionGone { .. })
    ));
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn the_current_client_is_the_one_at_the_call() {
    let none = Lock::acquire("/nowhere").await;
    assert!(matches!(none, Err(Error::NoCurrentClient)));
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, unique("current"));
    let acquire = client.scope(async { Lock::acquire(&path) }).await;
    let guard = tokio::spawn(acquire.into_future()).await.unwrap().unwrap();
    guard.release().await.unwrap();
    assert!(matches!(
        Lock::acquire(&path).await,
        Err(Error::NoCurrentClient)
    ));
}

#[tokio::test]
async fn a_refused_client_gets_the_servers_answer() {
    let server = server().await;
    let address = server.address();
    let path = unique("noauth");
    let owner = builder(address)
        .auth("digest", "a:b")
        .default_acl(Acl::creator_all())
        .connect()
        .await
        .unwrap();
    owner.lock(&path).await.unwrap().release().await.unwrap();
    let stranger = client(address).await;
    let refused = stranger.lock(&path).await;
    assert!(matches!(refused, Err(Error::Client(error)) if error.kind() == ErrorKind::NoAuth));
}

#[tokio::test]
async fn a_hand_over_costs_one_delete_and_two_requests_sent_together() {
    let server = server().await;
    let address = server.address();
    let (near, far) = (Proxy::start(address).await, Proxy::start(address).await);
    let (releaser, successor) = (client(near.address()).await, client(far.address()).await);
    let (other, path) = (client(address).await, unique("cost"));
    let guard = releaser.lock(&path).await.unwrap();
    let waiter = tokio::spawn(successor.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    // The last thing that a contender does before it waits is to read its predecessor.
    let before = soon("the wait", far.until_seen(GET_DATA, 2)).await;
    assert_eq!(
        before,
        [
            GET_CHILDREN,
            CREATE2,
            SYNC,
            GET_CHILDREN,
            GET_DATA,
            GET_DATA
        ],
        "anybody foreign, own node, predecessor"
    );
    successor.session().who_am_i().await.unwrap(); // everything before it is answered
    far.seen();
    near.seen();
    guard.release().await.unwrap();
    let next = soon("the next holder", waiter).await.unwrap().unwrap();
    assert_eq!(near.seen(), [DELETE]);
    assert_eq!(far.seen(), [SYNC, GET_CHILDREN]);
    next.release().await.unwrap();
}

#[tokio::test]
async fn a_guard_has_heartbeats_and_a_waiter_has_none() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let short = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let (waiting, other, path) = (
        short.connect().await.unwrap(),
        client(address).await,
        unique("heartbeats"),
    );
    let holder = other.lock(&path).await.unwrap();
    let waiter = tokio::spawn(waiting.lock(&path).into_future());
    until_contenders(&other, &path, 2).await;
    let while_waiting = soon("three pings", proxy.until_seen(PING, 3)).await;
    assert_eq!(
        while_waiting.iter().filter(|op| **op == SYNC).count(),
        1,
        "the look"
    );
    holder.release().await.unwrap();
    let guard = soon("the lock", waiter).await.unwrap().unwrap();
    let while_holding = soon("three heartbeats", proxy.until_seen(SYNC, 3)).await;
    assert!(
        !while_holding.contains(&PING),
        "a heartbeat is a sign of life, too"
    );
    guard.release().await.unwrap();
    proxy.seen();
    soon("three pings", proxy.until_seen(PING, 3)).await;
    assert!(!proxy.seen().contains(&SYNC));
}

#[tokio::test]
async fn a_contender_of_curator_has_its_turn() {
    let server = server().await;
    let address = server.address();
    let (client, curator, path) = (
        client(address).await,
        client(address).await,
        unique("curator"),
    );
    drop(client.lock(&path).await.unwrap());
    let name = format!("{path}/_c_{}-lock-", curator.guid());
    let theirs = curator
        .create(&name, "10.0.0.7")
        .ephemeral()
        .sequential()
        .await
        .unwrap();
    let waiter = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    assert!(client.lock(&path).try_acquire().await.unwrap().is_none());
    let queue = client.lock(&path).contenders().await.unwrap();
    assert_eq!(queue[0].identity, "10.0.0.7");
    assert!(!waiter.is_finished());
    curator.delete(&theirs.path).await.unwrap();
    let guard = soon("our turn", waiter).await.unwrap().unwrap();
    assert!(guard.token() > theirs.stat.czxid);
}

#[tokio::test]
async fn a_long_wait_says_who_holds_the_lock() {
    let server = server().await;
    let address = server.address();
    let log = Log::default();
    let _subscriber = log.capture();
    let holder = builder(address)
        .identity("billing-7")
        .connect()
        .await
        .unwrap();
    let path = unique("warning");
    let guard = holder.lock(&path).await.unwrap();
    let waiting = holder.lock(&path).warn_after(Duration::from_millis(20));
    let waiter = tokio::spawn(waiting.into_future());
    soon("the warning", log.contains("holder=billing-7")).await;
    drop(guard);
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_lock_through_a_session_ends_with_it() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let client = builder(proxy.address())
        .session_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let (session, other, mine) = (
        client.session(),
        support::client(address).await,
        unique("mine"),
    );
    drop(client.lock("/zk-recipes-test/any").await.unwrap());
    client.create(&mine, "").ephemeral().await.unwrap();
    proxy.cut();
    let (stat, expired) = other.exists(&mine).watch().await.unwrap();
    if stat.is_some() {
        soon("expiry on the server", expired).await;
    }
    proxy.restore();
    soon("the end", session.ended()).await;
    let ended = soon("the error", session.lock(&unique("bound"))).await;
    assert!(
        matches!(&ended, Err(Error::Client(error)) if error.kind() == ErrorKind::SessionChanged),
        "{ended:?}"
    );
    drop(client.lock(&unique("unbound")).await.unwrap());
}

#[tokio::test]
async fn many_clients_and_breaking_connections_share_one_lock() {
    let server = server().await;
    let address = server.address();
    let (path, store) = (unique("storm"), FencedStore::new());
    let proxy = Proxy::start(address).await;
    let mut contenders = JoinSet::new();
    for _ in 0..3 {
        let client = client(proxy.address()).await;
        let (path, store) = (path.clone(), Arc::clone(&store));
        contenders.spawn(async move {
            for _ in 0..10 {
                let guard = client.lock(&path).await.unwrap();
                store.enter(&guard);
                assert!(store.write(guard.token()));
                store.leave(&guard);
                guard.release().await.unwrap();
            }
        });
    }
    let storm = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(40)).await;
            proxy.blink();
            proxy.lose_create_replies(1);
        }
    });
    soon("all contenders", contenders.join_all()).await;
    storm.abort();
    assert_eq!(
        (store.writes(), store.overlaps(), store.refused()),
        (30, 0, 0)
    );
    let other = client(address).await;
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn who_may_not_delete_its_node_does_not_keep_its_client_open_for_it() {
    let server = server().await;
    let (other, path) = (client(server.address()).await, unique("undeletable-closed"));
    for is_released in [true, false] {
        let client = client(server.address()).await;
        let guard = client.lock(&path).await.unwrap();
        let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::DELETE.0), "world", "anyone");
        other.set_acl(&path, vec![closed]).await.unwrap();
        match is_released {
            true => drop(soon("the refusal", guard.release()).await.unwrap_err()),
            false => drop(guard),
        }
        let ended = client.session().ended();
        drop(client);
        assert_eq!(soon("the end", ended).await, SessionEnd::Closed);
        until_contenders(&other, &path, 0).await;
        other.set_acl(&path, Acl::open()).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_not_seen_to_be_first_waits_for_nothing_that_is_left_there() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("undeletable-first"),
    );
    client.lock(&path).await.unwrap().release().await.unwrap();
    // Before it hears of its node, that is another's which has the same name, and may not be deleted for a while.
    proxy.hold_next(CREATE2);
    let contending = tokio::spawn(client.lock(&path).into_future());
    until_contenders(&other, &path, 1).await;
    let node = children(&other, &path).await.pop().unwrap();
    let node = format!("{path}/{node}");
    other.delete(&node).await.unwrap();
    other.create(&node, "").await.unwrap();
    let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::DELETE.0), "world", "anyone");
    other.set_acl(&path, vec![closed]).await.unwrap();
    proxy.release();
    soon("refusals", proxy.until_seen(DELETE, 2)).await;
    assert!(!contending.is_finished());
    other.set_acl(&path, Acl::open()).await.unwrap();
    let guard = soon("the lock", contending).await.unwrap().unwrap();
    guard.release().await.unwrap();
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn who_may_not_delete_its_node_for_a_while_does_not_queue_behind_it() {
    let server = server().await;
    let (client, other) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = unique("undeletable");
    let guard = client.lock(&path).await.unwrap();
    let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::DELETE.0), "world", "anyone");
    other.set_acl(&path, vec![closed]).await.unwrap();
    let refused = soon("the refusal", guard.release()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Client(error) if error.kind() == ErrorKind::NoAuth),
        "{refused}"
    );
    until_contenders(&other, &path, 1).await;
    other.set_acl(&path, Acl::open()).await.unwrap();
    let guard = soon("the lock", client.lock(&path)).await.unwrap();
    guard.release().await.unwrap();
    until_contenders(&other, &path, 0).await;
}

#[tokio::test]
async fn a_guard_that_rests_on_transactions_is_lost_without_them() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let short = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let (owner, other) = (
        short.connect().await.unwrap(),
        client(server.address()).await,
    );
    let (path, plain) = (unique("written"), unique("not-written"));
    let synced = owner.lock(&plain).await.unwrap();
    assert!(!proxy.seen().contains(&MULTI));
    let written = owner.lock(&path).heartbeat(Heartbeat::Write);
    let written = soon("the lock", written).await.unwrap();
    let waiting = Proxy::start(server.address()).await;
    let waiter = client(waiting.address()).await.lock(&path);
    let waiter = tokio::spawn(waiter.into_future());
    waiting.until_seen(GET_DATA, 2).await;
    // One for each third of the timeout, and nobody is woken by it.
    proxy.seen();
    let begun = tokio::time::Instant::now();
    let seen = soon("the transactions", proxy.until_seen(MULTI, 4)).await;
    assert!(begun.elapsed() >= Duration::from_millis(990));
    assert!(seen.iter().all(|op| [SYNC, MULTI].contains(op)), "{seen:?}");
    assert!(written.ensure().unwrap() <= Duration::from_millis(667));
    assert_eq!(waiting.seen(), [0; 0]);
    waiter.abort();
    until_contenders(&other, &path, 1).await;
    // Who may not read its node any more proves nothing by that.
    let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::READ.0), "world", "anyone");
    let node = written.node_path();
    other.set_acl(node, vec![closed]).await.unwrap();
    let reason = soon("the loss", written.lost()).await;
    assert_eq!(reason, LostReason::NoProofOfLife);
    assert!(written.ensure().unwrap_err().is_lost());
    synced.ensure().unwrap();
    until_contenders(&other, &path, 0).await;
    proxy.seen();
    let seen = soon("the heartbeats", proxy.until_seen(SYNC, 3)).await;
    assert!(!seen.contains(&MULTI), "{seen:?}");
}

#[tokio::test]
async fn a_session_timeout_that_was_raised_is_warned_of_once_something_is_held() {
    let server = server().await;
    let log = Log::default();
    let _captured = log.capture();
    for (asked, warned) in [(2000, 0), (100, 1)] {
        let asked = Duration::from_millis(asked);
        let client = builder(server.address()).session_timeout(asked);
        let client = client.connect().await.unwrap();
        for _ in 0..2 {
            let guard = client.lock(&unique("short")).await.unwrap();
            guard.release().await.unwrap();
        }
        assert_eq!(log.text().matches("was raised").count(), warned);
    }
}

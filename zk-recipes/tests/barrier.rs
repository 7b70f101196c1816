//! Barriers and names against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::select};
use support::{
    PATIENCE, builder, children, client, patient_server,
    proxy::{Leg, Proxy},
    reaping_server, server, soon, unique, until_children, until_reaped,
};
use tokio::task::JoinSet;
use zk_client::{Acl, Client, ErrorKind, Perms};
use zk_recipes::{Error, prelude::*};

/// `ZooDefs.OpCode`.
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SYNC: i32 = 9;
const MULTI: i32 = 14;
const CREATE2: i32 = 15;

#[tokio::test]
async fn everybody_waits_until_the_barrier_is_removed() {
    let server = server().await;
    let (one, path) = (client(server.address()).await, unique("barrier"));
    let barrier = one.barrier(&path);
    soon("no barrier", barrier.wait()).await.unwrap();
    barrier.set().await.unwrap();
    barrier.set().await.unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    let mut waiters = JoinSet::new();
    for _ in 0..5 {
        let (client, path, open) = (
            client(server.address()).await,
            path.clone(),
            Arc::clone(&open),
        );
        waiters.spawn(async move {
            client.barrier(&path).wait().await.unwrap();
            assert_eq!(open.load(Ordering::SeqCst), 1, "not early");
        });
    }
    let late = barrier.wait().timeout(Duration::from_millis(100)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })));
    open.store(1, Ordering::SeqCst);
    assert!(barrier.remove().await.unwrap());
    soon("the waiters", waiters.join_all()).await;
    assert!(!barrier.remove().await.unwrap());
}

#[tokio::test]
async fn a_waiter_survives_its_session() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (one, two, path) = (
        client(server.address()).await,
        client(proxy.address()).await,
        unique("barrier-expiry"),
    );
    one.barrier(&path).set().await.unwrap();
    let waiter = tokio::spawn(two.barrier(&path).wait());
    for _ in 0..2 {
        soon("the watch", proxy.until_seen(EXISTS, 1)).await;
        // Answered after the look of the waiter.
        two.get("/").await.unwrap();
        assert!(!waiter.is_finished());
        let session = two.session();
        server.end(&session).await;
        soon("the end", session.ended()).await;
    }
    soon("the watch", proxy.until_seen(EXISTS, 1)).await;
    two.get("/").await.unwrap();
    assert!(!waiter.is_finished());
    one.barrier(&path).remove().await.unwrap();
    soon("the waiter", waiter).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_became_of_a_barrier_is_unknown_after_the_session_of_a_lost_answer() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = (client(server.address()).await, unique("barrier-lost"));
    other.barrier(&path).set().await.unwrap();
    let client = client(proxy.address()).await;
    for (round, op) in [DELETE, CREATE2].into_iter().enumerate() {
        let session = client.session();
        let barrier = session.barrier(&path);
        proxy.lose_next_and_stay_cut(op, Leg::Reply);
        let (done, ()) = tokio::join!(
            async {
                match op {
                    DELETE => soon("the removal", barrier.remove()).await.map(drop),
                    _ => soon("the barrier", barrier.set()).await,
                }
            },
            async {
                proxy.until_lost(round + 1).await;
                server.end(&session).await;
                proxy.restore();
            }
        );
        assert!(matches!(done, Err(Error::Unknown { .. })), "{done:?}");
        // It was carried out, and nobody can tell from there.
        let there = other.exists(&path).await.unwrap().is_some();
        assert_eq!(there, op == CREATE2);
    }
}

#[tokio::test]
async fn members_enter_and_leave_together_round_after_round() {
    const MEMBERS: usize = 5;
    let server = server().await;
    let path = unique("rounds");
    let inside = Arc::new(AtomicUsize::new(0));
    let mut members = JoinSet::new();
    for _ in 0..MEMBERS {
        let (client, path) = (client(server.address()).await, path.clone());
        let inside = Arc::clone(&inside);
        members.spawn(async move {
            let barrier = client.double_barrier(&path, MEMBERS);
            let entered = Arc::clone(&inside);
            for round in 0..4 {
                // How many asked so far: all of them, in every round, before anybody gets in.
                entered.fetch_add(1, Ordering::SeqCst);
                assert_eq!(barrier.enter().await.unwrap(), round);
                let asked = entered.load(Ordering::SeqCst);
                let before = usize::try_from(round).unwrap() * MEMBERS;
                assert!(asked >= before + MEMBERS, "{asked} asked in round {round}");
                barrier.leave().await.unwrap();
            }
        });
    }
    soon("four rounds", members.join_all()).await;
    let client = client(server.address()).await;
    assert_eq!(children(&client, &path).await, [""; 0]);
}

#[tokio::test]
async fn members_of_one_round_wait_for_the_same_number() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("counts"));
    let [one, two] = [(); 2].map(|()| client.double_barrier(&path, 2));
    let entering = tokio::spawn(one.enter());
    until_children(&client, &path, "a member", |names| names.len() == 1).await;
    let refused = client.double_barrier(&path, 3).enter().await;
    assert!(
        matches!(
            refused,
            Err(Error::CountMismatch {
                told: Some(2),
                asked: 3,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(children(&client, &path).await.len(), 1);
    assert!(!entering.is_finished());
    assert_eq!(soon("the second", two.enter()).await.unwrap(), 0);
    assert_eq!(soon("the first", entering).await.unwrap().unwrap(), 0);
    // The next round may be for another number, also while the members of this one are there.
    let alone = client.double_barrier(&path, 1);
    assert_eq!(soon("the next round", alone.enter()).await.unwrap(), 1);
}

#[tokio::test]
async fn nobody_leaves_before_all_do_and_the_dead_are_not_waited_for() {
    let server = server().await;
    let path = unique("leave");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(client(server.address()).await);
    }
    let barriers: Vec<_> = clients
        .iter()
        .map(|client| client.double_barrier(&path, 3))
        .collect();
    let entering = barriers.iter().map(DoubleBarrier::enter);
    for entered in futures::future::join_all(entering).await {
        assert_eq!(entered.unwrap(), 0);
    }
    assert!(matches!(
        barriers[0].enter().await,
        Err(Error::OutOfTurn { .. })
    ));
    let leaving: Vec<_> = barriers[..2]
        .iter()
        .map(|barrier| tokio::spawn(barrier.leave()))
        .collect();
    until_children(&clients[2], &path, "one to have left", |names| {
        names.len() <= 2
    })
    .await;
    assert!(!leaving.iter().any(tokio::task::JoinHandle::is_finished));
    let lost = barriers[2].lost().unwrap();
    server.end(&clients[2].session()).await;
    for left in leaving {
        soon("the others", left).await.unwrap().unwrap();
    }
    soon("the loss", lost).await;
    assert!(barriers[2].leave().await.unwrap_err().is_lost());
    assert!(matches!(
        barriers[2].leave().await,
        Err(Error::OutOfTurn { .. })
    ));
}

/// On several threads, where what was dropped and what begins meet in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gave_up_enters_again_at_once() {
    let server = server().await;
    let (one, path) = (client(server.address()).await, unique("again"));
    let (barrier, other) = (one.double_barrier(&path, 2), one.double_barrier(&path, 2));
    let rounds = tokio::spawn(async move {
        for round in 0..50 {
            // Given up twice when its node is there.
            let mut entering = barrier.enter();
            for _ in 0..3 {
                let before = children(&one, &path).await;
                entering = barrier.enter();
                tokio::select! {
                    entered = &mut entering => panic!("{entered:?}"),
                    () = until_children(&one, &path, "its node", |names| {
                        names.len() == 1 && *names != before
                    }) => {}
                }
            }
            let (entered, others) = tokio::join!(entering, other.enter());
            assert_eq!((entered.unwrap(), others.unwrap()), (round, round));
            // It leaves, and does not wait for the other one.
            assert!(barrier.leave().now_or_never().is_none());
            other.leave().await.unwrap();
        }
    });
    soon("fifty rounds", rounds).await.unwrap();
}

/// Who is told that its session ended by a leader that is deposed has a node there for a while: here another server tells it.
#[tokio::test]
async fn a_session_that_goes_on_is_no_second_member() {
    let (right, wrong) = (patient_server().await, patient_server().await);
    let [right, wrong] = [right, wrong].map(|server| (server.connect_string(), server));
    let (there, elsewhere) = (client(&right.0).await, client(&wrong.0).await);
    let (way, detour) = (Proxy::start(&right.0).await, Proxy::start(&wrong.0).await);
    detour.cut();
    let hosts = format!("{},{}", way.address(), detour.address());
    let member = builder(&hosts).session_timeout(PATIENCE * 2);
    let member = member.connect().await.unwrap();
    let (first, path) = (member.session(), unique("twice"));
    let entering = tokio::spawn(member.double_barrier(&path, 2).enter());
    until_children(&there, &path, "its node", |names| names.len() == 1).await;
    let before = children(&there, &path).await;
    // No client goes back to a server that knows less than it has seen.
    for (other, writes) in [(&elsewhere, 100), (&there, 200)] {
        other.create("/writes", "").await.unwrap();
        for _ in 0..writes {
            other.set("/writes", "").await.unwrap();
        }
    }
    way.cut();
    // It is told that, and nothing else.
    detour.restore();
    detour.lose_next_and_stay_cut(SYNC, Leg::Request);
    soon("the end, as it is told", first.ended()).await;
    soon("the next request", detour.until_lost(1)).await;
    way.restore();
    until_children(&there, &path, "another node", |names| {
        names.iter().any(|name| !before.contains(name))
    })
    .await;
    assert_eq!(children(&there, &path).await.len(), 1);
    assert!(!entering.is_finished());
    let other = there.double_barrier(&path, 2);
    assert_eq!(soon("the second", other.enter()).await.unwrap(), 0);
    assert_eq!(soon("the first", entering).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_member_in_time_is_inside_however_late_it_notices() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let path = unique("slow");
    let slow = builder(proxy.address())
        .session_timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap();
    let (fast, slow_member) = (
        client(server.address()).await,
        slow.double_barrier(&path, 3),
    );
    let entering = tokio::spawn(slow_member.enter());
    until_children(&fast, &path, "the slow one", |names| names.len() == 1).await;
    proxy.cut();
    let members = [fast.double_barrier(&path, 3), fast.double_barrier(&path, 3)];
    let entering_fast = members.iter().map(DoubleBarrier::enter);
    for entered in soon("the fast ones", futures::future::join_all(entering_fast)).await {
        assert_eq!(entered.unwrap(), 0);
    }
    let leaving = members.map(|member| tokio::spawn(member.leave()));
    // One of the fast ones may be the first of all, which stays until the others have left.
    until_children(&fast, &path, "a fast one to have left", |names| {
        names.len() <= 2
    })
    .await;
    proxy.restore();
    assert_eq!(soon("the slow one", entering).await.unwrap().unwrap(), 0);
    soon("leaving", slow_member.leave()).await.unwrap();
    for leaving in leaving {
        soon("leaving", leaving).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_entered_and_was_not_told_is_outside_again() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("untold"));
    let barrier = client.double_barrier(&path, 1);
    for turn in 0..3 {
        let mut entering = barrier.enter();
        assert!((&mut entering).now_or_never().is_none());
        soon("its place", async {
            while barrier.lost().is_none() {
                client.exists(&path).await.unwrap();
            }
        })
        .await;
        drop(entering);
        until_children(&client, &path, "nobody", <[String]>::is_empty).await;
        let round = soon("the next round", barrier.enter()).await.unwrap();
        assert_eq!(round, turn * 2 + 1);
        barrier.leave().await.unwrap();
    }
}

#[tokio::test]
async fn the_rounds_go_on_after_the_barrier_was_empty() {
    let server = reaping_server().await;
    let (client, path) = (client(&server.connect_string()).await, unique("reaped"));
    let barrier = client.double_barrier(&path, 1);
    for round in 0..3 {
        assert_eq!(barrier.enter().await.unwrap(), round);
        barrier.leave().await.unwrap();
        until_reaped(&client).await;
    }
}

#[tokio::test]
async fn who_may_not_delete_its_node_is_told_when_it_leaves() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("no-delete"));
    client.create_all(&path, "").await.unwrap();
    let perms = Perms(Perms::ALL.0 & !Perms::DELETE.0);
    let acl = vec![Acl::new(perms, "world", "anyone")];
    client.set_acl(&path, acl).await.unwrap();
    let barrier = client.double_barrier(&path, 1);
    barrier.enter().await.unwrap();
    let refused = soon("the refusal", barrier.leave()).await;
    assert!(
        matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::NoAuth),
        "{refused:?}"
    );
}

#[tokio::test]
async fn who_gives_up_or_is_dropped_leaves_no_node() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("cancel"));
    let barrier = client.double_barrier(&path, 2);
    for _ in 0..20 {
        let tried = barrier.enter().timeout(Duration::from_millis(5)).await;
        assert!(matches!(tried, Err(Error::Timeout { .. })), "{tried:?}");
    }
    until_children(&client, &path, "nobody", <[String]>::is_empty).await;
    let alone = client.double_barrier(&path, 1);
    alone.enter().await.unwrap();
    assert_eq!(children(&client, &path).await.len(), 1);
    drop(alone);
    until_children(&client, &path, "nobody", <[String]>::is_empty).await;
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_member() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    for leg in [Leg::Request, Leg::Reply] {
        let path = unique("lost-answer");
        let (one, two) = (
            doomed.double_barrier(&path, 2),
            other.double_barrier(&path, 2),
        );
        proxy.lose_multi(leg);
        let entering = tokio::spawn(one.enter());
        until_children(&other, &path, "one member", |names| names.len() == 1).await;
        soon("the second", two.enter()).await.unwrap();
        soon("the first", entering).await.unwrap().unwrap();
        assert_eq!(children(&other, &path).await.len(), 2);
    }
    assert_eq!(proxy.lost(), 2);
}

#[tokio::test]
async fn barriers_of_other_recipes_are_refused() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, path) = (client(proxy.address()).await, unique("foreign"));
    client
        .create_all(&format!("{path}/ready"), "")
        .await
        .unwrap();
    let refused = client.double_barrier(&path, 1).enter().await;
    // Not for a moment may anything of ours be among theirs: it could open their barrier.
    assert!(!proxy.seen().contains(&MULTI));
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    assert_eq!(children(&client, &path).await, ["ready"]);
    client.delete(&format!("{path}/ready")).await.unwrap();
    client.set(&path, "host").await.unwrap();
    let refused = client.double_barrier(&path, 1).enter().await;
    assert!(matches!(refused, Err(Error::BadContent(_))), "{refused:?}");
}

#[tokio::test]
async fn a_name_is_held_by_one_and_a_refusal_says_by_whom() {
    let server = server().await;
    let (one, two, path) = (
        client(server.address()).await,
        client(server.address()).await,
        unique("name"),
    );
    assert!(one.name(&path).holder().await.unwrap().is_none());
    let guard = one.name(&path).identity("alice").register().await.unwrap();
    guard.ensure().unwrap();
    for client in [&one, &two] {
        match client.name(&path).register().await {
            Err(Error::NameTaken {
                holder, session, ..
            }) => {
                assert_eq!((holder.as_str(), session), ("alice", one.session().id()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        two.name(&path).holder().await.unwrap().unwrap().token,
        guard.token()
    );
    let waiting = tokio::spawn(two.name(&path).register_waiting());
    guard.release().await.unwrap();
    let next = soon("the name", waiting).await.unwrap().unwrap();
    assert_eq!(
        two.name(&path).holder().await.unwrap().unwrap().session,
        two.session().id()
    );
    drop(next);
    let again = soon("the name", one.name(&path).register_waiting())
        .await
        .unwrap();
    let lost = again.lost();
    server.end(&one.session()).await;
    soon("the loss", lost).await;
    assert!(again.ensure().unwrap_err().is_lost());
    drop(
        soon("the name", two.name(&path).register_waiting())
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn a_lost_answer_loses_no_name() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("lost-name");
    other.create_all(&path, "").await.unwrap();
    for leg in [Leg::Request, Leg::Reply] {
        let name = format!("{path}/{leg:?}");
        proxy.lose_next(CREATE2, leg);
        let guard = soon("the name", doomed.name(&name).register())
            .await
            .unwrap();
        let taken = other.name(&name).register().await;
        assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
        guard.release().await.unwrap();
    }
    assert_eq!(proxy.lost(), 2);
    assert_eq!(children(&other, &path).await, [""; 0]);
}

#[tokio::test]
async fn whose_name_was_deleted_leaves_the_next_holder_alone() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let path = unique("evicted");
    let evicted = builder(proxy.address())
        .session_timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap();
    let (next, last) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let guard = evicted.name(&path).register().await.unwrap();
    let lost = guard.lost();
    proxy.cut();
    // Deleted and registered by another while the first one has no connection.
    next.delete(&path).await.unwrap();
    let second = next.name(&path).register().await.unwrap();
    let waiting = tokio::spawn(last.name(&path).register_waiting());
    proxy.restore();
    assert_eq!(soon("the loss", lost).await, LostReason::NodeDeleted);
    drop(guard);
    for _ in 0..5 {
        evicted.sync(&path).await.unwrap();
    }
    let holder = last.name(&path).holder().await.unwrap().unwrap();
    assert_eq!(holder.token, second.token());
    second.ensure().unwrap();
    second.release().await.unwrap();
    drop(soon("the name", waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn who_waits_for_a_name_survives_any_number_of_sessions() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (one, two, path) = (
        client(server.address()).await,
        client(proxy.address()).await,
        unique("name-expiry"),
    );
    let guard = one.name(&path).register().await.unwrap();
    let waiting = tokio::spawn(two.name(&path).register_waiting());
    for _ in 0..6 {
        soon("the watch", proxy.until_seen(GET_DATA, 1)).await;
        // Answered after the look of the one that waits.
        two.exists("/").await.unwrap();
        assert!(!waiting.is_finished());
        let session = two.session();
        server.end(&session).await;
        soon("the end", session.ended()).await;
    }
    guard.release().await.unwrap();
    drop(soon("the name", waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_chroot_that_does_not_exist_is_told() {
    fn is_no_node<T: std::fmt::Debug>(result: &zk_recipes::Result<T>) {
        assert!(
            matches!(result, Err(Error::Client(error)) if error.kind() == ErrorKind::NoNode),
            "{result:?}"
        );
    }
    let server = server().await;
    let client = client(&format!("{}{}", server.address(), unique("chroot"))).await;
    is_no_node(&soon("a name", client.name("/x").register()).await);
    is_no_node(&soon("a barrier", client.barrier("/x").set()).await);
    is_no_node(&soon("a double barrier", client.double_barrier("/x", 1).enter()).await);
    is_no_node(&soon("a counter", client.atomic_long("/x").increment()).await);
    is_no_node(&soon("numbers", client.ids("/x").next()).await);
    is_no_node(&soon("a count", client.shared_count("/x").start()).await);
    is_no_node(&soon("a queue", client.queue("/x").put("item")).await);
}

/// `ZooDefs.OpCode`.
const DELETE: i32 = 2;

#[tokio::test]
async fn whose_data_was_changed_is_given_back_all_the_same() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("relabelled");
    let (name, lock) = (format!("{path}/name"), format!("{path}/lock"));
    let named = owner.name(&name).register().await.unwrap();
    let locked = owner.unfair_lock(&lock).await.unwrap();
    for node in [&name, &lock] {
        other.set(node, "a remark").await.unwrap();
    }
    proxy.lose_next(DELETE, Leg::Request);
    soon("the release", named.release()).await.unwrap();
    proxy.lose_next(DELETE, Leg::Request);
    soon("the release", locked.release()).await.unwrap();
    assert_eq!(proxy.lost(), 2);
    assert_eq!(children(&other, &path).await, [""; 0]);
}

/// Lets the server carry out what is asked of it until `count` creates were asked for, tells nobody, and changes the node's data.
async fn relabel_unseen(proxy: &Proxy, other: &Client, node: &str, count: usize) {
    proxy.until_seen(CREATE2, count).await;
    other.sync(node).await.unwrap();
    proxy.cut();
    other.set(node, "a remark").await.unwrap();
    proxy.release();
    proxy.restore();
}

#[tokio::test]
async fn whose_data_was_changed_before_its_creator_knew_of_it_is_found_all_the_same() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("relabelled-early");
    other.create_all(&path, "").await.unwrap();
    let (name, lock) = (format!("{path}/name"), format!("{path}/lock"));

    proxy.hold_next(CREATE2);
    let named = tokio::spawn(owner.name(&name).register_waiting());
    relabel_unseen(&proxy, &other, &name, 1).await;
    let named = soon("the name", named).await.unwrap().unwrap();
    soon("the release", named.release()).await.unwrap();

    proxy.hold_next(CREATE2);
    let locked = tokio::spawn(owner.unfair_lock(&lock).into_future());
    relabel_unseen(&proxy, &other, &lock, 1).await;
    let locked = soon("the lock", locked).await.unwrap().unwrap();
    soon("the release", locked.release()).await.unwrap();
    assert_eq!(children(&other, &path).await, [""; 0]);

    // Nobody waits any more: nothing is left.
    for give_up_early in [true, false] {
        proxy.hold_next(CREATE2);
        let cancelled = [
            tokio::spawn(owner.name(&name).register_waiting().map(drop)),
            tokio::spawn(owner.unfair_lock(&lock).into_future().map(drop)),
        ];
        proxy.until_seen(CREATE2, 2).await;
        if give_up_early {
            cancelled.iter().for_each(|task| task.abort());
        }
        until_children(&other, &path, "both", |names| names.len() == 2).await;
        proxy.cut();
        for node in [&name, &lock] {
            other.set(node, "a remark").await.unwrap();
        }
        cancelled.iter().for_each(|task| task.abort());
        proxy.release();
        proxy.restore();
        until_children(&other, &path, "nothing", <[_]>::is_empty).await;
    }
}

#[tokio::test]
async fn of_two_in_a_session_one_takes_a_node_whose_data_tells_nothing() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("relabelled-twice");
    other.create_all(&path, "").await.unwrap();
    let (name, lock) = (format!("{path}/name"), format!("{path}/lock"));

    proxy.hold_next(CREATE2);
    let one = tokio::spawn(owner.name(&name).register_waiting());
    let two = tokio::spawn(owner.name(&name).register_waiting());
    relabel_unseen(&proxy, &other, &name, 2).await;
    let (first, later) = soon("one of them", select(one, two)).await.factor_first();
    let first = first.unwrap().unwrap();
    let token = other.name(&name).holder().await.unwrap().unwrap().token;
    assert_eq!(first.token(), token);
    soon("the release", first.release()).await.unwrap();
    let second = soon("the other", later).await.unwrap().unwrap();
    assert!(second.token() > token);
    soon("the release", second.release()).await.unwrap();

    proxy.hold_next(CREATE2);
    let one = tokio::spawn(owner.unfair_lock(&lock).into_future());
    let two = tokio::spawn(owner.unfair_lock(&lock).into_future());
    relabel_unseen(&proxy, &other, &lock, 2).await;
    let (first, later) = soon("one of them", select(one, two)).await.factor_first();
    let first = first.unwrap().unwrap();
    let holder = other.unfair_lock(&lock).holder().await.unwrap().unwrap();
    assert_eq!(first.token(), holder.token);
    soon("the release", first.release()).await.unwrap();
    let second = soon("the other", later).await.unwrap().unwrap();
    soon("the release", second.release()).await.unwrap();
    assert_eq!(children(&other, &path).await, [""; 0]);
}

#[tokio::test]
async fn a_node_that_stays_is_nobodys_name() {
    let server = server().await;
    let client = client(server.address()).await;
    let path = unique("no-name");
    client.create_all(&path, "").await.unwrap();
    for register in [
        client.name(&path).register(),
        client.name(&path).register_waiting(),
    ] {
        let refused = soon("the refusal", register).await;
        assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn who_gives_up_a_name_again_and_again_leaves_few_requests() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("names-given-up"),
    );
    other.create_all(&path, "").await.unwrap();
    let mut states = owner.states();
    proxy.cut();
    while states.next().await.unwrap().is_connected() {}
    proxy.seen();
    for number in 0..300 {
        let name = owner.name(&format!("{path}/{number}"));
        let limit = Duration::from_millis(1);
        let given_up = name.register().timeout(limit).await;
        assert!(matches!(given_up, Err(Error::Timeout { .. })));
    }
    proxy.restore();
    let last = owner.name(&format!("{path}/last")).register();
    drop(soon("the last", last).await.unwrap());
    until_children(&other, &path, "no name", <[_]>::is_empty).await;
    let seen = proxy.seen();
    let creates = seen.iter().filter(|op| **op == CREATE2).count();
    assert!((100..=140).contains(&creates), "{creates}");
}

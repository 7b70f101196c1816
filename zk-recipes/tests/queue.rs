//! Queues against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use parking_lot::Mutex;
use support::{
    builder, children, client,
    proxy::{Leg, Proxy},
    reaping_server, server, soon, unique, until_children, until_reaped,
};
use tokio::task::JoinSet;
use zk_client::{Acl, Client, ErrorKind, Perms};
use zk_recipes::{Error, prelude::*, queue::DeadLetter};

/// `ZooDefs.OpCode`.
const DELETE: i32 = 2;
const MULTI: i32 = 14;

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.data().to_vec()).unwrap()
}

#[tokio::test]
async fn items_come_by_priority_and_then_in_order() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("order"));
    let queue = client.queue(&path);
    assert!(queue.try_take().await.unwrap().is_none());
    for item in ["a", "b", "c"] {
        queue.put(item).await.unwrap();
    }
    queue.put_at(5, "urgent").await.unwrap();
    queue.put_at(500, "idle").await.unwrap();
    queue.put_all(["d", "e"]).await.unwrap();
    assert_eq!(queue.len().await.unwrap(), 7);
    let mut order = Vec::new();
    for _ in 0..7 {
        let delivery = soon("an item", queue.take()).await.unwrap();
        assert_eq!(delivery.attempt(), 1);
        delivery.ensure().unwrap();
        order.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    assert_eq!(order, ["urgent", "a", "b", "c", "d", "e", "idle"]);
    assert_eq!(queue.len().await.unwrap(), 0);
    for directory in ["entries", "taken", "puts"] {
        until_children(
            &client,
            &format!("{path}/{directory}"),
            directory,
            <[String]>::is_empty,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_is_processed_once_by_several_consumers() {
    const ITEMS: usize = 60;
    let server = server().await;
    let path = unique("consumers");
    let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let mut consumers = JoinSet::new();
    for _ in 0..3 {
        let (client, seen) = (client(server.address()).await, Arc::clone(&seen));
        let queue = client.queue(&path);
        consumers.spawn(async move {
            loop {
                let delivery = queue.take().await.unwrap();
                let item = text(&delivery);
                delivery.ack().await.unwrap();
                if item == "end" {
                    return;
                }
                *seen.lock().entry(item).or_default() += 1;
            }
        });
    }
    let queue = client(server.address()).await.queue(&path);
    for item in 0..ITEMS {
        queue.put(item.to_string()).await.unwrap();
    }
    for _ in 0..3 {
        queue.put_at(900, "end").await.unwrap();
    }
    soon("the consumers", consumers.join_all()).await;
    let seen = seen.lock();
    assert_eq!(seen.len(), ITEMS);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_back() {
    let server = server().await;
    let (one, two, path) = (
        client(server.address()).await,
        client(server.address()).await,
        unique("back"),
    );
    one.queue(&path).put("x").await.unwrap();
    let first = one.queue(&path).take().await.unwrap();
    assert!(two.queue(&path).try_take().await.unwrap().is_none());
    let waiting = tokio::spawn(two.queue(&path).take());
    first.nack().await.unwrap();
    let second = soon("the item", waiting).await.unwrap().unwrap();
    assert_eq!(second.attempt(), 2);
    let id = second.id().to_owned();
    drop(second);
    let third = soon("the item", one.queue(&path).take()).await.unwrap();
    assert_eq!((third.attempt(), third.id()), (3, id.as_str()));
    let waiting = tokio::spawn(two.queue(&path).take());
    server.end(&one.session()).await;
    soon("the loss", third.lost()).await;
    let fourth = soon("the item", waiting).await.unwrap().unwrap();
    assert!(third.ack().await.unwrap_err().is_lost());
    fourth.ack().await.unwrap();
    assert!(two.queue(&path).try_take().await.unwrap().is_none());
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_and_can_be_put_back() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("poison"));
    let queue = client.queue(&path).dead_letters_after(3);
    queue.put_at(7, "poison").await.unwrap();
    queue.put_at(8, "food").await.unwrap();
    for attempt in 1..=3 {
        let delivery = queue.take().await.unwrap();
        assert_eq!(
            (text(&delivery).as_str(), delivery.attempt()),
            ("poison", attempt)
        );
        delivery.nack().await.unwrap();
    }
    let food = soon("food", queue.take()).await.unwrap();
    assert_eq!(text(&food), "food");
    food.ack().await.unwrap();
    assert!(queue.try_take().await.unwrap().is_none());
    let dead = queue.dead_letters().await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].data, "poison");
    assert!(queue.requeue(&dead[0]).await.unwrap());
    assert!(!queue.requeue(&dead[0]).await.unwrap());
    let delivery = queue.take().await.unwrap();
    assert_eq!((delivery.priority(), delivery.attempt()), (7, 1));
    drop(delivery);
    assert_eq!(children(&client, &format!("{path}/dead")).await, [""; 0]);
}

#[tokio::test]
async fn a_batch_and_a_stream() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("batch"));
    let queue = client.queue(&path);
    queue.put_all((0..5).map(|n| n.to_string())).await.unwrap();
    let batch = queue.take_batch(3).await.unwrap();
    assert_eq!(batch.iter().map(text).collect::<Vec<_>>(), ["0", "1", "2"]);
    for delivery in batch {
        delivery.ack().await.unwrap();
    }
    let mut stream = pin!(queue.deliveries());
    for expected in ["3", "4"] {
        let delivery = soon("an item", StreamExt::next(&mut stream))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(text(&delivery), expected);
        delivery.ack().await.unwrap();
    }
    let waiting =
        tokio::time::timeout(Duration::from_millis(50), StreamExt::next(&mut stream)).await;
    assert!(waiting.is_err());
    queue.put("5").await.unwrap();
    let delivery = soon("an item", StreamExt::next(&mut stream))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text(&delivery), "5");
}

#[tokio::test]
async fn an_acknowledgement_carries_a_transaction() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("ack-with"));
    let (queue, done) = (client.queue(&path), format!("{path}/done"));
    queue.put("x").await.unwrap();
    let delivery = queue.take().await.unwrap();
    let refused = delivery.ack_with(client.multi().set(&done, "x")).await;
    assert!(
        matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::NoNode),
        "{refused:?}"
    );
    let delivery = soon("it back", queue.take()).await.unwrap();
    delivery
        .ack_with(client.multi().create(&done, "x"))
        .await
        .unwrap();
    assert_eq!(client.get(&done).await.unwrap().data, "x");
    assert!(queue.try_take().await.unwrap().is_none());
}

#[tokio::test]
async fn lost_answers_lose_and_double_nothing() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, path) = (client(proxy.address()).await, unique("lost-answers"));
    let queue = doomed.queue(&path);
    for leg in [Leg::Request, Leg::Reply] {
        queue.put("first").await.unwrap();
        proxy.lose_multi(leg);
        soon("the put", queue.put("second")).await.unwrap();
        assert_eq!(queue.len().await.unwrap(), 2);
        for expected in ["first", "second"] {
            proxy.lose_multi(leg);
            let delivery = soon("the item", queue.take()).await.unwrap();
            assert_eq!(
                (text(&delivery).as_str(), delivery.attempt()),
                (expected, 1)
            );
            proxy.lose_multi(leg);
            soon("the acknowledgement", delivery.ack()).await.unwrap();
        }
        assert_eq!(queue.len().await.unwrap(), 0);
    }
    assert_eq!(proxy.lost(), 10);
    for directory in ["taken", "puts"] {
        until_children(
            &doomed,
            &format!("{path}/{directory}"),
            directory,
            <[String]>::is_empty,
        )
        .await;
    }
}

#[tokio::test]
async fn a_delayed_item_comes_when_it_is_due_and_then_in_order() {
    const DELAY: Duration = Duration::from_millis(400);
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("delayed"));
    let queue = client.queue(&path);
    let waiting = tokio::spawn(queue.take());
    let ms = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_millis();
    // Asked of the leader, as the puts do.
    client
        .create_all(&format!("{path}/clock"), "")
        .await
        .unwrap();
    let begun = client.set(&format!("{path}/clock"), "").await.unwrap();
    let begun = u128::try_from(begun.mtime).unwrap();
    queue.put_after(DELAY * 2, "last").await.unwrap();
    queue.put_after(DELAY, "later").await.unwrap();
    assert!(queue.try_take().await.unwrap().is_none());
    assert_eq!(
        (
            queue.len().await.unwrap(),
            queue.delayed_len().await.unwrap()
        ),
        (0, 2)
    );
    queue.put("now").await.unwrap();
    let now = soon("what is there", waiting).await.unwrap().unwrap();
    assert_eq!(text(&now), "now");
    now.ack().await.unwrap();
    for (expected, delay) in [("later", DELAY), ("last", DELAY * 2)] {
        let delivery = soon(expected, queue.take()).await.unwrap();
        assert_eq!(
            (text(&delivery).as_str(), delivery.attempt()),
            (expected, 1)
        );
        // It is an item from the moment on when it was due.
        let waited = ms(delivery.put_at()) - begun;
        assert!(waited >= delay.as_millis(), "{expected} after {waited} ms");
        delivery.ack().await.unwrap();
    }
    assert_eq!(
        (
            queue.len().await.unwrap(),
            queue.delayed_len().await.unwrap()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_delayed_item_that_cannot_be_brought_keeps_nobody_from_the_others() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("stuck"));
    let queue = client.queue(&path);
    queue.put_after(Duration::ZERO, "stuck").await.unwrap();
    let delayed = format!("{path}/delayed");
    let perms = Perms(Perms::ALL.0 & !Perms::DELETE.0);
    let acl = vec![Acl::new(perms, "world", "anyone")];
    client.set_acl(&delayed, acl).await.unwrap();
    let waiting = tokio::spawn(queue.take());
    queue.put("other").await.unwrap();
    let other = soon("the other", waiting).await.unwrap().unwrap();
    assert_eq!(text(&other), "other");
    other.ack().await.unwrap();
    let waiting = tokio::spawn(queue.take());
    client.set_acl(&delayed, Acl::open()).await.unwrap();
    let stuck = soon("the stuck one", waiting).await.unwrap().unwrap();
    assert_eq!(text(&stuck), "stuck");
    stuck.ack().await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_that_never_arrived_is_not_taken_for_carried_out() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let path = unique("evicted");
    let (doomed, other) = (
        builder(proxy.address())
            .session_timeout(Duration::from_secs(20))
            .connect()
            .await
            .unwrap(),
        client(server.address()).await,
    );
    other.queue(&path).put("x").await.unwrap();
    let delivery = soon("the item", doomed.queue(&path).take()).await.unwrap();
    let claim = delivery.claim_path().to_owned();
    let holder = other.get(&claim).await.unwrap().data;
    let identity = doomed.identity().as_bytes();
    assert!(holder.starts_with(identity), "{holder:?}");
    proxy.lose_next_and_stay_cut(MULTI, Leg::Request);
    let acknowledging = tokio::spawn(delivery.ack());
    soon("the loss", proxy.until_lost(1)).await;
    // Somebody takes the claim away meanwhile: the one thing that looks like an acknowledgement.
    other.delete(&claim).await.unwrap();
    proxy.restore();
    let refused = soon("the refusal", acknowledging).await.unwrap();
    assert!(
        matches!(
            refused,
            Err(Error::Lost {
                reason: LostReason::NodeDeleted,
                ..
            })
        ),
        "{refused:?}"
    );
    let delivery = soon("it back", other.queue(&path).take()).await.unwrap();
    assert_eq!((text(&delivery).as_str(), delivery.attempt()), ("x", 2));
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn cancelled_takes_leave_no_claim() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("cancel"));
    let queue = client.queue(&path);
    queue.put("x").await.unwrap();
    let claims = format!("{path}/taken");
    // At every moment of the first ones; then later and later, until a slow server, too, has let one claim.
    for attempt in 0_u64.. {
        let claimed = client.exists(&claims).await.unwrap();
        if attempt >= 100 && claimed.is_some_and(|stat| stat.cversion > 0) {
            break;
        }
        let mut take = queue.take();
        let mut turns = attempt * 5;
        let taken = std::future::poll_fn(|cx| {
            let polled = pin!(&mut take).poll(cx);
            if polled.is_ready() || turns == 0 {
                return std::task::Poll::Ready(polled);
            }
            turns -= 1;
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        });
        drop(taken.await);
    }
    until_children(&client, &claims, "no claim", <[String]>::is_empty).await;
    let delivery = soon("the item", queue.take()).await.unwrap();
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn an_item_that_cannot_be_claimed_keeps_nobody_from_the_others() {
    let server = server().await;
    let (large, path) = (client(server.address()).await, unique("too-large"));
    let small = builder(server.address()).max_request_len(1000);
    let small = small.connect().await.unwrap();
    large.queue(&path).put("x".repeat(2000)).await.unwrap();
    large.queue(&path).put_all(["y", "z"]).await.unwrap();
    let queue = small.queue(&path);
    let deliveries = soon("the others", queue.take_batch(3)).await.unwrap();
    assert_eq!(deliveries.iter().map(text).collect::<Vec<_>>(), ["y", "z"]);
    for delivery in deliveries {
        delivery.ack().await.unwrap();
    }
    let refused = soon("the refusal", queue.take()).await;
    assert!(
        matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::TooLarge),
        "{refused:?}"
    );
    let delivery = soon("the large one", large.queue(&path).take())
        .await
        .unwrap();
    assert_eq!((delivery.data().len(), delivery.attempt()), (2000, 1));
}

#[tokio::test]
async fn an_acknowledgement_that_is_refused_says_why() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("no-delete"));
    let queue = client.queue(&path);
    queue.put("x").await.unwrap();
    let perms = Perms(Perms::ALL.0 & !Perms::DELETE.0);
    let acl = vec![Acl::new(perms, "world", "anyone")];
    let entries = format!("{path}/entries");
    client.set_acl(&entries, acl).await.unwrap();
    let delivery = queue.take().await.unwrap();
    let refused = soon("the refusal", delivery.ack()).await;
    assert!(
        matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::NoAuth),
        "{refused:?}"
    );
    let delivery = soon("it back", queue.take()).await.unwrap();
    client.set_acl(&entries, Acl::open()).await.unwrap();
    client
        .delete(&format!("{entries}/{}", delivery.id()))
        .await
        .unwrap();
    assert!(delivery.ack().await.unwrap_err().is_lost());
}

#[tokio::test]
async fn the_directories_of_a_queue_stay_when_they_are_empty() {
    let server = reaping_server().await;
    let (client, path) = (client(&server.connect_string()).await, unique("reaped"));
    let queue = client.queue(&path).dead_letters_after(1);
    let mut letters = Vec::new();
    for item in ["x", "y"] {
        queue.put(item).await.unwrap();
        queue.take().await.unwrap().nack().await.unwrap();
        assert!(queue.try_take().await.unwrap().is_none());
        let letter = queue.dead_letters().await.unwrap().pop().unwrap();
        assert_eq!(letter.data, item);
        assert!(queue.discard(&letter).await.unwrap());
        until_reaped(&client).await;
        for directory in ["entries", "taken", "dead"] {
            let directory = format!("{path}/{directory}");
            assert!(
                client.exists(&directory).await.unwrap().is_some(),
                "{directory}"
            );
        }
        letters.push(letter);
    }
    assert_ne!(
        letters[0].id, letters[1].id,
        "an old listing names another letter"
    );
}

/// A dead letter, and nothing else of the queue.
async fn letter(client: &Client, path: &str) -> DeadLetter {
    let node = format!("{path}/dead/entry-100-0000000007");
    client.create_all(&node, "letter").await.unwrap();
    let letter = client.queue(path).dead_letters().await.unwrap().pop();
    letter.unwrap()
}

#[tokio::test]
async fn what_became_of_a_dead_letter_is_unknown_after_the_session_of_a_lost_answer() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let other = client(server.address()).await;
    for (op, left) in [(MULTI, 1), (DELETE, 0)] {
        let (client, path) = (client(proxy.address()).await, unique("letter-lost"));
        other.queue(&path).put("").await.unwrap();
        other
            .queue(&path)
            .take()
            .await
            .unwrap()
            .ack()
            .await
            .unwrap();
        let letter = letter(&other, &path).await;
        let session = client.session();
        let queue = session.queue(&path);
        proxy.lose_next_and_stay_cut(op, Leg::Reply);
        let lost = proxy.lost();
        let (done, ()) = tokio::join!(
            async {
                match op {
                    MULTI => soon("the requeue", queue.requeue(&letter)).await,
                    _ => soon("the end of it", queue.discard(&letter)).await,
                }
            },
            async {
                proxy.until_lost(lost + 1).await;
                server.end(&session).await;
                proxy.restore();
            }
        );
        assert!(matches!(done, Err(Error::Unknown { .. })), "{done:?}");
        // It was carried out, and nobody can tell from there.
        assert_eq!(other.queue(&path).len().await.unwrap(), left);
        assert!(other.queue(&path).dead_letters().await.unwrap().is_empty());
        // An attempt that was certainly not carried out is no such thing.
        let refused = soon("the refusal", queue.requeue(&letter)).await;
        assert!(
            matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::SessionChanged),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_letter_that_somebody_else_took_was_not_put_back() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("letter-taken"),
    );
    // What is lost is the answer to the creation of a directory, and no attempt to put it back.
    let letter = letter(&other, &path).await;
    proxy.lose_create_reply_and_stay_cut();
    let queue = client.queue(&path);
    let (requeued, ()) = tokio::join!(soon("the requeue", queue.requeue(&letter)), async {
        proxy.until_lost(1).await;
        assert!(other.queue(&path).discard(&letter).await.unwrap());
        proxy.restore();
    });
    assert!(!requeued.unwrap());
}

#[tokio::test]
async fn who_gives_up_putting_again_and_again_leaves_few_requests() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(server.address()).await,
        unique("puts-given-up"),
    );
    let queue = client.queue(&path);
    // The second knows what is there, and asks nothing before it puts.
    queue.put("").await.unwrap();
    queue.put("").await.unwrap();
    let mut states = client.states();
    proxy.cut();
    while states.next().await.unwrap().is_connected() {}
    proxy.seen();
    for _ in 0..300 {
        let given_up = queue.put("").timeout(Duration::from_millis(1)).await;
        assert!(matches!(given_up, Err(Error::Timeout { .. })));
    }
    proxy.restore();
    soon("the last", queue.put("")).await.unwrap();
    let puts = format!("{path}/puts");
    until_children(&other, &puts, "no marker", <[_]>::is_empty).await;
    let seen = proxy.seen();
    let multis = seen.iter().filter(|op| **op == MULTI).count();
    assert!((100..=140).contains(&multis), "{multis}");
}

#[tokio::test]
async fn items_of_other_recipes_are_refused() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("foreign"));
    client
        .create_all(&format!("{path}/qn-0000000000"), "curator's")
        .await
        .unwrap();
    let queue = client.queue(&path);
    assert!(matches!(queue.put("x").await, Err(Error::Foreign { .. })));
    assert!(matches!(queue.take().await, Err(Error::Foreign { .. })));
    assert_eq!(children(&client, &path).await, ["qn-0000000000"]);
}

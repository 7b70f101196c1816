//! A queue, counters and a barrier shared with kazoo, in its layouts, and what cannot be shared; and everything at once.

use std::collections::BTreeSet;

use zk_recipes::{Error, prelude::*};

use crate::{
    peer::Peer,
    support::{children, client, server, soon, unique, until_children, until_contenders},
};

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.data().to_vec()).unwrap()
}

#[tokio::test]
async fn kazoo_and_we_share_a_queue() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-queue"));
    let queue = client.queue(&path);

    // Each takes what the other put, by priority and in order.
    assert_eq!(kazoo.ask("queue", &path, "put 100 theirs").await, "None");
    queue.put("ours").await.unwrap();
    queue.put_at(5, "urgent").await.unwrap();
    assert_eq!(kazoo.ask("queue", &path, "get 10").await, "urgent");
    let delivery = soon("theirs", queue.take()).await.unwrap();
    assert_eq!(
        (text(&delivery).as_str(), delivery.priority()),
        ("theirs", 100)
    );
    // What one has claimed the other does not get.
    let ours = soon("ours", queue.take()).await.unwrap();
    assert_eq!(text(&ours), "ours");
    assert!(queue.try_take().await.unwrap().is_none());
    delivery.ack().await.unwrap();
    assert_eq!(kazoo.ask("queue", &path, "consume").await, "True");
    assert_eq!(queue.len().await.unwrap(), 1);
    // What one gives back the other gets.
    kazoo.tell("queue", &path, "get 20").await;
    ours.nack().await.unwrap();
    assert_eq!(kazoo.answer().await, "ours");
    let waiting = tokio::spawn(queue.take());
    kazoo.releases("queue", &path).await;
    let ours = soon("ours", waiting).await.unwrap().unwrap();
    ours.ack().await.unwrap();
    assert_eq!(kazoo.ask("queue", &path, "get 0.2").await, "None");
}

#[tokio::test]
async fn nothing_is_processed_twice_by_kazoo_and_us_together() {
    const ITEMS: usize = 30;
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-both"));
    let queue = client.queue(&path);
    for item in 0..ITEMS {
        let put = format!("put 100 {item}");
        match item % 2 {
            0 => queue.put(item.to_string()).await.unwrap(),
            _ => assert_eq!(kazoo.ask("queue", &path, &put).await, "None"),
        }
    }
    let ours = tokio::spawn(async move {
        let mut items = Vec::new();
        while items.len() < ITEMS / 2 {
            let delivery = queue.take().await.unwrap();
            items.push(text(&delivery));
            delivery.ack().await.unwrap();
        }
        items
    });
    let mut all = Vec::new();
    while all.len() < ITEMS / 2 {
        let item = kazoo.ask("queue", &path, "get 5").await;
        if item != "None" {
            assert_eq!(kazoo.ask("queue", &path, "consume").await, "True");
            all.push(item);
        }
    }
    all.extend(soon("our half", ours).await.unwrap());
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (ITEMS, ITEMS), "{all:?}");
    for directory in ["entries", "taken"] {
        let directory = format!("{path}/{directory}");
        until_children(&client, &directory, &directory, <[String]>::is_empty).await;
    }
}

#[tokio::test]
async fn kazoo_and_we_share_counters_and_a_barrier() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let client = client(address).await;

    let path = unique("kazoo-count");
    let count = client.shared_count(&path).seed(40).start().await.unwrap();
    assert_eq!(kazoo.ask("count", &path, "add 2").await, "42");
    assert_eq!(count.add(1).await.unwrap().before, 42);
    assert_eq!(kazoo.ask("count", &path, "add -3").await, "40");

    let path = unique("kazoo-text");
    let text = client.atomic_long(&path).layout(CounterLayout::KazooText);
    assert_eq!(kazoo.ask("text", &path, "add 5").await, "5");
    assert_eq!(text.add(-7).await.unwrap().after, -2);
    assert_eq!(kazoo.ask("text", &path, "add 1").await, "-1");
    assert_eq!(text.get().await.unwrap(), -1);

    let path = unique("kazoo-barrier");
    let barrier = client.barrier(&path);
    assert_eq!(kazoo.ask("barrier", &path, "set").await, "None");
    let waiting = tokio::spawn(barrier.wait());
    assert_eq!(kazoo.ask("barrier", &path, "wait 0.1").await, "False");
    assert!(!waiting.is_finished());
    assert_eq!(kazoo.ask("barrier", &path, "remove").await, "True");
    soon("the barrier", waiting).await.unwrap().unwrap();
    barrier.set().await.unwrap();
    kazoo.tell("barrier", &path, "wait 20").await;
    assert!(barrier.remove().await.unwrap());
    assert_eq!(kazoo.answer().await, "True");
}

#[tokio::test]
async fn what_cannot_be_shared_with_kazoo_is_refused() {
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let client = client(address).await;

    // A queue that deletes what it hands out.
    let path = unique("kazoo-simple");
    assert_eq!(kazoo.ask("simple", &path, "append item").await, "None");
    let queue = client.queue(&path);
    assert!(matches!(queue.take().await, Err(Error::Foreign { .. })));
    assert!(matches!(queue.put("x").await, Err(Error::Foreign { .. })));
    assert_eq!(children(&client, &path).await.len(), 1);

    // A counter in digits as a number of eight bytes, or of four.
    let path = unique("kazoo-text");
    assert_eq!(kazoo.ask("text", &path, "add 5").await, "5");
    let long = client.atomic_long(&path);
    assert!(matches!(long.add(1).await, Err(Error::BadContent(_))));
    let count = client.shared_count(&path).start().await;
    assert!(matches!(count, Err(Error::BadContent(_))));
    assert_eq!(kazoo.ask("text", &path, "add 1").await, "6");

    // A double barrier that has no rounds.
    let path = unique("kazoo-double");
    assert_eq!(kazoo.ask("double", &path, "enter").await, "None");
    let refused = client.double_barrier(&path, 1).enter().await;
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
}

/// One kazoo client and one of ours share a lock, a read-write lock, a queue, a counter and an election, all at once: kazoo
/// holds everything while we wait for it, and then the other way round.
#[tokio::test]
async fn kazoo_and_we_share_everything_at_once() {
    const KINDS: [&str; 3] = ["lock", "write", "election"];
    let server = server().await;
    let address = server.address();
    let Some(mut kazoo) = Peer::kazoo(address) else {
        return;
    };
    let (client, path) = (client(address).await, unique("kazoo-all"));
    let at = |what: &str| format!("{path}/{what}");
    let (lock, write, leader) = (
        client.lock(&at("lock")).layout(LockLayout::Kazoo),
        client.write_lock(&at("write")).layout(LockLayout::Kazoo),
        client.leader(&at("election")).layout(LockLayout::Kazoo),
    );
    let queue = client.queue(&at("queue"));
    let counter = client
        .atomic_long(&at("text"))
        .layout(CounterLayout::KazooText);

    for kind in KINDS {
        kazoo.acquires(kind, &at(kind)).await;
    }
    queue.put("item").await.unwrap();
    assert_eq!(kazoo.ask("queue", &at("queue"), "get 10").await, "item");
    assert_eq!(kazoo.ask("text", &at("text"), "add 1").await, "1");

    let ours = tokio::spawn(async move {
        tokio::try_join!(
            lock.into_future(),
            write.into_future(),
            leader.into_future(),
            queue.take(),
            counter.add(1)
        )
    });
    for kind in KINDS {
        until_contenders(&client, &at(kind), 2).await;
    }
    assert!(!ours.is_finished());
    for kind in KINDS {
        kazoo.releases(kind, &at(kind)).await;
    }
    kazoo.releases("queue", &at("queue")).await;
    let ours = soon("everything", ours).await.unwrap();
    let (lock, write, leader, delivery, change) = ours.unwrap();
    assert_eq!((text(&delivery).as_str(), change.after), ("item", 2));

    for (kind, place) in [("lock", "lock"), ("write", "write"), ("read", "write")] {
        assert!(!kazoo.tries(kind, &at(place)).await, "{kind}");
    }
    assert_eq!(kazoo.ask("queue", &at("queue"), "get 0.2").await, "None");
    assert_eq!(kazoo.ask("text", &at("text"), "add 1").await, "3");
    delivery.ack().await.unwrap();
    kazoo.tell("election", &at("election"), "acquire").await;
    until_contenders(&client, &at("election"), 2).await;
    for claim in [
        lock.release().await,
        write.release().await,
        leader.release().await,
    ] {
        claim.unwrap();
    }
    kazoo.has_acquired().await;
    readers_share(&client, &mut kazoo, &at("write")).await;
    kazoo.acquires("lock", &at("lock")).await;
    kazoo.acquires("write", &at("write")).await;
    for kind in KINDS {
        kazoo.releases(kind, &at(kind)).await;
        until_contenders(&client, &at(kind), 0).await;
    }
}

/// Readers of both share, and keep writers of both out.
async fn readers_share(client: &zk_client::Client, kazoo: &mut Peer, path: &str) {
    let reads = || client.read_lock(path).layout(LockLayout::Kazoo);
    let read = soon("our reader", reads()).await.unwrap();
    kazoo.acquires("read", path).await;
    assert!(!kazoo.tries("write", path).await);
    read.release().await.unwrap();
    let write = client.write_lock(path).layout(LockLayout::Kazoo);
    assert!(write.try_acquire().await.unwrap().is_none());
    let read = soon("beside kazoo's", reads()).await.unwrap();
    kazoo.releases("read", path).await;
    read.release().await.unwrap();
}

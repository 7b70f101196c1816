//! Counters and unique numbers against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt;
use support::{
    builder, children, client,
    proxy::{Leg, Proxy},
    server, soon, unique, until_children,
};
use tokio::task::JoinSet;
use zk_client::{Acl, Perms};
use zk_recipes::{Error, prelude::*};

/// `ZooDefs.OpCode`.
const SET_DATA: i32 = 5;

#[tokio::test]
async fn many_add_and_nothing_is_lost() {
    let server = server().await;
    let path = unique("add");
    let mut adders = JoinSet::new();
    for _ in 0..4 {
        let counter = client(server.address()).await.atomic_long(&path);
        adders.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..25 {
                let change = counter.add(2).await.unwrap();
                assert_eq!(change.after, change.before + 2);
                seen.push(change.after);
            }
            seen
        });
    }
    let mut seen = BTreeSet::new();
    for all in adders.join_all().await {
        seen.extend(all);
    }
    assert_eq!(seen, (1..=100).map(|n| n * 2).collect());
    let client = client(server.address()).await;
    assert_eq!(client.atomic_long(&path).get().await.unwrap(), 200);
    until_children(&client, &path, "the markers to go", <[String]>::is_empty).await;
}

#[tokio::test]
async fn a_counter_is_read_set_and_compared() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("set"));
    let counter = client.atomic_long(&path);
    assert_eq!(counter.get().await.unwrap(), 0);
    assert!(!counter.compare_and_set(1, 5).await.unwrap());
    assert!(client.exists(&path).await.unwrap().is_none());
    assert!(counter.compare_and_set(0, 5).await.unwrap());
    assert_eq!(counter.set(9).await.unwrap().before, 5);
    assert_eq!(counter.update(|n| n * n).await.unwrap().after, 81);
    assert_eq!(counter.decrement().await.unwrap().after, 80);
    let plain = client.atomic_long(&path).without_marker();
    assert_eq!(plain.increment().await.unwrap().after, 81);
    assert_eq!(
        client.get(&path).await.unwrap().data,
        81_i64.to_be_bytes().as_slice()
    );
    counter.set(i64::MAX).await.unwrap();
    assert!(matches!(
        counter.increment().await,
        Err(Error::Overflow { .. })
    ));
    let text = client.atomic_long(&path).layout(CounterLayout::KazooText);
    assert!(matches!(text.get().await, Err(Error::BadContent(_))));
}

#[tokio::test]
async fn a_lost_answer_is_found_out_by_the_marker() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("lost-answer");
    let counter = doomed.atomic_long(&path);
    for leg in [Leg::Request, Leg::Reply] {
        let before = counter.get().await.unwrap();
        proxy.lose_multi(leg);
        let change = soon("the change", counter.add(3)).await.unwrap();
        assert_eq!((change.before, change.after), (before, before + 3));
        assert_eq!(other.atomic_long(&path).get().await.unwrap(), before + 3);
    }
    assert_eq!(proxy.lost(), 2);
    until_children(&other, &path, "the markers to go", <[String]>::is_empty).await;
}

#[tokio::test]
async fn without_a_marker_a_lost_answer_is_unknown_if_the_counter_changed() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("unknown");
    let counter = doomed.atomic_long(&path).without_marker();
    counter.set(1).await.unwrap();
    proxy.lose_next(SET_DATA, Leg::Reply);
    let changed = soon("the change", counter.add(1)).await;
    assert!(matches!(changed, Err(Error::Unknown { .. })), "{changed:?}");
    assert_eq!(other.atomic_long(&path).get().await.unwrap(), 2);
    // What never arrived is made later.
    proxy.lose_next(SET_DATA, Leg::Request);
    assert_eq!(soon("the change", counter.add(1)).await.unwrap().after, 3);
    assert_eq!(proxy.lost(), 2);
}

#[tokio::test]
async fn a_new_counter_can_be_read_by_everybody_before_its_first_change() {
    let server = server().await;
    let (other, path) = (client(server.address()).await, unique("new"));
    other.create_all(&path, "").await.unwrap();
    // Nobody may create a marker below what this one creates, so the first change is refused.
    let perms = Perms(Perms::ALL.0 & !Perms::CREATE.0);
    let acl = vec![Acl::new(perms, "world", "anyone")];
    let client = builder(server.address()).default_acl(acl);
    let client = client.connect().await.unwrap();
    for (layout, zero) in [
        (CounterLayout::CuratorLong, &[0; 8][..]),
        (CounterLayout::CuratorCount, &[0; 4]),
        (CounterLayout::KazooText, b"0"),
    ] {
        let path = format!("{path}/{layout:?}");
        let counter = client.atomic_long(&path).layout(layout);
        let refused = counter.add(i64::MAX).await;
        assert_eq!(
            matches!(refused, Err(Error::Overflow { .. })),
            layout == CounterLayout::CuratorCount,
            "{refused:?}"
        );
        assert!(counter.add(1).await.is_err());
        assert_eq!(other.get(&path).await.unwrap().data, zero);
    }
}

#[tokio::test]
async fn a_panic_of_the_function_is_the_callers() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("panic"));
    let counter = client.atomic_long(&path);
    let update = counter.update(|value| match value {
        0 => panic!("a bug of the caller"),
        value => value,
    });
    let error = soon("the panic", tokio::spawn(update)).await.unwrap_err();
    let told = error.into_panic();
    assert_eq!(told.downcast_ref(), Some(&"a bug of the caller"));
    assert_eq!(counter.increment().await.unwrap().after, 1);
}

#[tokio::test]
async fn a_session_that_ends_with_the_outcome_open_is_unknown_to_who_is_bound_to_it() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (doomed, path) = (client(proxy.address()).await, unique("bound"));
    let session = doomed.session();
    let counter = session.atomic_long(&path).without_marker();
    counter.set(1).await.unwrap();
    proxy.lose_next_and_stay_cut(SET_DATA, Leg::Reply);
    let changing = tokio::spawn(counter.add(1));
    soon("the loss", proxy.until_lost(1)).await;
    server.end(&session).await;
    proxy.restore();
    soon("the end", session.ended()).await;
    let changed = soon("the change", changing).await.unwrap();
    assert!(matches!(changed, Err(Error::Unknown { .. })), "{changed:?}");
}

#[tokio::test]
async fn a_shared_count_is_seen_by_everybody() {
    let server = server().await;
    let path = unique("shared");
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let writer = one.shared_count(&path).seed(7).start().await.unwrap();
    let mut reader = two.shared_count(&path).seed(8).start().await.unwrap();
    assert_eq!((writer.current(), reader.current()), (7, 7));
    writer.set(9).await.unwrap();
    let change = soon("the change", reader.changed()).await.unwrap();
    assert!(
        matches!(&change, ConfigChange::Updated(value) if **value == 9),
        "{change:?}"
    );
    assert!(!reader.compare_and_set(7, 1).await.unwrap());
    assert!(reader.compare_and_set(9, 1).await.unwrap());
    assert!(
        soon("the next change", reader.next())
            .await
            .unwrap()
            .is_ok()
    );
    assert_eq!(reader.current(), 1);
    assert_eq!(
        one.get(&path).await.unwrap().data,
        1_i32.to_be_bytes().as_slice()
    );
    assert!(matches!(
        writer.set(1 << 40).await,
        Err(Error::Overflow { .. })
    ));
}

#[tokio::test]
async fn numbers_are_unique_and_grow() {
    let server = server().await;
    let path = unique("ids");
    let mut all = BTreeSet::new();
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let (single, blocks) = (one.ids(&path), two.ids(&path).block(10));
    let mut last = -1;
    for turn in 0..30 {
        let number = single.next().await.unwrap();
        assert!(number > last);
        last = number;
        assert!(all.insert(number));
        if turn % 3 == 0 {
            assert!(all.insert(blocks.next().await.unwrap()));
        }
    }
    assert_eq!(all.len(), 40);
    assert_eq!(children(&one, &path).await, [""; 0]);
}

#[tokio::test]
async fn a_call_gives_up_after_its_time() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let client = client(proxy.address()).await;
    proxy.cut();
    let value = client
        .atomic_long("/x")
        .get()
        .timeout(Duration::from_millis(50))
        .await;
    assert!(matches!(value, Err(Error::Timeout { .. })), "{value:?}");
}

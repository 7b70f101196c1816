//! The partitioner: shares that are disjoint and complete, whoever comes, leaves or dies.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use support::{builder, children, client, server, soon, unique, until_contenders};
use zk_client::{Client, OnExpiry, Zxid};
use zk_recipes::{Error, partitioner::Ended, prelude::*};

const ITEMS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn join(client: &Client, path: &str) -> Partitioner {
    let partitioner = client.partitioner(path, ITEMS);
    let partitioner = partitioner.settle(Duration::from_millis(20));
    soon("joining", partitioner.start()).await.unwrap()
}

async fn allocate(member: &Partitioner) -> Allocation {
    soon("the items", member.allocate()).await.unwrap()
}

/// Waits to be told that the members changed, and allocates again.
async fn again(member: &Partitioner, allocation: Allocation) -> Allocation {
    let ended = soon("the rebalance", allocation.ended()).await;
    assert!(matches!(ended, Ended::Rebalance), "{ended:?}");
    // It is still held until it is given back.
    allocation.ensure().unwrap();
    soon("the release", allocation.release()).await.unwrap();
    allocate(member).await
}

fn tokens(allocation: &Allocation) -> BTreeMap<String, Zxid> {
    allocation.ensure().unwrap();
    let claims = allocation.claims();
    claims
        .map(|(item, claim)| (item.to_owned(), claim.token()))
        .collect()
}

/// All of them, disjoint, each with a larger token than before.
fn check(before: &BTreeMap<String, Zxid>, now: &[&Allocation]) -> BTreeMap<String, Zxid> {
    let mut all = BTreeMap::new();
    for allocation in now {
        for (item, token) in tokens(allocation) {
            assert!(before.get(&item).is_none_or(|before| *before < token));
            assert!(all.insert(item, token).is_none());
        }
    }
    assert!(all.keys().eq(ITEMS.iter()), "{all:?}");
    all
}

#[tokio::test]
async fn items_move_when_members_come_leave_and_die() {
    let server = server().await;
    let path = unique("partitioner");
    let (one, looks) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let mortal = builder(server.address()).on_expiry(OnExpiry::Stop);
    let two = mortal.connect().await.unwrap();

    let first = join(&one, &path).await;
    let mine = allocate(&first).await;
    let before = check(&BTreeMap::new(), &[&mine]);
    assert!(mine.items().eq(ITEMS) && mine.claim("c").is_some() && mine.claim("f").is_none());

    // Another one comes; what is held is waited for.
    let second = join(&two, &path).await;
    let waiting = tokio::spawn(second.allocate());
    let order = first.name() < second.name();
    let wanted = if order { "b" } else { "a" };
    let wanted = format!("{path}/items/{wanted}");
    until_contenders(&looks, &wanted, 2).await;
    assert!(!waiting.is_finished());
    let mine = again(&first, mine).await;
    let theirs = soon("the others' items", waiting).await.unwrap().unwrap();
    let before = check(&before, &[&mine, &theirs]);
    assert_eq!(mine.items().count(), if order { 3 } else { 2 });
    assert!(first.members() == second.members() && first.members().len() == 2);

    // It leaves.
    theirs.release().await.unwrap();
    soon("leaving", second.leave()).await.unwrap();
    let mine = again(&first, mine).await;
    let before = check(&before, &[&mine]);

    // It comes back, and dies.
    let second = join(&two, &path).await;
    let waiting = tokio::spawn(second.allocate());
    let mine = again(&first, mine).await;
    let theirs = soon("the others' items", waiting).await.unwrap().unwrap();
    let before = check(&before, &[&mine, &theirs]);
    server.end(&two.session()).await;
    let ended = soon("the loss", theirs.ended()).await;
    assert!(matches!(ended, Ended::Lost { .. }), "{ended:?}");
    assert!(theirs.ensure().unwrap_err().is_lost());
    assert!(soon("giving up", second.allocate()).await.is_err());
    let mine = again(&first, mine).await;
    check(&before, &[&mine]);

    // Nothing is left.
    mine.release().await.unwrap();
    first.leave().await.unwrap();
    assert!(one.ephemerals("/").await.unwrap().is_empty());
    looks.sync(&path).await.unwrap();
    assert!(
        children(&looks, &format!("{path}/members"))
            .await
            .is_empty()
    );
    for item in ITEMS {
        let left = children(&looks, &format!("{path}/items/{item}")).await;
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_lost_session_is_told_and_the_member_is_back_in_the_next() {
    let server = server().await;
    let (path, owner) = (unique("partitioner-lost"), client(server.address()).await);
    let member = join(&owner, &path).await;
    let mine = allocate(&member).await;
    let before = check(&BTreeMap::new(), &[&mine]);
    let old = owner.session();
    server.end(&old).await;
    let ended = soon("the loss", mine.ended()).await;
    let Ended::Lost { item, .. } = ended else {
        panic!("{ended:?}");
    };
    let error = mine.claim(&item).unwrap().ensure().unwrap_err();
    assert!(error.is_lost() && mine.ensure().unwrap_err().is_lost());
    assert!(mine.release().await.unwrap_err().is_lost());
    let mine = allocate(&member).await;
    check(&before, &[&mine]);
    assert!(owner.session().id() != old.id() && member.members().len() == 1);
}

#[tokio::test]
async fn waits_are_given_up_and_who_has_nothing_is_told_too() {
    let server = server().await;
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = unique("partitioner-few");
    let partitioner = |client: &Client| {
        let partitioner = client.partitioner(&path, ["x/y%", "x/y%"]);
        partitioner.settle(Duration::from_millis(20)).start()
    };
    let first = partitioner(&one).await.unwrap();
    let held = allocate(&first).await;
    assert!(held.items().eq(["x/y%"]));
    let lock = format!("{path}/items/x%2Fy%25");
    assert_eq!(children(&one, &lock).await.len(), 1);
    // Of two members and one item, whoever is the second by name has nothing.
    let mut others = Vec::new();
    let second = loop {
        let second = partitioner(&two).await.unwrap();
        if second.name() < first.name() {
            break second;
        }
        others.push(second);
    };
    for other in others {
        other.leave().await.unwrap();
    }
    let late = second.allocate().timeout(Duration::from_millis(300));
    let late = soon("giving up", late).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let cancelled = tokio::spawn(second.allocate());
    until_contenders(&one, &lock, 2).await;
    cancelled.abort();
    until_contenders(&one, &lock, 1).await;
    let waiting = tokio::spawn(second.allocate());
    let nothing = again(&first, held).await;
    let theirs = soon("the item", waiting).await.unwrap().unwrap();
    assert_eq!((nothing.items().count(), theirs.items().count()), (0, 1));
    nothing.ensure().unwrap();
    let ended = tokio::spawn(nothing.ended());
    // Dropping leaves and releases.
    drop(second);
    let ended = soon("the rebalance", ended).await.unwrap();
    assert!(matches!(ended, Ended::Rebalance), "{ended:?}");
    drop(theirs);
    let mine = allocate(&first).await;
    assert_eq!(mine.items().count(), 1);
    let third = partitioner(&two).await.unwrap();
    drop((mine, third));
    until_contenders(&one, &lock, 0).await;
}

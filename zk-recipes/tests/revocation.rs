//! Asking a holder to let go, against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use futures::FutureExt;
use support::{client, server, soon, unique, until_contenders};
use zk_recipes::{Error, prelude::*};

#[tokio::test]
async fn a_holder_is_told_and_lets_go_when_it_likes() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("revoke"));
    let guard = client.lock(&path).identity("holder").await.unwrap();
    let next = tokio::spawn(client.lock(&path).identity("next").into_future());
    until_contenders(&client, &path, 2).await;
    // What else is written into the node means nothing, and ends nothing.
    client.set(guard.node_path(), "other").await.unwrap();
    client.sync(&path).await.unwrap();
    assert!(guard.revocation().now_or_never().is_none());

    let contenders = client.lock(&path).contenders().await.unwrap();
    assert!(!contenders[0].is_revoked);
    assert!(client.lock(&path).revoke(&contenders[0]).await.unwrap());
    soon("the request", guard.revocation()).await.unwrap();
    guard.ensure().unwrap();
    assert!(!next.is_finished());
    let asked = client.lock(&path).contenders().await.unwrap();
    assert_eq!((asked[0].is_revoked, &*asked[0].identity), (true, ""));
    assert_eq!((asked[1].is_revoked, &*asked[1].identity), (false, "next"));

    // Once the guard is gone, there is nobody to ask, and nobody is told.
    let claim = guard.claim();
    guard.release().await.unwrap();
    let told = claim.revocation().await;
    assert!(matches!(told, Err(Error::Lost { .. })), "{told:?}");
    assert!(!client.lock(&path).revoke(&contenders[0]).await.unwrap());
    let next = soon("the next one", next).await.unwrap().unwrap();
    assert!(next.revocation().now_or_never().is_none());
    next.release().await.unwrap();
}

#[tokio::test]
async fn whoever_is_asked_while_it_waits_is_told_at_the_grant() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("revoke-waiting"));
    let guard = client.write_lock(&path).await.unwrap();
    let waiter = tokio::spawn(client.write_lock(&path).into_future());
    until_contenders(&client, &path, 2).await;
    let contenders = client.write_lock(&path).contenders().await.unwrap();
    let waiting = &contenders[1];
    assert!(client.write_lock(&path).revoke(waiting).await.unwrap());
    guard.release().await.unwrap();
    let guard = soon("its turn", waiter).await.unwrap().unwrap();
    soon("the request", guard.revocation()).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn another_recipes_contender_is_not_written_to() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("revoke-foreign"));
    let leader = client.leader(&path).identity("leader").await.unwrap();
    let candidates = client.leader(&path).contenders().await.unwrap();
    let refused = client.lock(&path).revoke(&candidates[0]).await;
    assert!(
        matches!(refused, Err(Error::ForeignContender { .. })),
        "{refused:?}"
    );
    let candidates = client.leader(&path).contenders().await.unwrap();
    assert_eq!(candidates[0].identity, "leader");
    leader.release().await.unwrap();
}

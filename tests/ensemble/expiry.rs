//! A session of an ensemble in one process, ended on purpose.

use std::time::Duration;

use tokio::time::timeout;
use zk_client::{Client, SessionEnd};
use zk_server::Ensemble;

use crate::members::LIMIT;

/// Whoever its client is connected to, and though nobody leads when it is asked for.
#[tokio::test]
async fn a_session_is_ended_through_any_member_and_across_an_election() {
    let mut ensemble = Ensemble::start(3).await.unwrap();
    let leader = ensemble.leader().await;
    let follower = ensemble.client_address((leader + 1) % 3).unwrap();
    let connecting = Client::builder(follower.to_string()).session_timeout(Duration::from_secs(30));
    let client = connecting.connect().await.unwrap();
    let session = client.session();
    client.create("/me", "").ephemeral().await.unwrap();

    ensemble.kill(leader).await.unwrap();
    ensemble.expire_session(session.id()).await;
    let reason = timeout(LIMIT, session.ended()).await.unwrap();
    assert_eq!(reason, SessionEnd::Expired);
    assert_eq!(client.exists("/me").await.unwrap(), None);
}

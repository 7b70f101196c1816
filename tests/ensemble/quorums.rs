//! Quorums that are no majorities, and leaders that have no clients.

#![allow(
    clippy::disallowed_methods,
    reason = "waits for what real sockets and disks do"
)]

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zk_client::Client;
use zk_server::Ensemble;

use crate::members::LIMIT;

#[tokio::test]
async fn one_member_that_outweighs_the_others_is_a_quorum_and_they_are_none() {
    timeout(LIMIT, async {
        let settings = [("group.1", "1:2:3"), ("weight.1", "3")];
        let mut ensemble = Ensemble::start_with(3, &settings).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        client.create("/a", "1").await.unwrap();
        ensemble.kill(1).await.unwrap();
        ensemble.kill(2).await.unwrap();
        assert_eq!(ensemble.leader().await, 0);
        client.ensure("/alone").await.unwrap();
        ensemble.restart(1).await.unwrap();
        ensemble.restart(2).await.unwrap();
        client.ensure("/together").await.unwrap();
        ensemble.kill(0).await.unwrap();
        let two = timeout(Duration::from_secs(1), ensemble.leader()).await;
        assert!(two.is_err(), "two of five votes lead nobody");
        ensemble.restart(0).await.unwrap();
        ensemble.leader().await;
        for path in ["/a", "/alone", "/together"] {
            assert!(client.exists(path).await.unwrap().is_some(), "{path}");
        }
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_leader_that_does_not_serve_sends_clients_away_and_orders_their_writes_all_the_same() {
    timeout(LIMIT, async {
        let settings = [("leaderServes", "no")];
        let ensemble = Ensemble::start_with(3, &settings).await.unwrap();
        let leader = ensemble.leader().await;
        let mode = |member: usize| ensemble.member(member).unwrap().mode();
        for other in [(leader + 1) % 3, (leader + 2) % 3] {
            while mode(other) != Some("follower") {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(mode(leader), None);
        let of_leader = ensemble.client_address(leader).unwrap().to_string();
        let refused = Client::builder(of_leader).connect_timeout(Duration::from_millis(500));
        assert!(refused.connect().await.is_err());
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        client.create("/a", "1").await.unwrap();
        client.sync("/a").await.unwrap();
        assert_eq!(&client.get("/a").await.unwrap().data[..], b"1");
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

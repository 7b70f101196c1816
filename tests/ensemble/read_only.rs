//! A member that has lost its quorum serves reads, and our client finds its way back.

#![allow(
    clippy::disallowed_methods,
    reason = "waits for what real sockets and disks do"
)]

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind, SessionState};
use zk_server::Ensemble;

use crate::members::LIMIT;

async fn becomes(ensemble: &Ensemble, member: usize, mode: Option<&'static str>) {
    while ensemble.member(member).unwrap().mode() != mode {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_reads_where_the_quorum_is_gone_and_writes_when_it_is_back() {
    timeout(LIMIT, async {
        let settings = [("readonlymode.enabled", "true")];
        let mut ensemble = Ensemble::start_with(3, &settings).await.unwrap();
        let survivor = ensemble.leader().await;
        let hosts = ensemble.connect_string();
        let writer = Client::connect(&hosts).await.unwrap();
        writer.create("/a", "before").await.unwrap();
        writer.close().await.unwrap();

        let (one, two) = ((survivor + 1) % 3, (survivor + 2) % 3);
        for gone in [one, two] {
            ensemble.kill(gone).await.unwrap();
        }
        becomes(&ensemble, survivor, Some("read-only")).await;

        let client = Client::builder(&hosts)
            .allow_read_only()
            .connect()
            .await
            .unwrap();
        assert_eq!(client.state(), SessionState::ReadOnly);
        assert_eq!(&client.get("/a").await.unwrap().data[..], b"before");
        let refused = client.set("/a", "during").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnly);

        ensemble.restart(one).await.unwrap();
        let mut states = client.states();
        while !matches!(
            client.state(),
            SessionState::Connected | SessionState::Renewed { .. }
        ) {
            states.next().await.unwrap();
        }
        loop {
            match client.set("/a", "after").await {
                Ok(_) => break,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

//! What one client may cost.

use zk_proto::{CreateMode, ErrorCode};
use zk_server::Server;

use crate::client::{create, get, new_session, tcp};

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let server = Server::builder()
        .set("maxClientCnxns", "2")
        .start()
        .await
        .unwrap();
    let (first, _) = tcp(&server).await.open().await;
    let (_second, _) = tcp(&server).await.open().await;
    assert_eq!(tcp(&server).await.connect(&new_session()).await, None);
    drop(first);
    // The server learns of the end in its own time; until then it refuses.
    while tcp(&server).await.connect(&new_session()).await.is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn frames_are_bounded_before_and_within_a_session() {
    let server = Server::builder().start().await.unwrap();
    for len in [1025_i32, 0xf_ffff, i32::MAX, -1, 0] {
        let mut client = tcp(&server).await;
        client.send_bytes(&len.to_be_bytes()).await;
        assert!(client.is_closed().await, "{len}");
    }
    let (mut client, _) = tcp(&server).await.open().await;
    let fits = "x".repeat(1_000_000);
    let made = client
        .call(1, create("/fits", &fits, CreateMode::Persistent))
        .await;
    assert_eq!(made.header.err, ErrorCode::Ok.code());
    let (data, _) = client.call(2, get("/fits")).await.data();
    assert_eq!(data.len(), fits.len());
    client.send_bytes(&0x10_0000_i32.to_be_bytes()).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn session_timeouts_that_do_not_fit_together_are_told_at_the_start() {
    let server = Server::builder().set("maxSessionTimeout", "4000");
    let refused = server.start().await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("minSessionTimeout"), "{refused}");
}

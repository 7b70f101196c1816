//! Clients that are slow to read, and honest.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};
use zk_proto::CreateMode;

use crate::{
    client::{create, get},
    memory_net::{MemoryNet, start},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_pipeline_goes_on_after_a_pause_whatever_was_queued() {
    // What the pipe holds is more than what the server holds back, so that a pause ends in one round.
    let net = MemoryNet::new(8 << 20);
    let _server = start(&net).await;
    let (mut client, _) = net.connect().open().await;
    let data = "x".repeat(20_000);
    client
        .call(1, create("/a", &data, CreateMode::Persistent))
        .await;
    // More than may be queued, all of it sent before the client pauses.
    let reads = vec![get("/a"); 2_500];
    client.send(2, &reads).await;
    sleep(SECOND).await;
    let mut left = reads.len() * (4 + 16 + 4 + data.len() + 68);
    let mut bytes = BytesMut::with_capacity(16 << 20);
    while left > 0 {
        bytes.clear();
        let read = timeout(10 * SECOND, client.stream.read_buf(&mut bytes)).await;
        let read = read.expect("the server forgot what it had queued").unwrap();
        assert!(read > 0, "closed");
        left -= read;
    }
}

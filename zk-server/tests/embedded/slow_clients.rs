//! Clients that are slow to read, and honest.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    io::AsyncReadExt,
    time::{sleep, timeout},
};
use zk_proto::{
    CreateMode,
    connect::ConnectRequest,
    op::{GetDataRequest, MultiOp, MultiRequest, Request},
};

use crate::{
    client::{PING, bare, create, exists, get, new_session},
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

#[tokio::test(start_paused = true)]
async fn who_takes_its_answer_slowly_is_alive_and_may_send_slowly() {
    let net = MemoryNet::new(64 << 10);
    let _server = start(&net).await;
    let mut client = net.connect();
    let short = ConnectRequest {
        timeout_ms: 6_000,
        ..new_session()
    };
    client.connect(&short).await.unwrap();
    let data = "x".repeat(1_000_000);
    client
        .call(1, create("/big", &data, CreateMode::Persistent))
        .await;
    client
        .call(2, create("/mine", "", CreateMode::Ephemeral))
        .await;
    let part = MultiOp::GetData(GetDataRequest {
        path: "/big".into(),
        watch: false,
    });
    let ops = vec![part; 16];
    // Sixteen seconds' worth of an answer; what was sent behind it, half a frame at its end, is not read meanwhile.
    client
        .send(3, &[Request::MultiRead(MultiRequest { ops })])
        .await;
    let ping = bare(-2, PING, &[]);
    client.send_bytes(&ping).await;
    client.send_bytes(&ping[..7]).await;
    let mut answer = BytesMut::new();
    while answer.len() < 16_000_000 {
        let mut second = vec![0; 1_000_000];
        let read = client.stream.read_exact(&mut second).await;
        read.unwrap_or_else(|error| panic!("{error} after {} bytes", answer.len()));
        answer.extend_from_slice(&second);
        if answer.len() == 13_000_000 {
            client.send_bytes(&ping[7..]).await;
        }
        sleep(SECOND).await;
    }
    let rest = 4 + 16 + 16 * (9 + 4 + data.len() + 68) + 9 - answer.len();
    let mut rest = vec![0; rest];
    client.stream.read_exact(&mut rest).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.reply().await.unwrap().header.xid.0, -2);
    }
    assert_eq!(client.call(4, exists("/mine")).await.header.err, 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_without_taking_the_last_answers_is_not_waited_for() {
    let net = MemoryNet::new(1 << 10);
    let _server = start(&net).await;
    let (mut client, _) = net.connect().open().await;
    let data = "x".repeat(100_000);
    client
        .call(1, create("/a", &data, CreateMode::Persistent))
        .await;
    client.send(2, &[get("/a"), Request::CloseSession]).await;
    sleep(60 * SECOND).await;
    let mut got = Vec::new();
    client.stream.read_to_end(&mut got).await.unwrap();
    assert!(
        got.len() <= 1 << 10,
        "{} bytes were still waiting",
        got.len()
    );
}

//! Time passes in no time.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zk_proto::{CreateMode, ErrorCode, SessionId, connect::ConnectRequest, op::Request};

use crate::{
    client::{PING, bare, create, exists, get, new_session, resume},
    memory_net::{MemoryNet, start},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_silent_session_ends_after_its_timeout_and_at_most_a_tick() {
    let net = MemoryNet::new(1 << 16);
    let _server = start(&net).await;
    for silence in 0..5 {
        sleep(Duration::from_millis(silence * 777)).await;
        let (mut client, session) = net.connect().open().await;
        client
            .call(1, create("/mine", "", CreateMode::Ephemeral))
            .await;
        let begun = Instant::now();
        assert!(client.is_closed().await, "closed without a frame");
        let lived = begun.elapsed();
        assert!(lived >= 10 * SECOND && lived <= 12 * SECOND, "{lived:?}");
        let refused = net.connect().connect(&resume(&session)).await.unwrap();
        assert_eq!(refused.session_id, SessionId::NONE);
        let (mut other, _) = net.connect().open().await;
        let gone = other.call(1, exists("/mine")).await.header;
        assert_eq!(gone.err, ErrorCode::NoNode.code());
        other.call(2, Request::CloseSession).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_session_and_a_lost_connection_leaves_it_its_time() {
    let net = MemoryNet::new(1 << 16);
    let _server = start(&net).await;
    let (mut client, session) = net.connect().open().await;
    for _ in 0..100 {
        sleep(9 * SECOND).await;
        client.send_bytes(&bare(-2, PING, &[])).await;
        assert_eq!(client.reply().await.unwrap().header.xid.0, -2);
    }
    drop(client);
    sleep(9 * SECOND).await;
    let mut client = net.connect();
    let resumed = client.connect(&resume(&session)).await.unwrap();
    assert_eq!(resumed.session_id, session.session_id);
    drop(client);
    sleep(13 * SECOND).await;
    let refused = net.connect().connect(&resume(&session)).await.unwrap();
    assert_eq!(refused.session_id, SessionId::NONE);
}

#[tokio::test(start_paused = true)]
async fn half_frames_and_silence_before_a_session_end_in_time() {
    let net = MemoryNet::new(1 << 16);
    let _server = start(&net).await;
    for bytes in [&b""[..], b"\0", b"\0\0\0\x2d\0\0"] {
        let mut client = net.connect();
        client.send_bytes(bytes).await;
        let begun = Instant::now();
        assert!(client.is_closed().await);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
    let (mut client, _) = net.connect().open().await;
    client.send_bytes(&bare(-2, PING, &[])[..7]).await;
    let begun = Instant::now();
    assert!(client.is_closed().await);
    assert_eq!(begun.elapsed().as_secs(), 5, "half of the session timeout");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_and_then_dropped() {
    let net = MemoryNet::new(1 << 14);
    let _server = start(&net).await;
    let longest = ConnectRequest {
        timeout_ms: 40_000,
        ..new_session()
    };
    let mut client = net.connect();
    client.connect(&longest).await.unwrap();
    let big = "x".repeat(1_000_000);
    client
        .call(1, create("/big", &big, CreateMode::Persistent))
        .await;
    let reads = vec![get("/big"); 20];
    client.send(2, &reads).await;
    let mut asked = 20;
    // The server answers a few, then reads no more, and the pipe towards it fills up.
    while timeout(SECOND, client.send(2, &reads)).await.is_ok() {
        asked += 20;
        assert!(asked < 10_000, "the server goes on reading");
    }
    sleep(35 * SECOND).await;
    let mut answered = 0;
    while client.frame().await.is_some() {
        answered += 1;
    }
    assert!(
        answered < 20,
        "{answered} megabytes were kept for a client that does not read"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_the_callers_thread() {
    // It counts the threads of its process, and so wants one for itself.
    const ALONE: &str = "ZK_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "virtual_time::nothing_leaves_the_callers_thread"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let net = MemoryNet::new(1 << 16);
    let server = start(&net).await;
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let (mut client, _) = net.connect().open().await;
    for i in 0..200 {
        client
            .call(1, create(&format!("/n{i}"), "", CreateMode::Persistent))
            .await;
    }
    server.shutdown().await.unwrap();
    assert!(client.is_closed().await);
    assert!(threads() <= before, "no thread was started");
}

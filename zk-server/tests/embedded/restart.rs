//! What was acknowledged is there after a stop, a kill and a power cut.

use std::{sync::Arc, time::Duration};

use zk_proto::{CreateMode, ErrorCode, connect::ConnectResponse, op::Request};
use zk_server::{
    Server,
    storage::{Disk, MemDisk, mem_disk::FaultyCall},
};

use crate::{
    client::{create, delete, exists, get, resume, tcp},
    memory_net::MemoryNet,
};

async fn start(disk: &MemDisk) -> Server {
    let server = Server::builder()
        .disk(Arc::new(disk.clone()))
        .set("snapCount", "20");
    server.start().await.unwrap()
}

/// Writes a hundred nodes through a session that stays open.
async fn fill(server: &Server) -> ConnectResponse {
    let (mut client, session) = tcp(server).await.open().await;
    client
        .call(1, create("/mine", "", CreateMode::Ephemeral))
        .await;
    for i in 0..100 {
        let made = client
            .call(
                2,
                create(&format!("/n{i}"), &i.to_string(), CreateMode::Persistent),
            )
            .await;
        assert_eq!(made.header.err, 0);
    }
    session
}

async fn check(server: &Server, session: &ConnectResponse) {
    let mut client = tcp(server).await;
    let resumed = client.connect(&resume(session)).await.unwrap();
    assert_eq!(
        resumed.session_id, session.session_id,
        "sessions outlive a restart"
    );
    assert_eq!(client.call(1, exists("/mine")).await.header.err, 0);
    for i in 0..100 {
        let (data, _) = client.call(2, get(&format!("/n{i}"))).await.data();
        assert_eq!(data, i.to_string());
    }
}

#[tokio::test]
async fn a_clean_stop_keeps_everything() {
    let disk = MemDisk::new();
    let server = start(&disk).await;
    let session = fill(&server).await;
    server.shutdown().await.unwrap();
    check(&start(&disk).await, &session).await;
}

#[tokio::test]
async fn a_power_cut_keeps_everything_that_was_acknowledged() {
    for seed in 0..20 {
        let disk = MemDisk::new();
        let server = start(&disk).await;
        let session = fill(&server).await;
        disk.power_cut(seed);
        let _ = server.shutdown().await;
        check(&start(&disk).await, &session).await;
    }
}

#[tokio::test]
async fn a_directory_serves_again_after_shutdown_and_only_one_server_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let builder = || {
        Server::builder()
            .data_dir(directory.path())
            .set("snapCount", "20")
    };
    let server = builder().start().await.unwrap();
    let session = fill(&server).await;
    assert!(builder().start().await.is_err(), "the directory is taken");
    server.shutdown().await.unwrap();
    let server = builder().start().await.unwrap();
    check(&server, &session).await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn with_little_room_left_writes_are_refused_until_there_is_more() {
    let disk = MemDisk::new();
    disk.set_capacity(4 << 20);
    let server = Server::builder()
        .disk(Arc::new(disk.clone()))
        .set("minFreeSpaceInKb", "1024")
        .set("preAllocSize", "0");
    let server = server.start().await.unwrap();
    let (mut client, _) = tcp(&server).await.open().await;
    let big = "x".repeat(100_000);
    let new = |n: i32| create(&format!("/n{n}"), &big, CreateMode::Persistent);
    let refused = ErrorCode::SystemError.code();
    let mut made = 0;
    while client.call(1, new(made)).await.header.err == 0 {
        made += 1;
    }
    assert!((25..40).contains(&made), "{made}");
    let before = client.call(2, exists("/n1")).await.header.zxid;
    let answer = client.call(3, new(made)).await.header;
    assert_eq!((answer.err, answer.zxid), (refused, before));
    // What needs no room is still done, and in its place.
    let requests = [new(made), delete("/n1"), exists("/n1")];
    client.send(4, &requests).await;
    for (xid, error) in [(4, refused), (5, 0), (6, ErrorCode::NoNode.code())] {
        let answer = client.reply().await.unwrap().header;
        assert_eq!((answer.xid.0, answer.err), (xid, error));
    }
    disk.set_capacity(64 << 20);
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1100)).await;
    tokio::time::resume();
    assert_eq!(client.call(7, new(made)).await.header.err, 0);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_server_and_nothing_more_is_acknowledged() {
    let disk = MemDisk::new();
    let server = start(&disk).await;
    let (mut client, _) = tcp(&server).await.open().await;
    disk.fail(FaultyCall::Sync, 1, std::io::ErrorKind::Other);
    client
        .send(1, &[create("/a", "", CreateMode::Persistent)])
        .await;
    assert!(client.is_closed().await, "no answer");
    let fatal = server.failed().await;
    assert!(server.shutdown().await.is_err(), "{fatal}");
    disk.heal();
    disk.power_cut(1);
    let server = start(&disk).await;
    let (mut client, _) = tcp(&server).await.open().await;
    let found = client.call(1, exists("/a")).await.header.err;
    assert!([0, ErrorCode::NoNode.code()].contains(&found));
}

#[test]
fn a_runtime_that_is_dropped_takes_its_server_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let start = || Server::builder().data_dir(directory.path()).start();
    let first = runtime();
    let server = first.block_on(start()).unwrap();
    drop(first);
    // The log's thread learns of it in its own time, and then the directory is free.
    runtime().block_on(async {
        let again = async { while start().await.is_err() {} };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, again).await.unwrap();
    });
    drop(server);
}

/// Snapshots are due all the time, and of them three stay, with the logs that they need.
#[tokio::test(start_paused = true)]
async fn what_is_purged_is_not_missed() {
    const HOUR: Duration = Duration::from_secs(3600);
    let disk = MemDisk::new();
    let start = async |net: &Arc<MemoryNet>| {
        let server = Server::builder()
            .net(net.clone())
            .disk(Arc::new(disk.clone()))
            .set("snapCount", "20")
            .set("autopurge.purgeInterval", "1")
            .set("autopurge.snapRetainCount", "3");
        server.start().await.unwrap()
    };
    let names = |prefix: &str| {
        let files = disk.subdirectory("version-2").unwrap().list().unwrap();
        let mut names: Vec<_> = files.into_iter().map(|file| file.name).collect();
        names.retain(|name| name.starts_with(prefix));
        names
    };
    let net = MemoryNet::new(1 << 16);
    let server = start(&net).await;
    for hour in 0..3 {
        let (mut client, _) = net.connect().open().await;
        for i in 0..200 {
            let path = format!("/h{hour}n{i}");
            let made = client
                .call(1, create(&path, "x", CreateMode::Persistent))
                .await;
            assert_eq!(made.header.err, 0);
        }
        client.call(2, Request::CloseSession).await;
        let before = (names("snapshot.").len(), names("log.").len());
        assert!(before.0 > 3 && before.1 > 4, "{before:?}");
        tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
        let after = (names("snapshot.").len(), names("log.").len());
        assert_eq!(after.0, 3, "after hour {hour}");
        assert!(
            after.1 <= 5,
            "{after:?}: a log for each, one before, one that is written"
        );
    }
    server.shutdown().await.unwrap();
    let net = MemoryNet::new(1 << 16);
    let _server = start(&net).await;
    let (mut client, _) = net.connect().open().await;
    for hour in 0..3 {
        for i in 0..200 {
            let found = client.call(1, exists(&format!("/h{hour}n{i}"))).await;
            assert_eq!(found.header.err, 0, "/h{hour}n{i}");
        }
    }
}

//! A follower that missed more than its leader has in memory is told it from the log on the leader's disk.

use tokio::time::timeout;
use zk_proto::ErrorCode;
use zk_tests::{raw::RawClient, requests::create};

use crate::{
    drills::assert_nothing_lost,
    dump::files,
    members::{LIMIT, start_as},
};

/// More than the 500 transactions in memory, and several of the pieces that the log is read in.
const MISSED: usize = 1500;
const SIZE: usize = 4096;

#[tokio::test]
async fn a_long_history_comes_from_the_log_and_not_as_a_snapshot() {
    let launcher = zk_tests::ours::launcher().unwrap();
    // However long it is.
    let settings = [("snapshotSizeFactor", "0")];
    let mut members = start_as(&launcher, &settings).unwrap();
    let leader = members.wait_for_leader().unwrap();
    let follower = (leader + 1) % 3;
    timeout(LIMIT, async {
        // Before its first transaction a member has no place in the history that a log could tell the rest of.
        let member = members.addresses()[follower];
        let mut client = RawClient::connect(member).await.unwrap();
        client.open_session(20_000).await.unwrap();
        let answer = client.call(create("/first", b"")).await.unwrap();
        assert_eq!(answer.code(), ErrorCode::Ok);
    })
    .await
    .unwrap();
    members.member(follower).kill().unwrap();
    let snapshots = |members: &zk_tests::ensemble::Members| {
        let member = members.iter().nth(follower).unwrap();
        files(&member.data_dir()).unwrap().snapshots
    };
    let before = snapshots(&members);
    timeout(LIMIT, async {
        let mut client = RawClient::connect(members.addresses()[leader])
            .await
            .unwrap();
        client.open_session(20_000).await.unwrap();
        let data = vec![b'x'; SIZE];
        for batch in 0..MISSED / 50 {
            let path = |node| format!("/n{batch}-{node}");
            let creates = (0..50).map(|node| create(&path(node), &data));
            client.ask(&creates.collect::<Vec<_>>()).await.unwrap();
            for _ in 0..50 {
                assert_eq!(client.answer().await.unwrap().code(), ErrorCode::Ok);
            }
        }
    })
    .await
    .unwrap();
    members.start().unwrap();
    assert_nothing_lost(&members, &[]).await;
    assert_eq!(snapshots(&members), before, "it was sent no snapshot");
    let member = members.iter().nth(follower).unwrap();
    let logged = files(&member.data_dir()).unwrap().records.len();
    assert!(logged > MISSED, "{logged} records");
}

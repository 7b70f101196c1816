//! What broke in Apache ensembles and needs real members to show itself.

#![allow(clippy::disallowed_methods, reason = "waits for what real members do")]

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::time::{sleep, timeout};
use zk_proto::{CreateMode, ErrorCode, Zxid, op::Request, quorum::PacketType};
use zk_tests::{
    ensemble::{Members, mode},
    frames::{FrameClient, new_session},
    links::{Cut, Links},
    ours,
    proxy::Place,
    requests::{create, create_as, exists, sync},
};

use crate::{
    dump::{Seen, assert_all_the_same, assert_same_records, files, seen},
    members::{LIMIT, start_as},
};

/// Three members with proxies between them.
fn linked(further: &[(&str, &str)]) -> (Members, Links) {
    let ours = vec![ours::launcher().unwrap(); 3];
    let settings = [&[("tickTime", "500"), ("syncLimit", "4")], further].concat();
    let (mut members, links) = Members::prepare_linked(&ours, &[], &settings).unwrap();
    members.start().unwrap();
    (members, links)
}

async fn client(members: &Members, member: usize) -> FrameClient {
    let address = members.addresses()[member];
    FrameClient::connect(address, 20_000).await.unwrap()
}

async fn ok(client: &mut FrameClient, request: &Request) -> Zxid {
    let answer = client.call(request).await.unwrap();
    assert_eq!(answer.code, ErrorCode::Ok, "{request:?}");
    answer.zxid
}

/// Waits for something that is told to nobody but who looks.
async fn until(mut done: impl FnMut() -> bool) {
    let looks = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, looks).await.unwrap();
}

async fn becomes(member: SocketAddr, what: &str) {
    until(|| mode(member).as_deref() == Some(what)).await;
}

fn assert_no_ephemeral(sight: &Seen) {
    let left: Vec<_> = sight.keys().filter(|path| path.starts_with("/e")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The proposal that ends a session breaks off, at one place after the other.
#[tokio::test]
async fn zookeeper_2355_half_a_proposal_is_none() {
    /// Within the type, the zxid, the length, the header, the paths, the digest; and what is still missing is one byte.
    const PLACES: [usize; 7] = [1, 11, 15, 30, 60, 80, 88];
    let (mut members, links) = linked(&[]);
    let leader = members.wait_for_leader().unwrap();
    let learner = (leader + 1) % 3;
    let address = members.addresses()[learner];
    let mut ends = Vec::new();
    for kept in PLACES {
        let mut owner = client(&members, leader).await;
        let mut last = Zxid::ZERO;
        for number in 0..3 {
            let request = create_as(&format!("/e{number}"), b"", CreateMode::Ephemeral);
            last = ok(&mut owner, &request).await;
        }
        let end = Zxid(last.0 + 1);
        let mut mark = [0; 12];
        mark[..4].copy_from_slice(&(PacketType::Proposal as i32).to_be_bytes());
        mark[4..].copy_from_slice(&end.0.to_be_bytes());
        let connected = links.connected(learner, leader);
        links.end_at(learner, leader, Place { mark, kept });
        owner.close().await.unwrap();
        // It is without a leader, and comes again.
        let comes = links.wait_connected(learner, leader, connected + 1);
        timeout(LIMIT, comes).await.unwrap();
        becomes(address, "follower").await;
        let (_, sight) = seen(address).await.unwrap();
        assert_no_ephemeral(&sight);
        ends.push((kept, end));
    }
    let (_, stored) = assert_all_the_same(&members).await;
    assert!(stored.ephemerals.is_empty(), "{:?}", stored.ephemerals);
    let logged = files(&members.member(learner).data_dir()).unwrap().records;
    for (kept, end) in ends {
        let entry = logged.iter().find(|(zxid, _)| *zxid == end);
        // Type, zxid and length before the entry, and no identities behind it.
        let packet = 16 + entry.unwrap().1.len() + 4;
        assert!(kept < packet, "{end} was whole: {packet}");
    }
}

#[tokio::test]
async fn zookeeper_2355_5010_no_ephemeral_outlives_its_session_at_a_member_that_was_away() {
    let mut members = start_as(&ours::launcher().unwrap(), &[]).unwrap();
    let leader = members.wait_for_leader().unwrap();
    let away = (leader + 1) % 3;
    let mut owner = client(&members, leader).await;
    for number in 0..5 {
        let request = create_as(&format!("/e{number}"), b"", CreateMode::Ephemeral);
        ok(&mut owner, &request).await;
    }
    let mut there = client(&members, away).await;
    ok(&mut there, &sync("/")).await;
    ok(&mut there, &exists("/e4")).await;
    there.close().await.unwrap();
    members.member(away).kill().unwrap();
    owner.close().await.unwrap();
    members.start().unwrap();
    let (_, sight) = seen(members.addresses()[away]).await.unwrap();
    assert_no_ephemeral(&sight);
    let (_, stored) = assert_all_the_same(&members).await;
    assert!(stored.ephemerals.is_empty(), "{:?}", stored.ephemerals);
}

/// Whether the last transaction in a member's log is about this path.
fn ends_with(data_dir: &Path, path: &str) -> bool {
    let records = files(data_dir).unwrap().records;
    let last = records.last().map(|(_, payload)| payload);
    last.is_some_and(|payload| payload.windows(path.len()).any(|at| at == path.as_bytes()))
}

/// A leader is left alone with a write that nobody else has. It lives on, and serves reads; the others go on without it.
#[tokio::test]
async fn zookeeper_3526_serving_reads_without_a_quorum_leaves_the_history_alone() {
    let (mut members, links) = linked(&[("readonlymode.enabled", "true")]);
    let alone = members.wait_for_leader().unwrap();
    let address = members.addresses()[alone];
    let dir = members.member(alone).data_dir();
    let process = members.member(alone).pid();
    let mut writer = client(&members, alone).await;
    ok(&mut writer, &create("/a", b"before")).await;
    until(|| ends_with(&dir, "/a")).await;
    for other in [(alone + 1) % 3, (alone + 2) % 3] {
        links.cut(alone, other, Cut::Silent).await;
    }
    writer.send(&create("/lost", b"")).await.unwrap();
    until(|| ends_with(&dir, "/lost")).await;
    let before = files(&dir).unwrap();

    becomes(address, "read-only").await;
    let mut hello = new_session(20_000);
    hello.read_only = Some(true);
    let mut reader = FrameClient::open(address, &hello).await.unwrap();
    let read = ok(&mut reader, &exists("/a")).await;
    let refused = reader.call(&create("/b", b"during")).await.unwrap();
    assert_eq!(refused.code, ErrorCode::NotReadOnly);
    let (lost, kept) = before.records.split_last().unwrap();
    assert_eq!(ok(&mut reader, &exists("/a")).await, read);
    assert_eq!(read, lost.0, "what is served is the log to its end");
    reader.close().await.unwrap();
    assert_eq!(files(&dir).unwrap(), before, "nothing is logged");

    let leader = members.wait_for_leader_but(alone).unwrap();
    let mut other = client(&members, leader).await;
    ok(&mut other, &create("/c", b"after")).await;
    other.close().await.unwrap();
    links.heal().await;
    becomes(address, "follower").await;
    let (sight, _) = assert_all_the_same(&members).await;
    assert!(sight.contains_key("/a") && sight.contains_key("/c"));
    assert!(!sight.contains_key("/b") && !sight.contains_key("/lost"));
    assert_eq!(members.member(alone).pid(), process);
    assert_eq!(members.member(alone).exited().unwrap(), None, "it lives");

    // TRUNC: its log goes on where that one write stood, and it was sent no snapshot.
    let after = files(&dir).unwrap();
    let (same, next) = after.records.split_at(kept.len());
    assert_eq!(same, kept, "nothing else is gone");
    assert!(next[0].0.epoch() > lost.0.epoch() && !next.contains(lost));
    assert_eq!(after.snapshots, before.snapshots);
    let logs: Vec<_> = members
        .iter()
        .map(|member| files(&member.data_dir()).unwrap())
        .collect();
    assert_same_records(&logs);
    for (member, files) in logs.iter().enumerate() {
        files.assert_gap_free(&format!("member {}", member + 1));
    }
}

//! What broke in Apache ensembles and needs real members to show itself.

#![allow(clippy::disallowed_methods, reason = "waits for what real members do")]

use bytes::BytesMut;
use zk_proto::{
    CreateMode, Encode as _, ErrorCode, SessionId, Xid, Zxid,
    quorum::{PacketType, QuorumPacket, take_packet},
    txn::{CloseSessionTxn, Txn, TxnHeader, TxnLogEntry},
};
use zk_tests::{
    ensemble::{Members, mode},
    frames::FrameClient,
    ours,
    requests::{create, create_as, exists, sync},
};

use crate::{
    dump::{assert_all_the_same, files, seen},
    members::start_as,
};

fn members(further: &[(&str, &str)]) -> Members {
    start_as(&ours::launcher().unwrap(), further).unwrap()
}

async fn client(members: &Members, member: usize) -> FrameClient {
    let address = members.addresses()[member];
    FrameClient::connect(address, 20_000).await.unwrap()
}

async fn ok(client: &mut FrameClient, request: &zk_proto::op::Request) {
    let answer = client.call(request).await.unwrap();
    assert_eq!(answer.code, ErrorCode::Ok, "{request:?}");
}

#[test]
fn zookeeper_2355_half_a_proposal_is_none() {
    let entry = TxnLogEntry {
        header: TxnHeader {
            client_id: SessionId(5),
            cxid: Xid(9),
            zxid: Zxid(0x1_0000_0007),
            time: 1,
            kind: zk_proto::OpCode::CloseSession.code(),
        },
        txn: Txn::CloseSession(Some(CloseSessionTxn {
            paths_to_delete: vec!["/e1".into(), "/e2".into()],
        })),
        digest: None,
    };
    let packet = QuorumPacket {
        kind: PacketType::Proposal as i32,
        zxid: Zxid(0x1_0000_0007),
        data: Some(entry.to_bytes()),
        authinfo: None,
    };
    let whole = packet.to_bytes();
    for cut in 0..whole.len() {
        let mut arrived = BytesMut::from(&whole[..cut]);
        assert_eq!(take_packet(&mut arrived, 1 << 20), Ok(None), "cut at {cut}");
        arrived.extend_from_slice(&whole[cut..]);
        assert_eq!(take_packet(&mut arrived, 1 << 20), Ok(Some(packet.clone())));
    }
}

#[tokio::test]
async fn zookeeper_2355_5010_no_ephemeral_outlives_its_session_at_a_member_that_was_away() {
    let mut members = members(&[]);
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
    assert!(
        !sight.keys().any(|path| path.starts_with("/e")),
        "{sight:?}"
    );
    let (_, stored) = assert_all_the_same(&members).await;
    assert!(stored.ephemerals.is_empty(), "{:?}", stored.ephemerals);
}

#[tokio::test]
async fn zookeeper_3526_serving_reads_without_a_quorum_leaves_the_history_alone() {
    let mut members = members(&[("readonlymode.enabled", "true")]);
    let survivor = members.wait_for_leader().unwrap();
    let mut writer = client(&members, survivor).await;
    ok(&mut writer, &create("/a", b"before")).await;
    writer.close().await.unwrap();
    let others = [(survivor + 1) % 3, (survivor + 2) % 3];
    for other in others {
        members.member(other).kill().unwrap();
    }
    let address = members.addresses()[survivor];
    while mode(address).as_deref() != Some("read-only") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut hello = zk_tests::frames::new_session(20_000);
    hello.read_only = Some(true);
    let mut reader = FrameClient::open(address, &hello).await.unwrap();
    ok(&mut reader, &exists("/a")).await;
    let refused = reader.call(&create("/b", b"during")).await.unwrap();
    assert_eq!(refused.code, ErrorCode::NotReadOnly);
    reader.cut();
    // The two others agree on more meanwhile, and then all three come together.
    members.member(survivor).kill().unwrap();
    for other in others {
        members.member(other).spawn().unwrap();
    }
    let leader = members.wait_for_leader_but(survivor).unwrap();
    let mut writer = client(&members, leader).await;
    ok(&mut writer, &create("/c", b"after")).await;
    writer.close().await.unwrap();
    members.start().unwrap();
    let (sight, _) = assert_all_the_same(&members).await;
    assert!(sight.contains_key("/a") && sight.contains_key("/c") && !sight.contains_key("/b"));
    for (member, process) in members.iter().enumerate() {
        let files = files(&process.data_dir()).unwrap();
        files.assert_gap_free(&format!("member {}", member + 1));
    }
}

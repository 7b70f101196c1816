//! What comes to the election port and the quorum port from nobody who belongs there.

#![allow(clippy::disallowed_methods, reason = "talks to real sockets")]

use std::{net::Ipv4Addr, time::Duration};

use bytes::{BufMut as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use zk_client::Client;
use zk_proto::{
    Encode as _, Epoch, ServerId, Zxid,
    quorum::{
        ElectionAddress, InitialMessage, LearnerInfo, LearnerMessage, PROTOCOL_VERSION, PacketType,
    },
};
use zk_server::Ensemble;

use crate::members::LIMIT;

/// Shorter than any deadline that would close a connection without a look at what was said on it.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A member's election port and its quorum port.
fn ports(ensemble: &Ensemble, member: usize) -> (u16, u16) {
    let known = ensemble.member(member).unwrap().configuration().unwrap();
    let id = ServerId(i64::try_from(member).unwrap() + 1);
    let address = &known.servers()[&id].addresses[0];
    (address.election_port.unwrap(), address.quorum_port)
}

fn hello(id: i64, host: &str, port: u16) -> BytesMut {
    let message = InitialMessage {
        server_id: ServerId(id),
        addresses: vec![ElectionAddress {
            host: host.to_owned(),
            port,
        }],
    };
    message.to_bytes().as_ref().into()
}

/// Says this on a port, which must hang up.
async fn is_hung_up_on(port: u16, said: &[u8], what: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.write_all(said).await.unwrap();
    // Something may come first: a member that is called is told a vote. Reset or closed is all the same.
    let mut answer = Vec::new();
    let ended = timeout(AT_ONCE, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "{what}: it still listens");
}

/// The head of a packet with so much data, of which nothing follows.
fn packet_of(len: i32) -> BytesMut {
    let mut packet = BytesMut::new();
    packet.put_i32(PacketType::FollowerInfo as i32);
    packet.put_i64(0);
    packet.put_i32(len);
    packet
}

#[tokio::test]
async fn strangers_and_impossible_lengths_are_sent_away_and_disturb_nobody() {
    timeout(LIMIT, async {
        let ensemble = Ensemble::start(3).await.unwrap();
        let leader = ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        client.create("/before", "").await.unwrap();
        let epoch = |zxid: Zxid| zxid.epoch();
        let before = client.exists("/before").await.unwrap().unwrap();

        // A server that is in no configuration.
        let (election, _) = ports(&ensemble, 0);
        is_hung_up_on(election, &hello(9, "127.0.0.1", 1), "an unknown id").await;
        is_hung_up_on(election, &hello(-1, "127.0.0.1", 1), "no id").await;
        // Another protocol.
        is_hung_up_on(election, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "a browser").await;
        let mut long = hello(2, "127.0.0.1", 1);
        long[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
        is_hung_up_on(election, &long, "addresses without end").await;
        // Who says that it is a member is taken for it. Only what it says next gives it away; the link is made anew.
        for len in [i32::MAX, 0, -1] {
            let mut vote = hello(3, "127.0.0.1", 1);
            vote.put_i32(len);
            is_hung_up_on(election, &vote, "a vote of impossible length").await;
        }

        let (_, quorum) = ports(&ensemble, leader);
        for len in [i32::MAX, 1025, -2] {
            is_hung_up_on(quorum, &packet_of(len), "a packet of impossible length").await;
        }
        let info = LearnerInfo {
            server_id: ServerId(9),
            protocol_version: PROTOCOL_VERSION,
            config_version: Zxid::ZERO,
        };
        let stranger = LearnerMessage::FollowerInfo {
            accepted_epoch: Epoch(0),
            info,
        };
        let stranger = stranger.to_packet().to_bytes();
        is_hung_up_on(quorum, &stranger, "a learner with an unknown id").await;

        client.create("/after", "").await.unwrap();
        let after = client.exists("/after").await.unwrap().unwrap();
        let (before, after) = (before.czxid, after.czxid);
        assert_eq!(epoch(after), epoch(before), "it is still the same leader");
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

/// An ensemble that others may join calls back who wants to: where it called from, and nowhere else.
#[tokio::test]
async fn names_that_others_send_are_not_looked_up() {
    timeout(LIMIT, async {
        let settings = [("reconfigEnabled", "true")];
        let ensemble = Ensemble::start_with(3, &settings).await.unwrap();
        ensemble.leader().await;
        let (election, _) = ports(&ensemble, 1);
        let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = own.local_addr().unwrap().port();
        let mut caller = TcpStream::connect((Ipv4Addr::LOCALHOST, election))
            .await
            .unwrap();
        caller
            .write_all(&hello(77, "no-such-host.invalid", port))
            .await
            .unwrap();
        drop(caller);
        let (mut called, _) = own.accept().await.unwrap();
        let mut said = BytesMut::new();
        let who = loop {
            assert!(called.read_buf(&mut said).await.unwrap() > 0);
            if let Some(hello) = InitialMessage::take(&mut said).unwrap() {
                break hello.server_id;
            }
        };
        assert_eq!(who, ServerId(2));
    })
    .await
    .unwrap();
}

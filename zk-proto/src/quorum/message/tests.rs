use bytes::Bytes;

use super::*;
use crate::{
    error::DecodeError,
    quorum::{PROTOCOL_VERSION, QuorumPacket},
};

/// The packet behind the message has these bytes after its type and zxid, and means the message.
fn check(message: &LearnerMessage, zxid: i64, data: Option<&[u8]>) {
    let packet = message.to_packet();
    assert_eq!(
        (packet.zxid.0, packet.data.as_deref()),
        (zxid, data),
        "{message:?}"
    );
    assert_eq!(LearnerMessage::from_packet(packet).as_ref(), Ok(message));
}

#[test]
fn the_handshake_has_the_bytes_of_a_live_trace() {
    let info = LearnerInfo {
        server_id: ServerId(1),
        protocol_version: PROTOCOL_VERSION,
        config_version: Zxid(0),
    };
    let data: &[u8] = b"\0\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0";
    let accepted_epoch = Epoch(0);
    check(
        &LearnerMessage::FollowerInfo {
            accepted_epoch,
            info,
        },
        0,
        Some(data),
    );
    check(
        &LearnerMessage::ObserverInfo {
            accepted_epoch,
            info,
        },
        0,
        Some(data),
    );
    let epoch = Epoch(1);
    let protocol_version = PROTOCOL_VERSION;
    let leader_info = LearnerMessage::LeaderInfo {
        epoch,
        protocol_version,
    };
    check(&leader_info, 0x1_0000_0000, Some(b"\0\x01\0\0"));
    for (current_epoch, data) in [(Some(0), b"\0\0\0\0"), (None, b"\xff\xff\xff\xff")] {
        let last_zxid = Zxid(7);
        check(
            &LearnerMessage::AckEpoch {
                last_zxid,
                current_epoch,
            },
            7,
            Some(data),
        );
    }
    check(&LearnerMessage::Diff(Zxid(7)), 7, None);
    let config = Some("version=0".into());
    check(
        &LearnerMessage::NewLeader {
            zxid: Zxid(8),
            config,
        },
        8,
        Some(b"version=0"),
    );
    check(
        &LearnerMessage::NewLeader {
            zxid: Zxid(8),
            config: None,
        },
        8,
        None,
    );
    check(&LearnerMessage::UpToDate, -1, None);
}

#[test]
fn steady_state_messages_survive_their_packets() {
    let (zxid, entry) = (Zxid(9), Bytes::from_static(b"txn"));
    check(
        &LearnerMessage::Proposal {
            zxid,
            entry: entry.clone(),
        },
        9,
        Some(b"txn"),
    );
    check(
        &LearnerMessage::Inform {
            zxid,
            entry: entry.clone(),
        },
        9,
        Some(b"txn"),
    );
    let designated_leader = ServerId(2);
    let inform = LearnerMessage::InformAndActivate {
        zxid,
        designated_leader,
        entry,
    };
    check(&inform, 9, Some(b"\0\0\0\0\0\0\0\x02txn"));
    let commit = LearnerMessage::CommitAndActivate {
        zxid,
        designated_leader,
    };
    check(&commit, 9, Some(b"\0\0\0\0\0\0\0\x02"));
    for bare in [
        LearnerMessage::Ack,
        LearnerMessage::Commit,
        LearnerMessage::Sync,
    ] {
        check(&bare(zxid), 9, None);
    }
    for bare in [LearnerMessage::Trunc, LearnerMessage::Snap] {
        check(&bare(zxid), 9, None);
    }
}

#[test]
fn what_is_said_about_sessions_survives_its_packets() {
    let zxid = Zxid(9);
    let touch = SessionTouch {
        session: SessionId(3),
        timeout_ms: 4,
    };
    let data: &[u8] = b"\0\0\0\0\0\0\0\x03\0\0\0\x04";
    check(
        &LearnerMessage::Ping {
            zxid,
            touched: None,
        },
        9,
        None,
    );
    check(
        &LearnerMessage::Ping {
            zxid,
            touched: Some(vec![]),
        },
        9,
        Some(b""),
    );
    check(
        &LearnerMessage::Ping {
            zxid,
            touched: Some(vec![touch]),
        },
        9,
        Some(data),
    );
    check(&LearnerMessage::Revalidate(touch), -1, Some(data));
    let (session, valid) = (SessionId(3), true);
    let answer = LearnerMessage::Revalidated { session, valid };
    check(&answer, -1, Some(b"\0\0\0\0\0\0\0\x03\x01"));
}

#[test]
fn a_forwarded_request_carries_its_clients_identities() {
    let id = Id {
        scheme: "ip".into(),
        id: "127.0.0.1".into(),
    };
    for identities in [None, Some(vec![]), Some(vec![id])] {
        let request = LearnerMessage::Request {
            session: SessionId(3),
            cxid: Xid(4),
            op: 1,
            body: Bytes::from_static(b"body"),
            identities: identities.clone(),
        };
        check(
            &request,
            -1,
            Some(b"\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\x01body"),
        );
        assert_eq!(request.to_packet().authinfo, identities);
    }
}

#[test]
fn a_packet_that_means_nothing_is_refused() {
    let packet = |kind, data: Option<&'static [u8]>| {
        let data = data.map(Bytes::from_static);
        LearnerMessage::from_packet(QuorumPacket {
            kind,
            zxid: Zxid(0),
            data,
            authinfo: None,
        })
    };
    for kind in [0, 20, -1] {
        assert!(matches!(
            packet(kind, None),
            Err(DecodeError::UnknownValue { .. })
        ));
    }
    for kind in [1, 6, 9, 11, 16, 17, 18, 19] {
        assert!(
            matches!(packet(kind, None), Err(DecodeError::Truncated { .. })),
            "{kind}"
        );
    }
    assert!(packet(5, Some(b"\0")).is_err());
}

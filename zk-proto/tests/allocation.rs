//! Decoding allocates in proportion to the bytes received, whatever lengths and counts they claim.
//!
//! One test alone in its program: what is counted is everything the program allocates meanwhile.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::alloc::System;

use bytes::{Bytes, BytesMut};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zk_proto::{
    Acl, Decode, Encode, OpCode, Reader, Utf8Bytes, Xid, Zxid,
    acl::Id,
    connect::ConnectRequest,
    message::{ClientMessage, ServerMessage},
    op::{
        CreateRequest, DeleteRequest, GetChildrenResponse, MultiOp, MultiRequest, MultiResponse,
        MultiResult, Request, Response, SetWatchesRequest,
    },
    persist::{AclEntry, Adler32, SessionEntry, SnapshotCursor, SnapshotStep},
    quorum::{LearnerMessage, Notification, QuorumPacket, SessionTouch, take_packet},
    txn::{CloseSessionTxn, Txn, TxnLogEntry},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most bytes in memory for a byte received. A string of four bytes on the wire takes 32 in memory, a part of a
/// multi of nine takes 100, and a vector that grows leaves smaller ones behind.
const FACTOR: usize = 64;

/// How many bytes are allocated while this runs.
fn allocated(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    region.change().bytes_allocated
}

/// Everything that decodes, on the same bytes.
fn decode_all(bytes: &Bytes) {
    let _ = ConnectRequest::from_bytes(bytes.clone());
    let _ = ClientMessage::decode_later(bytes.clone());
    let _ = ServerMessage::decode_later(bytes.clone());
    for op in OpCode::ALL {
        let _ = Request::decode(*op, &mut Reader::new(bytes.clone()));
        let _ = Response::decode(*op, &mut Reader::new(bytes.clone()));
        let _ = Txn::decode(op.code(), &mut Reader::new(bytes.clone()));
    }
    let _ = TxnLogEntry::from_bytes(bytes.clone());
    let _ = <Vec<SessionEntry>>::from_bytes(bytes.clone());
    let _ = <Vec<AclEntry>>::from_bytes(bytes.clone());
    let _ = QuorumPacket::from_bytes(bytes.clone()).map(LearnerMessage::from_packet);
    let _ = Notification::from_bytes(bytes.clone());
    let _ = take_packet(&mut BytesMut::from(&bytes[..]), usize::MAX);
    let mut snapshot = SnapshotCursor::new(Adler32::new(), usize::MAX);
    snapshot.feed(bytes.clone());
    while let Ok(SnapshotStep::Session(_) | SnapshotStep::Acl(_) | SnapshotStep::Node(_)) =
        snapshot.next_step()
    {}
}

/// Records with vectors of every kind in them, nested ones too.
fn encodings() -> Vec<Bytes> {
    let path = Utf8Bytes::from("/a/path");
    let paths = vec![path.clone(); 8];
    let create = CreateRequest {
        path: path.clone(),
        data: Some(Bytes::from_static(b"data")),
        acl: [Acl::open(), Acl::read_only(), Acl::creator_all()].concat(),
        flags: 0,
    };
    let delete = MultiOp::Delete(DeleteRequest {
        path: path.clone(),
        version: -1,
    });
    let multi = MultiRequest {
        ops: vec![MultiOp::Create(create.clone()), delete],
    };
    let watches = SetWatchesRequest {
        relative_zxid: Zxid(1),
        data: paths.clone(),
        exist: paths.clone(),
        child: paths.clone(),
    };
    let children = GetChildrenResponse {
        children: paths.clone(),
    };
    let results = MultiResponse {
        results: vec![MultiResult::GetChildren(children), MultiResult::Delete],
    };
    let closed = Txn::CloseSession(Some(CloseSessionTxn {
        paths_to_delete: paths,
    }));
    let touch = SessionTouch {
        session: zk_proto::SessionId(1),
        timeout_ms: 2,
    };
    let ping = LearnerMessage::Ping {
        zxid: Zxid(1),
        touched: Some(vec![touch; 8]),
    };
    let request = LearnerMessage::Request {
        session: zk_proto::SessionId(1),
        cxid: Xid(1),
        op: 1,
        body: create.to_bytes(),
        identities: Some(vec![
            Id {
                scheme: path.clone(),
                id: path
            };
            4
        ]),
    };
    vec![
        create.to_bytes(),
        multi.to_bytes(),
        watches.to_bytes(),
        results.to_bytes(),
        Txn::Multi(vec![closed.clone(), closed]).to_bytes(),
        ping.to_packet().to_bytes(),
        request.to_packet().to_bytes(),
        vec![
            AclEntry {
                id: 1,
                acl: Acl::open()
            };
            4
        ]
        .to_bytes(),
    ]
}

#[test]
fn a_claimed_length_reserves_nothing() {
    let mut inputs = encodings();
    inputs.push(Bytes::from(vec![0xff; 512]));
    inputs.push(Bytes::from(vec![0; 512]));
    inputs.push(Bytes::from([0, 0, 0, 64].repeat(128)));
    // Once for whatever is allocated but once, as the tables behind the checksums.
    inputs.iter().for_each(decode_all);
    let decoders = 3 * OpCode::ALL.len() + 12;
    for input in inputs {
        let most = FACTOR * decoders * (input.len() + 64);
        for at in 0..input.len() {
            for claim in [i32::MAX, 0x00ff_ffff, 0x7000_0000] {
                let mut bytes = BytesMut::from(&input[..]);
                let end = input.len().min(at + 4);
                bytes[at..end].copy_from_slice(&claim.to_be_bytes()[..end - at]);
                let bytes = bytes.freeze();
                let spent = allocated(|| decode_all(&bytes));
                assert!(spent <= most, "{spent} bytes for {} at {at}", input.len());
            }
        }
    }
}

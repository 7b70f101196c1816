//! What the fuzz targets run: each takes arbitrary bytes and checks one property of whatever decodes.
//!
//! `fuzz/` hands them to libFuzzer; `tests/fuzzing.rs` runs them over the checked-in corpus and inputs made from it.
//! The property is always: what decodes encodes to something that decodes to the same, in exactly the length
//! announced. Streams are also read in pieces, which must make no difference.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};

use crate::{
    connect::{ConnectRequest, ConnectResponse},
    error::DecodeError,
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    jute::{Decode, Encode, Reader},
    op::{Request, Response},
    op_code::OpCode,
    persist::{
        AclEntry, Adler32, FileHeader, LogCursor, LogDamage, LogStep, NodeRecord, SessionEntry,
        SnapshotCursor, SnapshotStep, SnapshotTrailer, find_record, put_record,
    },
    quorum::{InitialMessage, LearnerMessage, Notification, take_packet},
    txn::TxnLogEntry,
};

/// The body of a fuzz target.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("request", request),
    ("response", response),
    ("connect", connect),
    ("txn", txn),
    ("log", log),
    ("snapshot", snapshot),
    ("quorum_packet", quorum_packet),
    ("notification", notification),
];

/// More than any input has.
const LIMIT: usize = 1 << 16;

fn identity<T: Encode + PartialEq + Debug>(
    bytes: Bytes,
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
) {
    let Ok(value) = decode(bytes) else {
        return;
    };
    let encoded = value.to_bytes();
    assert_eq!(encoded.len(), value.encoded_len(), "{value:?}");
    assert_eq!(decode(encoded).as_ref(), Ok(&value));
}

/// A frame's body from a client: header and request.
pub fn request(data: &[u8]) {
    let mut input = Reader::new(Bytes::copy_from_slice(data));
    let Ok(RequestHeader { op, .. }) = Decode::decode(&mut input) else {
        return;
    };
    if let Some(op) = OpCode::from_i32(op) {
        identity(input.take_rest(), |body| {
            Request::decode(op, &mut Reader::new(body))
        });
    }
}

/// The operation asked for, and a frame's body from the server: header and reply, or an event.
pub fn response(data: &[u8]) {
    let mut input = Reader::new(Bytes::copy_from_slice(data));
    let (Ok(op), Ok(ReplyHeader { .. })) = (input.i32(), Decode::decode(&mut input)) else {
        return;
    };
    if let Some(op) = OpCode::from_i32(op) {
        identity(input.take_rest(), |body| {
            Response::decode(op, &mut Reader::new(body))
        });
    }
}

/// The first frame's body, of either side.
pub fn connect(data: &[u8]) {
    identity(Bytes::copy_from_slice(data), ConnectRequest::from_bytes);
    identity(Bytes::copy_from_slice(data), ConnectResponse::from_bytes);
}

/// A log record's payload.
pub fn txn(data: &[u8]) {
    identity(Bytes::copy_from_slice(data), TxnLogEntry::from_bytes);
}

/// A log after its header.
pub fn log(data: &[u8]) {
    let (whole, end) = walk_log(data, data.len());
    assert_eq!(walk_log(data, 1 + data.len() / 5), (whole.clone(), end));
    let mut written = BytesMut::new();
    whole
        .iter()
        .for_each(|payload| put_record(&mut written, payload));
    assert!(data.starts_with(&written));
    let offset = end.unwrap_or_else(|damage| damage.offset);
    assert_eq!(offset, (FileHeader::LEN + written.len()) as u64);
    if !whole.is_empty() {
        assert_eq!(find_record(data), Some(0));
    }
    let header = FileHeader::decode_log(&mut Reader::new(Bytes::copy_from_slice(data)));
    assert!(header.is_err() || data.starts_with(b"ZKLG"));
}

/// The payloads, and where or why the walk ended.
fn walk_log(data: &[u8], piece: usize) -> (Vec<Bytes>, Result<u64, LogDamage>) {
    let mut cursor = LogCursor::new((FileHeader::LEN + data.len()) as u64);
    let (mut rest, mut found) = (data, Vec::new());
    loop {
        match cursor.next_record() {
            Ok(LogStep::Record(record)) => found.push(record.payload),
            Ok(LogStep::End) => return (found, Ok(cursor.offset())),
            Err(damage) => return (found, Err(damage)),
            Ok(LogStep::NeedsBytes(needed)) => {
                assert!(
                    needed > 0 && needed <= rest.len(),
                    "the file has no such bytes"
                );
                let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
                cursor.feed(now);
                rest = later;
            }
        }
    }
}

/// A snapshot after its header.
pub fn snapshot(data: &[u8]) {
    let whole = walk_snapshot(data, data.len());
    assert_eq!(walk_snapshot(data, 1 + data.len() / 5), whole);
    let header = FileHeader::decode_snapshot(&mut Reader::new(Bytes::copy_from_slice(data)));
    assert!(header.is_err() || data.starts_with(b"ZKSN"));
}

/// Everything in a snapshot, each part encoded and decoded on the way, and how it ended.
fn walk_snapshot(
    data: &[u8],
    piece: usize,
) -> (Vec<SnapshotStep>, Result<SnapshotTrailer, DecodeError>) {
    let mut cursor = SnapshotCursor::new(Adler32::new(), LIMIT);
    let (mut rest, mut found) = (data, Vec::new());
    loop {
        match cursor.next_step() {
            Err(error) => return (found, Err(error)),
            Ok(SnapshotStep::End) => break,
            Ok(SnapshotStep::NeedsBytes(needed)) if needed > rest.len() => {
                return (found, Err(DecodeError::Truncated { needed: 0 }));
            }
            Ok(SnapshotStep::NeedsBytes(_)) => {
                let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
                cursor.feed(Bytes::copy_from_slice(now));
                rest = later;
            }
            Ok(step) => {
                match &step {
                    SnapshotStep::Session(session) => {
                        identity(session.to_bytes(), SessionEntry::from_bytes)
                    }
                    SnapshotStep::Acl(acl) => identity(acl.to_bytes(), AclEntry::from_bytes),
                    SnapshotStep::Node(node) => identity(node.to_bytes(), NodeRecord::from_bytes),
                    SnapshotStep::NeedsBytes(_) | SnapshotStep::End => {}
                }
                found.push(step);
            }
        }
    }
    let (mut checksum, behind) = cursor.finish();
    let mut end = BytesMut::from(&behind[..]);
    end.extend_from_slice(rest);
    let trailer = SnapshotTrailer::take(&mut Reader::new(end.freeze()), &mut checksum);
    (found, trailer)
}

/// Packets back to back.
pub fn quorum_packet(data: &[u8]) {
    let mut whole = BytesMut::from(data);
    let mut arrived = BytesMut::new();
    let mut pieces = data.chunks(1 + data.len() / 7);
    while let Ok(Some(packet)) = take_packet(&mut whole, LIMIT) {
        let again = loop {
            match take_packet(&mut arrived, LIMIT) {
                Ok(Some(packet)) => break packet,
                Ok(None) => arrived.extend_from_slice(pieces.next().unwrap_or_default()),
                Err(error) => unreachable!("{error} for what was a packet"),
            }
        };
        assert_eq!(again, packet);
        assert_eq!(packet.to_bytes().len(), packet.encoded_len());
        if let Ok(message) = LearnerMessage::from_packet(packet) {
            assert_eq!(
                LearnerMessage::from_packet(message.to_packet()).as_ref(),
                Ok(&message)
            );
        }
    }
}

/// The election port: a hello, frames, and a notification by itself.
pub fn notification(data: &[u8]) {
    let take = |bytes: Bytes| {
        let hello = InitialMessage::take(&mut BytesMut::from(&bytes[..]))?;
        hello.ok_or(DecodeError::Truncated { needed: 1 })
    };
    identity(Bytes::copy_from_slice(data), take);
    identity(Bytes::copy_from_slice(data), |bytes| {
        Notification::decode(&mut Reader::new(bytes))
    });
    let mut stream = BytesMut::from(data);
    while let Ok(Some(body)) = take_frame(&mut stream, LIMIT) {
        let Ok(vote) = Notification::decode(&mut Reader::new(body)) else {
            continue;
        };
        let mut frame = BytesMut::new();
        put_frame(&mut frame, &[&vote]);
        assert_eq!(frame.len(), 4 + vote.encoded_len());
    }
}

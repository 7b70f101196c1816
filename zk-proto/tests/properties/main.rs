//! Properties of every record: what is encoded decodes to the same, in exactly the length announced; what arrives
//! may be anything and never does more harm than an error.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

mod sample;

use bytes::{Bytes, BytesMut};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseResult, TestRunner},
};
use zk_proto::{
    Decode, DecodeError, Encode, OpCode, Reader,
    connect::{ConnectRequest, ConnectResponse},
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    message::{ClientMessage, ServerMessage},
    op::*,
    persist::{
        AclEntry, Adler32, DigestSection, FileHeader, LogCursor, LogStep, NodeRecord, Seal,
        SessionEntry, SnapshotCursor, SnapshotStep, SnapshotTrailer, find_record,
    },
    quorum::*,
    stat::StatPersisted,
    txn::*,
    watch::WatcherEvent,
    *,
};

use crate::sample::Sample;

/// Runs a property over so many values drawn for it.
fn over<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> TestCaseResult) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&strategy, property);
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Where to change bytes of an encoding, and to what.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

fn damaged(bytes: &Bytes, damage: &[(prop::sample::Index, u8)]) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    if !bytes.is_empty() {
        damage.iter().for_each(|(at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        });
    }
    bytes.freeze()
}

/// The properties of a type that is read by `decode`.
fn check_with<T, D>(decode: D)
where
    T: Sample + Encode + PartialEq,
    D: Fn(&T, Bytes) -> Result<T, DecodeError>,
{
    let name = std::any::type_name::<T>();
    over(64, (T::any(), damage()), |(value, damage)| {
        let bytes = value.to_bytes();
        prop_assert_eq!(bytes.len(), value.encoded_len(), "{}", name);
        let decoded = decode(&value, bytes.clone());
        prop_assert_eq!(decoded.as_ref(), Ok(&value), "{}", name);
        // What decodes at all means the same once it is encoded again.
        for bytes in [damaged(&bytes, &damage), bytes.slice(..bytes.len() / 2)] {
            let Ok(other) = decode(&value, bytes) else {
                continue;
            };
            let again = decode(&value, other.to_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&other), "{}", name);
        }
        Ok(())
    });
    over(
        64,
        (T::any(), vec(any::<u8>(), 0..128)),
        |(value, bytes)| {
            let _ = decode(&value, bytes.into());
            Ok(())
        },
    );
}

/// The properties of a record, one after another.
macro_rules! check {
    ($($record:ty),* $(,)?) => {
        $( check_with::<$record, _>(|_, bytes| <$record>::from_bytes(bytes)); )*
    };
}

#[test]
fn records_of_the_client_port() {
    check![
        Acl,
        Id,
        Stat,
        RequestHeader,
        ReplyHeader,
        ConnectRequest,
        ConnectResponse,
        WatcherEvent,
        CreateRequest,
        CreateTtlRequest,
        CreateResponse,
        Create2Response,
        DeleteRequest,
        DeleteContainerRequest,
        ExistsRequest,
        StatResponse,
        GetDataRequest,
        GetDataResponse,
        SetDataRequest,
        GetAclRequest,
        GetAclResponse,
        SetAclRequest,
        GetChildrenRequest,
        GetChildrenResponse,
        GetChildren2Response,
        GetAllChildrenNumberRequest,
        GetAllChildrenNumberResponse,
        GetEphemeralsRequest,
        GetEphemeralsResponse,
        SyncRequest,
        SyncResponse,
        CheckVersionRequest,
        ReconfigRequest,
        CheckWatchesRequest,
        RemoveWatchesRequest,
        AddWatchRequest,
        SetWatchesRequest,
        SetWatches2Request,
        AuthRequest,
        SaslRequest,
        SaslResponse,
        ClientInfo,
        WhoAmIResponse,
        ErrorResponse,
        MultiRequest,
        MultiResponse,
    ];
}

#[test]
fn records_of_log_and_snapshot() {
    check![
        TxnHeader,
        TxnDigest,
        CreateTxn,
        CreateContainerTxn,
        CreateTtlTxn,
        DeleteTxn,
        SetDataTxn,
        SetAclTxn,
        CheckVersionTxn,
        CreateSessionTxn,
        CloseSessionTxn,
        ErrorTxn,
        RawTxn,
        MultiTxn,
        TxnLogEntry,
        StatPersisted,
        FileHeader,
        SessionEntry,
        AclEntry,
        NodeRecord,
        Seal,
        DigestSection,
    ];
}

#[test]
fn records_of_the_quorum() {
    check![
        QuorumPacket,
        QuorumAuthPacket,
        LearnerInfo,
        SessionTouch,
        Notification
    ];
    check_with::<InitialMessage, _>(|_, bytes| {
        let taken = InitialMessage::take(&mut BytesMut::from(&bytes[..]))?;
        taken.ok_or(DecodeError::Truncated { needed: 1 })
    });
}

#[test]
fn primitives_and_vectors() {
    check![
        bool,
        i32,
        i64,
        Option<Bytes>,
        Utf8Bytes,
        Option<Utf8Bytes>,
        Vec<Acl>,
        Option<Vec<Id>>,
        Vec<Vec<Utf8Bytes>>
    ];
}

#[test]
fn requests_by_operation() {
    check_with::<Request, _>(|request, bytes| {
        Request::decode(request.op_code(), &mut Reader::new(bytes))
    });
}

/// An operation whose answer is of this kind.
fn answered(response: &Response) -> OpCode {
    match response {
        Response::Empty => OpCode::Delete,
        Response::Create(_) => OpCode::Create,
        Response::Create2(_) => OpCode::Create2,
        Response::Stat(_) => OpCode::Exists,
        Response::GetData(_) => OpCode::GetData,
        Response::GetAcl(_) => OpCode::GetAcl,
        Response::GetChildren(_) => OpCode::GetChildren,
        Response::GetChildren2(_) => OpCode::GetChildren2,
        Response::GetAllChildrenNumber(_) => OpCode::GetAllChildrenNumber,
        Response::GetEphemerals(_) => OpCode::GetEphemerals,
        Response::Sync(_) => OpCode::Sync,
        Response::Multi(_) => OpCode::Multi,
        Response::Error(_) => OpCode::AddWatch,
        Response::Sasl(_) => OpCode::Sasl,
        Response::WhoAmI(_) => OpCode::WhoAmI,
    }
}

#[test]
fn responses_by_operation() {
    check_with::<Response, _>(|response, bytes| {
        Response::decode(answered(response), &mut Reader::new(bytes))
    });
}

#[test]
fn transactions_by_type() {
    check_with::<Txn, _>(|txn, bytes| Txn::decode(txn.op_code().code(), &mut Reader::new(bytes)));
}

#[test]
fn learner_messages_survive_their_packets() {
    over(512, LearnerMessage::any(), |message| {
        let mut stream = BytesMut::new();
        message.to_packet().encode(&mut stream);
        let packet = take_packet(&mut stream, 1 << 20).unwrap().unwrap();
        prop_assert_eq!(LearnerMessage::from_packet(packet), Ok(message));
        Ok(())
    });
    over(512, QuorumPacket::any(), |mut packet| {
        packet.kind = packet.kind.rem_euclid(21);
        let Ok(message) = LearnerMessage::from_packet(packet) else {
            return Ok(());
        };
        prop_assert_eq!(
            LearnerMessage::from_packet(message.to_packet()),
            Ok(message)
        );
        Ok(())
    });
}

#[test]
fn messages_survive_their_frames() {
    over(256, (Xid::any(), Request::any()), |(xid, request)| {
        let message = ClientMessage::request(xid, &request);
        let mut wire = BytesMut::new();
        put_frame(&mut wire, &[&message]);
        prop_assert_eq!(wire.len(), 4 + message.encoded_len());
        let body = take_frame(&mut wire, usize::MAX).unwrap().unwrap();
        prop_assert_eq!(ClientMessage::decode_later(body), Ok(message));
        Ok(())
    });
    over(
        256,
        (ReplyHeader::any(), Response::any()),
        |(header, response)| {
            let message = ServerMessage::reply(header, &response);
            let op = answered(&response);
            let ServerMessage::Reply { body, .. } = &message else {
                panic!("a reply");
            };
            prop_assert_eq!(ServerMessage::reply_body(op, body.clone()), Ok(response));
            if header.xid != Xid::NOTIFICATION {
                prop_assert_eq!(ServerMessage::decode_later(message.to_bytes()), Ok(message));
            }
            Ok(())
        },
    );
}

#[test]
fn streams_of_anything_end_in_an_error_or_a_wait() {
    over(512, vec(any::<u8>(), 0..256), |bytes| {
        let stream = || BytesMut::from(&bytes[..]);
        let mut frames = stream();
        while let Ok(Some(_)) = take_frame(&mut frames, 128) {}
        let mut packets = stream();
        while let Ok(Some(_)) = take_packet(&mut packets, 128) {}
        let _ = InitialMessage::take(&mut stream());
        let _ = find_record(&bytes);

        let mut log = LogCursor::new((FileHeader::LEN + bytes.len()) as u64);
        log.feed(&bytes);
        while let Ok(LogStep::Record(_)) = log.next_record() {}

        let mut snapshot = SnapshotCursor::new(Adler32::new(), 128);
        snapshot.feed(stream().freeze());
        while let Ok(step) = snapshot.next_step() {
            if matches!(step, SnapshotStep::NeedsBytes(_) | SnapshotStep::End) {
                break;
            }
        }
        let mut trailer = Reader::new(stream().freeze());
        let _ = SnapshotTrailer::take(&mut trailer, &mut Adler32::new());
        Ok(())
    });
}

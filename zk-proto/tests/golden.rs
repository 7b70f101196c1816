//! Frames of live conversations with Apache ZooKeeper: each decodes into its record and encodes back byte for byte.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use zk_proto::{
    Decode, DecodeError, Encode, OpCode,
    connect::{ConnectRequest, ConnectResponse},
    message::{ClientMessage, ServerMessage},
};

const VECTORS: &str = include_str!("../testdata/client.txt");

/// A line of the file: what a frame is and what is in it.
struct Vector {
    name: &'static str,
    kind: &'static str,
    op: i32,
    body: Bytes,
}

fn vectors() -> impl Iterator<Item = Vector> {
    let lines = VECTORS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, kind, op, body] = fields[..] else {
            panic!("not four fields: {line}");
        };
        let op = op.parse().unwrap();
        let body = unhex(body);
        Vector {
            name,
            kind,
            op,
            body,
        }
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// What becomes of a body.
enum Fate {
    /// It decodes, and encodes back to the same bytes.
    Identical,
    /// It decodes, and encodes to these bytes instead.
    Becomes(&'static str),
    /// It does not decode.
    Undecodable(DecodeError),
}

/// The requests that were made odd on purpose.
fn fate_of_request(name: &str) -> Fate {
    let truncated = |needed| Fate::Undecodable(DecodeError::Truncated { needed });
    let unknown = |what, value| Fate::Undecodable(DecodeError::UnknownValue { what, value });
    match name {
        // A null vector reads as an empty one, as does one of length -5.
        "create.invalid-acl-null" => Fate::Becomes("000000022f62000000000000000000000000"),
        "create.acl-length-minus-5" => Fate::Becomes("000000032f7a7a000000000000000000000000"),
        "set-acl.null" => Fate::Becomes("000000022f6100000000ffffffff"),
        "set-watches.null-lists" => Fate::Becomes("0000000000000083000000000000000000000000"),
        "exists.trailing-bytes" => Fate::Becomes("000000022f6100"),
        // Apache echoes the null path of a sync; no client sends one. It refuses the others, too.
        "get-data.null-path" | "sync.null-path" => Fate::Undecodable(DecodeError::NullString),
        "get-data.truncated" => truncated(3),
        "create.truncated" => truncated(4),
        "create.data-length-minus-2" => Fate::Undecodable(DecodeError::NegativeLength(-2)),
        "create-session" => unknown("operation", -10),
        "unknown-opcode" => unknown("operation", 99),
        "add-watch.bad-mode" => unknown("watch mode", 7),
        "check-watches.bad-type" => unknown("watcher type", 9),
        _ => Fate::Identical,
    }
}

fn fate_of_reply(name: &str) -> Fate {
    match name {
        "sync.null-path" => Fate::Undecodable(DecodeError::NullString),
        _ => Fate::Identical,
    }
}

fn check<T: Encode>(vector: &Vector, body: &Bytes, decoded: Result<T, DecodeError>, fate: &Fate) {
    let name = vector.name;
    match (fate, decoded) {
        (Fate::Undecodable(expected), Err(error)) => assert_eq!(error, *expected, "{name}"),
        (Fate::Undecodable(_), Ok(_)) => panic!("{name} decodes"),
        (_, Err(error)) => panic!("{name} does not decode: {error}"),
        (fate, Ok(record)) => {
            let expected = match fate {
                Fate::Becomes(hex) => unhex(hex),
                _ => body.clone(),
            };
            assert_eq!(record.to_bytes(), expected, "{name}");
            assert_eq!(record.encoded_len(), expected.len(), "{name}");
        }
    }
}

fn check_request(vector: &Vector) {
    let message = ClientMessage::decode_later(vector.body.clone()).unwrap();
    assert_eq!(message.to_bytes(), vector.body, "{}", vector.name);
    let ClientMessage::Request { header, body } = message else {
        panic!("{} is no request", vector.name);
    };
    assert_eq!(header.op, vector.op, "{}", vector.name);
    let operation = OpCode::from_i32(header.op).ok_or_else(|| DecodeError::UnknownValue {
        what: "operation",
        value: header.op.into(),
    });
    let request = operation.and_then(|op| ClientMessage::request_body(op, body.clone()));
    check(vector, &body, request, &fate_of_request(vector.name));
}

fn check_reply(vector: &Vector) {
    let message = ServerMessage::decode_later(vector.body.clone()).unwrap();
    assert_eq!(message.to_bytes(), vector.body, "{}", vector.name);
    let ServerMessage::Reply { header, body } = message else {
        panic!("{} is no reply", vector.name);
    };
    // A refusal has no body, but for two oddities.
    let odd = ["multi-read.writes", "sasl.wrong.response"].contains(&vector.name);
    assert_eq!(odd, header.err != 0 && !body.is_empty(), "{}", vector.name);
    if header.err != 0 && !odd {
        return;
    }
    let op = OpCode::from_i32(vector.op).unwrap();
    let reply = ServerMessage::reply_body(op, body.clone());
    check(vector, &body, reply, &fate_of_reply(vector.name));
}

fn check_event(vector: &Vector) {
    let message = ServerMessage::decode_later(vector.body.clone()).unwrap();
    assert!(
        matches!(message, ServerMessage::Event { .. }),
        "{}",
        vector.name
    );
    assert_eq!(message.to_bytes(), vector.body, "{}", vector.name);
}

#[test]
fn frames_of_a_live_server_decode_and_encode_back() {
    let mut counts = BTreeMap::new();
    for vector in vectors() {
        *counts.entry(vector.kind).or_insert(0) += 1;
        let body = vector.body.clone();
        match vector.kind {
            "connect-request" => {
                let decoded = ConnectRequest::from_bytes(body.clone());
                check(&vector, &body, decoded, &Fate::Identical);
            }
            "connect-response" => {
                let decoded = ConnectResponse::from_bytes(body.clone());
                check(&vector, &body, decoded, &Fate::Identical);
            }
            "request" => check_request(&vector),
            "reply" => check_reply(&vector),
            "event" => check_event(&vector),
            kind => panic!("{}: unknown kind {kind}", vector.name),
        }
    }
    let least = BTreeMap::from([
        ("connect-request", 9),
        ("connect-response", 9),
        ("event", 41),
        ("reply", 186),
        ("request", 186),
    ]);
    for (kind, least) in least {
        assert!(
            counts[kind] >= least,
            "only {} {kind} vectors",
            counts[kind]
        );
    }
}

#[test]
fn every_operation_of_a_client_is_among_the_vectors() {
    let seen = |kind, op: OpCode| vectors().any(|v| v.kind == kind && v.op == op.code());
    let absent = OpCode::ALL
        .iter()
        .filter(|op| !seen("request", **op) || !seen("reply", **op));
    let absent: Vec<_> = absent.collect();
    assert_eq!(absent, [&OpCode::Notification, &OpCode::Error]);
}

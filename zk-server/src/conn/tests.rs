//! Bytes in, events out, at every way to cut the bytes.

use zk_proto::{
    Encode, ErrorCode, OpCode, Password, SessionId, Xid, Zxid,
    header::RequestHeader,
    op::{AuthRequest, GetDataRequest, Request, Secret, SetDataRequest, SyncRequest},
};

use super::*;

fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(ms),
        wall_ms: 0,
    }
}

fn connect_request() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 10_000,
        session_id: SessionId::NONE,
        password: Password::zero(),
        read_only: Some(false),
    }
}

fn frame_of(parts: &[&dyn Encode]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::put_frame(&mut out, parts);
    out
}

fn request(xid: i32, request: &Request) -> BytesMut {
    let op = request.op_code().code();
    frame_of(&[&RequestHeader { xid: Xid(xid), op }, request])
}

fn get(xid: i32) -> (BytesMut, Routed) {
    let get = Request::GetData(GetDataRequest {
        path: "/a".into(),
        watch: false,
    });
    let routed = Routed::Read {
        xid: Xid(xid),
        request: get.clone(),
    };
    (request(xid, &get), routed)
}

fn set(xid: i32) -> (BytesMut, Routed) {
    let set = Request::SetData(SetDataRequest {
        path: "/a".into(),
        data: Some(Bytes::from_static(b"x")),
        version: -1,
    });
    let routed = Routed::Peer {
        xid: Xid(xid),
        request: Some(set.clone()),
    };
    (request(xid, &set), routed)
}

fn new() -> Connection {
    Connection::new(ConnLimits::default(), at(0))
}

/// A connection with a session; one request, the connect request, is answered.
fn open() -> Connection {
    let mut conn = new();
    let mut input = frame_of(&[&connect_request()]);
    conn.receive(at(0), &mut input).unwrap();
    assert!(matches!(
        conn.next_event(0, |_| true),
        Some(ConnEvent::Connect(_))
    ));
    conn.established(Duration::from_secs(10));
    conn
}

/// Everything that comes out when the peer has answered all it was given.
fn events(conn: &mut Connection) -> Vec<ConnEvent> {
    std::iter::from_fn(|| conn.next_event(u64::MAX, |_| true)).collect()
}

#[test]
fn every_way_to_cut_the_bytes_gives_the_same_events() {
    let mut wire = frame_of(&[&connect_request()]);
    let expected: Vec<_> = [get(1), set(2), get(3), set(4)]
        .into_iter()
        .map(|(bytes, routed)| {
            wire.extend_from_slice(&bytes);
            ConnEvent::Request(routed)
        })
        .collect();
    for first in 0..=wire.len() {
        let mut conn = new();
        let mut input = BytesMut::new();
        let mut seen = Vec::new();
        for part in [&wire[..first], &wire[first..]] {
            input.extend_from_slice(part);
            conn.receive(at(1), &mut input).unwrap();
            if !conn.is_open()
                && let Some(event) = conn.next_event(0, |_| true)
            {
                assert_eq!(
                    event,
                    ConnEvent::Connect(connect_request()),
                    "cut at {first}"
                );
                conn.established(Duration::from_secs(10));
                conn.receive(at(1), &mut input).unwrap();
            }
            seen.extend(events(&mut conn));
        }
        assert_eq!(seen, expected, "cut at {first}");
        assert!(input.is_empty());
    }
}

#[test]
fn bytes_one_at_a_time_are_no_different() {
    let mut conn = open();
    let mut input = BytesMut::new();
    let (bytes, routed) = get(1);
    for (i, byte) in bytes.iter().enumerate() {
        assert_eq!(conn.next_event(u64::MAX, |_| true), None, "after {i} bytes");
        input.extend_from_slice(&[*byte]);
        conn.receive(at(1), &mut input).unwrap();
    }
    assert_eq!(
        conn.next_event(u64::MAX, |_| true),
        Some(ConnEvent::Request(routed))
    );
}

/// The xid of the next request, and whether it goes to the peer.
fn next(conn: &mut Connection, answered: u64) -> Option<(i32, bool)> {
    match conn.next_event(answered, |_| true)? {
        ConnEvent::Request(Routed::Read { xid, .. }) => Some((xid.0, false)),
        ConnEvent::Request(Routed::Peer { xid, .. }) => Some((xid.0, true)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_follows_what_it_waits_for_to_the_peer_and_else_stays() {
    let mut conn = open();
    let mut input = BytesMut::new();
    for (bytes, _) in [get(1), set(2), get(3), set(4)] {
        input.extend_from_slice(&bytes);
    }
    conn.receive(at(1), &mut input).unwrap();
    assert_eq!(next(&mut conn, 1), Some((1, false)));
    assert_eq!(next(&mut conn, 1), Some((2, true)));
    assert_eq!(next(&mut conn, 1), Some((3, true)));
    assert_eq!(next(&mut conn, 1), Some((4, true)));
    for (answered, to_peer) in [(2, true), (4, true), (6, false)] {
        conn.receive(at(1), &mut get(5).0).unwrap();
        assert_eq!(next(&mut conn, answered), Some((5, to_peer)), "{answered}");
    }
}

#[test]
fn auth_and_refusals_keep_their_place_too() {
    let auth = Request::Auth(AuthRequest {
        kind: 0,
        scheme: "digest".into(),
        auth: Secret(Some(Bytes::from_static(b"a:b"))),
    });
    let unknown = RequestHeader {
        xid: Xid(7),
        op: 999,
    };
    for bytes in [request(-4, &auth), frame_of(&[&unknown])] {
        let mut conn = open();
        let (mut input, _) = set(1);
        input.extend_from_slice(&bytes);
        conn.receive(at(1), &mut input).unwrap();
        assert!(conn.next_event(1, |_| true).is_some());
        assert_eq!(conn.next_event(1, |_| true), None);
        assert!(conn.next_event(2, |_| true).is_some());
    }
}

#[test]
fn sync_goes_to_the_peer() {
    let mut conn = open();
    let sync = Request::Sync(SyncRequest { path: "/".into() });
    conn.receive(at(1), &mut request(1, &sync)).unwrap();
    assert!(matches!(
        conn.next_event(0, |_| true),
        Some(ConnEvent::Request(Routed::Peer { .. }))
    ));
}

#[test]
fn what_no_client_may_send_is_refused_and_ends_the_connection() {
    for op in [0, 10, 13, 20, 23, 99, 108, -1, -10, -12, 500, 1000] {
        let mut conn = open();
        let mut input = frame_of(&[&RequestHeader { xid: Xid(3), op }]);
        conn.receive(at(1), &mut input).unwrap();
        let expected = Refusal {
            xid: Xid(3),
            code: ErrorCode::Unimplemented,
            close: true,
        };
        let refused = ConnEvent::Request(Routed::Refused(expected));
        assert_eq!(
            conn.next_event(u64::MAX, |_| true),
            Some(refused),
            "op {op}"
        );
    }
}

#[test]
fn an_undecodable_record_is_an_answer_and_not_the_end() {
    let mut conn = open();
    let header = RequestHeader {
        xid: Xid(3),
        op: OpCode::GetData.code(),
    };
    let mut input = frame_of(&[&header, &7_i32]);
    let (more, routed) = get(4);
    input.extend_from_slice(&more);
    conn.receive(at(1), &mut input).unwrap();
    let expected = Refusal {
        xid: Xid(3),
        code: ErrorCode::MarshallingError,
        close: false,
    };
    let both = [
        ConnEvent::Request(Routed::Refused(expected)),
        ConnEvent::Request(routed),
    ];
    assert_eq!(events(&mut conn), both);
    let multi = RequestHeader {
        xid: Xid(5),
        op: OpCode::Multi.code(),
    };
    conn.receive(at(1), &mut frame_of(&[&multi])).unwrap();
    let undecoded = Routed::Peer {
        xid: Xid(5),
        request: None,
    };
    assert_eq!(events(&mut conn), [ConnEvent::Request(undecoded)]);
}

#[test]
fn bad_frames_end_the_connection() {
    let cap = i32::try_from(MAX_BUFFER_BEFORE_SESSION).unwrap();
    let max = i32::try_from(frame::MAX_BUFFER).unwrap();
    for (is_open, len) in [
        (false, cap + 1),
        (false, max),
        (true, max + 1),
        (true, -1),
        (false, -1),
    ] {
        let mut conn = if is_open { open() } else { new() };
        let mut input = BytesMut::from(&len.to_be_bytes()[..]);
        let result = conn.receive(at(1), &mut input);
        assert!(
            matches!(result, Err(CloseReason::BadFrame(_))),
            "{is_open} {len}"
        );
        assert!(input.capacity() < 1024, "nothing is reserved for a claim");
    }
    for (mut conn, len) in [(open(), max), (new(), cap)] {
        let mut input = BytesMut::from(&len.to_be_bytes()[..]);
        assert_eq!(conn.receive(at(1), &mut input), Ok(0), "{len} is allowed");
    }
    for mut conn in [open(), new()] {
        let result = conn.receive(at(1), &mut BytesMut::from(&[0; 4][..]));
        assert!(matches!(result, Err(CloseReason::Malformed(_))));
    }
}

#[test]
fn a_word_is_known_by_its_four_bytes_before_a_session_only() {
    for cut in 0..4 {
        let mut conn = new();
        let mut input = BytesMut::from(&b"srvr"[..cut]);
        conn.receive(at(1), &mut input).unwrap();
        assert_eq!(conn.next_event(0, |_| true), None);
        input.extend_from_slice(&b"srvr\n"[cut..]);
        conn.receive(at(1), &mut input).unwrap();
        let word = ConnEvent::FourLetter(FourLetterWord::Srvr, None);
        assert_eq!(conn.next_event(0, |_| true), Some(word));
        assert!(!conn.wants_input());
    }
    let result = open().receive(at(1), &mut BytesMut::from(&b"srvr"[..]));
    assert!(matches!(result, Err(CloseReason::BadFrame(_))));
}

#[test]
fn nothing_is_decoded_while_the_session_is_being_made() {
    let mut conn = new();
    let mut input = frame_of(&[&connect_request()]);
    let (more, routed) = get(1);
    input.extend_from_slice(&more);
    conn.receive(at(1), &mut input).unwrap();
    assert!(!conn.wants_input());
    assert_eq!(events(&mut conn), [ConnEvent::Connect(connect_request())]);
    assert_eq!(input, more);
    conn.established(Duration::from_secs(10));
    conn.receive(at(1), &mut input).unwrap();
    assert_eq!(events(&mut conn), [ConnEvent::Request(routed)]);
}

#[test]
fn a_client_that_asks_faster_than_it_is_answered_is_read_no_further() {
    let limits = ConnLimits {
        max_requests: 3,
        ..ConnLimits::default()
    };
    let mut conn = Connection { limits, ..open() };
    assert_eq!(conn.next_event(1, |_| true), None);
    let mut input = BytesMut::new();
    for xid in 1..=5 {
        input.extend_from_slice(&get(xid).0);
    }
    conn.receive(at(1), &mut input).unwrap();
    assert_eq!(conn.queued(), 3);
    assert!(!conn.wants_input() && !input.is_empty());
    assert_eq!(conn.next_deadline(), None, "the rest is not half a frame");
    assert!(conn.next_event(1, |_| true).is_some());
    assert!(conn.wants_input(), "one is answered");
    conn.receive(at(1), &mut set(6).0).unwrap();
    while conn.next_event(1, |_| true).is_some() {}
    assert!(conn.wants_input(), "only a write is in flight");
    for xid in 7..=8 {
        conn.receive(at(1), &mut set(xid).0).unwrap();
        assert!(conn.next_event(1, |_| true).is_some());
    }
    assert!(!conn.wants_input(), "three writes are in flight");
    assert_eq!(conn.next_event(2, |_| true), None);
    assert!(conn.wants_input(), "one of them is answered");
}

#[test]
fn deadlines_end_the_silent_and_the_slow() {
    let mut conn = new();
    assert_eq!(conn.check_deadline(at(4_999)), None);
    assert_eq!(conn.check_deadline(at(5_000)), Some(CloseReason::NoSession));
    conn.receive(at(4_000), &mut BytesMut::from(&b"\0\0"[..]))
        .unwrap();
    assert_eq!(conn.check_deadline(at(5_000)), Some(CloseReason::NoSession));

    let mut conn = open();
    assert_eq!(
        conn.next_deadline(),
        None,
        "a silent session is the tracker's affair"
    );
    let (bytes, _) = get(1);
    let mut input = BytesMut::from(&bytes[..5]);
    conn.receive(at(1_000), &mut input).unwrap();
    input.extend_from_slice(&bytes[5..6]);
    conn.receive(at(5_000), &mut input).unwrap();
    assert_eq!(conn.check_deadline(at(5_999)), None);
    assert_eq!(
        conn.check_deadline(at(6_000)),
        Some(CloseReason::HalfFrame),
        "half of 10 s"
    );
    input.extend_from_slice(&bytes[6..]);
    input.extend_from_slice(&bytes[..3]);
    conn.receive(at(5_500), &mut input).unwrap();
    assert_eq!(
        conn.next_deadline(),
        Some(Duration::from_millis(10_500)),
        "another frame"
    );
}

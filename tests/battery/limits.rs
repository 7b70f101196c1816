//! Frames and requests that no honest client sends.

use bytes::{BufMut, Bytes, BytesMut};
use zk_proto::{
    CreateMode, Encode, ErrorCode, OpCode, Utf8Bytes, Xid, Zxid,
    frame::MAX_BUFFER,
    header::RequestHeader,
    op::{ReconfigRequest, Request, SaslRequest, Secret, SetDataRequest},
    watch::AddWatchMode,
};
use zk_tests::{
    frames::Incoming,
    requests::{ANY, add_watch, create, delete, get, new_node, set, sync},
};

use crate::subject::Subject;

cases! {
    unknown_operations,
    check_outside_a_multi,
    create_session_as_a_request,
    an_unknown_operation_is_answered_before_it_ends_the_connection,
    frame_lengths_that_end_the_connection,
    the_longest_frame,
    a_reply_may_be_longer,
    cut_records,
    lengths_that_cannot_be,
    a_header_cut_short,
    reconfig_is_switched_off,
    sasl_without_a_login,
    sasl_with_a_null_token,
    a_frame_in_many_pieces,
    many_frames_in_one_piece,
    a_first_frame_is_short,
    half_a_frame_ends_the_connection_and_not_the_session,
    who_does_not_read_is_not_waited_for,
    who_reads_slowly_gets_everything,
}

async fn unknown_operations(s: Subject) {
    for op in [0, 10, 13, 23, 24, 99, 108, -1, -12, 500, 1000, i32::MIN] {
        let mut p = s.peer().await;
        let xid = p.0.next_xid();
        p.0.send_as(xid, op, &Vec::<i32>::new()).await.unwrap();
        let reply = p.0.reply().await.unwrap();
        assert_eq!(
            (reply.xid, reply.zxid, reply.code),
            (xid, Zxid(-1), ErrorCode::Unimplemented),
            "{op}"
        );
        assert!(reply.body.is_empty(), "{op}");
        p.closed().await;
    }
}

async fn check_outside_a_multi(s: Subject) {
    let mut p = s.peer().await;
    let record = zk_proto::op::CheckVersionRequest {
        path: "/".into(),
        version: ANY,
    };
    p.fails(Request::Check(record), ErrorCode::Unimplemented)
        .await;
    p.closed().await;
}

/// Apache honours it where it has a timeout for a body, with a connect response in the middle of the
/// conversation; we refuse it as any unknown operation.
async fn create_session_as_a_request(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::CreateSession, &[]).await;
    if s.is_apache() {
        assert_eq!(reply.code, ErrorCode::MarshallingError);
        p.ok(get("/")).await;
    } else {
        assert_eq!(
            (reply.code, reply.zxid),
            (ErrorCode::Unimplemented, Zxid(-1))
        );
        p.closed().await;
    }
}

async fn an_unknown_operation_is_answered_before_it_ends_the_connection(s: Subject) {
    let mut p = s.peer().await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(
            p.0.send(&create(&s.path(&n.to_string()), b""))
                .await
                .unwrap(),
        );
    }
    p.0.send_as(Xid(99), 999, &0_i32).await.unwrap();
    let rest = p.0.rest().await.unwrap();
    let xids: Vec<Xid> = rest
        .iter()
        .map(|incoming| match incoming {
            Incoming::Reply(reply) => reply.xid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(xids.contains(&Xid(99)), "{xids:?}");
    // What came before it is carried out, answered or not.
    assert_eq!(
        s.peer().await.names(s.root()).await,
        ["0", "1", "2", "3", "4"]
    );
}

async fn frame_lengths_that_end_the_connection(s: Subject) {
    for length in [
        0,
        -1,
        i32::MIN,
        i32::try_from(MAX_BUFFER).unwrap() + 1,
        i32::MAX,
    ] {
        let mut p = s.peer().await;
        p.0.send_bytes(&length.to_be_bytes()).await.unwrap();
        p.closed().await;
    }
}

async fn the_longest_frame(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let empty = SetDataRequest {
        path: s.path("a").as_str().into(),
        data: Some(Bytes::new()),
        version: ANY,
    };
    let most = MAX_BUFFER - 8 - empty.encoded_len();
    p.ok(set(&s.path("a"), &vec![7; most], ANY)).await;
    assert_eq!(
        p.stat(&s.path("a")).await.data_length,
        i32::try_from(most).unwrap()
    );
    let mut other = s.peer().await;
    // The connection may be gone before all of it is sent.
    let _ = other
        .0
        .send(&set(&s.path("a"), &vec![7; most + 1], ANY))
        .await;
    other.closed().await;
    p.ok(delete(&s.path("a"), ANY)).await;
}

async fn a_reply_may_be_longer(s: Subject) {
    let mut p = s.peer().await;
    let data = vec![7; MAX_BUFFER - 200];
    p.ok(create(&s.path("a"), &data)).await;
    assert_eq!(p.data(&s.path("a")).await.as_deref(), Some(&data[..]));
    p.ok(delete(&s.path("a"), ANY)).await;
}

async fn cut_records(s: Subject) {
    let mut p = s.peer().await;
    let whole = [
        (
            OpCode::Create,
            new_node(&s.path("a"), b"x", CreateMode::Persistent).to_bytes(),
        ),
        (OpCode::GetData, Bytes::from_static(&[0, 0, 0, 1, b'/'])),
        (OpCode::SetWatches, Bytes::from_static(&[0; 11])),
        (OpCode::Sync, Bytes::from_static(&[0, 0, 0])),
        (OpCode::AddWatch, Bytes::from_static(&[0, 0, 0, 1, b'/', 0])),
        (
            OpCode::GetAllChildrenNumber,
            Bytes::from_static(&[0, 0, 0, 9, b'/']),
        ),
        (OpCode::Reconfig, Bytes::from_static(&[0])),
    ];
    for (op, record) in whole {
        let cut = record.slice(..record.len() - usize::from(op == OpCode::Create));
        let reply = p.raw(op, &[&Plain(&cut)]).await;
        assert_eq!(
            (reply.code, reply.body),
            (ErrorCode::MarshallingError, Bytes::new()),
            "{op:?}"
        );
    }
    p.ok(sync("/")).await;
}

async fn lengths_that_cannot_be(s: Subject) {
    let mut p = s.peer().await;
    let path = Utf8Bytes::from(s.path("a"));
    for length in [-2_i32, i32::MIN, i32::MAX, 1000] {
        let reply = p
            .raw(OpCode::Create, &[&path, &length, &0_i32, &0_i32])
            .await;
        assert_eq!(
            reply.code,
            ErrorCode::MarshallingError,
            "data of {length} bytes"
        );
        let reply = p.raw(OpCode::GetData, &[&length, &false]).await;
        assert_eq!(
            reply.code,
            ErrorCode::MarshallingError,
            "path of {length} bytes"
        );
    }
    let reply = p
        .raw(OpCode::Create, &[&path, &-1_i32, &i32::MAX, &0_i32])
        .await;
    assert_eq!(
        reply.code,
        ErrorCode::MarshallingError,
        "a list of two thousand million entries"
    );
    p.ok(sync("/")).await;
}

async fn a_header_cut_short(s: Subject) {
    let mut p = s.peer().await;
    p.0.send_bytes(&[0, 0, 0, 6, 0, 0, 0, 1, 0, 0])
        .await
        .unwrap();
    p.closed().await;
}

async fn reconfig_is_switched_off(s: Subject) {
    let mut p = s.peer().await;
    let record = ReconfigRequest {
        joining: Some("server.9=127.0.0.1:1:2".into()),
        leaving: None,
        new_members: None,
        config_id: -1,
    };
    p.fails(Request::Reconfig(record), ErrorCode::ReconfigDisabled)
        .await;
    p.ok(sync("/")).await;
}

async fn sasl_without_a_login(s: Subject) {
    let mut p = s.peer().await;
    let record = SaslRequest {
        token: Secret(Some(Bytes::new())),
    };
    let reply = p.ask(Request::Sasl(record)).await;
    assert_eq!((reply.code, reply.zxid), (ErrorCode::Ok, Zxid::ZERO));
    assert_eq!(reply.body.as_ref(), b"\xff\xff\xff\xff", "a null token");
    p.ok(sync("/")).await;
}

async fn sasl_with_a_null_token(s: Subject) {
    let mut p = s.peer().await;
    p.0.send(&Request::Sasl(SaslRequest {
        token: Secret(None),
    }))
    .await
    .unwrap();
    p.closed().await;
}

async fn a_frame_in_many_pieces(s: Subject) {
    let mut p = s.peer().await;
    let mut frame = BytesMut::new();
    zk_proto::frame::put_frame(
        &mut frame,
        &[
            &RequestHeader {
                xid: Xid(5),
                op: OpCode::GetData.code(),
            },
            &Utf8Bytes::from("/"),
            &false,
        ],
    );
    for byte in frame {
        p.0.send_bytes(&[byte]).await.unwrap();
    }
    assert_eq!(p.0.reply().await.unwrap().xid, Xid(5));
}

async fn many_frames_in_one_piece(s: Subject) {
    let mut p = s.peer().await;
    let mut frames = BytesMut::new();
    for xid in 1..=1000 {
        let header = RequestHeader {
            xid: Xid(xid),
            op: OpCode::GetData.code(),
        };
        zk_proto::frame::put_frame(&mut frames, &[&header, &Utf8Bytes::from("/"), &false]);
    }
    p.0.send_bytes(&frames).await.unwrap();
    for xid in 1..=1000 {
        assert_eq!(p.0.reply().await.unwrap().xid, Xid(xid));
    }
}

/// Apache waits for as much as is announced; here no first frame has more than a kilobyte.
async fn a_first_frame_is_short(s: Subject) {
    if s.is_apache() {
        return;
    }
    for length in [1025, 1 << 20] {
        let length: i32 = length;
        assert_eq!(s.answer_to(&length.to_be_bytes()).await, b"");
    }
}

/// Apache waits for the rest as long as the session lives.
async fn half_a_frame_ends_the_connection_and_not_the_session(s: Subject) {
    if s.is_apache() {
        return;
    }
    let mut p = s.peer_for(2000).await;
    p.0.send_bytes(&[0, 0, 1, 0, 7]).await.unwrap();
    p.closed().await;
    let resume = p.0.resumption(Zxid::ZERO);
    assert!(!s.connect(&resume).await.unwrap().0.refused());
}

/// Apache keeps everything for it.
async fn who_does_not_read_is_not_waited_for(s: Subject) {
    if s.is_apache() {
        return;
    }
    let (mut p, mut q) = (s.peer().await, s.peer().await);
    p.ok(add_watch(s.root(), AddWatchMode::PersistentRecursive))
        .await;
    // An event for each change, half a megabyte long, and more of them than anybody keeps.
    let path = s.path(&"n".repeat(MAX_BUFFER / 2));
    q.create(&path).await;
    for _ in 0..150 {
        q.ok(set(&path, b"", ANY)).await;
    }
    let heard = p.0.rest().await.map_or(0, |heard| heard.len());
    assert!(heard < 151, "{heard}");
    q.stat(s.root()).await;
}

/// Answers for tens of megabytes are asked for in one go, and come in their order, each whole.
async fn who_reads_slowly_gets_everything(s: Subject) {
    let mut p = s.peer().await;
    let (large, small) = (s.path("large"), s.path("small"));
    let data = vec![7; 500_000];
    p.ok(create(&large, &data)).await;
    p.ok(create(&small, b"small")).await;
    let mut sent = Vec::new();
    for n in 0..100 {
        let request = match n % 4 {
            0 => set(&small, b"other", ANY),
            1 => get(&small),
            _ => get(&large),
        };
        sent.push((p.0.send(&request).await.unwrap(), n % 4));
    }
    for (xid, kind) in sent {
        let reply = p.0.reply().await.unwrap();
        assert_eq!((reply.xid, reply.code), (xid, ErrorCode::Ok));
        let length = match kind {
            0 => 68,
            1 => 4 + 5 + 68,
            _ => 4 + data.len() + 68,
        };
        assert_eq!(reply.body.len(), length);
    }
}

/// Bytes as they are.
struct Plain<'a>(&'a [u8]);

impl Encode for Plain<'_> {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

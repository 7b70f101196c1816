//! Sessions: begun, resumed, expired, closed; and the order within one.

use std::net::Ipv4Addr;

use bytes::Bytes;
use zk_proto::{
    CreateMode, ErrorCode, OpCode, Password, SessionId, Xid, Zxid, connect::ConnectRequest,
};
use zk_tests::{
    frames::{FrameClient, new_session},
    requests::{ANY, auth, create, create_as, exists, get, set, sync},
};

use crate::subject::{Peer, Subject, TIMEOUT_MS};

cases! {
    a_new_session,
    each_session_has_its_own_id,
    any_password_will_do_for_a_new_session,
    the_timeout_is_clamped,
    the_read_only_byte_comes_back_only_if_sent,
    a_client_ahead_of_the_server_is_closed,
    a_client_in_step_is_not,
    resuming_keeps_the_ephemerals,
    resuming_may_change_the_timeout,
    resuming_closes_the_old_connection,
    writes_under_way_when_a_session_moves,
    a_wrong_password,
    a_wrong_password_closes_the_live_connection,
    an_unknown_session,
    ping_answers,
    xids_are_echoed,
    replies_come_in_the_order_of_the_requests,
    a_session_reads_its_own_writes,
    authentication_holds_for_what_follows,
    another_loopback_address,
    first_frames_that_are_no_connect_request,
}

async fn a_new_session(s: Subject) {
    let p = s.peer().await;
    let session = p.0.session();
    assert_eq!(
        (session.protocol_version, session.timeout_ms),
        (0, TIMEOUT_MS)
    );
    assert_eq!(session.password.as_bytes().len(), Password::LEN);
    assert_ne!(session.session_id, SessionId::NONE);
    let request = ConnectRequest {
        protocol_version: 7,
        ..new_session(TIMEOUT_MS)
    };
    let other = s.connect(&request).await.unwrap();
    assert_eq!(
        other.0.session().protocol_version,
        0,
        "whatever the client says"
    );
}

async fn each_session_has_its_own_id(s: Subject) {
    let (p, q) = (s.peer().await, s.peer().await);
    assert_ne!(p.id(), q.id());
    assert_ne!(p.0.session().password, q.0.session().password);
}

async fn any_password_will_do_for_a_new_session(s: Subject) {
    for password in [
        Password::default(),
        Password::new(Bytes::new()),
        Password::new(Bytes::from_static(b"x")),
    ] {
        let request = ConnectRequest {
            password,
            ..new_session(TIMEOUT_MS)
        };
        assert!(!s.connect(&request).await.unwrap().0.refused());
    }
}

/// Two to twenty ticks, of 500 ms here.
async fn the_timeout_is_clamped(s: Subject) {
    for (asked, given) in [
        (1, 1000),
        (999, 1000),
        (1234, 1234),
        (10_001, 10_000),
        (i32::MAX, 10_000),
        (0, 1000),
        (-5, 1000),
    ] {
        let p = s.peer_for(asked).await;
        assert_eq!(p.0.session().timeout_ms, given, "asked for {asked}");
    }
}

async fn the_read_only_byte_comes_back_only_if_sent(s: Subject) {
    for (sent, back) in [
        (None, None),
        (Some(false), Some(false)),
        (Some(true), Some(false)),
    ] {
        let request = ConnectRequest {
            read_only: sent,
            ..new_session(TIMEOUT_MS)
        };
        assert_eq!(
            s.connect(&request).await.unwrap().0.session().read_only,
            back
        );
        let refused = ConnectRequest {
            session_id: SessionId(1234),
            ..request
        };
        assert_eq!(
            s.connect(&refused).await.unwrap().0.session().read_only,
            back
        );
    }
}

async fn a_client_ahead_of_the_server_is_closed(s: Subject) {
    let request = ConnectRequest {
        last_zxid_seen: Zxid(i64::MAX),
        ..new_session(TIMEOUT_MS)
    };
    assert!(s.connect(&request).await.is_none());
}

async fn a_client_in_step_is_not(s: Subject) {
    let last = s.peer().await.ask(sync("/")).await.zxid;
    for zxid in [last, Zxid(-1), Zxid(i64::MIN)] {
        let request = ConnectRequest {
            last_zxid_seen: zxid,
            ..new_session(TIMEOUT_MS)
        };
        assert!(s.connect(&request).await.is_some(), "{zxid:?}");
    }
}

async fn resuming_keeps_the_ephemerals(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let resume = p.0.resumption(Zxid::ZERO);
    p.0.cut();
    let mut again = s.connect(&resume).await.unwrap();
    assert_eq!(
        (again.id(), again.0.session()),
        (resume.session_id, again.0.session())
    );
    assert_eq!(again.0.session().password, resume.password);
    assert_eq!(
        again.stat(&s.path("e")).await.ephemeral_owner,
        resume.session_id
    );
    again.close().await;
    s.peer()
        .await
        .fails(get(&s.path("e")), ErrorCode::NoNode)
        .await;
}

async fn resuming_may_change_the_timeout(s: Subject) {
    let p = s.peer().await;
    let resume = ConnectRequest {
        timeout_ms: 2345,
        ..p.0.resumption(Zxid::ZERO)
    };
    p.0.cut();
    assert_eq!(
        s.connect(&resume).await.unwrap().0.session().timeout_ms,
        2345
    );
}

async fn resuming_closes_the_old_connection(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let mut again = s.connect(&p.0.resumption(Zxid::ZERO)).await.unwrap();
    p.closed().await;
    again.ok(get(&s.path("e"))).await;
}

/// Those that are carried out are the first ones, and the session is usable at once.
async fn writes_under_way_when_a_session_moves(s: Subject) {
    let mut p = s.peer().await;
    let mut expected = Vec::new();
    for n in 0..200 {
        expected.push(format!("{n:03}"));
        let path = s.path(&expected[n]);
        p.0.send(&create_as(&path, b"", CreateMode::Ephemeral))
            .await
            .unwrap();
    }
    let mut again = s.connect(&p.0.resumption(Zxid::ZERO)).await.unwrap();
    again
        .ok(create_as(&s.path("z"), b"", CreateMode::Ephemeral))
        .await;
    let answered = p.0.rest().await.unwrap().len();
    let names = again.names(s.root()).await;
    let carried_out = names.len() - 1;
    assert!(carried_out >= answered, "what was answered is there");
    expected.truncate(carried_out);
    expected.push("z".to_owned());
    assert_eq!(names, expected);
    again.close().await;
    assert_eq!(s.peer().await.names(s.root()).await, [""; 0]);
}

async fn a_wrong_password(s: Subject) {
    let p = s.peer().await;
    for password in [
        Password::zero(),
        Password::default(),
        Password::new(Bytes::from_static(b"x")),
    ] {
        let request = ConnectRequest {
            password,
            ..p.0.resumption(Zxid::ZERO)
        };
        refused(&s, &request).await;
    }
    let resume = p.0.resumption(Zxid::ZERO);
    p.0.cut();
    assert_eq!(
        s.connect(&resume).await.unwrap().id(),
        resume.session_id,
        "no harm is done"
    );
}

/// In Apache, where knowing a session's id is enough to cut its client off; here it is not.
async fn a_wrong_password_closes_the_live_connection(s: Subject) {
    let mut p = s.peer().await;
    let wrong = ConnectRequest {
        password: Password::zero(),
        ..p.0.resumption(Zxid::ZERO)
    };
    refused(&s, &wrong).await;
    if s.is_apache() {
        p.closed().await;
    } else {
        p.ok(get("/")).await;
    }
}

async fn an_unknown_session(s: Subject) {
    for id in [1, -1, i64::MAX, i64::MIN] {
        let password = Password::new(Bytes::from_static(&[7; 16]));
        let request = ConnectRequest {
            session_id: SessionId(id),
            password,
            ..new_session(TIMEOUT_MS)
        };
        refused(&s, &request).await;
    }
}

async fn ping_answers(s: Subject) {
    let mut p = s.peer().await;
    let last = p.ask(create(&s.path("a"), b"")).await.zxid;
    for xid in [Xid::PING, Xid(77)] {
        p.0.send_as(xid, OpCode::Ping.code(), &Vec::<i32>::new())
            .await
            .unwrap();
        let reply = p.0.reply().await.unwrap();
        assert_eq!(
            (reply.xid, reply.code),
            (Xid::PING, ErrorCode::Ok),
            "the xid is fixed"
        );
        assert!(reply.zxid >= last && reply.body.is_empty());
    }
}

async fn xids_are_echoed(s: Subject) {
    let mut p = s.peer().await;
    for xid in [0, 5, 5, -7, i32::MAX, i32::MIN] {
        p.0.send_as(
            Xid(xid),
            OpCode::Exists.code(),
            &zk_proto::op::ExistsRequest {
                path: "/".into(),
                watch: false,
            },
        )
        .await
        .unwrap();
        assert_eq!(p.0.reply().await.unwrap().xid, Xid(xid));
    }
}

async fn replies_come_in_the_order_of_the_requests(s: Subject) {
    let mut p = s.peer().await;
    let mut sent = Vec::new();
    for n in 0..100 {
        let path = s.path(&n.to_string());
        for request in [
            create(&path, b""),
            get(&path),
            set(&path, b"", ANY),
            sync("/"),
            exists("/nope"),
        ] {
            sent.push(p.0.send(&request).await.unwrap());
        }
    }
    let mut last = Zxid::ZERO;
    for xid in sent {
        let reply = p.0.reply().await.unwrap();
        assert_eq!(reply.xid, xid);
        assert!(reply.zxid >= last, "zxids never go back");
        last = reply.zxid;
    }
}

async fn a_session_reads_its_own_writes(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let mut wrote = Vec::new();
    for version in 0..200 {
        p.0.send(&set(&s.path("a"), b"", version)).await.unwrap();
        p.0.send(&get(&s.path("a"))).await.unwrap();
    }
    for version in 1..=200 {
        let write = p.0.reply().await.unwrap();
        let read =
            p.0.reply()
                .await
                .unwrap()
                .response(OpCode::GetData)
                .unwrap();
        let zk_proto::op::Response::GetData(read) = read else {
            panic!("{read:?}")
        };
        assert_eq!((read.stat.version, read.stat.mzxid), (version, write.zxid));
        wrote.push(write.zxid);
    }
    assert!(wrote.is_sorted());
}

/// In Apache the answer to auth overtakes those of requests before it; what follows it has the identity.
async fn authentication_holds_for_what_follows(s: Subject) {
    let mut p = s.peer().await;
    let own = zk_tests::requests::create_for(&s.path("a"), zk_proto::Acl::creator_all());
    let write = p.0.send(&create(&s.path("b"), b"")).await.unwrap();
    let asked = p.0.send(&auth("digest", b"user:secret")).await.unwrap();
    let created = p.0.send(&own).await.unwrap();
    let mut xids = Vec::new();
    for _ in 0..3 {
        let reply = p.0.reply().await.unwrap();
        assert_eq!(reply.code, ErrorCode::Ok);
        xids.push(reply.xid);
    }
    assert_eq!(xids.last(), Some(&created));
    xids.sort_unstable();
    assert_eq!(xids, [asked, write, created]);
}

async fn another_loopback_address(s: Subject) {
    let source = Ipv4Addr::new(127, 0, 0, 2);
    let request = new_session(TIMEOUT_MS);
    let mut p = Peer(
        FrameClient::open_from(source, s.addr(), &request)
            .await
            .unwrap(),
    );
    let list = zk_tests::requests::only(zk_proto::Perms::ALL, "ip", "127.0.0.2");
    p.ok(zk_tests::requests::create_for(&s.path("a"), list))
        .await;
    p.ok(get(&s.path("a"))).await;
    s.peer()
        .await
        .fails(get(&s.path("a")), ErrorCode::NoAuth)
        .await;
}

async fn first_frames_that_are_no_connect_request(s: Subject) {
    for body in [&b""[..], b"x", &[0; 20]] {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        let mut stream = tokio::net::TcpStream::connect(s.addr()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &frame)
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        assert_eq!(answer, b"", "{body:?}");
    }
}

/// The server says no to this connect request: zeros, then the end of the connection.
pub(crate) async fn refused(s: &Subject, request: &ConnectRequest) {
    let mut p = s.connect(request).await.unwrap();
    let session = p.0.session();
    assert_eq!(
        (session.protocol_version, session.timeout_ms),
        (0, 0),
        "{request:?}"
    );
    assert_eq!(
        (session.session_id, session.password.as_bytes()),
        (SessionId::NONE, &[0; 16][..])
    );
    p.closed().await;
}

//! Sessions: begun, resumed, expired, closed; and the order within one.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use zk_proto::{
    CreateMode, ErrorCode, OpCode, Password, SessionId, Xid, Zxid,
    connect::ConnectRequest,
    op::Request,
    watch::EventType::{NodeChildrenChanged, NodeDeleted},
};
use zk_tests::{
    frames::{FrameClient, Incoming, new_session},
    requests::{
        ANY, auth, create, create_as, exists, get, set, sync, watch_children, watch_exists,
    },
};

use crate::subject::{Peer, Subject, TIMEOUT_MS, told};

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
    a_wrong_password,
    a_wrong_password_closes_the_live_connection,
    an_unknown_session,
    a_closed_session_cannot_be_resumed,
    closing_answers_and_ends_the_connection,
    requests_behind_a_close_are_dropped,
    close_ignores_a_body,
    a_silent_session_expires,
    an_expired_session_cannot_be_resumed,
    pings_keep_a_session_alive,
    any_request_keeps_a_session_alive,
    a_lost_connection_ends_no_session,
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

async fn a_closed_session_cannot_be_resumed(s: Subject) {
    let p = s.peer().await;
    let resume = p.0.resumption(Zxid::ZERO);
    p.close().await;
    refused(&s, &resume).await;
}

async fn closing_answers_and_ends_the_connection(s: Subject) {
    let mut p = s.peer().await;
    let last = p.ask(sync("/")).await.zxid;
    let xid = p.0.send(&Request::CloseSession).await.unwrap();
    let reply = p.0.reply().await.unwrap();
    assert_eq!(
        (reply.xid, reply.code, reply.body),
        (xid, ErrorCode::Ok, Bytes::new())
    );
    assert!(reply.zxid > last, "its own zxid");
    p.closed().await;
}

async fn requests_behind_a_close_are_dropped(s: Subject) {
    let mut p = s.peer().await;
    p.0.send(&create(&s.path("before"), b"")).await.unwrap();
    p.0.send(&Request::CloseSession).await.unwrap();
    // The server may have closed the connection already.
    let _ = p.0.send(&create(&s.path("behind"), b"")).await;
    let rest = p.0.rest().await.unwrap();
    // Apache, when it is fast enough to read on, answers that the session is no more.
    let expired = |incoming: &Incoming| matches!(incoming, Incoming::Reply(reply) if reply.code == ErrorCode::SessionExpired);
    assert!(rest.len() >= 2, "{rest:?}");
    assert!(rest[2..].iter().all(expired), "{rest:?}");
    assert_eq!(s.peer().await.names(s.root()).await, ["before"]);
}

async fn close_ignores_a_body(s: Subject) {
    let mut p = s.peer().await;
    let reply = p.raw(OpCode::CloseSession, &[&1_i64]).await;
    assert_eq!(reply.code, ErrorCode::Ok);
    p.closed().await;
}

async fn a_silent_session_expires(s: Subject) {
    let (mut p, mut silent) = (s.peer().await, s.peer_for(1000).await);
    silent
        .ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let silent_since = Instant::now();
    p.ok(watch_exists(&s.path("e"))).await;
    p.ok(watch_children(s.root())).await;
    let deleted = timeout(Duration::from_secs(8), p.event())
        .await
        .expect("expired by now");
    assert_eq!(told(deleted.clone()), (NodeDeleted, s.path("e")));
    assert_eq!(
        told(p.event().await),
        (NodeChildrenChanged, s.root().to_owned())
    );
    let lived = silent_since.elapsed();
    assert!(
        lived >= Duration::from_millis(990),
        "expired after {lived:?}"
    );
    assert_eq!(p.stat(s.root()).await.pzxid, deleted.zxid);
    silent.closed().await;
}

async fn an_expired_session_cannot_be_resumed(s: Subject) {
    let mut silent = s.peer_for(1000).await;
    let resume = silent.0.resumption(Zxid::ZERO);
    silent.closed().await;
    refused(&s, &resume).await;
}

async fn pings_keep_a_session_alive(s: Subject) {
    kept_alive_by(&s, Request::Ping).await;
}

async fn any_request_keeps_a_session_alive(s: Subject) {
    kept_alive_by(&s, exists("/nope")).await;
}

async fn a_lost_connection_ends_no_session(s: Subject) {
    let (mut p, mut lost) = (s.peer().await, s.peer().await);
    lost.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let resume = lost.0.resumption(Zxid::ZERO);
    lost.0.cut();
    p.ok(get(&s.path("e"))).await;
    s.connect(&resume).await.unwrap().close().await;
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
async fn refused(s: &Subject, request: &ConnectRequest) {
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

/// A session of one second outlives three of silence but for this request, twice a second.
async fn kept_alive_by(s: &Subject, request: Request) {
    let mut p = s.peer_for(1000).await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let mut beat = tokio::time::interval(Duration::from_millis(300));
    for _ in 0..10 {
        beat.tick().await;
        p.0.send(&request).await.unwrap();
        assert!(matches!(p.0.next().await.unwrap(), Incoming::Reply(_)));
    }
    s.peer().await.ok(get(&s.path("e"))).await;
}

//! Sessions: made, resumed, moved, closed.

use zk_proto::{
    Bytes, CreateMode, ErrorCode, Password, SessionId, Xid, Zxid,
    connect::ConnectRequest,
    op::{AuthRequest, Request, Secret},
};
use zk_server::Server;

use crate::client::{create, exists, new_session, resume, tcp};

#[tokio::test]
async fn timeouts_are_clamped_and_the_read_only_byte_is_echoed_only_if_sent() {
    let server = Server::builder()
        .set("tickTime", "2000")
        .start()
        .await
        .unwrap();
    for (asked, granted) in [
        (1, 4_000),
        (30_000, 30_000),
        (1_000_000, 40_000),
        (-5, 4_000),
    ] {
        for read_only in [None, Some(false), Some(true)] {
            let request = ConnectRequest {
                timeout_ms: asked,
                read_only,
                ..new_session()
            };
            let response = tcp(&server).await.connect(&request).await.unwrap();
            assert_eq!(response.timeout_ms, granted);
            assert_eq!(response.read_only, read_only.map(|_| false));
            assert_eq!(response.protocol_version, 0);
        }
    }
}

#[tokio::test]
async fn a_session_moves_to_a_new_connection_with_its_password() {
    let server = Server::builder().start().await.unwrap();
    let (mut old, session) = tcp(&server).await.open().await;
    old.call(1, create("/mine", "", CreateMode::Ephemeral))
        .await;
    let mut new = tcp(&server).await;
    let resumed = new.connect(&resume(&session)).await.unwrap();
    assert_eq!(resumed.session_id, session.session_id);
    assert_eq!(resumed.password, session.password);
    assert!(old.is_closed().await);
    assert_eq!(new.call(1, exists("/mine")).await.header.err, 0);
    assert_eq!(
        new.call(2, create("/more", "", CreateMode::Ephemeral))
            .await
            .header
            .err,
        0
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_session_is_left_alone() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, session) = tcp(&server).await.open().await;
    let right = session.password.clone();
    let mut guessed = right.as_bytes().to_vec();
    guessed[15] ^= 1;
    for password in [
        Password::new(guessed.into()),
        Password::zero(),
        Password::default(),
    ] {
        let mut thief = tcp(&server).await;
        let request = ConnectRequest {
            password,
            ..resume(&session)
        };
        let refused = thief.connect(&request).await.unwrap();
        assert_eq!(
            (refused.timeout_ms, refused.session_id),
            (0, SessionId::NONE)
        );
        assert_eq!(refused.password, Password::zero());
        assert!(thief.is_closed().await);
    }
    let unknown = ConnectRequest {
        session_id: SessionId(session.session_id.0 + 77),
        ..resume(&session)
    };
    let refused = tcp(&server).await.connect(&unknown).await.unwrap();
    assert_eq!(refused.session_id, SessionId::NONE);
    assert_eq!(client.call(1, exists("/")).await.header.err, 0);
}

#[tokio::test]
async fn a_client_that_has_seen_more_than_the_server_is_sent_away_without_a_word() {
    let server = Server::builder().start().await.unwrap();
    let (_client, session) = tcp(&server).await.open().await;
    for request in [new_session(), resume(&session)] {
        let ahead = ConnectRequest {
            last_zxid_seen: Zxid(0x1_0000),
            ..request
        };
        assert_eq!(tcp(&server).await.connect(&ahead).await, None);
    }
}

#[tokio::test]
async fn closing_a_session_answers_then_ends_and_takes_its_nodes() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, session) = tcp(&server).await.open().await;
    client
        .call(1, create("/mine", "", CreateMode::Ephemeral))
        .await;
    let late = create("/late", "", CreateMode::Persistent);
    client.send(2, &[Request::CloseSession, late]).await;
    let closed = client.reply().await.unwrap().header;
    assert_eq!((closed.xid, closed.err), (Xid(2), 0));
    assert!(client.is_closed().await);
    let refused = tcp(&server).await.connect(&resume(&session)).await.unwrap();
    assert_eq!(refused.session_id, SessionId::NONE);
    let (mut other, _) = tcp(&server).await.open().await;
    for path in ["/mine", "/late"] {
        let gone = other.call(1, exists(path)).await.header;
        assert_eq!(gone.err, ErrorCode::NoNode.code(), "{path}");
    }
}

#[tokio::test]
async fn an_authentication_that_fails_is_answered_and_ends_the_connection() {
    let server = Server::builder().start().await.unwrap();
    let auth = |scheme: &str| {
        Request::Auth(AuthRequest {
            kind: 0,
            scheme: scheme.into(),
            auth: Secret(Some(Bytes::from_static(b"u:p"))),
        })
    };
    let (mut client, _) = tcp(&server).await.open().await;
    let good = client.call(-4, auth("digest")).await.header;
    assert_eq!((good.zxid, good.err), (Zxid(0), 0));
    let bad = client.call(-4, auth("world")).await.header;
    assert_eq!((bad.zxid, bad.err), (Zxid(0), ErrorCode::AuthFailed.code()));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_session_can_be_ended_from_within() {
    let server = Server::builder().start().await.unwrap();
    let (mut client, session) = tcp(&server).await.open().await;
    client
        .call(1, create("/mine", "", CreateMode::Ephemeral))
        .await;
    server.expire_session(session.session_id);
    assert!(client.is_closed().await);
    let refused = tcp(&server).await.connect(&resume(&session)).await.unwrap();
    assert_eq!(refused.session_id, SessionId::NONE);
    let (mut other, _) = tcp(&server).await.open().await;
    let gone = other.call(1, exists("/mine")).await.header;
    assert_eq!(gone.err, ErrorCode::NoNode.code());
}

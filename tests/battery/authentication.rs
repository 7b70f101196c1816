//! Who a client is: auth, its identities, and what they permit.

use crate::acl::{NO_AUTH, USER};
use crate::subject::{Peer, Subject, sorted};
use bytes::Bytes;
use zk_proto::{
    Acl, Encode, ErrorCode, OpCode, Perms, Xid, Zxid,
    op::{Request, Response},
};
use zk_tests::requests::{ANY, auth, create_for, get, only, set, set_acl};

cases! {
    digest_identities,
    several_identities,
    ip_identities,
    the_superuser,
    auth_answers,
    digest_takes_any_secret,
    the_ip_scheme_changes_nothing,
    refused_authentication_ends_the_connection,
    who_am_i,
    identities_end_with_the_connection,
}

async fn digest_identities(s: Subject) {
    let (mut p, mut user) = (s.peer().await, s.peer().await);
    p.ok(create_for(&s.path("a"), only(Perms::ALL, "digest", USER)))
        .await;
    p.fails(get(&s.path("a")), NO_AUTH).await;
    user.fails(get(&s.path("a")), NO_AUTH).await;
    user.ok(auth("digest", b"user:wrong")).await;
    user.fails(get(&s.path("a")), NO_AUTH).await;
    user.ok(auth("digest", b"user:secret")).await;
    user.ok(get(&s.path("a"))).await;
    p.fails(get(&s.path("a")), NO_AUTH).await;
}

async fn several_identities(s: Subject) {
    let mut p = s.peer().await;
    for secret in ["one:1", "two:2"] {
        let mut owner = s.peer().await;
        owner.ok(auth("digest", secret.as_bytes())).await;
        let name = s.path(&secret[..3]);
        owner.ok(create_for(&name, Acl::creator_all())).await;
        p.fails(get(&name), NO_AUTH).await;
        p.ok(auth("digest", secret.as_bytes())).await;
    }
    p.ok(get(&s.path("one"))).await;
    p.ok(get(&s.path("two"))).await;
}

async fn ip_identities(s: Subject) {
    let mut p = s.peer().await;
    let rows = [
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("127.0.0.0/31", true),
        ("127.0.0.2", false),
        ("127.0.0.2/31", false),
        ("10.0.0.0/8", false),
        ("::1", false),
        ("::/0", false),
    ];
    for (n, (id, admitted)) in rows.into_iter().enumerate() {
        let path = s.path(&n.to_string());
        p.ok(create_for(&path, only(Perms::READ, "ip", id))).await;
        let expected = if admitted { ErrorCode::Ok } else { NO_AUTH };
        assert_eq!(p.ask(get(&path)).await.code, expected, "{id}");
    }
}

async fn the_superuser(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(
        &s.path("a"),
        only(Perms::NONE, "world", "anyone"),
    ))
    .await;
    p.ok(auth("digest", b"super:secret")).await;
    p.ok(set(&s.path("a"), b"", ANY)).await;
    p.ok(get(&s.path("a"))).await;
    p.ok(set_acl(&s.path("a"), Acl::open(), ANY)).await;
    let mut wrong = s.peer().await;
    wrong.ok(auth("digest", b"super:wrong")).await;
    wrong
        .ok(set_acl(
            &s.path("a"),
            only(Perms::NONE, "world", "anyone"),
            ANY,
        ))
        .await;
    wrong.fails(get(&s.path("a")), NO_AUTH).await;
}

async fn auth_answers(s: Subject) {
    let mut p = s.peer().await;
    let request = auth("digest", b"user:secret");
    let reply = p.ask(request.clone()).await;
    assert_eq!(
        (reply.xid, reply.zxid, reply.code),
        (Xid::AUTH, Zxid::ZERO, ErrorCode::Ok)
    );
    assert_eq!(reply.body, Bytes::new());
    // The xid is a convention, the record's type unused.
    let Request::Auth(mut record) = request else {
        unreachable!()
    };
    record.kind = 7;
    p.0.send_as(Xid(9), OpCode::Auth.code(), &record)
        .await
        .unwrap();
    let reply = p.0.reply().await.unwrap();
    assert_eq!(
        (reply.xid, reply.zxid, reply.code),
        (Xid(9), Zxid::ZERO, ErrorCode::Ok)
    );
}

async fn digest_takes_any_secret(s: Subject) {
    let mut p = s.peer().await;
    for secret in [&b""[..], b"nocolon", b":", b"a:b:c", &[0xff, 0xfe]] {
        p.ok(auth("digest", secret)).await;
    }
}

async fn the_ip_scheme_changes_nothing(s: Subject) {
    let mut p = s.peer().await;
    p.ok(auth("ip", b"10.0.0.1")).await;
    assert_eq!(who(&mut p).await, ["ip 127.0.0.1"]);
}

async fn refused_authentication_ends_the_connection(s: Subject) {
    for scheme in ["world", "auth", "nosuch", "", "sasl", "x509"] {
        let mut p = s.peer().await;
        let reply = p.ask(auth(scheme, b"x")).await;
        assert_eq!(reply.code, ErrorCode::AuthFailed, "{scheme}");
        assert_eq!(
            (reply.zxid, reply.body),
            (Zxid::ZERO, Bytes::new()),
            "{scheme}"
        );
        p.closed().await;
    }
    let mut p = s.peer().await;
    let scheme = zk_proto::Utf8Bytes::from_static("digest");
    p.0.send_as(Xid::AUTH, OpCode::Auth.code(), &Raw(&scheme))
        .await
        .unwrap();
    assert_eq!(
        p.0.reply().await.unwrap().code,
        ErrorCode::AuthFailed,
        "null secret"
    );
    p.closed().await;
}

async fn who_am_i(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(who(&mut p).await, ["ip 127.0.0.1"]);
    for secret in [&b"z:1"[..], b"a:2", b"a:2", b"m:3"] {
        p.ok(auth("digest", secret)).await;
    }
    assert_eq!(
        who(&mut p).await,
        ["digest a", "digest m", "digest z", "ip 127.0.0.1"]
    );
}

async fn identities_end_with_the_connection(s: Subject) {
    let mut p = s.peer().await;
    p.ok(auth("digest", b"user:secret")).await;
    p.ok(create_for(&s.path("a"), Acl::creator_all())).await;
    let resume = p.0.resumption(Zxid::ZERO);
    p.0.cut();
    let mut again = s.connect(&resume).await.unwrap();
    assert_eq!(again.id(), resume.session_id);
    again.fails(get(&s.path("a")), NO_AUTH).await;
    assert_eq!(who(&mut again).await, ["ip 127.0.0.1"]);
}

async fn who(p: &mut Peer) -> Vec<String> {
    match p.ok(Request::WhoAmI).await {
        Response::WhoAmI(r) => sorted(
            r.client_info
                .iter()
                .map(|info| format!("{} {}", info.scheme, info.user))
                .collect(),
        ),
        other => panic!("{other:?}"),
    }
}

/// An auth record whose secret is null.
struct Raw<'a>(&'a zk_proto::Utf8Bytes);

impl Encode for Raw<'_> {
    fn encode(&self, out: &mut bytes::BytesMut) {
        0_i32.encode(out);
        self.0.encode(out);
        (-1_i32).encode(out);
    }

    fn encoded_len(&self) -> usize {
        8 + self.0.encoded_len()
    }
}

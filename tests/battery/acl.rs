//! getACL, setACL, auth, whoAmI, and what each permission permits.

use bytes::Bytes;
use zk_proto::{
    Acl, Encode, ErrorCode, OpCode, Perms, Xid, Zxid,
    op::{Request, Response},
};
use zk_tests::requests::{
    ANY, auth, children, create, create_for, delete, exists, get, get_acl, only, part_check, set,
    set_acl,
};

use crate::subject::{Peer, Subject, sorted};

cases! {
    set_acl_changes_one_field,
    set_acl_versions,
    the_order_of_set_acls_checks,
    duplicates_are_dropped_and_order_kept,
    lists_that_are_refused,
    null_lists_are_refused,
    a_null_id_is_an_empty_one,
    digest_ids,
    ip_ids,
    permissions_are_not_checked,
    auth_stands_for_the_callers_ids,
    auth_needs_more_than_an_address,
    each_permission_permits_its_operations,
    get_acl_needs_read_or_admin,
    get_acl_masks_digests_without_admin,
    no_permission_at_all,
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
    the_root_and_the_config_node,
}

const NO_AUTH: ErrorCode = ErrorCode::NoAuth;
const INVALID: ErrorCode = ErrorCode::InvalidAcl;
/// `user:secret` as an identity.
const USER: &str = "user:5w9W4eL3797Y4Wq8AcKUPPk8ha4=";

async fn set_acl_changes_one_field(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create(&s.path("a"), b"data")).await;
    let mut expected = p.stat(&s.path("a")).await;
    expected.aversion = 1;
    assert_eq!(
        p.stat_of(set_acl(&s.path("a"), Acl::read_only(), ANY))
            .await,
        expected
    );
    assert_eq!(p.stat_of(get_acl(&s.path("a"))).await, expected);
    assert_eq!(acl(&mut p, &s.path("a")).await, Acl::read_only());
}

async fn set_acl_versions(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    // The data's version is another one.
    p.ok(set(&s.path("a"), b"", ANY)).await;
    for wrong in [1, -2, i32::MAX] {
        p.fails(
            set_acl(&s.path("a"), Acl::open(), wrong),
            ErrorCode::BadVersion,
        )
        .await;
    }
    for right in [0, 1, ANY] {
        p.ok(set_acl(&s.path("a"), Acl::open(), right)).await;
    }
    assert_eq!(p.stat(&s.path("a")).await.aversion, 3);
}

async fn the_order_of_set_acls_checks(s: Subject) {
    let mut p = s.peer().await;
    for path in ["", "a", "//", "/a/", "/\0"] {
        p.fails(set_acl(path, Vec::new(), 99), ErrorCode::BadArguments)
            .await;
    }
    p.fails(set_acl(&s.path("nope"), Vec::new(), 99), INVALID)
        .await;
    p.fails(set_acl(&s.path("nope"), Acl::open(), 99), ErrorCode::NoNode)
        .await;
    p.ok(create_for(&s.path("locked"), Acl::read_only())).await;
    p.fails(set_acl(&s.path("locked"), Vec::new(), 99), INVALID)
        .await;
    p.fails(set_acl(&s.path("locked"), Acl::open(), 99), NO_AUTH)
        .await;
}

async fn duplicates_are_dropped_and_order_kept(s: Subject) {
    let mut p = s.peer().await;
    let read = Acl::new(Perms::READ, "world", "anyone");
    let ip = Acl::new(Perms::ALL, "ip", "127.0.0.1");
    let admin = Acl::new(Perms::ADMIN, "world", "anyone");
    let given = vec![
        read.clone(),
        ip.clone(),
        read.clone(),
        admin.clone(),
        ip.clone(),
    ];
    p.ok(create_for(&s.path("a"), given)).await;
    assert_eq!(acl(&mut p, &s.path("a")).await, [read, ip, admin]);
}

async fn lists_that_are_refused(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let refused = [
        ("world", "everyone"),
        ("world", ""),
        ("super", USER),
        ("nosuch", "x"),
        ("", ""),
        ("x509", "CN=me"),
        ("sasl", "bob"),
        ("auth", ""),
        ("WORLD", "anyone"),
    ];
    for (scheme, id) in refused {
        let list = only(Perms::ALL, scheme, id);
        p.fails(create_for(&s.path("b"), list.clone()), INVALID)
            .await;
        p.fails(set_acl(&s.path("a"), list, ANY), INVALID).await;
        // One bad entry spoils the list.
        let mut mixed = Acl::open();
        mixed.extend(only(Perms::ALL, scheme, id));
        p.fails(create_for(&s.path("b"), mixed), INVALID).await;
    }
    p.fails(create_for(&s.path("b"), Vec::new()), INVALID).await;
}

async fn null_lists_are_refused(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    let path = zk_proto::Utf8Bytes::from(s.path("a"));
    for length in [-1_i32, -5, 0] {
        let set = p.raw(OpCode::SetAcl, &[&path, &length, &ANY]).await;
        assert_eq!(
            (set.code, set.body),
            (INVALID, Bytes::new()),
            "length {length}"
        );
        let create = p
            .raw(OpCode::Create, &[&path, &-1_i32, &length, &0_i32])
            .await;
        assert_eq!(
            (create.code, create.body),
            (INVALID, Bytes::new()),
            "length {length}"
        );
    }
}

/// kazoo writes every empty string as null. Apache cannot decode such an id where the scheme looks at it.
async fn a_null_id_is_an_empty_one(s: Subject) {
    let mut p = s.peer().await;
    p.create(&s.path("a")).await;
    p.ok(auth("digest", b"user:secret")).await;
    let path = zk_proto::Utf8Bytes::from(s.path("a"));
    let (one, all, null) = (1_i32, 31_i32, -1_i32);
    let refused = match s.is_apache() {
        true => ErrorCode::MarshallingError,
        false => INVALID,
    };
    let rows = [
        ("auth", ErrorCode::Ok),
        ("world", refused),
        ("digest", refused),
        ("ip", refused),
        ("nosuch", INVALID),
    ];
    for (scheme, code) in rows {
        let scheme = zk_proto::Utf8Bytes::from_static(scheme);
        let body: [&dyn Encode; 6] = [&path, &one, &all, &scheme, &null, &ANY];
        assert_eq!(p.raw(OpCode::SetAcl, &body).await.code, code, "{scheme}");
    }
}

async fn digest_ids(s: Subject) {
    let mut p = s.peer().await;
    for (n, id) in ["a:b", ":b", "a:b:", "user:nobase64!"]
        .into_iter()
        .enumerate()
    {
        let list = only(Perms::ALL, "digest", id);
        p.ok(create_for(&s.path(&n.to_string()), list.clone()))
            .await;
    }
    for id in ["", "abc", "a:", ":", "::", "a::b", "a:b:c"] {
        p.fails(
            create_for(&s.path("x"), only(Perms::ALL, "digest", id)),
            INVALID,
        )
        .await;
    }
}

async fn ip_ids(s: Subject) {
    let mut p = s.peer().await;
    let good = [
        "127.0.0.1",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "1.2.3.4/32",
        "::1",
        "fe80::/10",
        "::/0",
        "::1/128",
    ];
    for (n, id) in good.into_iter().enumerate() {
        let list = only(Perms::ALL, "ip", id);
        p.ok(create_for(&s.path(&n.to_string()), list)).await;
    }
    let bad = [
        "",
        "/",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "::1/129",
        "1.2.3",
        "1.2.3.256",
        "localhost",
        "1.2.3.4/8/8",
        "1.2.3.4/x",
    ];
    for id in bad {
        p.fails(
            create_for(&s.path("x"), only(Perms::ALL, "ip", id)),
            INVALID,
        )
        .await;
    }
}

async fn permissions_are_not_checked(s: Subject) {
    let mut p = s.peer().await;
    for perms in [0, 32, -1, i32::MAX] {
        let mut list = Acl::open();
        list.extend(only(Perms(perms), "ip", "10.0.0.1"));
        let path = s.path(&perms.to_string());
        p.ok(create_for(&path, list.clone())).await;
        assert_eq!(acl(&mut p, &path).await, list);
    }
}

async fn auth_stands_for_the_callers_ids(s: Subject) {
    let mut p = s.peer().await;
    p.ok(auth("digest", b"user:secret")).await;
    p.ok(auth("digest", b"second:x")).await;
    for id in ["", "text that does not matter"] {
        p.ok(create_for(&s.path("a"), only(Perms::ALL, "auth", id)))
            .await;
        let list = acl(&mut p, &s.path("a")).await;
        let ids: Vec<String> = list
            .iter()
            .map(|entry| entry.id.id.as_str().to_owned())
            .collect();
        assert!(
            list.iter()
                .all(|e| e.id.scheme == "digest" && e.perms == Perms::ALL),
            "{list:?}"
        );
        assert_eq!(sorted(ids), ["second:Pfp5x95aH/iXq1ltdvU0AQveSQE=", USER]);
        p.ok(delete(&s.path("a"), ANY)).await;
    }
}

async fn auth_needs_more_than_an_address(s: Subject) {
    let mut p = s.peer().await;
    p.fails(create_for(&s.path("a"), Acl::creator_all()), INVALID)
        .await;
    p.ok(auth("ip", b"")).await;
    p.fails(create_for(&s.path("a"), Acl::creator_all()), INVALID)
        .await;
}

/// Each row: a permission, and the operations it lets through.
async fn each_permission_permits_its_operations(s: Subject) {
    let mut p = s.peer().await;
    let rows = [
        (
            Perms::READ,
            ["exists", "get", "children", "get_acl", "check"].as_slice(),
        ),
        (Perms::WRITE, &["set"]),
        (Perms::CREATE, &["create"]),
        (Perms::DELETE, &["delete"]),
        (Perms::ADMIN, &["get_acl", "set_acl"]),
    ];
    for (n, (perms, allowed)) in rows.into_iter().enumerate() {
        let node = s.path(&n.to_string());
        p.create(&node).await;
        p.create(&format!("{node}/child")).await;
        p.ok(set_acl(&node, only(perms, "world", "anyone"), ANY))
            .await;
        let attempts = [
            ("exists", exists(&node)),
            ("get", get(&node)),
            ("children", children(&node)),
            ("get_acl", get_acl(&node)),
            ("set", set(&node, b"", ANY)),
            ("create", create(&format!("{node}/other"), b"")),
            ("delete", delete(&format!("{node}/child"), ANY)),
            (
                "set_acl",
                set_acl(&node, only(perms, "world", "anyone"), ANY),
            ),
        ];
        for (name, request) in attempts {
            let expected = if allowed.contains(&name) {
                ErrorCode::Ok
            } else {
                NO_AUTH
            };
            assert_eq!(p.ask(request).await.code, expected, "{name} with {perms:?}");
        }
        let check = p.multi(vec![part_check(&node, ANY)]).await;
        let passed = matches!(check[0], zk_proto::op::MultiResult::Check);
        assert_eq!(passed, allowed.contains(&"check"), "{perms:?}: {check:?}");
    }
}

async fn get_acl_needs_read_or_admin(s: Subject) {
    let mut p = s.peer().await;
    let neither = Perms::WRITE | Perms::CREATE | Perms::DELETE;
    p.ok(create_for(&s.path("a"), only(neither, "world", "anyone")))
        .await;
    p.fails(get_acl(&s.path("a")), NO_AUTH).await;
    p.fails(get_acl(&s.path("nope")), ErrorCode::NoNode).await;
}

async fn get_acl_masks_digests_without_admin(s: Subject) {
    let (mut p, mut user) = (s.peer().await, s.peer().await);
    user.ok(auth("digest", b"user:secret")).await;
    let mut list = only(Perms::ALL, "digest", USER);
    list.extend(only(Perms::READ, "world", "anyone"));
    list.extend(only(Perms::ALL, "ip", "10.0.0.1"));
    p.ok(create_for(&s.path("a"), list.clone())).await;
    assert_eq!(acl(&mut user, &s.path("a")).await, list);
    let mut masked = list;
    masked[0] = Acl::new(Perms::ALL, "digest", "user:x");
    assert_eq!(acl(&mut p, &s.path("a")).await, masked);
}

async fn no_permission_at_all(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_for(
        &s.path("a"),
        only(Perms::NONE, "world", "anyone"),
    ))
    .await;
    for request in [
        get(&s.path("a")),
        set(&s.path("a"), b"", ANY),
        get_acl(&s.path("a")),
    ] {
        p.fails(request, NO_AUTH).await;
    }
    p.ok(delete(&s.path("a"), ANY)).await;
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

async fn the_root_and_the_config_node(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(acl(&mut p, "/").await, Acl::open());
    assert_eq!(acl(&mut p, "/zookeeper/config").await, Acl::read_only());
    p.ok(set_acl("/", Acl::open(), ANY)).await;
    p.fails(set_acl("/zookeeper/config", Acl::open(), ANY), NO_AUTH)
        .await;
}

async fn acl(p: &mut Peer, path: &str) -> Vec<Acl> {
    match p.ok(get_acl(path)).await {
        Response::GetAcl(r) => r.acl,
        other => panic!("{other:?}"),
    }
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

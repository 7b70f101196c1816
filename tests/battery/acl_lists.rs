//! Which lists may be given, and what becomes of them.

use crate::acl::{INVALID, USER, acl};
use crate::subject::{Subject, sorted};
use bytes::Bytes;
use zk_proto::{Acl, Encode, ErrorCode, OpCode, Perms};
use zk_tests::requests::{ANY, auth, create_for, delete, only, set_acl};

cases! {
    duplicates_are_dropped_and_order_kept,
    lists_that_are_refused,
    null_lists_are_refused,
    a_null_id_is_an_empty_one,
    digest_ids,
    ip_ids,
    permissions_are_not_checked,
    auth_stands_for_the_callers_ids,
    auth_needs_more_than_an_address,
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

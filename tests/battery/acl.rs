//! getACL, setACL, auth, whoAmI, and what each permission permits.

use zk_proto::{Acl, ErrorCode, Perms, op::Response};
use zk_tests::requests::{
    ANY, auth, children, create, create_for, delete, exists, get, get_acl, only, part_check, set,
    set_acl,
};

use crate::subject::{Peer, Subject};

cases! {
    set_acl_changes_one_field,
    set_acl_versions,
    the_order_of_set_acls_checks,
    each_permission_permits_its_operations,
    get_acl_needs_read_or_admin,
    get_acl_masks_digests_without_admin,
    no_permission_at_all,
    the_root_and_the_config_node,
    writes_behind_a_set_acl,
}

pub(crate) const NO_AUTH: ErrorCode = ErrorCode::NoAuth;
pub(crate) const INVALID: ErrorCode = ErrorCode::InvalidAcl;
/// `user:secret` as an identity.
pub(crate) const USER: &str = "user:5w9W4eL3797Y4Wq8AcKUPPk8ha4=";

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

async fn the_root_and_the_config_node(s: Subject) {
    let mut p = s.peer().await;
    assert_eq!(acl(&mut p, "/").await, Acl::open());
    assert_eq!(acl(&mut p, "/zookeeper/config").await, Acl::read_only());
    p.ok(set_acl("/", Acl::open(), ANY)).await;
    p.fails(set_acl("/zookeeper/config", Acl::open(), ANY), NO_AUTH)
        .await;
}

/// In Apache they are judged by the old list or by the new one, as it happens.
async fn writes_behind_a_set_acl(s: Subject) {
    let mut p = s.peer().await;
    let read_only = Acl::read_only();
    p.0.send(&set_acl(s.root(), read_only, ANY)).await.unwrap();
    p.0.send(&create(&s.path("a"), b"")).await.unwrap();
    assert_eq!(p.0.reply().await.unwrap().code, ErrorCode::Ok);
    let code = p.0.reply().await.unwrap().code;
    assert!(
        code == ErrorCode::NoAuth || (s.is_apache() && code == ErrorCode::Ok),
        "{code:?}"
    );
}

pub(crate) async fn acl(p: &mut Peer, path: &str) -> Vec<Acl> {
    match p.ok(get_acl(path)).await {
        Response::GetAcl(r) => r.acl,
        other => panic!("{other:?}"),
    }
}

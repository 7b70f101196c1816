//! Random writes that meet each other often.

use std::net::IpAddr;

use proptest::{option, prelude::*};
use zk_proto::{
    Acl, Bytes, Perms, SessionId, Utf8Bytes,
    op::{
        CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest,
        Request, SetAclRequest, SetDataRequest,
    },
};

use crate::auth::{AuthConfig, Credentials, authenticate};

pub(super) const SESSIONS: [SessionId; 3] = [
    SessionId(0x100_0000_0000_0001),
    SessionId(0x100_0000_0000_0002),
    SessionId(0x200_0000_0000_0003),
];

#[derive(Debug, Clone)]
pub(super) enum Step {
    Request(usize, Request),
    CreateSession(usize),
    Expire(usize),
    /// Everything under way is applied.
    Apply,
}

/// The first is nobody; the others have a name each.
pub(super) fn caller(who: usize) -> (SessionId, Credentials) {
    let config = AuthConfig::default();
    let nobody = Credentials::of_peer(IpAddr::from([127, 0, 0, 1]), &config);
    let credentials = match who {
        0 => nobody,
        who => {
            let secret = format!("user{who}:pw");
            authenticate(&config, &nobody, "digest", Some(secret.as_bytes())).unwrap()
        }
    };
    (SESSIONS[who], credentials)
}

fn path() -> impl Strategy<Value = Utf8Bytes> {
    let name = || prop::sample::select(vec!["a", "b", "c", "n0000000001"]);
    prop_oneof![
        20 => prop::collection::vec(name(), 1..4)
            .prop_map(|names| format!("/{}", names.join("/")).into()),
        1 => prop::sample::select(vec![
            "/", "", "a", "/a/", "//", "/a//b", "/zookeeper", "/zookeeper/quota", "/zookeeper/config",
            "/zookeeper/a",
        ])
        .prop_map(Utf8Bytes::from_static),
    ]
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    option::weighted(
        0.8,
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from),
    )
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    prop_oneof![
        12 => Just(Acl::open()),
        2 => Just(Acl::creator_all()),
        1 => Just(Acl::read_only()),
        1 => Just(vec![Acl::new(Perms::READ, "world", "anyone"), Acl::creator_all().remove(0)]),
        1 => Just(vec![Acl::new(Perms::ALL, "ip", "127.0.0.0/8"), Acl::new(Perms::READ, "ip", "::1")]),
        1 => Just(Vec::new()),
        1 => Just(vec![Acl::new(Perms::ALL, "nonsense", "x")]),
    ]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![6 => Just(-1), 4 => 0..3_i32]
}

prop_compose! {
    fn create(flags: std::ops::Range<i32>)(path in path(), data in data(), acl in acl(), flags in flags)
        -> CreateRequest {
        CreateRequest { path, data, acl, flags }
    }
}

prop_compose! {
    fn create_ttl()(path in path(), data in data(), acl in acl(), flags in prop_oneof![1 => 0..8_i32, 4 => 5..7_i32],
        ttl_ms in prop_oneof![1 => Just(-1_i64), 1 => Just(0), 1 => Just(1 << 40), 5 => 1..100_000_i64])
        -> CreateTtlRequest {
        CreateTtlRequest { path, data, acl, flags, ttl_ms }
    }
}

prop_compose! {
    fn delete()(path in path(), version in version()) -> DeleteRequest {
        DeleteRequest { path, version }
    }
}

prop_compose! {
    fn set_data()(path in path(), data in data(), version in version()) -> SetDataRequest {
        SetDataRequest { path, data, version }
    }
}

prop_compose! {
    fn set_acl()(path in path(), acl in acl(), version in version()) -> SetAclRequest {
        SetAclRequest { path, acl, version }
    }
}

fn multi() -> impl Strategy<Value = MultiRequest> {
    let op = prop_oneof![
        4 => create(0..5).prop_map(MultiOp::Create),
        2 => create(0..5).prop_map(MultiOp::Create2),
        1 => create(0..5).prop_map(MultiOp::CreateContainer),
        1 => create_ttl().prop_map(|r| MultiOp::CreateTtl(if (0..=6).contains(&r.flags) { r } else {
            CreateTtlRequest { flags: 0, ..r }
        })),
        4 => delete().prop_map(MultiOp::Delete),
        4 => set_data().prop_map(MultiOp::SetData),
        2 => (path(), version()).prop_map(|(path, version)| MultiOp::Check(CheckVersionRequest { path, version })),
    ];
    prop::collection::vec(op, 0..5).prop_map(|ops| MultiRequest { ops })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => create(0..5).prop_map(Request::Create),
        4 => create(0..5).prop_map(Request::Create2),
        1 => create(-1..8).prop_map(Request::Create2),
        1 => create(0..5).prop_map(Request::CreateContainer),
        1 => create_ttl().prop_map(Request::CreateTtl),
        6 => delete().prop_map(Request::Delete),
        4 => set_data().prop_map(Request::SetData),
        2 => set_acl().prop_map(Request::SetAcl),
        4 => multi().prop_map(Request::Multi),
        1 => Just(Request::CloseSession),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let who = || 0..SESSIONS.len();
    prop_oneof![
        20 => (who(), request()).prop_map(|(who, request)| Step::Request(who, request)),
        1 => who().prop_map(Step::CreateSession),
        1 => who().prop_map(Step::Expire),
        4 => Just(Step::Apply),
    ]
}

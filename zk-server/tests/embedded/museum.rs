//! Requests that ended Apache servers for good: accepted, logged, and fatal when applied and at every later start.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::{
    Acl, CreateMode, Encode, Perms, Xid,
    header::RequestHeader,
    op::{
        CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest, Request,
        SetAclRequest,
    },
};
use zk_server::{Server, storage::MemDisk};

use crate::{
    client::{Client, create, get},
    memory_net::MemoryNet,
};

type Connection = Client<tokio::io::DuplexStream>;

/// A server on this disk, and a session.
async fn serve(disk: &MemDisk, settings: &[(&str, &str)]) -> (Server, Connection) {
    let net = MemoryNet::new(1 << 20);
    let mut server = Server::builder()
        .net(net.clone())
        .disk(Arc::new(disk.clone()));
    for (key, value) in settings {
        server = server.set(key, value);
    }
    let server = server.start().await.unwrap();
    let (client, _) = net.connect().open().await;
    (server, client)
}

fn create_with(path: &str, acl: Vec<Acl>) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(Bytes::from_static(b"x")),
        acl,
        flags: 0,
    })
}

fn odd_requests() -> Vec<Request> {
    let plain = |path: &str| create(path, "x", CreateMode::Persistent);
    let paths = [
        "",
        "/",
        "//",
        "a",
        "/a//b",
        "/.",
        "/..",
        "/a/",
        "/\u{1}",
        "/\0",
        "/zookeeper",
        "/zookeeper/quota",
    ];
    let mut odd: Vec<Request> = paths.into_iter().map(plain).collect();
    let list = |scheme: &str, id: &str| vec![Acl::new(Perms(31), scheme, id)];
    for acl in [
        Vec::new(),
        list("", ""),
        list("world", "nobody"),
        list("digest", "no-colon"),
        list("digest", ":"),
        list("ip", "1.2.3.4.5"),
        list("ip", "1.2.3.4/99"),
        list("auth", ""),
        list("x509", "CN=\n"),
        list("none-such", "x"),
    ] {
        odd.push(create_with("/odd-acl", acl.clone()));
        let path = "/".into();
        odd.push(Request::SetAcl(SetAclRequest {
            path,
            acl,
            version: -1,
        }));
    }
    for (path, data) in [
        ("/zookeeper/quota/q", ""),
        ("/zookeeper/quota/q/zookeeper_limits", "no limits"),
        ("/zookeeper/quota/q/zookeeper_stats", "no statistics"),
        ("/q", "under an odd quota"),
        ("/q/child", "too"),
    ] {
        odd.push(create(path, data, CreateMode::Persistent));
    }
    for ttl_ms in [-1, 0, i64::MIN, i64::MAX] {
        odd.push(Request::CreateTtl(CreateTtlRequest {
            path: "/odd-ttl".into(),
            data: None,
            acl: Acl::open(),
            flags: CreateMode::PersistentWithTtl.flags(),
            ttl_ms,
        }));
    }
    odd.extend(odd_multis());
    odd
}

fn odd_multis() -> [Request; 2] {
    let part = |path: &str| {
        MultiOp::Create(CreateRequest {
            path: path.into(),
            data: None,
            acl: Acl::open(),
            flags: 0,
        })
    };
    let gone = MultiOp::Delete(DeleteRequest {
        path: "".into(),
        version: -1,
    });
    let ops = vec![part("/m"), part(""), gone];
    [ops, Vec::new()].map(|ops| Request::Multi(MultiRequest { ops }))
}

#[tokio::test(start_paused = true)]
async fn zookeeper_1448_1877_2213_no_request_keeps_a_server_from_starting_again() {
    let disk = MemDisk::new();
    let settings = [("extendedTypesEnabled", "true"), ("enforceQuota", "true")];
    let (server, mut client) = serve(&disk, &settings).await;
    client
        .call(1, create("/kept", "x", CreateMode::Persistent))
        .await;
    server.shutdown().await.unwrap();
    for (seed, odd) in odd_requests().into_iter().enumerate() {
        let (server, mut client) = serve(&disk, &settings).await;
        client.send(1, std::slice::from_ref(&odd)).await;
        // An answer, or the end of the connection: never the end of the server.
        let _answer = client.reply().await;
        drop(client);
        disk.power_cut(seed as u64);
        let _ended = server.shutdown().await;
        let (server, mut client) = serve(&disk, &settings).await;
        let (data, _) = client.call(1, get("/kept")).await.data();
        assert_eq!(&data[..], b"x", "{odd:?}");
        drop(client);
        server.shutdown().await.unwrap();
    }
}

/// A multi whose frame is exactly this long.
fn multi_of(len: usize, number: usize) -> Request {
    let build = |padding: usize| {
        let part = |name: &str, data: usize| {
            MultiOp::Create(CreateRequest {
                path: format!("/{number}-{name}").into(),
                data: Some(vec![b'x'; data].into()),
                acl: Acl::open(),
                flags: 0,
            })
        };
        Request::Multi(MultiRequest {
            ops: vec![part("a", 10), part("b", padding), part("c", 10)],
        })
    };
    let header = RequestHeader { xid: Xid(1), op: 0 };
    let empty = build(0).encoded_len() + header.encoded_len();
    build(len - empty)
}

#[tokio::test(start_paused = true)]
async fn zookeeper_2101_3496_what_is_accepted_can_be_read_back() {
    const LIMIT: usize = 4096;
    let settings = [("jute.maxbuffer", "4096"), ("snapCount", "10")];
    let disk = MemDisk::new();
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..40 {
        let len = LIMIT - 20 + number;
        let (server, mut client) = serve(&disk, &settings).await;
        client.send(1, &[multi_of(len, number)]).await;
        match client.reply().await {
            Some(reply) if reply.header.err == 0 => accepted.push(number),
            _ => refused += 1,
        }
        drop(client);
        server.shutdown().await.unwrap();
        let (server, mut client) = serve(&disk, &settings).await;
        for number in &accepted {
            for part in ["a", "b", "c"] {
                let reply = client.call(1, get(&format!("/{number}-{part}"))).await;
                assert_eq!(reply.header.err, 0, "{number}-{part}");
            }
        }
        drop(client);
        server.shutdown().await.unwrap();
    }
    assert!(
        accepted.len() > 10 && refused > 10,
        "{accepted:?} {refused}"
    );
}

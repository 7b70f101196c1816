//! The tree as clients meet it: requests in, answers and events out.

mod apache;
mod apply;
mod events;
mod museum;
mod quota;
mod read;
mod size;

use std::net::IpAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;
use zk_proto::{
    Acl, ErrorCode, OpCode, SessionId, Stat, Xid, Zxid,
    op::{CreateRequest, DeleteRequest, Request, Response, SetDataRequest},
    watch::EventType,
};

use super::{
    Applied, DataTree, Effects, TreeOptions,
    read::{Caller, read, reply_len, set_watches},
    watches::{ConnId, WatchTable},
};
use crate::{
    auth::{AuthConfig, Credentials, authenticate},
    frames::Frames,
    prep::{Prep, PrepOptions, Standing, WriteOp, WriteRequest},
    time::Now,
};

/// A tree, its watches, and two clients: 1 is `alice`, 2 is nobody.
struct Server {
    tree: DataTree,
    prep: Prep,
    watches: Mutex<WatchTable>,
    zxid: Zxid,
    clock_ms: i64,
    clients: [Credentials; 2],
    /// What each client was told, with the client's number.
    told: Vec<(u32, EventType, String)>,
}

impl Server {
    fn new() -> Self {
        Self::with(PrepOptions::default())
    }

    fn with(options: PrepOptions) -> Self {
        let nobody = Credentials::of_peer(IpAddr::from([127, 0, 0, 1]), &options.auth);
        let alice = authenticate(&AuthConfig::default(), &nobody, "digest", Some(b"alice:pw"));
        Self {
            tree: DataTree::new(&TreeOptions {
                extended_types: true,
                emulate_353_ttl: false,
                ..TreeOptions::default()
            }),
            prep: Prep::new(options),
            watches: Mutex::new(WatchTable::new(0)),
            zxid: Zxid::ZERO,
            clock_ms: 0,
            clients: [alice.unwrap(), nobody],
            told: Vec::new(),
        }
    }

    /// A write by alice.
    fn write(&mut self, request: &Request) -> Applied {
        self.carry_out(1, WriteOp::Request(request))
    }

    fn carry_out(&mut self, client: u32, op: WriteOp<'_>) -> Applied {
        self.zxid = self.zxid.successor().unwrap();
        let request = WriteRequest {
            session: SessionId(client.into()),
            cxid: Xid(1),
            credentials: &self.clients[client as usize - 1],
            standing: Standing::GOOD,
            op,
        };
        let now = Now {
            wall_ms: self.clock_ms,
            ..Now::default()
        };
        let prepared = self.prep.prepare(&self.tree, &request, self.zxid, now);
        let mut effects = Effects::new();
        let applied = self
            .tree
            .apply(&prepared.header, &prepared.txn, &mut effects);
        self.prep.applied(self.zxid);
        if let Some(digest) = prepared.digest {
            assert_eq!(self.tree.digest().to_i64(), digest.tree_digest);
        }
        self.tell(&effects);
        applied
    }

    fn tell(&mut self, effects: &Effects) {
        for event in effects.events() {
            self.watches
                .get_mut()
                .trigger(event.kind, event.path(), |conn| {
                    if event.readable_by(&self.clients[conn.0 as usize - 1]) {
                        self.told
                            .push((conn.0, event.kind, event.path().to_owned()));
                    }
                });
        }
    }

    /// A read by a client, decoded.
    fn read_by(&self, client: u32, request: &Request) -> Result<Response, ErrorCode> {
        let caller = Caller {
            conn: ConnId(client),
            session: SessionId(client.into()),
            credentials: &self.clients[client as usize - 1],
        };
        let mut out = Frames::new();
        match read(&self.tree, &self.watches, &caller, request, &mut out) {
            Ok(()) => {
                assert!(out.len() <= reply_len(&self.tree, &caller, request));
                Ok(decoded(request.op_code(), &out.copy_to_bytes(out.len())))
            }
            Err(error) => {
                assert!(out.is_empty());
                Err(error)
            }
        }
    }

    /// A read by alice, decoded.
    fn read(&self, request: &Request) -> Result<Response, ErrorCode> {
        self.read_by(1, request)
    }

    fn stat(&self, path: &str) -> Stat {
        self.tree.node(path).unwrap().stat()
    }

    fn create(&mut self, path: &str, data: &'static [u8]) {
        let applied = self.write(&create(path, data, Acl::open(), 0));
        assert_eq!(applied.error(), ErrorCode::Ok);
    }
}

fn decoded(op: OpCode, body: &[u8]) -> Response {
    let mut input = zk_proto::Reader::new(Bytes::copy_from_slice(body));
    let response = Response::decode(op, &mut input).unwrap();
    input.finish().unwrap();
    response
}

fn create(path: &str, data: &'static [u8], acl: Vec<Acl>, flags: i32) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(Bytes::from_static(data)),
        acl,
        flags,
    })
}

fn set(path: &str, data: &'static [u8]) -> Request {
    Request::SetData(SetDataRequest {
        path: path.into(),
        data: Some(Bytes::from_static(data)),
        version: -1,
    })
}

fn delete(path: &str) -> Request {
    Request::Delete(DeleteRequest {
        path: path.into(),
        version: -1,
    })
}

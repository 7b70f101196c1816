//! A session that writes as fast as it may and records what it did, until its server is gone.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
};

use tokio::sync::Semaphore;
use zk_proto::{
    Acl, Bytes, CreateMode, ErrorCode, OpCode, Zxid,
    op::{
        CreateRequest, DeleteRequest, GetChildrenRequest, GetDataRequest, Request, Response,
        SetDataRequest, SyncRequest,
    },
};
use zk_tests::{
    history::{History, Node, Nodes, Write},
    raw::RawClient,
};

/// Requests in flight.
const DEPTH: usize = 24;

/// Nodes that are set again and again.
const REGISTERS: usize = 4;

/// As many nodes as one writer keeps.
const NODES_MAX: usize = 48;

/// Longer than a test; its writers never ping.
const SESSION_TIMEOUT_MS: i32 = 40_000;

/// The node that holds all nodes of one writer.
pub(crate) fn home(writer: usize) -> String {
    format!("/kill9-{writer}")
}

/// Makes a writer's home; it may be there already.
pub(crate) async fn make_home(addr: SocketAddr, writer: usize) -> io::Result<()> {
    let (mut client, _) = session(addr).await?;
    let answer = client.call(create(home(writer), Bytes::new())).await?;
    assert!(
        matches!(answer.code(), ErrorCode::Ok | ErrorCode::NodeExists),
        "{:?}",
        answer.code()
    );
    Ok(())
}

/// Everything in a writer's home, as a new session sees it.
pub(crate) async fn look(client: &mut RawClient, writer: usize) -> io::Result<Nodes> {
    let home = home(writer);
    let list = Request::GetChildren(GetChildrenRequest {
        path: home.as_str().into(),
        watch: false,
    });
    let answer = client.call(list).await?;
    if answer.code() == ErrorCode::NoNode {
        return Ok(Nodes::new());
    }
    let Ok(Response::GetChildren(list)) = answer.response(OpCode::GetChildren) else {
        panic!("{home}: {answer:?}");
    };
    let path = |name| format!("{home}/{name}");
    let paths: Vec<String> = list.children.iter().map(path).collect();
    let get = |path: &String| {
        Request::GetData(GetDataRequest {
            path: path.as_str().into(),
            watch: false,
        })
    };
    client
        .ask(&paths.iter().map(get).collect::<Vec<_>>())
        .await?;
    let mut nodes = Nodes::new();
    for path in paths {
        let answer = client.answer().await?;
        let Ok(Response::GetData(found)) = answer.response(OpCode::GetData) else {
            panic!("{path}: {answer:?}");
        };
        let node = Node {
            data: found.data.unwrap_or_default(),
            version: found.stat.version,
            mzxid: Some(found.stat.mzxid),
        };
        nodes.insert(path, node);
    }
    Ok(nodes)
}

/// A new session that sees every write acknowledged before it, and the server's last zxid.
pub(crate) async fn session(addr: SocketAddr) -> io::Result<(RawClient, Zxid)> {
    let mut client = RawClient::connect(addr).await?;
    client.open_session(SESSION_TIMEOUT_MS).await?;
    let sync = Request::Sync(SyncRequest { path: "/".into() });
    let answer = client.call(sync).await?;
    assert_eq!(answer.code(), ErrorCode::Ok);
    Ok((client, answer.header.zxid))
}

/// Writes to its own home over its own session, with a full pipeline, until the connection ends.
#[derive(Debug)]
pub(crate) struct Writer {
    home: String,
    rng: fastrand::Rng,
    live: BTreeSet<String>,
    serial: u64,
    history: History,
}

impl Writer {
    /// `before` is what is in the home; `serial` is no number of an earlier run's.
    pub(crate) fn new(writer: usize, seed: u64, serial: u64, before: Nodes) -> Self {
        Self {
            home: home(writer),
            rng: fastrand::Rng::with_seed(seed),
            live: before.keys().cloned().collect(),
            serial,
            history: History {
                before,
                ..History::default()
            },
        }
    }

    /// Writes until the server is gone; each acknowledgement adds a permit to `acknowledged`.
    ///
    /// A refusal ends the test: every write here is one that an honest server carries out.
    pub(crate) async fn run(mut self, addr: SocketAddr, acknowledged: Arc<Semaphore>) -> History {
        let _ = self.pump(addr, &acknowledged).await;
        self.history
    }

    async fn pump(&mut self, addr: SocketAddr, acknowledged: &Semaphore) -> io::Result<()> {
        let (mut client, _) = session(addr).await?;
        let mut in_flight = VecDeque::new();
        loop {
            // Whatever is asked is recorded first: it may be carried out from here on.
            let mut requests = Vec::new();
            while in_flight.len() < DEPTH {
                let request = self.next();
                in_flight.push_back(request.op_code());
                requests.push(request);
            }
            client.ask(&requests).await?;
            // A random number of answers at a time, so that the batches that the server sees differ in size.
            for _ in 0..self.rng.usize(1..=DEPTH) {
                let answer = client.answer().await?;
                let op = in_flight.pop_front().expect("an answer to no question");
                let refused = answer.response(op).err();
                assert_eq!(
                    refused,
                    None,
                    "write {} was refused",
                    self.history.acks.len()
                );
                self.history.acks.push(answer.header.zxid);
                acknowledged.add_permits(1);
            }
        }
    }

    fn next(&mut self) -> Request {
        self.serial += 1;
        let padding = "x".repeat(self.rng.usize(0..300));
        let data = Bytes::from(format!("{}-{padding}", self.serial));
        let register = format!("{}/r{}", self.home, self.rng.usize(0..REGISTERS));
        let fresh = format!("{}/n{}", self.home, self.serial);
        let roll = self.rng.u8(0..10);
        let write = match (roll, self.any()) {
            (0..5, _) if self.live.contains(&register) => Write::Set {
                path: register,
                data,
            },
            (0..5, _) => Write::Create {
                path: register,
                data,
            },
            (5..8, _) if self.live.len() < NODES_MAX => Write::Create { path: fresh, data },
            (_, None) => Write::Create { path: fresh, data },
            (8, Some(path)) => Write::Set { path, data },
            (_, Some(path)) => Write::Delete { path },
        };
        self.record(write)
    }

    /// One of the nodes that are there.
    fn any(&mut self) -> Option<String> {
        let index = self.rng.usize(0..self.live.len().max(1));
        self.live.iter().nth(index).cloned()
    }

    fn record(&mut self, write: Write) -> Request {
        let request = match &write {
            Write::Create { path, data } => {
                self.live.insert(path.clone());
                create(path.clone(), data.clone())
            }
            Write::Set { path, data } => Request::SetData(SetDataRequest {
                path: path.as_str().into(),
                data: Some(data.clone()),
                version: -1,
            }),
            Write::Delete { path } => {
                self.live.remove(path);
                Request::Delete(DeleteRequest {
                    path: path.as_str().into(),
                    version: -1,
                })
            }
        };
        self.history.writes.push(write);
        request
    }
}

fn create(path: String, data: Bytes) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(data),
        acl: Acl::open(),
        flags: CreateMode::Persistent as i32,
    })
}

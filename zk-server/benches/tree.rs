//! What a node and a watch cost in memory, and an operation in time, without disk and network.
//!
//! `cargo bench -p zk-server --bench tree`, with the number of nodes as an argument (500 000 if none).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures and prints"
)]

use std::{hint::black_box, net::IpAddr, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use zk_proto::{
    Acl, SessionId, Xid, Zxid,
    op::{
        CreateRequest, ExistsRequest, GetChildrenRequest, GetDataRequest, Request, SetDataRequest,
    },
    watch::EventType,
};
use zk_server::{
    auth::{AuthConfig, Credentials},
    frames::Frames,
    prep::{Prep, PrepOptions, Standing, WriteOp, WriteRequest},
    time::Now,
    tree::{
        DataTree, Effects, TreeBuilder, TreeOptions,
        read::{Caller, read},
        watches::{ConnId, WatchKinds, WatchTable},
    },
};

struct Bench {
    tree: DataTree,
    prep: Prep,
    effects: Effects,
    zxid: Zxid,
    credentials: Credentials,
}

impl Bench {
    fn write(&mut self, request: &Request) {
        self.zxid = self.zxid.successor().unwrap();
        let request = WriteRequest {
            session: SessionId(1),
            cxid: Xid(1),
            credentials: &self.credentials,
            standing: Standing::GOOD,
            op: WriteOp::Request(request),
        };
        let now = Now::default();
        let prepared = self.prep.prepare(&self.tree, &request, self.zxid, now);
        self.effects.clear();
        let applied = self
            .tree
            .apply(&prepared.header, &prepared.txn, &mut self.effects);
        assert_eq!(applied.error().code(), 0);
        assert_eq!(
            self.tree.digest().to_i64(),
            prepared.digest.unwrap().tree_digest
        );
        self.prep.applied(self.zxid);
        black_box(applied);
    }
}

fn main() {
    let mut args = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let count = args.next().unwrap_or(500_000);
    let mut bench = Bench {
        tree: DataTree::new(&TreeOptions::default()),
        prep: Prep::new(PrepOptions::default()),
        effects: Effects::new(),
        zxid: Zxid::ZERO,
        credentials: Credentials::of_peer(IpAddr::from([127, 0, 0, 1]), &AuthConfig::default()),
    };
    let path = |at: usize| format!("/load/n{at:010}");
    bench.write(&create("/load".to_owned()));
    let before = rss();
    timed("create (prep and apply)", count, |at| {
        bench.write(&create(path(at)));
    });
    println!("memory: {} bytes a node", (rss() - before) / count);
    let data = Bytes::from(vec![b'y'; 128]);
    timed("set (prep and apply)", count, |at| {
        bench.write(&Request::SetData(SetDataRequest {
            path: path(at % 1000).into(),
            data: Some(data.clone()),
            version: -1,
        }));
    });
    reads(&bench, count, path);
    watches(count);
    let copy = cut(&mut bench.tree, count);
    assert_eq!(copy.digest(), bench.tree.digest());
}

fn create(path: String) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(Bytes::from(vec![b'x'; 128])),
        acl: Acl::open(),
        flags: 0,
    })
}

fn reads(bench: &Bench, count: usize, path: impl Fn(usize) -> String) {
    let watches = Mutex::new(WatchTable::new(0));
    let caller = Caller {
        conn: ConnId(1),
        session: SessionId(1),
        credentials: &bench.credentials,
    };
    let get = |at| {
        Request::GetData(GetDataRequest {
            path: path(at).into(),
            watch: false,
        })
    };
    let mut out = Frames::new();
    let mut run = |what: &str, requests: &[Request]| {
        timed(what, count, |at| {
            out.clear();
            let request = &requests[at % requests.len()];
            read(&bench.tree, &watches, &caller, request, &mut out).unwrap();
            black_box(&out);
        });
    };
    run(
        "get, of 1000 nodes",
        &(0..1000).map(get).collect::<Vec<_>>(),
    );
    let spread = (0..count.min(100_000)).map(|at| get(at * 7_919 % count));
    run("get, of all nodes", &spread.collect::<Vec<_>>());
    run(
        "exists",
        &[Request::Exists(ExistsRequest {
            path: path(1).into(),
            watch: false,
        })],
    );
    timed("getChildren of all nodes", 1, |_| {
        out.clear();
        let request = Request::GetChildren(GetChildrenRequest {
            path: "/load".into(),
            watch: false,
        });
        read(&bench.tree, &watches, &caller, &request, &mut out).unwrap();
    });
}

fn watches(count: usize) {
    let before = rss();
    let mut table = WatchTable::new(0);
    let conn = |at| ConnId(u32::try_from(at).unwrap());
    let path = |at: usize| format!("/watched/n{at:010}");
    timed("watch, each its own path", count, |at| {
        table.register(conn(at % 100), &path(at), WatchKinds::DATA);
    });
    println!("memory: {} bytes a watch", (rss() - before) / count);
    timed("watch, one path", 5000, |at| {
        table.register(conn(at), "/one", WatchKinds::DATA);
    });
    let mut fired = 0;
    timed("fire 5000 watches of one path", 1, |_| {
        table.trigger(EventType::NodeDataChanged, "/one", |_| fired += 1);
    });
    assert_eq!(fired, 5000);
    timed("an event that nobody watches", count, |_| {
        table.trigger(EventType::NodeDataChanged, "/elsewhere", |_| fired += 1);
    });
}

fn cut(tree: &mut DataTree, count: usize) -> DataTree {
    let before = rss();
    let mut builder = TreeBuilder::new(&TreeOptions::default());
    let cut = tree.begin_cut();
    for (number, acl) in &cut.acls {
        builder.acl(*number, acl.entries().to_vec());
    }
    let start = Instant::now();
    let mut worst = start.elapsed();
    loop {
        let chunk = Instant::now();
        let mut nodes = 0;
        let more = tree.walk_cut(&cut, 256 << 10, |_| nodes += 1);
        worst = worst.max(chunk.elapsed());
        if !more {
            break;
        }
    }
    println!(
        "walk: {:?}, the longest of its locks {worst:?}",
        start.elapsed()
    );
    tree.end_cut(cut);
    let cut = tree.begin_cut();
    timed("walk and rebuild, a node", count, |at| {
        if at == 0 {
            while tree.walk_cut(&cut, 256 << 10, |node| builder.node(&node).unwrap()) {}
        }
    });
    let copy = builder.finish(cut.zxid).unwrap();
    tree.end_cut(cut);
    println!("memory: {} bytes a rebuilt node", (rss() - before) / count);
    copy
}

/// Prints processor time, which a busy machine distorts less, and the time that passed.
fn timed(what: &str, count: usize, mut run: impl FnMut(usize)) {
    let (start, cpu) = (Instant::now(), cpu_ns());
    (0..count).for_each(&mut run);
    let each = start.elapsed().as_nanos() / count as u128;
    println!(
        "{what}: {} ns ({each} passed)",
        (cpu_ns() - cpu) / count as u64
    );
}

/// The time that this thread has been running; kept by the kernel, every few milliseconds.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// Resident memory of this process in bytes.
fn rss() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

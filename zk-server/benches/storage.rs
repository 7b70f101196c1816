//! What the disk costs: one durable record with and without space ahead of need, and the way back from 500 000 nodes.
//!
//! `cargo bench -p zk-server --bench storage [DIRECTORY]`; the figures are those of the file system under the
//! directory (by default the system's temporary one).

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures time and prints"
)]

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use zk_proto::{
    Acl, Encode, SessionId, Xid, Zxid,
    txn::{CreateTxn, Txn, TxnHeader, TxnLogEntry},
};
use zk_server::{
    config::Config,
    storage::{
        Directories, DiskOp, LogExecutor, RecoveryOptions, SnapshotOptions, put_piece, recover,
        write_snapshot,
    },
};

const NODES: usize = 500_000;
const DATA: &[u8] = &[b'x'; 128];

/// Wall clock and processor time since a moment: on a busy machine only the second means something.
struct Watch(Instant, Duration);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu) = (self.0.elapsed(), cpu() - self.1);
        write!(
            f,
            "{:.0} ms ({:.0} ms of processor)",
            wall.as_secs_f64() * 1e3,
            cpu.as_secs_f64() * 1e3
        )
    }
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap()
}

fn main() {
    let parent = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let dir = || match &parent {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    for (what, settings) in [
        ("zeros ahead of need", &[][..]),
        ("no space ahead", &["preAllocSize=0"]),
        ("zeros ahead of need, again", &[]),
        ("no space ahead, again", &["preAllocSize=0"]),
    ] {
        let dir = dir();
        let [p10, p50, p99, max] = single_records(dir.path(), settings);
        println!("one record, durable, {what}: p10 {p10:?} p50 {p50:?} p99 {p99:?} max {max:?}");
    }
    let dir = dir();
    restart(dir.path());
}

fn open(dir: &Path, settings: &[&str]) -> (Directories, RecoveryOptions) {
    let data_dir = format!("dataDir={}", dir.display());
    let settings: Vec<_> = settings.iter().copied().chain([&*data_dir]).collect();
    let config = Config::without_file(&settings).unwrap().config;
    (
        Directories::open(&config).unwrap(),
        RecoveryOptions::of(&config, 7),
    )
}

fn record(n: i64) -> DiskOp {
    let zxid = Zxid(n);
    let header = TxnHeader {
        client_id: SessionId(1),
        cxid: Xid(1),
        zxid,
        time: 1_700_000_000_000,
        kind: 1,
    };
    let txn = Txn::Create(CreateTxn {
        path: format!("/bench-{n:010}").into(),
        data: Some(Bytes::from_static(DATA)),
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion: i32::try_from(n).unwrap(),
    });
    let entry = TxnLogEntry {
        header,
        txn,
        digest: None,
    };
    DiskOp::Append {
        zxid,
        record: entry.to_bytes(),
    }
}

fn append(log: &mut LogExecutor, batch: impl IntoIterator<Item = DiskOp>) {
    let mut done = Vec::new();
    log.execute(batch, &mut done);
    while let Some(job) = log.background_job() {
        std::thread::spawn(move || job.run());
    }
}

/// 20 000 records, each durable before the next: the best tenth, the median, the worst.
fn single_records(dir: &Path, settings: &[&str]) -> [Duration; 4] {
    let (directories, options) = open(dir, settings);
    let mut log = recover(&directories, &options).unwrap().log;
    let mut times: Vec<_> = (1..=20_000)
        .map(|n| {
            let start = Instant::now();
            append(&mut log, [record(n)]);
            start.elapsed()
        })
        .collect();
    times.sort();
    let last = times.len() - 1;
    [last / 10, last / 2, last * 99 / 100, last].map(|at| times[at])
}

fn restart(dir: &Path) {
    let (directories, options) = open(dir, &[]);
    let mut back = recover(&directories, &options).unwrap();
    let watch = Watch::start();
    let mut next = 1;
    while next <= NODES as i64 {
        append(&mut back.log, (next..next + 500).map(record));
        next += 500;
    }
    println!("{NODES} creates in batches of 500: {watch}");
    back.log.close();

    let watch = Watch::start();
    let mut back = recover(&directories, &options).unwrap();
    println!(
        "{} replayed from the log: {watch}",
        back.txns_since_snapshot
    );
    assert_eq!(back.tree.node_count(), NODES + 5);

    let watch = Watch::start();
    let cut = back.tree.begin_cut();
    let snapshot = SnapshotOptions {
        digest: true,
        last_processed: true,
    };
    let tree = &back.tree;
    let done = write_snapshot(
        &directories,
        &cut,
        &mut |out| Ok(put_piece(tree, &cut, out)),
        &snapshot,
    )
    .unwrap();
    println!("snapshot of {} MB written: {watch}", done.bytes / 1_000_000);
    drop(back);

    for _ in 0..3 {
        let watch = Watch::start();
        let back = recover(&directories, &options).unwrap();
        println!("{NODES} nodes back from the snapshot: {watch}");
        assert_eq!(back.txns_since_snapshot, 0);
    }
}

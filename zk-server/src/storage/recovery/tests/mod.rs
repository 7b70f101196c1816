//! Recovery from every kind of end and damage.

mod apache;
mod author;
mod damage;
mod every_byte;
mod files;
mod history;
mod museum;
mod power;
mod set_aside;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use zk_proto::{Acl, SessionId, Zxid, persist::TreeDigest, stat::StatPersisted};

use self::author::Author;
use super::{Recovered, RecoveryOptions, recover};
use crate::{
    config::Config,
    storage::{
        Directories, Disk, DiskDone, DiskOp, Fatal, LogExecutor, MemDisk, layout::VERSION_DIR,
    },
    tree::{CutNode, DataTree},
};

/// Everything about a tree that a client or a snapshot can see.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dump {
    last: Zxid,
    digest: TreeDigest,
    sessions: Vec<(SessionId, i32)>,
    nodes: BTreeMap<String, DumpedNode>,
}

type DumpedNode = (Option<Vec<u8>>, Vec<Acl>, StatPersisted);

fn dump(tree: &mut DataTree) -> Dump {
    let cut = tree.begin_cut();
    let acls: BTreeMap<_, _> = cut.acls.iter().cloned().collect();
    let mut nodes = BTreeMap::new();
    let mut keep = |node: CutNode<'_>| {
        let acl = acls.get(&node.acl);
        let acl = acl.map_or_else(Acl::open, |list| list.entries().to_vec());
        let data = node.data.map(<[u8]>::to_vec);
        nodes.insert(node.path.to_owned(), (data, acl, node.stat));
    };
    while tree.walk_cut(&cut, usize::MAX, &mut keep) {}
    let dump = Dump {
        last: cut.zxid,
        digest: cut.digest,
        sessions: cut.sessions.clone(),
        nodes,
    };
    tree.end_cut(cut);
    dump
}

fn options(settings: &[&str]) -> RecoveryOptions {
    let mut config = Config::without_file(settings).unwrap().config;
    config.extended_types_enabled = true;
    RecoveryOptions::of(&config, 1)
}

/// As `preAllocSize` is set where files should be small.
const SMALL: &str = "preAllocSize=8";

fn directories(disk: &MemDisk) -> Directories {
    Directories::on(Arc::new(disk.clone())).unwrap()
}

/// Recovers as a new process would.
fn try_recover(disk: &MemDisk) -> Result<Recovered, Fatal> {
    disk.kill();
    recover(&directories(disk), &options(&[SMALL]))
}

fn recovered(disk: &MemDisk) -> Recovered {
    try_recover(disk).unwrap()
}

/// Writes these records, a batch in one go; returns the last one that was reported synced.
fn execute(log: &mut LogExecutor, ops: Vec<DiskOp>) -> Result<Option<Zxid>, Fatal> {
    let mut done = Vec::new();
    log.execute(ops, &mut done);
    while let Some(job) = log.background_job() {
        job.run();
    }
    let mut synced = None;
    for done in done {
        match done {
            DiskDone::Synced { zxid, .. } => synced = Some(zxid.get()),
            DiskDone::Failed(fatal) => return Err(fatal),
            _ => {}
        }
    }
    Ok(synced)
}

fn append((zxid, record): (Zxid, Bytes)) -> DiskOp {
    DiskOp::Append { zxid, record }
}

/// A fresh directory with this many records in one log, all synced, and the tree after each of them.
fn written(records: usize) -> (MemDisk, Vec<Dump>) {
    let disk = MemDisk::new();
    let mut log = recovered(&disk).log;
    let mut author = Author::new();
    let mut dumps = vec![author.dump()];
    for _ in 0..records {
        let record = author.write();
        execute(&mut log, vec![append(record)]).unwrap();
        dumps.push(author.dump());
    }
    log.close();
    (disk, dumps)
}

fn version(disk: &MemDisk) -> Arc<dyn Disk> {
    disk.subdirectory(VERSION_DIR).unwrap()
}

/// The content of a file of `version-2`.
fn content(disk: &MemDisk, name: &str) -> Vec<u8> {
    let mut file = version(disk).open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.file_len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The files of `version-2`.
fn names(disk: &MemDisk) -> Vec<String> {
    let mut names = crate::storage::layout::names(&*version(disk)).unwrap();
    names.sort();
    names
}

/// A disk with just these files in `version-2`.
fn disk_of(files: &[(&str, &[u8])]) -> MemDisk {
    let disk = MemDisk::new();
    for (name, bytes) in files {
        put(&disk, name, bytes);
    }
    disk
}

fn put(disk: &MemDisk, name: &str, bytes: &[u8]) {
    let mut file = version(disk)
        .create(name, crate::storage::Access::Default)
        .unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    version(disk).sync_dir().unwrap();
}

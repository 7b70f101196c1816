//! One member: its disk, which outlives it, and its process, which does not.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Acl, Decode, Encode, Epoch, Reader, SessionId, Xid, Zxid,
    persist::{FileHeader, LogCursor, LogStep},
    quorum::SessionTouch,
    stat::StatPersisted,
    txn::{CreateTxn, SetDataTxn, Txn, TxnHeader, TxnLogEntry},
};
use zk_server::{
    reconfig::Configuration,
    storage::{
        Directories, Disk, DiskDone, DiskOp, EpochKind, LogExecutor, LogOptions, MemDisk,
        RecoveryOptions, SnapshotOptions, mem_disk::FaultyCall, put_piece, recover, write_snapshot,
    },
    tree::{CutNode, DataTree, Effects, TreeBuilder, TreeOptions},
    zab::{CommittedLog, Epochs, Input, Member, ZabConfig},
};

use crate::swarm::Fault;

/// A member, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) disk: MemDisk,
    pub(crate) process: Option<Process>,
    /// Counts the processes: what was meant for an earlier one does not reach a later one.
    pub(crate) incarnation: u32,
    pub(crate) paused_until: Duration,
    pub(crate) slow_until: Duration,
    /// What is wrong with its disk.
    pub(crate) broken: Option<Fault>,
    /// A call that is to fail while the log is cut, and which one of its kind.
    pub(crate) fails_at_cut: Option<(FaultyCall, u32)>,
    /// What the disk said when its process ended because of it.
    pub(crate) died_of: Option<String>,
    /// Whether a record in its log was ever spoiled.
    pub(crate) spoiled: bool,
    pub(crate) durable: DurableState,
    /// What its dynamic configuration file says; none before the first reconfiguration.
    pub(crate) configuration: Option<Configuration>,
    /// Whether that file cannot be written any more once it has the name of the first one, and how often that was tried.
    /// (Where not even the name can be written, a later leader gives it another one, and who knows that stays outside.)
    pub(crate) unwritten: Option<u32>,
}

/// What the disk has said is safe: the oracle's knowledge.
#[derive(Debug, Clone, Default)]
pub(crate) struct DurableState {
    pub(crate) log: Vec<Zxid>,
    /// What damage took of it: nobody counts on this server until it has it again, so others need not have it for that.
    pub(crate) lost: BTreeSet<Zxid>,
    /// Appended and not synced.
    pub(crate) unsynced: Vec<Zxid>,
    pub(crate) accepted: Epoch,
    pub(crate) current: Epoch,
}

/// A running member.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) member: Member,
    pub(crate) directories: Directories,
    pub(crate) log: LogExecutor,
    pub(crate) tree: DataTree,
    /// What is applied to the tree, in order.
    pub(crate) applied: Vec<Zxid>,
    /// Asked of the disk and not begun.
    pub(crate) ops: Vec<Work>,
    /// What the disk is doing: not executed yet, or executed and not reported.
    pub(crate) running: Option<Running>,
    pub(crate) timer: Option<Duration>,
    /// Writes of this member's clients that are not answered.
    pub(crate) pending: BTreeSet<u64>,
    /// `sync`s of this member's clients: how many writes had been acknowledged anywhere when each came.
    pub(crate) syncs: VecDeque<usize>,
    pub(crate) serving: bool,
    /// The epoch that the last LEADERINFO was of.
    pub(crate) leader_epoch: Epoch,
    /// Sessions heard of since the last ping was answered.
    pub(crate) touched: Vec<SessionTouch>,
    /// Sessions whose validity the leader was asked for, in order.
    pub(crate) revalidating: VecDeque<SessionId>,
    pub(crate) todo: VecDeque<Input>,
}

/// A batch of the disk.
#[derive(Debug)]
pub(crate) enum Running {
    Planned(Vec<Work>),
    Executed(Vec<Done>),
}

/// Something for the disk to do.
#[derive(Debug)]
pub(crate) enum Work {
    Op(DiskOp),
    /// Make the tree the newest snapshot.
    Install,
    /// Write the dynamic configuration file.
    Configure(Configuration),
}

/// Something the disk has done.
#[derive(Debug)]
pub(crate) enum Done {
    Op(DiskDone),
    Installed,
    NotInstalled,
}

/// A tree on its way to a learner.
#[derive(Debug)]
pub(crate) struct TreeCopy {
    zxid: Zxid,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
    pub(crate) applied: Vec<Zxid>,
}

const TREE: TreeOptions = TreeOptions {
    extended_types: false,
    emulate_353_ttl: false,
    digest: true,
    hash_seed: 1,
};

const SNAPSHOT: SnapshotOptions = SnapshotOptions {
    digest: true,
    last_processed: true,
};

fn recovery() -> RecoveryOptions {
    RecoveryOptions {
        tree: TREE,
        log: LogOptions {
            pre_alloc_bytes: 0,
            size_limit_bytes: None,
            force_sync: true,
        },
        snapshot: SNAPSHOT,
        trust_empty_snapshot: false,
        create_empty: true,
        can_be_synced: true,
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            disk: MemDisk::new(),
            process: None,
            incarnation: 0,
            paused_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            broken: None,
            fails_at_cut: None,
            died_of: None,
            spoiled: false,
            durable: DurableState::default(),
            configuration: None,
            unwritten: None,
        }
    }

    /// Starts the process on what the disk has kept, which must be all that it ever said was safe, or it must say so.
    pub(crate) fn start(&mut self, mut config: ZabConfig, committed_log: usize) {
        let directories = Directories::on(Arc::new(self.disk.clone())).unwrap();
        let mut recovered = recover(&directories, &recovery()).unwrap();
        let applied = history(&mut recovered.tree);
        let last = recovered.tree.last_zxid();
        // Else Apache's server does not start here (`QuorumPeer.loadDataBase`).
        let current = recovered.current_epoch;
        assert!(
            recovered.txns_since_snapshot == 0 || current.is_none_or(|epoch| epoch >= last.epoch()),
            "server {} has logged {last} and follows {current:?}",
            config.me.0
        );
        for logged in recovered.configurations {
            config.configurations.see_logged(logged);
        }
        let safe = &self.durable.log;
        let knows_its_loss = self.spoiled && recovered.awaits_sync;
        assert!(
            applied.starts_with(safe) || knows_its_loss,
            "CommittedLogDurability: the disk has lost what it had synced: {:?} of {:?}",
            applied.last(),
            safe.last()
        );
        let current = current.unwrap_or_else(|| last.epoch());
        let accepted = recovered.accepted_epoch.unwrap_or_else(|| last.epoch());
        let epochs = Epochs {
            accepted: accepted.max(current),
            current,
            awaits_sync: recovered.awaits_sync,
        };
        assert!(epochs.accepted >= self.durable.accepted && epochs.current >= self.durable.current);
        let mut lost = self.durable.lost.clone();
        if knows_its_loss {
            lost.extend(safe.iter().filter(|zxid| !applied.contains(zxid)));
        }
        self.durable = DurableState {
            log: applied.clone(),
            lost,
            unsynced: Vec::new(),
            accepted: epochs.accepted,
            current: epochs.current,
        };
        self.incarnation += 1;
        self.paused_until = Duration::ZERO;
        self.process = Some(Process {
            member: Member::new(config, epochs, CommittedLog::new(last, committed_log)),
            directories,
            log: recovered.log,
            tree: recovered.tree,
            applied,
            ops: Vec::new(),
            running: None,
            timer: None,
            pending: BTreeSet::new(),
            syncs: VecDeque::new(),
            serving: false,
            leader_epoch: Epoch(0),
            touched: Vec::new(),
            revalidating: VecDeque::new(),
            todo: VecDeque::new(),
        });
    }

    /// Executes a batch, and notes what became safe by it.
    pub(crate) fn execute(&mut self, batch: Vec<Work>) -> Vec<Done> {
        let mut done = Vec::new();
        let mut ops = Vec::new();
        for work in batch {
            match work {
                Work::Op(op) => ops.push(op),
                Work::Install => {
                    done.extend(self.execute_ops(std::mem::take(&mut ops)));
                    done.push(self.install());
                }
                Work::Configure(configuration) => {
                    done.extend(self.execute_ops(std::mem::take(&mut ops)));
                    match &mut self.unwritten {
                        Some(tried) if configuration.version().counter() > 0 => *tried += 1,
                        _ => self.configuration = Some(configuration),
                    }
                }
            }
        }
        done.extend(self.execute_ops(ops));
        done
    }

    fn install(&mut self) -> Done {
        let Some(process) = &mut self.process else {
            return Done::NotInstalled;
        };
        // Whatever comes of it, the disk may have it: a tail that the leader never had is no promise any more.
        let mut pairs = self.durable.log.iter().zip(&process.applied);
        let shared = pairs.position(|(one, other)| one != other);
        let shared = shared.unwrap_or_else(|| self.durable.log.len().min(process.applied.len()));
        self.durable.log.truncate(shared);
        if !process.write_snapshot() {
            return Done::NotInstalled;
        }
        // Whoever comes back from here comes back with this.
        self.durable.log.clone_from(&process.applied);
        self.durable.unsynced.clear();
        Done::Installed
    }

    fn execute_ops(&mut self, mut batch: Vec<DiskOp>) -> Vec<Done> {
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        if batch.is_empty() {
            return Vec::new();
        }
        for op in &batch {
            match op {
                DiskOp::Append { zxid, .. } => self.durable.unsynced.push(*zxid),
                // It may be cut even if the disk then fails.
                DiskOp::Truncate { to } => self.durable.log.retain(|known| known <= to),
                _ => {}
            }
        }
        let mut done = Vec::new();
        let cut = batch
            .iter()
            .position(|op| matches!(op, DiskOp::Truncate { .. }));
        if let (Some(at), Some((call, nth))) = (cut, self.fails_at_cut) {
            process.log.execute(batch.drain(..at), &mut done);
            self.disk.fail(call, nth, io::ErrorKind::Other);
        }
        process.log.execute(batch, &mut done);
        for done in &done {
            self.durable.note(done);
        }
        done.into_iter().map(Done::Op).collect()
    }

    /// Builds the tree again from the disk; `None` if the disk fails.
    pub(crate) fn reload(&mut self, generation: u64) -> Option<Zxid> {
        let process = self.process.as_mut()?;
        let awaited = process.log.awaits_sync();
        let mut recovered = recover(&process.directories, &recovery()).ok()?;
        if recovered.awaits_sync && !awaited {
            return None;
        }
        process.applied = history(&mut recovered.tree);
        process.tree = recovered.tree;
        process.log = recovered.log;
        process
            .log
            .execute([DiskOp::NewGeneration(generation)], &mut Vec::new());
        Some(process.tree.last_zxid())
    }
}

/// Spoils one of the records that another one follows, so that no torn write explains it; false if there is none.
pub(crate) fn spoil(disk: &MemDisk, choice: usize) -> bool {
    let directory = disk.subdirectory("version-2").unwrap();
    let mut logs: Vec<_> = directory.list().unwrap();
    logs.retain(|file| file.name.starts_with("log."));
    logs.sort_by_key(|file| i64::from_str_radix(&file.name[4..], 16).unwrap());
    let mut records = Vec::new();
    for file in logs {
        let mut bytes = vec![0; usize::try_from(file.len).unwrap()];
        directory
            .open(&file.name)
            .unwrap()
            .read_at(0, &mut bytes)
            .unwrap();
        let mut log = LogCursor::new(file.len);
        log.feed(bytes.get(FileHeader::LEN..).unwrap_or_default());
        while let Ok(LogStep::Record(record)) = log.next_record() {
            records.push((file.name.clone(), record.offset));
        }
    }
    records.pop();
    if records.is_empty() {
        return false;
    }
    // Behind the checksum and the length: the number of the session.
    let (name, offset) = &records[choice % records.len()];
    let name = format!("version-2/{name}");
    disk.rot(&name, offset + 12, 1).unwrap();
    true
}

/// Damage.
impl Node {
    /// Spoils one of the records that another one follows, so that no torn write explains it; false if there is none.
    pub(crate) fn spoil(&mut self, choice: usize) -> bool {
        let done = spoil(&self.disk, choice);
        self.spoiled |= done;
        done
    }

    /// Whoever looks after the server has removed the file with its promise.
    pub(crate) fn forget_promise(&self) {
        self.disk.remove("version-2/acceptedEpoch").unwrap();
    }

    /// Whether it runs without a vote.
    pub(crate) fn awaits_sync(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.member.epochs().awaits_sync)
    }
}

impl DurableState {
    fn note(&mut self, done: &DiskDone) {
        match done {
            DiskDone::Synced { zxid, .. } => {
                let synced = self.unsynced.partition_point(|known| *known <= zxid.get());
                self.log.extend(self.unsynced.drain(..synced));
            }
            DiskDone::Truncated { to, .. } => self.log.retain(|known| *known <= to.get()),
            DiskDone::EpochSaved { kind, epoch } => match kind {
                EpochKind::Accepted => self.accepted = epoch.get(),
                EpochKind::Current => self.current = epoch.get(),
            },
            // From here on it counts with what it has: a second loss must not be made good by the first one.
            DiskDone::HistoryComplete => self.lost.clear(),
            DiskDone::Barrier { .. } | DiskDone::Failed(_) => {}
        }
    }

    /// Whether a disk that loses its power, or not, may come back with it.
    pub(crate) fn may_have(&self, zxid: Zxid) -> bool {
        self.has(zxid) || self.unsynced.contains(&zxid)
    }

    pub(crate) fn has(&self, zxid: Zxid) -> bool {
        self.log.binary_search(&zxid).is_ok()
    }

    /// Whether its history begins so, or did until it was damaged.
    pub(crate) fn had_all(&self, history: &[Zxid]) -> bool {
        let is_damaged = !self.lost.is_empty();
        self.log.starts_with(history) || is_damaged && history.iter().all(|zxid| self.had(*zxid))
    }

    /// Whether it has it, or had it until it was damaged.
    pub(crate) fn had(&self, zxid: Zxid) -> bool {
        self.has(zxid) || self.lost.contains(&zxid)
    }
}

impl Process {
    pub(crate) fn apply(&mut self, entry: &Bytes) {
        let entry = TxnLogEntry::decode(&mut Reader::new(entry.clone())).unwrap();
        self.tree
            .apply(&entry.header, &entry.txn, &mut Effects::new());
        self.applied.push(entry.header.zxid);
    }

    pub(crate) fn copy_tree(&mut self) -> TreeCopy {
        let cut = self.tree.begin_cut();
        let mut nodes = Vec::new();
        let mut emit = |node: CutNode<'_>| {
            let data = node.data.map(<[u8]>::to_vec);
            nodes.push((node.path.to_owned(), data, node.acl, node.stat));
        };
        while self.tree.walk_cut(&cut, usize::MAX, &mut emit) {}
        let copy = TreeCopy {
            zxid: cut.zxid,
            acls: cut
                .acls
                .iter()
                .map(|(number, acl)| (*number, acl.entries().to_vec()))
                .collect(),
            nodes,
            applied: self.applied.clone(),
        };
        self.tree.end_cut(cut);
        copy
    }

    pub(crate) fn take_tree(&mut self, copy: &TreeCopy) {
        let mut builder = TreeBuilder::new(&TREE);
        for (number, acl) in &copy.acls {
            builder.acl(*number, acl.clone());
        }
        for (path, data, acl, stat) in &copy.nodes {
            let node = CutNode {
                path,
                data: data.as_deref(),
                acl: *acl,
                stat: *stat,
            };
            builder.node(&node).unwrap();
        }
        self.tree = builder.finish(copy.zxid).unwrap();
        self.applied.clone_from(&copy.applied);
    }

    /// Writes the tree as a snapshot; false if the disk does not want it.
    pub(crate) fn write_snapshot(&mut self) -> bool {
        let cut = self.tree.begin_cut();
        let tree = &self.tree;
        let mut piece = |out: &mut BytesMut| Ok(put_piece(tree, &cut, out));
        let written = write_snapshot(&self.directories, &cut, &mut piece, &SNAPSHOT);
        self.tree.end_cut(cut);
        written.is_ok()
    }

    /// The tree, one line a node.
    pub(crate) fn dump(&mut self) -> Vec<String> {
        let copy = self.copy_tree();
        let mut lines: Vec<_> = copy.nodes.iter().map(|node| format!("{node:?}")).collect();
        lines.sort();
        lines
    }
}

/// The configuration in a tree, if a reconfiguration put one there.
pub(crate) fn configuration_of(tree: &DataTree) -> Option<Configuration> {
    let text = tree.node("/zookeeper/config")?.data()?;
    Configuration::parse(str::from_utf8(text).unwrap()).ok()
}

/// What was ever applied to a tree: every transaction here makes one node, and none goes; or it is a reconfiguration,
/// which remembers those before it.
fn history(tree: &mut DataTree) -> Vec<Zxid> {
    let cut = tree.begin_cut();
    let mut zxids = Vec::new();
    let mut emit = |node: CutNode<'_>| {
        if node.path.starts_with("/w") {
            zxids.push(node.stat.czxid);
        }
    };
    while tree.walk_cut(&cut, usize::MAX, &mut emit) {}
    tree.end_cut(cut);
    if let Some(configuration) = configuration_of(tree) {
        zxids.extend(reconfigurations(&configuration));
    }
    zxids.sort();
    zxids
}

/// The reconfigurations that led to this one, and itself. The first server's client address remembers them.
pub(crate) fn reconfigurations(configuration: &Configuration) -> Vec<Zxid> {
    let first = configuration.servers().values().next();
    let client = first.and_then(|first| first.client.as_ref()?.host.clone());
    let before = client.unwrap_or_default();
    let before = before.split('.').filter_map(|zxid| {
        let zxid = i64::from_str_radix(zxid, 16).ok()?;
        (zxid > 0).then_some(Zxid(zxid))
    });
    let own = configuration.version();
    before.chain((own.counter() > 0).then_some(own)).collect()
}

/// The transaction of a reconfiguration.
pub(crate) fn reconfig_entry(zxid: Zxid, write: u64, configuration: &Configuration) -> Bytes {
    let number = i32::try_from(write).unwrap();
    let header = TxnHeader {
        client_id: SessionId(i64::from(number)),
        cxid: Xid(number),
        zxid,
        time: 0,
        kind: zk_proto::OpCode::Reconfig.code(),
    };
    let txn = Txn::Reconfig(SetDataTxn {
        path: "/zookeeper/config".into(),
        data: Some(configuration.to_string().into()),
        version: -1,
    });
    let digest = None;
    TxnLogEntry {
        header,
        txn,
        digest,
    }
    .to_bytes()
}

/// The transaction of a write.
pub(crate) fn entry(zxid: Zxid, write: u64) -> Bytes {
    let number = i32::try_from(write).unwrap();
    let header = TxnHeader {
        client_id: SessionId(i64::from(number)),
        cxid: Xid(number),
        zxid,
        time: 0,
        kind: zk_proto::OpCode::Create.code(),
    };
    let txn = Txn::Create(CreateTxn {
        path: format!("/w{write}").into(),
        data: Some(Bytes::copy_from_slice(&write.to_be_bytes())),
        acl: Acl::open(),
        ephemeral: false,
        parent_cversion: number,
    });
    TxnLogEntry {
        header,
        txn,
        digest: None,
    }
    .to_bytes()
}

/// Which write a transaction is.
pub(crate) fn write_of(entry: &Bytes) -> u64 {
    let header = TxnHeader::decode(&mut Reader::new(entry.clone())).unwrap();
    u64::try_from(header.client_id.0).unwrap()
}

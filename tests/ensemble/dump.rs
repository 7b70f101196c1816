//! Everything a member holds, in a form that two members of whatever make can be compared by.
//!
//! Twice: as its clients see it, and as its disk has it. Only the disk tells of sessions that own nothing, and of every
//! transaction.

use std::{collections::BTreeMap, fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use zk_client::Client;
use zk_proto::{
    Acl, Decode as _, ErrorCode, OpCode, Reader, SessionId, Stat, Zxid,
    op::{Request, Response},
    persist::{FileHeader, LogCursor, LogStep},
    stat::StatPersisted,
    txn::{MultiTxn, TxnDigest, TxnHeader},
};
use zk_server::{
    config::Config,
    storage::{Directories, FsDisk, RecoveryOptions, recover},
    tree::DataTree,
};
use zk_tests::{
    frames::FrameClient,
    ours,
    process::ServerProcess,
    requests::{auth, children2, get, get_acl, sync},
};

/// How long members may take to come to rest once nobody writes.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Who may read whatever the load leaves behind.
pub(crate) const READER: (&str, &[u8]) = ("digest", b"ann:secret");

const CONFIG: &str = "/zookeeper/config";

/// A node as clients see it.
pub(crate) type Seen = BTreeMap<String, (Option<Bytes>, Stat, Vec<Acl>)>;

/// A node as it is kept.
type Node = (Option<Vec<u8>>, StatPersisted, Vec<Acl>);

/// What a member's disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) last: Zxid,
    pub(crate) digest: u64,
    /// With their timeouts in milliseconds.
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) ephemerals: BTreeMap<SessionId, Vec<String>>,
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// A member's records and snapshots, as files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) records: Vec<(Zxid, Bytes)>,
    pub(crate) snapshots: Vec<Zxid>,
}

/// The tree as clients of this member see it after a `sync`, and the zxid that the last answer came with.
pub(crate) async fn seen(member: SocketAddr) -> io::Result<(Zxid, Seen)> {
    let mut client = FrameClient::connect(member, 20_000).await?;
    client.call(&auth(READER.0, READER.1)).await?;
    client.call(&sync("/")).await?;
    let (mut seen, mut todo) = (Seen::new(), vec!["/".to_owned()]);
    let mut last = Zxid::ZERO;
    while !todo.is_empty() {
        // Many at a time: a walk of one question after the other takes as many round trips.
        let paths: Vec<String> = todo.drain(..todo.len().min(64)).collect();
        for path in &paths {
            for request in [children2(path), get(path), get_acl(path)] {
                client.send(&request).await?;
            }
        }
        for path in paths {
            let children = answer(&mut client, &children2(&path), &mut last).await?;
            let data = answer(&mut client, &get(&path), &mut last).await?;
            let acl = answer(&mut client, &get_acl(&path), &mut last).await?;
            // A node may go with its session while the walk goes on.
            let (
                Some(Response::GetChildren2(children)),
                Some(Response::GetData(data)),
                Some(Response::GetAcl(acl)),
            ) = (children, data, acl)
            else {
                continue;
            };
            let below = |name| format!("{}/{name}", path.trim_end_matches('/'));
            todo.extend(children.children.iter().map(below));
            let mut entries = acl.acl;
            entries.sort_by_key(|entry| format!("{entry:?}"));
            seen.insert(path, (data.data, data.stat, entries));
        }
    }
    client.close().await?;
    Ok((last, seen))
}

async fn answer(
    client: &mut FrameClient,
    request: &Request,
    last: &mut Zxid,
) -> io::Result<Option<Response>> {
    let reply = client.reply().await?;
    *last = (*last).max(reply.zxid);
    match reply.code {
        ErrorCode::Ok => {
            let response = reply.response(request.op_code());
            response.map(Some).map_err(io::Error::other)
        }
        ErrorCode::NoNode => Ok(None),
        code => Err(io::Error::other(format!("{request:?}: {code}"))),
    }
}

/// What a member would come back with. The member may run, if it is at rest: a copy is read.
pub(crate) fn stored(data_dir: &Path) -> io::Result<Stored> {
    let copy = tempfile::tempdir()?;
    let (from, to) = (data_dir.join("version-2"), copy.path().join("version-2"));
    fs::create_dir(&to)?;
    for entry in fs::read_dir(&from)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with("log.") || text.starts_with("snapshot.") && !text.ends_with(".tmp") {
            copy_without_zeros(&from.join(&name), &to.join(&name))?;
        }
    }
    let disk = FsDisk::open(copy.path()).map_err(io::Error::other)?;
    let directories = Directories::on(Arc::new(disk)).map_err(io::Error::other)?;
    let options = RecoveryOptions::of(&Config::default(), 0);
    let recovered = recover(&directories, &options).map_err(io::Error::other)?;
    // A digest that differs on the way is none of a difference in the end: a leader of Apache's goes on writing to the
    // tree that it sends (SNAP), so that some of it is ahead of its zxid. What counts is the digest in the end.
    let last = files(data_dir)?.records.last().map(|(zxid, _)| *zxid);
    let stored = dump(&recovered.tree);
    match last.is_some_and(|last| stored.last < last) {
        true => Err(io::Error::other(format!(
            "{}: {} is read and {last:?} is there",
            data_dir.display(),
            stored.last
        ))),
        false => Ok(stored),
    }
}

/// A log is mostly zeros that nobody has written anything into yet.
fn copy_without_zeros(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    let end = bytes.iter().rposition(|byte| *byte != 0);
    // The last record ends with a mark that is none.
    fs::write(to, &bytes[..end.map_or(0, |end| end + 1)])
}

fn dump(tree: &DataTree) -> Stored {
    let mut nodes = BTreeMap::new();
    let mut todo = vec!["/".to_owned()];
    while let Some(path) = todo.pop() {
        let node = tree.node(&path).expect("a node that its parent has");
        for child in node.children() {
            let name = String::from_utf8_lossy(child.name()).into_owned();
            todo.push(format!("{}/{name}", path.trim_end_matches('/')));
        }
        let mut acl = node.acl().entries().to_vec();
        acl.sort_by_key(|entry| format!("{entry:?}"));
        let stat = node.stat_persisted();
        // What stands on the disk of this one is as old as the snapshot.
        if path == CONFIG {
            continue;
        }
        nodes.insert(path, (node.data().map(<[u8]>::to_vec), stat, acl));
    }
    let sessions: BTreeMap<_, _> = tree.sessions().collect();
    let ephemerals = tree.ephemeral_sessions().map(|session| {
        let mut paths: Vec<_> = tree.ephemerals(session).collect();
        paths.sort();
        (session, paths)
    });
    Stored {
        last: tree.last_zxid(),
        digest: tree.digest().0,
        ephemerals: ephemerals.collect(),
        sessions,
        nodes,
    }
}

/// Every record of every log of a member.
pub(crate) fn files(data_dir: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    let number = |name: &str, prefix: &str| {
        let hex = name.strip_prefix(prefix)?;
        i64::from_str_radix(hex, 16).ok().map(Zxid)
    };
    let dir = data_dir.join("version-2");
    let mut logs = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        logs.extend(number(&name, "log.").map(|zxid| (zxid, name.clone())));
        files.snapshots.extend(number(&name, "snapshot."));
    }
    logs.sort();
    files.snapshots.sort();
    for (_, name) in logs {
        let bytes = fs::read(dir.join(&name))?;
        if bytes.len() < FileHeader::LEN {
            continue;
        }
        let mut cursor = LogCursor::new(bytes.len() as u64);
        cursor.feed(&bytes[FileHeader::LEN..]);
        while let LogStep::Record(record) = cursor.next_record().map_err(io::Error::other)? {
            // TxnHeader: session, cxid, zxid.
            let zxid = record.payload.get(12..20).and_then(|at| at.try_into().ok());
            let zxid = zxid.map(i64::from_be_bytes).map(Zxid);
            let zxid = zxid.ok_or_else(|| io::Error::other("a record without a zxid"))?;
            files.records.push((zxid, record.payload));
        }
    }
    Ok(files)
}

impl Files {
    /// G2, I4: within an epoch zxids count up by one; only a snapshot stands in for what is not in the log.
    pub(crate) fn assert_gap_free(&self, who: &str) {
        for pair in self.records.windows(2) {
            let (before, after) = (pair[0].0, pair[1].0);
            let next = match after.counter() {
                1 => after.epoch() > before.epoch(),
                _ => after.0 == before.0 + 1,
            };
            let covered = self
                .snapshots
                .iter()
                .any(|snapshot| *snapshot >= before && snapshot.0 + 1 == after.0)
                // A snapshot of an earlier epoch's last, then the first of a new one.
                || (after.counter() == 1 && after > before);
            assert!(
                next || covered,
                "{who}: {after} follows {before} in the log"
            );
        }
    }
}

/// G1: what two members have logged under the same zxid is the same, byte for byte, but for what the parts of a multi that
/// failed are called: Apache's servers call all of them errors once they have applied it, and may log it after that.
pub(crate) fn assert_same_records(members: &[Files]) {
    let mut all = BTreeMap::<Zxid, (usize, &Bytes)>::new();
    for (member, files) in members.iter().enumerate() {
        for (zxid, payload) in &files.records {
            let (other, found) = all.entry(*zxid).or_insert((member, payload));
            assert!(
                *found == payload || both_failed(found, payload),
                "members {} and {} have logged {zxid} differently:\n{found:?}\n{payload:?}",
                *other + 1,
                member + 1
            );
        }
    }
}

/// Whether these are one and the same multi that failed.
fn both_failed(one: &Bytes, other: &Bytes) -> bool {
    let read = |bytes: &Bytes| {
        let mut input = Reader::new(bytes.clone());
        let header = TxnHeader::decode(&mut input).ok()?;
        let multi = (header.kind == OpCode::Multi.code()).then(|| MultiTxn::decode(&mut input));
        let mut multi = multi?.ok()?;
        let failed = multi.txns.iter().any(|part| part.kind == -1);
        multi.txns.iter_mut().for_each(|part| part.kind = -1);
        let digest = TxnDigest::decode(&mut input).ok();
        failed.then_some((header, multi, digest))
    };
    read(one).is_some_and(|one| Some(one) == read(other))
}

/// Waits until all members are at rest; all of them must hold the same then, for their clients and on their disks.
///
/// Gives what that is.
pub(crate) async fn assert_all_the_same<'a>(
    members: impl IntoIterator<Item = &'a ServerProcess>,
) -> (Seen, Stored) {
    let members: Vec<_> = members.into_iter().collect();
    let limit = Instant::now() + REST_LIMIT;
    loop {
        let found = compare(&members).await;
        match found {
            Ok(same) => return same,
            Err(difference) if Instant::now() > limit => panic!("{difference}"),
            // Sessions of clients that have gone still end, one by one.
            Err(_) => sleep(Duration::from_millis(300)).await,
        }
    }
}

async fn compare(members: &[&ServerProcess]) -> Result<(Seen, Stored), String> {
    let mut sights = Vec::new();
    for process in members.iter().filter(|process| process.pid().is_some()) {
        let (_, mut sight) = seen(process.addr())
            .await
            .map_err(|error| format!("{}: {error}", process.addr()))?;
        // Each member of Apache's writes this node for itself when it begins to serve.
        if let Some((data, stat, _)) = sight.get_mut(CONFIG) {
            stat.mtime = 0;
            // No transaction of the ensemble's but what each member's operator wrote, about the proxies of its own.
            data.take_if(|text| text.ends_with(b"version=0"));
        }
        sights.push((process.addr().to_string(), sight));
    }
    let (first, others) = sights.split_first().expect("a member");
    for other in others {
        difference(&first.1, &other.1, &first.0, &other.0)?;
    }
    let mut stores = Vec::new();
    for process in members.iter() {
        let store = stored(&process.data_dir()).map_err(|error| error.to_string())?;
        stores.push((process.data_dir().display().to_string(), store));
    }
    let (one, others) = stores.split_first().expect("a member");
    for other in others {
        let ((who, a), (whose, b)) = (one, other);
        difference(&a.nodes, &b.nodes, who, whose)?;
        difference(&a.sessions, &b.sessions, who, whose)?;
        difference(&a.ephemerals, &b.ephemerals, who, whose)?;
        if (a.last, a.digest) != (b.last, b.digest) {
            return Err(format!(
                "{who} ends with {} and the digest {:x}, {whose} with {} and {:x}",
                a.last, a.digest, b.last, b.digest
            ));
        }
    }
    Ok((first.1.clone(), one.1.clone()))
}

/// The first few entries in which two members differ.
fn difference<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    a: &BTreeMap<K, V>,
    b: &BTreeMap<K, V>,
    who: &str,
    whose: &str,
) -> Result<(), String> {
    let keys = a.keys().chain(b.keys());
    let mut differing: Vec<_> = keys.filter(|key| a.get(*key) != b.get(*key)).collect();
    differing.dedup();
    match differing.as_slice() {
        [] => Ok(()),
        keys => {
            let show = |key: &&K| format!("  {key:?}: {:?}\n  {:?}", a.get(key), b.get(key));
            let shown: Vec<_> = keys.iter().take(4).map(show).collect();
            let count = keys.len();
            Err(format!(
                "{who} and {whose} differ in {count}:\n{}",
                shown.join("\n")
            ))
        }
    }
}

/// Cuts the last record off the newest log.
fn cut_last_record(data_dir: &Path) -> io::Result<()> {
    let dir = data_dir.join("version-2");
    let newest = fs::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("/log."))
        .max();
    let path = newest.ok_or_else(|| io::Error::other("no log"))?;
    let bytes = fs::read(&path)?;
    let mut cursor = LogCursor::new(bytes.len() as u64);
    cursor.feed(&bytes[FileHeader::LEN..]);
    let (mut before, mut end) = (0, cursor.offset());
    while let LogStep::Record(_) = cursor.next_record().map_err(io::Error::other)? {
        (before, end) = (end, cursor.offset());
    }
    assert_ne!(before, 0, "a record");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)?
        .set_len(before)
}

/// Without this, two directories that nothing is read from were the same.
#[tokio::test]
async fn a_disk_that_lacks_a_record_is_a_difference() {
    let whole = ServerProcess::launch(ours::launcher().unwrap(), &[]).unwrap();
    let client = Client::connect(whole.addr().to_string()).await.unwrap();
    client.create("/one", "x").await.unwrap();
    client.close().await.unwrap();
    let other = ServerProcess::prepare(ours::launcher().unwrap(), &[]).unwrap();
    let to = other.data_dir().join("version-2");
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(whole.data_dir().join("version-2")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let stores = || [&whole, &other].map(|process| stored(&process.data_dir()).unwrap());
    let [one, same] = stores();
    assert!(one.nodes.contains_key("/one"), "{one:?}");
    assert_eq!(one, same);
    // The session's end, and then the node.
    cut_last_record(&other.data_dir()).unwrap();
    let [one, less] = stores();
    assert_eq!((one.nodes, one.sessions.len()), (less.nodes, 0));
    assert_eq!(less.sessions.len(), 1);
    cut_last_record(&other.data_dir()).unwrap();
    let difference = compare(&[&whole, &other]).await.unwrap_err();
    assert!(difference.contains("\"/one\""), "{difference}");
}

//! A data directory that Apache 3.9.5 wrote: its logs and snapshots give the tree its clients saw, and every digest.

use std::collections::BTreeMap;

use zk_proto::{
    Decode,
    create_mode::EphemeralOwner,
    persist::{Adler32, FileHeader, LogCursor, LogStep, SnapshotCursor, SnapshotStep},
    txn::{Txn, TxnLogEntry},
};

use super::{
    super::{CutNode, TreeBuilder},
    *,
};

const EXPECTED: &str = include_str!("../../../../zk-proto/testdata/disk/expected.txt");
const SNAPSHOT_0: &[u8] = include_bytes!("../../../../zk-proto/testdata/disk/snapshot.0");
const SNAPSHOT_64: &[u8] = include_bytes!("../../../../zk-proto/testdata/disk/snapshot.40");
const LOG_1: &[u8] = include_bytes!("../../../../zk-proto/testdata/disk/log.1");
const LOG_65: &[u8] = include_bytes!("../../../../zk-proto/testdata/disk/log.41");

const OPTIONS: TreeOptions = TreeOptions {
    extended_types: true,
    emulate_353_ttl: false,
    digest: true,
    hash_seed: 3,
};

fn entries(log: &[u8]) -> Vec<TxnLogEntry> {
    let mut cursor = LogCursor::new(log.len() as u64);
    cursor.feed(&log[FileHeader::LEN..]);
    let mut entries = Vec::new();
    while let Ok(LogStep::Record(record)) = cursor.next_record() {
        entries.push(TxnLogEntry::from_bytes(record.payload).unwrap());
    }
    entries
}

fn load(snapshot: &'static [u8], zxid: i64) -> DataTree {
    let (header, body) = snapshot.split_at(FileHeader::LEN);
    let mut before = Adler32::new();
    before.update(header);
    let mut cursor = SnapshotCursor::new(before, 1 << 20);
    cursor.feed(Bytes::from_static(body));
    let mut builder = TreeBuilder::new(&OPTIONS);
    loop {
        match cursor.next_step().unwrap() {
            SnapshotStep::Session(session) => builder.session(session.id, session.timeout_ms),
            SnapshotStep::Acl(acl) => builder.acl(acl.id, acl.acl),
            SnapshotStep::Node(node) => builder
                .node(&CutNode {
                    path: &node.path,
                    data: node.data.as_deref(),
                    acl: node.acl,
                    stat: node.stat,
                })
                .unwrap(),
            SnapshotStep::NeedsBytes(_) | SnapshotStep::End => break,
        }
    }
    builder.finish(Zxid(zxid)).unwrap()
}

/// Applies a log, checks the digest that goes with each transaction, and counts them.
fn replay(tree: &mut DataTree, log: &[u8]) -> usize {
    let entries = entries(log);
    for entry in &entries {
        let applied = tree.apply(&entry.header, &entry.txn, &mut Effects::new());
        match entry.txn {
            Txn::Error(_) | Txn::Multi(_) => {}
            _ => assert_eq!(applied.error(), ErrorCode::Ok, "{entry:?}"),
        }
        if let Some(digest) = entry.digest {
            assert_eq!(tree.digest().to_i64(), digest.tree_digest, "{entry:?}");
        }
    }
    entries.len()
}

/// The tree in the form of `expected.txt`.
fn listed(tree: &DataTree) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut open = vec![tree.node("/").unwrap()];
    while let Some(node) = open.pop() {
        open.extend(node.children());
        let data = match node.data() {
            None => "null".to_owned(),
            Some(data) => data.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let stat = node.stat();
        let numbers = [stat.czxid.0, stat.mzxid.0, stat.ctime, stat.mtime];
        let versions = [stat.version, stat.cversion, stat.aversion];
        let numbers = numbers.map(|n| n.to_string()).join(" ");
        let versions = versions.map(|n| n.to_string()).join(" ");
        let (owner, pzxid) = (stat.ephemeral_owner.0, stat.pzxid.0);
        let acl = node.acl().entries().iter();
        let acl: Vec<_> = acl
            .map(|acl| format!("{}:{}:{}", acl.perms.0, acl.id.scheme, acl.id.id))
            .collect();
        let acl = acl.join(",");
        let line = format!("{data}\t{numbers} {versions} {owner:x} {pzxid}\t{acl}");
        lines.insert(node.path(), line);
    }
    lines
}

fn assert_expected(tree: &DataTree) {
    let nodes = EXPECTED.lines().filter(|line| line.starts_with('/'));
    let expected: BTreeMap<_, _> = nodes
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, rest)| (path.to_owned(), rest.to_owned()))
        .collect();
    let actual = listed(tree);
    for (path, line) in &expected {
        assert_eq!(actual.get(path), Some(line), "{path}");
    }
    assert_eq!(actual.len(), expected.len());
    for line in EXPECTED.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "session", id, "timeout", ms] => {
                let id = SessionId(i64::from_str_radix(id, 16).unwrap());
                assert_eq!(tree.session_timeout(id), ms.parse().ok());
            }
            ["#", "owner", owner, path] => {
                let owner = u64::from_str_radix(owner, 16).unwrap().cast_signed();
                let node = tree.node(path).unwrap();
                assert_eq!(node.stat_persisted().ephemeral_owner, owner);
                assert!(!matches!(
                    node.ephemeral_owner(),
                    EphemeralOwner::Session(_)
                ));
            }
            ["#", "zxid", zxid, "digest", digest] => {
                assert_eq!(format!("{:x}", tree.last_zxid()), zxid);
                assert_eq!(format!("{:x}", tree.digest()), digest);
            }
            _ => {}
        }
    }
    assert_eq!(tree.sessions().len(), 2);
}

#[test]
fn both_logs_over_nothing_give_the_tree() {
    let mut tree = DataTree::new(&OPTIONS);
    assert_eq!(replay(&mut tree, LOG_1), 65);
    assert_eq!(replay(&mut tree, LOG_65), 7);
    assert_expected(&tree);
}

#[test]
fn the_first_snapshot_is_a_fresh_tree() {
    let tree = load(SNAPSHOT_0, 0);
    let fresh = DataTree::new(&OPTIONS);
    assert_eq!(listed(&tree), listed(&fresh));
    assert_eq!(tree.digest(), fresh.digest());
}

#[test]
fn a_snapshot_and_the_log_after_it_give_the_tree() {
    let mut tree = load(SNAPSHOT_64, 64);
    let digest = EXPECTED
        .lines()
        .find_map(|line| line.split_once("snapshot.40: digest section zxid 40, version 2, digest "))
        .and_then(|(_, rest)| rest.split(';').next());
    assert_eq!(Some(format!("{:x}", tree.digest()).as_str()), digest);
    replay(&mut tree, LOG_65);
    assert_expected(&tree);
}

/// As over a fuzzy snapshot: everything in the first log is in the tree already.
#[test]
fn replaying_what_the_snapshot_has_changes_nothing() {
    let mut tree = load(SNAPSHOT_64, 64);
    for entry in entries(LOG_1) {
        tree.apply(&entry.header, &entry.txn, &mut Effects::new());
    }
    replay(&mut tree, LOG_65);
    assert_expected(&tree);
}

//! A data directory that Apache ZooKeeper wrote: logs and snapshots read record by record, and the tree's digest
//! recomputed after every transaction.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

mod tree;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Acl, Decode, Encode, Reader, SessionId, Zxid,
    create_mode::EphemeralOwner,
    persist::{
        AclEntry, Adler32, FileHeader, LogCursor, LogRecord, LogStep, NodeRecord, SessionEntry,
        SnapshotCursor, SnapshotStep, SnapshotTrailer, TREE_END, TreeDigest, find_record, put_node,
        put_record,
    },
    txn::{TxnHeader, TxnLogEntry},
};

use crate::tree::Tree;

const LOGS: [&[u8]; 2] = [
    include_bytes!("../../testdata/disk/log.1"),
    include_bytes!("../../testdata/disk/log.41"),
];
const SNAPSHOT_0: &[u8] = include_bytes!("../../testdata/disk/snapshot.0");
const SNAPSHOT_40: &[u8] = include_bytes!("../../testdata/disk/snapshot.40");
/// Whoever wrote the files says what is in them.
const EXPECTED: &str = include_str!("../../testdata/disk/expected.txt");

fn records(file: &[u8]) -> Vec<LogRecord> {
    let mut header = Reader::new(Bytes::copy_from_slice(file));
    assert_eq!(FileHeader::decode_log(&mut header), Ok(FileHeader::LOG));
    let mut cursor = LogCursor::new(file.len() as u64);
    cursor.feed(header.rest());
    let mut found = Vec::new();
    loop {
        match cursor.next_record() {
            Ok(LogStep::Record(record)) => found.push(record),
            Ok(LogStep::End) => return found,
            other => panic!("{other:?}"),
        }
    }
}

fn entries() -> Vec<TxnLogEntry> {
    let records = LOGS.iter().flat_map(|log| records(log));
    records
        .map(|record| TxnLogEntry::from_bytes(record.payload).unwrap())
        .collect()
}

#[derive(Default)]
struct Snapshot {
    sessions: BTreeMap<SessionId, i32>,
    acls: Vec<AclEntry>,
    nodes: Vec<NodeRecord>,
    trailer: SnapshotTrailer,
}

fn read_snapshot(file: &[u8]) -> Snapshot {
    let mut input = Reader::new(Bytes::copy_from_slice(file));
    assert_eq!(
        FileHeader::decode_snapshot(&mut input),
        Ok(FileHeader::SNAPSHOT)
    );
    let mut before = Adler32::new();
    before.update(&file[..FileHeader::LEN]);
    let mut cursor = SnapshotCursor::new(before, file.len());
    cursor.feed(input.take_rest());
    let mut snapshot = Snapshot::default();
    loop {
        match cursor.next_step().unwrap() {
            SnapshotStep::Session(session) => {
                snapshot.sessions.insert(session.id, session.timeout_ms);
            }
            SnapshotStep::Acl(acl) => snapshot.acls.push(acl),
            SnapshotStep::Node(node) => snapshot.nodes.push(node),
            SnapshotStep::NeedsBytes(_) => panic!("the snapshot ends too early"),
            SnapshotStep::End => break,
        }
    }
    let (mut checksum, behind) = cursor.finish();
    snapshot.trailer = SnapshotTrailer::take(&mut Reader::new(behind), &mut checksum).unwrap();
    snapshot
}

#[test]
fn log_records_are_read_and_written_as_apache_wrote_them() {
    let mut lines = EXPECTED
        .lines()
        .filter(|line| line.starts_with("# offset "));
    for log in LOGS {
        let mut written = BytesMut::new();
        FileHeader::LOG.encode(&mut written);
        for LogRecord { offset, payload } in records(log) {
            let entry = TxnLogEntry::from_bytes(payload.clone()).unwrap();
            assert_eq!(entry.to_bytes(), payload);
            let TxnHeader {
                client_id,
                cxid,
                zxid,
                time,
                ..
            } = entry.header;
            let digest = entry
                .digest
                .map_or_else(|| "none".to_owned(), |d| format!("{:x}", d.tree_digest));
            let line = format!(
                "# offset {offset} zxid {:x} session {:x} cxid {} time {time} digest {digest}: ",
                zxid.0, client_id.0, cxid.0
            );
            let expected = lines.next().unwrap();
            assert!(expected.starts_with(&line), "{line}\n{expected}");
            assert_eq!(offset, written.len() as u64);
            put_record(&mut written, &payload);
        }
        assert!(log.starts_with(&written));
        assert!(log[written.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(find_record(&log[FileHeader::LEN..]), Some(0));
        assert_eq!(find_record(&log[written.len() - 1..]), None);
    }
    assert_eq!(lines.next(), None, "a record was not found");
}

#[test]
fn the_tree_has_the_logged_digest_after_every_transaction() {
    let mut tree = Tree::of(&read_snapshot(SNAPSHOT_0));
    let mut compared = 0;
    for TxnLogEntry {
        header,
        txn,
        digest,
    } in entries()
    {
        tree.apply(&header, &txn);
        let Some(digest) = digest else { continue };
        assert_eq!(
            tree.digest(),
            TreeDigest::from_i64(digest.tree_digest),
            "{header:?} {txn:?}"
        );
        compared += 1;
    }
    assert!(compared >= 50, "only {compared} digests");
}

#[test]
fn the_tree_at_the_end_is_the_one_clients_saw() {
    let mut tree = Tree::of(&read_snapshot(SNAPSHOT_0));
    entries()
        .iter()
        .for_each(|entry| tree.apply(&entry.header, &entry.txn));
    let mut listed = 0;
    for line in EXPECTED.lines().filter(|line| line.starts_with('/')) {
        let [path, data, stat, acl] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not four fields: {line}");
        };
        listed += 1;
        // Quotas are counted by every member for itself, without transactions, and /zookeeper/config is set at start.
        if path.starts_with("/zookeeper/") {
            continue;
        }
        let owned = EphemeralOwner::from_raw(tree.node(path).stat.ephemeral_owner, true);
        let shown_owner = match owned {
            EphemeralOwner::Session(id) => id.0,
            _ => 0,
        };
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let is_child = |other: &&String| {
            other
                .strip_prefix(&prefix)
                .is_some_and(|rest| !rest.contains('/'))
        };
        let children = i32::try_from(tree.0.keys().filter(is_child).count()).unwrap();
        let node = tree.node(path);
        let s = node.stat;
        let shown = format!(
            "{} {} {} {} {} {} {} {shown_owner:x} {}",
            s.czxid.0,
            s.mzxid.0,
            s.ctime,
            s.mtime,
            s.version,
            s.cversion * 2 - children,
            s.aversion,
            s.pzxid.0
        );
        let hex = |data: &Bytes| {
            data.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            node.data.as_ref().map_or_else(|| "null".to_owned(), hex),
            data,
            "{path}"
        );
        assert_eq!(shown, stat, "{path}");
        let entry = |acl: &Acl| format!("{}:{}:{}", acl.perms.0, acl.id.scheme, acl.id.id);
        assert_eq!(
            node.acl.iter().map(entry).collect::<Vec<_>>().join(","),
            acl,
            "{path}"
        );
    }
    assert_eq!(listed, tree.0.len());
}

#[test]
fn snapshots_hold_the_tree_of_their_zxid() {
    let fresh = read_snapshot(SNAPSHOT_0);
    assert!(fresh.sessions.is_empty());
    assert_eq!(Tree::of(&fresh).digest(), TreeDigest(0x51c6_d660));
    assert_eq!(fresh.trailer.last_processed, Some(Zxid(0)));
    assert_eq!(
        fresh.trailer.digest.map(|d| (d.zxid, d.digest)),
        Some((Zxid(0), 0))
    );

    let later = read_snapshot(SNAPSHOT_40);
    assert_eq!(
        later.sessions,
        BTreeMap::from([(SessionId(0x100_000e_50ea_0000), 40000)])
    );
    assert_eq!(later.trailer.last_processed, Some(Zxid(0x40)));
    let digest = later.trailer.digest.unwrap();
    assert_eq!(digest.zxid, Zxid(0x40));
    let mut tree = Tree::of(&later);
    assert_eq!(tree.digest(), TreeDigest::from_i64(digest.digest));
    for entry in entries()
        .iter()
        .filter(|entry| entry.header.zxid > digest.zxid)
    {
        tree.apply(&entry.header, &entry.txn);
    }
    assert_eq!(tree.digest(), TreeDigest(0xe_6247_ba07));
}

#[test]
fn a_snapshot_is_written_as_apache_wrote_it() {
    for file in [SNAPSHOT_0, SNAPSHOT_40] {
        let snapshot = read_snapshot(file);
        let mut out = BytesMut::new();
        FileHeader::SNAPSHOT.encode(&mut out);
        let entry = |(id, timeout_ms): (&SessionId, &i32)| SessionEntry {
            id: *id,
            timeout_ms: *timeout_ms,
        };
        snapshot
            .sessions
            .iter()
            .map(entry)
            .collect::<Vec<_>>()
            .encode(&mut out);
        snapshot.acls.encode(&mut out);
        for node in &snapshot.nodes {
            put_node(
                &mut out,
                &node.path,
                node.data.as_deref(),
                node.acl,
                &node.stat,
            );
        }
        zk_proto::jute::put_string(&mut out, TREE_END);
        let mut checksum = Adler32::new();
        checksum.update(&out);
        snapshot.trailer.put(&mut out, &mut checksum);
        assert_eq!(out, file);
    }
}

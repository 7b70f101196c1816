//! What the fuzz targets of this crate run: each takes arbitrary bytes and checks one property.
//!
//! `fuzz/` hands them to libFuzzer; `tests/fuzzing.rs` runs them over inputs made from a seed. Bytes with wrong
//! checksums are soon refused, so most inputs are given right ones: then the content arrives where it is used.

mod conn;
mod links;

use std::sync::Arc;

use bytes::BytesMut;
use zk_proto::{
    Encode, Zxid,
    jute::put_string,
    persist::{Adler32, FileHeader, SnapshotTrailer, TREE_END, TreeDigest, put_record},
};

pub use self::{
    conn::connection,
    links::{leader, learner},
};

use crate::{
    config::Config,
    storage::{
        Access, Directories, Disk, Fatal, MemDisk, Recovered, RecoveryOptions, put_piece, recover,
        write_snapshot,
    },
};

/// The body of a fuzz target.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("recovery_log", log),
    ("recovery_records", records),
    ("recovery_snapshot", snapshot),
    ("recovery_nodes", nodes),
    ("recovery_packed", packed),
    ("recovery_epochs", epochs),
    ("zoo_cfg", zoo_cfg),
    ("connection", connection),
    ("leader", leader),
    ("learner", learner),
];

/// A log of any bytes behind its header.
pub fn log(data: &[u8]) {
    let disk = fresh();
    put(&disk, "log.1", &with_header(FileHeader::LOG, data));
    check(&disk);
}

/// A log of records with any content and right checksums: each two bytes of length, then as many bytes.
pub fn records(data: &[u8]) {
    let disk = fresh();
    let mut file = with_header(FileHeader::LOG, &[]);
    let (mut rest, mut count) = (data, 0);
    while let [high, low, more @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (payload, more) = more.split_at(len.min(more.len()));
        if !payload.is_empty() {
            put_record(&mut file, payload);
            count += 1;
        }
        rest = more;
    }
    put(&disk, "log.1", &file);
    if let Some(replayed) = check(&disk) {
        assert!(
            replayed <= count,
            "{replayed} transactions of {count} records"
        );
    }
}

/// A snapshot of any bytes.
pub fn snapshot(data: &[u8]) {
    let disk = MemDisk::new();
    put(&disk, "snapshot.5", data);
    check(&disk);
}

/// A snapshot of any content and right seals: sessions, ACLs and nodes, but for the end of the tree.
pub fn nodes(data: &[u8]) {
    let mut file = with_header(FileHeader::SNAPSHOT, data);
    put_string(&mut file, TREE_END);
    let mut checksum = Adler32::new();
    checksum.update(&file);
    SnapshotTrailer::default().put(&mut file, &mut checksum);
    let disk = MemDisk::new();
    put(&disk, "snapshot.5", &file);
    check(&disk);
}

/// A packed snapshot of any bytes: which way it is packed, then the file.
pub fn packed(data: &[u8]) {
    let Some((way, file)) = data.split_first() else {
        return;
    };
    let disk = MemDisk::new();
    let name = match way % 2 {
        0 => "snapshot.5.gz",
        _ => "snapshot.5.snappy",
    };
    put(&disk, name, file);
    check(&disk);
}

/// Epoch files of any bytes, one behind the other: the length of the first, then both.
pub fn epochs(data: &[u8]) {
    let Some((len, files)) = data.split_first() else {
        return;
    };
    let (accepted, current) = files.split_at(usize::from(*len).min(files.len()));
    let disk = fresh();
    put(&disk, "acceptedEpoch", accepted);
    put(&disk, "currentEpoch", current);
    let Ok((_, found)) = recovered(&disk) else {
        return;
    };
    for (file, epoch) in [
        (accepted, found.accepted_epoch),
        (current, found.current_epoch),
    ] {
        let text = str::from_utf8(file).map(str::trim);
        let told = epoch.map(|epoch| epoch.0);
        assert!(text.is_ok_and(|text| text.parse().ok() == told));
    }
}

/// A configuration file of any bytes is understood or refused.
pub fn zoo_cfg(data: &[u8]) {
    if let Ok(parsed) = Config::parse(data, &[]) {
        // A member of an ensemble knows its address when it knows which member it is.
        assert!(parsed.config.client_address.is_some() || parsed.config.is_ensemble());
        assert!(parsed.config.min_session_timeout() <= parsed.config.max_session_timeout());
    }
}

fn with_header(header: FileHeader, content: &[u8]) -> BytesMut {
    let mut file = BytesMut::new();
    header.encode(&mut file);
    file.extend_from_slice(content);
    file
}

/// A directory in which a server has run, but nothing was written.
fn fresh() -> MemDisk {
    let disk = MemDisk::new();
    drop(recovered(&disk));
    disk
}

fn put(disk: &MemDisk, name: &str, content: &[u8]) {
    let written = disk
        .subdirectory("version-2")
        .and_then(|dir| dir.create(name, Access::Default))
        .and_then(|mut file| file.write_at(0, content));
    assert!(written.is_ok());
}

fn recovered(disk: &MemDisk) -> Result<(Directories, Recovered), Fatal> {
    disk.kill();
    let directories = Directories::on(Arc::new(disk.clone()))?;
    let recovered = recover(&directories, &options())?;
    Ok((directories, recovered))
}

fn options() -> RecoveryOptions {
    let config = Config {
        extended_types_enabled: true,
        pre_alloc_size_bytes: 0,
        ..Config::default()
    };
    RecoveryOptions::of(&config, 1)
}

/// Recovers, if that is possible; then it must be possible again, with the same outcome, and again from a snapshot of
/// that. Returns how many transactions the log had.
fn check(disk: &MemDisk) -> Option<u64> {
    let (_, first) = recovered(disk).ok()?;
    let (directories, mut again) = must(recovered(disk));
    assert_eq!(fingerprint(&again), fingerprint(&first));
    assert_eq!(again.torn, None, "what was cut is cut");

    let cut = again.tree.begin_cut();
    let options = RecoveryOptions::of(&Config::default(), 1).snapshot;
    let mut next_piece = |out: &mut BytesMut| Ok(put_piece(&again.tree, &cut, out));
    must(write_snapshot(
        &directories,
        &cut,
        &mut next_piece,
        &options,
    ));
    let (_, from_snapshot) = must(recovered(disk));
    assert_eq!(fingerprint(&from_snapshot), fingerprint(&first));
    assert_eq!(from_snapshot.digest_mismatch, None);
    Some(first.txns_since_snapshot)
}

fn fingerprint(recovered: &Recovered) -> (Zxid, TreeDigest, usize, usize) {
    let tree = &recovered.tree;
    let sessions = tree.sessions().len();
    (tree.last_zxid(), tree.digest(), tree.node_count(), sessions)
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("it went well before: {error}"),
    }
}

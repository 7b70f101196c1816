//! Forgetting the end of the log: what a leader asks of a member that logged more than the ensemble agreed on.

use std::io;

use zk_proto::{Decode, Reader, Zxid, txn::TxnHeader};

use super::{LogReader, ReadError, Tail, examine_tail};
use crate::{
    error::Fatal,
    storage::{
        disk::Disk,
        layout::{logs, snapshots},
    },
    zab::mutants,
};

/// Cuts every record after `to` off the log, durably, and removes the snapshots that hold any of them.
///
/// Returns the last transaction that is left, in the log or in a snapshot; [`Zxid::ZERO`] if none is.
pub(in crate::storage) fn truncate(
    log_disk: &dyn Disk,
    snapshot_disk: &dyn Disk,
    to: Zxid,
) -> Result<Zxid, Fatal> {
    let mut kept = Zxid::ZERO;
    // Newest first: a crash in between leaves a log without holes.
    for snapshot in snapshots(snapshot_disk)? {
        match snapshot.zxid > to {
            true => remove(snapshot_disk, &snapshot.name)?,
            false => kept = kept.max(snapshot.zxid),
        }
    }
    sync_dir(snapshot_disk)?;
    for (first, name) in logs(log_disk)?.into_iter().rev() {
        if first > to {
            remove(log_disk, &name)?;
            continue;
        }
        let (end, last) = end_of(log_disk, &name, to)?;
        cut(log_disk, &name, end)?;
        kept = kept.max(last);
        break;
    }
    sync_dir(log_disk)?;
    Ok(kept)
}

/// Where the records up to `to` end in a file, and the last of them.
///
/// A torn write is the end, as it is to recovery: Apache leaves one where it is, and goes on in the next file.
fn end_of(disk: &dyn Disk, name: &str, to: Zxid) -> Result<(u64, Zxid), Fatal> {
    let path = disk.path_of(name);
    let unreadable = |why: String| Fatal::new(format!("{path} cannot be truncated: {why}"));
    let mut log = LogReader::open(disk, name).map_err(|error| match error {
        ReadError::Io(fatal) => fatal,
        ReadError::Header(error) => unreadable(error.to_string()),
        ReadError::Damage(damage) => unreadable(damage.to_string()),
    })?;
    let mut last = Zxid::ZERO;
    loop {
        let record = match log.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok((log.offset(), last)),
            Err(ReadError::Io(fatal)) => return Err(fatal),
            Err(ReadError::Header(error)) => return Err(unreadable(error.to_string())),
            Err(ReadError::Damage(damage)) => {
                return match end_if_torn(log, last, &path)? {
                    Some(end) => Ok((end, last)),
                    None => Err(unreadable(damage.to_string())),
                };
            }
        };
        let header = TxnHeader::decode(&mut Reader::new(record.payload))
            .map_err(|error| unreadable(error.to_string()))?;
        if header.zxid > to {
            return Ok((record.offset, last));
        }
        last = header.zxid;
    }
}

/// Where the intact part ends, if nothing but a torn write lies behind it.
fn end_if_torn(log: LogReader, last: Zxid, path: &str) -> Result<Option<u64>, Fatal> {
    let (end, len) = (log.offset(), log.len());
    let tail = examine_tail(&mut *log.into_file(), end, len, last)
        .map_err(|error| Fatal::io(format!("reading {path}"), &error))?;
    Ok(matches!(tail, Tail::Clean | Tail::Torn { .. }).then_some(end))
}

fn cut(disk: &dyn Disk, name: &str, len: u64) -> Result<(), Fatal> {
    let cut = || {
        let mut file = disk.open(name)?;
        match file.set_len(len) {
            Err(_) if mutants::active("cut-goes-unnoticed") => Ok(()),
            cut => cut.and_then(|()| file.sync_data()),
        }
    };
    cut().map_err(|error: io::Error| Fatal::io(format!("cutting {}", disk.path_of(name)), &error))
}

fn remove(disk: &dyn Disk, name: &str) -> Result<(), Fatal> {
    disk.remove(name)
        .map_err(|error| Fatal::io(format!("removing {}", disk.path_of(name)), &error))
}

fn sync_dir(disk: &dyn Disk) -> Result<(), Fatal> {
    disk.sync_dir()
        .map_err(|error| Fatal::io(format!("syncing {}", disk.path_of("")), &error))
}

//! Reading the log back, for a learner that missed more than is kept in memory (`FileTxnLog.read`,
//! `ZKDatabase.getProposalsFromTxnLog`).
//!
//! What is read is one piece of history or nothing. Two neighbouring files need not be one piece: a snapshot that a
//! leader once sent may have jumped over what lies between them, and over a tail in the older file that was never
//! agreed on. Such a jump shows in a snapshot whose last transaction is in no file; whatever reaches over one is not
//! told.
//!
//! May run beside the log thread: files only grow at the end, and one that is purged meanwhile only makes it fail.

use bytes::Bytes;
use zk_proto::{Decode, Reader, Zxid, txn::TxnHeader};

use super::{
    Directories, Fatal,
    disk::Disk,
    layout::{logs, snapshots},
    txn_log::{LogReader, ReadError},
};

/// The records of the log from the last one that is not after `from` on, as they were appended; `None` if they are
/// longer than `limit` bytes in all (`None`: any length), or no one piece of history, or `goes_on`, which is asked at
/// each record, says no.
///
/// What is being written meanwhile may be missing at the end, and so is what a snapshot at the end jumped over: whoever
/// joins the records with something must look whether they reach it. Blocks.
///
/// # Errors
/// [`Fatal`] when the disk fails, or a file is no log.
pub fn read_history(
    directories: &Directories,
    from: Zxid,
    limit: Option<u64>,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Option<Vec<(Zxid, Bytes)>>, Fatal> {
    let disk = &*directories.logs;
    let files = logs(disk)?;
    let begin = files.partition_point(|(first, _)| *first <= from);
    let mut history = History {
        from,
        limit,
        records: Vec::new(),
        bytes: 0,
    };
    for (_, name) in files.into_iter().skip(begin.saturating_sub(1)) {
        if !history.read_file(disk, &name, &mut goes_on)? {
            return Ok(None);
        }
    }
    let records = history.records;
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Ok(None);
    };
    let between = first.0..=last.0;
    let is_known = |zxid: Zxid| {
        records
            .binary_search_by_key(&zxid, |(zxid, _)| *zxid)
            .is_ok()
    };
    let jumps = snapshots(&*directories.snapshots)?
        .into_iter()
        .any(|snapshot| between.contains(&snapshot.zxid) && !is_known(snapshot.zxid));
    Ok((!jumps).then_some(records))
}

struct History {
    from: Zxid,
    limit: Option<u64>,
    records: Vec<(Zxid, Bytes)>,
    bytes: u64,
}

impl History {
    /// Reads a file to the end of what is intact; false if it gets too long, or is not to go on.
    fn read_file(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<bool, Fatal> {
        let mut log = match LogReader::open(disk, name) {
            Ok(log) => log,
            // Made a moment ago, and nothing written yet.
            Err(ReadError::Header(_)) => return Ok(true),
            Err(error) => return Err(failed(disk, name, error)),
        };
        loop {
            let record = match log.next_record() {
                Ok(Some(record)) => record,
                // A torn end: whether anything is missing shows in what follows.
                Ok(None) | Err(ReadError::Damage(_)) => return Ok(true),
                Err(error) => return Err(failed(disk, name, error)),
            };
            let header = TxnHeader::decode(&mut Reader::new(record.payload.clone()));
            let Ok(TxnHeader { zxid, .. }) = header else {
                return Ok(true);
            };
            if zxid <= self.from {
                self.records.clear();
                self.bytes = 0;
            }
            self.bytes += record.payload.len() as u64;
            self.records.push((zxid, record.payload));
            if self.limit.is_some_and(|limit| self.bytes > limit) || !goes_on() {
                return Ok(false);
            }
        }
    }
}

fn failed(disk: &dyn Disk, name: &str, error: ReadError) -> Fatal {
    let path = disk.path_of(name);
    match error {
        ReadError::Io(fatal) => fatal,
        ReadError::Header(error) => Fatal::new(format!("{path} is no log: {error}")),
        ReadError::Damage(damage) => Fatal::new(format!("{path} is damaged: {damage}")),
    }
}

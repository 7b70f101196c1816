//! Reading the log back, for a learner that missed more than is kept in memory (`FileTxnLog.read`,
//! `ZKDatabase.getProposalsFromTxnLog`): once to see what there is, and then piece by piece as it is sent.
//!
//! What there is, is one piece of history or nothing. Two neighbouring files need not be one: a snapshot that a
//! leader once sent may have jumped over what lies between them, and over a tail in the older file that was never
//! agreed on. Such a jump shows in a snapshot whose last transaction is in no file; whatever reaches over one is not
//! told.
//!
//! Invariant: however long the history is, no more of it is in memory than a piece.
//!
//! May run beside the log thread: files only grow at the end, and one that is purged meanwhile only makes it fail.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use zk_proto::{Decode, Reader, Zxid, txn::TxnHeader};

use super::{
    Directories, Fatal,
    disk::Disk,
    layout::{logs, snapshots},
    txn_log::{LogReader, ReadError},
};

/// Looks through the log from the last record that is not after `from` on, and gives the first and the last zxid; `None`
/// if its records are longer than `limit` bytes in all (`None`: any length), or no one piece of history: each must
/// follow the one before, as `follows` says. Or if `goes_on`, which is asked at each record, says no.
///
/// What is being written meanwhile may be missing at the end, and so is what a snapshot at the end jumped over: whoever
/// joins the records with something must look whether they reach it. Blocks.
///
/// # Errors
/// [`Fatal`] when the disk fails, or a file is no log.
pub fn survey_history(
    directories: &Directories,
    from: Zxid,
    limit: Option<u64>,
    follows: fn(Zxid, Zxid) -> bool,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Option<(Zxid, Zxid)>, Fatal> {
    let mut jumps = snapshots(&*directories.snapshots)?
        .into_iter()
        .map(|snapshot| snapshot.zxid)
        .collect::<Vec<_>>();
    jumps.sort();
    let mut jumps = VecDeque::from(jumps);
    let mut files = Files::from(directories, from)?;
    let mut found: Option<(Zxid, Zxid)> = None;
    let mut bytes = 0;
    while let Some((zxid, entry)) = files.next_record()? {
        match &mut found {
            Some((_, last)) if zxid > from => {
                // The newest snapshot up to here that is not of a record's zxid has jumped over something.
                while jumps.front().is_some_and(|at| *at <= *last) {
                    jumps.pop_front();
                }
                let jumped = jumps.front().is_some_and(|at| *at < zxid);
                if jumped || !follows(*last, zxid) {
                    return Ok(None);
                }
                *last = zxid;
            }
            _ => {
                found = Some((zxid, zxid));
                bytes = 0;
            }
        }
        bytes += entry.len() as u64;
        if limit.is_some_and(|limit| bytes > limit) || !goes_on() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// A part of the log, piece by piece.
#[derive(Debug)]
pub struct HistoryPieces {
    files: Files,
    /// The last record that was given, or what is before the first one.
    last: Zxid,
    after: Zxid,
    until: Zxid,
    follows: fn(Zxid, Zxid) -> bool,
}

impl HistoryPieces {
    /// Every record after `after` and up to `until`, each of which must follow the one before, as `follows` says;
    /// [`survey_history`] has told that they are there.
    ///
    /// # Errors
    /// [`Fatal`] when the disk fails, or the file that has the first of them is there no more.
    pub fn open(
        directories: &Directories,
        after: Zxid,
        until: Zxid,
        follows: fn(Zxid, Zxid) -> bool,
    ) -> Result<Self, Fatal> {
        let mut files = Files::from(directories, after)?;
        files.after = after;
        // From the very beginning on, there is nothing that a file could have before.
        if files.begins_later && after > Zxid::ZERO {
            return Err(Fatal::new(format!("the log begins after {after}")));
        }
        Ok(Self {
            files,
            last: after,
            after,
            until,
            follows,
        })
    }

    /// The next records: about so many bytes, and one at least; `None` behind the last. Blocks.
    ///
    /// # Errors
    /// [`Fatal`] when the disk fails, a file is gone, or has become shorter, or something in it can be read no more: no
    /// piece of a history may be missing.
    pub fn next_piece(&mut self, about: usize) -> Result<Option<Vec<(Zxid, Bytes)>>, Fatal> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while bytes < about
            && let Some((zxid, entry)) = self.files.next_record()?
            && zxid <= self.until
        {
            // What may be the first record behind an epoch's start is not known here.
            let is_known = self.last > self.after || self.after.counter() > 0;
            if is_known && !(self.follows)(self.last, zxid) {
                let last = self.last;
                return Err(Fatal::new(format!("the log goes from {last} to {zxid}")));
            }
            bytes += entry.len();
            self.last = zxid;
            piece.push((zxid, entry));
        }
        let (last, until) = (self.last, self.until);
        match piece.is_empty() {
            true if last < until => Err(Fatal::new(format!(
                "the log ends at {last}, and had {until} before"
            ))),
            true => Ok(None),
            false => Ok(Some(piece)),
        }
    }
}

/// The records of some log files, one after the other.
#[derive(Debug)]
struct Files {
    disk: Arc<dyn Disk>,
    names: VecDeque<String>,
    open: Option<LogReader>,
    /// Whether even the first file begins after what was asked for.
    begins_later: bool,
    /// Records up to this one are passed over.
    after: Zxid,
}

impl Files {
    /// From the beginning of the file that has the last record not after `from`.
    fn from(directories: &Directories, from: Zxid) -> Result<Self, Fatal> {
        let disk = directories.logs.clone();
        let files = logs(&*disk)?;
        let begin = files.partition_point(|(first, _)| *first <= from);
        let files = files.into_iter().skip(begin.saturating_sub(1));
        Ok(Self {
            names: files.map(|(_, name)| name).collect(),
            disk,
            open: None,
            begins_later: begin == 0,
            after: Zxid(i64::MIN),
        })
    }

    fn next_record(&mut self) -> Result<Option<(Zxid, Bytes)>, Fatal> {
        loop {
            let (Some(log), Some(name)) = (&mut self.open, self.names.front()) else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let record = match log.next_record() {
                Ok(record) => record,
                // A torn end: whether anything is missing shows in what follows, and whoever asks looks at that.
                Err(ReadError::Damage(_)) => None,
                Err(error) => return Err(failed(&*self.disk, name, error)),
            };
            let header = record.map(|record| {
                let header = TxnHeader::decode(&mut Reader::new(record.payload.clone()));
                header.map(|header| (header.zxid, record.payload))
            });
            match header {
                Some(Ok(record)) if record.0 > self.after => return Ok(Some(record)),
                Some(Ok(_)) => {}
                None | Some(Err(_)) => {
                    self.open = None;
                    self.names.pop_front();
                }
            }
        }
    }

    /// Opens the file whose turn it is; false if there is none.
    fn open_next(&mut self) -> Result<bool, Fatal> {
        while let Some(name) = self.names.front() {
            match LogReader::open(&*self.disk, name) {
                Ok(log) => {
                    self.open = Some(log);
                    return Ok(true);
                }
                // Made a moment ago, and nothing written yet.
                Err(ReadError::Header(_)) => drop(self.names.pop_front()),
                Err(error) => return Err(failed(&*self.disk, name, error)),
            }
        }
        Ok(false)
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

//! Space ahead of need: the next log file, its zeros already on the disk.
//!
//! The zeros are written by a job on another thread, into a file of their own, so that the fdatasync of the log
//! never has to wait for them. How much is prepared follows what is logged between two snapshots, up to
//! `preAllocSize`: a server that hardly writes does not fill a disk with zeros, and one that writes much leaves
//! few of them unused when a snapshot begins the next file.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use zk_proto::{Encode, persist::FileHeader};

use crate::storage::{
    disk::{Access, Disk, DiskFile},
    layout::prepared_name,
};

/// The least worth preparing.
const PREPARED_BYTES_MIN: u64 = 1 << 20;

/// How many files are to take what is logged between two snapshots.
///
/// Each costs a rename and the sync of the directory; half a file of zeros, on average, is written for nothing.
const FILES_PER_SNAPSHOT: u64 = 4;

/// Zeros are written in pieces of this size, and synced piece by piece: one large sync would hold the disk's
/// queue for as long as it takes.
const PIECE: usize = 1 << 20;

/// A log file that only needs its name.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) len: u64,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// A job is under way, or has failed; in both cases there is nothing to wait for.
    Asked,
    Ready(Prepared),
}

/// What is prepared, and what should be.
#[derive(Debug)]
pub(super) struct LogSpace {
    disk: Arc<dyn Disk>,
    limit: u64,
    slot: Arc<Mutex<Slot>>,
    jobs: Vec<BackgroundJob>,
    /// What was logged between the last two snapshots.
    last_span: u64,
    /// Whether the files that were closed are still what they were; held while one of them is cut.
    are_closed: Arc<Mutex<bool>>,
}

impl LogSpace {
    pub(super) fn new(disk: Arc<dyn Disk>, limit: u64) -> Self {
        Self {
            disk,
            limit,
            slot: Arc::default(),
            jobs: Vec::new(),
            last_span: 0,
            are_closed: Arc::new(Mutex::new(true)),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Ready(_))
    }

    pub(super) fn take(&mut self) -> Option<Prepared> {
        let mut slot = self.slot.lock();
        match std::mem::take(&mut *slot) {
            Slot::Ready(prepared) => Some(prepared),
            // A job under way keeps its claim; one that failed gets another chance in the next file.
            asked @ Slot::Asked if Arc::strong_count(&self.slot) > 1 => {
                *slot = asked;
                None
            }
            Slot::Asked | Slot::Empty => None,
        }
    }

    /// Notes how much of the current file is used, and asks for the next one in time; `span` is what was logged since
    /// the last snapshot began.
    pub(super) fn used(&mut self, position: u64, allocated: u64, span: u64) {
        let soon = position >= PREPARED_BYTES_MIN.min(allocated / 4);
        let mut slot = self.slot.lock();
        if soon && self.limit > 0 && matches!(*slot, Slot::Empty) {
            *slot = Slot::Asked;
            let len = (span.max(self.last_span) / FILES_PER_SNAPSHOT).max(PREPARED_BYTES_MIN);
            self.jobs.push(BackgroundJob(Job::Prepare {
                disk: self.disk.clone(),
                slot: self.slot.clone(),
                len: len.min(self.limit),
            }));
        }
    }

    /// Notes that a snapshot begins, after so much was logged since the one before.
    pub(super) const fn span_ended(&mut self, span: u64) {
        self.last_span = span;
    }

    /// Notes that a file is left with unused space at its end.
    pub(super) fn closed(&mut self, name: String, position: u64, allocated: u64) {
        if position < allocated {
            self.jobs.push(BackgroundJob(Job::Trim {
                disk: self.disk.clone(),
                are_closed: self.are_closed.clone(),
                name,
                len: position,
            }));
        }
    }

    /// Notes that the files that were closed may be written again, or others have their names: a job of theirs that comes
    /// late does nothing.
    pub(super) fn reopened(&mut self) {
        *self.are_closed.lock() = false;
        self.are_closed = Arc::new(Mutex::new(true));
    }

    /// Does what is left to do with the disk's space, at once, and removes what was prepared for nothing.
    pub(super) fn give_back(&mut self) {
        let trims = |job: &BackgroundJob| matches!(job.0, Job::Trim { .. });
        self.jobs
            .drain(..)
            .filter(trims)
            .for_each(BackgroundJob::run);
        self.reopened();
        if let Some(prepared) = self.take() {
            // Recovery would remove it, too.
            let _ = self.disk.remove(&prepared.name);
        }
    }

    pub(super) fn job(&mut self) -> Option<BackgroundJob> {
        self.jobs.pop()
    }
}

/// Work for any thread but the log's; [`run`](Self::run) it soon, or drop it: only speed is lost.
#[derive(Debug)]
pub struct BackgroundJob(Job);

#[derive(Debug)]
enum Job {
    Prepare {
        disk: Arc<dyn Disk>,
        slot: Arc<Mutex<Slot>>,
        len: u64,
    },
    Trim {
        disk: Arc<dyn Disk>,
        are_closed: Arc<Mutex<bool>>,
        name: String,
        len: u64,
    },
}

impl BackgroundJob {
    /// Does the work; blocks for as long as the disk takes.
    ///
    /// A failure is only told in the log: the log writer makes do without, and meets the disk's trouble itself.
    pub fn run(self) {
        match self.0 {
            Job::Prepare { disk, slot, len } => prepare_for(&*disk, &slot, len),
            Job::Trim {
                disk,
                are_closed,
                name,
                len,
            } => {
                let are_closed = are_closed.lock();
                if *are_closed && let Err(error) = trim(&*disk, &name, len) {
                    tracing::debug!(%error, name, "the zeros at the end of a log file stay");
                }
            }
        }
    }
}

fn prepare_for(disk: &dyn Disk, slot: &Arc<Mutex<Slot>>, len: u64) {
    let name = prepared_name();
    let wanted = || Arc::strong_count(slot) > 1;
    match prepare(disk, &name, len, wanted) {
        Ok(Some(file)) => *slot.lock() = Slot::Ready(Prepared { name, file, len }),
        Ok(None) => drop(disk.remove(&name)),
        Err(error) => {
            tracing::warn!(%error, "no space could be prepared for the next log file");
            // The log may need what little there is.
            let _ = disk.remove(&name);
        }
    }
}

/// Writes zeros into a new file; `None` if nobody waits for it any more.
fn prepare(
    disk: &dyn Disk,
    name: &str,
    len: u64,
    wanted: impl Fn() -> bool,
) -> io::Result<Option<Box<dyn DiskFile>>> {
    let mut file = disk.create(name, Access::Default)?;
    let zeros = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        if !wanted() {
            return Ok(None);
        }
        let piece = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
        file.write_at(at, &zeros[..piece])?;
        file.sync_data()?;
        at += piece as u64;
    }
    // With its header, the file is a valid log without records from the moment it gets its name.
    file.write_at(0, &FileHeader::LOG.to_bytes())?;
    file.sync_data()?;
    Ok(Some(file))
}

fn trim(disk: &dyn Disk, name: &str, len: u64) -> io::Result<()> {
    let mut file = disk.open(name)?;
    match file.file_len()? > len {
        true => file.set_len(len),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemDisk;

    #[test]
    fn a_file_that_is_written_again_is_not_cut_where_it_once_ended() {
        let (before, after) = (10, 50);
        for reopened in [false, true] {
            let disk = MemDisk::new();
            let mut space = LogSpace::new(Arc::new(disk.clone()), 0);
            space.closed("log.5".to_owned(), before, 100);
            let late = space.job().unwrap();
            if reopened {
                space.reopened();
            }
            let mut file = disk.create("log.5", Access::Default).unwrap();
            file.write_at(0, &[7; 50]).unwrap();
            late.run();
            let expected = if reopened { after } else { before };
            assert_eq!(file.file_len().unwrap(), expected);
        }
    }
}

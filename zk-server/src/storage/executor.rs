//! Carries out what the core asks of the disk, in order.

use std::sync::Arc;

use super::{
    BackgroundJob, Directories, DiskDone, DiskOp, Durable, Fatal, LogOptions, awaiting_sync,
    disk::Disk,
    epochs,
    txn_log::{Flushed, LogWriter, truncate},
};
use zk_proto::Zxid;

/// The owner of the transaction log and the epoch files: runs on the log thread.
///
/// Recovery makes it ([`recover`](super::recover)), so that nobody can append to a log that was not read.
#[derive(Debug)]
pub struct LogExecutor {
    log: LogWriter,
    logs: Arc<dyn Disk>,
    snapshots: Arc<dyn Disk>,
    data: Arc<dyn Disk>,
    /// Whether the history lacks something, and a file says so.
    awaits_sync: bool,
    generation: u64,
    /// Nothing is carried out any more: something failed, or this is the end.
    ended: bool,
}

impl LogExecutor {
    pub(super) fn new(
        directories: &Directories,
        options: LogOptions,
        last: Zxid,
        log_bytes: u64,
        awaits_sync: bool,
    ) -> Self {
        Self {
            log: LogWriter::new(directories.logs.clone(), options, last, log_bytes),
            logs: directories.logs.clone(),
            snapshots: directories.snapshots.clone(),
            data: directories.data.clone(),
            awaits_sync,
            generation: 0,
            ended: false,
        }
    }

    /// Carries out a batch, and says in `done` what became of it.
    ///
    /// Everything that is appended shares one write and one fdatasync, unless something else than an append
    /// stands between. After [`DiskDone::Failed`] nothing is carried out any more, in this batch or later.
    pub fn execute(&mut self, batch: impl IntoIterator<Item = DiskOp>, done: &mut Vec<DiskDone>) {
        if self.ended {
            return;
        }
        let result = batch
            .into_iter()
            .try_for_each(|op| self.carry_out(op, done))
            .and_then(|()| self.flush(done));
        if let Err(fatal) = result {
            self.ended = true;
            done.push(DiskDone::Failed(fatal));
        }
    }

    /// Work for another thread, if there is any; ask after every [`execute`](Self::execute).
    pub fn background_job(&mut self) -> Option<BackgroundJob> {
        match self.ended {
            true => None,
            false => self.log.background_job(),
        }
    }

    /// Gives back the space that was made ahead of need, for a clean stop; without it, only space is lost.
    ///
    /// Nothing is carried out afterwards.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.log.close();
        }
    }

    /// The last transaction of the log.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.log.last()
    }

    /// Whether the history on this disk lacks some of what it had, and no leader has synced it since.
    #[must_use]
    pub const fn awaits_sync(&self) -> bool {
        self.awaits_sync
    }

    fn carry_out(&mut self, op: DiskOp, done: &mut Vec<DiskDone>) -> Result<(), Fatal> {
        match op {
            DiskOp::Append { zxid, record } => {
                if self.log.is_full() {
                    self.flush(done)?;
                }
                self.log.append(zxid, &record);
            }
            DiskOp::RollLog => {
                let flushed = self.log.roll()?;
                self.report(flushed, done);
            }
            DiskOp::Truncate { to } => {
                self.flush(done)?;
                let kept = truncate(&*self.logs, &*self.snapshots, to)?;
                self.log.truncated(kept);
                self.generation += 1;
                done.push(DiskDone::Truncated {
                    generation: self.generation,
                    to: Durable::new(kept),
                });
            }
            DiskOp::SaveEpoch { kind, epoch } => {
                self.flush(done)?;
                epochs::save(&*self.snapshots, kind, epoch, self.awaits_sync)?;
                let epoch = Durable::new(epoch);
                done.push(DiskDone::EpochSaved { kind, epoch });
            }
            DiskOp::HistoryComplete => {
                self.flush(done)?;
                if std::mem::take(&mut self.awaits_sync) {
                    awaiting_sync::clear(&*self.data, &*self.snapshots)?;
                    tracing::info!("a leader has synced this member: it has its vote again");
                }
                done.push(DiskDone::HistoryComplete);
            }
            DiskOp::NewGeneration(generation) => {
                self.flush(done)?;
                self.generation = generation;
            }
            DiskOp::Barrier(number) => {
                self.flush(done)?;
                let last = Durable::new(self.log.last());
                done.push(DiskDone::Barrier { number, last });
            }
        }
        Ok(())
    }

    fn flush(&mut self, done: &mut Vec<DiskDone>) -> Result<(), Fatal> {
        let flushed = self.log.flush()?;
        self.report(flushed, done);
        Ok(())
    }

    fn report(&self, flushed: Option<Flushed>, done: &mut Vec<DiskDone>) {
        done.extend(flushed.map(|flushed| DiskDone::Synced {
            generation: self.generation,
            zxid: Durable::new(flushed.last),
            log_bytes: flushed.log_bytes,
            sync_time: flushed.sync_time,
        }));
    }
}

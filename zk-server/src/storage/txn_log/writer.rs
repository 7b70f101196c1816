//! The file that is appended to.

use std::{io, sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use zk_proto::{
    Encode, Zxid,
    persist::{FileHeader, put_record},
};

use super::{
    BackgroundJob, LogOptions, UNSYNCED_BYTES_MAX,
    space::{LogSpace, Prepared},
};
use crate::{
    error::Fatal,
    storage::{
        disk::{Access, Disk, DiskFile},
        layout::log_name,
    },
};

/// Space of a file that had to be made on the spot; small, since the write path waits for it.
const FIRST_SPACE: usize = 64 << 10;

/// What a file grows by when its space is used up and no other file is ready.
const MORE_SPACE: usize = 1 << 20;

/// Appends records, a batch at a time.
#[derive(Debug)]
pub(in crate::storage) struct LogWriter {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    space: LogSpace,
    file: Option<OpenLog>,
    pending: Pending,
    /// The last record appended or recovered.
    last: Zxid,
    /// Bytes appended since the last roll that was asked for.
    log_bytes: u64,
}

/// Records that are not written yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: BytesMut,
    first: Zxid,
}

#[derive(Debug)]
struct OpenLog {
    file: Box<dyn DiskFile>,
    name: String,
    /// Where the next record goes.
    position: u64,
    /// Up to where the file is zeros.
    allocated: u64,
    /// Whether its name is durable.
    name_synced: bool,
}

/// A batch that is on the disk.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct Flushed {
    pub(in crate::storage) last: Zxid,
    pub(in crate::storage) log_bytes: u64,
    pub(in crate::storage) sync_time: Duration,
}

impl LogWriter {
    /// Goes on after `last` in a new file; `log_bytes` is what was logged since the last snapshot.
    pub(in crate::storage) fn new(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        last: Zxid,
        log_bytes: u64,
    ) -> Self {
        Self {
            space: LogSpace::new(disk.clone(), options.pre_alloc_bytes),
            disk,
            options,
            file: None,
            pending: Pending::default(),
            last,
            log_bytes,
        }
    }

    /// Adds a record to the batch.
    pub(in crate::storage) fn append(&mut self, zxid: Zxid, record: &[u8]) {
        assert!(zxid > self.last, "{zxid} is appended after {}", self.last);
        assert!(!record.is_empty(), "an empty record would end the log");
        if self.pending.bytes.is_empty() {
            self.pending.first = zxid;
        }
        put_record(&mut self.pending.bytes, record);
        self.last = zxid;
    }

    /// Whether so much is pending that it must be flushed before more is added.
    pub(in crate::storage) fn is_full(&self) -> bool {
        self.pending.bytes.len() >= UNSYNCED_BYTES_MAX
    }

    /// Writes and syncs what is pending; `None` if nothing is.
    pub(in crate::storage) fn flush(&mut self) -> Result<Option<Flushed>, Fatal> {
        if self.pending.bytes.is_empty() {
            return Ok(None);
        }
        self.open_for_pending()
            .and_then(|()| self.write_pending())
            .and_then(|()| self.sync())
            .map(Some)
            .map_err(|error| self.failed("writing the transaction log", &error))
    }

    /// Ends the current file: what is appended from now on goes to a new one.
    pub(in crate::storage) fn roll(&mut self) -> Result<Option<Flushed>, Fatal> {
        let flushed = self.flush()?;
        self.close_file();
        self.space.span_ended(self.log_bytes);
        self.log_bytes = 0;
        Ok(flushed)
    }

    /// Goes on after `last`, everything behind it being cut off the log.
    pub(in crate::storage) fn truncated(&mut self, last: Zxid) {
        self.file = None;
        self.space.reopened();
        self.last = last;
    }

    /// The last record appended.
    pub(in crate::storage) const fn last(&self) -> Zxid {
        self.last
    }

    /// Gives back what was prepared and not used; nothing is appended afterwards.
    pub(in crate::storage) fn close(&mut self) {
        self.close_file();
        self.space.give_back();
    }

    /// Something to do on another thread, without which the log works but stalls now and then.
    pub(in crate::storage) fn background_job(&mut self) -> Option<BackgroundJob> {
        self.space.job()
    }

    /// Picks the file that what is pending goes to.
    fn open_for_pending(&mut self) -> io::Result<()> {
        let needed = self.pending.bytes.len() as u64;
        if let Some(file) = &self.file {
            let has_room = file.position + needed <= file.allocated;
            let oversize = self
                .options
                .size_limit_bytes
                .is_some_and(|limit| file.position > limit);
            if !oversize && (has_room || !self.space.is_ready()) {
                return Ok(());
            }
            self.close_file();
        }
        let name = log_name(self.pending.first);
        self.file = Some(match self.space.take() {
            Some(prepared) => self.adopt(prepared, name)?,
            None => self.create(name)?,
        });
        Ok(())
    }

    fn adopt(&self, prepared: Prepared, name: String) -> io::Result<OpenLog> {
        self.disk.rename(&prepared.name, &name)?;
        Ok(OpenLog {
            file: prepared.file,
            name,
            position: FileHeader::LEN as u64,
            allocated: prepared.len,
            name_synced: false,
        })
    }

    /// Makes a file on the spot. Its header is durable before any record is written, so that a file without one
    /// never held a record.
    fn create(&self, name: String) -> io::Result<OpenLog> {
        let mut file = self.disk.create(&name, Access::Default)?;
        let mut start = BytesMut::new();
        FileHeader::LOG.encode(&mut start);
        start.put_bytes(0, self.space_of(FIRST_SPACE));
        file.write_at(0, &start)?;
        if self.options.force_sync {
            file.sync_data()?;
            self.disk.sync_dir()?;
        }
        Ok(OpenLog {
            file,
            name,
            position: FileHeader::LEN as u64,
            allocated: start.len() as u64,
            name_synced: true,
        })
    }

    /// So much space, or what `preAllocSize` allows.
    fn space_of(&self, wanted: usize) -> usize {
        usize::try_from(self.options.pre_alloc_bytes).map_or(wanted, |limit| limit.min(wanted))
    }

    /// Writes the batch, with zeros behind it when the file's space is used up.
    fn write_pending(&mut self) -> io::Result<()> {
        let more = self.space_of(MORE_SPACE);
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let bytes = &mut self.pending.bytes;
        let records = bytes.len();
        let end = file.position + records as u64;
        if end > file.allocated {
            bytes.put_bytes(0, more);
            file.allocated = end + more as u64;
        }
        file.file.write_at(file.position, bytes)?;
        file.position = end;
        self.log_bytes += records as u64;
        bytes.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<Flushed> {
        let before = self.disk.elapsed();
        if let (Some(file), true) = (&mut self.file, self.options.force_sync) {
            file.file.sync_data()?;
            if !file.name_synced {
                self.disk.sync_dir()?;
                file.name_synced = true;
            }
        }
        if let Some(file) = &self.file {
            self.space
                .used(file.position, file.allocated, self.log_bytes);
        }
        Ok(Flushed {
            last: self.last,
            log_bytes: self.log_bytes,
            sync_time: self.disk.elapsed().saturating_sub(before),
        })
    }

    /// Leaves the current file; the zeros it did not use are given back by and by.
    fn close_file(&mut self) {
        if let Some(file) = self.file.take() {
            self.space.closed(file.name, file.position, file.allocated);
        }
    }

    fn failed(&self, doing: &str, error: &io::Error) -> Fatal {
        let name = self.file.as_ref().map_or("", |file| file.name.as_str());
        Fatal::io(format!("{doing} {}", self.disk.path_of(name)), error)
    }
}

//! Reading a log file, a piece at a time.

use std::io;

use bytes::Bytes;
use zk_proto::{
    DecodeError, Reader,
    persist::{FileHeader, LogCursor, LogDamage, LogRecord, LogStep},
};

use crate::{
    error::Fatal,
    storage::disk::{Disk, DiskFile},
};

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// A walk over the records of one file.
#[derive(Debug)]
pub(in crate::storage) struct LogReader {
    file: Box<dyn DiskFile>,
    name: String,
    cursor: LogCursor,
    len: u64,
    read_to: u64,
    piece: Vec<u8>,
}

/// Why the walk cannot go on.
#[derive(Debug)]
pub(in crate::storage) enum ReadError {
    /// The file does not begin as a log does.
    Header(DecodeError),
    /// Something is wrong with a record.
    Damage(LogDamage),
    /// The disk failed.
    Io(Fatal),
}

impl LogReader {
    /// Opens a log and checks its header.
    pub(in crate::storage) fn open(disk: &dyn Disk, name: &str) -> Result<Self, ReadError> {
        let failed = |error: &io::Error| {
            ReadError::Io(Fatal::io(format!("reading {}", disk.path_of(name)), error))
        };
        let mut file = disk.open(name).map_err(|error| failed(&error))?;
        let len = file.file_len().map_err(|error| failed(&error))?;
        let mut header = vec![0; FileHeader::LEN];
        let got = file
            .read_at(0, &mut header)
            .map_err(|error| failed(&error))?;
        header.truncate(got);
        let header = Bytes::from(header);
        FileHeader::decode_log(&mut Reader::new(header)).map_err(ReadError::Header)?;
        Ok(Self {
            file,
            name: disk.path_of(name),
            cursor: LogCursor::new(len),
            len,
            read_to: FileHeader::LEN as u64,
            piece: Vec::new(),
        })
    }

    /// The next record; `None` where the log ends.
    pub(in crate::storage) fn next_record(&mut self) -> Result<Option<LogRecord>, ReadError> {
        loop {
            match self.cursor.next_record().map_err(ReadError::Damage)? {
                LogStep::Record(record) => return Ok(Some(record)),
                LogStep::End => return Ok(None),
                LogStep::NeedsBytes(count) => self.feed(count)?,
            }
        }
    }

    /// Where the intact part ends.
    pub(in crate::storage) const fn offset(&self) -> u64 {
        self.cursor.offset()
    }

    /// The file's length.
    pub(in crate::storage) const fn len(&self) -> u64 {
        self.len
    }

    /// The file itself, for a look at what follows the intact part.
    pub(in crate::storage) fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }

    fn feed(&mut self, at_least: usize) -> Result<(), ReadError> {
        let left = usize::try_from(self.len - self.read_to).unwrap_or(usize::MAX);
        self.piece.resize(at_least.max(PIECE.min(left)), 0);
        let got = self
            .file
            .read_at(self.read_to, &mut self.piece)
            .and_then(|got| match got {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                got => Ok(got),
            })
            .map_err(|error| ReadError::Io(Fatal::io(format!("reading {}", self.name), &error)))?;
        self.cursor.feed(&self.piece[..got]);
        self.read_to += got as u64;
        Ok(())
    }
}

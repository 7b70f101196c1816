//! The outside world's disk, as little of it as a transaction log needs.
//!
//! One [`Disk`] is one directory of named files. Nothing here decides anything: ordering, retries and formats
//! are the callers'. Two implementations exist: `FsDisk`, a directory of the file system, and
//! [`MemDisk`](super::MemDisk), which keeps everything in memory and forgets at a power cut what was not synced.
//!
//! Durability is what POSIX gives and no more: the bytes of a file survive a power cut once
//! [`DiskFile::sync_data`] has returned, its *name* (after a create, rename or remove) once
//! [`Disk::sync_dir`] has.

use std::{fmt, io, sync::Arc, time::Duration};

/// One directory of named files. Every call may block, so it belongs on the log or the snapshot thread.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The directory's files, in no particular order; subdirectories are left out.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none, and what else the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes an empty file, in place of the one with this name if there is one.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, atomically replacing the file that has it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every create, rename and remove so far survive a power cut.
    ///
    /// # Errors
    /// What the system says; nobody knows then which names are durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// The subdirectory with this name, made (durably) if it is missing.
    ///
    /// # Errors
    /// What the system says.
    fn subdirectory(&self, name: &str) -> io::Result<Arc<dyn Disk>>;

    /// Takes the directory for one process alone, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it, and what else the system says.
    fn lock(&self) -> io::Result<DirectoryLock>;

    /// How many more bytes fit.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Time since an arbitrary moment, on the clock that this disk's operations take time on.
    fn elapsed(&self) -> Duration;

    /// How a message should name this file: its full path where there is one.
    fn path_of(&self, name: &str) -> String;
}

/// An open file of a [`Disk`]; dropping it closes the file without making anything durable.
pub trait DiskFile: fmt::Debug + Send {
    /// Reads from `offset` until `buffer` is full or the file ends; returns how many bytes it got.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file as needed.
    ///
    /// # Errors
    /// What the system says; nobody knows then which of the bytes were written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes every byte of the file, whoever wrote it, survive a power cut (`fdatasync`).
    ///
    /// # Errors
    /// What the system says; nobody knows then which bytes are durable, and a second try proves nothing.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn file_len(&self) -> io::Result<u64>;
}

/// A file's name and size, as a directory lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name within the directory.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whom the process's umask allows.
    Default,
    /// The owner alone (mode 0600): secrets.
    Owner,
}

/// Holds a directory for this process; dropping it gives the directory free.
pub struct DirectoryLock {
    _held: Box<dyn Send + Sync>,
}

impl DirectoryLock {
    /// A lock that lasts as long as `held` lives.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self {
            _held: Box::new(held),
        }
    }
}

impl fmt::Debug for DirectoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryLock")
    }
}

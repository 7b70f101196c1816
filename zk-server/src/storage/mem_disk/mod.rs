//! A disk in memory that forgets at a power cut what was not synced.
//!
//! For tests of everything that claims to be durable, and for whole servers in virtual time:
//!
//! ```
//! use zk_server::storage::{Access, Disk, MemDisk};
//!
//! let disk = MemDisk::new();
//! let mut file = disk.create("log.1", Access::Default)?;
//! file.write_at(0, b"kept")?;
//! file.sync_data()?;
//! disk.sync_dir()?;
//! file.write_at(4, b" lost or torn")?;
//! disk.power_cut(7); // every seed tears differently; the same seed always tears the same
//!
//! let mut after = [0; 4];
//! disk.open("log.1")?.read_at(0, &mut after)?;
//! assert_eq!(&after, b"kept");
//! assert!(file.sync_data().is_err(), "what was open before the cut is gone");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What survives a power cut is what POSIX and real disks promise, and not a byte more: of the sectors (512
//! bytes) written since a file's last sync, all, none, a prefix or any selection; of the file's growth, any part;
//! of the creates, renames and removes since a directory's last sync, a prefix, since file systems journal them in
//! order. Faults are injected with [`MemDisk::fail`], [`MemDisk::set_capacity`], [`MemDisk::set_latency`] and
//! [`MemDisk::lie_about_sync`].
//!
//! A clone and a [`subdirectory`](Disk::subdirectory) are views of the same disk: a cut hits all of it.

mod content;
mod faults;
mod platter;

pub use faults::{FaultyCall, Latency};

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;

use self::platter::{Platter, SharedContent};
use super::disk::{Access, DirectoryLock, Disk, DiskFile, FileInfo};

/// A [`Disk`] in memory; see the [module](self) for what a power cut leaves of it.
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    platter: Arc<Mutex<Platter>>,
    /// Empty, or a path that ends with `/`.
    directory: String,
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: open files and locks are gone, and of what was not synced the seed decides what is left.
    pub fn power_cut(&self, seed: u64) {
        self.platter.lock().power_cut(seed);
    }

    /// Ends the process but not the power: open files and locks are gone, everything written is still there.
    pub fn kill(&self) {
        self.platter.lock().kill();
    }

    /// Lets the `nth` call of this kind from now on fail, and every one after it, until [`heal`](Self::heal).
    ///
    /// 1 is the next call. A failing write has written half of its bytes.
    pub fn fail(&self, call: FaultyCall, nth: u32, error: io::ErrorKind) {
        self.platter.lock().faults.fail(call, nth, error);
    }

    /// Whether a call of this kind has failed since [`fail`](Self::fail) asked for that; [`heal`](Self::heal) forgets it.
    #[must_use]
    pub fn has_failed(&self, call: FaultyCall) -> bool {
        self.platter.lock().faults.struck.contains(&call)
    }

    /// Ends every fault that was injected: errors, latencies, the capacity and the lie.
    pub fn heal(&self) {
        self.platter.lock().faults = faults::Faults::default();
    }

    /// From now on a sync reports success and does nothing.
    pub fn lie_about_sync(&self) {
        self.platter.lock().faults.sync_lies = true;
    }

    /// Makes the disk this many bytes large; a write beyond it fails with [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: u64) {
        self.platter.lock().faults.capacity = Some(bytes);
    }

    /// Makes calls take time on the disk's own clock ([`Disk::elapsed`]); nothing sleeps.
    pub fn set_latency(&self, latency: Latency) {
        self.platter.lock().faults.latency = latency;
    }

    /// Changes one byte of a file behind everybody's back, durably: bit rot.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such file or no such byte.
    pub fn rot(&self, name: &str, offset: u64, mask: u8) -> io::Result<()> {
        let content = self.platter.lock().lookup(&self.full(name))?;
        content.lock().rot(offset, mask)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.directory)
    }

    fn handle(&self, platter: &Platter, content: SharedContent) -> Box<dyn DiskFile> {
        Box::new(MemFile {
            disk: self.platter.clone(),
            power: platter.power,
            content,
        })
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        Ok(self.platter.lock().list(&self.directory))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let platter = self.platter.lock();
        let content = platter.lookup(&self.full(name))?;
        Ok(self.handle(&platter, content))
    }

    fn create(&self, name: &str, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.platter.lock();
        platter.faults.enter(FaultyCall::Create)?;
        let content = platter.create(self.full(name));
        Ok(self.handle(&platter, content))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.platter.lock();
        platter.faults.enter(FaultyCall::Rename)?;
        platter.rename(&self.full(from), self.full(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut platter = self.platter.lock();
        platter.faults.enter(FaultyCall::Remove)?;
        platter.remove(&self.full(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut platter = self.platter.lock();
        platter.faults.enter(FaultyCall::SyncDir)?;
        platter.sync_dir(&self.directory);
        Ok(())
    }

    fn subdirectory(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(Self {
            platter: self.platter.clone(),
            directory: format!("{}{name}/", self.directory),
        }))
    }

    fn lock(&self) -> io::Result<DirectoryLock> {
        let mut platter = self.platter.lock();
        let lock = platter.take_lock(&self.directory)?;
        Ok(DirectoryLock::new(lock))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.platter.lock().free_bytes())
    }

    fn elapsed(&self) -> Duration {
        self.platter.lock().faults.elapsed
    }

    fn path_of(&self, name: &str) -> String {
        self.full(name)
    }
}

#[derive(Debug)]
struct MemFile {
    disk: Arc<Mutex<Platter>>,
    power: u64,
    content: SharedContent,
}

impl MemFile {
    /// The disk, for one call that may fail; the handle of a process that is gone always does.
    fn enter(&self, call: FaultyCall) -> io::Result<parking_lot::MutexGuard<'_, Platter>> {
        let mut platter = self.disk.lock();
        if platter.power != self.power {
            return Err(io::Error::other("opened before the power was cut"));
        }
        platter.faults.enter(call)?;
        Ok(platter)
    }
}

impl DiskFile for MemFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let _disk = self.enter(FaultyCall::Read)?;
        Ok(self.content.lock().read_at(offset, buffer))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        match self.enter(FaultyCall::Write) {
            Ok(disk) => {
                let growth = self.content.lock().growth(offset, bytes.len());
                if growth > disk.free_bytes() {
                    self.content.lock().write_at(offset, half);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.content.lock().write_at(offset, bytes);
                Ok(())
            }
            Err(error) => {
                self.content.lock().write_at(offset, half);
                Err(error)
            }
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let disk = self.enter(FaultyCall::Sync);
        let disk = disk.inspect_err(|_| self.content.lock().fail_sync())?;
        if !disk.faults.sync_lies {
            self.content.lock().sync();
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let _disk = self.enter(FaultyCall::SetLen)?;
        self.content.lock().set_len(len);
        Ok(())
    }

    fn file_len(&self) -> io::Result<u64> {
        Ok(self.content.lock().len())
    }
}

#[cfg(test)]
mod tests;

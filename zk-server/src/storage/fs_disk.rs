//! A directory of the file system.
#![allow(
    clippy::disallowed_methods,
    reason = "this is where files and the clock that measures fsync belong"
)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    fs::{FlockOperation, flock, statvfs},
    io::Errno,
};

use super::disk::{Access, DirectoryLock, Disk, DiskFile, FileInfo};

/// A directory of the file system, as a [`Disk`].
///
/// It keeps two file descriptors for the time when the process has no more: the directory, so that syncing it opens
/// nothing, and one that is given up when a file cannot be opened otherwise. The log needs both to go on.
#[derive(Debug, Clone)]
pub struct FsDisk {
    root: PathBuf,
    directory: Arc<File>,
    reserve: Arc<Mutex<Option<File>>>,
    opened: Instant,
}

impl FsDisk {
    /// The directory at `root`, which must exist.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::NotFound`] among it.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let directory = File::open(&root)?;
        match directory.metadata()?.is_dir() {
            true => Ok(Self {
                reserve: Arc::new(Mutex::new(Some(directory.try_clone()?))),
                directory: Arc::new(directory),
                root,
                opened: Instant::now(),
            }),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory at `root`, made (durably, with its parents) if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_durably(&root)?;
        Self::open(root)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn open_with(&self, options: &OpenOptions, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.at(name);
        let mut reserve = self.reserve.lock();
        let opened = options.open(&path).or_else(|error| {
            let exhausted = matches!(
                Errno::from_io_error(&error),
                Some(Errno::MFILE | Errno::NFILE)
            );
            match reserve.take() {
                Some(reserve) if exhausted => {
                    drop(reserve);
                    options.open(&path)
                }
                kept => {
                    *reserve = kept;
                    Err(error)
                }
            }
        });
        if reserve.is_none() {
            *reserve = self.directory.try_clone().ok();
        }
        Ok(Box::new(FsFile(opened?)))
    }
}

/// Makes a directory and syncs the one it is in, from the outermost missing one inwards.
fn make_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

impl Disk for FsDisk {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let meta = match entry.metadata() {
                // Removed while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                files.push(FileInfo {
                    name,
                    len: meta.len(),
                });
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open_with(OpenOptions::new().read(true).write(true), name)
    }

    fn create(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        if access == Access::Owner {
            // An old file would keep its own mode.
            match self.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => options.mode(0o600).create_new(true),
            };
        }
        self.open_with(&options, name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn subdirectory(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(Self::create(self.at(name))?))
    }

    fn lock(&self) -> io::Result<DirectoryLock> {
        // The directory itself is what is locked, so that no file has to be left behind.
        let directory = File::open(&self.root)?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(DirectoryLock::new(directory))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn elapsed(&self) -> Duration {
        self.opened.elapsed()
    }

    fn path_of(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

#[derive(Debug)]
struct FsFile(File);

impl DiskFile for FsFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.0.read_at(&mut buffer[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn file_len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_keeps_named_files() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::create(dir.path().join("a/b")).unwrap();
        assert_eq!(disk.list().unwrap(), []);
        let mut file = disk.create("one", Access::Default).unwrap();
        file.write_at(3, b"abc").unwrap();
        file.sync_data().unwrap();
        disk.rename("one", "two").unwrap();
        disk.sync_dir().unwrap();
        disk.subdirectory("deeper").unwrap();
        let two = FileInfo {
            name: "two".to_owned(),
            len: 6,
        };
        assert_eq!(disk.list().unwrap(), [two], "a subdirectory is no file");

        let mut again = disk.open("two").unwrap();
        let mut buffer = [9; 8];
        assert_eq!(again.read_at(2, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"\0abc\x09\x09\x09\x09");
        again.set_len(4).unwrap();
        assert_eq!(file.file_len().unwrap(), 4);
        disk.remove("two").unwrap();
        let missing = disk.open("two").map(drop).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(disk.free_bytes().unwrap() > 0);
    }

    #[test]
    fn a_directory_is_locked_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = || FsDisk::open(dir.path()).unwrap().lock();
        let held = lock().unwrap();
        let refused = lock().map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(lock().is_ok());
    }

    #[test]
    fn a_directory_is_synced_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::create(dir.path().join("before")).unwrap();
        fs::rename(dir.path().join("before"), dir.path().join("after")).unwrap();
        assert!(disk.open("x").is_err());
        disk.sync_dir().unwrap();
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_alone_even_in_place_of_a_public_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FsDisk::open(dir.path()).unwrap();
        drop(disk.create("secret", Access::Default).unwrap());
        drop(disk.create("secret", Access::Owner).unwrap());
        let mode = fs::metadata(dir.path().join("secret")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}

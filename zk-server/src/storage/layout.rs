//! Which files lie where, and what their names say.
//!
//! ```text
//! dataDir/           myid  sessionSecret  awaitingSync
//! dataDir/version-2/     snapshot.<zxid>[.gz|.snappy]  currentEpoch  acceptedEpoch  damaged.snapshot.*
//! dataLogDir/        initialize
//! dataLogDir/version-2/  log.<zxid of the first record>  damaged.log.*
//! ```
//! (`FileTxnSnapLog`, `Util`.) Zxids are hexadecimal without a prefix.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use zk_proto::Zxid;

use super::disk::{DirectoryLock, Disk};
use crate::error::Fatal;

/// The subdirectory for the current formats (`FileTxnSnapLog.VERSION`).
pub(super) const VERSION_DIR: &str = "version-2";

/// The name of a log file in the making, its zeros already written; renamed when its turn comes.
///
/// Apache takes no notice of it. No two of a process have the same, so that a job that outlives its server cannot
/// touch the file of the next one.
pub(super) fn prepared_name() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("prepared.{}.log", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Whether this is the name of a log file in the making.
pub(super) fn is_prepared(name: &str) -> bool {
    name.starts_with("prepared.") && name.ends_with(".log")
}

/// What a file that is not complete yet has at the end of its name.
pub(super) const TMP_SUFFIX: &str = ".tmp";

/// The directories of one member, held for this process alone.
#[derive(Clone)]
pub struct Directories {
    /// `dataDir` itself: `myid`, the session secret.
    pub data: Arc<dyn Disk>,
    /// `dataLogDir` itself: `initialize`.
    pub(super) log_root: Arc<dyn Disk>,
    /// `dataDir/version-2`: snapshots and epochs.
    pub snapshots: Arc<dyn Disk>,
    /// `dataLogDir/version-2`: the transaction log.
    pub logs: Arc<dyn Disk>,
    _locks: Arc<Vec<DirectoryLock>>,
}

impl fmt::Debug for Directories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directories")
            .field("data", &self.data)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

impl Directories {
    /// Takes one directory for everything.
    ///
    /// # Errors
    /// [`Fatal`] when another process has the directory, and when the disk fails.
    pub fn on(data: Arc<dyn Disk>) -> Result<Self, Fatal> {
        let lock = take(&*data, "dataDir")?;
        let version = version_dir(&*data)?;
        Ok(Self {
            log_root: data.clone(),
            data,
            snapshots: version.clone(),
            logs: version,
            _locks: Arc::new(vec![lock]),
        })
    }

    /// Takes one directory for snapshots and another one for the log.
    ///
    /// # Errors
    /// [`Fatal`] when another process has either, when one holds what belongs into the other (Apache refuses
    /// that too: a mistake in the configuration), and when the disk fails.
    pub fn on_separate(data: Arc<dyn Disk>, log: Arc<dyn Disk>) -> Result<Self, Fatal> {
        let locks = vec![take(&*data, "dataDir")?, take(&*log, "dataLogDir")?];
        let directories = Self {
            snapshots: version_dir(&*data)?,
            logs: version_dir(&*log)?,
            data,
            log_root: log,
            _locks: Arc::new(locks),
        };
        directories.check_contents()?;
        Ok(directories)
    }

    /// Opens what the configuration names, making directories that are missing if it allows.
    ///
    /// # Errors
    /// As [`on_separate`](Self::on_separate), and when a directory is missing that may not be made.
    #[cfg(feature = "driver")]
    pub fn open(config: &crate::config::Config) -> Result<Self, Fatal> {
        let data = open_dir(&config.data_dir, config.data_dir_autocreate)?;
        let log_dir = config.log_dir();
        let real = |path: &std::path::Path| path.canonicalize().ok();
        let same = config.data_dir == log_dir || real(&config.data_dir) == real(log_dir);
        match same {
            true => Self::on(data),
            false => Self::on_separate(data, open_dir(log_dir, config.data_dir_autocreate)?),
        }
    }

    fn check_contents(&self) -> Result<(), Fatal> {
        if !logs(&*self.snapshots)?.is_empty() {
            return Err(Fatal::new(format!(
                "{} holds transaction logs, but dataLogDir names another directory: move them there, or unset it",
                self.snapshots.path_of("")
            )));
        }
        if !snapshots(&*self.logs)?.is_empty() {
            return Err(Fatal::new(format!(
                "{} is the directory for transaction logs but holds snapshots: move them to dataDir",
                self.logs.path_of("")
            )));
        }
        Ok(())
    }
}

#[cfg(feature = "driver")]
fn open_dir(path: &std::path::Path, create: bool) -> Result<Arc<dyn Disk>, Fatal> {
    let disk = match create {
        true => super::FsDisk::create(path),
        false => super::FsDisk::open(path),
    };
    let disk = disk.map_err(|error| Fatal::io(format!("opening {}", path.display()), &error))?;
    Ok(Arc::new(disk))
}

fn take(disk: &dyn Disk, role: &str) -> Result<DirectoryLock, Fatal> {
    let path = disk.path_of("");
    disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            Fatal::new(format!("{role} {path} is in use by another server"))
        }
        _ => Fatal::io(format!("locking {role} {path}"), &error),
    })
}

fn version_dir(disk: &dyn Disk) -> Result<Arc<dyn Disk>, Fatal> {
    disk.subdirectory(VERSION_DIR)
        .map_err(|error| Fatal::io(format!("opening {}", disk.path_of(VERSION_DIR)), &error))
}

/// The name of the log whose first record is this one.
pub(super) fn log_name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

/// The name of the snapshot of the tree after this transaction.
pub(super) fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// A snapshot's file and how it is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    pub(super) zxid: Zxid,
    pub(super) name: String,
    pub(super) packing: Packing,
}

/// How a snapshot's stream is packed (`snapshot.compression.method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// As gzip has it.
    Gzip,
    /// As the Java library `snappy-java` frames it.
    Snappy,
}

/// The logs of a directory, oldest first.
pub(super) fn logs(disk: &dyn Disk) -> Result<Vec<(Zxid, String)>, Fatal> {
    let mut logs: Vec<_> = names(disk)?
        .into_iter()
        .filter_map(|name| Some((zxid(name.strip_prefix("log.")?)?, name)))
        .collect();
    logs.sort();
    Ok(logs)
}

/// The snapshots of a directory, newest first.
pub(super) fn snapshots(disk: &dyn Disk) -> Result<Vec<SnapshotFile>, Fatal> {
    let mut snapshots: Vec<_> = names(disk)?.into_iter().filter_map(snapshot).collect();
    snapshots.sort_by_key(|file| std::cmp::Reverse(file.zxid));
    Ok(snapshots)
}

fn snapshot(name: String) -> Option<SnapshotFile> {
    let rest = name.strip_prefix("snapshot.")?;
    let (digits, packing) = match rest.split_once('.') {
        None => (rest, Packing::Plain),
        Some((digits, "gz")) => (digits, Packing::Gzip),
        Some((digits, "snappy")) => (digits, Packing::Snappy),
        Some(_) => return None,
    };
    let zxid = zxid(digits)?;
    Some(SnapshotFile {
        zxid,
        name,
        packing,
    })
}

fn zxid(digits: &str) -> Option<Zxid> {
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

/// Every file of a directory.
pub(super) fn names(disk: &dyn Disk) -> Result<Vec<String>, Fatal> {
    let files = disk
        .list()
        .map_err(|error| Fatal::io(format!("listing {}", disk.path_of("")), &error))?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, MemDisk};

    fn disk_with(names: &[&str]) -> Arc<MemDisk> {
        let disk = MemDisk::new();
        for name in names {
            disk.subdirectory(VERSION_DIR)
                .unwrap()
                .create(name, Access::Default)
                .unwrap();
        }
        Arc::new(disk)
    }

    #[test]
    fn names_are_read_as_apache_writes_them_and_others_are_left_alone() {
        let disk = disk_with(&[
            "log.2",
            "log.1a",
            "log.",
            "log.x",
            "log.1.old",
            "logs.3",
            "prepared.0.log",
            "snapshot.0",
            "snapshot.ff.gz",
            "snapshot.100.snappy",
            "snapshot.1.tmp",
            "damaged.log.3",
            "damaged.snapshot.4",
            "snapshot.ff.zip",
        ]);
        let version = version_dir(&*disk).unwrap();
        let logs: Vec<_> = logs(&*version).unwrap().into_iter().map(|l| l.1).collect();
        assert_eq!(logs, ["log.2", "log.1a"]);
        let snapshots = snapshots(&*version).unwrap();
        let found: Vec<_> = snapshots.iter().map(|s| (s.zxid.0, s.packing)).collect();
        assert_eq!(
            found,
            [
                (0x100, Packing::Snappy),
                (0xff, Packing::Gzip),
                (0, Packing::Plain)
            ]
        );
        assert_eq!(log_name(Zxid(0x1_0000_000f)), "log.10000000f");
        assert_eq!(snapshot_name(Zxid(0)), "snapshot.0");
    }

    #[test]
    fn a_directory_serves_one_server_at_a_time() {
        let disk = disk_with(&[]);
        let held = Directories::on(disk.clone()).unwrap();
        let refused = Directories::on(disk.clone()).map(drop).unwrap_err();
        assert!(refused.to_string().contains("in use by another server"));
        drop(held);
        assert!(Directories::on(disk).is_ok());
    }

    #[test]
    fn what_lies_in_the_wrong_directory_is_a_mistake_in_the_configuration() {
        let check = |data: &[&str], log: &[&str], expected: &str| {
            let result = Directories::on_separate(disk_with(data), disk_with(log));
            let message = result.map_or_else(|fatal| fatal.to_string(), |_| String::new());
            assert!(message.contains(expected) && message.is_empty() == expected.is_empty());
        };
        check(&["snapshot.0"], &["log.1"], "");
        check(&["log.1"], &[], "holds transaction logs");
        check(&[], &["snapshot.0"], "holds snapshots");
    }
}

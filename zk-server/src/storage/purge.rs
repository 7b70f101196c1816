//! Old snapshots and the logs that nobody needs any more (`PurgeTxnLog`).

use zk_proto::Zxid;

use super::{
    Directories, Fatal,
    disk::Disk,
    layout::{Packing, SnapshotFile, logs, snapshots},
};

/// The fewest snapshots that are kept, whatever is asked for.
pub const SNAP_RETAIN_COUNT_MIN: usize = 3;

/// What purging removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// The files' names.
    pub files: Vec<String>,
}

/// Removes all but the newest `retain` complete snapshots (at least three), and the logs that only older ones need.
///
/// The log that begins before the oldest snapshot kept stays, since it may go on after it. Files are removed oldest
/// first, so that what a crash leaves is one piece.
///
/// # Errors
/// [`Fatal`] when the disk fails; what was not removed then stays, and nothing is lost.
pub fn purge(directories: &Directories, retain: usize) -> Result<Purged, Fatal> {
    let mut purged = Purged::default();
    let disk = &*directories.snapshots;
    let all = snapshots(disk)?;
    let complete = all.iter().filter(|file| is_complete(disk, file));
    let retain = retain.max(SNAP_RETAIN_COUNT_MIN);
    let Some(oldest) = complete.map(|file| file.zxid).take(retain).last() else {
        return Ok(purged);
    };
    for (_, name) in unneeded_logs(&*directories.logs, oldest)? {
        remove(&*directories.logs, name, &mut purged)?;
    }
    for file in all.into_iter().rev().filter(|file| file.zxid < oldest) {
        remove(disk, file.name, &mut purged)?;
    }
    Ok(purged)
}

/// The logs before the last one that begins at or before this transaction.
fn unneeded_logs(disk: &dyn Disk, oldest: Zxid) -> Result<Vec<(Zxid, String)>, Fatal> {
    let mut all = logs(disk)?;
    let needed_from = all
        .partition_point(|(first, _)| *first <= oldest)
        .saturating_sub(1);
    all.truncate(needed_from);
    Ok(all)
}

/// Whether a snapshot was written to its end, as far as a quick look shows.
fn is_complete(disk: &dyn Disk, file: &SnapshotFile) -> bool {
    let end = || {
        let mut opened = disk.open(&file.name)?;
        let mut end = [0; 5];
        let len = opened.file_len()?;
        opened.read_at(len.saturating_sub(end.len() as u64), &mut end)?;
        std::io::Result::Ok(end)
    };
    match file.packing {
        // The string "/", which ends every seal.
        Packing::Plain => end().is_ok_and(|end| end == [0, 0, 0, 1, b'/']),
        Packing::Gzip | Packing::Snappy => true,
    }
}

fn remove(disk: &dyn Disk, name: String, purged: &mut Purged) -> Result<(), Fatal> {
    disk.remove(&name)
        .map_err(|error| Fatal::io(format!("removing {}", disk.path_of(&name)), &error))?;
    purged.files.push(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{Access, MemDisk, layout::names};

    fn check(files: &[&str], retain: usize, left: &[&str]) {
        let directories = Directories::on(Arc::new(MemDisk::new())).unwrap();
        for name in files {
            let (name, end) = match name.strip_suffix('!') {
                Some(broken) => (broken, &b"\0\0\0\x01"[..]),
                None => (*name, &b"...\0\0\0\x01/"[..]),
            };
            let mut file = directories.logs.create(name, Access::Default).unwrap();
            file.write_at(0, end).unwrap();
        }
        let purged = purge(&directories, retain).unwrap();
        let mut found = names(&*directories.logs).unwrap();
        found.sort();
        let mut expected = left.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(purged.files.len(), files.len() - left.len());
    }

    #[test]
    fn the_newest_snapshots_stay_with_the_logs_they_need() {
        check(
            &[
                "snapshot.0",
                "snapshot.9",
                "snapshot.13",
                "snapshot.20",
                "log.1",
                "log.a",
                "log.14",
                "log.21",
            ],
            3,
            &[
                "snapshot.9",
                "snapshot.13",
                "snapshot.20",
                "log.1",
                "log.a",
                "log.14",
                "log.21",
            ],
        );
        check(
            &[
                "snapshot.0",
                "snapshot.9",
                "snapshot.13",
                "snapshot.20",
                "snapshot.30",
                "log.1",
                "log.a",
                "log.14",
            ],
            3,
            &[
                "snapshot.13",
                "snapshot.20",
                "snapshot.30",
                "log.a",
                "log.14",
            ],
        );
    }

    #[test]
    fn fewer_than_three_are_never_kept_and_unknown_files_are_left_alone() {
        check(
            &[
                "snapshot.1",
                "snapshot.2",
                "snapshot.3",
                "snapshot.4",
                "currentEpoch",
                "log.1.bak",
            ],
            1,
            &[
                "snapshot.2",
                "snapshot.3",
                "snapshot.4",
                "currentEpoch",
                "log.1.bak",
            ],
        );
        check(&["log.1", "log.2"], 3, &["log.1", "log.2"]);
        check(&["snapshot.1", "log.1"], 3, &["snapshot.1", "log.1"]);
    }

    #[test]
    fn an_unfinished_snapshot_does_not_count() {
        check(
            &[
                "snapshot.1",
                "snapshot.2",
                "snapshot.3",
                "snapshot.4!",
                "log.1",
                "log.3",
            ],
            3,
            &[
                "snapshot.1",
                "snapshot.2",
                "snapshot.3",
                "snapshot.4",
                "log.1",
                "log.3",
            ],
        );
    }
}

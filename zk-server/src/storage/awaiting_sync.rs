//! `awaitingSync`: the file in `dataDir` that says that this member's history lacks some of what it may have
//! acknowledged, so that it has no vote until a leader has synced it. Apache has no such file, and takes no notice of it; so
//! that it does not start here, `currentEpoch` is guarded (`epochs.rs`) from before anything is set aside until the file goes.
//!
//! Who knows why it is there reads it there.

use std::io;

use super::{
    Directories, Fatal,
    disk::{Access, Disk},
    epochs,
    replace::replace,
};

const NAME: &str = "awaitingSync";

/// Whether the file is there.
pub(super) fn is_set(disk: &dyn Disk) -> Result<bool, Fatal> {
    match disk.open(NAME) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("reading", disk, &error)),
    }
}

/// Makes the file, durably, unless it is there, and has Apache refuse the directory.
pub(super) fn set(directories: &Directories, why: &str) -> Result<(), Fatal> {
    let disk = &*directories.data;
    if is_set(disk)? {
        // It may have been made a moment before the process ended.
        sync(disk)?;
    } else {
        replace(disk, NAME, Access::Default, format!("{why}\n").as_bytes())
            .map_err(|error| failed("writing", disk, &error))?;
    }
    epochs::guard(&*directories.snapshots)
}

/// Removes the file, durably: the history is complete, and Apache may go on with it.
///
/// Somebody may have removed it meanwhile.
pub(super) fn clear(disk: &dyn Disk, snapshots: &dyn Disk) -> Result<(), Fatal> {
    epochs::lift_guard(snapshots)?;
    match disk.remove(NAME) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", disk, &error))
        }
        Ok(()) | Err(_) => sync(disk),
    }
}

fn sync(disk: &dyn Disk) -> Result<(), Fatal> {
    disk.sync_dir()
        .map_err(|error| failed("syncing", disk, &error))
}

/// Where the file is.
pub(super) fn path(disk: &dyn Disk) -> String {
    disk.path_of(NAME)
}

fn failed(doing: &str, disk: &dyn Disk, error: &io::Error) -> Fatal {
    Fatal::io(format!("{doing} {}", path(disk)), error)
}

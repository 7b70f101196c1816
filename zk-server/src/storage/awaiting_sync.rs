//! `awaitingSync`: the file in `dataDir` that says that this member's history lacks some of what it may have
//! acknowledged, so that it has no vote until a leader has synced it. Apache has no such file, and takes no notice of it.
//!
//! Who knows why it is there reads it there.

use std::io;

use super::{
    Fatal,
    disk::{Access, Disk},
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

/// Makes the file, durably, unless it is there.
pub(super) fn set(disk: &dyn Disk, why: &str) -> Result<(), Fatal> {
    if is_set(disk)? {
        // It may have been made a moment before the process ended.
        return disk
            .sync_dir()
            .map_err(|error| failed("syncing", disk, &error));
    }
    replace(disk, NAME, Access::Default, format!("{why}\n").as_bytes())
        .map_err(|error| failed("writing", disk, &error))
}

/// Removes the file, durably: the history is complete.
pub(super) fn clear(disk: &dyn Disk) -> Result<(), Fatal> {
    disk.remove(NAME)
        .and_then(|()| disk.sync_dir())
        .map_err(|error| failed("removing", disk, &error))
}

/// Where the file is.
pub(super) fn path(disk: &dyn Disk) -> String {
    disk.path_of(NAME)
}

fn failed(doing: &str, disk: &dyn Disk, error: &io::Error) -> Fatal {
    Fatal::io(format!("{doing} {}", path(disk)), error)
}

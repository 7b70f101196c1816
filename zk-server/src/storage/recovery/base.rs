//! What the log is replayed onto.

use std::io;

use zk_proto::{Zxid, persist::SnapshotTrailer};

use super::RecoveryOptions;
use crate::{
    storage::{
        Directories, Fatal,
        disk::Disk,
        layout::{SnapshotFile, logs, snapshots},
        snapshot::{load, write_tree},
    },
    tree::DataTree,
};

/// The empty file whose presence says that an empty directory is meant to be one.
const INITIALIZE: &str = "initialize";

/// Where replay begins.
pub(super) struct Base {
    pub(super) snapshot: Zxid,
    /// What the snapshot says about the transactions in it: more than its name, if it is fuzzy.
    pub(super) trailer: SnapshotTrailer,
    /// Newer snapshots that could not be used.
    pub(super) skipped: Vec<SnapshotFile>,
}

/// Loads the newest snapshot that holds, or begins an empty database.
pub(super) fn find(
    directories: &Directories,
    options: &RecoveryOptions,
) -> Result<(DataTree, Base), Fatal> {
    let disk = &*directories.snapshots;
    let initialize = remove_initialize(&*directories.log_root)?;
    let mut skipped = Vec::new();
    for file in snapshots(disk)? {
        match load(disk, &file, &options.tree) {
            Ok((tree, trailer)) => {
                let base = Base {
                    snapshot: file.zxid,
                    trailer,
                    skipped,
                };
                return Ok((tree, base));
            }
            Err(error) => {
                let path = disk.path_of(&file.name);
                tracing::warn!(%error, path, "a snapshot cannot be used; trying an older one");
                skipped.push(file);
            }
        }
    }
    match (skipped.first(), logs(&*directories.logs)?.is_empty()) {
        (Some(newest), _) => Err(Fatal::new(format!(
            "no snapshot in {} can be used (newest: {}): restore one from a backup",
            disk.path_of(""),
            newest.name
        ))),
        (None, true) => begin_empty(directories, options, initialize),
        (None, false) if options.trust_empty_snapshot => Ok(empty(options)),
        (None, false) => Err(Fatal::new(format!(
            "there are transaction logs in {} but no snapshot: files are missing; restore them, or set \
             snapshot.trust.empty=true once if this is an upgrade from before 3.5.3",
            directories.logs.path_of("")
        ))),
    }
}

impl Base {
    /// Refuses a log that ends before what was once in a snapshot: some of it is missing.
    ///
    /// The snapshot of a new leader may have the number of its epoch, which is no transaction's.
    pub(super) fn check_reached(&self, last: Zxid) -> Result<(), Fatal> {
        let is_ahead = |zxid: Zxid| zxid > last && zxid.counter() > 0;
        if let Some(file) = self.skipped.iter().find(|file| is_ahead(file.zxid)) {
            return Err(Fatal::new(format!(
                "{} cannot be used, and the log ends before it, at {last}: data is missing; restore the file from a \
                 backup",
                file.name
            )));
        }
        let digest = self.trailer.digest.map(|digest| digest.zxid);
        let inside = [digest, self.trailer.last_processed];
        match inside.into_iter().flatten().find(|zxid| is_ahead(*zxid)) {
            None => Ok(()),
            Some(zxid) => Err(Fatal::new(format!(
                "the snapshot of {} was written up to {zxid}, but the log ends at {last}: records are missing; restore \
                 the log from a backup",
                self.snapshot
            ))),
        }
    }
}

fn empty(options: &RecoveryOptions) -> (DataTree, Base) {
    let base = Base {
        snapshot: Zxid::ZERO,
        trailer: SnapshotTrailer::default(),
        skipped: Vec::new(),
    };
    (DataTree::new(&options.tree), base)
}

fn begin_empty(
    directories: &Directories,
    options: &RecoveryOptions,
    initialize: bool,
) -> Result<(DataTree, Base), Fatal> {
    if !options.create_empty && !initialize {
        return Err(Fatal::new(format!(
            "{} is empty and db.autocreate is false: if it is meant to be, make an empty file named {INITIALIZE} in {}",
            directories.data.path_of(""),
            directories.log_root.path_of("")
        )));
    }
    let (mut tree, base) = empty(options);
    write_tree(directories, &mut tree, &options.snapshot).map_err(|error| {
        Fatal::io(
            format!(
                "writing the first snapshot to {}",
                directories.snapshots.path_of("")
            ),
            &error,
        )
    })?;
    Ok((tree, base))
}

/// Whether the file was there; as in Apache, it serves once.
fn remove_initialize(disk: &dyn Disk) -> Result<bool, Fatal> {
    match disk.remove(INITIALIZE) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fatal::io(
            format!("removing {}", disk.path_of(INITIALIZE)),
            &error,
        )),
    }
}

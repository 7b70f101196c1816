//! What the log is replayed onto.

use std::io;

use zk_proto::{Zxid, persist::SnapshotTrailer};

use super::{
    RecoveryOptions,
    damage::{Damage, Refusal, Unusable},
};
use crate::{
    storage::{
        Directories, Fatal,
        disk::Disk,
        layout::{SnapshotFile, logs, snapshots},
        snapshot::{LoadError, load, write_tree},
    },
    tree::DataTree,
};

/// The empty file whose presence says that an empty directory is meant to be one.
const INITIALIZE: &str = "initialize";

/// Where replay begins.
pub(super) struct Base {
    pub(super) snapshot: Zxid,
    /// Its file.
    file: String,
    /// What the snapshot says about the transactions in it: more than its name, if it is fuzzy.
    pub(super) trailer: SnapshotTrailer,
    /// Newer snapshots that could not be used.
    pub(super) skipped: Vec<Skipped>,
}

/// A snapshot that could not be used.
pub(super) struct Skipped {
    file: SnapshotFile,
    /// The system would not let it be read: nobody knows whether it is damaged.
    unread: Option<Fatal>,
}

/// Loads the newest snapshot that holds, or begins an empty database.
pub(super) fn find(
    directories: &Directories,
    options: &RecoveryOptions,
    awaits_sync: bool,
) -> Result<(DataTree, Base), Refusal> {
    let disk = &*directories.snapshots;
    let initialize = remove_initialize(&*directories.log_root)?;
    let mut skipped = Vec::new();
    for file in snapshots(disk)? {
        match load(disk, &file, &options.tree) {
            Ok((tree, trailer)) => {
                let base = Base {
                    snapshot: file.zxid,
                    file: file.name,
                    trailer,
                    skipped,
                };
                return Ok((tree, base));
            }
            Err(error) => {
                let path = disk.path_of(&file.name);
                tracing::warn!(%error, path, "a snapshot cannot be used; trying an older one");
                let unread = match &error {
                    LoadError::Io(error) if error.raw_os_error().is_some() => {
                        Some(Fatal::io(format!("reading {path}"), error))
                    }
                    _ => None,
                };
                skipped.push(Skipped { file, unread });
            }
        }
    }
    if let Some(fatal) = skipped.iter().find_map(|skipped| skipped.unread.clone()) {
        return Err(fatal.into());
    }
    match (skipped.first(), logs(&*directories.logs)?.is_empty()) {
        (Some(newest), _) => Err(Refusal::Damage(Damage {
            what: format!(
                "no snapshot in {} can be used (newest: {})",
                disk.path_of(""),
                newest.file.name
            ),
            advice: "restore one from a backup".to_owned(),
            unusable: Unusable::Everything,
        })),
        (None, true) => begin_empty(directories, options, initialize || awaits_sync),
        (None, false) if options.trust_empty_snapshot && !awaits_sync => Ok(empty(options)),
        (None, false) => Err(without_snapshot(directories, awaits_sync)),
    }
}

/// Files were lost, or have never been: whoever runs the server must say, unless it is known already that some were.
fn without_snapshot(directories: &Directories, awaits_sync: bool) -> Refusal {
    let damage = Damage {
        what: format!(
            "there are transaction logs in {} but no snapshot",
            directories.logs.path_of("")
        ),
        advice: "files are missing; restore them, or set snapshot.trust.empty=true once if this is an upgrade from \
                 before 3.5.3"
            .to_owned(),
        unusable: Unusable::Everything,
    };
    match awaits_sync {
        true => Refusal::Damage(damage),
        false => Refusal::Fatal(damage.refuse()),
    }
}

impl Base {
    /// Refuses a log that ends before what was once in a snapshot: some of it is missing.
    ///
    /// The snapshot of a new leader may have the number of its epoch, which is no transaction's.
    pub(super) fn check_reached(&self, last: Zxid) -> Result<(), Refusal> {
        let is_ahead = |zxid: Zxid| zxid > last && zxid.counter() > 0;
        let mut ahead = self
            .skipped
            .iter()
            .filter(|skipped| is_ahead(skipped.file.zxid));
        if let Some(fatal) = ahead.clone().find_map(|skipped| skipped.unread.clone()) {
            return Err(fatal.into());
        }
        if let Some(Skipped { file, .. }) = ahead.next() {
            return Err(Refusal::Damage(Damage {
                what: format!(
                    "{} cannot be used, and the log ends before it, at {last}",
                    file.name
                ),
                advice: "data is missing; restore the file from a backup".to_owned(),
                unusable: Unusable::Snapshot(file.name.clone()),
            }));
        }
        let digest = self.trailer.digest.map(|digest| digest.zxid);
        let inside = [digest, self.trailer.last_processed];
        match inside.into_iter().flatten().find(|zxid| is_ahead(*zxid)) {
            None => Ok(()),
            Some(zxid) => Err(Refusal::Damage(Damage {
                what: format!(
                    "the snapshot of {} was written up to {zxid}, but the log ends at {last}",
                    self.snapshot
                ),
                advice: "records are missing; restore the log from a backup".to_owned(),
                unusable: Unusable::Snapshot(self.file.clone()),
            })),
        }
    }
}

fn empty(options: &RecoveryOptions) -> (DataTree, Base) {
    let base = Base {
        snapshot: Zxid::ZERO,
        file: String::new(),
        trailer: SnapshotTrailer::default(),
        skipped: Vec::new(),
    };
    (DataTree::new(&options.tree), base)
}

fn begin_empty(
    directories: &Directories,
    options: &RecoveryOptions,
    initialize: bool,
) -> Result<(DataTree, Base), Refusal> {
    if !options.create_empty && !initialize {
        return Err(Refusal::Damage(Damage {
            what: format!(
                "{} is empty and db.autocreate is false",
                directories.data.path_of("")
            ),
            advice: format!(
                "if it is meant to be, make an empty file named {INITIALIZE} in {}",
                directories.log_root.path_of("")
            ),
            unusable: Unusable::Nothing,
        }));
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

/// Whether whoever runs the server says that an empty history is meant to be one; this may be said after a start without it.
pub(super) fn is_meant_empty(directories: &Directories) -> Result<bool, Fatal> {
    let disk = &*directories.log_root;
    let is_said = match disk.open(INITIALIZE) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(Fatal::io(
                format!("reading {}", disk.path_of(INITIALIZE)),
                &error,
            ));
        }
    };
    let snapshots = snapshots(&*directories.snapshots)?;
    let is_first = |file: &SnapshotFile| file.zxid == Zxid::ZERO;
    Ok(is_said && logs(&*directories.logs)?.is_empty() && snapshots.iter().all(is_first))
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

//! `acceptedEpoch` and `currentEpoch`: a decimal number each, replaced atomically.
//!
//! A standalone server has no use for them and writes none; Apache starts without them too.
//!
//! Invariant: while the file `awaitingSync` is there, `currentEpoch` is no number to Apache, which would vote with what is
//! left of the history: it does not start, and logs "Found 7 awaitingSync in .../currentEpoch" (`QuorumPeer.readLongFromFile`).

use std::io;

use zk_proto::Epoch;

use super::disk::Access;
use super::{EpochKind, Fatal, disk::Disk, replace::replace};

impl EpochKind {
    const fn file_name(self) -> &'static str {
        match self {
            Self::Accepted => "acceptedEpoch",
            Self::Current => "currentEpoch",
        }
    }
}

/// What makes a number one that Apache does not read.
const GUARD: &str = " awaitingSync";
/// What is guarded where there is no number.
const NONE: &str = "none";

/// Replaces an epoch file durably, guarded against Apache where the member awaits its synchronization.
pub(super) fn save(
    disk: &dyn Disk,
    kind: EpochKind,
    epoch: Epoch,
    awaits_sync: bool,
) -> Result<(), Fatal> {
    let guard = match (kind, awaits_sync) {
        (EpochKind::Current, true) => GUARD,
        _ => "",
    };
    write(disk, kind, &format!("{}{guard}", epoch.0))
}

/// Has Apache refuse to start here, durably, and keeps the number.
pub(super) fn guard(disk: &dyn Disk) -> Result<(), Fatal> {
    match read(disk, EpochKind::Current)? {
        Some((_, true)) => sync_dir(disk),
        None | Some((None, false)) => write(disk, EpochKind::Current, &format!("{NONE}{GUARD}")),
        Some((Some(epoch), false)) => save(disk, EpochKind::Current, epoch, true),
    }
}

/// Has Apache start here again, durably.
pub(super) fn lift_guard(disk: &dyn Disk) -> Result<(), Fatal> {
    match read(disk, EpochKind::Current)? {
        Some((Some(epoch), true)) => save(disk, EpochKind::Current, epoch, false),
        Some((None, true)) => {
            let name = EpochKind::Current.file_name();
            let removed = disk.remove(name);
            removed
                .map_err(|error| Fatal::io(format!("removing {}", disk.path_of(name)), &error))?;
            sync_dir(disk)
        }
        None | Some((_, false)) => Ok(()),
    }
}

/// Reads an epoch file; `None` if there is none.
pub(super) fn load(disk: &dyn Disk, kind: EpochKind) -> Result<Option<Epoch>, Fatal> {
    Ok(read(disk, kind)?.and_then(|(epoch, _)| epoch))
}

fn write(disk: &dyn Disk, kind: EpochKind, text: &str) -> Result<(), Fatal> {
    let name = kind.file_name();
    replace(disk, name, Access::Default, text.as_bytes())
        .map_err(|error| Fatal::io(format!("writing {}", disk.path_of(name)), &error))
}

fn sync_dir(disk: &dyn Disk) -> Result<(), Fatal> {
    disk.sync_dir()
        .map_err(|error| Fatal::io(format!("syncing {}", disk.path_of("")), &error))
}

/// The number in an epoch file, and whether it is guarded; `None` if there is no file.
fn read(disk: &dyn Disk, kind: EpochKind) -> Result<Option<(Option<Epoch>, bool)>, Fatal> {
    let name = kind.file_name();
    let text = match super::replace::read(disk, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => {
            other.map_err(|error| Fatal::io(format!("reading {}", disk.path_of(name)), &error))?
        }
    };
    parse(kind, &text).map(Some).ok_or_else(|| {
        Fatal::new(format!(
            "{} does not hold a number: restore it from a backup; or, while all other members run, move the data of \
             this one away and start it with db.autocreate=false, so that it has no vote before it is synced",
            disk.path_of(name)
        ))
    })
}

fn parse(kind: EpochKind, text: &[u8]) -> Option<(Option<Epoch>, bool)> {
    let text = str::from_utf8(text).ok()?.trim();
    let guarded = match kind {
        EpochKind::Accepted => None,
        EpochKind::Current => text.strip_suffix(GUARD),
    };
    match guarded {
        Some(NONE) => Some((None, true)),
        number => Some((
            Some(Epoch(number.unwrap_or(text).parse().ok()?)),
            number.is_some(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemDisk, mem_disk::FaultyCall};

    #[test]
    fn an_epoch_is_the_old_or_the_new_one_after_any_power_cut() {
        for seed in 0..200 {
            let disk = MemDisk::new();
            assert_eq!(load(&disk, EpochKind::Current).unwrap(), None);
            save(&disk, EpochKind::Current, Epoch(7), false).unwrap();
            disk.fail(FaultyCall::SyncDir, 1, io::ErrorKind::Other);
            assert!(save(&disk, EpochKind::Current, Epoch(8), false).is_err());
            disk.heal();
            disk.power_cut(seed);
            let left = load(&disk, EpochKind::Current).unwrap();
            assert!([Some(Epoch(7)), Some(Epoch(8))].contains(&left), "{left:?}");
        }
    }

    #[test]
    fn apaches_files_are_read_and_nonsense_is_refused() {
        let disk = MemDisk::new();
        let name = EpochKind::Accepted.file_name();
        replace(&disk, name, Access::Default, b"12\n").unwrap();
        assert_eq!(load(&disk, EpochKind::Accepted).unwrap(), Some(Epoch(12)));
        replace(&disk, name, Access::Default, b"").unwrap();
        let refused = load(&disk, EpochKind::Accepted).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("acceptedEpoch does not hold a number")
        );
    }
    #[test]
    fn a_guarded_epoch_is_a_number_to_us_alone() {
        let disk = MemDisk::new();
        let name = EpochKind::Current.file_name();
        let is_number = |disk: &MemDisk| {
            let text = super::super::replace::read(disk, name).unwrap();
            str::from_utf8(&text).unwrap().parse::<i64>().is_ok()
        };
        for epoch in [None, Some(Epoch(7))] {
            if let Some(epoch) = epoch {
                save(&disk, EpochKind::Current, epoch, false).unwrap();
            }
            for _ in 0..2 {
                guard(&disk).unwrap();
                assert!(!is_number(&disk));
                assert_eq!(load(&disk, EpochKind::Current).unwrap(), epoch);
            }
            for _ in 0..2 {
                lift_guard(&disk).unwrap();
                assert_eq!(load(&disk, EpochKind::Current).unwrap(), epoch);
            }
            assert_eq!(disk.open(name).is_ok(), epoch.is_some());
        }
        assert!(is_number(&disk));
        save(&disk, EpochKind::Current, Epoch(8), true).unwrap();
        save(&disk, EpochKind::Accepted, Epoch(9), true).unwrap();
        assert!(!is_number(&disk));
        let both = [EpochKind::Current, EpochKind::Accepted];
        assert_eq!(
            both.map(|kind| load(&disk, kind).unwrap()),
            [Some(Epoch(8)), Some(Epoch(9))]
        );
    }
}

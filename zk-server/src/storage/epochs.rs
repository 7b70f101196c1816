//! `acceptedEpoch` and `currentEpoch`: a decimal number each, replaced atomically.
//!
//! A standalone server has no use for them and writes none; Apache starts without them too.

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

/// Replaces an epoch file durably.
pub(super) fn save(disk: &dyn Disk, kind: EpochKind, epoch: Epoch) -> Result<(), Fatal> {
    let text = epoch.0.to_string();
    replace(disk, kind.file_name(), Access::Default, text.as_bytes()).map_err(|error| {
        Fatal::io(
            format!("writing {}", disk.path_of(kind.file_name())),
            &error,
        )
    })
}

/// Reads an epoch file; `None` if there is none.
pub(super) fn load(disk: &dyn Disk, kind: EpochKind) -> Result<Option<Epoch>, Fatal> {
    let name = kind.file_name();
    let text = match super::replace::read(disk, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => {
            other.map_err(|error| Fatal::io(format!("reading {}", disk.path_of(name)), &error))?
        }
    };
    let number = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.map(|epoch| Some(Epoch(epoch))).ok_or_else(|| {
        Fatal::new(format!(
            "{} does not hold a number: restore it from a backup, or remove the data of this member and let it \
             be synced again",
            disk.path_of(name)
        ))
    })
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
            save(&disk, EpochKind::Current, Epoch(7)).unwrap();
            disk.fail(FaultyCall::SyncDir, 1, io::ErrorKind::Other);
            assert!(save(&disk, EpochKind::Current, Epoch(8)).is_err());
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
}

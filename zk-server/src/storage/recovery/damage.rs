//! What becomes of damage: alone, a server refuses to start. A member that others can bring back sets aside what is
//! damaged, begins with the history before it, and waits without a vote until a leader has synced it
//! (`election/abstention.rs` says why that is safe).
//!
//! What the system does not let be read is not damaged, as far as anybody knows: then every server refuses to start.
//!
//! Invariants: the file `awaitingSync` is on the disk before anything is moved, so a crash in between leaves the damage
//! or the file, and never a history that looks whole and is not; no byte of what was there is removed. What is set aside
//! is called `damaged.log.<zxid>` or `damaged.snapshot.<zxid>`: Apache reads, and its purge removes, whatever begins with `log.` and a number.

use std::io;

use crate::storage::{
    Access, Directories, Fatal, awaiting_sync,
    disk::Disk,
    layout::{logs, names, snapshots},
};

/// Why recovery cannot go on as if nothing had happened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The disk failed, or only whoever runs the server can say what is right.
    Fatal(Fatal),
    /// Something that was acknowledged may be missing.
    Damage(Damage),
}

/// What is damaged or missing.
#[derive(Debug)]
pub(super) struct Damage {
    /// What there is to say about it.
    pub(super) what: String,
    /// What to do where nobody can bring it back.
    pub(super) advice: String,
    pub(super) unusable: Unusable,
}

/// What no history can be made of.
#[derive(Debug)]
pub(super) enum Unusable {
    /// This log from this offset on, and all later ones.
    LogFrom(String, u64),
    /// A snapshot.
    Snapshot(String),
    /// Every snapshot, and so every log.
    Everything,
    /// There is nothing, and there should be something.
    Nothing,
}

impl From<Fatal> for Refusal {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl Damage {
    /// What a server says that cannot be brought back by others.
    pub(super) fn refuse(self) -> Fatal {
        Fatal::new(format!("{}: {}", self.what, self.advice))
    }

    /// Leaves only what a history can be made of, which has to be recovered anew.
    pub(super) fn set_aside(&self, directories: &Directories) -> Result<(), Fatal> {
        tracing::error!(
            "{}; what cannot be used is kept under names that begin with {PREFIX:?}; this member has no vote until a \
             leader has synced it",
            self.what
        );
        awaiting_sync::set(directories, &self.what)?;
        let (log_disk, snapshot_disk) = (&*directories.logs, &*directories.snapshots);
        match &self.unusable {
            Unusable::Nothing => Ok(()),
            Unusable::Snapshot(name) => rename(snapshot_disk, name).map(drop),
            Unusable::Everything => {
                // The snapshots last: without them, logs tell nothing about what is missing.
                logs_from(log_disk, None)?;
                let all = snapshots(snapshot_disk)?;
                all.iter()
                    .try_for_each(|file| rename(snapshot_disk, &file.name).map(drop))
            }
            Unusable::LogFrom(name, offset) => {
                let aside = logs_from(log_disk, Some(name))?;
                keep_beginning(log_disk, &aside, name, *offset).map_err(|error| {
                    Fatal::io(format!("copying {}", log_disk.path_of(&aside)), &error)
                })
            }
        }
    }
}

const PREFIX: &str = "damaged.";

/// Sets aside this log, or all of them, and those after it, the newest first; returns the last one's name.
fn logs_from(disk: &dyn Disk, first: Option<&str>) -> Result<String, Fatal> {
    let all = logs(disk)?;
    let from = all
        .iter()
        .position(|(_, name)| first.is_none_or(|first| first == name));
    let mut last = String::new();
    for (_, name) in all[from.unwrap_or(all.len())..].iter().rev() {
        last = rename(disk, name)?;
    }
    Ok(last)
}

/// Sets a file aside under a name that nothing has.
fn rename(disk: &dyn Disk, name: &str) -> Result<String, Fatal> {
    let taken = names(disk)?;
    let mut aside = format!("{PREFIX}{name}");
    while taken.contains(&aside) {
        aside.push_str(".again");
    }
    disk.rename(name, &aside)
        .and_then(|()| disk.sync_dir())
        .map_err(|error| Fatal::io(format!("setting {} aside", disk.path_of(name)), &error))?;
    tracing::warn!(file = disk.path_of(name), aside, "set aside");
    Ok(aside)
}

/// Copies the beginning of a log. What a crash makes of the copy ends earlier, and that is all.
fn keep_beginning(disk: &dyn Disk, from: &str, to: &str, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let mut from = disk.open(from)?;
    let mut to = disk.create(to, Access::Default)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from(len - at)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        let got = from.read_at(at, &mut piece[..wanted])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(at, &piece[..got])?;
        at += got as u64;
    }
    to.sync_data()?;
    disk.sync_dir()
}

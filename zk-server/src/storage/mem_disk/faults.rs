//! What can be made to go wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

/// The calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultyCall {
    /// Making a file.
    Create,
    /// Reading.
    Read,
    /// Removing a file.
    Remove,
    /// Renaming a file.
    Rename,
    /// Cutting or extending a file.
    SetLen,
    /// Making a file's bytes durable.
    Sync,
    /// Making a directory's names durable.
    SyncDir,
    /// Writing.
    Write,
}

/// How long calls take, on the disk's own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// A sync, of a file or a directory.
    pub sync: Duration,
    /// A write.
    pub write: Duration,
}

/// What the system says who may not do what it asks for.
const EACCES: i32 = 13;

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// How many more calls of a kind succeed, and how the next one fails.
    planned: BTreeMap<FaultyCall, (u32, io::ErrorKind)>,
    /// Which of them have struck.
    pub(super) struck: BTreeSet<FaultyCall>,
    pub(super) sync_lies: bool,
    pub(super) capacity: Option<u64>,
    pub(super) latency: Latency,
    pub(super) elapsed: Duration,
}

impl Faults {
    pub(super) fn fail(&mut self, call: FaultyCall, nth: u32, error: io::ErrorKind) {
        self.struck.remove(&call);
        self.planned.insert(call, (nth.saturating_sub(1), error));
    }

    /// Counts a call, and lets it fail if its time has come.
    pub(super) fn enter(&mut self, call: FaultyCall) -> io::Result<()> {
        self.elapsed += match call {
            FaultyCall::Sync | FaultyCall::SyncDir => self.latency.sync,
            FaultyCall::Write => self.latency.write,
            _ => Duration::ZERO,
        };
        match self.planned.get_mut(&call) {
            Some((0, error)) => {
                self.struck.insert(call);
                Err(match error {
                    io::ErrorKind::PermissionDenied => io::Error::from_raw_os_error(EACCES),
                    error => (*error).into(),
                })
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

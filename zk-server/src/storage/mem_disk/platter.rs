//! Names and files, as the process sees them and as a power cut would leave them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use super::{content::Content, faults::Faults};
use crate::storage::disk::FileInfo;

/// A file's bytes; names and open handles share them.
pub(super) type SharedContent = Arc<Mutex<Content>>;

type Names = BTreeMap<String, SharedContent>;

#[derive(Debug, Default)]
pub(super) struct Platter {
    /// Counts the lives of processes: handles of an earlier one are dead.
    pub(super) power: u64,
    pub(super) faults: Faults,
    /// What the process sees, by full path.
    names: Names,
    /// What is certain to survive.
    durable: Names,
    /// What happened to names since, in order, by directory.
    unsynced: BTreeMap<String, Vec<Change>>,
    locks: BTreeMap<String, Weak<()>>,
}

#[derive(Debug)]
enum Change {
    Put(String, SharedContent),
    Remove(String),
    Rename(String, String),
}

impl Change {
    fn apply(self, names: &mut Names) {
        match self {
            Self::Put(name, content) => drop(names.insert(name, content)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(from, to) => {
                if let Some(content) = names.remove(&from) {
                    names.insert(to, content);
                }
            }
        }
    }
}

/// The directory part of a path: empty, or ending with `/`.
fn directory_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

impl Platter {
    pub(super) fn lookup(&self, path: &str) -> io::Result<SharedContent> {
        let content = self.names.get(path).cloned();
        content.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn list(&self, directory: &str) -> Vec<FileInfo> {
        let here = self.names.iter().filter_map(|(path, content)| {
            let name = path.strip_prefix(directory)?;
            (!name.contains('/')).then(|| FileInfo {
                name: name.to_owned(),
                len: content.lock().len(),
            })
        });
        here.collect()
    }

    pub(super) fn create(&mut self, path: String) -> SharedContent {
        // An existing file keeps its identity and loses its bytes, as `O_TRUNC` has it.
        if let Some(content) = self.names.get(&path) {
            content.lock().set_len(0);
            return content.clone();
        }
        let content = SharedContent::default();
        self.names.insert(path.clone(), content.clone());
        self.note(Change::Put(path, content.clone()));
        content
    }

    pub(super) fn rename(&mut self, from: &str, to: String) -> io::Result<()> {
        let content = self.lookup(from)?;
        self.names.remove(from);
        self.names.insert(to.clone(), content);
        self.note(Change::Rename(from.to_owned(), to));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.lookup(path)?;
        self.names.remove(path);
        self.note(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn note(&mut self, change: Change) {
        let (Change::Put(path, _) | Change::Remove(path) | Change::Rename(_, path)) = &change;
        let directory = directory_of(path).to_owned();
        self.unsynced.entry(directory).or_default().push(change);
    }

    pub(super) fn sync_dir(&mut self, directory: &str) {
        if self.faults.sync_lies {
            return;
        }
        for change in self.unsynced.remove(directory).unwrap_or_default() {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.faults.capacity else {
            return u64::MAX;
        };
        let used = self.names.values().map(|content| content.lock().len());
        capacity.saturating_sub(used.sum())
    }

    pub(super) fn take_lock(&mut self, directory: &str) -> io::Result<Arc<()>> {
        let taken = self.locks.get(directory);
        if taken.is_some_and(|lock| lock.strong_count() > 0) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let lock = Arc::new(());
        self.locks
            .insert(directory.to_owned(), Arc::downgrade(&lock));
        Ok(lock)
    }

    pub(super) fn kill(&mut self) {
        self.power += 1;
        self.locks.clear();
    }

    pub(super) fn power_cut(&mut self, seed: u64) {
        self.kill();
        let mut dice = Dice::new(seed);
        for changes in std::mem::take(&mut self.unsynced).into_values() {
            let survive = dice.below(changes.len() + 1);
            for change in changes.into_iter().take(survive) {
                change.apply(&mut self.durable);
            }
        }
        self.names.clone_from(&self.durable);
        for content in self.names.values() {
            content.lock().power_cut(&mut dice);
        }
    }
}

/// A seeded generator (SplitMix64): small, and the same on every machine.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = z ^ (z >> 31);
        usize::try_from(bits % bound as u64).unwrap_or_default()
    }
}

//! The bytes of one file, now and as of its last sync.

use std::{collections::BTreeMap, io};

use super::platter::Dice;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// A file's bytes, and what its unsynced sectors held at the last sync.
#[derive(Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    synced_len: usize,
    /// By number: what each sector written since the last sync held then.
    before: BTreeMap<usize, Sector>,
    /// The same for sectors whose sync failed: the system takes them for clean, and syncs them only after they were
    /// written again.
    given_up: BTreeMap<usize, Sector>,
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let rest = self.now.get(index(offset)..).unwrap_or_default();
        let got = rest.len().min(buffer.len());
        buffer[..got].copy_from_slice(&rest[..got]);
        got
    }

    /// How many bytes longer a write would make the file.
    pub(super) fn growth(&self, offset: u64, len: usize) -> u64 {
        (offset + len as u64).saturating_sub(self.len())
    }

    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        let start = index(offset);
        let end = start + bytes.len();
        if end > self.now.len() {
            self.remember(self.now.len(), end);
            self.now.resize(end, 0);
        }
        self.remember(start, end);
        self.now[start..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let len = index(len);
        self.remember(len.min(self.now.len()), len.max(self.now.len()));
        self.now.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        self.before.clear();
        self.synced_len = self.now.len();
    }

    /// A sync has failed: later ones pass over what this one should have made durable.
    pub(super) fn fail_sync(&mut self) {
        let given_up = std::mem::take(&mut self.before);
        self.given_up.extend(given_up);
    }

    pub(super) fn rot(&mut self, offset: u64, mask: u8) -> io::Result<()> {
        let byte = self.now.get_mut(index(offset));
        *byte.ok_or(io::ErrorKind::NotFound)? ^= mask;
        let number = index(offset) / SECTOR;
        let before = self.before.get_mut(&number);
        if let Some(old) = before.or_else(|| self.given_up.get_mut(&number)) {
            old[index(offset) % SECTOR] ^= mask;
        }
        Ok(())
    }

    /// Keeps what the sectors from `start` to `end` hold, unless it is kept already.
    fn remember(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        for number in start / SECTOR..=(end - 1) / SECTOR {
            if let Some(held) = self.given_up.remove(&number) {
                self.before.entry(number).or_insert(held);
                continue;
            }
            let now = &self.now;
            self.before.entry(number).or_insert_with(|| {
                let mut sector = [0; SECTOR];
                let held = now.get(number * SECTOR..).unwrap_or_default();
                let held = &held[..held.len().min(SECTOR)];
                sector[..held.len()].copy_from_slice(held);
                sector
            });
        }
    }

    /// Forgets what was not synced, as far as the dice say.
    pub(super) fn power_cut(&mut self, dice: &mut Dice) {
        let mut unsynced = std::mem::take(&mut self.given_up);
        unsynced.append(&mut self.before);
        let len = self.surviving_len(dice);
        self.now.resize(len.max(self.now.len()), 0);
        let survivors = Survivors::roll(dice, unsynced.len());
        for (nth, (number, old)) in unsynced.into_iter().enumerate() {
            if !survivors.keep(nth, dice) {
                let start = (number * SECTOR).min(self.now.len());
                let end = (start + SECTOR).min(self.now.len());
                self.now[start..end].copy_from_slice(&old[..end - start]);
            }
        }
        self.now.truncate(len);
        self.synced_len = len;
    }

    /// The old length, the new one, or something between.
    fn surviving_len(&self, dice: &mut Dice) -> usize {
        let (low, high) = match self.synced_len < self.now.len() {
            true => (self.synced_len, self.now.len()),
            false => (self.now.len(), self.synced_len),
        };
        match dice.below(3) {
            0 => self.synced_len,
            1 => self.now.len(),
            _ => low + dice.below(high - low + 1),
        }
    }
}

/// Which of the unsynced sectors made it to the disk.
enum Survivors {
    None,
    All,
    First(usize),
    Any,
}

impl Survivors {
    fn roll(dice: &mut Dice, sectors: usize) -> Self {
        match dice.below(6) {
            0 => Self::None,
            1 => Self::All,
            2 | 3 => Self::First(dice.below(sectors + 1)),
            _ => Self::Any,
        }
    }

    fn keep(&self, nth: usize, dice: &mut Dice) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::First(count) => nth < *count,
            Self::Any => dice.below(2) == 0,
        }
    }
}

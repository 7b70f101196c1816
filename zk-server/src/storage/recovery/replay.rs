//! The log, record by record, onto the tree.

use std::io;

use zk_proto::{
    Decode, Reader, Zxid,
    persist::{
        DIGEST_VERSION, DigestSection, FileHeader, LogDamage, LogDamageKind, LogRecord,
        RECORD_OVERHEAD,
    },
    txn::{Txn, TxnHeader, TxnLogEntry},
};

use super::{
    TornTail,
    damage::{Damage, Refusal, Unusable},
};
use crate::{
    reconfig::{Configuration, LoggedConfiguration},
    storage::{
        Fatal,
        disk::{Disk, DiskFile},
        layout::logs,
        txn_log::{LogReader, ReadError, Tail, UNSYNCED_BYTES_MAX, examine_tail},
    },
    tree::{DataTree, Effects, path},
    zab::mutants,
};

/// The tree on its way to the end of the log.
pub(super) struct Replay {
    pub(super) tree: DataTree,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) torn: Option<TornTail>,
    pub(super) digest_mismatch: Option<Zxid>,
    /// As [`Recovered::configurations`](super::Recovered::configurations).
    pub(super) configurations: Vec<LoggedConfiguration>,
    effects: Effects,
    /// The snapshot: what the log says up to it is in the tree already.
    base: Zxid,
    /// The digest that the snapshot says the tree will have.
    awaited: Option<DigestSection>,
    /// The last file with a record, and where its records end.
    end: Option<End>,
}

/// Where the records of a file end, and how.
struct End {
    name: String,
    file: Box<dyn DiskFile>,
    offset: u64,
    len: u64,
    /// The last record before it.
    last: Zxid,
    damage: Option<LogDamage>,
}

impl Replay {
    pub(super) fn new(tree: DataTree, awaited: Option<DigestSection>) -> Self {
        let awaited = awaited.filter(|digest| digest.zxid > Zxid::ZERO);
        let mut replay = Self {
            base: tree.last_zxid(),
            tree,
            records: 0,
            bytes: 0,
            torn: None,
            digest_mismatch: None,
            configurations: Vec::new(),
            effects: Effects::new(),
            awaited,
            end: None,
        };
        if let Some(configuration) = configuration_of(&replay.tree) {
            let after = None;
            let base = LoggedConfiguration {
                configuration,
                after,
            };
            replay.configurations.push(base);
        }
        replay.compare_awaited();
        replay
    }

    /// The last transaction in the tree.
    pub(super) fn last(&self) -> Zxid {
        self.tree.last_zxid()
    }

    /// Replays every record after the tree's last one, and cuts the torn end off, if there is one.
    pub(super) fn run(&mut self, disk: &dyn Disk) -> Result<(), Refusal> {
        let mut without_records = Vec::new();
        for (first, name) in files_from(disk, self.last())? {
            match self.replay_file(disk, first, &name)? {
                Some(end) => {
                    self.leave_end(disk)?;
                    self.end = Some(end);
                    without_records.clear();
                }
                None => without_records.push(name),
            }
        }
        for name in without_records {
            // Made for a record that was never written; the next record may claim the name.
            disk.remove(&name)
                .map_err(|error| Fatal::io(format!("removing {}", disk.path_of(&name)), &error))?;
        }
        match self.end.take() {
            Some(end) => self.settle_end(disk, end),
            None => Ok(()),
        }
    }

    /// Replays one file; `None` if there is nothing in it but space.
    fn replay_file(
        &mut self,
        disk: &dyn Disk,
        first: Zxid,
        name: &str,
    ) -> Result<Option<End>, Refusal> {
        let mut log = match LogReader::open(disk, name) {
            Ok(log) => log,
            Err(ReadError::Io(fatal)) => return Err(fatal.into()),
            Err(ReadError::Damage(damage)) => return Err(refuse(disk, name, 0, &damage)),
            Err(ReadError::Header(_)) if is_space(disk, name)? => return Ok(None),
            Err(ReadError::Header(error)) => return Err(refuse(disk, name, 0, &error)),
        };
        // Before its first record, a file follows the one that its name says.
        let mut last = Zxid(first.0.saturating_sub(1));
        let mut any = false;
        let damage = loop {
            match log.next_record() {
                Ok(Some(record)) => {
                    last = self.replay_record(disk, name, &record)?;
                    any = true;
                }
                Ok(None) => break None,
                Err(ReadError::Damage(damage)) => break Some(damage),
                Err(ReadError::Io(fatal)) => return Err(fatal.into()),
                Err(ReadError::Header(error)) => return Err(refuse(disk, name, 0, &error)),
            }
        };
        let end = End {
            name: name.to_owned(),
            offset: log.offset(),
            len: log.len(),
            last,
            damage,
            file: log.into_file(),
        };
        let empty = !any && damage.is_none() && is_space(disk, name)?;
        Ok((!empty).then_some(end))
    }

    fn replay_record(
        &mut self,
        disk: &dyn Disk,
        name: &str,
        record: &LogRecord,
    ) -> Result<Zxid, Refusal> {
        let refused = |why: &dyn std::fmt::Display| {
            Fatal::new(format!(
                "{}: the record at offset {} is intact but cannot be replayed: {why}",
                disk.path_of(name),
                record.offset
            ))
        };
        let mut input = Reader::new(record.payload.clone());
        let header = TxnHeader::decode(&mut input).map_err(|error| refused(&error))?;
        let (zxid, last) = (header.zxid, self.last());
        if zxid < last || zxid == self.base {
            return Ok(zxid);
        }
        if !self.follows(zxid) {
            return Err(self.gap(disk, name, record.offset, zxid));
        }
        let entry =
            TxnLogEntry::from_bytes(record.payload.clone()).map_err(|error| refused(&error))?;
        let before = matches!(entry.txn, Txn::Reconfig(_)).then(|| configuration_of(&self.tree));
        self.effects.clear();
        self.tree
            .apply(&entry.header, &entry.txn, &mut self.effects);
        if let Some(before) = before {
            self.note_configuration(before);
        }
        if zxid > last {
            self.records += 1;
            self.bytes += (record.payload.len() + RECORD_OVERHEAD) as u64;
        }
        if let Some(digest) = entry.digest {
            self.compare(zxid, digest.version, digest.tree_digest);
        }
        self.compare_awaited();
        Ok(zxid)
    }

    /// Keeps the configuration that a reconfiguration has just put into the tree. Each one that the log passes was in force,
    /// or may be: that only the last one had counted would let those who know it go on without those who do not.
    fn note_configuration(&mut self, before: Option<Configuration>) {
        let before = before.map_or(Zxid::ZERO, |before| before.version());
        if let Some(configuration) = configuration_of(&self.tree)
            && configuration.version() > before
        {
            if mutants::active("in-force-forgotten") {
                self.configurations.clear();
            }
            let after = Some(before);
            self.configurations.push(LoggedConfiguration {
                configuration,
                after,
            });
        }
    }

    /// Leaves a file for a later one that goes on without a gap. Apache leaves a torn write where it is and goes on
    /// in a new file; nothing was lost then, unless intact records lie behind it.
    fn leave_end(&mut self, disk: &dyn Disk) -> Result<(), Refusal> {
        let Some(mut end) = self.end.take() else {
            return Ok(());
        };
        match examine(disk, &mut end)? {
            Tail::Clean => Ok(()),
            Tail::Torn { .. } => {
                let (file, offset) = (&end.name, end.offset);
                tracing::info!(
                    file,
                    offset,
                    "a torn write at the end of an earlier log; the next log goes on after it"
                );
                Ok(())
            }
            Tail::Corrupt { intact_at } => Err(corrupt(disk, &end, intact_at)),
            Tail::Endless { bytes } => Err(endless(disk, &end, bytes)),
        }
    }

    /// Whether nothing can be missing between the last transaction and this one. Apache logs some refusals under
    /// the zxid before.
    ///
    /// Where an epoch ends, its last records cannot be missed; a file that was damaged there must at least look
    /// like a write that was cut short. The next begins with 1, or 0 where a standalone server counted through.
    fn follows(&self, next: Zxid) -> bool {
        let last = self.last();
        let end_is_torn = || match self.end.as_ref().and_then(|end| end.damage) {
            None => true,
            Some(damage) => damage.kind == LogDamageKind::Torn,
        };
        next == last
            || last.successor() == Some(next)
            || (next.epoch() > last.epoch() && next.counter() <= 1 && end_is_torn())
    }

    fn gap(&self, disk: &dyn Disk, name: &str, offset: u64, found: Zxid) -> Refusal {
        let damaged = self.end.as_ref().and_then(|end| Some((end, end.damage?)));
        match damaged {
            Some((end, damage)) => refuse(disk, &end.name, end.offset, &damage),
            None => Refusal::Damage(Damage {
                what: format!(
                    "{}: the log goes from {} to {found}",
                    disk.path_of(name),
                    self.last()
                ),
                advice: "what lies between is missing; restore the missing log or snapshot files from a backup"
                    .to_owned(),
                unusable: Unusable::LogFrom(name.to_owned(), offset),
            }),
        }
    }

    /// Looks behind the last record of the last file, and cuts a torn write off.
    fn settle_end(&mut self, disk: &dyn Disk, mut end: End) -> Result<(), Refusal> {
        let path = disk.path_of(&end.name);
        let failed = |error: io::Error| Fatal::io(format!("repairing {path}"), &error);
        let torn_bytes = match examine(disk, &mut end)? {
            Tail::Clean => 0,
            Tail::Torn { bytes } => bytes,
            Tail::Corrupt { intact_at } => return Err(corrupt(disk, &end, intact_at)),
            Tail::Endless { bytes } => return Err(endless(disk, &end, bytes)),
        };
        if end.len > end.offset {
            end.file.set_len(end.offset).map_err(failed)?;
        }
        // What was read may never have been synced: the process was killed in between. From now on others may
        // rely on it, so it must not go with the next power cut; and a torn record must not come back. An fsync that
        // failed before left the system's memory of the file clean and ahead of the disk: only what is written again
        // is synced again.
        rewrite_end(&mut *end.file, end.offset)
            .and_then(|()| end.file.sync_data())
            .and_then(|()| disk.sync_dir())
            .map_err(failed)?;
        if torn_bytes > 0 {
            self.torn = Some(TornTail {
                file: path,
                offset: end.offset,
                bytes: torn_bytes,
            });
        }
        Ok(())
    }

    fn compare_awaited(&mut self) {
        if let Some(awaited) = self.awaited.filter(|awaited| awaited.zxid <= self.last()) {
            self.awaited = None;
            // A smaller zxid than the snapshot's is that of an earlier epoch; Apache does not compare it either.
            if awaited.zxid == self.last() {
                self.compare(awaited.zxid, awaited.version, awaited.digest);
            }
        }
    }

    fn compare(&mut self, zxid: Zxid, version: i32, digest: i64) {
        let ours = self.tree.digest().to_i64();
        let comparable = self.tree.options().digest && version == DIGEST_VERSION;
        // While a fuzzy snapshot is being caught up with, the tree is ahead of the log.
        if comparable && self.awaited.is_none() && ours != digest {
            self.digest_mismatch.get_or_insert(zxid);
        }
    }
}

/// Writes what may never have reached the disk once more: the last batch, and the longest record at its end.
fn rewrite_end(file: &mut dyn DiskFile, end: u64) -> io::Result<()> {
    let mut at = end.saturating_sub(2 * UNSYNCED_BYTES_MAX as u64);
    let mut piece = vec![0; 1 << 20];
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let wanted = left.min(piece.len());
        let got = file.read_at(at, &mut piece[..wanted])?;
        if got == 0 {
            break;
        }
        file.write_at(at, &piece[..got])?;
        at += got as u64;
    }
    Ok(())
}

fn examine(disk: &dyn Disk, end: &mut End) -> Result<Tail, Fatal> {
    examine_tail(&mut *end.file, end.offset, end.len, end.last)
        .map_err(|error| Fatal::io(format!("reading {}", disk.path_of(&end.name)), &error))
}

fn corrupt(disk: &dyn Disk, end: &End, intact_at: u64) -> Refusal {
    uncut(
        disk,
        end,
        &format!("an intact record follows at offset {intact_at}"),
    )
}

/// The configuration in a tree; `None` if it is one that an operator wrote and no leader has named, or none.
fn configuration_of(tree: &DataTree) -> Option<Configuration> {
    let text = tree.node(path::CONFIG)?.data()?;
    let configuration = Configuration::parse(str::from_utf8(text).ok()?).ok()?;
    (configuration.version() > Zxid::ZERO).then_some(configuration)
}

fn endless(disk: &dyn Disk, end: &End, bytes: u64) -> Refusal {
    let why = format!("{bytes} bytes follow, more than a write that was cut short can leave");
    uncut(disk, end, &why)
}

fn uncut(disk: &dyn Disk, end: &End, why: &str) -> Refusal {
    Refusal::Damage(Damage {
        what: format!(
            "{} is damaged at offset {}, and {why}",
            disk.path_of(&end.name),
            end.offset
        ),
        advice: "cutting it there would lose data; restore the file from a backup".to_owned(),
        unusable: Unusable::LogFrom(end.name.clone(), end.offset),
    })
}

/// The log files that hold what comes after this transaction, oldest first.
fn files_from(disk: &dyn Disk, last: Zxid) -> Result<Vec<(Zxid, String)>, Fatal> {
    let files = logs(disk)?;
    let after = files.partition_point(|(first, _)| *first <= last);
    Ok(files.into_iter().skip(after.saturating_sub(1)).collect())
}

/// Whether a file holds no byte of a record: space, with or without a header.
fn is_space(disk: &dyn Disk, name: &str) -> Result<bool, Fatal> {
    let failed = |error: io::Error| Fatal::io(format!("reading {}", disk.path_of(name)), &error);
    let mut file = disk.open(name).map_err(failed)?;
    let len = file.file_len().map_err(failed)?;
    let header = FileHeader::LEN as u64;
    let mut start = [0; FileHeader::LEN];
    let got = file.read_at(0, &mut start).map_err(failed)?;
    // Its first bytes may be all that is left of it.
    let has_header = b"ZKLG".starts_with(&start[..got.min(4)]);
    let blank = start[..got].iter().all(|byte| *byte == 0);
    let tail = examine_tail(&mut *file, header, len, Zxid::ZERO).map_err(failed)?;
    Ok((has_header || blank) && tail == Tail::Clean)
}

fn refuse(disk: &dyn Disk, name: &str, offset: u64, why: &dyn std::fmt::Display) -> Refusal {
    Refusal::Damage(Damage {
        what: format!(
            "{} is damaged ({why}), and what follows it depends on it",
            disk.path_of(name)
        ),
        advice: "restore the file from a backup".to_owned(),
        unusable: Unusable::LogFrom(name.to_owned(), offset),
    })
}

//! How a member comes back: the newest snapshot that can be believed, and the log from there on.
//!
//! Invariants: every record that was once reported [`Synced`](super::DiskDone::Synced) is in the tree
//! afterwards, or recovery refuses or says [`awaits_sync`](Recovered::awaits_sync); no record counts that its checksum does not certify; zxids follow each other
//! without a gap; no power cut takes back what was read. Only the torn end of the last log is ever cut, and where is
//! reported. What stands in a record or a snapshot is never trusted with more memory than the file has bytes.
//!
//! A server on its own refuses to start with a damaged log: only a backup has what is missing. A member whose ensemble
//! can do without it sets aside what is damaged, and awaits a leader's sync (`damage.rs`).
//!
//! Deliberately not here: damaged epoch files. A promise that is forgotten may be given twice; so whoever runs the server
//! must act.

mod base;
mod damage;
mod replay;
#[cfg(test)]
mod tests;

use std::{fmt, io};

use zk_proto::{Epoch, Zxid};

use self::{damage::Refusal, replay::Replay};
use super::{
    Directories, EpochKind, Fatal, LogExecutor, LogOptions, SnapshotOptions, awaiting_sync, epochs,
    layout::{TMP_SUFFIX, is_prepared, names},
};
use crate::{
    config::Config,
    reconfig::{Configuration, LoggedConfiguration},
    storage::disk::Disk,
    tree::{DataTree, TreeOptions},
    zab::mutants,
};

/// What recovery must know.
#[derive(Debug, Clone, Copy)]
pub struct RecoveryOptions {
    /// How the tree is set up.
    pub tree: TreeOptions,
    /// How the log is written from now on.
    pub log: LogOptions,
    /// How the first snapshot of a fresh directory is written.
    pub snapshot: SnapshotOptions,
    /// `snapshot.trust.empty`: a log without any snapshot is replayed onto an empty tree.
    pub trust_empty_snapshot: bool,
    /// `db.autocreate`: an empty directory is an empty database even without the file `initialize`.
    pub create_empty: bool,
    /// Whether others can elect a leader that brings back what is lost here: then damage does not end the start.
    pub can_be_synced: bool,
}

impl RecoveryOptions {
    /// As configured; `hash_seed` should be random ([`TreeOptions::hash_seed`]).
    #[must_use]
    pub fn of(config: &Config, hash_seed: u64) -> Self {
        Self {
            tree: TreeOptions {
                extended_types: config.extended_types_enabled,
                emulate_353_ttl: config.emulate_353_ttl_nodes,
                digest: config.digest_enabled,
                hash_seed,
            },
            log: LogOptions {
                pre_alloc_bytes: config.pre_alloc_size_bytes,
                size_limit_bytes: config.txn_log_size_limit_bytes,
                force_sync: config.force_sync,
            },
            snapshot: SnapshotOptions::of(config),
            trust_empty_snapshot: config.snapshot_trust_empty,
            create_empty: config.db_autocreate,
            can_be_synced: can_be_synced(config),
        }
    }
}

/// Whether there are others, and they are a quorum without this server.
fn can_be_synced(config: &Config) -> bool {
    let Some(me) = config.my_id.filter(|_| config.is_ensemble()) else {
        return false;
    };
    let (servers, groups) = (config.servers.clone(), config.groups.clone());
    let known = Configuration::new(servers, groups, config.weights.clone(), config.version);
    let others = |known: &Configuration| {
        let voters = known.verifier().voters();
        voters.filter(|voter| *voter != me).collect()
    };
    known.is_ok_and(|known| known.verifier().contains_quorum(&others(&known)))
}

/// What was on the disk, and the right to go on with it.
#[derive(Debug)]
pub struct Recovered {
    /// The tree after the last transaction of the log.
    pub tree: DataTree,
    /// The owner of the log from now on.
    pub log: LogExecutor,
    /// The snapshot that was used.
    pub snapshot: Zxid,
    /// Transactions replayed from the log: what counts towards the next snapshot already.
    pub txns_since_snapshot: u64,
    /// The bytes of their records.
    pub log_bytes: u64,
    /// A torn write that was cut off the end of the log.
    pub torn: Option<TornTail>,
    /// The first transaction after which the tree's digest was not the one that was logged with it. Apache only
    /// logs that, and so should the caller.
    pub digest_mismatch: Option<Zxid>,
    /// The ensemble's configurations, oldest first: the snapshot's, if a leader has named it, and that of every
    /// reconfiguration in the replayed log. Which of them are in force, the history does not say.
    pub configurations: Vec<LoggedConfiguration>,
    /// `currentEpoch`, if there is such a file.
    pub current_epoch: Option<Epoch>,
    /// `acceptedEpoch`, if there is such a file.
    pub accepted_epoch: Option<Epoch>,
    /// The history lacks some of what was on this disk: the server has no vote until a leader has synced it.
    pub awaits_sync: bool,
}

/// What a write that was cut short left behind, and recovery cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The log file.
    pub file: String,
    /// Where its intact part ends.
    pub offset: u64,
    /// How many bytes lay behind it.
    pub bytes: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: a write was cut short; {} bytes were removed from offset {} on",
            self.file, self.bytes, self.offset
        )
    }
}

/// Brings a member back from its directories; blocks until the tree is complete.
///
/// A fresh directory gets its first snapshot, since Apache refuses a log without one.
///
/// Damage that an intact record follows, a gap in the log, no snapshot that holds: where others can bring back what is
/// lost ([`RecoveryOptions::can_be_synced`]), it is set aside, and the history ends before it.
///
/// # Errors
/// [`Fatal`] when the disk fails, and when going on would lose what was promised. The message names the file and says
/// what to do.
pub fn recover(directories: &Directories, options: &RecoveryOptions) -> Result<Recovered, Fatal> {
    remove_leftovers(directories)?;
    loop {
        let mut awaits_sync = awaiting_sync::is_set(&*directories.data)?;
        if awaits_sync && base::is_meant_empty(directories)? {
            awaiting_sync::clear(&*directories.data, &*directories.snapshots)?;
            awaits_sync = false;
        }
        match awaits_sync {
            // Some earlier process may not have come so far, or not have known of it.
            true => epochs::guard(&*directories.snapshots)?,
            // Whoever put a backup in place has removed the file.
            false => epochs::lift_guard(&*directories.snapshots)?,
        }
        if awaits_sync && !options.can_be_synced {
            return Err(Fatal::new(format!(
                "{} says that some of this member's history is lost, and nobody else can bring it back: restore a \
                 backup and remove that file",
                awaiting_sync::path(&*directories.data)
            )));
        }
        match read(directories, options, awaits_sync) {
            Ok(recovered) => return Ok(recovered),
            Err(Refusal::Damage(damage)) if options.can_be_synced => {
                damage.set_aside(directories)?
            }
            Err(Refusal::Damage(damage)) => return Err(damage.refuse()),
            Err(Refusal::Fatal(fatal)) => return Err(fatal),
        }
    }
}

fn read(
    directories: &Directories,
    options: &RecoveryOptions,
    awaits_sync: bool,
) -> Result<Recovered, Refusal> {
    let (tree, base) = base::find(directories, options, awaits_sync)?;
    let mut replay = Replay::new(tree, base.trailer.digest);
    replay.run(&*directories.logs)?;
    base.check_reached(replay.last())?;
    let (current_epoch, accepted_epoch) = (
        epochs::load(&*directories.snapshots, EpochKind::Current)?,
        epochs::load(&*directories.snapshots, EpochKind::Accepted)?,
    );
    make_names_durable(&*directories.snapshots)?;
    let (last, bytes) = (replay.last(), replay.bytes);
    let log = LogExecutor::new(directories, options.log, last, bytes, awaits_sync);
    Ok(Recovered {
        log,
        snapshot: base.snapshot,
        txns_since_snapshot: replay.records,
        log_bytes: replay.bytes,
        torn: replay.torn,
        digest_mismatch: replay.digest_mismatch,
        configurations: replay.configurations,
        tree: replay.tree,
        current_epoch,
        accepted_epoch,
        awaits_sync,
    })
}

/// Makes durable under which names the snapshot and the epochs were found.
///
/// An earlier process may have ended, or its fsync failed, between a rename and the fsync of the directory. From now
/// on others rely on what was read (an accepted epoch is not written again), so it must not go with the next power cut.
fn make_names_durable(disk: &dyn Disk) -> Result<(), Fatal> {
    if mutants::active("name-not-durable") {
        return Ok(());
    }
    disk.sync_dir()
        .map_err(|error| Fatal::io(format!("syncing {}", disk.path_of("")), &error))
}

/// Removes what an earlier process was still working on.
fn remove_leftovers(directories: &Directories) -> Result<(), Fatal> {
    let is_snapshot_tmp = |name: &str| name.starts_with("snapshot.") && name.ends_with(TMP_SUFFIX);
    let remove = |disk: &dyn Disk, name: &str| match disk.remove(name) {
        // An earlier server of this process was just about to remove it, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Fatal::io(
            format!("removing {}", disk.path_of(name)),
            &error,
        )),
        Ok(()) => Ok(()),
    };
    for name in names(&*directories.snapshots)? {
        if is_snapshot_tmp(&name) {
            remove(&*directories.snapshots, &name)?;
        }
    }
    for name in names(&*directories.logs)? {
        if is_prepared(&name) {
            remove(&*directories.logs, &name)?;
        }
    }
    Ok(())
}

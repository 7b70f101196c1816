//! The configuration: Apache's `zoo.cfg`, read unchanged, and what may be set on the command line.
//!
//! An option means here what it means to Apache ZooKeeper 3.9 (`QuorumPeerConfig`, `zookeeperAdmin.md`), and is
//! off where Apache leaves it off. Apache takes many options only as Java system properties
//! (`-Dzookeeper.skipACL=yes`); here every option may stand in the file or behind `--set`, with or without the
//! `zookeeper.` in front.
//!
//! Invariants: a [`Config`] is valid by construction when it comes out of [`Config::parse`] or [`Config::load`]; a key that is not
//! understood is a warning, never an error, unless ignoring it would weaken who may connect; secrets do not
//! show in `Debug`.
//!
//! Deliberately not here: resolving names, opening directories.

mod apache_keys;
#[cfg(feature = "driver")]
pub(crate) mod dynamic;
mod keys;
mod listen;
pub(crate) mod properties;
mod secret;
mod servers;
mod zoo_cfg;

pub use listen::HostPort;
pub use secret::Secret;
pub use servers::{PeerRole, ServerAddress, ServerSpec};

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use zk_proto::{ServerId, Zxid};

/// Everything that can be set about a server; the defaults are Apache's.
///
/// Times are durations, sizes bytes, whatever unit the key has in the file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `dataDir`: where snapshots and `myid` are, and the log too unless it has a directory of its own.
    pub data_dir: PathBuf,
    /// `dataLogDir`: where the transaction log is, if not in `dataDir`.
    pub data_log_dir: Option<PathBuf>,
    /// `clientPort` and `clientPortAddress`: where clients connect; `None` serves none in the clear.
    pub client_address: Option<HostPort>,
    /// `clientPortListenBacklog`: connections the system queues; `None` for its default.
    pub client_port_listen_backlog: Option<u32>,
    /// `clientTcpKeepAlive`: keep-alive probes on client connections.
    pub client_tcp_keep_alive: bool,
    /// `tickTime`: ZooKeeper's unit of time.
    pub tick_time: Duration,
    /// `maxClientCnxns`: connections from one address at a time; `None` without a limit (0 in the file).
    pub max_client_cnxns: Option<u32>,
    /// `maxCnxns`: connections in total; `None` without a limit (0 in the file).
    pub max_cnxns: Option<u32>,
    /// `minSessionTimeout`: the shortest session timeout granted; see [`Config::min_session_timeout`].
    pub min_session_timeout: Option<Duration>,
    /// `maxSessionTimeout`: the longest session timeout granted; see [`Config::max_session_timeout`].
    pub max_session_timeout: Option<Duration>,
    /// `localSessionsEnabled`: sessions that only this server knows.
    pub local_sessions_enabled: bool,
    /// `localSessionsUpgradingEnabled`: a local session becomes a global one when it creates an ephemeral node.
    pub local_sessions_upgrading_enabled: bool,
    /// `readonlymode.enabled`: serve read-only clients while there is no quorum.
    pub read_only_mode: bool,

    /// `snapCount`: a snapshot is due after between half of this and this many transactions; at least 2.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: the same, by bytes of log; `None` without a limit (0 or less in the file).
    pub snap_size_limit_bytes: Option<u64>,
    /// `minFreeSpaceInKb`: with less room for the log, writes that need some are refused; `None` never (0 in the file).
    /// Not a key of Apache's.
    pub min_free_space_bytes: Option<u64>,
    /// `preAllocSize` (in KiB in the file): how much of a log file is written with zeros ahead of need.
    pub pre_alloc_size_bytes: u64,
    /// `txnLogSizeLimitInKb`: a log file that exceeds this is followed by a new one; `None` without a limit.
    pub txn_log_size_limit_bytes: Option<u64>,
    /// `autopurge.snapRetainCount`: how many snapshots purging keeps, with the logs they need; at least 3.
    pub snap_retain_count: u32,
    /// `autopurge.purgeInterval` (in hours): how often old snapshots and logs are purged; `None` for never (0).
    pub purge_interval: Option<Duration>,
    /// `fsync.warningthresholdms`: an fsync that takes longer is worth a warning.
    pub fsync_warning_threshold: Duration,
    /// `forceSync`: whether a write is on the disk before it is acknowledged; without it a crash loses data.
    pub force_sync: bool,
    /// `syncEnabled`: whether an observer keeps a log.
    pub sync_enabled: bool,
    /// `digest.enabled`: keep the tree's digest, and put it into log and snapshots.
    pub digest_enabled: bool,
    /// `serializeLastProcessedZxid.enabled`: put the last transaction's id at the end of snapshots.
    pub serialize_last_processed_zxid: bool,
    /// `snapshot.trust.empty`: start from a log without any snapshot (upgrades from before 3.5.3).
    pub snapshot_trust_empty: bool,
    /// `datadir.autocreate`: make missing directories.
    pub data_dir_autocreate: bool,
    /// `db.autocreate`: an empty directory is an empty database, not a lost one.
    pub db_autocreate: bool,
    /// `closeSessionTxn.enabled`: the transaction that closes a session lists the nodes it deletes.
    pub close_session_txn_enabled: bool,

    /// `4lw.commands.whitelist`: the four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// `jute.maxbuffer`: the longest frame a client may send, in bytes.
    pub jute_max_buffer: u32,
    /// `globalOutstandingLimit`: writes in flight, of all clients together, before reading from clients pauses.
    pub global_outstanding_limit: u32,
    /// `skipACL`: nobody's permissions are checked.
    pub skip_acl: bool,
    /// `enforceQuota`: hard quotas refuse writes.
    pub enforce_quota: bool,
    /// `extendedTypesEnabled`: TTL nodes may be created.
    pub extended_types_enabled: bool,
    /// `emulate353TTLNodes`: TTL nodes as ZooKeeper 3.5.3 wrote them are understood, too.
    pub emulate_353_ttl_nodes: bool,
    /// `znode.container.checkIntervalMs`: how often empty containers and expired TTL nodes are looked for.
    pub container_check_interval: Duration,
    /// `znode.container.maxPerMinute`: how many of them are deleted in a minute.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: a container that never had a child goes after this; `None`
    /// for never (0).
    pub container_max_never_used: Option<Duration>,

    /// `DigestAuthenticationProvider.enabled`: the scheme `digest`.
    pub digest_auth_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`: `super:` and the digest of the password that may do all.
    pub super_digest: Option<Secret>,
    /// `sessionPasswords`: how session passwords are made; `None` decides by what is safe (HMAC for a
    /// standalone server, Apache's for an ensemble).
    pub session_passwords: Option<SessionPasswords>,
    /// `sessionSecretFile`: the secret that all members of an ensemble make HMAC passwords with.
    pub session_secret_file: Option<PathBuf>,
    /// `ioThreads`: threads that serve connections; `None` for one for two cores, at most four.
    pub io_threads: Option<usize>,

    /// `server.N`: the members; at most one is a standalone server.
    pub servers: BTreeMap<ServerId, ServerSpec>,
    /// The version of the dynamic configuration file that names the members; 0 where they stand in the file itself.
    pub version: Zxid,
    /// The file it was read from, beside which dynamic configuration files are written; `None`: they are written in
    /// `dataDir`.
    pub file: Option<PathBuf>,
    /// What the file's `.dynamic.next` says: a configuration that may come into force.
    #[cfg_attr(
        not(feature = "driver"),
        allow(dead_code, reason = "only a member that runs asks for it")
    )]
    pub(crate) next: Option<String>,
    /// `reconfigEnabled`: whether clients may change the members while the ensemble serves.
    pub reconfig_enabled: bool,
    /// `standaloneEnabled`: whether one server alone is no ensemble.
    pub standalone_enabled: bool,
    /// `myid`: which of them this is, if there is more than one.
    pub my_id: Option<ServerId>,
    /// `initLimit`: how many ticks a learner may take to connect and to get in sync.
    pub init_limit: u32,
    /// `syncLimit`: how many ticks a learner may lag behind or be silent.
    pub sync_limit: u32,
    /// `group.N`: which voters vote together, in hierarchical quorums; none for a majority of all.
    pub groups: BTreeMap<i64, BTreeSet<ServerId>>,
    /// `weight.N`: how much a voter counts in its group; 1 unless set.
    pub weights: BTreeMap<ServerId, i64>,
    /// `leaderServes`: whether a member serves clients while it leads.
    pub leader_serves: bool,
    /// `quorumListenOnAllIPs`: the quorum and the election port are bound at every address of the machine instead of
    /// the one that this member's own line names (a machine behind NAT, a container).
    pub quorum_listen_on_all_ips: bool,
    /// `snapshotSizeFactor`: how long a piece of the log may be, measured by a snapshot, to be sent to a learner
    /// instead of one, and never more than 1 GiB; 0: 1 GiB, below 0: never.
    pub snapshot_size_factor: f64,
    /// `testing.*`: faults that prove our own checks; ignored unless the feature `testing` is on.
    pub testing: BTreeMap<String, String>,
}

/// Which four-letter words are answered (`4lw.commands.whitelist`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourLetterWords {
    /// Every one (`*`).
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    /// Whether this word is answered.
    #[must_use]
    pub fn allow(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.contains(word),
        }
    }
}

/// How a session's password is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPasswords {
    /// From the session's id alone, as Apache's servers do: they know it, and everybody can compute it.
    Apache,
    /// From the id and a secret, by HMAC: nobody can guess it, and no Apache server can check it.
    Hmac,
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

/// A configuration, and what its author should know about it.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// One sentence for each key that was not understood or has no effect; log them once.
    pub warnings: Vec<String>,
}

impl Default for Config {
    /// Apache's defaults; `./zk-data` and a loopback port 2181, where Apache insists on a choice.
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("zk-data"),
            data_log_dir: None,
            client_address: Some(HostPort::at("127.0.0.1", 2181)),
            client_port_listen_backlog: None,
            client_tcp_keep_alive: false,
            tick_time: Duration::from_millis(3000),
            max_client_cnxns: Some(60),
            max_cnxns: None,
            min_session_timeout: None,
            max_session_timeout: None,
            local_sessions_enabled: false,
            local_sessions_upgrading_enabled: false,
            read_only_mode: false,
            snap_count: 100_000,
            snap_size_limit_bytes: Some(4 << 30),
            min_free_space_bytes: Some(64 << 20),
            pre_alloc_size_bytes: 64 << 20,
            txn_log_size_limit_bytes: None,
            snap_retain_count: 3,
            purge_interval: None,
            fsync_warning_threshold: Duration::from_secs(1),
            force_sync: true,
            sync_enabled: true,
            digest_enabled: true,
            serialize_last_processed_zxid: true,
            snapshot_trust_empty: false,
            data_dir_autocreate: true,
            db_autocreate: true,
            close_session_txn_enabled: true,
            four_letter_words: FourLetterWords::Only(BTreeSet::from(["srvr".to_owned()])),
            jute_max_buffer: 0xf_ffff,
            global_outstanding_limit: 1000,
            skip_acl: false,
            enforce_quota: false,
            extended_types_enabled: false,
            emulate_353_ttl_nodes: false,
            container_check_interval: Duration::from_secs(60),
            container_max_per_minute: 10_000,
            container_max_never_used: None,
            digest_auth_enabled: true,
            super_digest: None,
            session_passwords: None,
            session_secret_file: None,
            io_threads: None,
            servers: BTreeMap::new(),
            version: Zxid::ZERO,
            file: None,
            next: None,
            reconfig_enabled: false,
            standalone_enabled: true,
            my_id: None,
            init_limit: 10,
            sync_limit: 5,
            groups: BTreeMap::new(),
            weights: BTreeMap::new(),
            leader_serves: true,
            quorum_listen_on_all_ips: false,
            snapshot_size_factor: 0.33,
            testing: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Where the transaction log is.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        self.data_log_dir.as_deref().unwrap_or(&self.data_dir)
    }

    /// The shortest session timeout granted: two ticks unless set.
    #[must_use]
    pub fn min_session_timeout(&self) -> Duration {
        self.min_session_timeout.unwrap_or(self.tick_time * 2)
    }

    /// The longest session timeout granted: twenty ticks unless set.
    #[must_use]
    pub fn max_session_timeout(&self) -> Duration {
        self.max_session_timeout.unwrap_or(self.tick_time * 20)
    }

    /// Sets one option, as `--set key=value` does; for programs that embed a server.
    ///
    /// Returns what there is to say about the key, if it was not understood.
    ///
    /// # Errors
    /// [`ConfigError`] when the value is not one of the key's.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<String>, ConfigError> {
        keys::set(self, key, value)
    }
}

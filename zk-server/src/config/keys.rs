//! What every key does, one line each.

use std::{path::PathBuf, str::FromStr, time::Duration};

use zk_proto::ServerId;

use super::{
    Config, ConfigError, FourLetterWords, HostPort, Secret, SessionPasswords, apache_keys,
    servers::{self, PeerRole},
};

/// Takes a key's value over into the configuration, or says why not.
type Setter = fn(&mut Config, &str) -> Result<(), String>;

/// Every key that has an effect, without its `zookeeper.`.
const KEYS: &[(&str, Setter)] = &[
    ("4lw.commands.whitelist", |c, v| {
        put(&mut c.four_letter_words, words(v))
    }),
    ("DigestAuthenticationProvider.enabled", |c, v| {
        put(&mut c.digest_auth_enabled, java_boolean(v))
    }),
    ("DigestAuthenticationProvider.superDigest", |c, v| {
        put(&mut c.super_digest, Ok(Some(Secret::new(v))))
    }),
    ("autopurge.purgeInterval", |c, v| {
        put(
            &mut c.purge_interval,
            unless_zero(v, |h| Duration::from_secs(h * 3600)),
        )
    }),
    ("autopurge.snapRetainCount", |c, v| {
        put(&mut c.snap_retain_count, number(v).map(|n: u32| n.max(3)))
    }),
    ("clientPort", |c, v| set_client_port(c, v)),
    ("clientPortAddress", |c, v| set_client_port_address(c, v)),
    ("clientPortListenBacklog", |c, v| {
        put(
            &mut c.client_port_listen_backlog,
            number(v).map(|n: i64| u32::try_from(n).ok()),
        )
    }),
    ("clientTcpKeepAlive", |c, v| {
        put(&mut c.client_tcp_keep_alive, java_boolean(v))
    }),
    ("closeSessionTxn.enabled", |c, v| {
        put(&mut c.close_session_txn_enabled, java_boolean(v))
    }),
    ("dataDir", |c, v| put(&mut c.data_dir, Ok(PathBuf::from(v)))),
    ("dataLogDir", |c, v| {
        put(&mut c.data_log_dir, Ok(Some(PathBuf::from(v))))
    }),
    ("datadir.autocreate", |c, v| {
        put(&mut c.data_dir_autocreate, java_boolean(v))
    }),
    ("db.autocreate", |c, v| {
        put(&mut c.db_autocreate, java_boolean(v))
    }),
    ("digest.enabled", |c, v| {
        put(&mut c.digest_enabled, java_boolean(v))
    }),
    ("emulate353TTLNodes", |c, v| {
        put(&mut c.emulate_353_ttl_nodes, java_boolean(v))
    }),
    ("enforceQuota", |c, v| {
        put(&mut c.enforce_quota, java_boolean(v))
    }),
    ("extendedTypesEnabled", |c, v| {
        put(&mut c.extended_types_enabled, java_boolean(v))
    }),
    ("forceSync", |c, v| put(&mut c.force_sync, Ok(v != "no"))),
    ("fsync.warningthresholdms", |c, v| {
        put(&mut c.fsync_warning_threshold, millis(v))
    }),
    ("globalOutstandingLimit", |c, v| {
        put(&mut c.global_outstanding_limit, number(v))
    }),
    ("ioThreads", |c, v| {
        put(
            &mut c.io_threads,
            unless_zero(v, |n| usize::try_from(n).unwrap_or(1)),
        )
    }),
    ("jute.maxbuffer", |c, v| {
        put(&mut c.jute_max_buffer, java_integer(v))
    }),
    ("localSessionsEnabled", |c, v| {
        put(&mut c.local_sessions_enabled, boolean(v))
    }),
    ("localSessionsUpgradingEnabled", |c, v| {
        put(&mut c.local_sessions_upgrading_enabled, boolean(v))
    }),
    ("maxClientCnxns", |c, v| {
        put(&mut c.max_client_cnxns, limit(v))
    }),
    ("maxCnxns", |c, v| put(&mut c.max_cnxns, limit(v))),
    ("maxSessionTimeout", |c, v| {
        put(&mut c.max_session_timeout, session_timeout(v))
    }),
    ("minFreeSpaceInKb", |c, v| {
        put(&mut c.min_free_space_bytes, kib_limit(v))
    }),
    ("minSessionTimeout", |c, v| {
        put(&mut c.min_session_timeout, session_timeout(v))
    }),
    ("peerType", |_, v| PeerRole::parse(v).map(drop)),
    ("preAllocSize", |c, v| {
        put(
            &mut c.pre_alloc_size_bytes,
            number(v).map(|kib: u32| u64::from(kib) * 1024),
        )
    }),
    ("readonlymode.enabled", |c, v| {
        put(&mut c.read_only_mode, java_boolean(v))
    }),
    ("serializeLastProcessedZxid.enabled", |c, v| {
        put(&mut c.serialize_last_processed_zxid, java_boolean(v))
    }),
    ("sessionPasswords", |c, v| {
        put(&mut c.session_passwords, passwords(v).map(Some))
    }),
    ("sessionSecretFile", |c, v| {
        put(&mut c.session_secret_file, Ok(Some(PathBuf::from(v))))
    }),
    ("skipACL", |c, v| put(&mut c.skip_acl, Ok(v == "yes"))),
    ("snapCount", |c, v| {
        put(&mut c.snap_count, java_integer(v).map(|n| n.max(2)))
    }),
    ("snapSizeLimitInKb", |c, v| {
        put(&mut c.snap_size_limit_bytes, kib_limit(v))
    }),
    ("snapshotSizeFactor", |c, v| {
        put(&mut c.snapshot_size_factor, number(v))
    }),
    ("snapshot.trust.empty", |c, v| {
        put(&mut c.snapshot_trust_empty, java_boolean(v))
    }),
    ("reconfigEnabled", |c, v| {
        put(&mut c.reconfig_enabled, boolean(v))
    }),
    ("standaloneEnabled", |c, v| {
        put(&mut c.standalone_enabled, boolean(v))
    }),
    ("syncEnabled", |c, v| put(&mut c.sync_enabled, boolean(v))),
    ("leaderServes", |c, v| {
        put(&mut c.leader_serves, Ok(v != "no"))
    }),
    ("quorumListenOnAllIPs", |c, v| {
        put(&mut c.quorum_listen_on_all_ips, java_boolean(v))
    }),
    ("initLimit", |c, v| put(&mut c.init_limit, number(v))),
    ("syncLimit", |c, v| put(&mut c.sync_limit, number(v))),
    ("tickTime", |c, v| put(&mut c.tick_time, tick(v))),
    ("txnLogSizeLimitInKb", |c, v| {
        put(&mut c.txn_log_size_limit_bytes, kib_limit(v))
    }),
    ("znode.container.checkIntervalMs", |c, v| {
        put(&mut c.container_check_interval, millis(v))
    }),
    ("znode.container.maxNeverUsedIntervalMs", |c, v| {
        put(
            &mut c.container_max_never_used,
            unless_zero(v, Duration::from_millis),
        )
    }),
    ("znode.container.maxPerMinute", |c, v| {
        put(&mut c.container_max_per_minute, number(v))
    }),
];

/// Sets one option; returns what there is to say about a key that has no effect.
pub(super) fn set(
    config: &mut Config,
    key: &str,
    value: &str,
) -> Result<Option<String>, ConfigError> {
    let (key, value) = (canonical(key), value.trim());
    let refused = |why: String| ConfigError(format!("{key}={value}: {why}"));
    if let Some((_, setter)) = KEYS.iter().find(|(known, _)| *known == key) {
        setter(config, value).map_err(refused)?;
        return Ok(None);
    }
    if key.starts_with("server.") {
        servers::add(&mut config.servers, key, value).map_err(ConfigError)?;
        return Ok(None);
    }
    if key.starts_with("group.") {
        servers::add_group(&mut config.groups, key, value).map_err(ConfigError)?;
        return Ok(None);
    }
    if let Some(server) = key.strip_prefix("weight.") {
        let server = number(server).map_err(refused)?;
        let weight = number(value).map_err(refused)?;
        config.weights.insert(ServerId(server), weight);
        return Ok(None);
    }
    if let Some(fault) = key
        .strip_prefix("testing.")
        .filter(|_| cfg!(feature = "testing"))
    {
        config.testing.insert(fault.to_owned(), value.to_owned());
        return Ok(None);
    }
    apache_keys::judge(key, value).map_err(refused)
}

/// A key as `zoo.cfg` spells it: Java's system properties have `zookeeper.` in front.
pub(super) fn canonical(key: &str) -> &str {
    let key = key.trim();
    key.strip_prefix("zookeeper.").unwrap_or(key)
}

fn put<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| "not a whole number in the range of this key".to_owned())
}

/// As `Integer.getInteger` reads it: decimal, `0x` or `#` hexadecimal, or octal.
fn java_integer(value: &str) -> Result<u32, String> {
    let hex = ["0x", "0X", "#"].iter().find_map(|p| value.strip_prefix(p));
    let parsed = match (hex, value.strip_prefix('0')) {
        (Some(digits), _) => i32::from_str_radix(digits, 16),
        (None, Some(digits)) if !digits.is_empty() => i32::from_str_radix(digits, 8),
        _ => value.parse(),
    };
    parsed
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| "not a whole number in the range of this key".to_owned())
}

/// Where Apache takes anything but `true` for false (`Boolean.parseBoolean`).
#[expect(clippy::unnecessary_wraps, reason = "has the shape of its neighbours")]
fn java_boolean(value: &str) -> Result<bool, String> {
    Ok(value.eq_ignore_ascii_case("true"))
}

/// Where Apache insists on `true` or `false`.
fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("choose true or false".to_owned()),
    }
}

fn millis(value: &str) -> Result<Duration, String> {
    number(value).map(Duration::from_millis)
}

fn tick(value: &str) -> Result<Duration, String> {
    match number::<u32>(value)? {
        0 => Err("a tick takes time".to_owned()),
        ms => Ok(Duration::from_millis(ms.into())),
    }
}

/// -1 stands for "not set".
fn session_timeout(value: &str) -> Result<Option<Duration>, String> {
    match number::<i32>(value)? {
        -1 => Ok(None),
        ms => match u64::try_from(ms) {
            Ok(ms) => Ok(Some(Duration::from_millis(ms))),
            Err(_) => Err("a timeout is not negative".to_owned()),
        },
    }
}

/// 0 stands for "no limit".
fn limit(value: &str) -> Result<Option<u32>, String> {
    number(value).map(|n| Some(n).filter(|n| *n > 0))
}

/// 0 or less stands for "no limit".
fn kib_limit(value: &str) -> Result<Option<u64>, String> {
    let kib: i64 = number(value)?;
    Ok(u64::try_from(kib)
        .ok()
        .filter(|kib| *kib > 0)
        .map(|kib| kib.saturating_mul(1024)))
}

fn unless_zero<T>(value: &str, convert: impl Fn(u64) -> T) -> Result<Option<T>, String> {
    let n: u32 = number(value)?;
    Ok((n > 0).then(|| convert(n.into())))
}

fn passwords(value: &str) -> Result<SessionPasswords, String> {
    match value {
        "apache" => Ok(SessionPasswords::Apache),
        "hmac" => Ok(SessionPasswords::Hmac),
        _ => Err("choose apache or hmac".to_owned()),
    }
}

/// `srvr` is always answered: Apache's own scripts depend on it.
fn words(value: &str) -> Result<FourLetterWords, String> {
    let words = value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    if words.clone().any(|word| word == "*") {
        return Ok(FourLetterWords::All);
    }
    Ok(FourLetterWords::Only(
        words.chain(["srvr"]).map(str::to_owned).collect(),
    ))
}

fn set_client_port(config: &mut Config, value: &str) -> Result<(), String> {
    let port = number(value)?;
    let host = config
        .client_address
        .take()
        .and_then(|address| address.host);
    config.client_address = Some(HostPort { host, port });
    Ok(())
}

fn set_client_port_address(config: &mut Config, value: &str) -> Result<(), String> {
    match &mut config.client_address {
        Some(address) => {
            address.host = Some(value.to_owned());
            Ok(())
        }
        None => Err("clientPortAddress is set but clientPort is not".to_owned()),
    }
}

//! From the configuration to what the cores want to know.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

use rustix::process::{Resource, getrlimit};
use zk_proto::ServerId;

use crate::{
    auth::AuthConfig,
    config::Config,
    error::Fatal,
    limits::ConnLimits,
    peer::{LocalSessions, MaxConns, PeerOptions, ReaperOptions},
    prep::PrepOptions,
    reconfig::{Configuration, Configurations, LoggedConfiguration},
    session::Passwords,
    storage::SnapshotTrigger,
    zab::{COUNTER_MAX, ZabConfig},
};

/// A number that nobody outside can know.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

pub(super) fn auth_config(config: &Config) -> AuthConfig {
    AuthConfig {
        digest_enabled: config.digest_auth_enabled,
        super_digest: config
            .super_digest
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
        skip_acl: config.skip_acl,
        ..AuthConfig::default()
    }
}

/// Unless told otherwise, connections leave a fifth of the file descriptors to everything else, the log first.
pub(super) fn max_conns(config: &Config, by_files: bool) -> MaxConns {
    let total = match config.max_cnxns {
        Some(total) => Some(total as usize),
        None if by_files => most_files().map(|files| (files - files / 5).max(1)),
        None => None,
    };
    MaxConns {
        per_address: config.max_client_cnxns.unwrap_or_default() as usize,
        total: total.unwrap_or_default(),
    }
}

/// How many files this process may have open; `None` for any number.
fn most_files() -> Option<usize> {
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

pub(super) fn conn_limits(config: &Config) -> ConnLimits {
    ConnLimits {
        max_buffer: config.jute_max_buffer as usize,
        ..ConnLimits::default()
    }
}

pub(super) fn peer_options(config: &Config, passwords: Passwords, replayed: u64) -> PeerOptions {
    PeerOptions {
        server: config.my_id.unwrap_or(ServerId(1)),
        tick: config.tick_time,
        min_session_timeout_ms: millis(config.min_session_timeout()),
        max_session_timeout_ms: millis(config.max_session_timeout()),
        snapshots: SnapshotTrigger::new(config, seed(), replayed),
        prep: PrepOptions {
            auth: auth_config(config),
            enforce_quota: config.enforce_quota,
            close_session_txn: config.close_session_txn_enabled,
            reconfig_enabled: config.reconfig_enabled,
            standalone_enabled: config.standalone_enabled,
            // Apache's allowance beyond `jute.maxbuffer` is as much again, and 1 KiB at least.
            max_txn: (config.jute_max_buffer as usize)
                .saturating_add(config.jute_max_buffer.max(1024) as usize),
        },
        passwords,
        local_sessions: local_sessions(config),
        read_only: config.read_only_mode,
        snapshot_size_factor: config.snapshot_size_factor,
        leader_serves: config.leader_serves,
        reaper: reaper_options(config),
        #[cfg(feature = "testing")]
        reply_before_write: reply_before_write(config),
    }
}

/// A standalone server has none, as with Apache.
fn local_sessions(config: &Config) -> LocalSessions {
    match config.local_sessions_upgrading_enabled {
        _ if !config.local_sessions_enabled || !config.is_ensemble() => LocalSessions::Off,
        true => LocalSessions::Upgrading,
        false => LocalSessions::On,
    }
}

/// What election and agreement want to know; `logged` are the configurations in the log, oldest first.
pub(super) fn zab_config(
    config: &Config,
    me: ServerId,
    logged: Vec<LoggedConfiguration>,
) -> Result<ZabConfig, Fatal> {
    let enabled = config.reconfig_enabled;
    let mut configurations = Configurations::new(me, configuration(config)?, enabled);
    let next = config.next.as_deref().map(Configuration::parse);
    let next = next
        .and_then(Result::ok)
        .map(|configuration| LoggedConfiguration {
            configuration,
            after: None,
        });
    let mut seen: Vec<_> = logged.into_iter().chain(next).collect();
    seen.sort_by_key(|seen| seen.configuration.version());
    for logged in seen {
        configurations.see_logged(logged);
    }
    let (written, in_force) = (config.version, configurations.version());
    if in_force > written {
        tracing::error!(%written, %in_force, "the configuration files lag behind the log");
    }
    let tick = config.tick_time;
    Ok(ZabConfig {
        me,
        configurations,
        tick,
        init_limit: tick * config.init_limit,
        sync_limit: tick * config.sync_limit,
        connect_retry: Duration::from_millis(5),
        counter_max: COUNTER_MAX,
    })
}

/// The configuration in force as far as the files say.
pub(crate) fn configuration(config: &Config) -> Result<Configuration, Fatal> {
    let (servers, groups) = (config.servers.clone(), config.groups.clone());
    let weights = config.weights.clone();
    Configuration::new(servers, groups, weights, config.version)
        .map_err(|error| Fatal::new(error.to_string()))
}

fn reaper_options(config: &Config) -> ReaperOptions {
    let never_used = config.container_max_never_used.unwrap_or_default();
    ReaperOptions {
        interval: config.container_check_interval,
        per_minute: config.container_max_per_minute,
        never_used_ms: i64::from(millis(never_used)),
    }
}

#[cfg(feature = "testing")]
pub(super) fn reply_before_write(config: &Config) -> bool {
    let value = config.testing.get("replyBeforeWrite");
    value.is_some_and(|value| value == "true")
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use zk_proto::Zxid;

    use super::*;

    #[test]
    fn connections_leave_files_to_the_log() {
        let total = |settings: &[(&str, &str)], by_files| {
            let mut config = Config::default();
            for (key, value) in settings {
                config.set(key, value).unwrap();
            }
            max_conns(&config, by_files).total
        };
        let files = most_files().unwrap_or_default();
        assert_eq!(total(&[], true), files - files / 5);
        assert_eq!(total(&[], false), 0);
        assert_eq!(total(&[("maxCnxns", "5")], true), 5);
    }

    fn of(ids: &[i64], version: i64) -> Configuration {
        let lines = ids.iter().map(|id| format!("server.{id}=h{id}:1:2;3\n"));
        let text = lines.collect::<String>() + &format!("version={version:x}");
        Configuration::parse(&text).unwrap()
    }

    /// A log with two reconfigurations behind a file that was never written: one in force, as the second one shows, and one
    /// that may be. A quorum of the file's configuration and of the last one need have nobody in common with one of
    /// that between them; the file's own counts no more, for that between them was in force when the last one was proposed.
    #[test]
    fn behind_a_file_that_lags_the_last_two_configurations_in_the_log_count() {
        let mut config = Config {
            servers: of(&[1, 2, 3, 7], 0).servers().clone(),
            reconfig_enabled: true,
            ..Config::default()
        };
        let epoch = 1 << 32;
        let logged = |configuration: Configuration, after: i64| LoggedConfiguration {
            configuration,
            after: Some(Zxid(after)),
        };
        let log = || {
            vec![
                logged(of(&[1, 2, 3, 4, 5], epoch + 5), 0),
                logged(of(&[1, 2, 3, 4, 5, 6, 7], epoch + 9), epoch + 5),
            ]
        };
        let known = |config: &Config| {
            let known = zab_config(config, ServerId(7), log());
            known.unwrap().configurations
        };
        let quorums = |config: &Config, ids: &[i64]| {
            let servers = ids.iter().copied().map(ServerId).collect();
            let verifiers = known(config).verifiers();
            verifiers
                .iter()
                .map(|verifier| verifier.contains_quorum(&servers))
                .collect::<Vec<_>>()
        };
        assert_eq!(quorums(&config, &[1, 2, 6, 7]), [false, true]);
        assert_eq!(known(&config).version(), Zxid(epoch + 5));
        assert_eq!(known(&config).next_version(), Some(Zxid(epoch + 9)));
        assert_eq!(known(&config).members().len(), 7);
        // One that was written once does not come back, and one that is not in the log counts, too.
        config.servers = of(&[1, 2, 3, 4, 5], 0).servers().clone();
        config.version = Zxid(epoch + 5);
        assert_eq!(quorums(&config, &[1, 2, 6, 7]), [false, true]);
        config.next = Some(of(&[7], epoch + 11).to_string());
        assert_eq!(quorums(&config, &[1, 2, 6, 7]), [false, true, true]);
    }
}

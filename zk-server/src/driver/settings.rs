//! From the configuration to what the cores want to know.

use std::{collections::hash_map::RandomState, fmt::Write as _, hash::BuildHasher, time::Duration};

use rustix::process::{Resource, getrlimit};
use zk_proto::{ServerId, Utf8Bytes, Zxid};

use crate::{
    auth::AuthConfig,
    config::{Config, PeerRole, ServerSpec},
    election::ElectionConfig,
    error::Fatal,
    limits::ConnLimits,
    peer::{LocalSessions, MaxConns, PeerOptions, ReaperOptions},
    prep::PrepOptions,
    quorum::QuorumVerifier,
    session::Passwords,
    storage::SnapshotTrigger,
    zab::{COUNTER_MAX, MemberConfig, ZabConfig},
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
            // Apache's allowance beyond `jute.maxbuffer` is as much again, and 1 KiB at least.
            max_txn: (config.jute_max_buffer as usize)
                .saturating_add(config.jute_max_buffer.max(1024) as usize),
            ..PrepOptions::default()
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

/// What election and agreement want to know.
pub(super) fn member_config(config: &Config, me: ServerId) -> Result<MemberConfig, Fatal> {
    let verifier = verifier(config)?;
    let text = Some(Utf8Bytes::from(text(config).as_str()));
    let tick = config.tick_time;
    Ok(MemberConfig {
        election: ElectionConfig {
            me,
            members: config.servers.keys().copied().collect(),
            verifiers: vec![verifier.clone()],
            text: text.clone(),
        },
        zab: ZabConfig {
            me,
            votes: config.servers.get(&me).is_some_and(is_voter),
            verifiers: vec![verifier],
            members: Some(config.servers.keys().copied().collect()),
            text,
            version: Zxid::ZERO,
            tick,
            init_limit: tick * config.init_limit,
            sync_limit: tick * config.sync_limit,
            connect_retry: Duration::from_millis(5),
            counter_max: COUNTER_MAX,
        },
    })
}

fn is_voter(server: &ServerSpec) -> bool {
    server.role == PeerRole::Participant
}

/// Who is a quorum: a majority of the voters, or of their groups where there are groups or weights.
pub(crate) fn verifier(config: &Config) -> Result<QuorumVerifier, Fatal> {
    let voters = config.servers.iter().filter(|(_, spec)| is_voter(spec));
    let voters = voters.map(|(id, _)| *id);
    let verifier = match config.groups.is_empty() && config.weights.is_empty() {
        true => QuorumVerifier::majority(voters),
        false => {
            let groups = config.groups.values().cloned().collect();
            QuorumVerifier::hierarchical(voters, groups, &config.weights)
        }
    };
    verifier.map_err(|error| Fatal::new(error.to_string()))
}

/// The ensemble as a dynamic configuration file has it (`QuorumMaj.toString`, `QuorumHierarchical.toString`).
fn text(config: &Config) -> String {
    let mut text = String::new();
    for (id, spec) in &config.servers {
        let role = match spec.role {
            PeerRole::Participant => "participant",
            PeerRole::Observer => "observer",
        };
        let addresses = spec.addresses.iter().map(|address| {
            let host = match address.host.contains(':') {
                true => format!("[{}]", address.host),
                false => address.host.clone(),
            };
            let election = address.election_port.unwrap_or_default();
            format!("{host}:{}:{election}", address.quorum_port)
        });
        let addresses: Vec<_> = addresses.collect();
        let _ = write!(text, "server.{}={}:{role}", id.0, addresses.join("|"));
        if let Some(client) = &spec.client {
            let host = client.host.as_deref().unwrap_or("0.0.0.0");
            let _ = write!(text, ";{host}:{}", client.port);
        }
        text.push('\n');
    }
    for (group, servers) in &config.groups {
        let servers: Vec<_> = servers.iter().map(|server| server.0.to_string()).collect();
        let _ = writeln!(text, "group.{group}={}", servers.join(":"));
    }
    if !(config.groups.is_empty() && config.weights.is_empty()) {
        for (id, _) in config.servers.iter().filter(|(_, spec)| is_voter(spec)) {
            let weight = config.weights.get(id).copied().unwrap_or(1);
            let _ = writeln!(text, "weight.{}={weight}", id.0);
        }
    }
    text.push_str("version=0");
    text
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
}

//! From the configuration to what the cores want to know.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

use zk_proto::ServerId;

use crate::{
    auth::AuthConfig,
    config::Config,
    limits::ConnLimits,
    peer::{LocalSessions, MaxConns, PeerOptions, ReaperOptions},
    prep::PrepOptions,
    session::Passwords,
    storage::SnapshotTrigger,
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

pub(super) fn max_conns(config: &Config) -> MaxConns {
    MaxConns {
        per_address: config.max_client_cnxns.unwrap_or_default() as usize,
        total: config.max_cnxns.unwrap_or_default() as usize,
    }
}

pub(super) fn conn_limits(config: &Config) -> ConnLimits {
    ConnLimits {
        max_buffer: config.jute_max_buffer as usize,
        ..ConnLimits::default()
    }
}

pub(super) fn peer_options(config: &Config, passwords: Passwords, replayed: u64) -> PeerOptions {
    PeerOptions {
        server: ServerId(1),
        tick: config.tick_time,
        min_session_timeout_ms: millis(config.min_session_timeout()),
        max_session_timeout_ms: millis(config.max_session_timeout()),
        snapshots: SnapshotTrigger::new(config, seed(), replayed),
        prep: PrepOptions {
            auth: auth_config(config),
            enforce_quota: config.enforce_quota,
            close_session_txn: config.close_session_txn_enabled,
            ..PrepOptions::default()
        },
        passwords,
        // A standalone server has none, as with Apache.
        local_sessions: LocalSessions::Off,
        reaper: reaper_options(config),
        #[cfg(feature = "testing")]
        reply_before_write: reply_before_write(config),
    }
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

//! The lock and the configuration watcher against Apache's server: every test of theirs once more.
//!
//! Skipped, loudly, where Apache is not installed (`.ci/apache` does that). `ZK_APACHE_HOME` may name another version.
#![allow(
    missing_docs,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

#[path = "config.rs"]
mod config;
#[path = "lock.rs"]
mod lock;

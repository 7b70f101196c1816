//! The recipes against Apache's server: every test of theirs once more.
//!
//! Skipped, loudly, where Apache is not installed (`.ci/apache` does that). `ZK_APACHE_HOME` may name another version.
#![allow(
    clippy::duplicate_mod,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests; each of the files brings its support along"
)]

#[path = "barrier.rs"]
mod barrier;
#[path = "cache.rs"]
mod cache;
#[path = "config.rs"]
mod config;
#[path = "counter.rs"]
mod counter;
#[path = "group.rs"]
mod group;
#[path = "lock.rs"]
mod lock;
#[path = "lock_family.rs"]
mod lock_family;
#[path = "lock_leader.rs"]
mod lock_leader;
#[path = "queue.rs"]
mod queue;

//! Servers as real processes, on real sockets and a real disk: few tests, and slow ones.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say so when something is off"
)]

mod damaged;
mod drills;
mod dump;
mod expansion;
mod expiry;
mod history;
mod kill9;
mod load;
mod local_sessions;
mod members;
mod mixed;
mod mixed_faults;
mod mixed_reconfig;
mod mixed_roles;
mod mixed_rolling;
mod museum;
mod partitions;
mod power;
mod quorums;
mod read_only;
mod reconfig;
mod reconfig_apache;
mod slow_disk;
mod slow_links;
mod strangers;
mod words;
mod writer;

//! The recipes on the whole stack (client, recipe, server, disk) in virtual time, under faults drawn from seeds.
//!
//! One server in one half of the seeds, three members of an ensemble in the other: they die, are cut off from each other and lag
//! behind, change leaders, and clients go from one to another.
//!
//! `ZK_SIM_SEEDS=1000 cargo test -p zk-tests --test recipes` runs more seeds, `ZK_SIM_SEED=17 ...` one of them.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod barrier;
mod cache;
mod config;
mod counter;
mod directory;
mod discovery;
mod faults;
mod holds;
mod ledger;
mod lock;
mod lock_family;
mod lock_live;
mod membership;
mod name;
mod outage;
mod partitioner;
mod queue;
mod resource;
mod revocation;
mod scenario;
mod seeds;
mod servers;
mod world;

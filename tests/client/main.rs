//! The battery of the client: every operation, watch and state of a session, against our server and against Apache's.
//!
//! Every case works below a node of its own, so that all of them share one JVM. Which Apache that is says
//! `ZK_APACHE_HOME` (`.ci/apache` installs 3.9 and 3.8); where there is none, the cases say that they are skipped.
//!
//! What needs no server (events that overtake replies) is with the session core, `zk-client/src/core`.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "every function here is part of a test"
)]

#[macro_use]
mod subject;

mod chroot;
mod faults;
mod members;
mod numbers;
mod operations;
mod sessions;
mod watches;

//! The battery: what a client can observe of a ZooKeeper server, one file per family of operations.
//!
//! Every case is a plain function over a [`Subject`], run once against our embedded server and once against
//! Apache ZooKeeper 3.9.5, the oracle. A case that the two answer differently is a bug of ours, or says so
//! (`subject.is_apache()`) and has its line in `docs/COMPATIBILITY.md`.
//!
//! Without Apache (`.ci/apache` installs it) its half says on standard error that it is skipped.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "every function here is part of a test"
)]

#[macro_use]
mod subject;

mod acl;
mod acl_lists;
mod authentication;
mod children;
mod create;
mod create_kinds;
mod create_paths;
mod data;
mod delete;
mod limits;
mod limits_told;
mod multi;
mod multi_kinds;
mod multi_read;
mod persistent_watches;
mod quota;
mod session;
mod session_ends;
mod set_watches;
mod watches;
mod words;
mod words_told;

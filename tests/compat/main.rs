//! Foreign clients against our server, and our client and recipes against Apache's.
//!
//! Each foreign client also runs against Apache ZooKeeper itself: that proves the script. What is not installed
//! (`.ci/apache` installs kazoo, the JVM's jars and all) is skipped, and says so on standard error.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "every function here is part of a test"
)]

mod kazoo;
mod ours;
mod program;
mod shell;
mod subject;

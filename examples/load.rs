//! Puts load on ZooKeeper servers and measures them; compares ours with Apache's.
//!
//! ```text
//! cargo build --release -p zk-server
//! cargo run --release -p zk-examples --features load --example load -- compare
//! cargo run --release -p zk-examples --features load --example load -- run --work get --connect 127.0.0.1:2181
//! ```
//!
//! The loop is closed: every connection keeps `--depth` requests in flight and sends the next one when an
//! answer arrives. One thread, one epoll set, frames made once with zk-proto and patched from then on,
//! answers checked where they lie: what the load costs must not blur what the server costs.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "measures the outside world and prints what it found"
)]

#[path = "load/mod.rs"]
mod load;

use std::process::ExitCode;

fn main() -> ExitCode {
    load::main()
}

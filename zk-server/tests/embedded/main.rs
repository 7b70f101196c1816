//! The embedded server from outside, frame by frame.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test ends where it fails"
)]

mod client;
mod limits;
mod memory_net;
mod museum;
mod order;
mod power_cuts;
mod restart;
mod sessions;
mod slow_clients;
mod virtual_time;
mod words;

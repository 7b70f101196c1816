//! What the tests share: real server processes, and what stands between them and a test.
//!
//! Invariants: whatever is started here ends with the value that owns it, also when a test panics; nothing
//! talks to an address that is not loopback.

pub mod apache;
pub mod ensemble;
pub mod frames;
pub mod history;
pub mod links;
#[cfg(test)]
mod museum;
pub mod ours;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod requests;
pub mod shared;

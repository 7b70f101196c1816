//! A ZooKeeper server that speaks the client, quorum and disk formats of Apache ZooKeeper.
//!
//! The parts that decide are *cores*: they take inputs and a [`time::Now`], and hand out outputs, without a
//! socket, file, clock or thread of their own. The feature `driver` (on by default) adds what moves the bytes.

pub mod auth;
pub mod config;
pub mod conn;
#[cfg(feature = "driver")]
mod driver;
pub mod election;
#[cfg(feature = "driver")]
pub mod embedded;
#[cfg(feature = "driver")]
pub mod ensemble;
pub mod error;
pub mod frames;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod metrics;
pub mod peer;
pub mod prep;
pub mod quorum;
pub mod session;
pub mod storage;
pub mod time;
pub mod tree;
pub mod zab;

#[cfg(feature = "driver")]
pub use driver::net;
#[cfg(feature = "driver")]
pub use embedded::{Server, StartError};
#[cfg(feature = "driver")]
pub use ensemble::Ensemble;

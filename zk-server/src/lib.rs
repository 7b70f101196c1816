//! A ZooKeeper server that speaks the client, quorum and disk formats of Apache ZooKeeper.
//!
//! Embedded, one starts in milliseconds, on a free port of the loopback interface and in a directory that goes with it:
//!
#![cfg_attr(feature = "driver", doc = "```")]
#![cfg_attr(not(feature = "driver"), doc = "```ignore")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = zk_server::Server::builder().start().await?;
//! let hosts = server.connect_string();                            // for any ZooKeeper client
//! # assert!(hosts.starts_with("127.0.0.1:"));
//! server.shutdown().await?;
//!
//! let mut ensemble = zk_server::Ensemble::start(3).await?;
//! let leader = ensemble.leader().await;
//! ensemble.kill(leader).await?;                                   // the others go on
//! let next = ensemble.leader().await;
//! assert_ne!(next, leader);
//! ensemble.restart(leader).await?;
//!
//! ensemble.partition(next, leader);                               // nothing passes between these two, and nothing breaks
//! ensemble.heal();
//! ensemble.pause(leader);                                         // SIGSTOP
//! ensemble.resume(leader);
//! # let session = zk_proto::SessionId(1);
//! ensemble.expire_session(session).await;                         // as if its client had gone silent
//! # Ok(())
//! # }
//! ```
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
pub mod reconfig;
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

//! A ZooKeeper server that speaks the client, quorum and disk formats of Apache ZooKeeper.
//!
//! The parts that decide are *cores*: they take inputs and a [`time::Now`], and hand out outputs, without a
//! socket, file, clock or thread of their own. The feature `driver` (on by default) adds what moves the bytes.

pub mod auth;
pub mod config;
pub mod election;
pub mod error;
pub mod prep;
pub mod quorum;
pub mod storage;
pub mod time;
pub mod tree;

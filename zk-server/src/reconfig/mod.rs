//! Dynamic reconfiguration: an ensemble changes its own members while it serves.
//!
//! A configuration is a transaction like any other: its text becomes the data of `/zookeeper/config`, and its zxid
//! is its version. What is special about it is who must agree. From the moment a configuration is logged until it is
//! committed, every decision (an election, a new epoch, a commit) takes a quorum of the old configuration *and* of
//! the new one; afterwards the new one decides alone.
//!
//! ```text
//!  request --next()--> Configuration --PROPOSAL--> seen (logged) --COMMITANDACTIVATE--> committed
//!                                                  both quorums                         its quorum
//! ```
//!
//! A member finds what is in force in its files. Where these cannot be written they tell of an older configuration, and the
//! log of those since. Of these the last one may be on its way, and the one before it was in force when that was proposed:
//! these two count, and none before them.
//!
//! Invariants: versions only grow; what a member has seen and not committed counts in every quorum it takes part in.
//! Deliberately not here: files, sockets, and who connects to whom.

mod configuration;
mod handover;
mod known;
mod request;

pub use self::{
    configuration::{Configuration, ConfigurationError},
    handover::designated_leader,
    known::{Configurations, LoggedConfiguration},
    request::{Circumstances, next},
};

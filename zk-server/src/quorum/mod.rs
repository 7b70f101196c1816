//! Who is a quorum: `QuorumVerifier` in ZooKeeper's words.
//!
//! Invariant: any two quorums of one verifier share a voter. Deliberately not here: which acks were received
//! ([`QuorumTracker`] counts them for anybody), and networks.

mod tracker;
mod verifier;

pub use tracker::QuorumTracker;
pub use verifier::{QuorumVerifier, VerifierError};

//! Sessions: who is connected, since when they were last heard, and when they are over.
//!
//! The replicated part of a session (its id and timeout) is in the tree; this is the leader's part: the
//! clock. Times are those of [`crate::time::Now::mono`], so a jump of the wall clock expires nobody.

mod expiry_queue;
mod password;
mod tracker;

pub use expiry_queue::ExpiryQueue;
pub use password::Passwords;
pub use tracker::{Attached, SessionTracker};

//! Our recipes beside those of kazoo and of Curator, at the same paths: what is shared, and what is refused because it
//! cannot be.
//!
//! Both are clients of another kind, run by `kazoo_peer.py` and `CuratorPeer.java`. Skipped, loudly, where they are not installed
//! (`.ci/apache` does that).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod curator;
mod kazoo_lock;
mod kazoo_shared;
mod peer;
#[path = "../support/mod.rs"]
mod support;

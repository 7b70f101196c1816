//! The recipes as methods of a client.

use zk_client::Client;

use crate::{
    config_watcher::Config,
    lock::{Acquire, Lock},
};

/// Recipes as methods of a [`Client`]; in scope with `use zk_recipes::prelude::*`.
pub trait ClientExt: sealed::Sealed {
    /// Acquires the lock at `path`, a directory of its own: await the result for a [`LockGuard`](crate::lock::LockGuard).
    ///
    /// What a lock guarantees and what not: [`lock`](crate::lock).
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Timeout`] when a time was given and has passed, [`Error::ForeignContender`] when
    /// another lock recipe is at work in the directory, [`Error::SessionGone`] when the client has no session for good,
    /// and with what the client reports (NOAUTH, ...). A lost connection is no error, nor is an expired session that the
    /// client renews.
    ///
    /// [`Error::Timeout`]: crate::Error::Timeout
    /// [`Error::ForeignContender`]: crate::Error::ForeignContender
    /// [`Error::SessionGone`]: crate::Error::SessionGone
    fn lock(&self, path: &str) -> Acquire;

    /// The configuration in the node at `path`: choose a format, then [`watch`](crate::config_watcher::ConfigSource::watch).
    fn config(&self, path: &str) -> Config;
}

impl ClientExt for Client {
    fn lock(&self, path: &str) -> Acquire {
        Lock::with(self, path)
    }

    fn config(&self, path: &str) -> Config {
        Config::new(self.clone(), path)
    }
}

mod sealed {
    /// Only the client has recipes.
    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}

    impl Sealed for zk_client::Client {}
}

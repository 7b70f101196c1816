//! The recipes as methods of a client.

use zk_client::Client;

use crate::{
    barrier::Barrier,
    config_watcher::Config,
    counter::{AtomicLong, SharedCountBuilder},
    double_barrier::DoubleBarrier,
    ids::Ids,
    lock::{Acquire, Lock},
    name::Name,
    queue::Queue,
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

    /// The barrier that is the node at `path`; see [`barrier`](crate::barrier).
    fn barrier(&self, path: &str) -> Barrier;

    /// A place among `count` members in the double barrier at `path`, a directory of its own; see
    /// [`double_barrier`](crate::double_barrier).
    fn double_barrier(&self, path: &str, count: usize) -> DoubleBarrier;

    /// The queue at `path`, a directory of its own; see [`queue`](crate::queue).
    fn queue(&self, path: &str) -> Queue;

    /// The counter in the node at `path`; see [`counter`](crate::counter).
    fn atomic_long(&self, path: &str) -> AtomicLong;

    /// The shared number in the node at `path`, to be [started](SharedCountBuilder::start); see
    /// [`counter`](crate::counter).
    fn shared_count(&self, path: &str) -> SharedCountBuilder;

    /// Unique, growing numbers from the node at `path`; see [`ids`](crate::ids).
    fn ids(&self, path: &str) -> Ids;

    /// The name that is the node at `path`; see [`name`](crate::name).
    fn name(&self, path: &str) -> Name;
}

impl ClientExt for Client {
    fn lock(&self, path: &str) -> Acquire {
        Lock::with(self, path)
    }

    fn config(&self, path: &str) -> Config {
        Config::new(self.clone(), path)
    }

    fn barrier(&self, path: &str) -> Barrier {
        Barrier::new(self, path)
    }

    fn double_barrier(&self, path: &str, count: usize) -> DoubleBarrier {
        DoubleBarrier::new(self, path, count)
    }

    fn queue(&self, path: &str) -> Queue {
        Queue::new(self, path)
    }

    fn atomic_long(&self, path: &str) -> AtomicLong {
        AtomicLong::new(self, path)
    }

    fn shared_count(&self, path: &str) -> SharedCountBuilder {
        SharedCountBuilder::new(self, path)
    }

    fn ids(&self, path: &str) -> Ids {
        Ids::new(self, path)
    }

    fn name(&self, path: &str) -> Name {
        Name::new(self, path)
    }
}

mod sealed {
    /// Only the client has recipes.
    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}

    impl Sealed for zk_client::Client {}
}

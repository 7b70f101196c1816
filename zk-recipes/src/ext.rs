//! The recipes as methods of a client.

use zk_client::{Client, Payload};

#[cfg(feature = "json")]
use crate::discovery::Discovery;
use crate::{
    barrier::Barrier,
    cache::{CacheScope, CacheSource},
    config_watcher::Config,
    counter::{AtomicLong, SharedCountBuilder},
    double_barrier::DoubleBarrier,
    group::Group,
    ids::Ids,
    leader::{self, LatchBuilder, Leadership},
    lock::{Acquire, Lock},
    multi_lock::MultiLock,
    name::Name,
    partitioner::PartitionerBuilder,
    persistent_node::PersistentNodeSource,
    queue::Queue,
    read_write_lock::{self, Read, Write},
    semaphore::{self, Permit},
    unfair_lock::{self, Unfair},
};

/// Recipes as methods of a [`Client`]; in scope with `use zk_recipes::prelude::*`.
pub trait ClientExt: sealed::Sealed {
    /// Acquires the lock at `path`, a directory of its own: await the result for a [`LockGuard`](crate::lock::LockGuard).
    ///
    /// What a lock guarantees and what not: [`lock`](crate::lock). To ask its holder to let go: [`revocation`](crate::revocation).
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

    /// Acquires the read-write lock at `path` for reading, together with other readers; see
    /// [`read_write_lock`](crate::read_write_lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    fn read_lock(&self, path: &str) -> Acquire<Read>;

    /// Acquires the read-write lock at `path` for writing, alone; see [`read_write_lock`](crate::read_write_lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    fn write_lock(&self, path: &str) -> Acquire<Write>;

    /// Acquires one of `count` leases of the semaphore at `path`; see [`semaphore`](crate::semaphore).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock), and [`Error::CountMismatch`](crate::Error::CountMismatch) in kazoo's layout.
    fn semaphore(&self, path: &str, count: u32) -> Acquire<Permit>;

    /// Acquires the locks at all of `paths`, or none; see [`multi_lock`](crate::multi_lock).
    fn multi_lock<P: AsRef<str>>(&self, paths: impl IntoIterator<Item = P>) -> MultiLock;

    /// Acquires the lock that is the node at `path` itself, in no order; see [`unfair_lock`](crate::unfair_lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock); [`Error::Foreign`](crate::Error::Foreign) when the node is not ephemeral.
    fn unfair_lock(&self, path: &str) -> Acquire<Unfair>;

    /// Waits to be the leader of the election at `path`; see [`leader`](crate::leader).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    fn leader(&self, path: &str) -> Acquire<Leadership>;

    /// Takes part in the election at `path`, until told otherwise: [`start`](LatchBuilder::start) it, or
    /// [`listen`](LatchBuilder::listen); see [`leader`](crate::leader).
    fn latch(&self, path: &str) -> LatchBuilder;

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

    /// A cache of one node, which need not exist. See [`cache`](crate::cache).
    fn node_cache(&self, path: &str) -> CacheSource;

    /// A cache of a node's children, without the node itself. See [`cache`](crate::cache).
    fn children_cache(&self, path: &str) -> CacheSource;

    /// A cache of a node and everything below it. See [`cache`](crate::cache).
    fn tree_cache(&self, path: &str) -> CacheSource;

    /// An ephemeral node that comes back after an expiry. See [`persistent_node`](crate::persistent_node).
    fn persistent_node<'d>(&self, path: &str, data: impl Into<Payload<'d>>)
    -> PersistentNodeSource;

    /// The group of members at `path`, a directory of its own. See [`group`](crate::group).
    fn group(&self, path: &str) -> Group;

    /// The division of `items` among the members at `path`, a directory of its own: [`start`](PartitionerBuilder::start) to be one
    /// of them. See [`partitioner`](crate::partitioner).
    ///
    /// An item is named as a node may be, each counts once; a slash in one is allowed. All members have to name the same.
    fn partitioner<I: AsRef<str>>(
        &self,
        path: &str,
        items: impl IntoIterator<Item = I>,
    ) -> PartitionerBuilder;

    /// The services below `base`. See [`discovery`](crate::discovery).
    #[cfg(feature = "json")]
    fn discovery(&self, base: &str) -> Discovery;
}

impl ClientExt for Client {
    fn lock(&self, path: &str) -> Acquire {
        Lock::with(self, path)
    }

    fn read_lock(&self, path: &str) -> Acquire<Read> {
        read_write_lock::read(self, path)
    }

    fn write_lock(&self, path: &str) -> Acquire<Write> {
        read_write_lock::write(self, path)
    }

    fn semaphore(&self, path: &str, count: u32) -> Acquire<Permit> {
        semaphore::acquire(self, path, count)
    }

    fn multi_lock<P: AsRef<str>>(&self, paths: impl IntoIterator<Item = P>) -> MultiLock {
        MultiLock::new(self, paths)
    }

    fn unfair_lock(&self, path: &str) -> Acquire<Unfair> {
        unfair_lock::acquire(self, path)
    }

    fn leader(&self, path: &str) -> Acquire<Leadership> {
        leader::acquire(self, path)
    }

    fn latch(&self, path: &str) -> LatchBuilder {
        LatchBuilder::new(self, path)
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

    fn node_cache(&self, path: &str) -> CacheSource {
        CacheSource::new(self, path, CacheScope::Node)
    }

    fn children_cache(&self, path: &str) -> CacheSource {
        CacheSource::new(self, path, CacheScope::Children)
    }

    fn tree_cache(&self, path: &str) -> CacheSource {
        CacheSource::new(self, path, CacheScope::Tree)
    }

    fn persistent_node<'d>(
        &self,
        path: &str,
        data: impl Into<Payload<'d>>,
    ) -> PersistentNodeSource {
        PersistentNodeSource::new(self, path, data.into())
    }

    fn group(&self, path: &str) -> Group {
        Group::new(self, path)
    }

    fn partitioner<I: AsRef<str>>(
        &self,
        path: &str,
        items: impl IntoIterator<Item = I>,
    ) -> PartitionerBuilder {
        PartitionerBuilder::new(self, path, items)
    }

    #[cfg(feature = "json")]
    fn discovery(&self, base: &str) -> Discovery {
        Discovery::new(self, base)
    }
}

mod sealed {
    /// Only the client has recipes.
    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}

    impl Sealed for zk_client::Client {}
}

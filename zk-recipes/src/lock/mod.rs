//! The distributed lock: one holder at a time, first come, first served, and a guard that knows when it is lost.
//!
//! **What it guarantees.** At most one guard is *certain* ([`ensure`](Claim::ensure) is `Ok`) at any time, as long as clocks run
//! at the same speed within a third of the session timeout, no leader serves on after it was deposed, and nobody deletes a
//! holder's node. It does **not** guarantee that a holder has stopped acting when the next one begins: a process can be
//! paused between `ensure` and what it does next, for any time. Only the protected resource can close that gap, by refusing
//! stale tokens ([`token`](Claim::token)); ZooKeeper itself does for a transaction made with [`commit`](Claim::commit).
//!
//! **Fairness.** Strictly in the order of arrival at the leader. A contender whose session expires, or whose node is
//! deleted by somebody else, queues again at the end.
//!
//! **CONNECTIONLOSS** while queueing is survived: after the reconnect the contender looks whether its node was created
//! after all, so there is never a second one, and none is left behind. It keeps its place. **Suspension** loses nothing by
//! itself: waiters wait on, and a guard stays good until its deadline, two thirds of the session timeout after the sending
//! of the last `sync` that was answered; while a guard exists one is sent every third of the timeout. **Expiry** ends a guard at
//! its deadline, before the server can let anybody else in; a waiter queues again in the client's next session. A guard
//! that was lost deletes its node if the session turns out to live, so that no lock is held by nobody.
//!
//! **Cancellation** is safe at every await: no node stays on a session that lives on. **No herd**: everybody watches the node
//! before its own and nothing else. The directory and what is above it are created as needed, as containers, with the
//! client's default ACL, and again when the server has reaped them. (In kazoo's layout the directory itself is no container:
//! kazoo looks for it only once.)
//!
//! **A resumed session** ([`ClientBuilder::session`](zk_client::ClientBuilder::session)) still owns the nodes of the process that
//! had it before, and keeps them alive: nobody releases the lock that one held, and a contender of the new process waits behind it for as long as the
//! session lives. Delete them first ([`ephemerals`](zk_client::Client::ephemerals) lists them); so with every recipe that holds something.
//!
//! **Not offered**: a re-entrant lock (tasks have no identity: share an `Arc<LockGuard>`).
//!
//! **Where the resource cannot look at a token**, [`heartbeat(Heartbeat::Write)`](Acquire::heartbeat) rests the guard on
//! transactions besides: dearer, and proof also against a leader that was deposed and does not know it yet.
//!
//! **Short sessions.** A session timeout below four ticks of the server leaves heartbeats too little room: do not go below. A
//! client does not know the server's tick. It knows one thing: a timeout that the server *raised* is the shortest that
//! it grants, two ticks unless configured; then, when something is held for the first time, a warning is traced. A timeout
//! of two or three ticks that was asked for and granted as it was passes without one.

use zk_client::Client;

pub use crate::contender::{
    Acquire, Claim, Exclusive, Fenced, Guard, Heartbeat, Kind, LockContender, LockLayout, Lost,
    LostReason, Mutual, Queued, TryAcquire,
};

pub(crate) use crate::contender::{Ownership, deletion};

/// The guard of a lock.
pub type LockGuard = Guard<Mutual>;

/// Locks by path, with the current client.
///
/// The current client is that of the innermost [`Client::scope`], else the one that was [installed](Client::install). Library
/// code should take a `&Client` and call [`client.lock(path)`](crate::ClientExt::lock).
#[derive(Debug, Clone, Copy)]
pub enum Lock {}

impl Lock {
    /// Acquires the lock at `path` with the client that is current *now*, when this is called, not when the future is
    /// polled: so the future can be spawned.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::NoCurrentClient`](crate::Error::NoCurrentClient) when there is no current client; else as
    /// [`client.lock(path)`](crate::ClientExt::lock).
    pub fn acquire(path: &str) -> Acquire {
        Acquire::new(Client::current().ok(), path)
    }

    /// The same with a client.
    pub(crate) fn with(client: &Client, path: &str) -> Acquire {
        Acquire::new(Some(client.clone()), path)
    }
}

//! Distributed recipes on ZooKeeper: a lock that tells when it is lost, and configuration whose last good value is always at hand.
//!
//! Everything here works against any Apache ZooKeeper from 3.5 on and against `zk-server`, through
//! [`zk_client`](zk_client::Client). Bring the recipes into scope and they are methods of a client:
//!
//! ```
//! use std::time::Duration;
//! use zk_client::Client;
//! use zk_recipes::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let hosts = server.connect_string();
//! let client = Client::connect(&hosts).await?;
//!
//! let guard = client.lock("/locks/report").timeout(Duration::from_secs(5)).await?;
//! // ... one process at a time gets here ...
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Fence with the token
//!
//! No lock service can stop a process that has lost its lock and does not know yet: it was paused (a garbage collector,
//! a suspended virtual machine, a stopped container), its session expired, somebody else got the lock, and now it goes on
//! with the write that it was about to make. [`ensure`](lock::Claim::ensure) narrows the gap; only the *protected resource* can close it.
//! Every guard of one who holds alone (a lock, a writer, a leader) has a [token](lock::Claim::token), larger than that of
//! every holder before it; readers and leases have none. Send it with each write, and
//! let the resource refuse a write whose token is smaller than one it has seen:
//!
//! ```
//! use zk_client::{Client, Zxid};
//! use zk_recipes::prelude::*;
//!
//! /// The resource: a row of a database, an object in a store, a device.
//! #[derive(Default)]
//! struct Report {
//!     fence: Zxid,
//!     text: String,
//! }
//!
//! impl Report {
//!     /// In SQL: `UPDATE report SET text = $1, fence = $2 WHERE fence <= $2`.
//!     fn write(&mut self, token: Zxid, text: &str) -> Result<(), &'static str> {
//!         if token < self.fence {
//!             return Err("a newer holder has written");
//!         }
//!         self.fence = token;
//!         self.text = text.to_owned();
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! # let mut report = Report::default();
//! let guard = client.lock("/locks/report").await?;
//! guard.ensure()?;                              // cheap: refuses as soon as the lock may be lost
//! report.write(guard.token(), "all is well")?;  // safe: the resource refuses a holder of the past
//!
//! // The process is paused, the lock is lost, and somebody else takes over ...
//! # let paused = guard.token();
//! # guard.release().await?;
//! let next = client.lock("/locks/report").await?;
//! report.write(next.token(), "all is lost")?;
//! // ... and when the first one wakes up, its write is refused.
//! assert!(report.write(paused, "all is well").is_err());
//! # assert_eq!(report.text, "all is lost");
//! # Ok(())
//! # }
//! ```
//!
//! Where the protected resource is ZooKeeper itself, a transaction made with [`commit`](lock::Claim::commit) goes through only while the
//! holder's node exists, and needs no token. (All guards but an [unfair lock](unfair_lock)'s have it.)
//!
//! [`run`](lock::Claim::run) stops work whose lock is lost, and [`lost`](lock::Claim::lost) tells why:
//!
//! ```
//! # use zk_client::Client;
//! # use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! # client.create("/report", "").await?;
//! let guard = client.lock("/locks/report").await?;
//! let text = guard.run(async { "all is well" }).await?;           // dropped half way when the lock is lost
//! guard.commit(client.multi().set("/report", text)).await?;       // only while the lock node exists
//! let lost = guard.lost();                                        // a future of its own, for another task
//! guard.release().await?;
//! assert_eq!(lost.await, LostReason::Released);
//! # Ok(())
//! # }
//! ```
//!
//! # Without handing a client around
//!
//! A program that has one client can install it, once, in `main`:
//!
//! ```
//! # use zk_client::Client;
//! # use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let hosts = server.connect_string();
//! let _installed = Client::connect(&hosts).await?.install()?;     // until this is dropped
//! let guard = Lock::acquire("/locks/report").await?;
//! guard.release().await?;
//!
//! let other = Client::connect(&hosts).await?;
//! let guard = other.scope(async { Lock::acquire("/locks/report").await }).await?;   // a scope beats it
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Live configuration
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Settings {
//!     url: String,
//!     pool_size: u32,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! # client.create_all("/app/config", r#"{"url": "db", "pool_size": 8}"#).await?;
//! let mut config: ConfigWatcher<Settings> = client.config("/app/config").json().watch().await?;
//! assert_eq!(config.current().pool_size, 8);  // always the last good value, at once
//!
//! client.set("/app/config", r#"{"url": "db", "pool_size": 9}"#).await?;  // perhaps by somebody else
//! match config.changed().await? {
//!     ConfigChange::Updated(new) => assert_eq!(new.pool_size, 9),
//!     ConfigChange::Deleted => println!("the node is gone; going on with what we have"),
//!     ConfigChange::Invalid(bad) => println!("refused, going on with what we have: {bad}"),
//!     _ => {}
//! }
//!
//! config.set(&Settings { url: "db".into(), pool_size: 10 }).await?;  // unless somebody was faster
//! config.update(|old| Settings { url: old.url.clone(), pool_size: old.pool_size + 1 }).await?;  // again, where somebody was
//! # Ok(())
//! # }
//! ```
//!
//! # Together: barriers, queues, counters, names
//!
//! ```
//! # use std::time::Duration;
//! # use zk_client::Client;
//! # use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let member = || async {
//!     let barrier = client.double_barrier("/job", 5);
//!     barrier.enter().await?;         // returns when five have come
//!     barrier.leave().await           // returns when all have left
//! };
//! futures::future::try_join_all((0..5).map(|_| member())).await?;
//!
//! let queue = client.queue("/q");
//! queue.put("item").await?;
//! let delivery = queue.take().await?;
//! assert_eq!(delivery.data(), "item");
//! delivery.ack().await?;              // or nack; unacknowledged items come back
//!
//! let hits = client.atomic_long("/hits");
//! assert_eq!(hits.add(5).await?.after, 5);
//! assert_eq!(client.ids("/orders").next().await?, 0);
//!
//! let name = client.name("/names/alice").register().await?;
//! match client.name("/names/alice").register().timeout(Duration::from_secs(5)).await {
//!     Err(zk_recipes::Error::NameTaken { holder, .. }) => println!("{holder} has it"),
//!     other => drop(other?),
//! }
//! name.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Who is there
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let group = client.group("/app/workers");
//! let me = group.join("worker-1", "10.0.0.1:80").start().await?;     // comes back after an expiry, by itself
//! assert_eq!(group.members().await?[0].name, "worker-1");
//!
//! let members = group.watch().start().await?;                        // a cache: in memory, always one moment's
//! let mut changes = members.changes();                               // what is there, and then what changes
//! assert!(matches!(changes.next().await, Some(Ok(CacheChange::Added(member))) if member.name() == "worker-1"));
//! assert!(matches!(changes.next().await, Some(Ok(CacheChange::Synced))));
//! me.leave().await?;                                                 // dropping it leaves, too
//! assert!(matches!(changes.next().await, Some(Ok(CacheChange::Removed(_)))));
//! # Ok(())
//! # }
//! ```
//!
//! Shards, partitions or jobs are divided among those who are there: a lock for each, and a word when shares move ([`partitioner`]).
//!
//! Services find each other in the same way, with the paths and the JSON of curator-x-discovery:
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let services = client.discovery("/services");
//! let me: ServiceInstance = ServiceInstance::new("billing").address("10.0.0.1").port(8080);
//! let registration = services.register(me).await?;
//!
//! let billing = services.provider::<()>("billing").round_robin().start().await?;
//! let instance = billing.wait().await?;                              // or pick(): at once, or not at all
//! assert_eq!((instance.address.as_deref(), instance.port), (Some("10.0.0.1"), Some(8080)));
//! billing.note_error(&instance);                                     // twice, and it rests for a while
//! registration.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What each recipe promises
//!
//! | recipe | its page says |
//! |---|---|
//! | [`lock`] | mutual exclusion, fairness, when a lock is lost, what cancellation leaves |
//! | [`read_write_lock`] | readers together, writers alone; downgrade |
//! | [`semaphore`] | at most so many leases, a count that can change |
//! | [`multi_lock`] | several locks as one, one deadline |
//! | [`unfair_lock`] | one node, no order, a herd |
//! | [`revocation`] | who is told that another wants the lock, and what that does not do |
//! | [`leader`] | one leader, its epoch; a guard, a latch, a listener |
//! | [`config_watcher`] (and settings in a directory, there) | which changes are seen, what happens to bad content, what `set` compares |
//! | [`barrier`], [`double_barrier`] | when nobody is let through, what dead and slow members do to the others |
//! | [`queue`] | at least once, order, poison, and why to think twice |
//! | [`counter`], [`ids`] | exactly once or unknown; layouts |
//! | [`name`] | one holder at most, who it is |
//! | [`cache`] | of which moment a snapshot is, what a stream of changes may leave out |
//! | [`persistent_node`] | when a node comes back, and what happens to somebody else's in its place |
//! | [`group`] | who is listed, and for how long after a death |
//! | [`partitioner`] | one holder of an item, when all are held, when shares move |
//! | `discovery` | which instances are chosen, and which are left out (feature `json`) |
//!
//! The first paragraphs of each page say what it guarantees and what not, and how it behaves on CONNECTIONLOSS, on
//! suspension and on the expiry of the session. Common to all: futures can be dropped at any await; the ephemeral nodes that they began with are
//! withdrawn in the background by a task of the client's runtime, never by a `spawn` in a `Drop`, so dropping works outside a
//! runtime too. Directories are created as needed, as containers, with the client's default ACL, and again when the
//! server has reaped them. (Those of a queue, a double barrier's own node, and what kazoo's layouts need are plain nodes, and stay.)
//!
//! An [`Attempt`], an acquisition and what a builder starts or watches are futures of their own, to be spawned. The other methods borrow
//! what they are called on: spawn an `async` block that owns it.
//!
//! # Features
//!
//! `json` (default), `toml` and `yaml`: the formats of [`ConfigWatcher`]. With `json` there is also `discovery`.

pub mod barrier;
pub mod cache;
pub mod config_watcher;
pub mod counter;
#[cfg(feature = "json")]
pub mod discovery;
pub mod double_barrier;
pub mod group;
pub mod ids;
pub mod leader;
pub mod lock;
pub mod multi_lock;
pub mod name;
pub mod partitioner;
pub mod persistent_node;
pub mod queue;
pub mod read_write_lock;
pub mod revocation;
pub mod semaphore;
pub mod unfair_lock;

mod attempt;
mod connection;
mod contender;
mod error;
mod ext;
mod held;
mod knowledge;
mod known_nodes;
mod own_node;
mod parents;
mod path;
mod queue_order;
mod sequential;
mod young;

pub use self::{
    attempt::Attempt,
    barrier::Barrier,
    cache::{Cache, CacheChange, CacheChanges, CachedNode},
    config_watcher::{ConfigChange, ConfigWatcher},
    counter::{AtomicLong, CounterLayout, SharedCount},
    double_barrier::DoubleBarrier,
    error::{BadContent, Error, Result},
    ext::ClientExt,
    group::{Group, Member},
    ids::Ids,
    leader::{LatchState, LeaderGuard, LeaderLatch},
    lock::{Lock, LockGuard, LockLayout, LostReason},
    multi_lock::MultiLockGuard,
    name::{Name, NameGuard},
    partitioner::{Allocation, Partitioner},
    persistent_node::{PersistentNode, Presence},
    queue::{Delivery, Queue},
    read_write_lock::{ReadGuard, WriteGuard},
    revocation::Revocation,
    semaphore::Lease,
};

/// What is used with every recipe: `use zk_recipes::prelude::*`.
pub mod prelude {
    pub use crate::{
        Allocation, AtomicLong, Barrier, Cache, CacheChange, CachedNode, ClientExt, ConfigChange,
        ConfigWatcher, CounterLayout, Delivery, DoubleBarrier, Group, Ids, LatchState, LeaderGuard,
        LeaderLatch, Lease, Lock, LockGuard, LockLayout, LostReason, Member, MultiLockGuard, Name,
        NameGuard, Partitioner, PersistentNode, Presence, Queue, ReadGuard, SharedCount,
        WriteGuard,
    };
    #[cfg(feature = "json")]
    pub use crate::{
        config_watcher::ConfigDirectory,
        discovery::{Registration, ServiceInstance, ServiceProvider},
    };
}

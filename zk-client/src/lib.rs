//! An async client for ZooKeeper that tells the truth about sessions.
//!
//! It speaks to this project's own server and to every Apache ZooKeeper from 3.5 on. One connection serves any
//! number of tasks; watches are values to await; what a lost connection leaves open is said, never hidden.
//!
//! # Connect
//!
//! ```
//! use std::time::Duration;
//! use zk_client::{Acl, Client, OnExpiry, WhileDisconnected};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let hosts = server.connect_string();
//! let client = Client::connect(&hosts).await?;         // "zk1:2181,zk2:2181,zk3:2181/app": hosts, and a chroot
//! # client.close().await?;
//!
//! let client = Client::builder(&hosts)
//!     .session_timeout(Duration::from_secs(10))
//!     .request_timeout(Duration::from_secs(15))        // also counts the time without a connection
//!     .while_disconnected(WhileDisconnected::Wait)     // or FailFast
//!     .on_expiry(OnExpiry::Renew)                      // a new session is opened, and announced; or Stop
//!     .identity("billing-7")                           // for "who holds this lock?"; host:pid by default
//!     .auth("digest", "alice:secret")
//!     .default_acl(Acl::creator_all())
//!     .connect()
//!     .await?;
//! # assert_eq!(client.default_acl(), Acl::creator_all());
//! client.close().within(Duration::from_secs(2)).await?; // or drop the last clone: closes in the background
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] is a cheap clone; all clones share one session. [`connect`](Client::connect) returns once there is a
//! session. The servers are tried in random order and race; a host that is down or whose name does not resolve costs
//! nothing but itself, and names are resolved again at every attempt. [`Client::from_env`] takes everything from
//! `ZK_CONNECT`, `ZK_AUTH` and the like:
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> zk_client::Result<()> {
//! let client = zk_client::Client::from_env().await?;
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! # Read and write
//!
//! ```
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().set("extendedTypesEnabled", "true").start().await?;
//! # let client = zk_client::Client::connect(&server.connect_string()).await?;
//! let created = client.create("/app", "").await?;                    // created.path, created.stat
//! # assert_eq!(created.path, "/app");
//! client.create("/box", "").container().await?;                      // goes with its last child
//! client.create("/tmp", "").ttl(Duration::from_secs(300)).await?;     // goes when nobody changes it for so long
//! let job = client.create("/app/job-", b"data").ephemeral().sequential().await?;
//! assert_eq!(job.path, "/app/job-0000000000");
//!
//! let node = client.get("/app").await?;                              // node.data, node.stat
//! client.set("/app", "v2").version(node.stat.version).await?;        // only if nobody else did
//! client.update("/app", |old| format!("{} and more", old.stat.version)).await?;
//! assert_eq!(&client.get("/app").await?.data[..], b"1 and more");
//!
//! assert_eq!(client.children("/app").await?, ["job-0000000000"]);
//! assert!(client.get_opt("/nothing").await?.is_none());
//! assert!(client.exists("/app").await?.is_some_and(|stat| stat.version == 2));
//! client.sync("/").await?;                                           // reads after it are up to date
//! client.create_all("/x/y/z", "").await?;
//! client.delete_all("/x").await?;
//!
//! let results = client
//!     .multi()
//!     .check("/app", 2)
//!     .create("/app/log-", "entry").sequential()
//!     .delete(&job.path)
//!     .commit()                                                      // all, or nothing
//!     .await?;
//! assert_eq!(results[1].created_path(), Some("/app/log-0000000001"));
//! # Ok(())
//! # }
//! ```
//!
//! Every operation is a future that is sent when it is first polled. Tasks that share a client are pipelined by
//! themselves; to pipeline in one task, in a known order, [`submit`](Operation::submit) first and await later:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = zk_client::Client::connect(&server.connect_string()).await?;
//! let first = client.create("/a", "").submit().await?;
//! let second = client.create("/a/b", "").submit().await?;            // sent without waiting for the first
//! first.await?;
//! second.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Watch
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = zk_client::Client::connect(&server.connect_string()).await?;
//! # client.create("/config", "old").await?;
//! let (node, change) = client.get("/config").watch().await?;         // no gap between the two
//! # assert_eq!(&node.data[..], b"old");
//! # client.set("/config", "new").await?;
//! let event = change.await;                                          // the first change, exactly once
//! assert_eq!(event.path(), Some("/config"));
//! # Ok(())
//! # }
//! ```
//!
//! A change that happens while there is no connection is told after it. Where every change matters, a persistent
//! watch is a [`Stream`](futures::Stream); it cannot tell what happened without a connection, and says so in its place:
//!
//! ```
//! use zk_client::WatchEvent;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = zk_client::Client::connect(&server.connect_string()).await?;
//! let mut watch = client.watch("/").recursive().await?;              // dropping it removes it
//! # client.create("/a", "").await?;
//! while let Some(event) = watch.next().await {
//!     match event {
//!         WatchEvent::Created(node) | WatchEvent::DataChanged(node) => println!("look at {}", node.path),
//!         WatchEvent::Deleted(node) => println!("forget {}", node.path),
//!         WatchEvent::SessionReconnected | WatchEvent::Lagged => println!("read everything again"),
//!         _ => {}
//!     }
//! #   break;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Survive a failure
//!
//! **The connection breaks.** The session lives on for its timeout; the client looks for another server and resumes
//! it, with credentials and watches. Operations wait ([`WhileDisconnected::Wait`]) up to their request timeout. What was
//! on its way fails with [`ConnectionLoss`](ErrorKind::ConnectionLoss), and
//! [`outcome`](Error::outcome) says whether it may have been carried out:
//!
//! ```
//! use zk_client::{Client, ErrorKind, Outcome};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! match client.create("/order-42", "paid").await {
//!     Ok(created) => println!("created at {}", created.stat.czxid),
//!     Err(error) if error.kind() == ErrorKind::NodeExists => println!("somebody was here before"),
//!     Err(error) if error.outcome() == Outcome::Unknown => println!("look before trying again"),
//!     Err(error) if error.is_retryable() => println!("certainly not created: try again"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Reads are repeated by themselves; writes never, since only you know whether that is safe. Two that are made safe:
//! [`protected`](Operation::protected) creates find their node again, and [`update`](Client::update) compares.
//!
//! **The session expires.** A server says so; nothing else does. Its ephemeral nodes and watches are gone: watches resolve
//! to [`SessionEnded`](WatchEvent::SessionEnded), queued operations fail with
//! [`SessionExpired`](ErrorKind::SessionExpired), and by default a new session takes over, which
//! [`states`](Client::states) announce. What must not slip into it goes through [`session`](Client::session):
//!
//! ```
//! use zk_client::{Client, ErrorKind, SessionState};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let mut states = client.states();
//! let session = client.session();                                    // bound to this session
//! session.create("/me", "address").ephemeral().await?;
//! # server.expire_session(session.id());
//! while let Some(state) = states.next().await {
//!     if let SessionState::Renewed { .. } = state {
//!         break;                                                     // time to announce oneself again
//!     }
//! }
//! let error = session.create("/me", "address").ephemeral().await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::SessionChanged);
//! # Ok(())
//! # }
//! ```
//!
//! **Being connected proves nothing.** A server that is cut off from its leader answers pings for seconds after the leader
//! has expired the session. Who excludes others holds [`Evidence`]: it asks the leader, and says how long the session
//! is certainly held. The locks of `zk-recipes` do.
//!
//! # In tests
//!
//! Start a server in the test, in milliseconds: `zk_server::Server::builder().start().await?`, and
//! [`connect`](Client::connect) to its `connect_string()`. Its `expire_session` ends a session on purpose. Between the
//! two, `testing::FaultProxy` (feature `testing`) breaks connections, delays replies, goes silent, sends rubbish, and lets
//! the server carry out a request whose reply is lost:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use zk_client::{Client, Outcome, testing::FaultProxy};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = zk_server::Server::builder().start().await?;
//! let proxy = FaultProxy::start(server.local_addr()).await?;
//! let client = Client::connect(&proxy.connect_string()).await?;
//!
//! proxy.lose_replies(1);
//! let error = client.create("/order", "paid").await.unwrap_err();
//! assert_eq!(error.outcome(), Outcome::Unknown);          // what does your code do now?
//!
//! proxy.down();                                           // until up(); see also cut(), delay(), silence()
//! server.expire_session(client.session().id());           // and now a new session has to come
//! proxy.up();
//! # Ok(())
//! # }
//! ```
//!
//! `zk_server::Ensemble::start(3)` is a whole ensemble in the same process, whose members are killed and restarted while
//! the client looks on.
//!
//! For networks on a paused clock, hand your own [`net::Net`] to [`ClientBuilder::net`].
//!
//! # Features
//!
//! * `driver` (default): the client. Without it only the sans-IO core is built.
//! * `backoff`: a `backoff::ExponentialBackoff` converts into a [`RetryPolicy`].
//! * `tls`: TLS with rustls (`ClientBuilder::tls`), by ring or the provider that the application has installed;
//!   `tls-no-provider`: the same without ring.
//! * `sasl`: SASL (`ClientBuilder::sasl`), with DIGEST-MD5 built in.
//! * `metrics`: numbers through the facade of the `metrics` crate, see below.
//! * `testing`: a proxy that cuts, delays and loses on command (`testing::FaultProxy`), for your tests.
//!
//! # What operators see
//!
//! The crate logs through `tracing`: sessions and connections at `info` and `warn`, attempts at `debug`, every
//! answer with its xid, zxid and latency at `trace`. Every request is a span (target `zk_client::request`, level `debug`)
//! from its submission to its answer, with OpenTelemetry's names: `otel.name`, `otel.kind`, `otel.status_code`,
//! `db.system.name`, `db.operation.name`, `db.response.status_code`, `error.type`, and `zookeeper.path`,
//! `zookeeper.session_id`, `zookeeper.xid`, `zookeeper.zxid`, `zookeeper.latency_us`. Secrets, passwords and data are
//! never printed.
//!
//! With the feature `metrics`, for each `client` ([`ClientBuilder::identity`]):
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `zk_client_requests_total` | counter | `operation`, `outcome` (`ok`, `refused`, `failed`, `cancelled`) | answers, failures, and what nobody waited for |
//! | `zk_client_request_duration_seconds` | histogram | `operation` | from submission to answer |
//! | `zk_client_connected` | gauge | `client` | 1 while connected |
//! | `zk_client_connections_lost_total` | counter | `client` | how often the session was suspended |
//! | `zk_client_reconnects_total` | counter | `client` | how often it was resumed |
//! | `zk_client_sessions_expired_total` | counter | `client` | how often it was lost |
//! | `zk_client_leader_heard_timestamp_seconds` | gauge | `client` | when an answer last came through the leader (a write, a sync), as Unix time; `time() - this` is the time since |

#![cfg_attr(
    not(feature = "driver"),
    allow(dead_code, reason = "what the driver and its callers use of the core")
)]

#[doc(hidden)]
pub mod core;
mod error;
mod retry;
mod state;
mod watcher;

#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
mod composed;
#[cfg(feature = "driver")]
mod config;
#[cfg(feature = "driver")]
mod control;
#[cfg(feature = "driver")]
mod create;
#[cfg(feature = "driver")]
mod current;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
mod evidence;
#[cfg(feature = "driver")]
pub mod multi;
#[cfg(feature = "driver")]
mod observe;
#[cfg(feature = "driver")]
mod operation;
#[cfg(feature = "driver")]
mod options;
#[cfg(feature = "driver")]
mod payload;
#[cfg(feature = "driver")]
mod read;
#[cfg(feature = "sasl")]
pub mod sasl;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls-no-provider")]
mod tls;
#[cfg(feature = "driver")]
mod write;

pub use error::{Error, ErrorKind, Outcome, Result};
pub use retry::RetryPolicy;
pub use state::{SessionEnd, SessionState};
pub use watcher::{NodeChange, WatchEvent};
pub use zk_proto::{Acl, ErrorCode, Id, Password, Perms, SessionId, Stat, Zxid};

#[cfg(feature = "driver")]
pub use self::{
    client::{Client, Session, SessionEnded},
    config::{EnsembleConfig, EnsembleServer},
    create::Created,
    current::Installed,
    evidence::{Evidence, EvidenceLoss, EvidenceLost},
    multi::{Multi, MultiRead, MultiReadResult, MultiResult, PendingMulti, PendingMultiRead},
    operation::{Operation, Pending},
    options::{ClientBuilder, OnExpiry, WhileDisconnected},
    payload::Payload,
    read::{Children, Identity, Node, NodeAcl},
    state::States,
    watcher::{Watch, WatchChange},
};

#[cfg(feature = "tls-no-provider")]
pub use self::tls::Tls;

/// The operations behind [`Client`]'s methods, for naming their types.
#[cfg(feature = "driver")]
pub mod op {
    pub use crate::{
        composed::{Composed, CreateAll, DeleteAll, Ensure, ProtectedCreate, Steps, Update},
        config::{GetConfig, Reconfig},
        control::{AddAuth, Close, Detach, UpdateHosts},
        create::Create,
        evidence::ProveLife,
        operation::Call,
        read::{
            CountDescendants, Exists, Get, GetAcl, GetOpt, ListChildren, ListChildrenWithStat,
            ListEphemerals, SyncPath, Watchable, Watched, WhoAmI,
        },
        watcher::AddWatch,
        write::{Delete, Set, SetAcl},
    };
}

/// The network beneath a client, for tests that bring their own.
#[cfg(feature = "driver")]
pub mod net {
    pub use crate::driver::{Net, Stream, TcpNet};
}

/// What public bounds mention and nobody outside needs.
#[doc(hidden)]
pub mod private {
    #[cfg(feature = "driver")]
    pub use crate::{
        composed::Time,
        evidence::EvidenceHold,
        operation::{Attached, ClientParts, Finish, Surroundings, Wants, sealed::Sealed},
    };
    pub use crate::{
        error::{Again, Failure},
        watcher::EventQueue,
    };
}

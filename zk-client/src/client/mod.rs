//! The client: a cheap handle to one session, shared by many tasks.

mod session;

use std::{sync::Arc, time::Duration};

use zk_proto::{Acl, watch::AddWatchMode};

use crate::{
    composed::{Composed, CreateAll, DeleteAll, Ensure, Update},
    config::{GetConfig, Reconfig},
    control::{AddAuth, Close, Detach, UpdateHosts},
    core::{Command, Kind, auth::Credential},
    create::{Create, CreateSpec},
    driver::Shared,
    error::Result,
    multi::{Multi, MultiRead},
    operation::{ClientParts, Operation},
    options::{ClientBuilder, OnExpiry},
    payload::Payload,
    read::{
        CountDescendants, Exists, Get, GetAcl, GetOpt, ListChildren, ListChildrenWithStat,
        ListEphemerals, Node, SyncPath, WhoAmI,
    },
    state::{SessionState, States},
    watcher::AddWatch,
    write::{ANY_VERSION, Delete, Set, SetAcl},
};

pub use session::{Session, SessionEnded};

/// A client of a ZooKeeper ensemble, and its session.
///
/// Cheap to clone; all clones share one session and one connection. When the last one is dropped the session is
/// closed in the background; [`close`](Self::close) waits for it.
///
/// # Order
/// Operations are sent in the order in which they are submitted (at their first poll, or by
/// [`submit`](Operation::submit)), and answered in that order; a read whose connection broke is sent once more.
///
/// # Errors
/// Every operation can fail with the server's answers and with
/// [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss), [`OperationTimeout`](crate::ErrorKind::OperationTimeout),
/// [`SessionExpired`](crate::ErrorKind::SessionExpired) and [`Closed`](crate::ErrorKind::Closed);
/// [`Error::outcome`](crate::Error::outcome) tells whether it may have been carried out.
///
/// # Cancel safety
/// Dropping any future never harms the session; what was submitted may still be carried out.
#[derive(Debug, Clone)]
pub struct Client {
    parts: ClientParts,
    /// Closes the session when the last handle is gone; `None` where that is not to be waited for.
    _handle: Option<Arc<Handle>>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    /// Only leaves a word for the driver, so it works everywhere, also outside a runtime.
    fn drop(&mut self) {
        // Closed already is as good.
        let _ = self.shared.inbox.push(Command::new(Kind::Close));
    }
}

impl Client {
    /// Connects to an ensemble, `host[:port],...[/chroot]`, and returns once there is a session.
    ///
    /// # Errors
    /// [`BadArguments`](crate::ErrorKind::BadArguments) for a connect string that is none, and
    /// [`ConnectFailed`](crate::ErrorKind::ConnectFailed) when no server grants a session in time.
    ///
    /// # Cancel safety
    /// Dropping the future closes what there is, in the background; a session that a server is granting at that moment,
    /// too. Only one whose grant is lost with its connection is left to expire.
    pub async fn connect(hosts: impl Into<String>) -> Result<Self> {
        Self::builder(hosts).connect().await
    }

    /// A client with options, for the ensemble `host[:port],...[/chroot]`.
    pub fn builder(hosts: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(hosts.into())
    }

    /// Connects as the environment says: `ZK_CONNECT` (a connect string, required), `ZK_AUTH`
    /// (`scheme:secret`, so `digest:user:password`) and `ZK_SESSION_TIMEOUT_MS`; with the feature `tls` also `ZK_TLS_CA`,
    /// `ZK_TLS_CERT` and `ZK_TLS_KEY` (PEM files; without a key it is in the certificate's file).
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`BadArguments`](crate::ErrorKind::BadArguments) for a variable that
    /// is missing or malformed.
    ///
    /// # Cancel safety
    /// Dropping the future closes what there is.
    pub async fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.connect().await
    }

    /// Creates a node, persistent unless told.
    ///
    /// After [`ConnectionLoss`](crate::ErrorKind::ConnectionLoss) it may be there: look, or make the create
    /// [`protected`](Operation::protected).
    ///
    /// # Errors
    /// [`NodeExists`](crate::ErrorKind::NodeExists), [`NoNode`](crate::ErrorKind::NoNode) without the parent,
    /// [`NoChildrenForEphemerals`](crate::ErrorKind::NoChildrenForEphemerals),
    /// [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Once the future was polled, dropping it leaves open whether this is carried out.
    pub fn create<'p>(
        &self,
        path: &'p str,
        data: impl Into<Payload<'p>>,
    ) -> Operation<'_, Create<'p>> {
        let (data, spec) = (data.into(), CreateSpec::default());
        Operation::new(self, Create { path, data, spec })
    }

    /// Reads a node's data and metadata.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn get<'p>(&self, path: &'p str) -> Operation<'_, Get<'p>> {
        Operation::new(self, Get { path })
    }

    /// Reads a node's data and metadata; `None` where there is no node.
    ///
    /// # Errors
    /// [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn get_opt<'p>(&self, path: &'p str) -> Operation<'_, GetOpt<'p>> {
        Operation::new(self, GetOpt { path })
    }

    /// Sets a node's data; results in its new metadata.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`BadVersion`](crate::ErrorKind::BadVersion),
    /// [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Once the future was polled, dropping it leaves open whether this is carried out.
    pub fn set<'p>(&self, path: &'p str, data: impl Into<Payload<'p>>) -> Operation<'_, Set<'p>> {
        let (data, version) = (data.into(), ANY_VERSION);
        Operation::new(
            self,
            Set {
                path,
                data,
                version,
            },
        )
    }

    /// Deletes a node that has no children.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NotEmpty`](crate::ErrorKind::NotEmpty),
    /// [`BadVersion`](crate::ErrorKind::BadVersion), [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Once the future was polled, dropping it leaves open whether this is carried out.
    pub fn delete<'p>(&self, path: &'p str) -> Operation<'_, Delete<'p>> {
        Operation::new(
            self,
            Delete {
                path,
                version: ANY_VERSION,
            },
        )
    }

    /// Asks for a node's metadata; `None` where there is no node. A watch here also sees a creation.
    ///
    /// # Errors
    /// Only those of every operation: no permission is needed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn exists<'p>(&self, path: &'p str) -> Operation<'_, Exists<'p>> {
        Operation::new(self, Exists { path })
    }

    /// Lists the names of a node's children, in no order.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn children<'p>(&self, path: &'p str) -> Operation<'_, ListChildren<'p>> {
        Operation::new(self, ListChildren { path })
    }

    /// Lists the names of a node's children, with the node's metadata of the same moment.
    ///
    /// # Errors
    /// As [`children`](Self::children).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn children_with_stat<'p>(&self, path: &'p str) -> Operation<'_, ListChildrenWithStat<'p>> {
        Operation::new(self, ListChildrenWithStat { path })
    }

    /// Counts all nodes below one, at any depth. Servers from 3.6 on.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn count_descendants<'p>(&self, path: &'p str) -> Operation<'_, CountDescendants<'p>> {
        Operation::new(self, CountDescendants { path })
    }

    /// Lists the session's own ephemeral nodes whose path starts with `prefix` (`"/"`: all). Servers from 3.6 on.
    ///
    /// # Errors
    /// Only those of every operation.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn ephemerals<'p>(&self, prefix: &'p str) -> Operation<'_, ListEphemerals<'p>> {
        Operation::new(self, ListEphemerals { path: prefix })
    }

    /// Catches up with the leader: a read after it sees everything that was done before it was called.
    ///
    /// # Order
    /// Reads that are submitted behind it need not wait for it: the server answers them after it.
    ///
    /// # Errors
    /// Only those of every operation. The node need not exist.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn sync<'p>(&self, path: &'p str) -> Operation<'_, SyncPath<'p>> {
        Operation::new(self, SyncPath { path })
    }

    /// Reads a node's ACL.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NoAuth`](crate::ErrorKind::NoAuth) without READ and ADMIN.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn get_acl<'p>(&self, path: &'p str) -> Operation<'_, GetAcl<'p>> {
        Operation::new(self, GetAcl { path })
    }

    /// Sets a node's ACL; results in its new metadata.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`BadVersion`](crate::ErrorKind::BadVersion),
    /// [`InvalidAcl`](crate::ErrorKind::InvalidAcl), [`NoAuth`](crate::ErrorKind::NoAuth).
    ///
    /// # Cancel safety
    /// Once the future was polled, dropping it leaves open whether this is carried out.
    pub fn set_acl<'p>(
        &self,
        path: &'p str,
        acl: impl Into<Vec<Acl>>,
    ) -> Operation<'_, SetAcl<'p>> {
        let (acl, version) = (acl.into(), ANY_VERSION);
        Operation::new(self, SetAcl { path, acl, version })
    }

    /// Watches a node until the result is dropped; [`recursive`](Operation::recursive), everything below it, too.
    ///
    /// The node need not exist. What it results in is a stream of events; what can be missed is told in its place
    /// ([`Watch`](crate::Watch)). Servers from 3.6 on.
    ///
    /// Apache ZooKeeper before 3.9 keeps one watch for each path and connection (ZOOKEEPER-4466): there, a one-shot watch
    /// of this client on the same path takes the place of this one, and ends it when it fires. Use a client of its own
    /// for one of the two.
    ///
    /// # Order
    /// What happens after its answer is told; no event is told before the answers of earlier requests.
    ///
    /// # Errors
    /// Only those of every operation.
    ///
    /// # Cancel safety
    /// Dropping the future removes what the server may have made.
    pub fn watch<'p>(&self, path: &'p str) -> Operation<'_, AddWatch<'p>> {
        let mode = AddWatchMode::Persistent;
        Operation::new(self, AddWatch { path, mode })
    }

    /// Asks whom the server takes the client for. Servers from 3.7 on.
    ///
    /// # Errors
    /// Only those of every operation.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn who_am_i(&self) -> Operation<'_, WhoAmI> {
        Operation::new(self, WhoAmI)
    }

    /// Reads the ensemble's configuration: its servers, and where their clients connect. Servers from 3.5 on.
    ///
    /// With [`watch`](Operation::watch) and [`update_hosts`](Self::update_hosts) a client follows its ensemble.
    ///
    /// # Errors
    /// [`NoAuth`](crate::ErrorKind::NoAuth) where the configuration's ACL was changed.
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub const fn ensemble_config(&self) -> Operation<'_, GetConfig> {
        Operation::new(self, GetConfig)
    }

    /// Changes the ensemble's servers; results in the new configuration. Servers from 3.5 on.
    ///
    /// # Errors
    /// [`NoAuth`](crate::ErrorKind::NoAuth) for who may not write the configuration (nobody but a super user, unless its
    /// ACL was changed), [`BadVersion`](crate::ErrorKind::BadVersion), and as
    /// [`Server`](crate::ErrorKind::Server): `ReconfigDisabled`, `ReconfigInProgress`, `NewConfigNoQuorum`.
    ///
    /// # Cancel safety
    /// Once the future was polled, dropping it leaves open whether this is carried out.
    pub fn reconfig(&self) -> Operation<'_, Reconfig> {
        Operation::new(self, Reconfig::default())
    }

    /// From now on the ensemble has these servers, `host[:port],...`; a chroot behind them must be the client's.
    ///
    /// If the client's server is not among them, the session moves to one that is. If it is and there are more servers
    /// than before, the session moves to a new one with just the probability that leaves every server with its share of
    /// the clients. Moving loses nothing: requests that were sent are waited for first.
    ///
    /// A client that follows its ensemble:
    ///
    /// ```no_run
    /// # async fn follow(client: zk_client::Client) -> zk_client::Result<()> {
    /// loop {
    ///     let (config, change) = client.ensemble_config().watch().await?;
    ///     client.update_hosts(&config.connect_string()).await?;
    ///     change.await;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BadArguments`](crate::ErrorKind::BadArguments) for a connect string that is none or has another chroot.
    ///
    /// # Cancel safety
    /// Once the future was polled the list is taken over.
    pub fn update_hosts(&self, hosts: &str) -> UpdateHosts {
        UpdateHosts::new(&self.parts, hosts)
    }

    /// Several writes, all or nothing ([`Multi::commit`]).
    ///
    /// # Errors
    /// Those of its operations, with the number of the one that failed ([`Error::multi_index`](crate::Error::multi_index)).
    ///
    /// # Cancel safety
    /// Once the commit was polled, dropping it leaves open whether all of it is carried out; never a part.
    pub fn multi(&self) -> Multi {
        Multi::new(self.clone())
    }

    /// Several reads of one moment ([`MultiRead::run`]). Servers from 3.6 on.
    ///
    /// # Errors
    /// Each read has a result of its own; the whole fails only as every operation can.
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub fn multi_read(&self) -> MultiRead {
        MultiRead::new(self.clone())
    }

    /// Creates a node, and before it the parents that are missing.
    ///
    /// # Errors
    /// As [`create`](Self::create): that the node itself is there already is an error,
    /// [`NodeExists`](crate::ErrorKind::NodeExists).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the parents that were made so far, and perhaps the node.
    pub fn create_all<'c>(
        &'c self,
        path: &'c str,
        data: impl Into<Payload<'c>>,
    ) -> Composed<'c, CreateAll<'c>> {
        let (spec, parents) = (CreateSpec::default(), CreateSpec::default());
        Composed::new(
            self,
            CreateAll {
                path,
                data: data.into(),
                spec,
                parents,
            },
        )
    }

    /// Makes sure that a node is there, and its parents: creates what is missing, with empty data.
    ///
    /// `ensure("/")` creates the client's chroot. Repeated by itself after a lost connection.
    ///
    /// # Errors
    /// [`NoAuth`](crate::ErrorKind::NoAuth),
    /// [`NoChildrenForEphemerals`](crate::ErrorKind::NoChildrenForEphemerals).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the parents that were made so far.
    pub fn ensure<'c>(&'c self, path: &'c str) -> Composed<'c, Ensure<'c>> {
        Composed::new(
            self,
            Ensure {
                path,
                spec: CreateSpec::default(),
            },
        )
    }

    /// Deletes a node and everything below it, children before parents.
    ///
    /// Not atomic: others see it half done, and children that are created meanwhile are deleted, too. What others
    /// delete meanwhile is no error.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode) where there is nothing to begin with,
    /// [`NotEmpty`](crate::ErrorKind::NotEmpty) when others create faster than this deletes. A subtree may have any size,
    /// so the request timeout counts anew for every 256 nodes; [`Composed::within`] limits the whole.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was not deleted so far; up to 256 deletes may still be carried out.
    pub fn delete_all<'c>(&'c self, path: &'c str) -> Composed<'c, DeleteAll<'c>> {
        Composed::new(self, DeleteAll { path })
    }

    /// Changes a node's data to a function of the old: reads, and sets on condition that nobody else did
    /// meanwhile, until that holds. The function may be called several times.
    ///
    /// # Errors
    /// [`NoNode`](crate::ErrorKind::NoNode), [`NoAuth`](crate::ErrorKind::NoAuth). After CONNECTIONLOSS with an
    /// unknown outcome nobody can tell whether the change was made; it is not repeated.
    /// [`OperationTimeout`](crate::ErrorKind::OperationTimeout) where others were faster for the whole request timeout.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the change made, or not made.
    pub fn update<'c, F, P>(&'c self, path: &'c str, change: F) -> Composed<'c, Update<'c, F>>
    where
        F: FnMut(&Node) -> P + Send + Unpin + 'c,
        P: Into<Payload<'static>>,
    {
        Composed::new(self, Update { path, change })
    }

    /// Presents credentials, now and on every later connection of the client.
    ///
    /// What a server refuses is forgotten; the server then closes the connection, and the session is resumed
    /// without.
    ///
    /// # Order
    /// Operations that are submitted after the first poll are carried out with them.
    ///
    /// # Errors
    /// [`AuthFailed`](crate::ErrorKind::AuthFailed) when the server refuses them.
    ///
    /// # Cancel safety
    /// Once polled, the credentials are presented whether the future is awaited to its end or not.
    pub fn add_auth(&self, scheme: &str, secret: impl Into<bytes::Bytes>) -> AddAuth {
        AddAuth::new(&self.parts, Credential::new(scheme, secret))
    }

    /// Carries out what was submitted before and closes the session.
    ///
    /// The session's ephemeral nodes are gone when it returns. All clones of the client are closed by it.
    ///
    /// # Errors
    /// [`OperationTimeout`](crate::ErrorKind::OperationTimeout) when no server confirmed it in time
    /// ([`within`](Close::within), else the request timeout). The client is closed all the same.
    ///
    /// # Cancel safety
    /// Once polled, closing goes on in the background.
    pub fn close(&self) -> Close {
        Close::new(&self.parts)
    }

    /// Carries out what was submitted before and closes the client, but not its session: who resumes it in time
    /// ([`ClientBuilder::session`](crate::ClientBuilder::session)) with what this results in, owns its ephemeral nodes.
    ///
    /// For a process that is replaced by another one. All clones of the client are closed by it.
    ///
    /// # Errors
    /// [`OperationTimeout`](crate::ErrorKind::OperationTimeout) when what was submitted before was not carried out in time,
    /// and [`SessionExpired`](crate::ErrorKind::SessionExpired) where there is no session.
    ///
    /// # Cancel safety
    /// Once polled, it goes on in the background; what it results in is lost.
    pub fn detach(&self) -> Detach {
        Detach::new(&self.parts)
    }

    /// Where the client stands with its session now.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.parts.shared.states.current()
    }

    /// Every state from now on, beginning with the present one.
    #[must_use]
    pub fn states(&self) -> States {
        self.parts.shared.states.subscribe()
    }

    /// A handle that is bound to the present session: once that has ended, every call through it fails with
    /// [`SessionChanged`](crate::ErrorKind::SessionChanged).
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(self)
    }

    /// Who this client says it is, for "who holds this lock?"; `host:pid` unless the builder was told.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.parts.shared.settings.identity
    }

    /// What happens when the session expires, as the builder was told.
    #[must_use]
    pub fn on_expiry(&self) -> OnExpiry {
        self.parts.shared.settings.on_expiry
    }

    /// The ACL of nodes that are created without one of their own.
    #[must_use]
    pub fn default_acl(&self) -> &[Acl] {
        &self.parts.shared.settings.default_acl
    }

    /// A new version 4 UUID, for names that must be told from everybody else's.
    #[must_use]
    pub fn guid(&self) -> String {
        self.parts.shared.guid()
    }

    /// The runtime that the client's task runs on, for the tasks of recipes.
    #[doc(hidden)]
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.parts.shared.runtime
    }

    /// What a recipe keeps for all handles of this client together: one value of each type, made at the first call.
    #[doc(hidden)]
    #[must_use]
    pub fn shared_state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.parts.shared.state()
    }

    /// The client's clock, which keeps counting while the machine sleeps: the time since some fixed moment.
    #[doc(hidden)]
    #[must_use]
    pub fn clock(&self) -> Duration {
        self.parts.shared.clock.now().0
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let handle = Arc::new(Handle {
            shared: Arc::clone(&shared),
        });
        let parts = ClientParts {
            shared,
            generation: None,
        };
        Self {
            parts,
            _handle: Some(handle),
        }
    }

    /// The same client, but not kept open by this one.
    fn unheld(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            _handle: None,
        }
    }

    /// The same client, its calls bound to the session with this generation unless they are bound already.
    fn bound_to(&self, generation: u64) -> Self {
        let mut client = self.clone();
        client.parts.generation.get_or_insert(generation);
        client
    }

    pub(crate) const fn parts(&self) -> &ClientParts {
        &self.parts
    }
}

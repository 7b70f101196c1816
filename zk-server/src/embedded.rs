//! A server inside a program: in a test, or in an application that brings its own coordination.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use zk_proto::SessionId;

use crate::{
    config::{Config, ConfigError},
    driver::{
        Hub,
        disk::Place,
        net::Net,
        start::{Running, Setup, start},
        wires::Wiring,
    },
    error::Fatal,
    reconfig::Configuration,
    storage::Disk,
};

/// A running server.
///
/// Dropping it stops it without waiting; [`shutdown`](Self::shutdown) waits until everything that was handed to
/// the log is on the disk and the data directory is free again.
pub struct Server {
    hub: Arc<Hub>,
    running: Option<Running>,
}

/// Sets up a [`Server`].
///
/// Unless told otherwise: a free port of the loopback address, a temporary directory that is removed with the
/// server, and Apache's defaults.
#[must_use]
pub struct Builder {
    config: Config,
    bind: Option<SocketAddr>,
    disk: Option<Arc<dyn Disk>>,
    data_dir: Option<PathBuf>,
    net: Option<Arc<dyn Net>>,
    io_threads: usize,
    wiring: Wiring,
    errors: Vec<ConfigError>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is not one.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// What is on the disk cannot be served, or the disk cannot be used.
    #[error(transparent)]
    Storage(#[from] Fatal),
    /// A thread or a directory could not be made.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Server {
    /// A server with the defaults of [`Builder`].
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            bind: None,
            disk: None,
            data_dir: None,
            net: None,
            io_threads: 1,
            wiring: Wiring::default(),
            errors: Vec::new(),
        }
    }

    /// What a client is to be given: `host:port`.
    #[must_use]
    pub fn connect_string(&self) -> String {
        let mut address = self.local_addr();
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        address.to_string()
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        *self.hub.local_addr.read()
    }

    /// What it is: `standalone`, `leader`, `follower`, `observer` or `read-only`; `None` while it serves nobody.
    #[must_use]
    pub fn mode(&self) -> Option<&'static str> {
        *self.hub.shared.mode.read()
    }

    /// Whether it leads an ensemble, with a quorum in sync behind it; also where it serves no client then
    /// (`leaderServes=no`).
    #[must_use]
    pub fn leads(&self) -> bool {
        self.hub.shared.leads()
    }

    /// The configuration of the ensemble that is in force as far as this member knows; `None` for a server alone.
    #[must_use]
    pub fn configuration(&self) -> Option<Arc<Configuration>> {
        self.hub.shared.configuration()
    }

    /// Ends a session as if its client had gone silent for longer than its timeout.
    ///
    /// Returns at once; the session's nodes go, and its connection is closed, with the next transactions.
    pub fn expire_session(&self, session: SessionId) {
        self.hub.expire(session);
    }

    /// Waits until the server has ended by itself, and tells why; for ever while it is well.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Always: [`Fatal`] is the only way in which a server ends by itself.
    pub async fn failed(&self) -> Fatal {
        self.hub.stopped().await;
        let unknown = || Fatal::new("the server was stopped");
        self.hub.failure().cloned().unwrap_or_else(unknown)
    }

    /// Stops: connections are closed, what was handed to the log is made durable, the directory is set free.
    ///
    /// Sessions stay; their clients can resume them when the server starts again.
    ///
    /// # Errors
    /// Why the server had ended by itself before.
    pub async fn shutdown(mut self) -> Result<(), Fatal> {
        self.hub.stop();
        if let Some(running) = self.running.take() {
            running.ended().await;
        }
        match self.hub.failure() {
            Some(fatal) => Err(fatal.clone()),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

impl Builder {
    /// Listens there; port 0 stands for any free one.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// Keeps its data there, beyond its own life.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Keeps its data on this disk; it must not block, since no thread is made for it.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Runs on this network and its clock instead of the machine's; nothing runs outside the caller's runtime then.
    ///
    /// Needs a [`disk`](Self::disk) too, for the same reason.
    pub fn net(mut self, net: Arc<dyn Net>) -> Self {
        self.net = Some(net);
        self
    }

    /// Sets an option of `zoo.cfg`; an unknown one is logged, a wrong value fails the start.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        match self.config.set(key, value) {
            Ok(None) => {}
            Ok(Some(warning)) => tracing::warn!("{warning}"),
            Err(error) => self.errors.push(error),
        }
        self
    }

    /// Replaces all options at once; [`bind`](Self::bind) and [`data_dir`](Self::data_dir) still win.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Serves connections on this many threads, of which the caller's is one; 1 unless told otherwise.
    pub const fn io_threads(mut self, threads: usize) -> Self {
        self.io_threads = threads;
        self
    }

    /// Reaches the other members of an ensemble in this process over wires that can be cut.
    pub(crate) fn wiring(mut self, wiring: Wiring) -> Self {
        self.wiring = wiring;
        self
    }

    /// Starts the server on the caller's tokio runtime; returns once clients can connect.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut self) -> Result<Server, StartError> {
        if let Some(error) = self.errors.pop() {
            return Err(error.into());
        }
        self.config.check_timeouts()?;
        let setup = Setup {
            place: self.place()?,
            bind: self.bind.unwrap_or_else(loopback),
            net: self.net,
            io_threads: self.io_threads,
            wiring: self.wiring,
            config: self.config,
        };
        let (hub, running) = start(setup).await?;
        Ok(Server {
            hub,
            running: Some(running),
        })
    }

    fn place(&mut self) -> io::Result<Place> {
        if let Some(disk) = self.disk.take() {
            return Ok(Place::Disk(disk));
        }
        if let Some(path) = self.data_dir.take() {
            self.config.data_dir = path;
            return Ok(Place::Directory);
        }
        let temporary = tempfile::Builder::new().prefix("zk-server-").tempdir()?;
        self.config.data_dir = temporary.path().to_owned();
        self.config.data_log_dir = None;
        Ok(Place::Temporary(temporary))
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0))
}

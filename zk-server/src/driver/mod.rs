//! What moves the bytes: sockets, clocks, threads and tasks around the cores.
//!
//! `ioThreads` current-thread runtimes, each connection pinned to one of them, the peer on the first; one log
//! thread; one snapshot thread when a snapshot is due. Embedded, everything but the log runs as tasks on the
//! caller's runtime; with a [`Net`](net::Net), everything without exception does.
//!
//! Deliberately not here: any decision. The loop of the peer is in `member`, that of a connection in
//! `connection`; they wait, hand inputs in and carry outputs out.

mod alarm;
pub(crate) mod clock;
mod connection;
pub(crate) mod disk;
mod four_letter;
mod intake;
mod log;
mod log_reads;
mod mailbox;
mod member;
pub mod net;
mod ports;
mod quorum;
pub(crate) mod settings;
mod snapshot;
mod space;
pub(crate) mod start;
pub(crate) mod wires;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{clock::Clock, mailbox::Mailbox, wires::Wiring};
use crate::{
    config::{Config, HostPort},
    error::Fatal,
    limits::ConnLimits,
    peer::{Input, Shared},
    storage::{Directories, Disk},
    time::Now,
};

/// What every task of one server holds.
pub(crate) struct Hub {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mailbox: Arc<Mailbox<Input>>,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) conn_limits: ConnLimits,
    /// Where clients connect.
    pub(crate) local_addr: RwLock<SocketAddr>,
    /// Where clients are to connect from now on, when the configuration has moved this member.
    pub(crate) client_port: watch::Sender<Option<HostPort>>,
    pub(crate) started: Now,
    pub(crate) sizes: Sizes,
    /// What of the other members can be reached, in an ensemble of one process.
    pub(crate) wiring: Wiring,
    trace_mask: four_letter::TraceMask,
    stop: CancellationToken,
    stopping: AtomicBool,
    failure: OnceLock<Fatal>,
    #[cfg(feature = "testing")]
    reply_before_write: bool,
}

/// Where snapshots and log are, for the words that tell their sizes; not the right to use them.
pub(crate) struct Sizes {
    snapshots: Arc<dyn Disk>,
    logs: Arc<dyn Disk>,
}

impl Sizes {
    fn of(directories: &Directories) -> Self {
        Self {
            snapshots: directories.snapshots.clone(),
            logs: directories.logs.clone(),
        }
    }

    fn snapshots(&self) -> u64 {
        size(&*self.snapshots, "snapshot.")
    }

    fn logs(&self) -> u64 {
        size(&*self.logs, "log.")
    }
}

fn size(disk: &dyn Disk, prefix: &str) -> u64 {
    let files = disk.list().unwrap_or_default();
    let counted = files.iter().filter(|file| file.name.starts_with(prefix));
    counted.map(|file| file.len).sum()
}

impl Hub {
    /// Ends the server: every task sees it, and nothing new is accepted.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.stop.cancel();
    }

    /// Ends this member for good.
    fn fail(&self, fatal: Fatal) {
        tracing::error!(%fatal, "this server stops");
        let _ = self.failure.set(fatal);
        self.stop();
    }

    /// Why the server ended by itself, if it did.
    pub(crate) fn failure(&self) -> Option<&Fatal> {
        self.failure.get()
    }

    /// Resolves when the server stops, for whatever reason.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Ends a session as if its client had gone silent for too long.
    pub(crate) fn expire(&self, session: zk_proto::SessionId) {
        self.mailbox.push(Input::Expire(session));
    }
}

//! From a configuration to a running server.

#![allow(clippy::disallowed_methods, reason = "the driver owns the threads")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use parking_lot::RwLock;
use rustix::{io::Errno, net::sockopt::set_ipv6_v6only};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Hub, Sizes,
    clock::Clock,
    disk::{Opened, Place, open},
    four_letter::TraceMask,
    log::{Log, LogQueue},
    member::Member,
    net::{Net, Transport},
    ports::{Handover, Places, Port, accept, serve},
    quorum::{self, QuorumPorts},
    settings::{auth_config, conn_limits, max_conns, peer_options, seed, zab_config},
    snapshot::Snapshots,
    space::Space,
    wires::Wiring,
};
use crate::{
    config::{Config, HostPort, dynamic::Files},
    embedded::StartError,
    error::Fatal,
    peer::{Peer, Shared},
    storage::RecoveryOptions,
    tree::DataTree,
    zab::Epochs,
};

/// What a server is started with.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) bind: SocketAddr,
    pub(crate) place: Place,
    pub(crate) net: Option<Arc<dyn Net>>,
    pub(crate) io_threads: usize,
    pub(crate) wiring: Wiring,
}

/// What has to end before a server has.
pub(crate) struct Running {
    member: JoinHandle<()>,
    acceptor: Option<JoinHandle<()>>,
    log: oneshot::Receiver<()>,
    threads: Vec<oneshot::Receiver<()>>,
    temporary: Option<TempDir>,
}

impl Running {
    /// Waits until every thread is done with the disk; the server must have been stopped before.
    pub(crate) async fn ended(self) {
        // A task or thread that is gone without a word has ended too.
        let _ = self.member.await;
        let _ = self.log.await;
        if let Some(acceptor) = self.acceptor {
            // It has the port.
            let _ = acceptor.await;
        }
        for thread in self.threads {
            let _ = thread.await;
        }
        drop(self.temporary);
    }
}

/// Recovers what is on the disk, listens, and sets everything going.
pub(crate) async fn start(setup: Setup) -> Result<(Arc<Hub>, Running), StartError> {
    let Setup {
        config,
        bind,
        place,
        net,
        io_threads,
        wiring,
    } = setup;
    let wiring = match &net {
        Some(net) => Wiring::Net(net.clone()),
        None => wiring,
    };
    let mut config = config;
    let mut bind = bind;
    if matches!(place, Place::Directory) {
        let before = config.client_address.clone();
        config.read_written()?;
        if let Some(moved) = config
            .client_address
            .as_ref()
            .filter(|now| Some(*now) != before.as_ref())
        {
            bind = resolve(moved).await?;
        }
    }
    let ports = match config.my_id {
        Some(me) if config.is_ensemble() => Some(quorum::bind(&config, &wiring, me).await?),
        None if config.is_ensemble() => {
            return Err(Fatal::new("which of the servers is this? there is no myid").into());
        }
        _ => None,
    };
    // A disk that is the caller's, or a simulated network, means that nothing may block or leave this runtime.
    let may_block = net.is_none() && !matches!(place, Place::Disk(_));
    let (temporary, opened) = open(place, &config, may_block).await?;
    let port = listen(bind, net.as_deref(), &config).await?;
    let clock = net.map_or(Clock::Machine, Clock::Net);
    let address = port.local_addr()?;
    let (member, log, hub) = assemble(config, clock, address, opened, may_block, ports, wiring)?;
    let mut running = Running {
        log: run_log(log, may_block)?,
        member: tokio::spawn(member.run()),
        acceptor: None,
        threads: Vec::new(),
        temporary,
    };
    match io_threads_beside(&hub, if may_block { io_threads } else { 1 }) {
        Ok((threads, others)) => {
            running.threads = threads;
            let accept = accept(hub.clone(), port, Places::new(others));
            running.acceptor = Some(tokio::spawn(accept));
            Ok((hub, running))
        }
        Err(error) => {
            hub.stop();
            running.ended().await;
            Err(error.into())
        }
    }
}

/// Puts the cores and what they share together.
fn assemble(
    config: Config,
    clock: Clock,
    local_addr: SocketAddr,
    opened: Opened,
    may_block: bool,
    ports: Option<quorum::Bound>,
    wiring: Wiring,
) -> Result<(Member, Log, Arc<Hub>), Fatal> {
    let files = (may_block && ports.is_some())
        .then(|| Files::of(&config))
        .flatten();
    let Opened {
        directories,
        recovered,
        passwords,
    } = opened;
    let options = peer_options(&config, passwords, recovered.txns_since_snapshot);
    let recovery = RecoveryOptions::of(&config, seed());
    let replayed = recovered.txns_since_snapshot;
    let logged = recovered.configurations;
    let last = recovered.tree.last_zxid().epoch();
    let current = recovered.current_epoch.unwrap_or(last);
    // An epoch that was followed was promised, whatever became of the file.
    let epochs = Epochs {
        accepted: recovered.accepted_epoch.unwrap_or(last).max(current),
        current,
        awaits_sync: recovered.awaits_sync,
    };
    let hub = hub(
        config,
        clock,
        local_addr,
        recovered.tree,
        Sizes::of(&directories),
        may_block,
        wiring,
    );
    hub.shared.metrics.startup_txns_loaded.add(replayed);
    let queue = Arc::new(LogQueue::default());
    let log = Log {
        executor: recovered.log,
        queue: queue.clone(),
        mailbox: hub.mailbox.clone(),
        shared: hub.shared.clone(),
        space: Space::new(directories.logs.clone(), hub.config.min_free_space_bytes),
        slow_fsync: hub.config.fsync_warning_threshold,
        recovery,
        files,
        directories: directories.clone(),
    };
    let snapshots = Snapshots::new(&hub, directories, may_block);
    let shared = hub.shared.clone();
    let (peer, ports) = match hub.config.my_id.zip(ports) {
        Some((me, ports)) => {
            let config = zab_config(&hub.config, me, logged)?;
            let known = &config.configurations;
            let ports = QuorumPorts::open(hub.clone(), recovery.tree, ports, known);
            let peer = Peer::among(options, shared, hub.started, config, epochs);
            (peer, Some(ports))
        }
        None => (Peer::new(options, shared, hub.started), None),
    };
    let member = Member::new(peer, hub.clone(), queue, snapshots, ports);
    Ok((member, log, hub))
}

fn hub(
    config: Config,
    clock: Clock,
    local_addr: SocketAddr,
    tree: DataTree,
    sizes: Sizes,
    may_block: bool,
    wiring: Wiring,
) -> Arc<Hub> {
    // Where nothing may block, connections need no file descriptors of ours.
    let (auth, max_conns) = (auth_config(&config), max_conns(&config, may_block));
    Arc::new(Hub {
        shared: Arc::new(
            Shared::new(tree, seed(), auth, max_conns)
                .with_outstanding_limit(config.global_outstanding_limit as usize),
        ),
        mailbox: Arc::default(),
        started: clock.now(),
        clock,
        conn_limits: conn_limits(&config),
        local_addr: RwLock::new(local_addr),
        client_port: watch::Sender::new(None),
        sizes,
        wiring,
        trace_mask: TraceMask::default(),
        stop: CancellationToken::new(),
        stopping: AtomicBool::new(false),
        failure: OnceLock::new(),
        #[cfg(feature = "testing")]
        reply_before_write: super::settings::reply_before_write(&config),
        config,
    })
}

/// Where to bind what a configuration names.
pub(super) async fn resolve(at: &HostPort) -> io::Result<SocketAddr> {
    let host = at.host.as_deref().unwrap_or("::");
    let found = lookup_host((host, at.port)).await?.next();
    found.ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

/// Listens for clients somewhere else, as a new configuration says.
pub(super) async fn move_to(at: &HostPort, config: &Config) -> io::Result<Port> {
    let listener = bind(resolve(at).await?, config.client_port_listen_backlog)?;
    Ok(Port::Tcp {
        listener,
        keep_alive: config.client_tcp_keep_alive,
    })
}

async fn listen(
    address: SocketAddr,
    net: Option<&dyn Net>,
    config: &Config,
) -> Result<Port, StartError> {
    let port = match net {
        Some(net) => net.listen(address).await.map(Port::Net),
        None => bind(address, config.client_port_listen_backlog).map(|listener| Port::Tcp {
            listener,
            keep_alive: config.client_tcp_keep_alive,
        }),
    };
    port.map_err(|source| StartError::Listen { address, source })
}

/// Listens, with this many connections queued by the system or as many as tokio takes.
pub(super) fn bind(address: SocketAddr, backlog: Option<u32>) -> io::Result<TcpListener> {
    bind_to(address, backlog).or_else(|error| match without_ipv6(address, &error) {
        Some(address) => bind_to(address, backlog),
        None => Err(error),
    })
}

/// Where every address is bound on a machine without IPv6, if this error says that it is one.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_every = address.is_ipv6() && address.ip().is_unspecified();
    let lacks = matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    );
    (is_every && lacks).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

fn bind_to(address: SocketAddr, backlog: Option<u32>) -> io::Result<TcpListener> {
    /// What tokio takes, too; the system cuts it down to its own limit.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Every address means those of IPv4 too, whatever `net.ipv6.bindv6only` says; so it is in Java.
        set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(backlog.unwrap_or(BACKLOG))
}

/// Starts the log; the receiver resolves when it has ended.
fn run_log(log: Log, may_block: bool) -> io::Result<oneshot::Receiver<()>> {
    let (tell, told) = oneshot::channel();
    if may_block {
        log.spawn_thread(tell)?;
    } else {
        tokio::spawn(async move {
            log.run().await;
            let _ = tell.send(());
        });
    }
    Ok(told)
}

/// What the caller keeps of the threads that serve connections beside its own.
type Threads = (
    Vec<oneshot::Receiver<()>>,
    Vec<mpsc::UnboundedSender<Handover>>,
);

fn io_threads_beside(hub: &Arc<Hub>, threads: usize) -> io::Result<Threads> {
    let (mut ends, mut places) = (Vec::new(), Vec::new());
    for number in 1..threads {
        let (tell, told) = oneshot::channel();
        let (place, connections) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let hub = hub.clone();
        std::thread::Builder::new()
            .name(format!("zk-io-{number}"))
            .spawn(move || {
                runtime.block_on(serve_handed_over(&hub, connections));
                drop(runtime);
                let _ = tell.send(());
            })?;
        ends.push(told);
        places.push(place);
    }
    Ok((ends, places))
}

/// Serves the connections that are handed over to this thread, until the server stops.
async fn serve_handed_over(hub: &Arc<Hub>, mut connections: mpsc::UnboundedReceiver<Handover>) {
    loop {
        let handed = tokio::select! {
            handed = connections.recv() => handed,
            () = hub.stop.cancelled() => return,
        };
        let Some((stream, remote)) = handed else {
            return;
        };
        match TcpStream::from_std(stream) {
            Ok(stream) => serve(hub, Transport::Tcp(stream), remote),
            Err(error) => tracing::warn!(%remote, %error, "could not take a connection over"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Directories, MemDisk};

    #[test]
    fn every_address_is_those_of_ipv4_where_there_are_no_others() {
        let lacks = io::Error::from(Errno::AFNOSUPPORT);
        let every: SocketAddr = "[::]:2181".parse().unwrap();
        let v4: SocketAddr = "0.0.0.0:2181".parse().unwrap();
        assert_eq!(without_ipv6(every, &lacks), Some(v4));
        assert_eq!(without_ipv6(every, &Errno::ADDRINUSE.into()), None);
        for named in ["[::1]:2181", "0.0.0.0:2181"] {
            assert_eq!(without_ipv6(named.parse().unwrap(), &lacks), None);
        }
    }

    #[tokio::test]
    async fn a_port_of_every_address_takes_ipv4_clients() {
        let every: SocketAddr = "[::]:0".parse().unwrap();
        let listener = bind(every, None).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (accepted, connected) = tokio::join!(listener.accept(), client);
        accepted.unwrap();
        connected.unwrap();
    }

    #[tokio::test]
    async fn a_member_that_never_ran_takes_its_log_with_it() {
        let config = Config::default();
        let disk = Arc::new(MemDisk::new());
        let (_, opened) = open(Place::Disk(disk.clone()), &config, false)
            .await
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (member, log, hub) = assemble(
            config,
            Clock::Machine,
            address,
            opened,
            true,
            None,
            Wiring::default(),
        )
        .unwrap();
        let ended = run_log(log, true).unwrap();
        assert!(Directories::on(disk.clone()).is_err(), "it is locked");
        drop(member);
        ended.await.unwrap();
        assert!(hub.failure().is_none());
        hub.stopped().await;
        assert!(Directories::on(disk).is_ok());
    }
}

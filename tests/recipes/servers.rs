//! The servers of a simulation: one alone, or the three members of an ensemble, which lag behind each other and change leaders.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use turmoil::{
    Sim,
    net::{TcpListener, TcpStream},
};
use zk_proto::ServerId;
use zk_server::{
    Server,
    config::Config,
    net::{Listener, Net, Stream},
    storage::MemDisk,
    time::Now,
};

use crate::world::{Reach, now};

const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;
const TICK_MS: &str = "125";

/// The servers, by the names of their hosts, and their disks.
#[derive(Clone)]
pub(crate) struct Servers {
    names: Vec<String>,
    disks: Vec<MemDisk>,
}

impl Servers {
    /// One server alone.
    pub(crate) fn one() -> Self {
        Self::new(1)
    }

    /// An ensemble.
    pub(crate) fn three() -> Self {
        Self::new(3)
    }

    /// One alone or three, as the seed says.
    pub(crate) fn draw(seed: u64) -> Self {
        match fastrand::Rng::with_seed(seed ^ 0x5e7).bool() {
            true => Self::three(),
            false => Self::one(),
        }
    }

    fn new(count: usize) -> Self {
        Self {
            names: (1..=count).map(|id| format!("server-{id}")).collect(),
            disks: (0..count).map(|_| MemDisk::new()).collect(),
        }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn disk(&self, server: usize) -> &MemDisk {
        &self.disks[server]
    }

    /// How processes reach them.
    pub(crate) fn reach(&self) -> Reach {
        let hosts = self
            .names
            .iter()
            .map(|name| format!("{name}:{CLIENT_PORT}"));
        Reach::new(&hosts.collect::<Vec<_>>().join(","))
    }

    /// Adds their hosts; each starts again with the same disk after a crash.
    pub(crate) fn add(&self, sim: &mut Sim<'static>) {
        for (id, (name, disk)) in (1..).zip(self.names.iter().zip(&self.disks)) {
            let (disk, names) = (disk.clone(), self.names.clone());
            sim.host(name.as_str(), move || {
                serve(id, disk.clone(), names.clone())
            });
        }
    }
}

async fn serve(id: i64, disk: MemDisk, names: Vec<String>) -> turmoil::Result {
    let mut builder = Server::builder();
    if names.len() > 1 {
        let mut config = Config::default();
        config.my_id = Some(ServerId(id));
        builder = builder.config(config);
        for (id, name) in (1..).zip(&names) {
            let line = format!("{name}:{QUORUM_PORT}:{ELECTION_PORT}");
            builder = builder.set(&format!("server.{id}"), &line);
        }
        // A follower without its leader serves on for two session timeouts.
        builder = builder.set("initLimit", "40").set("syncLimit", "16");
    }
    let server = builder
        .net(Arc::new(Simulated))
        .disk(Arc::new(disk))
        .bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))
        .set("tickTime", TICK_MS)
        .start()
        .await?;
    Err(server.failed().await.into())
}

/// The servers' side of the network.
struct Simulated;

#[async_trait]
impl Net for Simulated {
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(Accepting(TcpListener::bind(address).await?)))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let address = SocketAddr::from((turmoil::lookup(host), port));
        Ok(Box::new(TcpStream::connect(address).await?))
    }

    /// The simulation's clock, which goes on while a server is down.
    fn now(&self) -> Now {
        let mono = Duration::from_secs(1_000_000) + now();
        let wall_ms = i64::try_from(mono.as_millis()).unwrap_or(i64::MAX);
        Now { mono, wall_ms }
    }
}

struct Accepting(TcpListener);

#[async_trait]
impl Listener for Accepting {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

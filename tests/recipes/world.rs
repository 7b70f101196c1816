//! One simulated network with one paused clock: the servers with their disks, and the processes that use them.
//!
//! The seams are those of the crates: `Net` of client and server over turmoil, `Disk` over memory. Everything
//! runs on this thread, and every random decision of the network, the clients and the faults comes from the seed.
//! (What is left to chance is the order in which an unbiased `select!` looks at its branches.)

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing_subscriber::{
    filter::Targets,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};
use turmoil::net::TcpStream;
use zk_client::{Client, ClientBuilder, RetryPolicy};

/// The session timeout that everybody asks for; eight ticks of the servers.
pub(crate) const T: Duration = Duration::from_secs(1);
/// The step of the simulation, and so the resolution of the network.
const STEP: Duration = Duration::from_millis(10);

/// What time it is in the simulation.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// A simulation whose processes must be done within `limit`.
pub(crate) fn simulation(seed: u64, limit: Duration) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(limit)
        .tick_duration(STEP)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(30))
        .enable_random_order()
        .tcp_capacity(4096)
        .build()
}

/// A client with this seed on the network.
pub(crate) fn client(seed: u64, reach: &Reach) -> ClientBuilder {
    let net = Network {
        reach: reach.clone(),
        rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
    };
    Client::builder(&*reach.hosts)
        .net(Arc::new(net))
        .seed(seed)
        .session_timeout(T)
        .connect_timeout(Duration::from_secs(120))
        .retry(RetryPolicy::exponential(Duration::from_millis(20), T / 4))
}

/// How processes reach the servers: which there are, and whether connections break under replies now, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    hosts: Arc<str>,
    lossy: Arc<AtomicU32>,
}

impl Reach {
    pub(crate) fn new(hosts: &str) -> Self {
        let (hosts, lossy) = (hosts.into(), Arc::default());
        Self { hosts, lossy }
    }

    /// The same servers, without losses.
    pub(crate) fn well(&self) -> Self {
        Self::new(&self.hosts)
    }

    /// One read in `reads` is lost, and its connection with it; 0 for none.
    pub(crate) fn one_in(&self, reads: u32) {
        self.lossy.store(reads, Ordering::Relaxed);
    }

    fn strikes(&self, rng: &Mutex<fastrand::Rng>) -> bool {
        match self.lossy.load(Ordering::Relaxed) {
            0 => false,
            reads => rng.lock().u32(..reads) == 0,
        }
    }
}

/// A client's side of the network.
struct Network {
    reach: Reach,
    rng: Arc<Mutex<fastrand::Rng>>,
}

impl zk_client::net::Net for Network {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let address: IpAddr = turmoil::lookup(host);
        Box::pin(async move { Ok(vec![SocketAddr::from((address, port))]) })
    }

    fn connect(
        &self,
        address: SocketAddr,
    ) -> BoxFuture<'static, io::Result<Box<dyn zk_client::net::Stream>>> {
        let (reach, rng) = (self.reach.clone(), Arc::clone(&self.rng));
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(Breaking { stream, reach, rng }) as Box<dyn zk_client::net::Stream>)
        })
    }
}

/// A connection that loses what it reads now and then, and breaks by that: a lost reply.
struct Breaking {
    stream: TcpStream,
    reach: Reach,
    rng: Arc<Mutex<fastrand::Rng>>,
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && self.reach.strikes(&self.rng) {
            buf.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Prints what is traced, with the simulation's time, when `RUST_LOG` says so.
pub(crate) fn trace() {
    struct SimulationTime;

    impl FormatTime for SimulationTime {
        fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
            write!(w, "{:>9.3?}", now())
        }
    }

    if let Ok(asked) = std::env::var("RUST_LOG") {
        let layer = tracing_subscriber::fmt::layer().with_timer(SimulationTime);
        let filter: Targets = asked.parse().unwrap();
        // Another test may have been first.
        let _ = tracing_subscriber::registry()
            .with(layer.with_test_writer().with_ansi(false))
            .with(filter)
            .try_init();
    }
}

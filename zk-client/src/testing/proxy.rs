//! The proxy: a port, and the faults that hold at the moment.

use std::{
    collections::VecDeque,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::connection::carry;

/// A TCP proxy between clients and one server that cuts, delays and loses on command.
///
/// It follows ZooKeeper's frames, not only bytes: [`lose_replies`](Self::lose_replies) lets the server carry out a
/// request and breaks the connection instead of answering, which is what makes an outcome
/// [`Unknown`](crate::Outcome::Unknown). (So it is for connections without TLS.) Faults hold for all of its connections.
/// Dropping it breaks them and closes its port.
///
/// ```
/// use zk_client::{Client, ErrorKind, Outcome, testing::FaultProxy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zk_server::Server::builder().start().await?;
/// let proxy = FaultProxy::start(server.local_addr()).await?;
/// let client = Client::connect(&proxy.connect_string()).await?;
///
/// proxy.lose_replies(1);
/// let error = client.create("/order", "paid").await.unwrap_err();
/// assert_eq!((error.kind(), error.outcome()), (ErrorKind::ConnectionLoss, Outcome::Unknown));
/// assert!(client.exists("/order").await?.is_some());  // it was carried out, and the session goes on
/// # Ok(())
/// # }
/// ```
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: SocketAddr,
    /// What every connection looks at while it waits.
    pub(super) line: watch::Sender<Line>,
    pub(super) faults: Mutex<Faults>,
    tally: watch::Sender<Tally>,
}

/// How the line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// How often everything was cut so far.
    pub(super) cuts: u64,
    pub(super) down: bool,
    /// Nothing goes either way.
    pub(super) silent: bool,
}

/// What is to happen to replies.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) delay: Duration,
    pub(super) lose: usize,
    pub(super) replace: VecDeque<Vec<u8>>,
}

/// What has happened.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    accepted: u64,
    spoiled: u64,
}

impl FaultProxy {
    /// Listens on a free loopback port and passes everything on to `server`, which need not run yet.
    ///
    /// Must be called within a tokio runtime, on which the proxy runs.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            line: watch::Sender::default(),
            faults: Mutex::default(),
            tally: watch::Sender::default(),
        });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            acceptor,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What a client is to be given: `host:port`.
    #[must_use]
    pub fn connect_string(&self) -> String {
        self.address.to_string()
    }

    /// Breaks every open connection; new ones are welcome.
    pub fn cut(&self) {
        self.shared.line.send_modify(|line| line.cuts += 1);
    }

    /// Breaks every open connection, and each new one at once, until [`up`](Self::up).
    pub fn down(&self) {
        self.shared.line.send_modify(|line| line.down = true);
    }

    /// Ends [`down`](Self::down) and [`silence`](Self::silence).
    pub fn up(&self) {
        self.shared.line.send_modify(|line| {
            line.down = false;
            line.silent = false;
        });
    }

    /// Lets nothing through, either way, until [`up`](Self::up): connections stay, and what is sent waits.
    pub fn silence(&self) {
        self.shared.line.send_modify(|line| line.silent = true);
    }

    /// From now on every reply and event comes that much later; their order stays.
    pub fn delay(&self, delay: Duration) {
        self.shared.faults.lock().delay = delay;
    }

    /// Lets the server carry out the next `count` requests of callers (pings and the like are not counted) and breaks
    /// the connection instead of passing the reply on; one for each connection.
    pub fn lose_replies(&self, count: usize) {
        self.shared.faults.lock().lose = count;
    }

    /// Sends these bytes instead of the next reply or event, and breaks the connection behind them.
    pub fn replace_reply(&self, bytes: impl Into<Vec<u8>>) {
        self.shared.faults.lock().replace.push_back(bytes.into());
    }

    /// How many connections have come so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.tally.borrow().accepted
    }

    /// Waits until so many replies in all were lost or replaced.
    ///
    /// Cancel safe.
    pub async fn until_spoiled(&self, count: u64) {
        let mut tally = self.shared.tally.subscribe();
        // The sender lives as long as `self`.
        let _ = tally.wait_for(|tally| tally.spoiled >= count).await;
    }
}

impl Shared {
    pub(super) fn spoiled(&self) {
        self.tally.send_modify(|tally| tally.spoiled += 1);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .field("server", &self.shared.server)
            .finish_non_exhaustive()
    }
}

/// Its connections end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                shared.tally.send_modify(|tally| tally.accepted += 1);
                connections.spawn(serve(client, Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut line = shared.line.subscribe();
    let before = *line.borrow_and_update();
    let ended = match before.down {
        true => false,
        false => tokio::select! {
            ended = carry(&mut client, &shared) => ended.is_ok(),
            _ = line.wait_for(|line| line.down || line.cuts != before.cuts) => false,
        },
    };
    if !ended {
        // A reset, as of a machine that is gone, and not a polite end.
        let _ = client.set_zero_linger();
    }
}

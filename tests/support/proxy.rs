//! A TCP proxy that misbehaves on command, between a client and one server.
//!
//! A rule holds for every connection, those open and those to come, until the next one replaces it; a
//! command concerns the connections open at that moment. Dropping the proxy breaks its connections and closes
//! its port.
//!
//! Deliberately not here: loss and reordering of packets. TCP repairs both; what a peer can see of them is a
//! delay or the end of the connection.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use zk_proto::{
    Encode as _,
    quorum::{ElectionAddress, InitialMessage},
};

pub use self::place::Place;
use crate::ports;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToServer = 0,
    /// Replies and events.
    ToClient = 1,
}

/// What happens to bytes that go one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They are passed on at once.
    Pass,
    /// They are passed on that much later. What arrives meanwhile goes with the next lot.
    Delay(Duration),
    /// They wait until the rule changes; none is lost. A connection that comes meanwhile waits with its requests.
    Hold,
    /// They are swallowed, and the connection stays.
    Drop,
    /// The next ones are swallowed, and their connection is broken: a lost reply, or a lost request.
    Cut,
}

/// A proxy on a loopback port of its own.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    rules: watch::Sender<Rules>,
    seen: watch::Receiver<Seen>,
    acceptor: JoinHandle<()>,
}

/// Commands are counters, so that a connection that is busy when two come in still sees both.
#[derive(Debug, Clone, Copy)]
struct Rules {
    flows: [Flow; 2],
    listen: bool,
    cuts: u64,
    half_closes: [u64; 2],
    /// Where streams end, and the number of that command.
    ends: [(Option<Place>, u64); 2],
}

/// What the acceptor has done.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    listening: bool,
    accepted: u64,
    cuts: u64,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `server`, which need not run yet.
    ///
    /// Must be called within a tokio runtime, on which the proxy runs.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        Self::start_at(ports::free()?, server, None).await
    }

    /// As [`start`](Self::start), at `addr`, before an election port: who dials says in its hello where it is dialled
    /// back, and it is to be there.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(crate) async fn start_at(
        addr: SocketAddr,
        server: SocketAddr,
        dialled_back: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let (rules, rules_seen) = watch::channel(Rules {
            flows: [Flow::Pass; 2],
            listen: true,
            cuts: 0,
            half_closes: [0; 2],
            ends: [(None, 0); 2],
        });
        let (report, seen) = watch::channel(Seen::default());
        let listener = TcpListener::bind(addr).await?;
        let acceptor = Acceptor {
            addr,
            server,
            dialled_back,
            rules: rules_seen,
            report,
            connections: JoinSet::new(),
        };
        Ok(Self {
            addr,
            rules,
            seen,
            acceptor: tokio::spawn(acceptor.run(listener)),
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the rule for one direction.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.rules
            .send_modify(|rules| rules.flows[direction as usize] = flow);
    }

    /// Sets the rule for both directions.
    pub fn set_both(&self, flow: Flow) {
        self.rules.send_modify(|rules| rules.flows = [flow; 2]);
    }

    /// Breaks every connection (RST to both sides); new ones are accepted. Returns when none of them is left.
    pub async fn cut(&self) {
        let mut cuts = 0;
        self.rules.send_modify(|rules| {
            rules.cuts += 1;
            cuts = rules.cuts;
        });
        self.wait(|seen| seen.cuts >= cuts).await;
    }

    /// Ends one direction of every connection (FIN to its receiver) and swallows what still comes that way.
    pub fn half_close(&self, direction: Direction) {
        self.rules
            .send_modify(|rules| rules.half_closes[direction as usize] += 1);
    }

    /// Ends one direction of every connection (FIN to its receiver) at a place that is still to come, and swallows what
    /// comes behind it.
    pub fn end_at(&self, direction: Direction, place: Place) {
        self.rules.send_modify(|rules| {
            let (at, number) = &mut rules.ends[direction as usize];
            (*at, *number) = (Some(place), *number + 1);
        });
    }

    /// Closes the port: connecting is refused from the return on. Connections stay.
    pub async fn refuse(&self) {
        self.rules.send_modify(|rules| rules.listen = false);
        self.wait(|seen| !seen.listening).await;
    }

    /// Opens the port again.
    pub async fn accept(&self) {
        self.rules.send_modify(|rules| rules.listen = true);
        self.wait(|seen| seen.listening).await;
    }

    /// How many connections have been accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.seen.borrow().accepted
    }

    /// Waits until that many connections have been accepted since the start.
    pub async fn wait_accepted(&self, count: u64) {
        self.wait(|seen| seen.accepted >= count).await;
    }

    async fn wait(&self, done: impl FnMut(&Seen) -> bool) {
        // An error means that the acceptor has ended, which it does with the proxy.
        let _ = self.seen.clone().wait_for(done).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

struct Acceptor {
    addr: SocketAddr,
    server: SocketAddr,
    dialled_back: Option<SocketAddr>,
    rules: watch::Receiver<Rules>,
    report: watch::Sender<Seen>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut cuts = 0;
        loop {
            let now = *self.rules.borrow_and_update();
            if !now.listen {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.addr).await.ok();
            }
            if now.cuts != cuts {
                cuts = now.cuts;
                // All of them began before the cut, so all of them end.
                while self.connections.join_next().await.is_some() {}
            }
            self.report.send_modify(|seen| {
                seen.listening = listener.is_some();
                seen.cuts = cuts;
            });
            tokio::select! {
                changed = self.rules.changed() => if changed.is_err() { return },
                client = accept(listener.as_ref()) => if let Ok(client) = client { self.admit(client, now) },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    fn admit(&mut self, client: TcpStream, before: Rules) {
        self.report.send_modify(|seen| seen.accepted += 1);
        let (server, rules) = (self.server, self.rules.clone());
        let hello = self.dialled_back.map(Hello::new);
        self.connections
            .spawn(connection(client, server, hello, rules, before));
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// Carries one connection to its end; `before` are the rules when it came.
async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    hello: Option<Hello>,
    rules: watch::Receiver<Rules>,
    before: Rules,
) {
    let held = |rules: &Rules| rules.flows[Direction::ToServer as usize] == Flow::Hold;
    let free = |now: &Rules| !held(now) || now.cuts != before.cuts;
    if rules.clone().wait_for(free).await.is_err() || rules.borrow().cuts != before.cuts {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(mut server) = dial(server, &before).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump =
            |from, to, direction, hello| pump(from, to, direction, hello, rules.clone(), before);
        let requests = pump(from_client, to_server, Direction::ToServer, hello);
        let replies = pump(from_server, to_client, Direction::ToClient, None);
        let mut cuts = rules.clone();
        tokio::select! {
            both = async { tokio::try_join!(requests, replies) } => both.is_err(),
            _ = cuts.wait_for(|rules| rules.cuts != before.cuts) => true,
        }
    };
    if broken {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// What goes slowly is not to wait in the kernel, where its sender believes that it has gone.
async fn dial(server: SocketAddr, rules: &Rules) -> io::Result<TcpStream> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if matches!(rules.flows[Direction::ToClient as usize], Flow::Delay(_)) {
        socket.set_recv_buffer_size(64 << 10)?;
    }
    socket.connect(server).await
}

/// Carries one direction; an error breaks the whole connection.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut hello: Option<Hello>,
    mut rules: watch::Receiver<Rules>,
    before: Rules,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut half_closed = false;
    let mut held = BytesMut::new();
    loop {
        let now = *rules.borrow_and_update();
        let index = direction as usize;
        if now.half_closes[index] != before.half_closes[index] && !half_closed {
            to.shutdown().await?;
            half_closed = true;
        }
        let flow = now.flows[index];
        let len = tokio::select! {
            biased;
            changed = rules.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            },
            len = from.read(&mut buffer), if flow != Flow::Hold => len?,
        };
        if len == 0 {
            if !half_closed {
                to.shutdown().await?;
            }
            return Ok(());
        }
        if half_closed {
            continue;
        }
        let bytes = match &mut hello {
            None => Bytes::copy_from_slice(&buffer[..len]),
            Some(hello) => hello.rewrite(&buffer[..len])?,
        };
        held.extend_from_slice(&bytes);
        let (place, number) = now.ends[index];
        let place = place.filter(|_| number != before.ends[index].1);
        let (len, is_end) = place.map_or((held.len(), false), |place| place.passes(&held));
        let bytes = held.split_to(len).freeze();
        match flow {
            Flow::Pass | Flow::Hold => to.write_all(&bytes).await?,
            Flow::Delay(delay) => {
                sleep(delay).await;
                to.write_all(&bytes).await?;
            }
            Flow::Drop => {}
            Flow::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        if is_end {
            to.shutdown().await?;
            half_closed = true;
        }
    }
}

/// The first bytes on an election port, of which one thing is to be another.
struct Hello {
    dialled_back: SocketAddr,
    so_far: Option<BytesMut>,
}

impl Hello {
    fn new(dialled_back: SocketAddr) -> Self {
        Self {
            dialled_back,
            so_far: Some(BytesMut::new()),
        }
    }

    /// What goes on for these bytes: nothing before the hello is whole, and then the whole hello in one piece.
    fn rewrite(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let Some(mut so_far) = self.so_far.take() else {
            return Ok(Bytes::copy_from_slice(bytes));
        };
        so_far.extend_from_slice(bytes);
        let Some(mut hello) = InitialMessage::take(&mut so_far).map_err(io::Error::other)? else {
            self.so_far = Some(so_far);
            return Ok(Bytes::new());
        };
        hello.addresses = vec![ElectionAddress {
            host: self.dialled_back.ip().to_string(),
            port: self.dialled_back.port(),
        }];
        let mut out = BytesMut::from(&hello.to_bytes()[..]);
        out.extend_from_slice(&so_far);
        Ok(out.freeze())
    }
}

mod place;
#[cfg(test)]
mod tests;

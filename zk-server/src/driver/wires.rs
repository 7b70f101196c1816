//! The wires between the members of an ensemble: the machine's sockets, those of a simulated network, or, for an ensemble in
//! one process, sockets that can be cut, with each member's leave to run.
//!
//! In one process the members talk over real sockets; what is here only decides when bytes pass. A cut holds them in both
//! directions as a network does that loses every packet: nothing is read, nothing is written, nobody is told that a
//! connection has ended, and a new one is not made. After the cut everything goes on where it stood. A member that
//! does not run is one that was sent SIGSTOP: its sockets stay open, and it neither reads nor writes nor acts.
//!
//! Deliberately not here: clients' connections, which a cut between members does not touch.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
};
use zk_proto::ServerId;

use super::net::{Listener, Net, Transport};

/// The state of all wires of an ensemble.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    /// Whether anything is cut, lost or paused; else nobody needs the lock.
    disturbed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cut: BTreeSet<(ServerId, ServerId)>,
    paused: BTreeSet<ServerId>,
    /// How many connections there were, and up to which one those between two members are dead.
    made: u64,
    lost: HashMap<(ServerId, ServerId), u64>,
    /// Who dialled from which address; so the one that is dialled knows whose connection it is.
    diallers: HashMap<SocketAddr, ServerId>,
    waiting: Vec<Waker>,
}

impl Wires {
    /// Cuts two members off from each other.
    pub(crate) fn cut(&self, a: ServerId, b: ServerId) {
        self.change(|inner| {
            inner.cut.insert(pair(a, b));
        });
    }

    /// Mends every cut.
    pub(crate) fn heal(&self) {
        self.change(|inner| inner.cut.clear());
    }

    /// Kills every connection that two members have, without a word to either: what is written is lost, and nothing
    /// comes. New ones are not touched.
    pub(crate) fn lose(&self, a: ServerId, b: ServerId) {
        self.change(|inner| {
            inner.lost.insert(pair(a, b), inner.made);
        });
    }

    /// Stops a member.
    pub(crate) fn pause(&self, member: ServerId) {
        self.change(|inner| {
            inner.paused.insert(member);
        });
    }

    /// Lets a member go on.
    pub(crate) fn resume(&self, member: ServerId) {
        self.change(|inner| {
            inner.paused.remove(&member);
        });
    }

    /// Whether a member runs.
    pub(crate) fn runs(&self, member: ServerId) -> bool {
        !self.inner.lock().paused.contains(&member)
    }

    /// Whether nothing is cut between two members.
    pub(crate) fn is_whole(&self, a: ServerId, b: ServerId) -> bool {
        !self.inner.lock().cut.contains(&pair(a, b))
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        let disturbed = !(inner.cut.is_empty() && inner.lost.is_empty() && inner.paused.is_empty());
        self.disturbed.store(disturbed, Relaxed);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}

/// One member's end of the wires.
#[derive(Clone, Default)]
pub(crate) enum Wiring {
    /// The machine's sockets: never held up.
    #[default]
    Machine,
    /// This member's sockets, which can be cut.
    Wires(Arc<Wires>, ServerId),
    /// A network of the caller's.
    Net(Arc<dyn Net>),
}

/// Where a member listens for others.
pub(super) enum MemberPort {
    Tcp(TcpListener),
    Net(Box<dyn Listener>),
}

impl MemberPort {
    pub(super) async fn accept(&self) -> io::Result<(Transport, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok((Transport::Tcp(stream), remote))
            }
            Self::Net(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok((Transport::Net(stream), remote))
            }
        }
    }
}

impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "Machine",
            Self::Wires(..) => "Wires",
            Self::Net(_) => "Net",
        })
    }
}

impl Wiring {
    /// This member's end.
    pub(crate) const fn on(wires: Arc<Wires>, member: ServerId) -> Self {
        Self::Wires(wires, member)
    }

    /// Listens on a simulated network; `None` on the machine's, where the caller binds.
    pub(super) async fn listen(&self, port: u16) -> Option<io::Result<MemberPort>> {
        let Self::Net(net) = self else {
            return None;
        };
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Some(net.listen(address).await.map(MemberPort::Net))
    }

    const fn wires(&self) -> Option<(&Arc<Wires>, ServerId)> {
        match self {
            Self::Wires(wires, me) => Some((wires, *me)),
            _ => None,
        }
    }

    /// Pending while this member is not to run.
    pub(crate) fn poll_runs(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_open(cx, None)
    }

    /// Waits until this member may run. Cancel safe.
    pub(crate) async fn runs(&self) {
        poll_fn(|cx| self.poll_runs(cx)).await;
    }

    fn poll_open(&self, cx: &Context<'_>, other: Option<ServerId>) -> Poll<()> {
        let Some((wires, me)) = self.wires() else {
            return Poll::Ready(());
        };
        if !wires.disturbed.load(Relaxed) {
            return Poll::Ready(());
        }
        let mut inner = wires.inner.lock();
        let is_cut = other.is_some_and(|other| inner.cut.contains(&pair(me, other)));
        if !is_cut && !inner.paused.contains(&me) {
            return Poll::Ready(());
        }
        if !inner
            .waiting
            .iter()
            .any(|known| known.will_wake(cx.waker()))
        {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Connects to another member.
    pub(crate) async fn dial(
        &self,
        other: ServerId,
        host: &str,
        port: u16,
    ) -> io::Result<MemberStream> {
        let other = Some(other);
        poll_fn(|cx| self.poll_open(cx, other)).await;
        let stream = match self {
            Self::Net(net) => {
                let stream = net.connect(host, port).await?;
                return Ok(self.wrap(Transport::Net(stream), other));
            }
            Self::Machine => TcpStream::connect((host, port)).await?,
            Self::Wires(wires, me) => {
                let target = lookup_host((host, port)).await?.next();
                let target = target.ok_or(io::ErrorKind::AddrNotAvailable)?;
                let socket = match target {
                    SocketAddr::V4(_) => TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => TcpSocket::new_v6()?,
                };
                // Known before the other one can accept it.
                socket.bind(SocketAddr::new(target.ip(), 0))?;
                let local = socket.local_addr()?;
                wires.inner.lock().diallers.insert(local, *me);
                socket.connect(target).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(self.wrap(Transport::Tcp(stream), other))
    }

    /// Takes a connection that came from `remote`.
    pub(super) fn accepted(&self, stream: Transport, remote: SocketAddr) -> MemberStream {
        let wires = self.wires().map(|(wires, _)| wires);
        let other = wires.and_then(|wires| wires.inner.lock().diallers.get(&remote).copied());
        if let Transport::Tcp(stream) = &stream {
            // A socket that takes no options is about to say why.
            let _ = stream.set_nodelay(true);
        }
        self.wrap(stream, other)
    }

    fn wrap(&self, stream: Transport, other: Option<ServerId>) -> MemberStream {
        // Also the side that has nothing to say is to find out that the other machine is gone.
        if let Transport::Tcp(stream) = &stream
            && let Err(error) = keep_alive(stream)
        {
            tracing::debug!(%error, "no keep-alive between members");
        }
        let number = self.wires().map(|(wires, _)| {
            let mut inner = wires.inner.lock();
            inner.made += 1;
            inner.made
        });
        MemberStream {
            number: number.unwrap_or_default(),
            stream,
            wiring: self.clone(),
            other,
        }
    }
}

/// As long as it takes the probes of [`keep_alive`] to find out.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS: u32 = 25_000;

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(stream, Duration::from_secs(10))?;
        sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepcnt(stream, 3)?;
    }
    Ok(())
}

/// A connection between two members.
pub(crate) struct MemberStream {
    /// Which of all connections in this process it is.
    number: u64,
    stream: Transport,
    wiring: Wiring,
    other: Option<ServerId>,
}

impl MemberStream {
    /// Has the connection end when what was sent on it is not acknowledged for as long as an idle one may be silent.
    ///
    /// Nobody probes a connection that has something under way: it is sent again and again, at ever longer intervals, for a
    /// quarter of an hour. Whoever was unreachable for a minute would be heard again a minute later.
    ///
    /// Not for connections on which the other side may have good reason not to read for a while.
    pub(crate) fn end_unless_acknowledged(&self) {
        #[cfg(target_os = "linux")]
        if let Transport::Tcp(stream) = &self.stream
            && let Err(error) = sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)
        {
            tracing::debug!(%error, "no limit for what is not acknowledged");
        }
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.wiring.poll_open(cx, self.other)
    }

    fn is_lost(&self) -> bool {
        let Some(((wires, me), other)) = self.wiring.wires().zip(self.other) else {
            return false;
        };
        wires.disturbed.load(Relaxed) && {
            let inner = wires.inner.lock();
            let lost = inner.lost.get(&pair(me, other));
            lost.is_some_and(|last| self.number <= *last)
        }
    }
}

impl AsyncRead for MemberStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_open(cx));
        if self.is_lost() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemberStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_open(cx));
        match self.is_lost() {
            true => Poll::Ready(Ok(buf.len())),
            false => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_ends_whether_it_is_idle_or_not_acknowledged() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let wiring = Wiring::default();
        let dialled = wiring.dial(ServerId(2), "127.0.0.1", addr.port()).await;
        let (accepted, remote) = listener.accept().await.unwrap();
        let accepted = wiring.accepted(Transport::Tcp(accepted), remote);
        for stream in [dialled.unwrap(), accepted] {
            let Transport::Tcp(socket) = &stream.stream else {
                panic!("a socket of the machine's");
            };
            assert!(sockopt::socket_keepalive(socket).unwrap());
            assert_eq!(sockopt::tcp_user_timeout(socket).unwrap(), 0);
            stream.end_unless_acknowledged();
            let limit = sockopt::tcp_user_timeout(socket).unwrap();
            assert_eq!(limit, UNACKNOWLEDGED_MS);
        }
    }
}

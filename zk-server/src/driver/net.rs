//! The outside world, as far as it can be replaced: the network, and the clock that goes with it.
//!
//! Without a [`Net`] a server uses the machine's own sockets and clock. With one, everything it does runs as
//! tasks on the caller's runtime and on this network and clock, so that a test can simulate both: no thread is
//! started and nothing blocks.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::time::Now;

/// A network, simulated or real.
#[async_trait]
pub trait Net: Send + Sync {
    /// Listens on an address; port 0 stands for any free one.
    ///
    /// # Errors
    /// What the network says.
    async fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// Connects to a port of another member of an ensemble, by the name that the configuration has; what has no ensemble needs
    /// none.
    ///
    /// # Errors
    /// What the network says; [`Unsupported`](io::ErrorKind::Unsupported) unless told.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let _ = (host, port);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The time on this network's clock; by default tokio's, which a test may pause.
    ///
    /// It must never go back, not even when a server on this network starts again.
    fn now(&self) -> Now {
        tokio_now()
    }
}

/// A listening port.
#[async_trait]
pub trait Listener: Send + Sync {
    /// Waits for the next connection and its other end's address. Cancel safe.
    ///
    /// # Errors
    /// What the network says; the listener goes on.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;

    /// The address it listens on.
    ///
    /// # Errors
    /// What the network says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A connection, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of either kind; the kernel's own is not boxed, since every byte goes through here.
pub(super) enum Transport {
    Tcp(TcpStream),
    Net(Box<dyn Stream>),
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Net(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Net(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Net(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Net(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Net(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Net(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What tokio's clock shows, counted from the first time anybody in this process asked.
///
/// The wall clock starts at a fixed moment, so that runs on a paused clock resemble each other.
fn tokio_now() -> Now {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    /// 2024-01-01T00:00:00Z.
    const WALL_ORIGIN_MS: i64 = 1_704_067_200_000;
    /// A paused clock may have been started before the first one was; keep clear of zero.
    const HEAD_START: Duration = Duration::from_secs(1 << 20);
    let origin = *ORIGIN.get_or_init(Instant::now);
    let now = Instant::now();
    let mono = match now.checked_duration_since(origin) {
        Some(since) => HEAD_START + since,
        None => HEAD_START.saturating_sub(origin - now),
    };
    let wall_ms = WALL_ORIGIN_MS + i64::try_from(mono.as_millis()).unwrap_or(i64::MAX / 2);
    Now { mono, wall_ms }
}

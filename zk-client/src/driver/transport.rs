//! The bytes of one connection, and the seam to the network beneath.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// How much room a read has at least.
const READ_ROOM_MIN: usize = 4 * 1024;
/// How large a fresh read buffer is.
const READ_BUFFER: usize = 64 * 1024;

/// A connection's byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The network a client runs over: the machine's own, or a simulated one.
///
/// A client that is given one also takes tokio's clock for its own, so that a test can pause it.
pub trait Net: Send + Sync {
    /// The addresses of a host; asked again at every attempt to connect.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// Opens a connection; dropping the future gives it up.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// TCP, and the system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpNet;

impl Net for TcpNet {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// A connection with its two buffers.
pub(super) struct Transport {
    stream: Box<dyn Stream>,
    /// Received, and not taken by the session yet: at most one incomplete frame after each turn.
    pub(super) input: BytesMut,
    output: BytesMut,
    unflushed: bool,
}

impl Transport {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self {
            stream,
            input,
            output,
            unflushed: false,
        }
    }

    /// Queues bytes behind those that are not written yet.
    pub(super) fn write(&mut self, bytes: BytesMut) {
        match self.output.is_empty() {
            true => self.output = bytes,
            false => self.output.extend_from_slice(&bytes),
        }
        self.unflushed = true;
    }

    /// How many bytes wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.output.len()
    }

    /// Reads what there is; ready with 0 at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < READ_ROOM_MIN {
            // Grows with what has been received, never with what a length claims.
            self.input.reserve(READ_BUFFER.max(self.input.len()));
        }
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Writes what waits; ready when all of it is out, or with the error.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.advance(written),
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("backlog", &self.backlog())
            .finish_non_exhaustive()
    }
}

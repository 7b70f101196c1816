//! Finding a server that answers a TCP connect, and a TLS handshake where that is asked for.
//!
//! All candidates race, each a little after the one before: so the preferred server wins where it is well, and
//! one that is silent costs a quarter of a second. The race ends before anything of ZooKeeper's is said and has one
//! winner: two servers must never both see the connect request of one session.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::transport::{Net, Stream};
use crate::core::{Host, host_provider::HEAD_START};

/// How long one server may take to say whether it is read-only.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(1);
/// The four letter word that asks for it, and what a server of a quorum says.
const IS_READ_ONLY: &[u8] = b"isro";
const READ_WRITE: &[u8] = b"rw";

type Attempt<T> = BoxFuture<'static, io::Result<T>>;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) net: Arc<dyn Net>,
    #[cfg(feature = "tls-no-provider")]
    pub(crate) tls: Option<Arc<super::tls::Connector>>,
}

impl Dialer {
    #[cfg(feature = "tls-no-provider")]
    async fn secure(self, host: Host, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match self.tls {
            Some(tls) => tls.connect(&host.name, stream).await,
            None => Ok(stream),
        }
    }

    #[cfg(not(feature = "tls-no-provider"))]
    #[allow(clippy::unused_async, reason = "the other one awaits")]
    async fn secure(self, _: Host, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Ok(stream)
    }
}

/// Connects to one of `hosts`: its place in the list, and the stream.
pub(super) async fn dial(
    dialer: Dialer,
    hosts: Vec<Host>,
    mut rng: Rng,
) -> io::Result<(usize, Box<dyn Stream>)> {
    let attempts = hosts
        .into_iter()
        .enumerate()
        .map(|(place, host)| {
            let attempt = connect(dialer.clone(), host, rng.fork());
            Box::pin(async move { Ok((place, attempt.await?)) }) as Attempt<_>
        })
        .collect();
    race(attempts).await
}

/// The first of `hosts` that says that it takes writes.
pub(super) async fn search(dialer: Dialer, hosts: Vec<Host>, mut rng: Rng) -> Option<Host> {
    for host in hosts {
        let answer = ask(dialer.clone(), host.clone(), rng.fork());
        match tokio::time::timeout(SEARCH_TIMEOUT, answer).await {
            Ok(Ok(true)) => return Some(host),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "no answer whether it takes writes"),
            Err(_) => tracing::debug!(%host, "no answer in time whether it takes writes"),
        }
    }
    None
}

async fn ask(dialer: Dialer, host: Host, rng: Rng) -> io::Result<bool> {
    let mut stream = connect(dialer, host, rng).await?;
    stream.write_all(IS_READ_ONLY).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let longest = READ_WRITE.len() as u64;
    stream.take(longest).read_to_end(&mut answer).await?;
    Ok(answer == READ_WRITE)
}

/// Connects to one of the addresses that a host has now.
async fn connect(dialer: Dialer, host: Host, mut rng: Rng) -> io::Result<Box<dyn Stream>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
    let net = &dialer.net;
    let mut addresses = net.resolve(&host.name, host.port).await.map_err(named)?;
    rng.shuffle(&mut addresses);
    let connect = |address: SocketAddr| {
        let (tcp, dialer, host) = (net.connect(address), dialer.clone(), host.clone());
        Box::pin(async move { dialer.secure(host, tcp.await?).await }) as Attempt<_>
    };
    race(addresses.into_iter().map(connect).collect())
        .await
        .map_err(named)
}

/// The first success; the last error when there is none.
async fn race<T>(attempts: Vec<Attempt<T>>) -> io::Result<T> {
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        running.extend(waiting.next());
        if running.is_empty() {
            return Err(last_error);
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(winner) => return Ok(winner),
                Err(error) => last_error = error,
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

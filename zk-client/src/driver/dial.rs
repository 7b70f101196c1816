//! Finding a server that answers a TCP connect.
//!
//! All candidates race, each a little after the one before: so the preferred server wins where it is well, and
//! one that is silent costs a quarter of a second. The race is about TCP alone and has one winner: two servers
//! must never both see the connect request of one session.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fastrand::Rng;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::transport::{Net, Stream};
use crate::core::Host;

/// How long a candidate runs alone before the next one joins.
const HEAD_START: Duration = Duration::from_millis(250);

type Attempt<T> = BoxFuture<'static, io::Result<T>>;

/// Connects to one of `hosts`: its place in the list, and the stream.
pub(super) async fn dial(
    net: Arc<dyn Net>,
    hosts: Vec<Host>,
    mut rng: Rng,
) -> io::Result<(usize, Box<dyn Stream>)> {
    let attempts = hosts
        .into_iter()
        .enumerate()
        .map(|(place, host)| {
            let attempt = connect(Arc::clone(&net), host, rng.fork());
            Box::pin(async move { Ok((place, attempt.await?)) }) as Attempt<_>
        })
        .collect();
    race(attempts).await
}

/// Connects to one of the addresses that a host has now.
async fn connect(net: Arc<dyn Net>, host: Host, mut rng: Rng) -> io::Result<Box<dyn Stream>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
    let mut addresses = net.resolve(&host.name, host.port).await.map_err(named)?;
    rng.shuffle(&mut addresses);
    let connect = |address: SocketAddr| net.connect(address);
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

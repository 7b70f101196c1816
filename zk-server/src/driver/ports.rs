//! Accepting clients, and giving each connection its place.

#![allow(clippy::disallowed_types, reason = "the driver is where sockets live")]

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustix::net::sockopt::set_socket_keepalive;
use tokio::{net::TcpListener, sync::mpsc::UnboundedSender};

use super::{
    Hub,
    connection::ConnectionTask,
    net::{Listener, Transport},
    start::move_to,
};
use crate::config::HostPort;

/// A connection on its way to another thread: taken off one reactor, not yet on the next.
pub(super) type Handover = (std::net::TcpStream, SocketAddr);

/// The client port.
pub(super) enum Port {
    Tcp {
        listener: TcpListener,
        /// `clientTcpKeepAlive`.
        keep_alive: bool,
    },
    Net(Box<dyn Listener>),
}

impl Port {
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr(),
            Self::Net(listener) => listener.local_addr(),
        }
    }

    async fn accept(&self) -> io::Result<(Transport, SocketAddr)> {
        match self {
            Self::Tcp {
                listener,
                keep_alive,
            } => {
                let (stream, remote) = listener.accept().await?;
                stream.set_nodelay(true)?;
                if *keep_alive {
                    set_socket_keepalive(&stream, true)?;
                }
                Ok((Transport::Tcp(stream), remote))
            }
            Self::Net(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok((Transport::Net(stream), remote))
            }
        }
    }
}

/// Where connections run: on this runtime, and in turn on each of the others.
pub(super) struct Places {
    others: Vec<UnboundedSender<Handover>>,
    next: usize,
}

impl Places {
    pub(super) const fn new(others: Vec<UnboundedSender<Handover>>) -> Self {
        Self { others, next: 0 }
    }

    fn place(
        &mut self,
        hub: &Arc<Hub>,
        transport: Transport,
        remote: SocketAddr,
    ) -> io::Result<()> {
        let place = self.next;
        self.next = (place + 1) % (self.others.len() + 1);
        match (transport, self.others.get(place.wrapping_sub(1))) {
            (Transport::Tcp(stream), Some(other)) => {
                // A thread that is gone drops the connection, and the client tries again.
                let _ = other.send((stream.into_std()?, remote));
            }
            (transport, _) => serve(hub, transport, remote),
        }
        Ok(())
    }
}

/// Accepts until the server stops.
pub(super) async fn accept(hub: Arc<Hub>, mut port: Port, mut places: Places) {
    let mut moved = hub.client_port.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            Ok(()) = moved.changed() => {
                let to = moved.borrow_and_update().clone();
                if let Some(to) = to {
                    port = move_port(&hub, port, &to).await;
                }
                continue;
            }
            () = hub.stop.cancelled() => return,
        };
        let placed = accepted.and_then(|(transport, remote)| places.place(&hub, transport, remote));
        if let Err(error) = placed {
            // Out of file descriptors, or a client that was gone at once: neither ends the port.
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Listens where a new configuration wants clients to connect; connections that are there stay
/// (`ServerCnxnFactory.reconfigure`).
async fn move_port(hub: &Hub, port: Port, to: &HostPort) -> Port {
    let moved = move_to(to, &hub.config).await;
    let moved = moved.and_then(|port| Ok((port.local_addr()?, port)));
    match moved {
        Ok((address, moved)) => {
            tracing::info!(%address, "clients connect here from now on");
            *hub.local_addr.write() = address;
            moved
        }
        Err(error) => {
            tracing::error!(%to, %error, "clients cannot connect where the configuration says");
            port
        }
    }
}

/// Begins to serve a connection on this runtime, if there may be one more.
pub(super) fn serve(hub: &Arc<Hub>, transport: Transport, remote: SocketAddr) {
    let shared = &hub.shared;
    let now = hub.clock.now();
    let Some(handle) = shared.conns.open(remote, &shared.auth, now) else {
        shared.metrics.connections_rejected.add(1);
        tracing::warn!(%remote, "too many connections");
        return;
    };
    tokio::spawn(ConnectionTask::new(transport, handle, hub.clone()).run());
}

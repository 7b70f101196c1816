//! A network in memory, for a paused clock.

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use tokio::{
    io::DuplexStream,
    sync::{Mutex, mpsc},
};
use zk_server::{
    Server,
    net::{Listener, Net, Stream},
    storage::MemDisk,
};

use crate::client::Client;

type Connections = mpsc::UnboundedReceiver<DuplexStream>;

/// A network with one server on it.
pub(crate) struct MemoryNet {
    dial: mpsc::UnboundedSender<DuplexStream>,
    listen: Mutex<Option<Connections>>,
    capacity: usize,
}

struct MemoryListener(Mutex<Connections>);

impl MemoryNet {
    /// Connections hold this many bytes each way that were not read yet.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (dial, listen) = mpsc::unbounded_channel();
        let listen = Mutex::new(Some(listen));
        Arc::new(Self {
            dial,
            listen,
            capacity,
        })
    }

    pub(crate) fn connect(&self) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(self.capacity);
        self.dial.send(far).unwrap();
        Client::new(near)
    }
}

#[async_trait]
impl Net for MemoryNet {
    async fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Listener>> {
        match self.listen.lock().await.take() {
            Some(connections) => Ok(Box::new(MemoryListener(Mutex::new(connections)))),
            None => Err(io::ErrorKind::AddrInUse.into()),
        }
    }
}

#[async_trait]
impl Listener for MemoryListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(stream) => Ok((Box::new(stream), SocketAddr::from(([127, 0, 0, 1], 9)))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 2181)))
    }
}

/// A server in memory, its ticks two seconds long.
pub(crate) async fn start(net: &Arc<MemoryNet>) -> Server {
    let disk = Arc::new(MemDisk::new());
    let server = Server::builder()
        .net(net.clone())
        .disk(disk)
        .set("tickTime", "2000");
    server.start().await.unwrap()
}

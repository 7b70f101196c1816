//! The clients, each doing the same two things in its own words.

use std::{future::Future, net::SocketAddr, time::Duration};

/// The node that everybody reads and writes.
pub const PATH: &str = "/bench";
/// What is in it.
pub const DATA: &[u8] = &[b'x'; 128];
/// Long enough that no session ends under a load of our own making.
const SESSION: Duration = Duration::from_secs(30);

/// A client with one session.
pub trait Client: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    fn connect(server: SocketAddr) -> impl Future<Output = Self>;

    /// Reads the node; how many bytes it has.
    fn get(&self) -> impl Future<Output = usize> + Send;

    /// Writes the node.
    fn set(&self) -> impl Future<Output = ()> + Send;
}

impl Client for zk_client::Client {
    const NAME: &'static str = "zk-client";

    async fn connect(server: SocketAddr) -> Self {
        let builder = Self::builder(server.to_string()).session_timeout(SESSION);
        builder.connect().await.unwrap()
    }

    async fn get(&self) -> usize {
        self.get(PATH).await.unwrap().data.len()
    }

    async fn set(&self) {
        self.set(PATH, DATA).await.unwrap();
    }
}

impl Client for zookeeper_client::Client {
    const NAME: &'static str = "zookeeper-client 0.11";

    async fn connect(server: SocketAddr) -> Self {
        let connector = Self::connector().with_session_timeout(SESSION);
        connector.connect(&server.to_string()).await.unwrap()
    }

    async fn get(&self) -> usize {
        self.get_data(PATH).await.unwrap().0.len()
    }

    async fn set(&self) {
        self.set_data(PATH, DATA, None).await.unwrap();
    }
}

impl Client for tokio_zookeeper::ZooKeeper {
    const NAME: &'static str = "tokio-zookeeper 0.4";

    async fn connect(server: SocketAddr) -> Self {
        let mut builder = tokio_zookeeper::ZooKeeperBuilder::default();
        builder.set_timeout(SESSION);
        let (client, events) = builder.connect(&server).await.unwrap();
        // It stops with the stream of its events.
        std::mem::forget(events);
        client
    }

    async fn get(&self) -> usize {
        self.get_data(PATH).await.unwrap().unwrap().0.len()
    }

    async fn set(&self) {
        self.set_data(PATH, None, DATA).await.unwrap().unwrap();
    }
}

#[derive(Clone)]
pub struct ZooKeeperAsync(std::sync::Arc<zookeeper_async::ZooKeeper>);

impl Client for ZooKeeperAsync {
    const NAME: &'static str = "zookeeper-async 5";

    async fn connect(server: SocketAddr) -> Self {
        let nobody = |_: zookeeper_async::WatchedEvent| {};
        let server = server.to_string();
        let client = zookeeper_async::ZooKeeper::connect(&server, SESSION, nobody).await;
        Self(std::sync::Arc::new(client.unwrap()))
    }

    async fn get(&self) -> usize {
        self.0.get_data(PATH, false).await.unwrap().0.len()
    }

    async fn set(&self) {
        self.0.set_data(PATH, DATA.to_vec(), None).await.unwrap();
    }
}

/// Does nothing but let the other tasks go on: what the harness itself costs.
#[derive(Clone)]
pub struct Nothing;

impl Client for Nothing {
    const NAME: &'static str = "(nothing: the harness)";

    async fn connect(_: SocketAddr) -> Self {
        Self
    }

    async fn get(&self) -> usize {
        tokio::task::yield_now().await;
        DATA.len()
    }

    async fn set(&self) {
        tokio::task::yield_now().await;
    }
}

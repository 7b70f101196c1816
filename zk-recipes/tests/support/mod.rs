//! What the recipes' tests share: a server to talk to, clients, and the fenced store that a lock protects.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses a part of it"
)]

pub mod proxy;

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use zk_client::{Client, ClientBuilder, ErrorKind, RetryPolicy, Session, Zxid};
use zk_recipes::prelude::*;
use zk_server::Server;
use zk_tests::shared::SharedServer;

/// The longest that anything may take; a test that waits longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The server that a test talks to.
pub struct TestServer {
    address: String,
    /// Ours, in this process; `None` for one that others use, too.
    embedded: Option<Server>,
}

impl TestServer {
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends a session, as its expiry would.
    pub async fn end(&self, session: &Session) {
        match &self.embedded {
            Some(server) => server.expire_session(session.id()),
            // Elsewhere, who has its id and password can.
            None => {
                let thief =
                    builder(&self.address).session(session.id(), session.password().clone());
                thief.connect().await.unwrap().close().await.unwrap();
            }
        }
    }
}

/// What every server is told: short ticks, so that expiry is short.
const SETTINGS: [(&str, &str); 2] = [("tickTime", "250"), ("minSessionTimeout", "500")];

/// The server at `ZK_TEST_CONNECT`, Apache's in `tests/apache.rs`, or one of our own that ends with the result.
pub async fn server() -> TestServer {
    trace();
    let theirs = std::env::var("ZK_TEST_CONNECT").ok().or_else(apache);
    if let Some(address) = theirs {
        return TestServer {
            address,
            embedded: None,
        };
    }
    let mut builder = Server::builder();
    for (key, value) in SETTINGS {
        builder = builder.set(key, value);
    }
    let server = builder.start().await.unwrap();
    TestServer {
        address: server.connect_string(),
        embedded: Some(server),
    }
}

/// The Apache server that all tests of `tests/apache.rs` share.
fn apache() -> Option<String> {
    static SERVER: OnceLock<SharedServer> = OnceLock::new();
    if env!("CARGO_CRATE_NAME") != "apache" {
        return None;
    }
    let launcher = zk_tests::apache::launcher_or_skip("zk-recipes/tests/apache.rs")?;
    let server = SERVER.get_or_init(|| SharedServer::launch(launcher, &SETTINGS).unwrap());
    Some(server.addr().to_string())
}

/// A server of our own that grants sessions of any length.
pub async fn patient_server() -> Server {
    trace();
    let builder = Server::builder().set("maxSessionTimeout", "60000");
    builder.start().await.unwrap()
}

/// A server of our own that looks for empty containers all the time.
pub async fn reaping_server() -> Server {
    trace();
    let builder = Server::builder().set("znode.container.checkIntervalMs", "20");
    builder.start().await.unwrap()
}

/// Returns when such a server has removed what it could remove at the call: it has removed what came afterwards, twice.
pub async fn until_reaped(client: &Client) {
    for _ in 0..2 {
        let (canary, child) = ("/canary", "/canary/child");
        client.create(canary, "").container().await.unwrap();
        client.create(child, "").await.unwrap();
        let (_, change) = client.exists(canary).watch().await.unwrap();
        client.delete(child).await.unwrap();
        soon("the reaper", change).await;
    }
}

/// A path that nobody else uses, with nothing there yet.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nonce = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!(
        "/zk-recipes-test/{name}-{}-{nonce}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub fn builder(address: &str) -> ClientBuilder {
    let impatient = RetryPolicy::exponential(Duration::from_millis(5), Duration::from_millis(100));
    Client::builder(address)
        .session_timeout(Duration::from_secs(6))
        .retry(impatient)
}

pub async fn client(address: &str) -> Client {
    builder(address).connect().await.unwrap()
}

/// Does not let a test hang.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("still waiting for {what} after {PATIENCE:?}"),
    }
}

/// Waits for a future on a thread that has no runtime.
pub fn without_runtime<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}

/// The children of a node; none where there is no node.
pub async fn children(client: &Client, path: &str) -> Vec<String> {
    match client.children(path).await {
        Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
        children => children.unwrap(),
    }
}

/// Waits until a node's children satisfy the condition.
pub async fn until_children(
    client: &Client,
    path: &str,
    what: &str,
    condition: impl Fn(&[String]) -> bool,
) {
    soon(what, async {
        loop {
            match client.children(path).watch().await {
                Ok((names, _)) if condition(&names) => return,
                Ok((_, change)) => drop(change.await),
                Err(error) if error.kind() == ErrorKind::NoNode => {
                    if condition(&[]) {
                        return;
                    }
                    let (stat, change) = client.exists(path).watch().await.unwrap();
                    if stat.is_none() {
                        change.await;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
}

/// Waits until a lock has this many contenders.
pub async fn until_contenders(client: &Client, path: &str, count: usize) {
    until_children(client, path, &format!("{count} contenders"), |names| {
        names.len() == count
    })
    .await;
}

/// What a lock protects: a resource that refuses stale tokens and notices two holders at once.
#[derive(Debug, Default)]
pub struct FencedStore {
    inner: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    newest: Zxid,
    holders: HashSet<Zxid>,
    writes: u64,
    refused: u64,
    overlaps: u64,
}

impl FencedStore {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A holder begins its critical section.
    pub fn enter(&self, guard: &LockGuard) {
        let mut store = self.inner.lock();
        store.overlaps += u64::from(!store.holders.is_empty());
        store.holders.insert(guard.token());
    }

    pub fn leave(&self, guard: &LockGuard) {
        self.inner.lock().holders.remove(&guard.token());
    }

    /// Writes, unless a newer holder has written: the fence.
    pub fn write(&self, token: Zxid) -> bool {
        let mut store = self.inner.lock();
        if token < store.newest {
            store.refused += 1;
            return false;
        }
        store.newest = token;
        store.writes += 1;
        true
    }

    pub fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    pub fn refused(&self) -> u64 {
        self.inner.lock().refused
    }

    /// How often a holder began while another had not ended.
    pub fn overlaps(&self) -> u64 {
        self.inner.lock().overlaps
    }
}

/// Prints what the crates trace, when `RUST_LOG` says so.
pub fn trace() {
    if let Ok(asked) = std::env::var("RUST_LOG") {
        let filter: Targets = asked.parse().unwrap();
        // Another test may have been first.
        let _ = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_test_writer())
            .with(filter)
            .try_init();
    }
}

/// What was traced, as text.
#[derive(Debug, Clone, Default)]
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    written: Arc<tokio::sync::Notify>,
}

impl Log {
    /// Captures what this thread traces, as long as the result lives.
    pub fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    /// What was traced so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock()).into_owned()
    }

    /// Waits until this text was traced.
    pub async fn contains(&self, text: &str) {
        loop {
            let written = self.written.notified();
            if String::from_utf8_lossy(&self.text.lock()).contains(text) {
                return;
            }
            written.await;
        }
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.lock().extend_from_slice(bytes);
        self.written.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

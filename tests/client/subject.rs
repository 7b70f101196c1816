//! The server that a case talks to, and the ways to it.

use std::{net::SocketAddr, sync::OnceLock, time::Duration};

use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use zk_client::{Client, ClientBuilder, RetryPolicy, Session, SessionState, testing::FaultProxy};
use zk_server::Server;
use zk_tests::{
    apache::{self, Heap},
    shared::SharedServer,
};

/// What both servers are told: short ticks, so that expiry is short, and sessions of any length.
const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "250"),
    ("minSessionTimeout", "500"),
    ("maxSessionTimeout", "60000"),
    ("extendedTypesEnabled", "true"),
];

/// The longest that anything may take; a case that waits longer is stuck.
const PATIENCE: Duration = Duration::from_secs(40);

/// Instantiates each case of a file for both servers.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod ours {
            $(
                #[tokio::test]
                async fn $case() {
                    let subject = $crate::subject::Subject::ours(stringify!($case)).await;
                    $crate::subject::soon(super::$case(&subject)).await;
                }
            )*
        }
        mod apache {
            $(
                #[tokio::test]
                async fn $case() {
                    let case = concat!(module_path!(), "::", stringify!($case));
                    if let Some(subject) = $crate::subject::Subject::apache(case).await {
                        $crate::subject::soon(super::$case(&subject)).await;
                    }
                }
            )*
        }
    };
}

/// Does not let a case hang.
pub(crate) async fn soon<F: Future>(case: F) -> F::Output {
    let result = tokio::time::timeout(PATIENCE, case).await;
    result.unwrap_or_else(|_| panic!("still not over after {PATIENCE:?}"))
}

/// A server, and a node of it that belongs to the case.
pub(crate) struct Subject {
    addr: SocketAddr,
    root: String,
    /// The case's own, where it is ours.
    _ours: Option<Server>,
}

impl Subject {
    /// A server of ours, embedded in the test.
    pub(crate) async fn ours(case: &str) -> Self {
        let mut builder = Server::builder();
        for (key, value) in SETTINGS {
            builder = builder.set(key, value);
        }
        let server = builder.start().await.unwrap();
        Self::with_root(server.local_addr(), case, Some(server)).await
    }

    /// The Apache server that all cases share; `None`, loudly, where there is none.
    pub(crate) async fn apache(case: &str) -> Option<Self> {
        static SERVER: OnceLock<SharedServer> = OnceLock::new();
        apache::launcher_or_skip(case)?;
        let addr = SERVER.get_or_init(launch).addr();
        Some(Self::with_root(addr, &case.replace("::", "-"), None).await)
    }

    async fn with_root(addr: SocketAddr, case: &str, ours: Option<Server>) -> Self {
        trace();
        let root = format!("/{case}");
        let outside = Client::connect(&addr.to_string()).await.unwrap();
        outside.create(&root, "").await.unwrap();
        outside.close().await.unwrap();
        let _ours = ours;
        Self { addr, root, _ours }
    }

    /// The server's own address, without the case's node.
    pub(crate) fn server(&self) -> String {
        self.addr.to_string()
    }

    /// The case's own node, which exists.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A connect string whose chroot is the case's own node.
    pub(crate) fn hosts(&self) -> String {
        format!("{}{}", self.addr, self.root)
    }

    /// A client whose chroot is the case's own node.
    pub(crate) fn builder(&self) -> ClientBuilder {
        impatient(self.hosts())
    }

    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// A way to the server that fails on command.
    pub(crate) async fn proxy(&self) -> FaultProxy {
        FaultProxy::start(self.addr).await.unwrap()
    }

    /// As [`builder`](Self::builder), by way of these.
    pub(crate) fn through(&self, proxies: &[&FaultProxy]) -> ClientBuilder {
        let hosts: Vec<String> = proxies.iter().map(|proxy| proxy.connect_string()).collect();
        impatient(format!("{}{}", hosts.join(","), self.root))
    }

    /// Ends a session: who has its id and password can.
    pub(crate) async fn end(&self, session: &Session) {
        let thief = Client::builder(self.server())
            .session(session.id(), session.password().clone())
            .connect()
            .await
            .unwrap();
        assert_eq!(thief.session().id(), session.id());
        thief.close().await.unwrap();
    }
}

pub(crate) fn impatient(hosts: String) -> ClientBuilder {
    let retry = RetryPolicy::exponential(Duration::from_millis(5), Duration::from_millis(100));
    Client::builder(hosts).retry(retry)
}

fn launch() -> SharedServer {
    // 3.8 takes this only as a system property.
    let properties = ["zookeeper.extendedTypesEnabled=true"];
    let launcher = apache::launcher_with(Heap::SMALL, &properties).unwrap();
    SharedServer::launch(launcher, SETTINGS).unwrap()
}

/// Waits until the client is in a state that is wanted, now or later.
pub(crate) async fn until(client: &Client, wanted: impl Fn(SessionState) -> bool) -> SessionState {
    let mut states = client.states();
    loop {
        let state = states.next().await.unwrap();
        if wanted(state) {
            return state;
        }
    }
}

/// `RUST_LOG=zk_client=debug` shows what goes on.
fn trace() {
    if let Ok(asked) = std::env::var("RUST_LOG") {
        let filter: Targets = asked.parse().unwrap();
        // Another case may have been first.
        let _ = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_test_writer())
            .with(filter)
            .try_init();
    }
}

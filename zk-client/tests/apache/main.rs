//! What only a server configured for it has, against Apache's: SASL, TLS, reconfiguration, read-only mode.
#![allow(
    missing_docs,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

mod authority;
#[path = "../log/mod.rs"]
mod log;
mod secrets;

use std::{error::Error as _, fs, path::Path, time::Duration};

use authority::Authority;
use tokio::sync::{Mutex, MutexGuard};
use zk_client::{
    Acl, Client, ErrorCode, ErrorKind, Id, OnExpiry, Perms, SessionState, Tls, sasl::DigestMd5,
};
use zk_tests::{
    apache::{self, Heap},
    ports,
    process::ServerProcess,
};

/// One JVM after the other: the machine has other things to do.
static TURN: Mutex<()> = Mutex::const_new(());

/// A server of Apache's that is configured and does not run yet; `None` where Apache is not installed.
async fn prepare(
    test: &str,
    properties: &[&str],
    settings: &[(&str, &str)],
) -> Option<(ServerProcess, MutexGuard<'static, ()>)> {
    apache::launcher_or_skip(test)?;
    let launcher = apache::launcher_with(Heap::SMALL, properties)?;
    let turn = TURN.lock().await;
    Some((ServerProcess::prepare(launcher, settings).unwrap(), turn))
}

async fn start(mut server: ServerProcess) -> ServerProcess {
    let start = move || server.start().map(|()| server);
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

const SASL_PROVIDER: &str =
    "zookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

#[tokio::test]
async fn a_client_and_a_server_prove_themselves_by_digest_md5() {
    let folder = tempfile::tempdir().unwrap();
    let jaas = folder.path().join("jaas.conf");
    let login = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"b\\\"ob, s\"; };";
    fs::write(&jaas, login).unwrap();
    let jaas = format!("java.security.auth.login.config={}", jaas.display());
    let properties = [SASL_PROVIDER, &jaas];
    let Some((server, _turn)) = prepare("DIGEST-MD5", &properties, &[]).await else {
        return;
    };
    let server = start(server).await;
    let hosts = server.addr().to_string();
    let builder = || Client::builder(&*hosts).connect_timeout(Duration::from_secs(10));
    let client = builder().sasl(DigestMd5::new("bob", "b\"ob, s"));
    let client = client.connect().await.unwrap();
    let known = client.who_am_i().await.unwrap();
    let bob = known.iter().find(|identity| identity.scheme == "sasl");
    assert_eq!(bob.unwrap().user, "bob");
    let acl = vec![Acl {
        perms: Perms::ALL,
        id: Id {
            scheme: "sasl".into(),
            id: "bob".into(),
        },
    }];
    client.create("/bob", b"x").acl(acl).await.unwrap();
    assert_eq!(&client.get("/bob").await.unwrap().data[..], b"x");
    let stranger = builder().connect().await.unwrap();
    let refused = stranger.get("/bob").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoAuth);
    // On every connection again.
    let (id, password) = client.detach().await.unwrap();
    let again = builder()
        .session(id, password)
        .sasl(DigestMd5::new("bob", "b\"ob, s"));
    let again = again.connect().await.unwrap();
    assert_eq!(again.session().id(), id);
    again.delete("/bob").await.unwrap();
    for impostor in [DigestMd5::new("bob", "wrong"), DigestMd5::new("eve", "")] {
        let error = builder().sasl(impostor).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthFailed);
    }
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_login_is_told_apart_from_a_wrong_password() {
    let Some((server, _turn)) = prepare("no JAAS login", &[], &[]).await else {
        return;
    };
    let server = start(server).await;
    let builder = Client::builder(server.addr().to_string()).sasl(DigestMd5::new("bob", "x"));
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("does not speak DIGEST-MD5"), "{cause}");
}

/// A port of Apache's for TLS, its files in a folder.
struct SecurePort {
    port: String,
    store: String,
    trust: String,
}

impl SecurePort {
    fn new(folder: &Path, authority: &Authority) -> Self {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (store, trust) = (path("server.pem"), path("ca.pem"));
        let own = authority.issue("localhost");
        fs::write(&trust, authority.pem()).unwrap();
        fs::write(&store, [&*own.key, &own.certificate].concat()).unwrap();
        let port = ports::free().unwrap().port().to_string();
        Self { port, store, trust }
    }

    fn hosts(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn settings(&self) -> [(&str, &str); 8] {
        [
            ("secureClientPort", &self.port),
            (
                "serverCnxnFactory",
                "org.apache.zookeeper.server.NettyServerCnxnFactory",
            ),
            ("ssl.keyStore.location", &self.store),
            ("ssl.keyStore.type", "PEM"),
            ("ssl.trustStore.location", &self.trust),
            ("ssl.trustStore.type", "PEM"),
            ("ssl.hostnameVerification", "false"),
            (
                "authProvider.x509",
                "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
            ),
        ]
    }
}

#[tokio::test]
async fn a_secure_port_is_talked_to_by_tls_with_a_certificate_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new();
    let client = authority.issue("alice");
    fs::write(
        path("client.pem"),
        [&*client.key, &client.certificate].concat(),
    )
    .unwrap();
    let secure = SecurePort::new(folder.path(), &authority);
    let Some((server, _turn)) = prepare("secureClientPort", &[], &secure.settings()).await else {
        return;
    };
    let _server = start(server).await;
    let tls = Tls::new().ca_file(path("ca.pem"));
    let builder = |tls: Tls| {
        Client::builder(secure.hosts())
            .connect_timeout(Duration::from_secs(3))
            .tls(tls)
    };
    let own = tls
        .clone()
        .identity_files(path("client.pem"), path("client.pem"));
    let client = builder(own).connect().await.unwrap();
    let known = client.who_am_i().await.unwrap();
    assert!(
        known.iter().any(|identity| identity.scheme == "x509"),
        "{known:?}"
    );
    let big = vec![7_u8; 500_000];
    client.create("/a", &big).await.unwrap();
    assert_eq!(client.get("/a").await.unwrap().data, big);
    client.close().await.unwrap();
    let error = builder(tls).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
}

fn write_myid(data_dir: &Path, id: u32) {
    fs::write(data_dir.join("myid"), id.to_string()).unwrap();
}

#[tokio::test]
async fn an_ensemble_tells_its_configuration_and_takes_another() {
    let port = || ports::free().unwrap().port();
    let properties = ["zookeeper.skipACL=yes"];
    let Some((server, _turn)) = prepare("reconfig", &properties, &[]).await else {
        return;
    };
    let clients = server.addr();
    let first = format!("127.0.0.1:{}:{}:participant;{clients}", port(), port());
    let settings = [
        ("server.1", &*first),
        ("standaloneEnabled", "false"),
        ("reconfigEnabled", "true"),
        ("initLimit", "10"),
        ("syncLimit", "5"),
    ];
    server.configure(&settings).unwrap();
    write_myid(&server.data_dir(), 1);
    let _server = start(server).await;
    let client = Client::builder(format!("{clients}/below"))
        .connect_timeout(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    let (config, change) = client.ensemble_config().watch().await.unwrap();
    assert_eq!(config.connect_string(), clients.to_string());
    let version = config.version.unwrap();
    let observer = "127.0.0.1:1:2:observer;127.0.0.1:3";
    let error = client
        .reconfig()
        .join(2, observer)
        .from_version(version + 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadVersion);
    let changed = client
        .reconfig()
        .join(2, observer)
        .from_version(version)
        .await
        .unwrap();
    assert!(changed.version > config.version);
    let observers = changed
        .servers
        .iter()
        .map(|server| (server.id, server.observer));
    assert_eq!(observers.collect::<Vec<_>>(), [(1, false), (2, true)]);
    assert_eq!(change.await.path(), Some("/zookeeper/config"));
    assert_eq!(client.ensemble_config().await.unwrap(), changed);
    let fewer = client.reconfig().leave(2).await.unwrap();
    assert_eq!(fewer.connect_string(), config.connect_string());
    // The same by whole lists.
    let own = fewer
        .text
        .lines()
        .find(|line| line.starts_with("server.1="));
    let own = own.unwrap().to_owned();
    let both = client.reconfig().member(1, &own).member(2, observer);
    let both = both.await.unwrap();
    assert_eq!(both.servers.len(), 2);
    let alone = client.reconfig().member(1, &own);
    let fewer = alone.from_version(both.version.unwrap()).await.unwrap();
    assert_eq!(fewer.servers.len(), 1);
    let error = client.reconfig().leave(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
    client.update_hosts(&fewer.connect_string()).await.unwrap();
    client.sync("/").await.unwrap();
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_server_alone_refuses_to_be_reconfigured() {
    let Some((server, _turn)) = prepare("reconfig disabled", &[], &[]).await else {
        return;
    };
    let server = start(server).await;
    let client = Client::connect(&server.addr().to_string()).await.unwrap();
    assert_eq!(client.ensemble_config().await.unwrap().version, None);
    let error = client.reconfig().leave(7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server(ErrorCode::ReconfigDisabled));
    let error = client.reconfig().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_read_only_server_serves_until_one_that_takes_writes_is_found() {
    let port = || ports::free().unwrap().port();
    let (first, second) = (
        format!("127.0.0.1:{}:{}", port(), port()),
        format!("127.0.0.1:{}:{}", port(), port()),
    );
    let settings = [
        ("server.1", &*first),
        ("server.2", &*second),
        ("initLimit", "10"),
        ("syncLimit", "5"),
        ("tickTime", "500"),
        // Else a read-only server resumes sessions and opens none.
        ("localSessionsEnabled", "true"),
        ("localSessionsUpgradingEnabled", "true"),
    ];
    let properties = ["readonlymode.enabled=true"];
    let Some((one, _turn)) = prepare("read-only mode", &properties, &settings).await else {
        return;
    };
    let launcher = apache::launcher_with(Heap::SMALL, &properties).unwrap();
    let other = ServerProcess::prepare(launcher, &settings).unwrap();
    write_myid(&one.data_dir(), 1);
    write_myid(&other.data_dir(), 2);
    let hosts = format!("{},{}", one.addr(), other.addr());
    let one = start(one).await;
    let builder = || {
        Client::builder(&*hosts)
            .connect_timeout(Duration::from_secs(60))
            .on_expiry(OnExpiry::Stop)
            .allow_read_only()
    };
    let client = builder().connect().await;
    let client =
        client.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", error.source(), one.log()));
    assert_eq!(client.state(), SessionState::ReadOnly);
    assert!(client.exists("/zookeeper").await.unwrap().is_some());
    let error = client.create("/a", b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let mut states = client.states();
    let other = start(other).await;
    let old = loop {
        if let SessionState::Renewed { old, .. } = states.next().await.unwrap() {
            break old;
        }
    };
    assert_ne!(
        client.session().id(),
        old,
        "that one was known to one server alone"
    );
    client.create("/a", b"").ephemeral().await.unwrap();
    client.close().await.unwrap();
    drop((one, other));
}

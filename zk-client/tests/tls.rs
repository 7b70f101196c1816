//! TLS against one of our servers behind a proxy that ends it: whom the client trusts, who it is, and failover.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{error::Error as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use zk_client::{Client, ClientBuilder, Error, ErrorKind, SessionState, Tls};
use zk_server::Server;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Issuer, names: &[&str]) -> Pair {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names).unwrap();
    Pair {
        certificate: params.signed_by(&key, authority).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// Ends TLS in front of a server, and remembers who came.
struct Proxy {
    address: SocketAddr,
    /// The certificates that clients showed, in order.
    clients: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    /// Grows to cut every connection.
    cuts: watch::Sender<u32>,
}

impl Proxy {
    /// Asks clients for a certificate of `authority` if `demanding`.
    async fn start(
        server: SocketAddr,
        authority: &Issuer,
        names: &[&str],
        demanding: bool,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(authority, names, demanding)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients = Arc::new(Mutex::new(Vec::new()));
        let (cuts, _) = watch::channel(0);
        let (seen, cutting) = (Arc::clone(&clients), cuts.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let mut cut = cutting.subscribe();
                tokio::spawn(async move {
                    let Ok(mut near) = acceptor.accept(stream).await else {
                        return;
                    };
                    let shown = near.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    seen.lock()
                        .extend(shown.map(|shown| shown.clone().into_owned()));
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            clients,
            cuts,
        }
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn clients(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut *self.clients.lock())
    }
}

fn server_config(authority: &Issuer, names: &[&str], demanding: bool) -> ServerConfig {
    let pair = issue(authority, names);
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match demanding {
        true => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap(),
        ),
        false => builder.with_no_client_auth(),
    };
    let chain = vec![der(&pair.certificate)];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

fn der(certificate: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

fn builder(hosts: &str, tls: Tls) -> ClientBuilder {
    Client::builder(hosts)
        .connect_timeout(Duration::from_millis(1500))
        .tls(tls)
}

/// Everything that an error says, down to its cause.
fn told(error: &Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}

async fn refused(hosts: &str, tls: Tls) -> String {
    let error = builder(hosts, tls).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    told(&error)
}

/// Waits until the session is lost and resumed.
async fn resumed(client: &Client, proxy: &Proxy) {
    let mut states = client.states();
    assert_eq!(states.next().await, Some(SessionState::Connected));
    proxy.cut();
    assert_eq!(states.next().await, Some(SessionState::Suspended));
    assert_eq!(states.next().await, Some(SessionState::Connected));
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let server = Server::builder().start().await.unwrap();
    let authority = authority("ours");
    let proxy = Proxy::start(server.local_addr(), &authority, &["localhost"], true).await;
    let hosts = format!("localhost:{}", proxy.address.port());
    let pair = issue(&authority, &["client"]);
    let tls = Tls::new().ca_pem(authority.pem());
    let client = builder(
        &hosts,
        tls.clone().identity_pem(&*pair.certificate, &*pair.key),
    )
    .connect()
    .await
    .unwrap();
    assert_eq!(proxy.clients(), [der(&pair.certificate)]);
    let big = vec![7_u8; 700_000];
    client.create("/a", &big).ephemeral().await.unwrap();
    assert_eq!(client.get("/a").await.unwrap().data, big);
    resumed(&client, &proxy).await;
    assert_eq!(client.get("/a").await.unwrap().data, big);
    client.close().await.unwrap();
    // Without a certificate of its own the client is not let in.
    let told = refused(&hosts, tls).await;
    assert!(told.contains("ertificate"), "{told}");
}

#[tokio::test]
async fn a_server_is_trusted_for_its_authority_and_its_name() {
    let server = Server::builder().start().await.unwrap();
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let proxy = Proxy::start(server.local_addr(), &ours, &["zk.example"], false).await;
    let hosts = format!("127.0.0.1:{}", proxy.address.port());
    let trusting = || Tls::new().ca_pem(ours.pem());
    let stranger = refused(&hosts, Tls::new().ca_pem(theirs.pem())).await;
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let misnamed = refused(&hosts, trusting()).await;
    assert!(misnamed.contains("not valid for name"), "{misnamed}");
    let unrelated = Tls::new().ca_pem(theirs.pem()).any_server_name();
    assert!(refused(&hosts, unrelated).await.contains("UnknownIssuer"));
    for tls in [
        trusting().server_name("zk.example"),
        trusting().any_server_name(),
    ] {
        let client = builder(&hosts, tls).connect().await.unwrap();
        client.sync("/").await.unwrap();
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_address_in_a_certificate_is_a_name_too() {
    let server = Server::builder().start().await.unwrap();
    let authority = authority("ours");
    let proxy = Proxy::start(server.local_addr(), &authority, &["127.0.0.1"], false).await;
    let hosts = format!("127.0.0.1:{}", proxy.address.port());
    let tls = Tls::new().ca_pem(authority.pem());
    let client = builder(&hosts, tls).connect().await.unwrap();
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_port_without_tls_is_named_as_the_likely_mistake() {
    let server = Server::builder().start().await.unwrap();
    let tls = Tls::new().ca_pem(authority("ours").pem());
    let told = refused(&server.connect_string(), tls).await;
    assert!(told.contains("does it speak TLS on this port?"), "{told}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_from_the_next_connection_on() {
    let server = Server::builder().start().await.unwrap();
    let authority = authority("ours");
    let proxy = Proxy::start(server.local_addr(), &authority, &["localhost"], true).await;
    let hosts = format!("localhost:{}", proxy.address.port());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (old, new) = (issue(&authority, &["old"]), issue(&authority, &["new"]));
    let write =
        |pair: &Pair| std::fs::write(path("both"), [&*pair.certificate, &pair.key].concat());
    std::fs::write(path("ca"), authority.pem()).unwrap();
    write(&old).unwrap();
    let tls = Tls::new()
        .ca_file(path("ca"))
        .identity_files(path("both"), path("both"));
    let client = builder(&hosts, tls).connect().await.unwrap();
    assert_eq!(proxy.clients(), [der(&old.certificate)]);
    write(&new).unwrap();
    resumed(&client, &proxy).await;
    assert_eq!(proxy.clients(), [der(&new.certificate)]);
    // A file that is half written or gone does no harm.
    std::fs::write(path("both"), &new.certificate[..100]).unwrap();
    resumed(&client, &proxy).await;
    std::fs::remove_file(path("both")).unwrap();
    resumed(&client, &proxy).await;
    let newer = der(&new.certificate);
    assert_eq!(proxy.clients(), [newer.clone(), newer]);
    client.close().await.unwrap();
}

#[tokio::test]
async fn certificates_that_are_no_good_are_told_at_once() {
    let authority = authority("ours");
    let (one, other) = (issue(&authority, &["a"]), issue(&authority, &["b"]));
    let trusting = || Tls::new().ca_pem(authority.pem());
    let cases = [
        (Tls::new(), "an authority to trust"),
        (Tls::new().ca_file("/nowhere/ca.pem"), "/nowhere/ca.pem: "),
        (
            Tls::new().ca_pem("nothing"),
            "there is no certificate in it",
        ),
        (
            trusting().identity_pem(&*one.key, &*one.key),
            "there is no certificate in it",
        ),
        (
            trusting().identity_pem(&*one.certificate, "nothing"),
            "no private key",
        ),
        (
            trusting().identity_pem(&*one.certificate, &*other.key),
            "do not go together",
        ),
    ];
    for (tls, expected) in cases {
        let error = builder("localhost:1", tls).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadArguments);
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_in_the_handshake_is_overtaken() {
    let server = Server::builder().start().await.unwrap();
    let authority = authority("ours");
    let proxy = Proxy::start(server.local_addr(), &authority, &["localhost"], false).await;
    // Accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let hosts = format!("localhost:{port},localhost:{}", proxy.address.port());
    for seed in 0..6 {
        let tls = Tls::new().ca_pem(authority.pem());
        let connect = builder(&hosts, tls).seed(seed).connect();
        let client = connect.await.unwrap();
        client.close().await.unwrap();
    }
}

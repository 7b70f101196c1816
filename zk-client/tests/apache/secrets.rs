//! A client with everything that is secret: what it traces and shows.

use std::{
    fmt::{Debug, Write as _},
    fs,
    time::Duration,
};

use zk_client::{Acl, Client, ErrorKind, Tls, sasl::DigestMd5};

use crate::{
    SASL_PROVIDER, SecurePort,
    authority::{Authority, Pair},
    log::{Log, forms},
    prepare, start,
};

const SASL_PASSWORD: &str = "sasl-pa55word";
const WRONG_PASSWORD: &str = "wr0ng-pa55word";
const DIGEST_PASSWORD: &str = "digest-pa55word";
const DATA: &str = "what-is-written";

#[tokio::test(flavor = "current_thread")]
async fn nothing_secret_is_traced_or_shown_with_tls_sasl_and_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new();
    let own = authority.issue("alice");
    let login = format!(
        "Server {{ org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=\"{SASL_PASSWORD}\"; }};"
    );
    fs::write(path("jaas.conf"), login).unwrap();
    let jaas = format!("java.security.auth.login.config={}", path("jaas.conf"));
    let secure = SecurePort::new(folder.path(), &authority);
    let properties = [SASL_PROVIDER, &jaas];
    let Some((server, _turn)) = prepare("secrets", &properties, &secure.settings()).await else {
        return;
    };
    let _server = start(server).await;
    let (log, _guard) = Log::begin();
    let (shown, password) = use_everything(&secure.hosts(), &authority.pem(), &own).await;
    let log = log.text();
    assert!(
        log.contains("answered") && log.contains("handshake"),
        "{log}"
    );
    let key: Vec<_> = own
        .key
        .lines()
        .filter(|line| !line.contains("--"))
        .collect();
    let mut hidden = vec!["response=".to_owned()];
    hidden.extend(key.iter().map(|line| (*line).to_owned()));
    for secret in [SASL_PASSWORD, WRONG_PASSWORD, DIGEST_PASSWORD, DATA] {
        hidden.extend(forms(secret.as_bytes()));
    }
    hidden.extend(forms(&password));
    for (text, what) in [(&log, "the log"), (&shown, "Debug")] {
        for hidden in &hidden {
            assert!(!text.contains(hidden), "{what} shows {hidden:?}:\n{text}");
        }
    }
}

/// Everything that a client and its errors show of themselves, and the session's password.
async fn use_everything(hosts: &str, authority: &str, own: &Pair) -> (String, Vec<u8>) {
    let mut shown = String::new();
    let mut show = |value: &dyn Debug| {
        let _ = write!(shown, "{value:?} {value:#?}");
    };
    let tls = Tls::new()
        .ca_pem(authority)
        .identity_pem(&*own.certificate, &*own.key);
    let builder = |password: &str| {
        let mechanism = DigestMd5::new("bob", password);
        Client::builder(hosts)
            .connect_timeout(Duration::from_secs(10))
            .auth("digest", format!("alice:{DIGEST_PASSWORD}"))
            .tls(tls.clone())
            .sasl(mechanism)
    };
    show(&tls);
    show(&DigestMd5::new("bob", SASL_PASSWORD));
    show(&builder(SASL_PASSWORD));
    let client = builder(SASL_PASSWORD).connect().await.unwrap();
    let known = client.who_am_i().await.unwrap();
    let schemes = ["x509", "sasl", "digest"];
    let is_known = |scheme: &&str| known.iter().any(|known| known.scheme == **scheme);
    assert!(schemes.iter().all(is_known), "{known:?}");
    let create = client.create("/a", DATA).acl(Acl::creator_all());
    show(&create);
    create.await.unwrap();
    show(&client.add_auth("digest", format!("eve:{DIGEST_PASSWORD}")));
    let session = client.session();
    let password = session.password().as_bytes().to_vec();
    show(&(&client, &session, client.states()));
    let refused = builder(WRONG_PASSWORD).connect().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AuthFailed);
    show(&refused);
    client.close().await.unwrap();
    (shown, password)
}

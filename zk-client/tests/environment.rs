//! A client as the environment says, in processes of their own: a test must not change its own environment.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

use std::process::{Command, Output};

use zk_client::{Client, ErrorKind, SessionState};
use zk_server::Server;

/// Runs the test [`child`] alone, with these variables and no others of the client's.
fn run(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--ignored"]);
    for name in [
        "ZK_CONNECT",
        "ZK_AUTH",
        "ZK_SESSION_TIMEOUT_MS",
        "ZK_TLS_CA",
        "ZK_TLS_CERT",
        "ZK_TLS_KEY",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

/// What the child says, on a line that begins with `told: `.
fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("told: "));
    line.unwrap_or_else(|| panic!("{output:?}")).1.to_owned()
}

/// Not a test but the other process of one.
#[tokio::test]
#[ignore = "run by the tests of this file"]
#[allow(clippy::print_stdout, reason = "read by its parent")]
async fn child() {
    let client = match Client::from_env().await {
        Ok(client) => client,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadArguments);
            println!("told: {error}");
            return;
        }
    };
    assert_eq!(client.state(), SessionState::Connected);
    let timeout = client.session().timeout().as_millis();
    let data = client.get("/mine").await.unwrap().data;
    println!("told: {timeout} {}", String::from_utf8_lossy(&data));
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_environment_says_where_who_and_for_how_long() {
    let server = Server::builder().start().await.unwrap();
    let owner = Client::builder(server.connect_string()).auth("digest", "alice:a:secret");
    let owner = owner.connect().await.unwrap();
    owner.create("/app", "").await.unwrap();
    let mine = owner.create("/app/mine", "treasure");
    mine.acl(zk_client::Acl::creator_all()).await.unwrap();
    let hosts = format!("{}/app", server.connect_string());
    let output = tokio::task::spawn_blocking(move || {
        run(&[
            ("ZK_CONNECT", &hosts),
            ("ZK_AUTH", "digest:alice:a:secret"),
            ("ZK_SESSION_TIMEOUT_MS", "7000"),
        ])
    });
    assert_eq!(told(&output.await.unwrap()), "7000 treasure");
}

#[test]
fn a_variable_that_is_missing_or_malformed_is_named() {
    let somewhere = ("ZK_CONNECT", "127.0.0.1:1");
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "ZK_CONNECT is not set"),
        (
            &[somewhere, ("ZK_AUTH", "alice")],
            "ZK_AUTH is not scheme:secret",
        ),
        (
            &[somewhere, ("ZK_SESSION_TIMEOUT_MS", "1 s")],
            "bad ZK_SESSION_TIMEOUT_MS",
        ),
        (&[("ZK_CONNECT", "127.0.0.1:x")], "bad port"),
    ];
    for (variables, expected) in cases {
        let told = told(&run(variables));
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("alice"), "{told}");
    }
}

/// What is read is read before anything is connected, so a file that is none shows that its variable counts.
#[cfg(feature = "tls-no-provider")]
#[test]
fn the_files_for_tls_are_read() {
    let directory = std::env::temp_dir().join(format!("zk-environment-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let issuer = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let authority = file("ca.pem", &issuer.cert.pem());
    let key = file("key.pem", &issuer.signing_key.serialize_pem());
    let missing = directory.join("missing.pem").to_str().unwrap().to_owned();
    let somewhere = ("ZK_CONNECT", "127.0.0.1:1");
    let ca = ("ZK_TLS_CA", authority.as_str());
    for variables in [
        vec![somewhere, ("ZK_TLS_CA", missing.as_str())],
        vec![somewhere, ca, ("ZK_TLS_CERT", missing.as_str())],
        vec![
            somewhere,
            ca,
            ("ZK_TLS_CERT", authority.as_str()),
            ("ZK_TLS_KEY", missing.as_str()),
        ],
        // A certificate without a key of its own, in its file or elsewhere.
        vec![somewhere, ca, ("ZK_TLS_CERT", authority.as_str())],
        vec![
            somewhere,
            ca,
            ("ZK_TLS_CERT", key.as_str()),
            ("ZK_TLS_KEY", key.as_str()),
        ],
    ] {
        let told = told(&run(&variables));
        let expected = ["missing.pem", "ca.pem", "key.pem"];
        assert!(expected.iter().any(|name| told.contains(name)), "{told}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

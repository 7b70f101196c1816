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
    for name in ["ZK_CONNECT", "ZK_AUTH", "ZK_SESSION_TIMEOUT_MS"] {
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

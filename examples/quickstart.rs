//! The main job in a few seconds: two contenders take turns on a distributed lock, and a running program
//! sees its configuration change.
//!
//! ```text
//! cargo run --example quickstart                          # with a server of its own
//! cargo run --example quickstart -- --connect host:port   # with any ZooKeeper
//! ```

use std::{io::Write, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use zk_client::Client;
use zk_examples::{Ensemble, Failure};
use zk_recipes::prelude::*;

const ROUNDS: usize = 3;

/// How long a holder works: long enough for the other to queue up behind it.
const WORK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    greeting: String,
    workers: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(zk_examples::connect_argument()?).await?;
    eprintln!("ZooKeeper at {}", ensemble.connect_string());

    take_turns(ensemble.connect_string()).await?;
    reload(ensemble.connect_string()).await?;

    ensemble.stop().await?;
    say("done", "");
    Ok(())
}

/// Alice and Bob, each with a session of their own, want the same lock three times each.
async fn take_turns(hosts: &str) -> Result<(), Failure> {
    say("lock", "alice and bob take turns on /quickstart/lock");
    let alice_holds_it = Arc::new(Notify::new());
    let alice = tokio::spawn({
        let (hosts, first) = (hosts.to_owned(), Arc::clone(&alice_holds_it));
        async move { contender("alice", &hosts, || first.notify_one()).await }
    });
    alice_holds_it.notified().await;
    let bob = contender("bob", hosts, || ()).await?;
    let alice = alice.await??;

    let mut tokens = [alice, bob].concat();
    tokens.sort_unstable();
    tokens.dedup();
    say(
        "lock",
        &format!(
            "{} turns, {} different fencing tokens",
            2 * ROUNDS,
            tokens.len()
        ),
    );
    Ok(())
}

/// Takes the lock, works while holding it, releases it; gives back the fencing tokens it held.
async fn contender(name: &str, hosts: &str, first_turn: impl Fn()) -> Result<Vec<i64>, Failure> {
    let client = Client::builder(hosts).identity(name).connect().await?;
    let mut tokens = Vec::new();
    for turn in 1..=ROUNDS {
        let guard = client.lock("/quickstart/lock").await?;
        guard.ensure()?; // before every side effect: is it still ours?
        tokens.push(guard.token().0);
        say("lock", &format!("turn {turn}: {name} holds it"));
        if turn == 1 {
            first_turn();
        }
        tokio::time::sleep(WORK).await;
        guard.release().await?;
    }
    client.close().await?;
    Ok(tokens)
}

/// One client watches its settings, another changes them.
async fn reload(hosts: &str) -> Result<(), Failure> {
    let operator = Client::connect(hosts).await?;
    let program = Client::connect(hosts).await?;
    operator.ensure("/quickstart/settings").await?;
    operator
        .set(
            "/quickstart/settings",
            br#"{"greeting":"hello","workers":2}"#,
        )
        .await?;

    let mut config: ConfigWatcher<Settings> = program
        .config("/quickstart/settings")
        .json()
        .watch()
        .await?;
    say(
        "config",
        &format!("the program starts with {:?}", config.current()),
    );

    let (seen, mut changes) = mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        while config.changed().await.is_ok() {
            if seen.send(config.current()).is_err() {
                break;
            }
        }
    });
    for (greeting, workers) in [("good morning", 4), ("good night", 1)] {
        let next = Settings {
            greeting: greeting.into(),
            workers,
        };
        say("config", &format!("an operator writes      {next:?}"));
        operator
            .set("/quickstart/settings", serde_json::to_vec(&next)?)
            .await?;
        let now = changes.recv().await.ok_or("the watcher ended")?;
        say("config", &format!("the program runs with   {now:?}"));
    }
    drop(changes);
    watching.abort();
    operator.delete_all("/quickstart").await?;
    program.close().await?;
    operator.close().await?;
    Ok(())
}

fn say(what: &str, line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(
        std::io::stdout(),
        "{}",
        format!("{what:<7} {line}").trim_end()
    );
}

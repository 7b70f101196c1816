//! Sharing with limits: readers and a writer, a semaphore, several locks at once, and a holder that lets go when it is asked.
//!
//! ```text
//! cargo run --example shared_access                                    # alone, with a server of its own
//! cargo run --example shared_access -- --connect host:port
//! ```

use std::{io::Write, time::Duration};

use tokio::task::JoinSet;
use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let client = Client::connect(ensemble.connect_string()).await?;
    readers_and_a_writer(&client).await?;
    downloads(&client).await?;
    transfer(&client).await?;
    polite(&client).await?;
    client.close().await?;
    ensemble.stop().await?;
    Ok(())
}

/// A writer publishes, and reads on without letting anybody write in between.
async fn readers_and_a_writer(client: &Client) -> Result<(), Failure> {
    let catalogue = "/examples/catalogue";
    let writer = client.write_lock(catalogue).await?;
    say(&format!("writes alone, with token {}", writer.token()));
    let reader = writer.downgrade().await?;
    let other = client.read_lock(catalogue).await?;
    let refused = client.write_lock(catalogue).try_acquire().await?.is_none();
    say(&format!("two read together; nobody writes: {refused}"));
    other.release().await?;
    reader.release().await?;
    Ok(())
}

/// Six want to download, two may at a time.
async fn downloads(client: &Client) -> Result<(), Failure> {
    let mut downloads = JoinSet::new();
    for file in 1..=6 {
        let client = client.clone();
        downloads.spawn(async move {
            let lease = client.semaphore("/examples/downloads", 2).await?;
            // `run` drops the work when the lease is lost.
            lease
                .run(tokio::time::sleep(Duration::from_millis(30)))
                .await?;
            lease.release().await?;
            Ok::<_, zk_recipes::Error>(file)
        });
    }
    while let Some(done) = downloads.join_next().await {
        say(&format!("file {} is here", done??));
    }
    Ok(())
}

/// Both accounts, or none of them; in whatever order they are named.
async fn transfer(client: &Client) -> Result<(), Failure> {
    let accounts = ["/examples/accounts/b", "/examples/accounts/a"];
    let both = client
        .multi_lock(accounts)
        .timeout(Duration::from_secs(5))
        .await?;
    for guard in both.guards() {
        say(&format!(
            "holds {} with token {}",
            guard.path(),
            guard.token()
        ));
    }
    both.release().await?;
    Ok(())
}

/// Works on until somebody asks for the lock.
async fn polite(client: &Client) -> Result<(), Failure> {
    let path = "/examples/index";
    let guard = client.lock(path).await?;
    let worker = tokio::spawn(async move {
        guard.revocation().await?;
        guard.release().await
    });
    if let Some(holder) = client.lock(path).contenders().await?.first() {
        client.lock(path).revoke(holder).await?;
    }
    let guard = client.lock(path).await?;
    worker.await??;
    say("the holder let go when it was asked");
    guard.release().await?;
    Ok(())
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

//! Workers that begin and end every round of a computation together.
//!
//! ```text
//! cargo run --example barrier                          # alone, with a server of its own
//! cargo run --example barrier -- --connect host:port   # in as many terminals as you like, four workers in each
//! ```

use std::{io::Write, time::Duration};

use tokio::task::JoinSet;
use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::prelude::*;

const WORKERS: usize = 4;
const ROUNDS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let hosts = ensemble.connect_string();

    // One who tells all the others when to begin ...
    let client = Client::connect(hosts).await?;
    let start = client.barrier("/examples/barrier/start");
    start.set().await?;
    let mut workers = JoinSet::new();
    for number in 1..=WORKERS {
        workers.spawn(work(hosts.to_owned(), number));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    say("the start is open");
    start.remove().await?;
    while let Some(worked) = workers.join_next().await {
        worked??;
    }

    client.close().await?;
    ensemble.stop().await?;
    say("done");
    Ok(())
}

/// ... and workers that wait for each other before and after every round.
async fn work(hosts: String, number: usize) -> Result<(), Failure> {
    let client = Client::builder(hosts)
        .identity(format!("worker {number}"))
        .connect()
        .await?;
    client.barrier("/examples/barrier/start").wait().await?;
    let barrier = client.double_barrier("/examples/barrier/rounds", WORKERS);
    for _ in 0..ROUNDS {
        let round = barrier.enter().await?;
        if number == 1 {
            say(&format!("round {round}: {WORKERS} workers are in"));
        }
        // Some are slower than others.
        tokio::time::sleep(Duration::from_millis(30) * u32::try_from(number)?).await;
        barrier.leave().await?;
        if number == 1 {
            say(&format!("round {round}: all have left"));
        }
    }
    client.close().await?;
    Ok(())
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

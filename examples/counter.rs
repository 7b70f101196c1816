//! A counter that many change, a number that everybody sees, and unique numbers.
//!
//! ```text
//! cargo run --example counter                          # alone, with a server of its own
//! cargo run --example counter -- --connect host:port
//! ```

use std::io::Write;

use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::{Error, prelude::*};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let hosts = ensemble.connect_string();
    let client = Client::connect(hosts).await?;

    // Two programs add at the same time, and nothing is lost.
    let hits = client.atomic_long("/examples/counter/hits");
    hits.set(0).await?;
    tokio::try_join!(add(hosts), add(hosts))?;
    say(&format!("hits: {}", hits.get().await?));

    // A number that everybody has at hand, and is told of.
    let workers = client
        .shared_count("/examples/counter/workers")
        .start()
        .await?;
    workers.set(2).await?;
    let other = Client::connect(hosts).await?;
    let mut seen = other
        .shared_count("/examples/counter/workers")
        .start()
        .await?;
    say(&format!("workers: {}", seen.current()));
    workers.set(4).await?;
    seen.changed().await?;
    say(&format!("workers: {}", seen.current()));

    // Numbers that nobody else gets, ten to a write.
    let orders = client.ids("/examples/counter/orders").block(10);
    let (first, second) = (orders.next().await?, orders.next().await?);
    say(&format!("two orders, {} apart", second - first));

    other.close().await?;
    client.close().await?;
    ensemble.stop().await?;
    Ok(())
}

async fn add(hosts: &str) -> Result<(), Failure> {
    let client = Client::connect(hosts).await?;
    let hits = client.atomic_long("/examples/counter/hits");
    for _ in 0..50 {
        match hits.increment().await {
            Ok(_) => {}
            // The session ended before the answer came: it may count or not, and no counter can tell.
            Err(Error::Unknown { path }) => eprintln!("{path}: one hit is uncertain"),
            Err(error) => return Err(error.into()),
        }
    }
    client.close().await?;
    Ok(())
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

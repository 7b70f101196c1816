//! A producer, two consumers, and an item that nobody can process.
//!
//! ```text
//! cargo run --example queue                          # alone, with a server of its own
//! cargo run --example queue -- --connect host:port
//! ```

use std::{
    io::Write,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::prelude::*;

const JOBS: usize = 6;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let client = Client::connect(ensemble.connect_string()).await?;
    let queue = client.queue("/examples/queue").dead_letters_after(2);

    queue
        .put_all((1..=JOBS).map(|job| format!("job {job}")))
        .await?;
    queue.put_at(0, "poison").await?; // before all others
    say("7 items are put");

    // Every consumer has a session of its own: when its process dies, its items come back.
    let done = Arc::new(AtomicUsize::new(0));
    let hosts = ensemble.connect_string();
    let consumer = || consume(hosts, Arc::clone(&done));
    tokio::try_join!(consumer(), consumer())?;
    say(&format!("{} jobs are done", done.load(Ordering::Relaxed)));

    for letter in queue.dead_letters().await? {
        say(&format!(
            "dead letter: {}",
            String::from_utf8_lossy(&letter.data)
        ));
        queue.discard(&letter).await?;
    }
    client.close().await?;
    ensemble.stop().await?;
    Ok(())
}

async fn consume(hosts: &str, done: Arc<AtomicUsize>) -> Result<(), Failure> {
    let client = Client::connect(hosts).await?;
    let queue = client.queue("/examples/queue").dead_letters_after(2);
    while let Some(delivery) = next(&queue).await? {
        match delivery.data().as_ref() {
            b"poison" => delivery.nack().await?, // or crash: it is counted all the same
            _ => {
                // `run` drops the work when the item is lost, because somebody else is given it then.
                delivery
                    .run(async { done.fetch_add(1, Ordering::Relaxed) })
                    .await?;
                delivery.ack().await?;
            }
        }
    }
    client.close().await?;
    Ok(())
}

/// The next item; `None` when the queue is empty, so that the example ends. A real consumer just waits.
async fn next(queue: &Queue) -> Result<Option<Delivery>, Failure> {
    loop {
        if let Some(delivery) = queue.try_take().await? {
            return Ok(Some(delivery));
        }
        if queue.len().await? == 0 {
            return Ok(None);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

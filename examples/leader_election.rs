//! One of several processes leads: a listener that works while it leads, and a latch that looks on.
//!
//! ```text
//! cargo run --example leader_election                                  # alone, with a server of its own
//! cargo run --example leader_election -- --connect host:port           # against a server, in several terminals
//! ```

use std::{io::Write, ops::ControlFlow, time::Duration};

use async_trait::async_trait;
use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::{
    leader::{LeaderClaim, LeaderListener},
    prelude::*,
};

const ELECTION: &str = "/examples/leader_election";
const TERM: Duration = Duration::from_millis(150);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let hosts = ensemble.connect_string();
    tokio::try_join!(node(hosts, "a"), node(hosts, "b"))?;
    look_on(hosts).await?;
    ensemble.stop().await?;
    Ok(())
}

/// Serves two terms, and queues again after the first, behind whoever waits.
async fn node(hosts: &str, name: &str) -> Result<(), Failure> {
    let client = Client::builder(hosts).identity(name).connect().await?;
    let node = Node {
        name: name.to_owned(),
        terms_left: 2,
    };
    client.latch(ELECTION).listen(node).await?;
    client.close().await?;
    Ok(())
}

struct Node {
    name: String,
    terms_left: u32,
}

#[async_trait]
impl LeaderListener for Node {
    /// Dropped half way when the leadership is lost; nothing goes on under somebody else's leadership.
    async fn lead(&mut self, leadership: &LeaderClaim) -> ControlFlow<()> {
        // The epoch grows from leader to leader: whoever is commanded refuses a smaller one than it has seen.
        say(&format!(
            "{} leads, epoch {}",
            self.name,
            leadership.token()
        ));
        tokio::time::sleep(TERM).await;
        self.terms_left -= 1;
        match self.terms_left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// A latch takes part, too, and can be asked at any time.
async fn look_on(hosts: &str) -> Result<(), Failure> {
    let client = Client::builder(hosts).identity("c").connect().await?;
    let latch = client.latch(ELECTION).start().await?;
    let leadership = latch.leads().await?;
    say(&format!(
        "c leads: {}, epoch {}",
        latch.is_leader(),
        leadership.token()
    ));
    for participant in latch.participants().await? {
        say(&format!(
            "{} takes part since {:?}",
            participant.identity,
            participant.age()
        ));
    }
    latch.close().await?;
    client.close().await?;
    Ok(())
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

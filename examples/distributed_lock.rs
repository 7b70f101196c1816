//! A lock between programs: run it in two terminals against the same server and watch them take turns.
//!
//! ```text
//! cargo run --example distributed_lock                                  # alone, with a server of its own
//! cargo run --example distributed_lock -- --connect host:port --name a  # in one terminal
//! cargo run --example distributed_lock -- --connect host:port --name b  # in another
//! ```
//! Without `--connect` it plays both terminals itself.

use std::{io::Write, time::Duration};

use zk_client::Client;
use zk_examples::{Ensemble, Failure};
use zk_recipes::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let alone = arguments.connect.is_none();
    let ensemble = Ensemble::at(arguments.connect).await?;
    eprintln!("ZooKeeper at {}", ensemble.connect_string());

    let hosts = ensemble.connect_string();
    if alone {
        tokio::try_join!(
            contend(hosts, "a", arguments.turns, arguments.work),
            contend(hosts, "b", arguments.turns, arguments.work),
        )?;
    } else {
        contend(hosts, &arguments.name, arguments.turns, arguments.work).await?;
    }
    ensemble.stop().await?;
    Ok(())
}

/// Takes the lock `turns` times and works for a while each time.
async fn contend(hosts: &str, name: &str, turns: usize, work: Duration) -> Result<(), Failure> {
    let client = Client::builder(hosts).identity(name).connect().await?;
    for turn in 1..=turns {
        let guard = client.lock("/examples/distributed_lock").await?;
        say(&format!("{name}: turn {turn} begins"));
        // `run` drops the work when the lock is lost; nothing goes on under a lock that somebody else holds.
        guard.run(tokio::time::sleep(work)).await?;
        say(&format!("{name}: turn {turn} ends"));
        guard.release().await?;
    }
    client.close().await?;
    Ok(())
}

struct Arguments {
    connect: Option<String>,
    name: String,
    turns: usize,
    work: Duration,
}

impl Arguments {
    fn parse() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut arguments = Self {
            connect: None,
            name: format!("process {}", std::process::id()),
            turns: 5,
            work: Duration::from_millis(200),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("connect") => arguments.connect = Some(parser.value()?.string()?),
                Long("name") => arguments.name = parser.value()?.string()?,
                Long("turns") => arguments.turns = parser.value()?.parse()?,
                Long("work-ms") => arguments.work = Duration::from_millis(parser.value()?.parse()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(arguments)
    }
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

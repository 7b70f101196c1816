//! A part of the tree in memory, and every change of it: a cache.
//!
//! ```text
//! cargo run --example tree_cache                                          # with a server of its own, and a writer
//! cargo run --example tree_cache -- --connect host:port --path /somewhere # until somebody deletes that node
//! ```

use std::io::Write;

use zk_client::Client;
use zk_examples::{Ensemble, Failure};
use zk_recipes::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let writes = arguments.path.is_none();
    let path = arguments
        .path
        .unwrap_or_else(|| "/examples/tree".to_owned());
    let ensemble = Ensemble::at(arguments.connect).await?;
    let client = Client::connect(ensemble.connect_string()).await?;
    if writes {
        client.create_all(&format!("{path}/apples"), "3").await?;
    }
    let cache = client.tree_cache(&path).start().await?;
    match writes {
        true => {
            let (followed, written) = tokio::join!(follow(&cache), write(&client, &path));
            followed?;
            written?;
        }
        false => follow(&cache).await?,
    }
    client.close().await?;
    ensemble.stop().await
}

/// Prints what is there and what changes, until the root is gone.
async fn follow(cache: &Cache) -> Result<(), Failure> {
    let mut changes = cache.changes();
    while let Some(change) = changes.next().await {
        match change? {
            CacheChange::Added(node) => say(&format!("+ {} {}", node.path, text(&node))),
            CacheChange::Changed { new, .. } => say(&format!("= {} {}", new.path, text(&new))),
            CacheChange::Removed(node) => {
                say(&format!("- {}", node.path));
                if *node.path == *cache.path() {
                    break;
                }
            }
            CacheChange::Synced => say(&format!("that is all: {} nodes", cache.len())),
            _ => {}
        }
    }
    Ok(())
}

/// What somebody else would do, one step after the other has been seen.
async fn write(client: &Client, path: &str) -> Result<(), Failure> {
    let seen = client.tree_cache(path).start().await?;
    let mut changes = seen.changes();
    let (apples, pears) = (format!("{path}/apples"), format!("{path}/pears"));
    while !matches!(changes.next().await.transpose()?, Some(CacheChange::Synced)) {}
    client.set(&apples, "4").await?;
    changes.next().await.transpose()?;
    client.create(&pears, "1").await?;
    changes.next().await.transpose()?;
    client.delete(&apples).await?;
    changes.next().await.transpose()?;
    client.delete_all(path).await?;
    Ok(())
}

fn text(node: &CachedNode) -> String {
    String::from_utf8_lossy(&node.data).into_owned()
}

struct Arguments {
    connect: Option<String>,
    path: Option<String>,
}

impl Arguments {
    fn parse() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let (mut connect, mut path) = (None, None);
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("connect") => connect = Some(parser.value()?.string()?),
                Long("path") => path = Some(parser.value()?.string()?),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Self { connect, path })
    }
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

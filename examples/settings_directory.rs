//! Settings as a directory: one node for each field, read as one struct and written as one transaction.
//!
//! ```text
//! cargo run --example settings_directory                         # with a server of its own
//! cargo run --example settings_directory -- --connect host:port
//! ```

use std::io::Write;

use serde::{Deserialize, Serialize};
use zk_client::Client;
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::prelude::*;

const PATH: &str = "/examples/settings";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    url: String,
    pool_size: u32,
    comment: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let client = Client::connect(ensemble.connect_string()).await?;
    let first = Settings {
        url: "db-1".into(),
        pool_size: 8,
        comment: None,
    };
    let source = client.config(PATH).directory::<Settings>();
    let source = source.validate(|settings| match settings.pool_size {
        0 => Err("an empty pool"),
        _ => Ok(()),
    });
    let mut config = source.or_start_with(first.clone()).watch().await?;
    config.set(&first).await?;
    say(&format!("written   {:?}", nodes(&client).await?));

    // Both fields change together: nobody sees the new address with the old size.
    let second = Settings {
        url: "db-2".into(),
        pool_size: 16,
        comment: Some("moved".into()),
    };
    config.set(&second).await?;
    say(&format!("current   {:?}", config.current()));
    say(&format!("written   {:?}", nodes(&client).await?));

    // Somebody edits a single node by hand.
    client.set(&format!("{PATH}/pool_size"), "0").await?;
    loop {
        if let ConfigChange::Invalid(bad) = config.changed().await? {
            let why = std::error::Error::source(&bad).map(ToString::to_string);
            say(&format!("refused   {}", why.unwrap_or_default()));
            break;
        }
    }
    say(&format!("current   {:?}", config.current()));
    client.set(&format!("{PATH}/pool_size"), "20").await?;
    while config.current().pool_size != 20 {
        config.changed().await?;
    }
    say(&format!("current   {:?}", config.current()));
    client.delete_all(PATH).await?;
    client.close().await?;
    ensemble.stop().await
}

/// The names of the fields' nodes, in order.
async fn nodes(client: &Client) -> Result<Vec<String>, Failure> {
    let mut names = client.children(PATH).await?;
    names.sort();
    Ok(names)
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}

//! A configuration centre: a web service whose database pool follows a znode.
//!
//! The settings live as JSON in a znode. When it changes, a new pool opens and takes over; the old one drains
//! its running queries and closes. Settings that are malformed, out of range or lead to no database are
//! refused, and the last good pool keeps serving.
//!
//! ```text
//! cargo run --example config_reload --features config-reload              # plays it through, then ends
//! cargo run --example config_reload --features config-reload -- --serve   # serves until Ctrl-C
//! ```
//! `--connect host:port` uses any ZooKeeper, `--database postgres://user:password@host/name` a real database (an
//! SQLite file otherwise; given twice, the second one is what the operator changes to), `--listen address` and
//! `--path znode` say where.

mod demo;
mod pool;
mod service;
mod settings;

use std::{io::Write, net::SocketAddr, path::Path, sync::Arc};

use tokio::{net::TcpListener, sync::oneshot};
use zk_client::{Client, ErrorKind};
use zk_examples::{Ensemble, Failure};
use zk_recipes::prelude::*;

use self::{pool::LivePool, settings::Settings};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    sqlx::any::install_default_drivers();
    let arguments = Arguments::parse()?;
    let directory = tempfile::tempdir()?;
    let ensemble = Ensemble::at(arguments.connect.clone()).await?;
    eprintln!("ZooKeeper at {}", ensemble.connect_string());

    let client = Client::connect(ensemble.connect_string()).await?;
    let [first, second] = arguments.databases(directory.path());
    let settings = Settings::first(first);
    write_first_settings(&client, &arguments, &settings).await?;

    let config = client
        .config(&arguments.path)
        .json()
        .validate(Settings::check)
        .watch()
        .await?;
    let pool = Arc::new(LivePool::open(config.current()).await?);
    let listener = TcpListener::bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    eprintln!("answers at http://{address}/answer");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(service::serve(listener, Arc::clone(&pool), async {
        let _ = stopped.await;
    }));

    if arguments.serve {
        tokio::select! {
            followed = follow(config, &pool, |line| say("settings", &line)) => followed?,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
    } else {
        demo::play(&client, &arguments.path, config, &pool, address, &second).await?;
    }

    let _ = stop.send(());
    serving.await??;
    pool.close().await;
    client.close().await?;
    ensemble.stop().await
}

/// Lets the pool follow the settings for as long as the watcher lives, and tells what happened.
async fn follow(
    mut config: ConfigWatcher<Settings>,
    pool: &LivePool,
    mut tell: impl FnMut(String),
) -> Result<(), Failure> {
    loop {
        tell(match config.changed().await? {
            ConfigChange::Updated(settings) => match pool.take_over(Arc::clone(&settings)).await {
                Ok(()) => format!(
                    "{}: the new pool took over, the old one is closed",
                    settings.banner
                ),
                Err(_) => format!(
                    "{}: refused, no such database; the old pool goes on",
                    settings.banner
                ),
            },
            ConfigChange::Invalid(bad) => format!("refused, {bad}; the old pool goes on"),
            ConfigChange::Deleted => "deleted; the old pool goes on".to_owned(),
            _ => continue,
        });
    }
}

/// A service keeps the settings that an operator has written; the demonstration begins with its own.
async fn write_first_settings(
    client: &Client,
    arguments: &Arguments,
    settings: &Settings,
) -> Result<(), Failure> {
    let json = serde_json::to_vec(settings)?;
    match client.create_all(&arguments.path, &json).await {
        Err(error) if error.kind() == ErrorKind::NodeExists => {
            if !arguments.serve {
                client.set(&arguments.path, json).await?;
            }
        }
        created => drop(created?),
    }
    Ok(())
}

fn sqlite(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

fn say(what: &str, line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{what:<9} {line}");
}

struct Arguments {
    connect: Option<String>,
    database: Vec<String>,
    listen: SocketAddr,
    path: String,
    serve: bool,
}

impl Arguments {
    /// What the first settings name, and what the operator changes to.
    fn databases(&self, directory: &Path) -> [String; 2] {
        match self.database.as_slice() {
            [] => ["first.db", "second.db"].map(|file| sqlite(&directory.join(file))),
            [both] => [both.clone(), both.clone()],
            [first, second, ..] => [first.clone(), second.clone()],
        }
    }

    fn parse() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut arguments = Self {
            connect: None,
            database: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            path: "/config_reload/settings".into(),
            serve: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("connect") => arguments.connect = Some(parser.value()?.string()?),
                Long("database") => arguments.database.push(parser.value()?.string()?),
                Long("listen") => arguments.listen = parser.value()?.parse()?,
                Long("path") => arguments.path = parser.value()?.string()?,
                Long("serve") => arguments.serve = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(arguments)
    }
}

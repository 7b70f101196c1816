//! A service as it should be: a member of its group while it runs, with live settings, and gone within two seconds of SIGTERM or
//! ctrl-c, whether a server answers or not.
//!
//! ```text
//! cargo run --example service                                   # with a server of its own
//! cargo run --example service -- --connect host:port --name a
//! ```

use std::{io::Write, time::Duration};

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use zk_client::{Client, States};
use zk_examples::{Ensemble, Failure};
use zk_recipes::prelude::*;

/// How long the farewell may take: servers find out by themselves, a little later.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Settings {
    greeting: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ensemble = Ensemble::at(arguments.connect).await?;
    let client = Client::connect(ensemble.connect_string()).await?;
    let mut states = client.states();
    let group = client.group("/examples/service");
    let member = group.join(&arguments.name, "").start().await?;
    let settings = client
        .config("/examples/service-settings")
        .json::<Settings>();
    let greeting = "hello".to_owned();
    let config = settings
        .or_start_with(Settings { greeting })
        .watch()
        .await?;
    say(&format!("{} is ready", arguments.name));

    tokio::select! {
        _ = terminate.recv() => say("SIGTERM"),
        result = tokio::signal::ctrl_c() => result?,
        result = serve(config, &mut states) => result?,
    }

    // Leaving says good-bye to the others at once; without a server there is nobody to say it to.
    let left = tokio::time::timeout(FAREWELL / 2, member.leave()).await;
    let closed = client.close().within(FAREWELL / 2).await;
    match matches!(left, Ok(Ok(()))) && closed.is_ok() {
        true => say("left"),
        false => say("left without a word: no server answers"),
    }
    ensemble.stop().await
}

/// What the service does all day.
async fn serve(mut config: ConfigWatcher<Settings>, states: &mut States) -> Result<(), Failure> {
    say(&format!("greets with {:?}", config.current().greeting));
    loop {
        tokio::select! {
            change = config.changed() => {
                change?;
                say(&format!("greets with {:?}", config.current().greeting));
            }
            Some(state) = states.next() => say(&format!("{state:?}")),
        }
    }
}

struct Arguments {
    connect: Option<String>,
    name: String,
}

impl Arguments {
    fn parse() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut arguments = Self {
            connect: None,
            name: format!("service-{}", std::process::id()),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("connect") => arguments.connect = Some(parser.value()?.string()?),
                Long("name") => arguments.name = parser.value()?.string()?,
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

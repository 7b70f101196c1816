//! The play: a steady stream of requests while an operator changes the settings for better and worse.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};
use zk_client::Client;
use zk_examples::Failure;
use zk_recipes::prelude::*;

use super::{
    follow,
    pool::{Listed, LivePool},
    say, service,
    settings::Settings,
};

/// How many requests are under way at any moment.
const CLIENTS: usize = 8;

/// How many answers each act waits for, so that every pool serves a good number of requests.
const ANSWERS: usize = 100;

/// How long a server may show a connection that was closed.
const LINGER: Duration = Duration::from_secs(10);

/// What the clients of the service saw.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    failed: AtomicUsize,
    done: AtomicBool,
}

/// Plays all acts and fails when a request failed.
///
/// # Errors
/// When something went otherwise than the play has it.
pub(crate) async fn play(
    client: &Client,
    path: &str,
    config: ConfigWatcher<Settings>,
    pool: &Arc<LivePool>,
    service: SocketAddr,
    second_url: &str,
) -> Result<(), Failure> {
    let tally = Arc::new(Tally::default());
    let mut stream = JoinSet::new();
    for _ in 0..CLIENTS {
        stream.spawn(ask_on(service, Arc::clone(&tally)));
    }
    let (told, mut news) = mpsc::unbounded_channel();
    let follower = {
        let pool = Arc::clone(pool);
        tokio::spawn(async move {
            follow(config, &pool, move |line| {
                let _ = told.send(line);
            })
            .await
        })
    };

    say(
        "service",
        "answers requests, eight at a time, from the pool of the first settings",
    );
    wait_for_answers(&tally).await;
    say_what_is_listed(pool).await?;
    for (what, data) in acts(second_url)? {
        say("operator", what);
        match data {
            Some(data) => client.set(path, data).await.map(drop)?,
            None => client.delete(path).await?,
        }
        say("settings", &news.recv().await.ok_or("the watcher ended")?);
        wait_for_answers(&tally).await;
        say(
            "service",
            &format!("answers as \"{}\"", service::ask(service).await?),
        );
        say_what_is_listed(pool).await?;
    }

    tally.done.store(true, Ordering::Relaxed);
    while let Some(client) = stream.join_next().await {
        client?;
    }
    follower.abort();
    match tally.failed.load(Ordering::Relaxed) {
        0 => {
            say("requests", "none failed");
            Ok(())
        }
        failed => Err(format!("{failed} requests failed").into()),
    }
}

/// What the operator does, and the content that the znode has afterwards, if there is one.
type Act = (&'static str, Option<Vec<u8>>);

/// The operator's acts: good settings (another database and account, another number of connections), three kinds of bad
/// ones, and none at all.
fn acts(second_url: &str) -> Result<Vec<Act>, Failure> {
    let second = Settings {
        url: second_url.to_owned(),
        max_connections: 5,
        banner: "second settings".into(),
    };
    let third = Settings {
        max_connections: 9,
        banner: "third settings".into(),
        ..second.clone()
    };
    let no_connections = Settings {
        max_connections: 0,
        ..third.clone()
    };
    let no_database = Settings {
        url: unusable(second_url)?,
        banner: "fourth settings".into(),
        ..third.clone()
    };
    Ok(vec![
        (
            "writes the second settings",
            Some(serde_json::to_vec(&second)?),
        ),
        ("lets the pool be larger", Some(serde_json::to_vec(&third)?)),
        (
            "writes settings without connections",
            Some(serde_json::to_vec(&no_connections)?),
        ),
        (
            "writes settings with no such database",
            Some(serde_json::to_vec(&no_database)?),
        ),
        (
            "writes something that is no JSON",
            Some(b"max_connections: 9".to_vec()),
        ),
        ("deletes the settings", None),
    ])
}

/// What leads to no database: where there are passwords, a wrong one.
fn unusable(url: &str) -> Result<String, Failure> {
    let mut url = url::Url::parse(url)?;
    match url.set_password(Some("wrong")) {
        Ok(()) => Ok(url.into()),
        Err(()) => Ok("sqlite:///nonexistent/directory/app.db".into()),
    }
}

/// Says whose connections the database lists, once those are the present settings' and nobody else's.
async fn say_what_is_listed(pool: &LivePool) -> Result<(), Failure> {
    let only_present = async {
        loop {
            match pool.listed().await? {
                None => return Ok(None),
                Some(listed) if pool.is_all(&listed) => return Ok(Some(listed)),
                // It takes note of a closed connection in its own time.
                Some(_) => tokio::task::yield_now().await,
            }
        }
    };
    let listed: Result<Option<Listed>, Failure> =
        tokio::time::timeout(LINGER, only_present).await?;
    if let Some(listed) = listed? {
        say("database", &format!("lists connections of {listed} only"));
    }
    Ok(())
}

async fn ask_on(service: SocketAddr, tally: Arc<Tally>) {
    while !tally.done.load(Ordering::Relaxed) {
        match service::ask(service).await {
            Ok(_) => tally.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                eprintln!("a request failed: {error}");
                tally.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Waits until the stream has had a good number of further answers.
async fn wait_for_answers(tally: &Tally) {
    let target = tally.answered.load(Ordering::Relaxed) + ANSWERS;
    while tally.answered.load(Ordering::Relaxed) < target
        && tally.failed.load(Ordering::Relaxed) == 0
    {
        tokio::task::yield_now().await;
    }
}

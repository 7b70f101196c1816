//! Configurations that several write: compare and set, against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use support::{client, server, soon, unique};
use zk_client::Client;
use zk_recipes::{Error, config_watcher::ConfigDirectory, prelude::*};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    size: u32,
    /// No two writes hold the same.
    writer: u32,
}

const fn settings(size: u32) -> Settings {
    Settings { size, writer: 0 }
}

/// A watcher of one node, and of a directory, which both hold `size` 1.
async fn both(client: &Client, name: &str) -> (ConfigWatcher<Settings>, ConfigDirectory<Settings>) {
    let start = || settings(0);
    let (node, directory) = (unique(name), unique(&format!("{name}-directory")));
    let node = client.config(&node).json().or_start_with(start());
    let directory = client.config(&directory).directory().or_start_with(start());
    let both = (
        node.watch().await.unwrap(),
        directory.watch().await.unwrap(),
    );
    both.0.set(&settings(1)).await.unwrap();
    both.1.set(&settings(1)).await.unwrap();
    both
}

/// What a handle gave out is what it compares with, and not what its task has read since. For a node and for a directory.
macro_rules! nothing_unseen_is_overwritten {
    ($config:ident, $other:ident) => {
        assert_eq!($config.current().size, 1);
        let mut looks_on = $config.clone();
        $other.set(&settings(2)).await.unwrap();
        // The task has read it, and told another handle.
        let told = soon("a change", looks_on.changed()).await.unwrap();
        assert!(matches!(told, ConfigChange::Updated(value) if value.size == 2));
        let refused = $config.set(&settings(10)).await;
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
        // Who was told may write; who was told by the other handle, too.
        looks_on.set(&settings(3)).await.unwrap();
        let refused = $config.set(&settings(11)).await;
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
        assert_eq!($config.current().size, 3);
        $config.set(&settings(4)).await.unwrap();
        // What it wrote itself it has seen.
        $config.set(&settings(5)).await.unwrap();
    };
}

#[tokio::test]
async fn what_was_not_seen_is_not_overwritten() {
    let server = server().await;
    let (ours, theirs) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let (node, directory) = both(&ours, "unseen").await;
    let other: ConfigWatcher<Settings> = theirs.config(node.path()).json().watch().await.unwrap();
    nothing_unseen_is_overwritten!(node, other);
    let source = theirs.config(directory.path()).directory();
    let other: ConfigDirectory<Settings> = source.watch().await.unwrap();
    nothing_unseen_is_overwritten!(directory, other);
}

#[tokio::test]
async fn no_update_of_several_is_lost() {
    let server = server().await;
    let (ours, theirs) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let (node, directory) = both(&ours, "updates").await;
    let other: ConfigWatcher<Settings> = theirs.config(node.path()).json().watch().await.unwrap();
    let source = theirs.config(directory.path()).directory();
    let others: ConfigDirectory<Settings> = source.watch().await.unwrap();
    let mut tasks = Vec::new();
    // Several tasks on one handle, which is where `set` would need a clone for each.
    for writer in 0..4 {
        let (node, directory) = match writer % 2 {
            0 => (&node, &directory),
            _ => (&other, &others),
        };
        tasks.push(async move {
            for turn in 0..10 {
                let writer = 100 * writer + turn;
                let up = move |old: &Settings| Settings {
                    size: old.size + 1,
                    writer,
                };
                assert_eq!(node.update(up).await.unwrap().writer, writer);
                assert_eq!(directory.update(up).await.unwrap().writer, writer);
            }
        });
    }
    soon("the updates", join_all(tasks)).await;
    // Each of the writers waited for its own write alone.
    let last = |size| size == 41;
    for config in [node, other] {
        let mut config = config;
        while !last(config.current().size) {
            soon("a change", config.changed()).await.unwrap();
        }
    }
    for config in [directory, others] {
        let mut config = config;
        while !last(config.current().size) {
            soon("a change", config.changed()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_deleted_is_written_anew_by_who_has_seen_that() {
    let server = server().await;
    let client = client(server.address()).await;
    let (mut node, _) = both(&client, "deleted").await;
    while node.current().size != 1 {
        soon("a change", node.changed()).await.unwrap();
    }
    let mut looks_on = node.clone();
    client.delete(node.path()).await.unwrap();
    while !matches!(
        soon("a change", looks_on.changed()).await.unwrap(),
        ConfigChange::Deleted
    ) {}
    let refused = node.set(&settings(2)).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    looks_on.set(&settings(3)).await.unwrap();
    let written = node.update(|old| settings(old.size + 1)).await.unwrap();
    assert_eq!(written.size, 4);
}

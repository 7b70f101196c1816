//! The configuration watcher against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use support::{
    builder, client,
    proxy::{Leg, Proxy},
    server, soon, unique,
};
use zk_client::{Client, ErrorKind};
use zk_recipes::{Error, prelude::*};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    url: String,
    size: u32,
}

fn settings(size: u32) -> Settings {
    Settings {
        url: "db".into(),
        size,
    }
}

fn json(size: u32) -> Vec<u8> {
    serde_json::to_vec(&settings(size)).unwrap()
}

/// A client, and a node with `size` 1 in it.
async fn with_node(address: &str, name: &str) -> (Client, String) {
    let (client, path) = (client(address).await, unique(name));
    client
        .lock("/zk-recipes-test/any")
        .await
        .unwrap()
        .release()
        .await
        .unwrap(); // makes the directory
    client.create(&path, json(1)).await.unwrap();
    (client, path)
}

async fn watch(client: &Client, path: &str) -> ConfigWatcher<Settings> {
    client.config(path).json().watch().await.unwrap()
}

async fn next(config: &mut ConfigWatcher<Settings>) -> String {
    match soon("a change", config.changed()).await.unwrap() {
        ConfigChange::Updated(value) => format!("updated {}", value.size),
        ConfigChange::Deleted => "deleted".into(),
        ConfigChange::Invalid(_) => "invalid".into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_deletion_bad_content_and_a_new_node_are_told() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "changes").await;
    let mut config = watch(&client, &path).await;
    assert_eq!(*config.current(), settings(1));
    client.set(&path, json(2)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 2");
    client.set(&path, "{ not json").await.unwrap();
    assert_eq!(next(&mut config).await, "invalid");
    assert_eq!(*config.current(), settings(2), "the last good value stays");
    client.delete(&path).await.unwrap();
    assert_eq!(next(&mut config).await, "deleted");
    assert_eq!(*config.current(), settings(2));
    client.create(&path, json(3)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 3");
    assert_eq!(*config.current(), settings(3));
}

#[tokio::test]
async fn the_last_value_of_a_burst_is_seen() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "burst").await;
    let mut config = watch(&client, &path).await;
    for size in 2..=200 {
        drop(client.set(&path, json(size)).submit().await.unwrap());
    }
    let mut told = 0;
    while *config.current() != settings(200) {
        assert!(next(&mut config).await.starts_with("updated"));
        told += 1;
    }
    assert!(told <= 199);
    assert_eq!(config.stat().unwrap().version, 199);
}

#[tokio::test]
async fn a_value_followed_by_bad_content_is_not_skipped() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "skip").await;
    let mut config = watch(&client, &path).await;
    let mut other = config.clone();
    client.set(&path, json(2)).await.unwrap();
    assert_eq!(next(&mut other).await, "updated 2");
    client.set(&path, "bad").await.unwrap();
    assert_eq!(next(&mut other).await, "invalid");
    assert_eq!(next(&mut config).await, "updated 2");
    assert_eq!(next(&mut config).await, "invalid");
}

#[tokio::test]
async fn a_change_during_a_disconnection_is_seen_after_it() {
    let server = server().await;
    let address = server.address();
    let (other, path) = with_node(address, "reconnect").await;
    let proxy = Proxy::start(address).await;
    let client = client(proxy.address()).await;
    let mut config = watch(&client, &path).await;
    for size in 2..6 {
        proxy.cut();
        soon("staleness", async {
            while !config.is_stale() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(*config.current(), settings(size - 1), "served all the same");
        other.set(&path, json(size)).await.unwrap();
        proxy.restore();
        assert_eq!(next(&mut config).await, format!("updated {size}"));
        assert!(!config.is_stale());
    }
}

#[tokio::test]
async fn changes_are_seen_across_an_expired_session() {
    let server = server().await;
    let address = server.address();
    let (other, path) = with_node(address, "expiry").await;
    let proxy = Proxy::start(address).await;
    let client = builder(proxy.address())
        .session_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    let mut config = watch(&client, &path).await;
    let mine = unique("mine");
    client.create(&mine, "").ephemeral().await.unwrap();
    proxy.cut();
    let (stat, gone) = other.exists(&mine).watch().await.unwrap();
    if stat.is_some() {
        soon("expiry", gone).await;
    }
    other.set(&path, json(2)).await.unwrap();
    other.delete(&path).await.unwrap();
    other.create(&path, json(3)).await.unwrap();
    proxy.restore();
    assert_eq!(next(&mut config).await, "updated 3");
    other.set(&path, json(4)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 4");
}

#[tokio::test]
async fn nothing_to_start_with_is_an_error_unless_told() {
    let server = server().await;
    let address = server.address();
    let (client, present) = with_node(address, "start").await;
    let missing = unique("missing");
    let none = client.config(&missing).json::<Settings>().watch().await;
    assert!(matches!(none, Err(Error::NoConfig { .. })), "{none:?}");
    client.set(&present, "bad").await.unwrap();
    let bad = client.config(&present).json::<Settings>().watch().await;
    assert!(matches!(bad, Err(Error::BadContent(bad)) if bad.version() == Some(1)));

    let mut config = client
        .config(&missing)
        .json()
        .or_start_with(settings(7))
        .watch()
        .await
        .unwrap();
    assert_eq!(*config.current(), settings(7));
    assert_eq!(next(&mut config).await, "deleted");
    let waiting = tokio::spawn(client.config(&missing).json::<Settings>().or_wait().watch());
    client.create(&missing, json(8)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 8");
    let waited = soon("the first value", waiting).await.unwrap().unwrap();
    assert_eq!(*waited.current(), settings(8));
}

#[tokio::test]
async fn a_value_that_is_deleted_at_once_does_not_hang_its_writer() {
    let server = server().await;
    let (other, path) = with_node(server.address(), "short-lived").await;
    let client = client(server.address()).await;
    let config = watch(&client, &path).await;
    for size in 2..30 {
        let written = std::cell::Cell::new(false);
        // As soon as it is there, and once more behind another one's.
        let deletes = async {
            let mut deleted = 0;
            while !written.get() {
                deleted += usize::from(other.delete(&path).await.is_ok());
                if deleted == 1 && other.create(&path, json(0)).await.is_ok() {
                    deleted += usize::from(other.delete(&path).await.is_ok());
                }
            }
        };
        let sets = async {
            // Refused as long as the watcher believes in a node that is gone.
            let mut refused = true;
            while refused {
                let _ = config.current();
                let set = config.set(&settings(size)).await;
                refused = matches!(set, Err(Error::Conflict { .. }));
                assert!(refused || set.is_ok(), "{set:?}");
            }
            written.set(true);
        };
        soon("the write", async { tokio::join!(deletes, sets) }).await;
    }
}

#[tokio::test]
async fn a_validation_that_panics_refuses_the_value() {
    let server = server().await;
    let (client, path) = with_node(server.address(), "panic").await;
    let valid = |settings: &Settings| match *settings == self::settings(2) {
        true => panic!("the user's code"),
        false => Ok::<(), std::convert::Infallible>(()),
    };
    let source = client.config(&path).json().validate(valid);
    let mut config = source.watch().await.unwrap();
    client.set(&path, json(2)).await.unwrap();
    assert_eq!(next(&mut config).await, "invalid");
    client.set(&path, json(3)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 3");
}

#[tokio::test]
async fn a_validation_refuses_values_read_and_written() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "validate").await;
    let small = |settings: &Settings| {
        if settings.size <= 10 {
            Ok(())
        } else {
            Err("too large")
        }
    };
    let mut config = client
        .config(&path)
        .json()
        .validate(small)
        .watch()
        .await
        .unwrap();
    client.set(&path, json(11)).await.unwrap();
    assert_eq!(next(&mut config).await, "invalid");
    assert_eq!(config.current().size, 1);
    let refused = config.set(&settings(12)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::BadContent(bad) if bad.version().is_none()),
        "{refused}"
    );
    assert!(refused.to_string().contains("too large"));
    config.set(&settings(10)).await.unwrap();
    assert_eq!(config.current().size, 10);
    assert_eq!(next(&mut config).await, "updated 10");
}

#[tokio::test]
async fn set_compares_first_and_is_read_back() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "set").await;
    let (config, other) = (watch(&client, &path).await, support::client(address).await);
    config.set(&settings(2)).await.unwrap();
    assert_eq!(*config.current(), settings(2), "own writes are read");
    let stale = watch(&client, &path).await;
    let proxy = Proxy::start(address).await;
    let far = support::client(proxy.address()).await;
    let behind = watch(&far, &path).await;
    proxy.cut();
    other.set(&path, json(3)).await.unwrap();
    let write = async {
        let value = settings(4);
        let write = behind.set(&value);
        proxy.restore();
        write.await
    };
    assert!(matches!(
        soon("the write", write).await,
        Err(Error::Conflict { .. })
    ));
    drop(stale);
    assert_eq!(client.get(&path).await.unwrap().data, json(3));
}

#[tokio::test]
async fn set_creates_the_node_and_what_is_above_it() {
    let server = server().await;
    let address = server.address();
    let (client, path) = (client(address).await, format!("{}/a/b", unique("create")));
    let config = client
        .config(&path)
        .json()
        .or_start_with(settings(1))
        .watch()
        .await
        .unwrap();
    config.set(&settings(2)).await.unwrap();
    assert_eq!(*config.current(), settings(2));
    assert_eq!(
        serde_json::from_slice::<Settings>(&client.get(&path).await.unwrap().data).unwrap(),
        settings(2)
    );
    client.delete(&path).await.unwrap();
}

#[tokio::test]
async fn set_survives_a_lost_reply() {
    let server = server().await;
    let address = server.address();
    let proxy = Proxy::start(address).await;
    let (client, other, path) = (
        client(proxy.address()).await,
        client(address).await,
        unique("lost-set"),
    );
    let config = client
        .config(&path)
        .json()
        .or_start_with(settings(1))
        .watch()
        .await
        .unwrap();
    other
        .lock("/zk-recipes-test/any")
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    proxy.lose_create_replies(1);
    config.set(&settings(2)).await.unwrap();
    assert_eq!(proxy.lost(), 1);
    assert_eq!(other.get(&path).await.unwrap().stat.version, 0);
    assert_eq!(*config.current(), settings(2));
}

#[tokio::test]
async fn it_is_a_stream_that_ends_with_the_client() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "stream").await;
    let mut config = watch(&client, &path).await;
    let changes = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(change) = config.next().await {
            told.push(match change {
                Ok(ConfigChange::Updated(value)) => value.size.to_string(),
                Ok(_) => "?".into(),
                Err(error) => error.to_string(),
            });
        }
        (told, config)
    });
    let observer = watch(&client, &path).await;
    observer.set(&settings(2)).await.unwrap();
    observer.set(&settings(3)).await.unwrap();
    client.close().await.unwrap();
    let (told, config) = soon("the end of the stream", changes).await.unwrap();
    let last = told.len() - 1;
    assert!(
        told[..last].iter().all(|size| size == "2" || size == "3"),
        "{told:?}"
    );
    assert!(told[last].contains("closed"), "{told:?}");
    assert_eq!(config.current().size.to_string(), told[last - 1]);
    assert!(config.is_stale());
    let mut late = config.clone();
    assert!(matches!(
        late.changed().await,
        Err(Error::SessionGone {
            reason: ErrorKind::Closed
        })
    ));
}

#[tokio::test]
async fn dropping_the_last_watcher_stops_the_task() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "drop").await;
    let kept = Arc::new(());
    let held = Arc::clone(&kept);
    let source = client.config(&path).json::<Settings>().validate(move |_| {
        let _held = &held;
        Ok::<_, String>(())
    });
    let config = source.watch().await.unwrap();
    let clone = config.clone();
    drop(config);
    assert_eq!(Arc::strong_count(&kept), 2);
    drop(clone);
    soon("the task's end", async {
        while Arc::strong_count(&kept) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn other_formats_and_own_decoders() {
    let server = server().await;
    let address = server.address();
    let (client, path) = with_node(address, "formats").await;
    client.set(&path, "17").await.unwrap();
    let decode = |bytes: &[u8]| {
        std::str::from_utf8(bytes)
            .map_err(|_| "text")?
            .parse::<u32>()
            .map_err(|_| "number")
    };
    let number = client
        .config(&path)
        .decode_with(decode)
        .watch()
        .await
        .unwrap();
    assert_eq!(*number.current(), 17);
    assert!(matches!(
        number.set_bytes("x").await,
        Err(Error::BadContent(_))
    ));
    number.set_bytes("18").await.unwrap();
    assert_eq!(*number.current(), 18);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Parts {
    url: String,
    size: u32,
    note: Option<String>,
}

fn parts(url: &str, size: u32, note: Option<&str>) -> Parts {
    let (url, note) = (url.to_owned(), note.map(str::to_owned));
    Parts { url, size, note }
}

#[tokio::test]
async fn a_directory_is_one_struct_read_and_written_together() {
    let server = server().await;
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = unique("directory");
    let error = one
        .config(&path)
        .directory::<Parts>()
        .watch()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoConfig { .. }), "{error}");
    let source = one.config(&path).directory::<Parts>();
    let source = source.or_start_with(parts("a", 1, None));
    let config = source.watch().await.unwrap();
    config.set(&parts("a", 1, None)).await.unwrap();
    config.set(&parts("b", 2, Some("x"))).await.unwrap();
    assert_eq!(*config.current(), parts("b", 2, Some("x")));
    let mut names = two.children(&path).await.unwrap();
    names.sort();
    assert_eq!(names, ["note", "size", "url"]);
    // Nothing differs, nothing is written.
    let before = two.exists(&path).await.unwrap();
    config.set(&parts("b", 2, Some("x"))).await.unwrap();
    assert_eq!(two.exists(&path).await.unwrap(), before);
    // Two who write at once: one of them is told.
    let other = two
        .config(&path)
        .directory::<Parts>()
        .watch()
        .await
        .unwrap();
    let (value_1, value_2) = (parts("c", 3, None), parts("d", 4, None));
    let (first, second) = tokio::join!(config.set(&value_1), other.set(&value_2));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let refused = first.and(second).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
}

#[tokio::test]
async fn a_directory_is_changed_by_hand_and_refused_as_a_whole() {
    let server = server().await;
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = unique("directory-by-hand");
    let source = one.config(&path).directory::<Parts>();
    let source = source.validate(|parts| match parts.size {
        0 => Err("no size"),
        _ => Ok(()),
    });
    let source = source.or_start_with(parts("a", 1, None));
    let mut config = source.watch().await.unwrap();
    config.set(&parts("b", 2, Some("x"))).await.unwrap();
    // The directory's own data means nothing.
    two.set(&path, "a remark").await.unwrap();
    two.set(&format!("{path}/size"), "9").await.unwrap();
    soon("the change", async {
        while config.current().size != 9 {
            config.changed().await.unwrap();
        }
    })
    .await;
    let mut wanted = Parts::clone(&config.current());
    wanted.size = 10;
    config.set(&wanted).await.unwrap();
    assert_eq!(two.get(&path).await.unwrap().data, "a remark");
    // Bad content, in one node: all of it is refused.
    two.set(&format!("{path}/size"), "0").await.unwrap();
    let told = soon("the refusal", async {
        loop {
            if let ConfigChange::Invalid(bad) = config.changed().await.unwrap() {
                return bad;
            }
        }
    })
    .await;
    assert!(told.to_string().contains("no size"), "{told}");
    assert_eq!((config.current().size, config.is_stale()), (10, false));
    let refused = config.set(&parts("e", 0, None)).await.unwrap_err();
    assert!(matches!(refused, Error::BadContent(_)), "{refused}");
    two.delete_all(&path).await.unwrap();
    soon("the deletion", async {
        while !matches!(config.changed().await.unwrap(), ConfigChange::Deleted) {}
    })
    .await;
    assert_eq!(config.current().size, 10);
    config.set(&parts("f", 1, None)).await.unwrap();
    assert_eq!(config.current().url, "f");
}

/// `ZooDefs.OpCode`.
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const MULTI_READ: i32 = 22;

#[tokio::test]
async fn a_change_that_was_told_and_cannot_be_read_makes_it_stale() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = with_node(server.address(), "unread").await;
    let client = builder(proxy.address()).request_timeout(Duration::from_millis(100));
    let client = client.connect().await.unwrap();
    let mut config = watch(&client, &path).await;
    assert!(!config.is_stale());
    proxy.hold_next(GET_DATA);
    other.set(&path, json(2)).await.unwrap();
    soon("the doubt", async {
        while !config.is_stale() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(client.state().is_connected());
    proxy.release();
    assert_eq!(next(&mut config).await, "updated 2");
    assert!(!config.is_stale());
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_after_a_change_is_stale() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = (client(server.address()).await, unique("directory-unread"));
    let client = builder(proxy.address()).request_timeout(Duration::from_millis(100));
    let client = client.connect().await.unwrap();
    let source = client.config(&path).directory::<Parts>();
    let source = source.or_start_with(parts("a", 1, None));
    let mut config = source.watch().await.unwrap();
    config.set(&parts("b", 2, None)).await.unwrap();
    assert!(!config.is_stale());
    proxy.hold_next(GET_DATA);
    other.set(&format!("{path}/size"), "3").await.unwrap();
    soon("the doubt", async {
        while !config.is_stale() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(config.current().size, 2);
    assert!(client.state().is_connected());
    proxy.release();
    soon("the change", async {
        while config.current().size != 3 {
            config.changed().await.unwrap();
        }
    })
    .await;
    soon("its end", async {
        while config.is_stale() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn set_through_a_session_that_ends_does_not_hang() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = with_node(server.address(), "bound-set").await;
    let client = client(proxy.address()).await;
    let session = client.session();
    let config = watch(&session, &path).await;
    let missing = session.config(&unique("bound-missing")).json();
    let missing = missing.or_start_with(settings(1)).watch().await.unwrap();
    proxy.lose_next_and_stay_cut(SET_DATA, Leg::Reply);
    let value = settings(2);
    let (set, ()) = tokio::join!(soon("the set", config.set(&value)), async {
        proxy.until_lost(1).await;
        server.end(&session).await;
        proxy.restore();
    });
    assert!(matches!(set, Err(Error::Unknown { .. })), "{set:?}");
    // It was carried out, and nobody can tell from there.
    let written = other.get(&path).await.unwrap();
    let written: Settings = serde_json::from_slice(&written.data).unwrap();
    assert_eq!(written, value);
    let set = soon("the set", missing.set(&value)).await;
    assert!(
        matches!(&set, Err(Error::Client(error)) if error.kind() == ErrorKind::SessionChanged),
        "{set:?}"
    );
}

#[tokio::test]
async fn set_goes_on_in_the_next_session() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = with_node(server.address(), "set-expiry").await;
    let client = client(proxy.address()).await;
    let config = watch(&client, &path).await;
    let mut states = client.states();
    proxy.cut();
    while states.next().await.unwrap().is_connected() {}
    server.end(&client.session()).await;
    let value = settings(2);
    let (set, ()) = tokio::join!(soon("the set", config.set(&value)), async {
        tokio::task::yield_now().await;
        proxy.restore();
    });
    set.unwrap();
    assert_eq!(*config.current(), value);
    let written = other.get(&path).await.unwrap();
    let written: Settings = serde_json::from_slice(&written.data).unwrap();
    assert_eq!(written, value);
}

#[tokio::test]
async fn a_server_without_multi_read_is_asked_no_more() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    proxy.forget(MULTI_READ);
    let path = unique("directory-old");
    let source = client.config(&path).directory::<Parts>();
    let source = source.or_start_with(parts("a", 1, None));
    let mut config = soon("the start", source.watch()).await.unwrap();
    soon("the set", config.set(&parts("b", 2, Some("x"))))
        .await
        .unwrap();
    let asked = |proxy: &Proxy| {
        let seen = proxy.seen();
        seen.into_iter().filter(|op| *op == MULTI_READ).count()
    };
    // It closes the connection, and the refusal may be lost with it: each read repeats its request by itself, and two of them
    // are lost before they are taken for a refusal.
    let first = asked(&proxy);
    assert!((1..=6).contains(&first), "{first}");
    for size in 3..6 {
        let node = format!("{path}/size");
        other.set(&node, size.to_string()).await.unwrap();
        soon("the change", async {
            while config.current().size != size {
                config.changed().await.unwrap();
            }
        })
        .await;
    }
    soon("the set", config.set(&parts("c", 7, None)))
        .await
        .unwrap();
    assert_eq!(*config.current(), parts("c", 7, None));
    assert_eq!(asked(&proxy), 0);
}

#[tokio::test]
async fn multi_read_is_tried_again_where_it_was_only_lost() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (client, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("directory-lossy");
    proxy.close_at(MULTI_READ);
    let source = client.config(&path).directory::<Parts>();
    let source = source.or_start_with(parts("a", 1, None));
    let mut config = soon("the start", source.watch()).await.unwrap();
    soon("the set", config.set(&parts("b", 2, None)))
        .await
        .unwrap();
    // Without an answer they are read one by one ...
    assert!(proxy.seen().contains(&MULTI_READ));
    proxy.close_at_none();
    let mut asked = Vec::new();
    for size in 3..50 {
        let node = format!("{path}/size");
        other.set(&node, size.to_string()).await.unwrap();
        soon("the change", async {
            while config.current().size != size {
                config.changed().await.unwrap();
            }
        })
        .await;
        asked.push(proxy.seen().contains(&MULTI_READ));
    }
    // ... for a while.
    assert!(!asked[0] && asked[46], "{asked:?}");
}

#[tokio::test]
async fn a_set_is_a_future_of_its_own_gives_up_in_time_and_relies_on_what_was_seen_before_it() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (other, path) = with_node(server.address(), "set-late").await;
    let client = client(proxy.address()).await;
    let mut config = watch(&client, &path).await;
    let set = config.set(&settings(2));
    other.set(&path, json(3)).await.unwrap();
    assert_eq!(next(&mut config).await, "updated 3");
    let refused = soon("the set", tokio::spawn(set)).await.unwrap();
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    let parted = unique("directory-late");
    let source = client.config(&parted).directory::<Parts>();
    let mut directory = source
        .or_start_with(parts("a", 1, None))
        .watch()
        .await
        .unwrap();
    let set = directory.set(&parts("b", 2, None));
    directory.set(&parts("c", 3, None)).await.unwrap();
    soon("the change", directory.changed()).await.unwrap();
    let refused = soon("the set", tokio::spawn(set)).await.unwrap();
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    proxy.cut();
    let limit = Duration::from_millis(50);
    for late in [
        config.set(&settings(4)).timeout(limit),
        directory.set(&parts("d", 4, None)).timeout(limit),
    ] {
        let late = soon("giving up", late).await;
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    }
}

#[tokio::test]
async fn a_watch_gives_up_in_time() {
    let server = server().await;
    let client = client(server.address()).await;
    let (path, limit) = (unique("late"), Duration::from_millis(50));
    let source = client.config(&path).json::<Settings>().or_wait();
    let error = soon("giving up", source.timeout(limit).watch()).await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
    let source = client.config(&path).directory::<Parts>().or_wait();
    let error = soon("giving up", source.timeout(limit).watch()).await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn a_chroot_that_is_missing_is_no_conflict() {
    let server = server().await;
    for below in ["/config", "/above/config"] {
        let chroot = unique("config-chroot");
        let client = client(&format!("{}{chroot}", server.address())).await;
        let config = client.config(below).json().or_start_with(settings(1));
        let config = config.watch().await.unwrap();
        let error = soon("the refusal", config.set(&settings(2))).await;
        let error = error.unwrap_err();
        assert!(
            matches!(&error, Error::Client(error) if error.kind() == ErrorKind::NoNode),
            "{error}"
        );
    }
}

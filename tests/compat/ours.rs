//! Our client and its recipes, against Apache ZooKeeper and, so that a failure says whose it is, against our server.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use zk_client::{Acl, Client, ErrorKind};
use zk_recipes::prelude::*;

use crate::subject::Subject;

/// Instantiates each case for both servers.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod against_ours {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&crate::subject::Subject::ours().await).await;
                }
            )*
        }
        mod against_apache {
            $(
                #[tokio::test]
                async fn $case() {
                    let test = concat!(module_path!(), "::", stringify!($case));
                    if let Some(subject) = crate::subject::Subject::apache(test) {
                        super::$case(&subject).await;
                    }
                }
            )*
        }
    };
}

cases! {
    the_client_reads_writes_and_watches,
    the_client_authenticates_and_resumes,
    a_lock_takes_turns,
    a_configuration_follows_its_node,
}

async fn client(subject: &Subject) -> Client {
    Client::connect(&subject.addr().to_string()).await.unwrap()
}

async fn the_client_reads_writes_and_watches(subject: &Subject) {
    let client = client(subject).await;
    client.create_all("/app/deep", "").await.unwrap();
    let (absent, created) = client.exists("/app/a").watch().await.unwrap();
    assert_eq!(absent, None);
    client.create("/app/a", "one").await.unwrap();
    assert_eq!(created.await.path(), Some("/app/a"));
    let (node, changed) = client.get("/app/a").watch().await.unwrap();
    assert_eq!((&node.data[..], node.stat.version), (&b"one"[..], 0));
    client.set("/app/a", "two").version(0).await.unwrap();
    assert_eq!(changed.await.path(), Some("/app/a"));
    let stale = client.set("/app/a", "x").version(0).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::BadVersion);
    let results = client
        .multi()
        .check("/app/a", 1)
        .create("/app/n-", "")
        .sequential()
        .delete("/app/a")
        .commit()
        .await
        .unwrap();
    assert_eq!(results[1].created_path(), Some("/app/n-0000000002"));
    let failed = client.multi().delete("/nope").commit().await.unwrap_err();
    assert_eq!(
        (failed.kind(), failed.multi_index()),
        (ErrorKind::NoNode, Some(0))
    );
    client.delete_all("/app").await.unwrap();
    assert_eq!(client.children("/").await.unwrap(), ["zookeeper"]);
    client.close().await.unwrap();
}

async fn the_client_authenticates_and_resumes(subject: &Subject) {
    let stranger = client(subject).await;
    let owner = Client::builder(subject.addr().to_string())
        .auth("digest", "alice:secret")
        .connect()
        .await
        .unwrap();
    let mine = owner.create("/mine", "x").acl(Acl::creator_all());
    mine.await.unwrap();
    owner.create("/e", "").ephemeral().await.unwrap();
    let refused = stranger.get("/mine").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoAuth);
    assert_eq!(&owner.get("/mine").await.unwrap().data[..], b"x");
    owner.close().await.unwrap();
    assert_eq!(stranger.exists("/e").await.unwrap(), None);
    stranger.close().await.unwrap();
}

async fn a_lock_takes_turns(subject: &Subject) {
    let (first, second) = (client(subject).await, client(subject).await);
    let held = first.lock("/locks/x").await.unwrap();
    let patience = Duration::from_millis(200);
    assert!(second.lock("/locks/x").timeout(patience).await.is_err());
    let waiting = tokio::spawn({
        let second = second.clone();
        async move { second.lock("/locks/x").await }
    });
    let token = held.token();
    held.ensure().unwrap();
    held.release().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert!(next.token() > token, "a fencing token grows");
    // A holder whose session ends is followed by the next.
    let heir = tokio::spawn({
        let first = first.clone();
        async move { first.lock("/locks/x").await }
    });
    drop(next);
    second.close().await.unwrap();
    heir.await.unwrap().unwrap().release().await.unwrap();
    first.close().await.unwrap();
}

async fn a_configuration_follows_its_node(subject: &Subject) {
    let (client, other) = (client(subject).await, client(subject).await);
    client.create("/size", "1").await.unwrap();
    let number = |bytes: &[u8]| u32::from_str(&String::from_utf8_lossy(bytes));
    let mut size = client
        .config("/size")
        .decode_with(number)
        .watch()
        .await
        .unwrap();
    assert_eq!(*size.current(), 1);
    other.set("/size", "2").await.unwrap();
    let changed = size.changed().await.unwrap();
    assert!(matches!(changed, ConfigChange::Updated(two) if two == Arc::new(2)));
    other.set("/size", "no number").await.unwrap();
    assert!(matches!(
        size.changed().await.unwrap(),
        ConfigChange::Invalid(_)
    ));
    other.delete("/size").await.unwrap();
    assert!(matches!(
        size.changed().await.unwrap(),
        ConfigChange::Deleted
    ));
    assert_eq!(*size.current(), 2, "the last good value stays");
    other.create("/size", "3").await.unwrap();
    let changed = size.changed().await.unwrap();
    assert!(matches!(changed, ConfigChange::Updated(three) if *three == 3));
}

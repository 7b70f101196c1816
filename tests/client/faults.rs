//! Servers and networks in trouble: slow, silent, cut off, talking nonsense.

use std::time::{Duration, Instant};

use futures::future::join_all;
use zk_client::{ErrorKind, Outcome, SessionState, WhileDisconnected, testing::FaultProxy};

use crate::subject::{Subject, until};

cases! {
    a_lost_reply_leaves_a_write_open_and_a_read_repeated,
    a_protected_create_survives_lost_replies,
    a_tree_is_removed_whatever_is_cut,
    a_changed_list_of_servers_is_moved_to,
    a_slow_server_is_waited_for_in_order,
    a_silent_server_is_left_for_another,
    a_request_to_a_silent_server_fails_in_time,
    a_truncated_reply_ends_the_connection_and_not_the_session,
    garbage_ends_the_connection_and_not_the_session,
    garbage_instead_of_a_handshake_is_a_failed_attempt,
    an_impatient_client_fails_at_once_without_a_connection,
    many_requests_under_cuts_complete_exactly_once,
    closing_with_every_server_down_returns_in_time,
}

async fn a_lost_reply_leaves_a_write_open_and_a_read_repeated(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    let id = client.session().id();
    proxy.lose_replies(1);
    let error = client.create("/a", "x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    assert!(!error.is_retryable());
    proxy.lose_replies(2);
    assert_eq!(client.get("/a").await.unwrap().data, "x");
    proxy.until_spoiled(3).await;
    assert_eq!(client.session().id(), id);
}

async fn a_protected_create_survives_lost_replies(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    for lost in [1, 2, 3] {
        proxy.lose_replies(lost);
        let create = client.create("/lock-", "").ephemeral().sequential();
        let created = create.protected().await.unwrap();
        assert_eq!(created.stat.ephemeral_owner, client.session().id());
    }
    assert_eq!(client.children("/").await.unwrap().len(), 3);
}

async fn a_tree_is_removed_whatever_is_cut(subject: &Subject) {
    let (proxy, other) = (subject.proxy().await, subject.client().await);
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    for round in 0..3 {
        let nodes: Vec<_> = (0..600).map(|n| format!("/t/{}/{n}", n % 3)).collect();
        for parent in ["/t/0", "/t/1", "/t/2"] {
            other.ensure(parent).await.unwrap();
        }
        for created in join_all(nodes.iter().map(|path| other.create(path, ""))).await {
            created.unwrap();
        }
        proxy.lose_replies(2 + round);
        client.delete_all("/t").await.unwrap();
        other.sync("/").await.unwrap();
        assert_eq!(other.exists("/t").await.unwrap(), None, "round {round}");
    }
    proxy.until_spoiled(1).await;
}

async fn a_changed_list_of_servers_is_moved_to(subject: &Subject) {
    let (old, new) = (subject.proxy().await, subject.proxy().await);
    let client = subject.through(&[&old]).connect().await.unwrap();
    client.create("/e", "").ephemeral().await.unwrap();
    let id = client.session().id();
    let mut states = client.states();
    assert_eq!(states.next().await, Some(SessionState::Connected));
    client.update_hosts(&new.connect_string()).await.unwrap();
    assert_eq!(states.next().await, Some(SessionState::Suspended));
    assert_eq!(states.next().await, Some(SessionState::Connected));
    old.down();
    let stat = client.set("/e", "x").await.unwrap();
    assert_eq!((stat.ephemeral_owner, new.accepted()), (id, 1));
    let error = client.update_hosts("zk:1/elsewhere").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadArguments);
}

async fn a_slow_server_is_waited_for_in_order(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    let delay = Duration::from_millis(200);
    proxy.delay(delay);
    let start = Instant::now();
    let paths: Vec<_> = (0..100).map(|n| format!("/{n}")).collect();
    let created = join_all(paths.iter().map(|path| client.create(path, ""))).await;
    assert!(start.elapsed() >= delay);
    let zxids = created
        .into_iter()
        .map(|created| created.unwrap().stat.czxid);
    assert!(zxids.is_sorted());
}

async fn a_silent_server_is_left_for_another(subject: &Subject) {
    let (one, two) = (subject.proxy().await, subject.proxy().await);
    two.down();
    let builder = subject
        .through(&[&one, &two])
        .session_timeout(Duration::from_secs(6));
    let client = builder.connect().await.unwrap();
    client.create("/e", "").ephemeral().await.unwrap();
    let id = client.session().id();
    one.silence();
    two.up();
    let before = two.accepted();
    until(&client, |state| state == SessionState::Suspended).await;
    until(&client, SessionState::is_connected).await;
    assert!(two.accepted() > before);
    assert_eq!(client.session().id(), id);
    assert!(client.exists("/e").await.unwrap().is_some());
}

async fn a_request_to_a_silent_server_fails_in_time(subject: &Subject) {
    let proxy = subject.proxy().await;
    let builder = subject
        .through(&[&proxy])
        .request_timeout(Duration::from_millis(300));
    let client = builder.connect().await.unwrap();
    proxy.silence();
    let start = Instant::now();
    let (read, write) = tokio::join!(client.get("/"), client.create("/a", ""));
    let waited = start.elapsed();
    assert!((300..3000).contains(&waited.as_millis()), "{waited:?}");
    let (read, write) = (read.unwrap_err(), write.unwrap_err());
    assert_eq!(
        (read.kind(), read.outcome()),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert_eq!(
        (write.kind(), write.outcome()),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    proxy.up();
    // The late answers belong to nobody, and confuse nobody.
    while client.exists("/a").await.unwrap().is_none() {}
}

async fn a_truncated_reply_ends_the_connection_and_not_the_session(subject: &Subject) {
    // Half a length, a length without a body, a body cut short.
    let replies: [&[u8]; 3] = [&[0, 0], &[0, 0, 0, 99], &[0, 0, 0, 99, 1, 2, 3]];
    spoiled(subject, &replies).await;
}

async fn garbage_ends_the_connection_and_not_the_session(subject: &Subject) {
    let replies: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        // Lengths: negative, and far too long.
        &[0xff; 64],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        // A body too short for a header, an xid that nobody used, a body that is no Stat.
        &[0, 0, 0, 3, 1, 2, 3],
        &[
            0, 0, 0, 16, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0,
        ],
        &[0, 0, 0, 0],
    ];
    spoiled(subject, &replies).await;
}

/// Each of these instead of a reply; the session survives all of them.
async fn spoiled(subject: &Subject, replies: &[&[u8]]) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    client.create("/e", "0").ephemeral().await.unwrap();
    let id = client.session().id();
    for (bytes, number) in replies.iter().zip(1..) {
        proxy.replace_reply(*bytes);
        let data = number.to_string();
        let error = client.set("/e", data.as_str()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::ConnectionLoss, Outcome::Unknown),
            "{bytes:?}"
        );
        proxy.until_spoiled(number).await;
        assert_eq!(client.get("/e").await.unwrap().data, data, "{bytes:?}");
        assert_eq!(client.session().id(), id);
    }
}

async fn garbage_instead_of_a_handshake_is_a_failed_attempt(subject: &Subject) {
    let proxy = subject.proxy().await;
    for bytes in [&b"SSH-2.0-OpenSSH\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0]] {
        proxy.replace_reply(bytes);
        let client = subject.through(&[&proxy]).connect().await.unwrap();
        assert_eq!(client.children("/").await.unwrap(), Vec::<String>::new());
        client.close().await.unwrap();
    }
    assert!(proxy.accepted() >= 4);
}

async fn an_impatient_client_fails_at_once_without_a_connection(subject: &Subject) {
    let proxy = subject.proxy().await;
    let builder = subject.through(&[&proxy]);
    let builder = builder.while_disconnected(WhileDisconnected::FailFast);
    let client = builder.connect().await.unwrap();
    proxy.down();
    until(&client, |state| state == SessionState::Suspended).await;
    let error = client.create("/a", "").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Outcome::NotApplied)
    );
    assert!(error.is_retryable());
    proxy.up();
    until(&client, SessionState::is_connected).await;
    client.create("/a", "").await.unwrap();
}

async fn many_requests_under_cuts_complete_exactly_once(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    let mut unknown = Vec::new();
    let mut applied = Vec::new();
    for round in 0..10 {
        let paths: Vec<_> = (0..50).map(|n| format!("/{round}-{n}")).collect();
        let creates = join_all(paths.iter().map(|path| client.create(path, "")));
        let cut = async {
            tokio::task::yield_now().await;
            proxy.cut();
        };
        let (created, ()) = tokio::join!(creates, cut);
        for (created, path) in created.into_iter().zip(paths) {
            match created {
                Ok(_) => applied.push(path),
                Err(error) if error.outcome() == Outcome::Unknown => unknown.push(path),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionLoss);
                    assert_eq!(client.exists(&path).await.unwrap(), None);
                }
            }
        }
    }
    for path in applied {
        assert!(client.exists(&path).await.unwrap().is_some(), "{path}");
    }
    // What became of these is anybody's guess; asking is what the application has to do.
    for path in unknown {
        client.exists(&path).await.unwrap();
    }
}

async fn closing_with_every_server_down_returns_in_time(subject: &Subject) {
    let (one, two): (FaultProxy, FaultProxy) = (subject.proxy().await, subject.proxy().await);
    let client = subject.through(&[&one, &two]).connect().await.unwrap();
    one.down();
    two.down();
    let start = Instant::now();
    let closed = client.close().within(Duration::from_millis(500)).await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(closed.is_err(), "the server was not told");
    assert_eq!(client.state(), SessionState::Closed);
}

//! Sessions: resumed, moved, expired, renewed, closed; and the credentials that go with them.

use std::time::{Duration, Instant};

use futures::future::join_all;
use zk_client::{
    Acl, Client, ErrorKind, EvidenceLoss, OnExpiry, Outcome, SessionEnd, SessionState, WatchEvent,
};

use crate::subject::{Subject, until};

cases! {
    closing_frees_ephemerals_at_once_and_ends_the_states,
    closing_takes_one_round_trip,
    detaching_leaves_the_session_to_whoever_resumes_it,
    closing_carries_out_what_is_in_flight,
    dropping_the_last_clone_closes_the_session,
    a_session_can_be_resumed_by_its_id_and_password,
    a_session_that_moves_takes_its_nodes_along,
    a_wrong_password_gets_no_session,
    an_expired_session_is_renewed_and_says_so,
    a_session_that_is_silent_for_too_long_expires,
    a_client_told_to_stop_does_not_come_back,
    nothing_queued_crosses_into_the_new_session,
    credentials_are_presented_again_before_anything_else,
    refused_credentials_do_not_harm_the_session,
    evidence_of_life_comes_through_the_leader,
}

async fn closing_frees_ephemerals_at_once_and_ends_the_states(subject: &Subject) {
    let (client, other) = (subject.client().await, subject.client().await);
    client.create("/e", b"").ephemeral().await.unwrap();
    let mut states = client.states();
    assert_eq!(states.next().await, Some(SessionState::Connected));
    let session = client.session();
    client.close().within(Duration::from_secs(5)).await.unwrap();
    assert_eq!(other.exists("/e").await.unwrap(), None);
    assert_eq!(states.next().await, Some(SessionState::Closed));
    assert_eq!(states.next().await, None);
    for client in [&client, &client.clone()] {
        let error = client.get("/e").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    let error = session.get("/e").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!session.is_current());
    client.close().await.unwrap();
}

async fn closing_takes_one_round_trip(subject: &Subject) {
    let (proxy, other) = (subject.proxy().await, subject.client().await);
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, gone) = other.exists("/e").watch().await.unwrap();
    let delay = Duration::from_secs(2);
    proxy.delay(delay);
    let start = Instant::now();
    let (closed, deleted) = tokio::join!(client.close(), async {
        let event = gone.await;
        (event, start.elapsed())
    });
    closed.unwrap();
    let took = start.elapsed();
    assert!(took >= delay && took < delay * 2, "{took:?}");
    assert!(
        deleted.0.is_deleted() && deleted.1 < delay * 2,
        "{deleted:?}"
    );
}

async fn detaching_leaves_the_session_to_whoever_resumes_it(subject: &Subject) {
    let client = subject.client().await;
    let id = client.session().id();
    let mut pending = Vec::new();
    for n in 0..50 {
        let path = format!("/{n}");
        pending.push(client.create(&path, "").ephemeral().submit().await.unwrap());
    }
    let (detached, password) = client.detach().await.unwrap();
    assert_eq!(detached, id);
    let created = join_all(pending).await;
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(client.state(), SessionState::Closed);
    let resumed = subject.builder().session(id, password).connect();
    let resumed = resumed.await.unwrap();
    assert_eq!(resumed.session().id(), id);
    assert_eq!(resumed.ephemerals("/").await.unwrap().len(), 50);
    resumed.close().await.unwrap();
}

async fn closing_carries_out_what_is_in_flight(subject: &Subject) {
    let (client, other) = (subject.client().await, subject.client().await);
    let mut pending = Vec::new();
    for n in 0..200 {
        let path = format!("/{n}");
        pending.push(client.create(&path, "").submit().await.unwrap());
    }
    client.close().await.unwrap();
    let created = join_all(pending).await;
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(other.children("/").await.unwrap().len(), 200);
}

async fn dropping_the_last_clone_closes_the_session(subject: &Subject) {
    let (client, other) = (subject.client().await, subject.client().await);
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, gone) = other.exists("/e").watch().await.unwrap();
    let ended = client.session().ended();
    drop(client.clone());
    assert!(client.exists("/e").await.unwrap().is_some());
    drop(client);
    assert!(gone.await.is_deleted());
    assert_eq!(ended.await, SessionEnd::Closed);
}

async fn a_session_can_be_resumed_by_its_id_and_password(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let session = client.session();
    // Its process is gone, as far as anybody can tell.
    proxy.down();
    let resumed = subject
        .builder()
        .session(session.id(), session.password().clone());
    let resumed = resumed.connect().await.unwrap();
    assert_eq!(resumed.session().id(), session.id());
    let stat = resumed.exists("/e").await.unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, session.id());
    assert_eq!(resumed.ephemerals("/").await.unwrap(), ["/e"]);
}

/// Whoever connects last with a session's id has it; the connection before is closed.
async fn a_session_that_moves_takes_its_nodes_along(subject: &Subject) {
    let proxy = subject.proxy().await;
    let first = subject.through(&[&proxy]).connect().await.unwrap();
    first.create("/e", b"1").ephemeral().await.unwrap();
    let session = first.session();
    let mut states = first.states();
    assert_eq!(states.next().await, Some(SessionState::Connected));
    let second = subject
        .builder()
        .session(session.id(), session.password().clone());
    let second = second.connect().await.unwrap();
    assert_eq!(second.session().id(), session.id());
    assert_eq!(states.next().await, Some(SessionState::Suspended));
    // Not again: else the two take it from each other for ever.
    proxy.down();
    until(&second, SessionState::is_connected).await;
    let stat = second.set("/e", b"2").await.unwrap();
    assert_eq!(stat.ephemeral_owner, session.id());
    second.close().await.unwrap();
    proxy.up();
    until(&first, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    assert_eq!(first.exists("/e").await.unwrap(), None);
}

async fn a_wrong_password_gets_no_session(subject: &Subject) {
    let client = subject.client().await;
    client.create("/e", b"").ephemeral().await.unwrap();
    let other = subject.client().await;
    let builder = subject
        .builder()
        .session(client.session().id(), other.session().password().clone())
        .on_expiry(OnExpiry::Stop);
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert!(client.exists("/e").await.unwrap().is_some(), "unharmed");
}

async fn an_expired_session_is_renewed_and_says_so(subject: &Subject) {
    let client = subject.client().await;
    let old = client.session();
    let ended = old.ended();
    client.create("/e", b"").ephemeral().await.unwrap();
    let (_, change) = client.get("/e").watch().await.unwrap();
    let mut stream = client.watch("/e").await.unwrap();
    subject.end(&old).await;
    let renewed = until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    let (old_id, new) = (old.id(), client.session().id());
    assert_eq!(renewed, SessionState::Renewed { old: old_id, new });
    assert_ne!(old_id, new);
    assert!(matches!(
        change.await,
        WatchEvent::SessionEnded | WatchEvent::Deleted(_)
    ));
    while stream.next().await.unwrap() != WatchEvent::SessionEnded {}
    assert_eq!(ended.await, SessionEnd::Expired);
    assert_eq!(client.exists("/e").await.unwrap(), None);
    let error = old.get("/e").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionChanged);
    client.create("/e", b"").ephemeral().await.unwrap();
}

async fn a_session_that_is_silent_for_too_long_expires(subject: &Subject) {
    let proxy = subject.proxy().await;
    let builder = subject
        .through(&[&proxy])
        .session_timeout(Duration::from_secs(1));
    let client = builder.connect().await.unwrap();
    client.create("/e", b"").ephemeral().await.unwrap();
    let other = subject.client().await;
    let (_, gone) = other.exists("/e").watch().await.unwrap();
    proxy.silence();
    assert!(gone.await.is_deleted());
    proxy.up();
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
}

async fn a_client_told_to_stop_does_not_come_back(subject: &Subject) {
    let client = subject.builder().on_expiry(OnExpiry::Stop);
    let client = client.connect().await.unwrap();
    subject.end(&client.session()).await;
    until(&client, |state| state == SessionState::Expired).await;
    let error = client.get("/").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionExpired, Outcome::NotApplied)
    );
}

async fn nothing_queued_crosses_into_the_new_session(subject: &Subject) {
    let proxy = subject.proxy().await;
    let client = subject.through(&[&proxy]).connect().await.unwrap();
    let old = client.session();
    proxy.down();
    until(&client, |state| state == SessionState::Suspended).await;
    let queued = client
        .create("/late", b"")
        .ephemeral()
        .submit()
        .await
        .unwrap();
    let bound = old.create("/bound", b"").submit().await.unwrap();
    subject.end(&old).await;
    proxy.up();
    for pending in [queued, bound] {
        let error = pending.await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::SessionExpired, Outcome::NotApplied)
        );
    }
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    assert!(client.children("/").await.unwrap().is_empty());
}

async fn credentials_are_presented_again_before_anything_else(subject: &Subject) {
    let proxy = subject.proxy().await;
    let builder = subject.through(&[&proxy]).auth("digest", "alice:secret");
    let client = builder.connect().await.unwrap();
    client.add_auth("digest", "bob:secret").await.unwrap();
    let mine = client.create("/mine", b"x").acl(Acl::creator_all());
    mine.await.unwrap();
    for _ in 0..3 {
        proxy.down();
        until(&client, |state| state == SessionState::Suspended).await;
        let waiting = client.get("/mine").submit().await.unwrap();
        proxy.up();
        assert_eq!(waiting.await.unwrap().data, "x");
    }
    let who = client.who_am_i().await.unwrap();
    for user in ["alice", "bob"] {
        assert!(who.iter().any(|identity| identity.user == user), "{who:?}");
    }
    // In a new session, too.
    subject.end(&client.session()).await;
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    assert_eq!(client.get("/mine").await.unwrap().data, "x");
}

async fn refused_credentials_do_not_harm_the_session(subject: &Subject) {
    let client = subject.builder().auth("digest", "alice:secret");
    let client = client.connect().await.unwrap();
    let mine = client.create("/mine", b"x").acl(Acl::creator_all());
    mine.await.unwrap();
    let id = client.session().id();
    let error = client.add_auth("nonsense", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    // The server hangs up after that; the session is resumed with the credentials that were good.
    assert_eq!(client.get("/mine").await.unwrap().data, "x");
    assert_eq!(client.session().id(), id);
    let refused: Result<Client, _> = subject.builder().auth("nonsense", "x").connect().await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AuthFailed);
}

async fn evidence_of_life_comes_through_the_leader(subject: &Subject) {
    let client = subject.client().await;
    let session = client.session();
    let evidence = session.evidence().await.unwrap();
    let left = evidence.time_left().unwrap();
    assert!(
        left > session.timeout() / 2 && left <= session.timeout() * 2 / 3,
        "{left:?}"
    );
    let lost = evidence.lost();
    client.close().await.unwrap();
    assert_eq!(lost.await, EvidenceLoss::SessionEnded);
    assert_eq!(evidence.time_left(), None);
}

//! What is said of a session's life, and what it survives.

use super::*;

/// Five servers.
async fn of_five(seed: u64) -> (Ensemble, Client) {
    let ensemble = Ensemble::new();
    let client = Client::builder("zk:1,zk:2,zk:3,zk:4,zk:5")
        .session_timeout(T)
        .net(Arc::new(ensemble.clone()))
        .seed(seed)
        .connect()
        .await
        .unwrap();
    (ensemble, client)
}

/// The server that the client is connected to goes silent, and so do others, which take connections and say nothing.
fn hush(ensemble: &Ensemble, others: &[u16]) {
    let loads = ensemble.loads();
    let own = *loads.keys().next().unwrap();
    let others = others.iter().map(|other| (own - 1 + other) % 5 + 1);
    ensemble.fault(|faults| {
        faults.mute_hosts.insert(own);
        faults.mute_hosts.extend(others);
    });
}

#[tokio::test(start_paused = true)]
async fn mute_servers_do_not_cost_the_session() {
    for others in [&[][..], &[1], &[2], &[3], &[4], &[1, 2], &[1, 4], &[2, 3]] {
        for seed in 0..8 {
            let (ensemble, client) = of_five(seed).await;
            let session = client.session();
            client.create("/own", b"").ephemeral().await.unwrap();
            sleep(Duration::from_millis(seed * 700)).await;
            hush(&ensemble, others);
            sleep(T * 2).await;
            assert!(session.is_current(), "{others:?}, seed {seed}");
            assert_eq!(client.state(), SessionState::Connected);
            let own = client.exists("/own").await.unwrap();
            assert!(own.is_some(), "{others:?}, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn mute_servers_do_not_cost_the_proof_of_life() {
    for others in [&[][..], &[1], &[2], &[3], &[4], &[1, 2]] {
        for seed in 0..8 {
            let (ensemble, client) = of_five(seed).await;
            let evidence = client.session().evidence().await.unwrap();
            sleep(Duration::from_millis(seed * 700)).await;
            hush(&ensemble, others);
            sleep(T * 2).await;
            assert!(evidence.time_left().is_some(), "{others:?}, seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_a_server_says_is_over_has_no_time_left() {
    let ensemble = Ensemble::new();
    let builder = builder(&ensemble).on_expiry(OnExpiry::Stop);
    let client = builder.connect().await.unwrap();
    let session = client.session();
    assert!(session.expires_in() > T - Duration::from_secs(1));
    ensemble.expire(session.id());
    until(&client, |state| state == SessionState::Expired).await;
    assert_eq!(session.expires_in(), Duration::ZERO);
    assert_eq!(client.session().expires_in(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn only_what_a_server_answered_counts_as_life() {
    let (ensemble, client) = connected().await;
    let session = client.session();
    // Pings and their answers do.
    sleep(Duration::from_secs(3600)).await;
    assert!(session.expires_in() >= T * 2 / 3 - Duration::from_millis(10));
    client.sync("/").await.unwrap();
    ensemble.fault(|faults| faults.rubbish = true);
    ensemble.cut();
    for second in 1..=8 {
        sleep(Duration::from_secs(1)).await;
        let left = session.expires_in();
        assert!(
            left <= T - Duration::from_secs(second),
            "{second}: {left:?}"
        );
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(session.expires_in(), Duration::ZERO);
    assert!(ensemble.connects() > 4, "somebody answered, only no server");
}

#[tokio::test(start_paused = true)]
async fn what_is_bound_between_two_sessions_is_bound_to_the_next() {
    let (ensemble, client) = connected().await;
    let old = client.session();
    ensemble.fault(|faults| faults.no_new_sessions = true);
    ensemble.expire(old.id());
    until(&client, |state| state == SessionState::Expired).await;
    assert!(!old.is_current());
    assert_eq!(old.expires_in(), Duration::ZERO);
    let next = client.session();
    assert!(next.is_current());
    assert_eq!(next.expires_in(), Duration::ZERO);
    let own = next.create("/own", b"").ephemeral();
    let protected = client
        .create("/own-", b"")
        .ephemeral()
        .sequential()
        .protected();
    let heal = async {
        sleep(Duration::from_secs(5)).await;
        ensemble.fault(|faults| faults.no_new_sessions = false);
    };
    let (own, protected, ()) = tokio::join!(own, protected, heal);
    let session = client.session();
    assert_ne!(session.id(), old.id());
    assert_eq!(next.id(), session.id());
    for created in [own.unwrap(), protected.unwrap()] {
        assert_eq!(created.stat.ephemeral_owner, session.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_not_repeated_in_another_session() {
    let (ensemble, client) = connected().await;
    ensemble.set("/a", "x");
    ensemble.fault(|faults| faults.mute = true);
    let mut read = Box::pin(client.get("/a").watch());
    assert!(read.as_mut().now_or_never().is_none());
    sleep(Duration::from_millis(10)).await;
    ensemble.fault(|faults| faults.mute = false);
    ensemble.expire(client.session().id());
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    let error = read.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionExpired, Outcome::NotApplied)
    );
    assert_eq!(ensemble.watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn why_a_session_ended_is_not_forgotten() {
    let (ensemble, client) = connected().await;
    let first = client.session();
    let (ended, evidence) = (first.ended(), first.evidence().await.unwrap());
    let lost = evidence.lost();
    ensemble.expire(first.id());
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    let second = client.session();
    let next = second.evidence().await.unwrap();
    assert!(next.time_left().is_some());
    assert_eq!(lost.await, EvidenceLoss::SessionEnded);
    assert_eq!(evidence.lost().await, EvidenceLoss::SessionEnded);
    client.close().await.unwrap();
    assert_eq!(ended.await, SessionEnd::Expired);
    assert_eq!(first.ended().await, SessionEnd::Expired);
    assert_eq!(second.ended().await, SessionEnd::Closed);
    assert_eq!(next.lost().await, EvidenceLoss::SessionEnded);
}

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_detach_from_without_a_session() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.no_new_sessions = true);
    ensemble.expire(client.session().id());
    until(&client, |state| state == SessionState::Expired).await;
    let error = client.detach().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert_eq!(client.state(), SessionState::Closed);
}

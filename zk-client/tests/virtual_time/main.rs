//! The whole client over a network in memory, on a paused clock: outages of minutes take milliseconds.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod cancellation;
mod cancelled_lives;
mod ensemble;
mod life;
mod limits;
mod listeners;
mod moving;
mod names;
mod schedules;
mod watch_table;

use std::{sync::Arc, time::Duration};

use ensemble::Ensemble;
use futures::{FutureExt, future::join_all};
use tokio::time::{Instant, sleep};
use zk_client::{
    Client, ClientBuilder, ErrorKind, EvidenceLoss, OnExpiry, Outcome, SessionEnd, SessionState,
    WatchEvent, WhileDisconnected,
};
use zk_proto::OpCode;

const T: Duration = Duration::from_secs(9);

fn builder(ensemble: &Ensemble) -> ClientBuilder {
    Client::builder("zk:1,zk:2")
        .session_timeout(T)
        .net(Arc::new(ensemble.clone()))
        .seed(7)
}

async fn connected() -> (Ensemble, Client) {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble).connect().await.unwrap();
    ensemble.seen();
    (ensemble, client)
}

/// Waits for a state; every state on the way there is skipped.
async fn until(client: &Client, wanted: impl Fn(SessionState) -> bool) -> SessionState {
    let mut states = client.states();
    loop {
        let state = states.next().await.unwrap();
        if wanted(state) {
            return state;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_silent_or_unknown_does_not_matter() {
    let ensemble = Ensemble::new();
    ensemble.fault(|faults| {
        faults.down.insert(1);
        faults.silent.insert(2);
    });
    for seed in 0..10 {
        let start = Instant::now();
        let builder = Client::builder("zk:1,nowhere:2,zk:2,zk:3").net(Arc::new(ensemble.clone()));
        let client = builder.seed(seed).connect().await.unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        client.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_silent_hosts_is_reached() {
    let ensemble = Ensemble::new();
    ensemble.fault(|faults| faults.silent.extend(1..30));
    let hosts: Vec<_> = (1..=30).map(|port| format!("zk:{port}")).collect();
    for seed in 0..10 {
        let builder = Client::builder(hosts.join(",")).session_timeout(Duration::from_secs(3));
        let client = builder.net(Arc::new(ensemble.clone())).seed(seed);
        client.connect().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_has_a_limit_of_its_own() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.mute = true);
    for milliseconds in [1, 700, 2000] {
        let (start, limit) = (Instant::now(), Duration::from_millis(milliseconds));
        let error = client.set("/a", "x").within(limit).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::OperationTimeout, Outcome::Unknown)
        );
        let late = start.elapsed().saturating_sub(limit);
        assert!(late < Duration::from_millis(5), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_gives_up_in_time_and_says_why() {
    let ensemble = Ensemble::new();
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    let start = Instant::now();
    let connect = builder(&ensemble)
        .connect_timeout(Duration::from_secs(3))
        .connect();
    let error = connect.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectFailed, Outcome::NotApplied)
    );
    assert!(error.to_string().contains("refused"), "{error}");
    assert!((3000..3100).contains(&start.elapsed().as_millis()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_lives_on_pings_for_an_hour() {
    let (ensemble, client) = connected().await;
    let id = client.session().id();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(client.session().id(), id);
    assert_eq!(client.get_opt("/a").await.unwrap(), None);
    assert_eq!(ensemble.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_told_as_unknown_and_not_repeated() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.lose_replies = 1);
    let error = client.create("/a", b"x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Outcome::Unknown)
    );
    assert!(!error.is_retryable());
    assert_eq!(ensemble.paths(), ["/a"]);
    assert_eq!(
        &client.get("/a").await.unwrap().data[..],
        b"x",
        "the session goes on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_under_a_breaking_connection_is_repeated() {
    let (ensemble, client) = connected().await;
    ensemble.set("/a", "x");
    ensemble.fault(|faults| faults.mute = true);
    let read = client.get("/a");
    let heal = async {
        sleep(Duration::from_secs(1)).await;
        ensemble.fault(|faults| faults.mute = false);
        ensemble.cut();
    };
    let (node, ()) = tokio::join!(read, heal);
    assert_eq!(&node.unwrap().data[..], b"x");
}

#[tokio::test(start_paused = true)]
async fn a_protected_create_leaves_one_node_whatever_is_lost() {
    for losses in 0..4 {
        let (ensemble, client) = connected().await;
        client.create("/locks", b"").await.unwrap();
        ensemble.fault(|faults| faults.lose_replies = losses);
        let created = client
            .create("/locks/lock-", b"")
            .ephemeral()
            .sequential()
            .protected()
            .await
            .unwrap();
        assert_eq!(
            ensemble.paths(),
            ["/locks".to_owned(), created.path.clone()],
            "{losses}"
        );
        assert_eq!(created.stat.ephemeral_owner, client.session().id());
        // The lost create may be under way in an ensemble: a sync goes before every look at the children.
        let ops = ensemble.seen();
        let looks = ops.windows(2).filter(|ops| ops[1] == OpCode::GetChildren);
        assert!(looks.clone().all(|ops| ops[0] == OpCode::Sync), "{ops:?}");
        assert_eq!(looks.count(), losses.min(1), "the first look finds it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mute_server_is_left_for_another_after_two_thirds_of_the_timeout() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.mute = true);
    let start = Instant::now();
    until(&client, |state| state == SessionState::Suspended).await;
    assert!(
        (5900..6200).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_mute_ensemble_fails_in_time() {
    let ensemble = Ensemble::new();
    let builder = builder(&ensemble).request_timeout(Duration::from_secs(4));
    let client = builder.connect().await.unwrap();
    ensemble.fault(|faults| faults.mute = true);
    let start = Instant::now();
    let error = client.create("/a", b"").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    assert!(
        (4000..4010).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
    let error = client.get("/a").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::OperationTimeout),
        "{error}"
    );
    assert!(
        (8000..8010).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_ten_minutes_ends_with_a_new_session_and_every_watcher_told() {
    let (ensemble, client) = connected().await;
    ensemble.set("/a", "x");
    let old = client.session();
    let (_, change) = client.get("/a").watch().await.unwrap();
    let ended = old.ended();
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(client.state(), SessionState::Suspended);
    assert_eq!(old.expires_in(), Duration::ZERO);
    assert!(
        old.is_current(),
        "only a server can say that it has expired"
    );
    ensemble.fault(|faults| faults.down.clear());
    let state = until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    assert_eq!(
        state,
        SessionState::Renewed {
            old: old.id(),
            new: client.session().id()
        }
    );
    assert_eq!(change.await, WatchEvent::SessionEnded);
    assert_eq!(ended.await, SessionEnd::Expired);
    let error = old.create("/b", b"").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionChanged, Outcome::NotApplied)
    );
    client.create("/b", b"").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_outlives_an_outage_of_ten_minutes_has_every_watch_and_state_right() {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble)
        .session_timeout(Duration::from_secs(1800))
        .connect()
        .await
        .unwrap();
    for path in ["/a", "/b", "/c", "/same"] {
        ensemble.set(path, "x");
    }
    client.create("/own", b"").ephemeral().await.unwrap();
    let (_, changed) = client.get("/a").watch().await.unwrap();
    let (_, deleted) = client.exists("/b").watch().await.unwrap();
    let (_, created) = client.exists("/new").watch().await.unwrap();
    let (_, listed) = client.children("/").watch().await.unwrap();
    let (_, same) = client.get("/same").watch().await.unwrap();
    let mut stream = client.watch("/c").await.unwrap();
    let mut below = client.watch("/").recursive().await.unwrap();
    let mut states = client.states();
    let session = client.session();
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    let start = Instant::now();
    let error = client.set("/a", "mine").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert_eq!(start.elapsed().as_secs(), 15);
    sleep(Duration::from_secs(600) - start.elapsed()).await;
    ensemble.set("/a", "y");
    ensemble.set("/c", "y");
    ensemble.set("/new", "y");
    ensemble.delete("/b");
    ensemble.fault(|faults| faults.down.clear());
    assert!(matches!(changed.await, WatchEvent::DataChanged(_)));
    assert!(matches!(deleted.await, WatchEvent::Deleted(_)));
    assert!(matches!(created.await, WatchEvent::Created(_)));
    assert!(matches!(listed.await, WatchEvent::ChildrenChanged(_)));
    for stream in [&mut stream, &mut below] {
        assert_eq!(stream.next().await, Some(WatchEvent::SessionDisconnected));
        // What one-shot watches are told of the gap is told to streams, too; all they are promised is its end.
        while stream.next().await != Some(WatchEvent::SessionReconnected) {}
    }
    ensemble.set("/c", "z");
    for stream in [&mut stream, &mut below] {
        let event = stream.next().await.unwrap();
        assert!(matches!(event, WatchEvent::DataChanged(_)), "{event:?}");
    }
    assert!(same.now_or_never().is_none());
    for expected in [
        SessionState::Connected,
        SessionState::Suspended,
        SessionState::Connected,
    ] {
        assert_eq!(states.next().await, Some(expected));
    }
    assert!(session.is_current() && states.next().now_or_never().is_none());
    let owner = client
        .exists("/own")
        .await
        .unwrap()
        .unwrap()
        .ephemeral_owner;
    assert_eq!(owner, session.id());
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_gap_is_told_after_it() {
    let (ensemble, client) = connected().await;
    ensemble.set("/a", "x");
    let (_, changed) = client.get("/a").watch().await.unwrap();
    let (_, created) = client.exists("/b").watch().await.unwrap();
    let (_, unchanged) = client.exists("/c").watch().await.unwrap();
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    sleep(Duration::from_secs(1)).await;
    ensemble.set("/a", "y");
    ensemble.set("/b", "y");
    ensemble.fault(|faults| faults.down.clear());
    assert!(matches!(changed.await, WatchEvent::DataChanged(_)));
    assert!(matches!(created.await, WatchEvent::Created(_)));
    assert!(unchanged.now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_states_tell_every_transition() {
    let (ensemble, client) = connected().await;
    let mut states = client.states();
    let old = client.session().id();
    ensemble.cut();
    until(&client, |state| state == SessionState::Suspended).await;
    until(&client, SessionState::is_connected).await;
    ensemble.expire(old);
    until(&client, |state| {
        matches!(state, SessionState::Renewed { .. })
    })
    .await;
    let new = client.session().id();
    client.close().await.unwrap();
    let mut seen = Vec::new();
    while let Some(state) = states.next().await {
        seen.push(state);
    }
    let expected = [
        SessionState::Connected,
        SessionState::Suspended,
        SessionState::Connected,
        SessionState::Suspended,
        SessionState::Expired,
        SessionState::Renewed { old, new },
        SessionState::Closed,
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_client_told_to_stop_does_not_come_back() {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble)
        .on_expiry(OnExpiry::Stop)
        .connect()
        .await
        .unwrap();
    ensemble.expire(client.session().id());
    until(&client, |state| state == SessionState::Expired).await;
    let error = client.get("/a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert!(error.is_session_lost());
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_the_old_session_does_not_slip_into_the_new_one() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    until(&client, |state| state == SessionState::Suspended).await;
    let queued = client.create("/e", b"").ephemeral().submit().await.unwrap();
    sleep(Duration::from_secs(12)).await;
    ensemble.fault(|faults| faults.down.clear());
    let error = queued.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::SessionExpired, Outcome::NotApplied)
    );
    assert!(ensemble.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_impatient_client_fails_at_once_while_disconnected() {
    let ensemble = Ensemble::new();
    let builder = builder(&ensemble).while_disconnected(WhileDisconnected::FailFast);
    let client = builder.connect().await.unwrap();
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    until(&client, |state| state == SessionState::Suspended).await;
    let start = Instant::now();
    for error in [
        client.get("/a").await.unwrap_err(),
        client.delete("/a").await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::ConnectionLoss, Outcome::NotApplied)
        );
        assert!(error.is_retryable());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn closing_returns_in_time_with_every_server_down() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    let start = Instant::now();
    let error = client
        .close()
        .within(Duration::from_secs(2))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(client.state(), SessionState::Closed);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_carries_out_what_was_submitted_before() {
    let (ensemble, client) = connected().await;
    let pending = client.create("/a", b"").submit().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(pending.await.unwrap().path, "/a");
    assert_eq!(ensemble.seen(), [OpCode::Create2, OpCode::CloseSession]);
}

#[tokio::test(start_paused = true)]
async fn closing_takes_one_round_trip_and_frees_ephemerals_in_it() {
    let (ensemble, client) = connected().await;
    client.create("/own", b"").ephemeral().await.unwrap();
    ensemble.fault(|faults| faults.delay = Duration::from_millis(500));
    let start = Instant::now();
    client.close().await.unwrap();
    assert_eq!(start.elapsed().as_millis(), 500);
    assert!(ensemble.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn large_requests_wait_for_room_too() {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble)
        .max_in_flight_bytes(100_000)
        .connect()
        .await
        .unwrap();
    ensemble.set("/a", "");
    ensemble.fault(|faults| faults.mute = true);
    let large = vec![7; 40_000];
    let mut under_way = Vec::new();
    for _ in 0..3 {
        under_way.push(client.set("/a", &large).submit().await.unwrap());
    }
    let mut fourth = Box::pin(client.set("/a", &large).submit());
    assert!(fourth.as_mut().now_or_never().is_none());
    ensemble.fault(|faults| faults.mute = false);
    ensemble.cut();
    assert!(join_all(under_way).await.iter().all(Result::is_err));
    fourth.await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_wait_their_turn_in_order() {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble).max_in_flight(3).connect().await.unwrap();
    let paths: Vec<_> = (0..50).map(|n| format!("/{n:02}")).collect();
    let created = join_all(paths.iter().map(|path| client.create(path, b""))).await;
    assert!(
        created
            .into_iter()
            .map(|created| created.unwrap().stat.czxid)
            .is_sorted()
    );
    assert_eq!(ensemble.paths(), paths);
    // Those who leave the queue before it is their turn leave their place to others.
    ensemble.fault(|faults| faults.mute = true);
    let waiting = join_all(paths.iter().map(|path| client.delete(path)));
    assert!(
        tokio::time::timeout(Duration::from_millis(10), waiting)
            .await
            .is_err()
    );
    ensemble.fault(|faults| faults.mute = false);
    ensemble.cut();
    client.create("/last", b"").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_counts_towards_the_timeout() {
    let ensemble = Ensemble::new();
    let builder = builder(&ensemble)
        .max_in_flight(1)
        .request_timeout(Duration::from_secs(4));
    let client = builder.connect().await.unwrap();
    ensemble.fault(|faults| faults.mute = true);
    let start = Instant::now();
    let (first, second) = tokio::join!(client.set("/a", "1"), client.set("/a", "2"));
    let error = first.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::Unknown)
    );
    let error = second.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert!((4000..4010).contains(&start.elapsed().as_millis()));
}

#[tokio::test(start_paused = true)]
async fn evidence_is_lost_at_its_deadline_and_stays_lost() {
    let (ensemble, client) = connected().await;
    let session = client.session();
    let evidence = session.evidence().await.unwrap();
    sleep(T * 4).await;
    assert!(
        evidence.time_left().unwrap() >= T / 3,
        "heartbeats keep it up"
    );
    assert!(
        ensemble
            .seen()
            .iter()
            .filter(|op| **op == OpCode::Sync)
            .count()
            >= 12
    );
    ensemble.fault(|faults| faults.down.extend([1, 2]));
    ensemble.cut();
    let (lost, start) = (evidence.lost(), Instant::now());
    let left = evidence.time_left().unwrap();
    assert_eq!(lost.await, EvidenceLoss::NoEvidence);
    assert!(start.elapsed() >= left && start.elapsed() < left + Duration::from_millis(5));
    ensemble.fault(|faults| faults.down.clear());
    until(&client, SessionState::is_connected).await;
    assert!(session.is_current(), "the session survived");
    assert_eq!(evidence.time_left(), None, "the evidence did not");
    let again = session.evidence().await.unwrap();
    assert!(again.time_left().is_some() && evidence.time_left().is_none());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_end_with_the_last_holder() {
    let (ensemble, client) = connected().await;
    let session = client.session();
    let first = session.evidence().await.unwrap();
    let second = first.clone();
    drop(first);
    sleep(T).await;
    assert!(second.time_left().is_some());
    drop(second);
    // An operation that is given up before its answer holds nothing either.
    drop(session.evidence().submit().await.unwrap());
    tokio::task::yield_now().await;
    ensemble.seen();
    sleep(T * 4).await;
    assert_eq!(ensemble.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_presented_on_every_connection_and_refused_ones_end_the_client() {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble)
        .auth("digest", "alice:secret")
        .connect()
        .await
        .unwrap();
    client.add_auth("digest", "bob:secret").await.unwrap();
    ensemble.seen();
    ensemble.cut();
    client.delete("/a").await.unwrap_err();
    assert_eq!(
        ensemble.seen(),
        [OpCode::Auth, OpCode::Auth, OpCode::Delete]
    );
    let refused = builder(&ensemble).auth("nonsense", "x").connect().await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AuthFailed);
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn the_current_client_is_the_innermost() {
    let (_ensemble, outer) = connected().await;
    let (_other, inner) = connected().await;
    assert_eq!(
        Client::current().unwrap_err().kind(),
        ErrorKind::NoCurrentClient
    );
    let installed = outer.clone().install().unwrap();
    assert_eq!(
        inner.clone().install().unwrap_err().kind(),
        ErrorKind::BadArguments
    );
    let here = Client::current().unwrap();
    let id = |client: Client| client.session().password().as_bytes().as_ptr();
    assert_eq!(id(here), id(outer));
    let scoped = inner.scope(async { id(Client::current().unwrap()) }).await;
    assert_eq!(scoped, id(inner));
    drop(installed);
    assert!(Client::current().is_err());
}

#[test]
fn nothing_panics_outside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (client, change, pending, evidence) = runtime.block_on(async {
        let (_, client) = connected().await;
        let (_, change) = client.exists("/b").watch().await.unwrap();
        let pending = client.create("/a", b"").submit().await.unwrap();
        let evidence = client.session().evidence().await.unwrap();
        (client, change, pending, evidence)
    });
    drop(evidence);
    let late = client.clone();
    drop(runtime);
    assert_eq!(
        futures::executor::block_on(change),
        WatchEvent::SessionEnded
    );
    let created = futures::executor::block_on(pending).unwrap();
    assert_eq!(created.path, "/a");
    let error = futures::executor::block_on(late.get("/a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop((client, late));
    assert!(futures::executor::block_on(Client::connect("zk:1")).is_err());
}

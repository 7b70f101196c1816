//! Every call ends within its limit, whatever it waits for.

use super::*;
use zk_client::ClientBuilder;

/// A client that waits for every answer before the next request.
async fn one_at_a_time() -> (Ensemble, Client) {
    let ensemble = Ensemble::new();
    let client = builder(&ensemble).max_in_flight(1).connect().await.unwrap();
    ensemble.set("/a", "x");
    (ensemble, client)
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_behind_others_that_wait_for_room() {
    let (ensemble, client) = one_at_a_time().await;
    ensemble.fault(|faults| faults.mute = true);
    let start = Instant::now();
    let limit = Duration::from_millis(100);
    let limited = async {
        let error = client.set("/a", "3").within(limit).await.unwrap_err();
        (error, start.elapsed())
    };
    let (first, second, (error, took)) =
        tokio::join!(client.set("/a", "1"), client.set("/a", "2"), limited);
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::OperationTimeout, Outcome::NotApplied)
    );
    assert!(took < Duration::from_millis(105), "{took:?}");
    assert!(first.is_err() && second.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_hands_its_place_on() {
    let (_ensemble, client) = one_at_a_time().await;
    let start = Instant::now();
    let (first, refused, again, last) = tokio::join!(
        client.set("/a", "1"),
        client.get("/a//b"),
        client.get("/a//c"),
        client.exists("/a"),
    );
    first.unwrap();
    for refused in [refused, again] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::BadArguments);
    }
    assert!(last.unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_answer_makes_no_sense_is_not_repeated() {
    let (ensemble, client) = connected().await;
    ensemble.set("/a", "x");
    ensemble.fault(|faults| faults.cut_short = true);
    let error = client.get("/a").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ConnectionLoss, Outcome::NotApplied)
    );
    client.set("/a", "y").await.unwrap();
    assert_eq!(ensemble.connects(), 2, "it cost one connection");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_the_servers_do_not_know_is_given_up_soon() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| faults.unknown = Some(OpCode::MultiRead));
    let error = client.multi_read().get("/").run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLoss);
    assert_eq!((error.op(), error.path()), ("multiRead", None));
    assert_eq!(ensemble.seen(), [OpCode::MultiRead; 3]);
}

#[tokio::test(start_paused = true)]
async fn reads_are_sent_as_often_as_allowed() {
    let ensemble = Ensemble::new();
    let policy = zk_client::RetryPolicy::constant(Duration::from_millis(10));
    for attempts in [1, 2, 5] {
        let builder = builder(&ensemble).retry(policy.clone().read_attempts(attempts));
        let client = builder.connect().await.unwrap();
        ensemble.fault(|faults| faults.unknown = Some(OpCode::GetData));
        ensemble.seen();
        let error = client.get("/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLoss);
        assert_eq!(ensemble.seen().len(), attempts as usize);
        ensemble.fault(|faults| faults.unknown = None);
        client.close().await.unwrap();
    }
}

/// Carries out one composed operation of each kind, each with a client and an ensemble of its own that says nothing, and
/// tells how long it took.
async fn composed(
    options: fn(ClientBuilder) -> ClientBuilder,
    limit: Option<Duration>,
) -> Vec<(usize, Duration)> {
    let mut times = Vec::new();
    for kind in 0..5 {
        let ensemble = Ensemble::new();
        let client = options(builder(&ensemble)).connect().await.unwrap();
        ensemble.set("/a", "x");
        ensemble.fault(|faults| faults.mute = true);
        let start = Instant::now();
        macro_rules! run {
            ($operation:expr) => {
                match limit {
                    Some(limit) => $operation.within(limit).await.map(drop),
                    None => $operation.await.map(drop),
                }
            };
        }
        let result = match kind {
            0 => run!(client.create_all("/x/y", b"")),
            1 => run!(client.ensure("/x/y")),
            2 => run!(client.update("/a", |_| "y")),
            3 => run!(client.delete_all("/a")),
            _ => run!(client.create("/p-", b"").ephemeral().protected()),
        };
        assert!(result.is_err());
        times.push((kind, start.elapsed()));
    }
    times
}

#[tokio::test(start_paused = true)]
async fn composed_operations_end_in_time() {
    // Shorter and longer than it takes to notice that a server is mute.
    let short: fn(ClientBuilder) -> ClientBuilder =
        |builder| builder.request_timeout(Duration::from_secs(4));
    let usual: fn(ClientBuilder) -> ClientBuilder = |builder| builder;
    for (options, limit, expected) in [
        (short, None, 4_000),
        (usual, None, 15_000),
        (usual, Some(Duration::from_secs(2)), 2_000),
        (usual, Some(Duration::from_secs(20)), 20_000),
    ] {
        for (kind, took) in composed(options, limit).await {
            let late = took.as_millis().saturating_sub(expected);
            assert!(late < 10, "{kind}: {took:?} of {expected} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_not_asked_all_the_time() {
    let (ensemble, client) = connected().await;
    ensemble.fault(|faults| {
        faults.throttled = true;
        faults.delay = Duration::from_millis(1);
    });
    let limit = Duration::from_secs(10);
    let error = client.ensure("/a/b").within(limit).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let asked = ensemble.seen().len();
    assert!((5..30).contains(&asked), "{asked} times");
    ensemble.fault(|faults| faults.throttled = false);
    client.ensure("/a/b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn parents_are_containers_where_that_is_asked() {
    let (ensemble, client) = connected().await;
    // These servers know no containers, so it ends with the first.
    let created = client.create_all("/c/leaf", b"").container_parents();
    assert_eq!(created.await.unwrap_err().kind(), ErrorKind::Unimplemented);
    let expected = [OpCode::Create2, OpCode::CreateContainer];
    assert_eq!(ensemble.seen(), expected);
    let plain = client.create_all("/c/leaf", b"").await;
    assert_eq!(plain.unwrap().path, "/c/leaf");
}

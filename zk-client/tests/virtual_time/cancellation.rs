//! Futures that are dropped at any point, a hundred thousand of them.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;
use zk_client::{Client, Error, ErrorKind};
use zk_proto::OpCode;

use crate::{T, builder, ensemble::Ensemble, listeners::Listeners};

const OPERATIONS: u64 = 100_000;

#[tokio::test(start_paused = true)]
async fn futures_dropped_at_any_point_leave_the_session_whole() {
    let ensemble = Ensemble::new();
    // Few places: one that is not given back is missed soon.
    let client = builder(&ensemble)
        .max_in_flight(16)
        .connect()
        .await
        .unwrap();
    client.create("/a", b"").await.unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut listeners = Listeners::new(&client);
    let mut completed = 0_u64;
    for number in 0..OPERATIONS {
        // Servers whose connections last are tried again at once.
        if number % 500 == 0 {
            sleep(T / 3).await;
        }
        match number % 1000 {
            0 => ensemble.cut(),
            500 => ensemble.expire(client.session().id()),
            _ => {}
        }
        // The clock stands still while there is something to do: without a pause nobody would connect again.
        if number % 8 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        // Some are kept to their end, which must come.
        let polls = match number % 10 {
            7 => u32::MAX,
            _ => rng.u32(0..16),
        };
        match rng.u32(0..8) {
            0 => listeners.drop_somewhere(polls, &mut rng).await,
            _ => {
                let over = drop_somewhere(&client, number, polls, &mut rng).await;
                completed += u64::from(over);
            }
        }
    }
    let states = listeners.rest();
    assert!(
        (OPERATIONS / 10..OPERATIONS * 9 / 10).contains(&completed),
        "{completed}"
    );
    // Nothing was lost, doubled or out of order: what was carried out was, in the order of submission.
    let written: Vec<u64> = ensemble
        .history("/a")
        .iter()
        .map(|data| std::str::from_utf8(data).unwrap().parse().unwrap())
        .collect();
    assert!(written.is_sorted_by(|one, next| one < next));
    assert!(written.len() > 10_000, "{}", written.len());
    // Every place is there again, so as many requests as there are places are on their way together.
    let mut pipeline = Vec::new();
    for number in 0..16 {
        let submitted = client.set("/a", (OPERATIONS + number).to_string()).submit();
        pipeline.push(submitted.now_or_never().expect("there is room").unwrap());
    }
    for pending in pipeline {
        pending.await.unwrap();
    }
    // No watch and no heartbeat is left behind, at the servers or in the client.
    sleep(Duration::from_secs(2)).await;
    client.sync("/").await.unwrap();
    assert_eq!(ensemble.watches(), 0);
    ensemble.seen();
    sleep(T * 4).await;
    assert_eq!(ensemble.seen(), []);
    ensemble.cut();
    client.sync("/").await.unwrap();
    assert_eq!(
        ensemble.seen(),
        [OpCode::Auth, OpCode::Sync],
        "the credentials, once, and nothing is registered again"
    );
    client.close().await.unwrap();
    states.told_everything();
}

/// Begins an operation and drops it after some polls, or what it results in; true if it was over by then.
async fn drop_somewhere(client: &Client, number: u64, polls: u32, rng: &mut fastrand::Rng) -> bool {
    match rng.u32(0..24) {
        0 => poll_some(client.get("/a"), polls).await,
        18 => poll_some(client.multi_read().get("/a").run(), polls).await,
        19 => poll_some(client.ensure("/x/y/z"), polls).await,
        20 => poll_some(client.sync("/"), polls).await,
        21 => poll_some(client.update_hosts("zk:1,zk:2"), polls).await,
        22 => poll_some(client.set("/a", number.to_string()).submit(), polls).await,
        1..=3 => poll_some(client.set("/a", number.to_string()), polls).await,
        4 => poll_some(client.exists("/b").watch(), polls).await,
        5 => poll_some(client.get("/a").watch(), polls).await,
        6 => poll_some(client.create("/b", b"").ephemeral(), polls).await,
        7 => poll_some(client.delete("/b"), polls).await,
        8 => poll_some(client.watch("/a"), polls).await,
        9 => poll_some(client.watch("/").recursive(), polls).await,
        10 => poll_some(client.create_all("/x/y", b""), polls).await,
        11 => poll_some(client.create("/p-", b"").ephemeral().protected(), polls).await,
        12 => {
            let session = client.session();
            poll_some(session.evidence(), polls).await
        }
        13 => {
            let multi = client.multi().check("/a", -1);
            poll_some(multi.set("/a", number.to_string()).commit(), polls).await
        }
        14 => {
            // It fails, and its set with it.
            let multi = client.multi().set("/a", "never");
            poll_some(multi.check("/nothing", -1).commit(), polls).await
        }
        15 => {
            let number = number.to_string();
            poll_some(client.update("/a", move |_| number.clone()), polls).await
        }
        16 => poll_some(client.delete_all("/x"), polls).await,
        17 => poll_some(client.add_auth("digest", "alice:secret"), polls).await,
        _ => match client.set("/a", number.to_string()).submit().now_or_never() {
            Some(Ok(pending)) => poll_some(pending, polls).await,
            _ => false,
        },
    }
}

/// Polls a future so many times and drops it; one that is kept ends in time, and legally.
async fn poll_some<T>(future: impl Future<Output = Result<T, Error>>, polls: u32) -> bool {
    if polls == u32::MAX {
        let result = tokio::time::timeout(Duration::from_millis(15_010), future).await;
        if let Err(error) = result.expect("every call ends within its deadline") {
            assert!(is_legal(error.kind()), "{error}");
        }
        return true;
    }
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if future.as_mut().now_or_never().is_some() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// What may become of these operations while connections are cut and sessions expired; no client is closed here.
pub(crate) fn is_legal(kind: ErrorKind) -> bool {
    use ErrorKind::{
        BadVersion, ConnectionLoss, NoNode, NodeExists, NotEmpty, RuntimeInconsistency,
        SessionChanged, SessionExpired, Unimplemented,
    };
    matches!(
        kind,
        BadVersion
            | ConnectionLoss
            | NoNode
            | NodeExists
            | NotEmpty
            | RuntimeInconsistency
            | SessionChanged
            | SessionExpired
            | Unimplemented
    )
}

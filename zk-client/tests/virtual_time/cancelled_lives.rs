//! Clients whose futures of beginning and ending are dropped at any point: no session is left behind and none is opened
//! twice, and one that was given away is there for who takes it.

use std::time::Duration;

use fastrand::Rng;
use futures::FutureExt;
use tokio::time::{sleep, timeout};
use zk_client::{Client, Created, ErrorKind, Outcome, Pending, SessionState};

use crate::{T, builder, ensemble::Ensemble, until};

const CLIENTS: u64 = 3000;

#[tokio::test(start_paused = true)]
async fn clients_dropped_at_any_point_leave_no_session_behind() {
    let ensemble = Ensemble::new();
    let mut rng = Rng::with_seed(23);
    let mut cancelled = [0_u64; 3];
    for number in 0..CLIENTS {
        // Answers take a while, so that there is something to drop.
        ensemble.fault(|faults| faults.delay = Duration::from_millis(rng.u64(0..4)));
        let kind = usize::try_from(number % 3).unwrap();
        let over = match kind {
            0 => connect(&ensemble, &mut rng).await,
            1 => close(&ensemble, &mut rng).await,
            _ => detach(&ensemble, &mut rng).await,
        };
        cancelled[kind] += u64::from(!over);
        let left = (ensemble.sessions(), ensemble.links(), ensemble.paths());
        assert_eq!(left, (0, 0, Vec::new()), "{number}");
    }
    let enough = |count: &u64| (CLIENTS / 12..CLIENTS / 3 - 100).contains(count);
    assert!(cancelled.iter().all(enough), "{cancelled:?}");
    sleep(T * 2).await;
    assert_eq!((ensemble.sessions(), ensemble.links()), (0, 0));
}

/// A client that is dropped while it connects; true if it was connected by then.
async fn connect(ensemble: &Ensemble, rng: &mut Rng) -> bool {
    let opened = ensemble.opened();
    let mute = rng.u32(0..8) == 0;
    if mute {
        ensemble.fault(|faults| {
            faults.mute_hosts.insert(1);
        });
    }
    let connect = builder(ensemble).seed(rng.u64(..)).connect();
    let client = drop_somewhere(connect, rng).await.1;
    let over = client.is_some();
    drop(client.map(Result::unwrap));
    // A server that does not answer is given up after a third of the session timeout.
    sleep(if mute { T / 2 } else { T / 90 }).await;
    ensemble.fault(|faults| faults.mute_hosts.clear());
    assert!(ensemble.opened() <= opened + 1, "one client, one session");
    over
}

/// A client whose closing is dropped; true if it was over by then.
async fn close(ensemble: &Ensemble, rng: &mut Rng) -> bool {
    let (client, own, cut) = begin(ensemble, rng).await;
    let (session, opened) = (client.session().id(), ensemble.opened());
    let ((polled, closed), ()) = tokio::join!(drop_somewhere(client.close(), rng), cut);
    if let Some(closed) = &closed {
        closed.as_ref().unwrap();
        assert!(!ensemble.lives(session));
    }
    match polled {
        true => refused(&client).await,
        false => drop(client.sync("/").await),
    }
    match rng.u32(0..3) {
        _ if !polled => client.close().await.unwrap(),
        0 => drop(client),
        1 => {
            client.close().await.unwrap();
            assert!(!ensemble.lives(session), "it waits for the first one");
        }
        _ => drop(until(&client, |state| state == SessionState::Closed).await),
    }
    carried_out(own).await;
    sleep(T / 2).await;
    assert_eq!(ensemble.opened(), opened);
    closed.is_some()
}

/// A client whose detaching is dropped, and another one that takes its session; true if it was over by then.
async fn detach(ensemble: &Ensemble, rng: &mut Rng) -> bool {
    let (client, own, cut) = begin(ensemble, rng).await;
    let session = client.session();
    let (id, password, opened) = (session.id(), session.password().clone(), ensemble.opened());
    let ((polled, detached), ()) = tokio::join!(drop_somewhere(client.detach(), rng), cut);
    let over = detached.is_some();
    match polled {
        true => refused(&client).await,
        false => {
            drop(client.sync("/").await);
            client.detach().await.unwrap();
        }
    }
    if let Some(detached) = detached {
        assert_eq!(detached.unwrap(), (id, password.clone()));
    }
    drop((client, session));
    let was_carried_out = carried_out(own).await;
    sleep(T / 4).await;
    assert_eq!((ensemble.sessions(), ensemble.links()), (1, 0));
    let heir = builder(ensemble).session(id, password).connect();
    let heir = heir.await.unwrap();
    assert_eq!((heir.session().id(), ensemble.opened()), (id, opened));
    let inherited = heir.exists("/own").await.unwrap();
    assert!(inherited.is_some() || !was_carried_out);
    assert!(inherited.is_none_or(|stat| stat.ephemeral_owner == id));
    heir.close().await.unwrap();
    sleep(T / 90).await;
    over
}

/// A client that has asked for a node of its own, and a connection that is cut sooner or later, or not at all.
async fn begin(
    ensemble: &Ensemble,
    rng: &mut Rng,
) -> (Client, Pending<Created>, impl Future<Output = ()> + use<>) {
    let client = builder(ensemble).seed(rng.u64(..)).connect().await.unwrap();
    let own = client.create("/own", "").ephemeral().submit();
    let own = own.await.unwrap();
    let cut = (rng.u32(0..4) == 0).then(|| Duration::from_millis(rng.u64(0..8)));
    let ensemble = ensemble.clone();
    let cut = async move {
        if let Some(after) = cut {
            sleep(after).await;
            ensemble.cut();
        }
    };
    (client, own, cut)
}

/// A client that is being closed takes nothing any more.
async fn refused(client: &Client) {
    let error = client.create("/late", "").await.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::Closed, Outcome::NotApplied));
}

/// What was submitted before the end is carried out, unless its connection was cut.
async fn carried_out(own: Pending<Created>) -> bool {
    match own.await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionLoss);
            false
        }
    }
}

/// Waits for a future for some time, or some polls, and drops it: whether it was polled at all, and what it brought.
async fn drop_somewhere<F: Future>(future: F, rng: &mut Rng) -> (bool, Option<F::Output>) {
    if rng.bool() {
        let limit = Duration::from_millis(rng.u64(0..8));
        return (true, timeout(limit, future).await.ok());
    }
    let mut future = std::pin::pin!(future);
    let polls = rng.u32(0..8);
    for _ in 0..polls {
        if let Some(output) = future.as_mut().now_or_never() {
            return (true, Some(output));
        }
        tokio::task::yield_now().await;
    }
    (polls > 0, None)
}

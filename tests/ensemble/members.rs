//! Several members in the test's own process, as applications and tests have them.

#![allow(clippy::disallowed_methods, reason = "waits for real sockets")]

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use zk_proto::{ErrorCode, OpCode, op::Response};
use zk_server::Ensemble;
use zk_tests::{
    ensemble::Members,
    process::Launcher,
    raw::RawClient,
    requests::{children, create, sync},
};

/// Far more than a fail-over takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What was acknowledged.
pub(crate) type Acknowledged = watch::Sender<BTreeSet<String>>;

/// Waits until so many more writes are acknowledged.
pub(crate) async fn grown(acknowledged: &Acknowledged, by: usize) {
    let target = acknowledged.borrow().len() + by;
    let mut told = acknowledged.subscribe();
    let there = told.wait_for(|names| names.len() >= target);
    assert!(there.await.is_ok(), "somebody writes");
}

/// Writes one node after the other at whatever member answers, until it is told to stop.
pub(crate) async fn write(
    writer: usize,
    members: Vec<SocketAddr>,
    acknowledged: Arc<Acknowledged>,
    stop: Arc<AtomicBool>,
) {
    let mut number = 0_u32;
    while !stop.load(Relaxed) {
        let member = members[(writer + number as usize) % members.len()];
        // The connection breaks off with its member: what was in flight is in doubt, and nobody's promise.
        let _: io::Result<()> = async {
            let mut client = RawClient::connect(member).await?;
            client.open_session(10_000).await?;
            while !stop.load(Relaxed) {
                number += 1;
                let name = format!("w{writer}-{number}");
                let answer = client.call(create(&format!("/{name}"), b"x")).await?;
                assert_eq!(answer.code(), ErrorCode::Ok, "{name}");
                acknowledged.send_modify(|names| {
                    names.insert(name);
                });
            }
            Ok(())
        }
        .await;
        number += 1;
        sleep(Duration::from_millis(5)).await;
    }
}

/// Everything in the root, as a client of this member sees it after a `sync`.
async fn look(member: SocketAddr) -> io::Result<BTreeSet<String>> {
    let mut client = RawClient::connect(member).await?;
    client.open_session(10_000).await?;
    client.call(sync("/")).await?;
    let answer = client.call(children("/")).await?;
    match answer.response(OpCode::GetChildren) {
        Ok(Response::GetChildren(found)) => Ok(found
            .children
            .iter()
            .map(|name| name.to_string())
            .filter(|name| name.starts_with('w'))
            .collect()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

pub(crate) async fn check(members: &[SocketAddr], acknowledged: &Acknowledged) {
    let expected = acknowledged.borrow().clone();
    let mut found = Vec::new();
    for member in members {
        let nodes = look(*member).await.unwrap();
        let lost: Vec<_> = expected.difference(&nodes).take(5).collect();
        assert!(lost.is_empty(), "{member} has lost {lost:?}");
        found.push(nodes);
    }
    assert!(
        found.windows(2).all(|pair| pair[0] == pair[1]),
        "the members differ at rest"
    );
}

/// Three members of one kind, with settings beside the ones every member needs.
pub(crate) fn start_as(launcher: &Launcher, further: &[(&str, &str)]) -> io::Result<Members> {
    start_all(&vec![launcher.clone(); 3], further)
}

/// As [`start_as`], of whatever kinds.
pub(crate) fn start_all(launchers: &[Launcher], further: &[(&str, &str)]) -> io::Result<Members> {
    let settings = [&[("tickTime", "1000")], further].concat();
    let mut members = Members::prepare(launchers, &settings)?;
    members.start()?;
    Ok(members)
}

#[tokio::test]
async fn an_ensemble_in_one_process_outlives_its_leader() {
    let mut ensemble = Ensemble::start(3).await.unwrap();
    let leader = ensemble.leader().await;
    let addresses: Vec<_> = (0..3)
        .filter_map(|at| ensemble.client_address(at))
        .collect();
    let acknowledged = Arc::new(Acknowledged::default());
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(
        0,
        addresses.clone(),
        acknowledged.clone(),
        stop.clone(),
    ));
    let grown = async |by: usize| grown(&acknowledged, by).await;
    tokio::time::timeout(LIMIT, async {
        grown(20).await;
        ensemble.kill(leader).await.unwrap();
        assert_ne!(ensemble.leader().await, leader);
        grown(20).await;
        ensemble.restart(leader).await.unwrap();
        grown(20).await;
        stop.store(true, Relaxed);
        writer.await.unwrap();
        // What a member is, is told to nobody but who asks.
        while ensemble
            .member(leader)
            .is_some_and(|server| server.mode().is_none())
        {
            sleep(Duration::from_millis(1)).await;
        }
        check(&addresses, &acknowledged).await;
    })
    .await
    .unwrap();
}

//! Three members: no acknowledged write is lost when members are killed with SIGKILL under load, and all of them
//! hold the same in the end.
//!
//! `ZK_ENSEMBLE_KILLS=n` kills so many times.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "kills real processes and measures how long the others take"
)]

use std::{
    collections::BTreeSet,
    fs, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};
use zk_proto::{ErrorCode, OpCode, op::Response};
use zk_server::Ensemble;
use zk_tests::{
    ours, ports,
    process::{Launcher, ServerProcess, four_letter_word},
    raw::RawClient,
    requests::{children, create, sync},
};

const WRITERS: usize = 4;

/// Far more than a fail-over takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What was acknowledged, and when the last of it.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) names: BTreeSet<String>,
    last: Option<Instant>,
}

/// Writes one node after the other at whatever member answers, until it is told to stop.
pub(crate) async fn write(
    writer: usize,
    members: Vec<SocketAddr>,
    acknowledged: Arc<Mutex<Acknowledged>>,
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
                let mut acknowledged = acknowledged.lock();
                acknowledged.names.insert(name);
                acknowledged.last = Some(Instant::now());
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

pub(crate) async fn check(members: &[SocketAddr], acknowledged: &Mutex<Acknowledged>) {
    let expected = acknowledged.lock().names.clone();
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

pub(crate) struct Members {
    processes: Vec<ServerProcess>,
}

impl Members {
    fn start() -> io::Result<Self> {
        Self::start_as(&ours::launcher()?, &[])
    }

    /// Three members of one kind, with settings beside the ones every member needs.
    pub(crate) fn start_as(launcher: &Launcher, further: &[(&str, &str)]) -> io::Result<Self> {
        let mut servers = Vec::new();
        for id in 1..=3 {
            let (quorum, election) = (ports::free()?.port(), ports::free()?.port());
            let line = format!("127.0.0.1:{quorum}:{election}:participant");
            servers.push((format!("server.{id}"), line));
        }
        let mut settings = vec![
            ("tickTime", "1000"),
            ("initLimit", "10"),
            ("syncLimit", "5"),
        ];
        let lines = servers.iter();
        settings.extend(lines.map(|(key, line)| (key.as_str(), line.as_str())));
        settings.extend(further);
        let mut processes = Vec::new();
        for id in 1..=3 {
            let process = ServerProcess::prepare(launcher.clone(), &settings)?;
            fs::write(process.data_dir().join("myid"), format!("{id}\n"))?;
            processes.push(process);
        }
        let mut members = Self { processes };
        members
            .processes
            .iter_mut()
            .try_for_each(ServerProcess::spawn)?;
        let processes = &mut members.processes;
        processes
            .iter_mut()
            .try_for_each(ServerProcess::wait_until_serving)?;
        Ok(members)
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.processes.iter().map(ServerProcess::addr).collect()
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        self.addresses().iter().position(|member| {
            four_letter_word(*member, "srvr").is_ok_and(|told| told.contains("Mode: leader"))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_members_are_killed() {
    let kills: u32 = std::env::var("ZK_ENSEMBLE_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let mut members = Members::start().unwrap();
    let addresses = members.addresses();
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(
            writer,
            addresses.clone(),
            acknowledged.clone(),
            stop.clone(),
        ));
    }
    let mut outages = Vec::new();
    for kill in 0..kills {
        let leader = members.leader().expect("somebody leads");
        let victim = match kill % 2 {
            0 => leader,
            _ => (leader + 1) % 3,
        };
        let killed = Instant::now();
        members.processes[victim].kill().unwrap();
        while acknowledged.lock().last.is_none_or(|last| last < killed) {
            assert!(killed.elapsed() < LIMIT, "nothing is acknowledged any more");
            sleep(Duration::from_millis(1)).await;
        }
        if victim == leader {
            outages.push(killed.elapsed());
        }
        members.processes[victim].start().unwrap();
    }
    stop.store(true, Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let count = acknowledged.lock().names.len();
    println!("{count} writes acknowledged, without a leader for {outages:?}");
    assert!(count > 50, "{count} writes are no load");
    check(&addresses, &acknowledged).await;
}

#[tokio::test]
async fn an_ensemble_in_one_process_outlives_its_leader() {
    let mut ensemble = Ensemble::start(3).await.unwrap();
    let leader = ensemble.leader().await;
    let addresses: Vec<_> = (0..3)
        .filter_map(|at| ensemble.client_address(at))
        .collect();
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(
        0,
        addresses.clone(),
        acknowledged.clone(),
        stop.clone(),
    ));
    let grown = async |by: usize| {
        let before = acknowledged.lock().names.len();
        while acknowledged.lock().names.len() < before + by {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, async {
        grown(20).await;
        ensemble.kill(leader).await.unwrap();
        assert_ne!(ensemble.leader().await, leader);
        grown(20).await;
        ensemble.restart(leader).await.unwrap();
        grown(20).await;
        stop.store(true, Relaxed);
        writer.await.unwrap();
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

//! Members come, go and change, while the ensemble serves.

#![allow(
    clippy::disallowed_methods,
    reason = "waits for what real sockets and disks do"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use zk_client::{Client, EnsembleConfig, ErrorKind};
use zk_proto::ErrorCode;
use zk_server::{Ensemble, config::PeerRole};

use crate::members::LIMIT;

/// Everybody may change the ensemble.
const OPEN: [(&str, &str); 2] = [("reconfigEnabled", "true"), ("skipACL", "yes")];

/// Waits until a member serves as this.
async fn is(ensemble: &Ensemble, member: usize, mode: &str) {
    let serves = || {
        ensemble
            .member(member)
            .is_some_and(|it| it.mode() == Some(mode))
    };
    while !serves() {
        sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until every one of these members knows a configuration, and it is the data of their `/zookeeper/config`.
async fn all_know(ensemble: &Ensemble, members: &[usize], version: i64) {
    for member in members {
        let knows = || {
            let known = ensemble.member(*member)?.configuration()?;
            Some(known.version().0 == version && ensemble.member(*member)?.mode().is_some())
        };
        while knows() != Some(true) {
            sleep(Duration::from_millis(2)).await;
        }
        let address = ensemble.client_address(*member).unwrap().to_string();
        let client = Client::connect(address).await.unwrap();
        let shown = client.ensemble_config().await.unwrap();
        assert_eq!(shown.version, Some(version), "member {member}");
        client.close().await.unwrap();
    }
}

/// Asks until there is an answer that is none of a connection or an ensemble in between.
pub(crate) async fn reconfigure(
    client: &Client,
    join: &[(i64, String)],
    leave: &[i64],
) -> zk_client::Result<EnsembleConfig> {
    loop {
        let mut change = client.reconfig();
        for (id, line) in join {
            change = change.join(*id, line);
        }
        for id in leave {
            change = change.leave(*id);
        }
        match change.await {
            Err(error) if is_passing(&error.kind()) => sleep(Duration::from_millis(10)).await,
            other => return other,
        }
    }
}

fn is_passing(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionLoss
            | ErrorKind::Server(ErrorCode::ReconfigInProgress | ErrorCode::NewConfigNoQuorum)
    )
}

#[tokio::test]
async fn members_join_and_leave_even_the_leader_and_none_forgets() {
    timeout(LIMIT, async {
        let mut ensemble = Ensemble::start_with(3, &OPEN).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        client.create("/kept", "1").await.unwrap();
        let first = client.ensemble_config().await.unwrap();
        let version = first.version.unwrap();
        assert!(version > 0 && version & 0xffff_ffff == 0, "{}", first.text);
        assert_eq!(first.servers.len(), 3);

        let (fourth, line) = ensemble.add(PeerRole::Participant).await.unwrap();
        let (fifth, other) = ensemble.add(PeerRole::Observer).await.unwrap();
        let stale = client
            .reconfig()
            .join(4, &line)
            .from_version(version + 1)
            .await;
        assert_eq!(stale.unwrap_err().kind(), ErrorKind::BadVersion);
        let five = reconfigure(&client, &[(4, line), (5, other)], &[])
            .await
            .unwrap();
        assert_eq!(five.servers.len(), 5);
        is(&ensemble, fourth, "follower").await;
        is(&ensemble, fifth, "observer").await;
        all_know(&ensemble, &[0, 1, 2, fourth, fifth], five.version.unwrap()).await;

        let leader = ensemble.leader().await;
        let leaves = i64::try_from(leader).unwrap() + 1;
        let four = reconfigure(&client, &[], &[leaves]).await.unwrap();
        assert_eq!(four.servers.len(), 4);
        ensemble.kill(leader).await.unwrap();
        let next = ensemble.leader().await;
        assert_ne!(next, leader);
        client.set("/kept", "2").await.unwrap();
        let rest: Vec<_> = (0..5).filter(|member| *member != leader).collect();
        all_know(&ensemble, &rest, four.version.unwrap()).await;

        // What was written down is what they come back with.
        for member in &rest {
            ensemble.kill(*member).await.unwrap();
        }
        for member in &rest {
            ensemble.restart(*member).await.unwrap();
        }
        ensemble.leader().await;
        all_know(&ensemble, &rest, four.version.unwrap()).await;
        assert_eq!(&client.get("/kept").await.unwrap().data[..], b"2");
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn roles_and_client_ports_change() {
    timeout(LIMIT, async {
        let mut ensemble = Ensemble::start_with(3, &OPEN).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        let (fourth, line) = ensemble.add(PeerRole::Participant).await.unwrap();
        reconfigure(&client, &[(4, line.clone())], &[])
            .await
            .unwrap();
        is(&ensemble, fourth, "follower").await;
        let observes = line.replace(":participant", ":observer");
        reconfigure(&client, &[(4, observes)], &[]).await.unwrap();
        is(&ensemble, fourth, "observer").await;
        reconfigure(&client, &[(4, line.clone())], &[])
            .await
            .unwrap();
        is(&ensemble, fourth, "follower").await;

        let (_, spare) = ensemble.add(PeerRole::Participant).await.unwrap();
        let before = ensemble.client_address(fourth).unwrap();
        let moved = spare.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        ensemble.kill(4).await.unwrap();
        let elsewhere = line.replace(&format!(":{}", before.port()), &format!(":{moved}"));
        let known = reconfigure(&client, &[(4, elsewhere)], &[]).await.unwrap();
        assert!(known.connect_string().contains(&moved.to_string()));
        while ensemble.client_address(fourth).unwrap().port() != moved {
            sleep(Duration::from_millis(2)).await;
        }
        all_know(&ensemble, &[0, 1, 2, fourth], known.version.unwrap()).await;
        ensemble.kill(fourth).await.unwrap();
        ensemble.restart(fourth).await.unwrap();
        is(&ensemble, fourth, "follower").await;
        assert_eq!(ensemble.client_address(fourth).unwrap().port(), moved);
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn only_who_may_and_only_where_it_is_switched_on() {
    timeout(LIMIT, async {
        let ensemble = Ensemble::start(3).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        let config = client.ensemble_config().await.unwrap();
        assert_eq!((config.version, config.servers.len()), (Some(0), 3));
        let refused = client.reconfig().leave(3).await.unwrap_err().kind();
        assert_eq!(refused, ErrorKind::Server(ErrorCode::ReconfigDisabled));
        client.close().await.unwrap();

        let guarded = [("reconfigEnabled", "true")];
        let ensemble = Ensemble::start_with(3, &guarded).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        let refused = reconfigure(&client, &[], &[3]).await.unwrap_err().kind();
        assert_eq!(refused, ErrorKind::NoAuth);
        let refused = reconfigure(&client, &[], &[2, 3]).await.unwrap_err().kind();
        assert_eq!(refused, ErrorKind::BadArguments);
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

/// Creates nodes one after the other and says which were acknowledged.
fn write(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<BTreeSet<String>> {
    tokio::spawn(async move {
        let mut acknowledged = BTreeSet::new();
        for number in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let path = format!("/load/{number}");
            match client.create(&path, "x").await {
                Ok(_) => {
                    acknowledged.insert(format!("{number}"));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionLoss, "{error}"),
            }
        }
        acknowledged
    })
}

/// Any change that the ensemble takes, so many times; those that it cannot take now are asked for again.
async fn change_at_random(client: &Client, lines: &[(i64, String)], changes: usize) {
    let mut members: BTreeSet<i64> = [1, 2, 3].into();
    let mut random = fastrand::Rng::with_seed(7);
    let mut made = 0;
    while made < changes {
        let (id, line) = lines[random.usize(0..lines.len())].clone();
        let request = match random.u8(0..3) {
            0 => client.reconfig().join(id, &line),
            1 => {
                let observes = line.replace(":participant", ":observer");
                client.reconfig().join(id, &observes)
            }
            _ if members.contains(&id) => client.reconfig().leave(id),
            _ => continue,
        };
        match request.await {
            Ok(config) => {
                made += 1;
                members = config.servers.iter().map(|server| server.id).collect();
            }
            Err(error) if is_passing(&error.kind()) => sleep(Duration::from_millis(20)).await,
            // Fewer than two voters would be left.
            Err(error) => assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}"),
        }
    }
}

/// What every member of the last configuration holds must be everything that was acknowledged.
async fn assert_nothing_is_lost(ensemble: &Ensemble, client: &Client, written: &BTreeSet<String>) {
    ensemble.leader().await;
    let last = client.ensemble_config().await.unwrap();
    let ids = last.servers.iter().map(|server| server.id - 1);
    let members: Vec<_> = ids.map(|id| usize::try_from(id).unwrap()).collect();
    all_know(ensemble, &members, last.version.unwrap()).await;
    for member in members {
        let address = ensemble.client_address(member).unwrap().to_string();
        let reader = Client::connect(address).await.unwrap();
        reader.sync("/load").await.unwrap();
        let there = reader.children("/load").await.unwrap();
        let there: BTreeSet<String> = there.into_iter().collect();
        let lost: Vec<_> = written.difference(&there).collect();
        assert!(lost.is_empty(), "member {member} has lost {lost:?}");
        reader.close().await.unwrap();
    }
}

/// 50 changes, one after the other, while a client writes; `ZK_RECONFIGS` for another number.
#[tokio::test]
async fn nothing_is_lost_by_random_changes_under_load() {
    let changes = std::env::var("ZK_RECONFIGS").ok();
    let changes = changes.and_then(|n| n.parse().ok()).unwrap_or(50);
    timeout(LIMIT * 3, async {
        let mut ensemble = Ensemble::start_with(3, &OPEN).await.unwrap();
        ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        let first = client.ensemble_config().await.unwrap();
        let servers = first.text.lines().filter_map(|line| {
            let (id, spec) = line.strip_prefix("server.")?.split_once('=')?;
            Some((id.parse().ok()?, spec.to_owned()))
        });
        let mut lines: Vec<(i64, String)> = servers.collect();
        for id in 4..=5 {
            lines.push((id, ensemble.add(PeerRole::Participant).await.unwrap().1));
        }
        client.create("/load", "").await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let all = ensemble.connect_string();
        let written = write(Client::connect(all.clone()).await.unwrap(), stop.clone());
        client.update_hosts(&all).await.unwrap();
        change_at_random(&client, &lines, changes).await;
        stop.store(true, Relaxed);
        let written = written.await.unwrap();
        assert!(written.len() > changes, "{} writes", written.len());
        assert_nothing_is_lost(&ensemble, &client, &written).await;
        client.close().await.unwrap();
    })
    .await
    .unwrap();
}

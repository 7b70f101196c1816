//! Three members in one process, cut off from each other and paused while clients write.

#![allow(
    clippy::disallowed_methods,
    reason = "waits for what real sockets and disks do"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use zk_server::Ensemble;

use crate::members::{Acknowledged, LIMIT, check, grown, write};

/// An ensemble of three, and writers that begin at each of its members.
struct Scene {
    ensemble: Ensemble,
    addresses: Vec<SocketAddr>,
    acknowledged: Arc<Acknowledged>,
    stop: Arc<AtomicBool>,
    writers: JoinSet<()>,
}

impl Scene {
    async fn begin() -> Self {
        let ensemble = Ensemble::start(3).await.unwrap();
        ensemble.leader().await;
        let addresses: Vec<_> = (0..3)
            .filter_map(|at| ensemble.client_address(at))
            .collect();
        let mut scene = Self {
            ensemble,
            addresses,
            acknowledged: Arc::default(),
            stop: Arc::default(),
            writers: JoinSet::new(),
        };
        for writer in 0..3 {
            scene.writers.spawn(write(
                writer,
                scene.addresses.clone(),
                scene.acknowledged.clone(),
                scene.stop.clone(),
            ));
        }
        scene.grown(50).await;
        scene
    }

    /// Waits until so many more writes are acknowledged.
    async fn grown(&self, by: usize) {
        grown(&self.acknowledged, by).await;
    }

    fn mode(&self, member: usize) -> Option<&'static str> {
        self.ensemble.member(member).unwrap().mode()
    }

    /// Waits until a member is this; that is told to nobody but who asks.
    async fn becomes(&self, member: usize, mode: Option<&'static str>) {
        while self.mode(member) != mode {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Everybody holds everything that was acknowledged, and the same.
    async fn end(mut self) {
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
        check(&self.addresses, &self.acknowledged).await;
    }
}

#[tokio::test]
async fn a_leader_cut_off_from_the_majority_makes_room_and_nothing_acknowledged_is_lost() {
    timeout(LIMIT, async {
        let scene = Scene::begin().await;
        let old = scene.ensemble.leader().await;
        let (one, two) = ((old + 1) % 3, (old + 2) % 3);
        scene.ensemble.partition(old, one);
        scene.ensemble.partition(old, two);
        let new = scene.ensemble.leader().await;
        assert_ne!(new, old);
        scene.becomes(old, None).await;
        scene.grown(50).await;
        assert_eq!(scene.mode(old), None, "nobody is served without a quorum");
        scene.ensemble.heal();
        scene.becomes(old, Some("follower")).await;
        assert_eq!(
            scene.ensemble.leader().await,
            new,
            "who comes back changes nothing"
        );
        scene.grown(50).await;
        scene.end().await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_paused_leader_finds_itself_deposed() {
    timeout(LIMIT, async {
        let scene = Scene::begin().await;
        let old = scene.ensemble.leader().await;
        scene.ensemble.pause(old);
        let new = scene.ensemble.leader().await;
        assert_ne!(new, old);
        assert_eq!(scene.mode(old), Some("leader"), "it has not noticed yet");
        scene.ensemble.resume(old);
        scene.becomes(old, Some("follower")).await;
        scene.grown(50).await;
        scene.end().await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_follower_cut_off_from_the_leader_alone_changes_nothing_for_the_others() {
    timeout(LIMIT, async {
        let scene = Scene::begin().await;
        let leader = scene.ensemble.leader().await;
        let (lonely, other) = ((leader + 1) % 3, (leader + 2) % 3);
        scene.ensemble.partition(leader, lonely);
        scene.becomes(lonely, None).await;
        scene.grown(50).await;
        assert_eq!(scene.mode(leader), Some("leader"));
        assert_eq!(scene.mode(other), Some("follower"));
        scene.ensemble.heal();
        scene.becomes(lonely, Some("follower")).await;
        scene.grown(50).await;
        scene.end().await;
    })
    .await
    .unwrap();
}

/// Its machine has lost its power: nobody was told that its connections are gone, and the others, settled, have nothing
/// to say on them that would show it. The member has the lowest id, so it is for them to dial it.
#[tokio::test]
async fn a_member_whose_machine_lost_its_power_is_dialled_anew() {
    timeout(LIMIT, async {
        let mut scene = Scene::begin().await;
        let leader = scene.ensemble.leader().await;
        assert_ne!(leader, 0, "the lowest id has the fewest chances");
        for other in 1..3 {
            scene.ensemble.lose_connections(0, other);
        }
        scene.ensemble.kill(0).await.unwrap();
        scene.grown(50).await;
        scene.ensemble.restart(0).await.unwrap();
        scene.becomes(0, Some("follower")).await;
        assert_eq!(scene.mode(leader), Some("leader"), "nobody else has looked");
        scene.grown(50).await;
        scene.end().await;
    })
    .await
    .unwrap();
}

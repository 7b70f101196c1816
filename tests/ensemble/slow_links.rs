//! What a learner lacks takes longer than `initLimit` to reach it: it comes in, with the first connection.

#![allow(
    clippy::disallowed_methods,
    reason = "real servers, and a look at the clock"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use zk_proto::{ErrorCode, Zxid};
use zk_tests::{ensemble::Members, links::Links, ours, raw::RawClient, requests::create};

use crate::{
    drills::assert_nothing_lost,
    dump::{Files, files},
    members::LIMIT,
};

/// `initLimit`: six ticks.
const INIT_LIMIT: Duration = Duration::from_secs(3);

/// What is missing: 24 MiB.
const NODES: usize = 192;
const SIZE: usize = 128 << 10;

/// So many transactions a leader keeps in memory for who comes back.
const IN_MEMORY: usize = 500;

/// What 64 KiB take; all of it takes twice as long as `initLimit` at least.
const LOT: Duration = Duration::from_millis(16);

struct Scene {
    members: Members,
    links: Links,
    leader: usize,
    learner: usize,
}

impl Scene {
    /// A history is sent if it is smaller than so many snapshots.
    fn begin(size_factor: &str) -> Self {
        let ours = vec![ours::launcher().unwrap(); 3];
        let settings = [
            ("tickTime", "500"),
            ("initLimit", "6"),
            ("syncLimit", "10"),
            ("snapshotSizeFactor", size_factor),
        ];
        let (mut members, links) = Members::prepare_linked(&ours, &[], &settings).unwrap();
        members.start().unwrap();
        let leader = members.wait_for_leader().unwrap();
        Self {
            members,
            links,
            leader,
            learner: (leader + 1) % 3,
        }
    }

    async fn write(&self, name: &str, nodes: usize, size: usize) {
        let writes = async {
            let leader = self.members.addresses()[self.leader];
            let mut client = RawClient::connect(leader).await.unwrap();
            client.open_session(20_000).await.unwrap();
            let data = vec![b'x'; size];
            for node in 0..nodes {
                let request = create(&format!("/{name}{node}"), &data);
                let answer = client.call(request).await.unwrap();
                assert_eq!(answer.code(), ErrorCode::Ok);
            }
        };
        timeout(LIMIT, writes).await.unwrap();
    }

    /// The learner starts, and gets all of it over a slow link; what it has on its disk then.
    async fn come_in(mut self) -> Files {
        let Self {
            leader, learner, ..
        } = self;
        let dir = self.members.member(learner).data_dir();
        self.links.slow_down(learner, leader, LOT);
        let connected = self.links.connected(learner, leader);
        let began = Instant::now();
        self.members.start().unwrap();
        let took = began.elapsed();
        assert!(took > INIT_LIMIT, "no slow link: {took:?}");
        let connected = self.links.connected(learner, leader) - connected;
        assert_eq!(connected, 1, "it was sent away");
        assert_eq!(self.members.leader(), Some(leader));
        let files = files(&dir).unwrap();
        self.links.heal().await;
        assert_nothing_lost(&self.members, &[]).await;
        files
    }
}

#[tokio::test]
async fn zookeeper_1465_1697_a_learner_comes_in_however_long_its_snapshot_takes() {
    let mut scene = Scene::begin("0.01");
    scene.write("n", NODES, SIZE).await;
    scene.write("small", IN_MEMORY, 0).await;
    let learner = scene.members.member(scene.learner);
    learner.kill().unwrap();
    fs::remove_dir_all(learner.data_dir().join("version-2")).unwrap();
    let files = scene.come_in().await;
    let newest = files.snapshots.last().unwrap();
    assert!(newest.counter() as usize > NODES, "{:?}", files.snapshots);
    let is_history = |zxid: &Zxid| zxid <= newest;
    assert!(!files.records.iter().any(|(zxid, _)| is_history(zxid)));
}

#[tokio::test]
async fn zookeeper_1465_1697_a_learner_comes_in_however_long_its_history_takes() {
    let mut scene = Scene::begin("1000");
    scene.write("first", 1, 0).await;
    scene.members.member(scene.learner).kill().unwrap();
    scene.write("n", NODES, SIZE).await;
    let files = scene.come_in().await;
    assert_eq!(files.snapshots, [Zxid::ZERO], "what came was no snapshot");
}

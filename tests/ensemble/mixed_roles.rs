//! Every kind of transaction, asked for at every role of an ensemble of both makes, under leaders of each.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers of which it says what they did"
)]

use std::{net::SocketAddr, time::Duration};

use tokio::time::{sleep, timeout};
use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, Perms,
    op::{MultiOp, MultiResult, Request, Response},
};
use zk_tests::{
    ensemble::{Members, mode},
    frames::FrameClient,
    process::four_letter_word,
    requests::{
        ANY, auth, create, create_as, create_container, create_for, create_ttl, create2, delete,
        exists, get, multi, only, part_check, part_create, part_delete, part_set, set, set_acl,
        sync,
    },
};

use crate::{
    dump::{READER, assert_all_the_same, assert_same_records, files},
    mixed::{
        LIMIT,
        Make::{self, Ours, Theirs},
        Mixed,
    },
};

/// What the leader reaps soon, and quotas that are kept.
const SETTINGS: [(&str, &str); 4] = [
    ("enforceQuota", "true"),
    ("znode.container.checkIntervalMs", "300"),
    ("localSessionsEnabled", "true"),
    ("localSessionsUpgradingEnabled", "true"),
];

/// One client at one member, and the node below which it works.
struct Guest {
    client: FrameClient,
    /// Its own eye on the leader, which may apply a transaction after others have.
    leader: FrameClient,
    home: String,
}

impl Guest {
    async fn come(member: SocketAddr, leader: SocketAddr, home: &str) -> Self {
        let mut client = FrameClient::connect(member, 20_000).await.unwrap();
        client.call(&auth(READER.0, READER.1)).await.unwrap();
        let leader = FrameClient::connect(leader, 20_000).await.unwrap();
        let home = home.to_owned();
        Self {
            client,
            leader,
            home,
        }
    }

    async fn leave(self) {
        self.client.close().await.unwrap();
        self.leader.close().await.unwrap();
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }

    async fn answers(&mut self, request: &Request, expected: ErrorCode) {
        let answer = timeout(LIMIT, self.client.call(request)).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.code, expected, "{}: {request:?}", self.home);
    }

    async fn ok(&mut self, request: Request) {
        self.answers(&request, ErrorCode::Ok).await;
    }

    async fn gone(&mut self, path: &str) {
        let gone = async {
            loop {
                self.client.call(&sync("/")).await.unwrap();
                let answer = self.client.call(&exists(path)).await.unwrap();
                if answer.code == ErrorCode::NoNode {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
    }

    async fn data(&mut self, path: &str) -> String {
        let answer = self.client.call(&get(path)).await.unwrap();
        match answer.response(OpCode::GetData) {
            Ok(Response::GetData(found)) => {
                String::from_utf8_lossy(&found.data.unwrap_or_default()).into_owned()
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    /// Waits until the leader keeps these figures: Apache's decides by those.
    async fn leader_counts(&mut self, stats: &str, figures: &str) {
        let counted = async {
            loop {
                let answer = self.leader.call(&get(stats)).await.unwrap();
                if let Ok(Response::GetData(found)) = answer.response(OpCode::GetData)
                    && found
                        .data
                        .unwrap_or_default()
                        .starts_with(figures.as_bytes())
                {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, counted).await.unwrap();
    }

    /// Nodes of every kind, with what is refused about them.
    async fn nodes(&mut self) {
        let (home, plain) = (self.home.clone(), self.path("plain"));
        self.ok(create(&home, b"")).await;
        self.ok(create(&plain, b"1")).await;
        self.answers(&create(&plain, b""), ErrorCode::NodeExists)
            .await;
        self.ok(set(&plain, b"22", 0)).await;
        self.answers(&set(&plain, b"3", 0), ErrorCode::BadVersion)
            .await;
        self.ok(create2(
            &self.path("with-stat"),
            b"x",
            CreateMode::Persistent,
        ))
        .await;
        for mode in [
            CreateMode::PersistentSequential,
            CreateMode::EphemeralSequential,
            CreateMode::Ephemeral,
        ] {
            self.ok(create_as(&self.path(&format!("{mode:?}")), b"", mode))
                .await;
        }
        let lasting = self.path("ttl-long");
        self.ok(create_ttl(
            &lasting,
            CreateMode::PersistentWithTtl,
            90_000_000,
        ))
        .await;
        self.answers(&delete(&home, ANY), ErrorCode::NotEmpty).await;
        self.ok(delete(&plain, 1)).await;
        self.answers(&delete(&plain, ANY), ErrorCode::NoNode).await;
    }

    async fn lists(&mut self) {
        let node = self.path("guarded");
        self.ok(create_for(&node, Acl::creator_all())).await;
        self.ok(set(&node, b"mine", ANY)).await;
        self.ok(set_acl(&node, only(Perms::READ, "world", "anyone"), 0))
            .await;
        self.answers(&set(&node, b"", ANY), ErrorCode::NoAuth).await;
        self.answers(&set_acl(&node, Acl::open(), 0), ErrorCode::NoAuth)
            .await;
    }

    async fn multis(&mut self) {
        let (a, b, c) = (self.path("a"), self.path("b"), self.path("c"));
        let mut ephemeral = part_create(&c);
        if let MultiOp::Create(create) = &mut ephemeral {
            create.flags = CreateMode::EphemeralSequential.flags();
        }
        let good = vec![
            part_create(&a),
            part_create(&b),
            part_set(&a, b"set", 0),
            part_check(&a, 1),
            ephemeral,
            part_delete(&b),
        ];
        self.ok(multi(good)).await;
        let bad = vec![part_set(&a, b"no", ANY), part_create(&b), part_check(&a, 7)];
        let answer = self.client.call(&multi(bad)).await.unwrap();
        let Ok(Response::Multi(parts)) = answer.response(OpCode::Multi) else {
            panic!("{answer:?}");
        };
        let told = parts.results.last();
        assert!(
            matches!(told, Some(MultiResult::Error(error)) if error.err == ErrorCode::BadVersion.code()),
            "{told:?}"
        );
        assert_eq!(self.data(&a).await, "set");
        self.answers(&exists(&b), ErrorCode::NoNode).await;
    }

    /// The node that the quota is about, and what is kept of it.
    async fn quotas(&mut self, leaves: bool) {
        let node = self.path("q");
        self.ok(create(&node, b"")).await;
        let mut quota = "/zookeeper/quota".to_owned();
        for part in node.split('/').skip(1) {
            quota = format!("{quota}/{part}");
            let answer = self.client.call(&create(&quota, b"")).await.unwrap();
            let known = matches!(answer.code, ErrorCode::Ok | ErrorCode::NodeExists);
            assert!(known, "{quota}: {:?}", answer.code);
        }
        let (limits, stats) = (
            format!("{quota}/zookeeper_limits"),
            format!("{quota}/zookeeper_stats"),
        );
        let hard = b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3";
        self.ok(create(&limits, hard)).await;
        self.ok(create(&stats, b"count=0,bytes=0")).await;
        self.ok(create(&format!("{node}/1"), b"12345")).await;
        self.leader_counts(&stats, "count=2,bytes=5").await;
        let much = set(&format!("{node}/1"), b"12345678901", ANY);
        self.answers(&much, ErrorCode::QuotaExceeded).await;
        self.ok(create(&format!("{node}/2"), b"")).await;
        self.leader_counts(&stats, "count=3,bytes=5").await;
        let more = create(&format!("{node}/3"), b"");
        self.answers(&more, ErrorCode::QuotaExceeded).await;
        self.ok(delete(&format!("{node}/2"), ANY)).await;
        self.ok(set(&format!("{node}/1"), b"1", ANY)).await;
        self.client.call(&sync("/")).await.unwrap();
        let kept = self.data(&stats).await;
        assert!(kept.starts_with("count=2,bytes=1"), "{stats}: {kept}");
        if leaves {
            self.ok(delete(&stats, ANY)).await;
            self.ok(delete(&limits, ANY)).await;
            self.ok(create(&format!("{node}/2"), b"1234567890")).await;
            self.ok(more).await;
        }
    }

    /// What the leader takes away by itself.
    async fn reaped(&mut self) {
        let (container, child) = (self.path("container"), self.path("container/child"));
        self.ok(create_container(&container)).await;
        self.ok(create(&child, b"")).await;
        let short = self.path("ttl-short");
        self.ok(create_ttl(&short, CreateMode::PersistentWithTtl, 200))
            .await;
        self.ok(delete(&child, ANY)).await;
        self.gone(&container).await;
        self.gone(&short).await;
    }
}

/// What one client has done at one member, from its first request to the end of its session.
async fn visit(member: SocketAddr, leader: SocketAddr, home: &str, leaves: bool) {
    let mut guest = Guest::come(member, leader, home).await;
    guest.nodes().await;
    guest.lists().await;
    guest.multis().await;
    guest.quotas(leaves).await;
    guest.reaped().await;
    let ephemeral = guest.path("Ephemeral");
    guest.answers(&exists(&ephemeral), ErrorCode::Ok).await;
    guest.leave().await;
    let mut guest = Guest::come(member, leader, home).await;
    guest.gone(&ephemeral).await;
    guest.leave().await;
}

/// At rest, all members hold the same, and none has counted a digest that was not the logged one.
async fn assert_agreed(members: &Members) {
    assert_all_the_same(members).await;
    let logs: Vec<_> = members
        .iter()
        .map(|member| files(&member.data_dir()).unwrap())
        .collect();
    assert_same_records(&logs);
    for member in members {
        let told = four_letter_word(member.addr(), "mntr").unwrap();
        let mismatches = told
            .lines()
            .find_map(|line| line.strip_prefix("zk_digest_mismatches_count\t"));
        assert_eq!(mismatches, Some("0"), "{}", member.addr());
    }
}

/// The roles that a make plays, by member: under leaders of ours, and under Apache's.
async fn every_role(mixed: &mut Mixed, leader: Make) {
    let leads = mixed.elect(leader).unwrap();
    let addresses = mixed.members.addresses();
    for (at, member) in addresses.iter().copied().enumerate() {
        let role = mode(member).unwrap();
        assert_eq!(role == "leader", at == leads);
        println!("{leader:?} lead: {:?} as {role}", mixed.makes[at]);
        let home = format!("/{leader:?}-{at}");
        visit(member, addresses[leads], &home, at % 2 == 0).await;
    }
    assert_agreed(&mixed.members).await;
}

#[tokio::test]
async fn every_kind_of_transaction_is_the_same_to_members_of_both_makes() {
    let test = "every kind of transaction in every role";
    let voters = [Theirs, Theirs, Ours];
    let Some(mut mixed) = Mixed::begin_with(test, &voters, &[Ours, Theirs], &SETTINGS).await else {
        return;
    };
    // Its sessions would move, and those of this ensemble are members' own.
    mixed.load.pause();
    for leader in [Ours, Theirs] {
        every_role(&mut mixed, leader).await;
    }
    // And all of it comes from the disks.
    for member in 0..mixed.makes.len() {
        mixed.members.member(member).kill().unwrap();
    }
    mixed.members.start().unwrap();
    assert_agreed(&mixed.members).await;
}

//! An ensemble grows without reconfiguration, as it did before ZooKeeper had any: by other `server.N` lines in everybody's
//! `zoo.cfg` and new starts. Clients write all the while, and nothing that was acknowledged is lost.
//!
//! What keeps it safe is not the servers' doing but the order of the starts: whatever quorum of the new configuration may
//! come together must share a member with every quorum of the old one. So members that hold nothing yet are started
//! only once those that hold something are there, and with members starting one by one only one is added at a time:
//! of three members two may have all that was acknowledged last, and three of five are found without them.

use std::{fs, io, path::PathBuf, time::Duration};

use tempfile::TempDir;
use zk_tests::{
    ensemble::Members,
    ours,
    process::{Launcher, ServerProcess},
};

use crate::{drills::assert_nothing_lost, load::Load};

/// Far more than a start takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How many clients write.
const WRITERS: usize = 4;

/// How many writes are acknowledged between two steps.
const BETWEEN: u64 = 60;

/// An ensemble that grows, and its clients.
struct Growing {
    members: Members,
    /// Every member's `zoo.cfg` as it is in the end, with all of them.
    grown: Vec<String>,
    load: Load,
    _secret: TempDir,
}

impl Growing {
    /// So many members of `most` serve, and know of no others.
    async fn begin(first: usize, most: usize) -> io::Result<Self> {
        let launchers: Vec<Launcher> = vec![ours::launcher()?; most];
        // A server by itself makes passwords that no other can check, unless they share the secret: a session that
        // outlives the change needs that.
        let secret = TempDir::new()?;
        let file = secret.path().join("secret");
        fs::write(&file, "0123456789abcdef0123456789abcdef")?;
        let settings = [
            ("tickTime", "1000"),
            ("snapCount", "500"),
            ("sessionSecretFile", file.to_str().unwrap_or_default()),
        ];
        let mut members = Members::prepare(&launchers, &settings)?;
        let grown = members.iter().map(|it| fs::read_to_string(zoo_cfg(it)));
        let grown = grown.collect::<io::Result<Vec<_>>>()?;
        configure(&members, &grown, first)?;
        start(&mut members, 0..first)?;
        let all = members.addresses();
        let load = Load::begin(all[..first].to_vec(), WRITERS, false).await;
        load.go_to(all);
        let mut growing = Self {
            members,
            grown,
            load,
            _secret: secret,
        };
        growing.written().await;
        Ok(growing)
    }

    async fn written(&mut self) {
        self.load.grown(BETWEEN, LIMIT).await;
    }

    /// Stops all, tells all of each other, and starts those that hold something first.
    async fn by_restarting_all(mut self, before: usize, after: usize) {
        for member in 0..before {
            self.members.member(member).terminate().unwrap();
        }
        configure(&self.members, &self.grown, after).unwrap();
        // As many as make a quorum, and every one of those that there were.
        let first = before.max(after / 2 + 1);
        start(&mut self.members, 0..first).unwrap();
        self.written().await;
        start(&mut self.members, first..after).unwrap();
        self.end(after).await;
    }

    /// Adds one member: the others start again one after the other, the leader last.
    ///
    /// Who comes back need not serve at once. It joins a leader that a quorum of *its* configuration follows, as Apache's
    /// does, and of four members two are none: it waits until the next one comes back, and the others go on meanwhile.
    async fn by_one(&mut self, before: usize) {
        let after = before + 1;
        configure(&self.members, &self.grown, after).unwrap();
        let leader = match before {
            1 => 0,
            _ => self.members.wait_for_leader().unwrap(),
        };
        for member in (0..before).filter(|member| *member != leader) {
            self.members.member(member).terminate().unwrap();
            self.members.member(member).spawn().unwrap();
            self.written().await;
        }
        self.members.member(before).spawn().unwrap();
        self.members.member(leader).terminate().unwrap();
        self.members.member(leader).spawn().unwrap();
        self.members.wait_until_serving().unwrap();
        self.written().await;
    }

    async fn end(mut self, members: usize) {
        self.written().await;
        assert_eq!(
            self.members.iter().filter_map(|it| it.pid()).count(),
            members
        );
        let ledgers = self.load.pause();
        assert_nothing_lost(&self.members, &ledgers).await;
        let moved: u64 = ledgers.iter().map(|ledger| ledger.resumed()).sum();
        assert!(moved > 0, "sessions outlive the change");
    }
}

fn zoo_cfg(member: &ServerProcess) -> PathBuf {
    member.data_dir().with_file_name("zoo.cfg")
}

/// From their next starts on the first `known` members know each other and nobody else; one alone is a server by itself.
fn configure(members: &Members, grown: &[String], known: usize) -> io::Result<()> {
    for (member, text) in members.iter().zip(grown).take(known) {
        let is_known = |line: &&str| {
            let id = line
                .strip_prefix("server.")
                .and_then(|rest| rest.split('=').next());
            id.is_none_or(|id| known > 1 && id.parse().is_ok_and(|id: usize| id <= known))
        };
        let lines: Vec<_> = text.lines().filter(is_known).collect();
        fs::write(zoo_cfg(member), lines.join("\n"))?;
    }
    Ok(())
}

/// Starts these at once and waits until they serve.
fn start(members: &mut Members, which: std::ops::Range<usize>) -> io::Result<()> {
    for member in which.clone() {
        members.member(member).spawn()?;
    }
    for member in which {
        members.member(member).wait_until_serving()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_becomes_three_when_all_are_restarted() {
    let growing = Growing::begin(1, 3).await.unwrap();
    growing.by_restarting_all(1, 3).await;
}

#[tokio::test]
async fn three_members_become_five_when_all_are_restarted() {
    let growing = Growing::begin(3, 5).await.unwrap();
    growing.by_restarting_all(3, 5).await;
}

#[tokio::test]
async fn a_server_becomes_three_one_by_one() {
    let mut growing = Growing::begin(1, 3).await.unwrap();
    growing.by_one(1).await;
    growing.by_one(2).await;
    growing.end(3).await;
}

#[tokio::test]
async fn three_members_become_five_one_by_one() {
    let mut growing = Growing::begin(3, 5).await.unwrap();
    growing.by_one(3).await;
    growing.by_one(4).await;
    growing.end(5).await;
}

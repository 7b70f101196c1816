//! Three members under load, killed with SIGKILL one after the other: nothing acknowledged is lost, no session ends
//! before its time, zxids have no gap, and all members hold the same in the end.
//!
//! `ZK_ENSEMBLE_KILLS=n` kills so many times in turn the leader and a follower; `ZK_ENSEMBLE_DRILLS=n` goes so many
//! times through the drill of Apache's documentation: a follower; another follower; the leader; two followers; the leader.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "measures real servers and says how much the drill tested"
)]

use std::{
    io,
    panic::catch_unwind,
    time::{Duration, Instant},
};

use zk_tests::{ensemble::Members, ours, process::Launcher};

use crate::{
    dump::{assert_all_the_same, assert_same_records, files},
    load::{Ledger, Load, check_zxids},
};

/// Far more than a fail-over takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How many clients write.
const WRITERS: usize = 4;

/// How many writes are acknowledged between two blows.
const BETWEEN: u64 = 40;

/// Who is killed, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Leader,
    Follower,
    OtherFollower,
    TwoFollowers,
}

/// The drill, and what it saw.
struct Drill {
    members: Members,
    load: Load,
    outages: Vec<Duration>,
}

impl Drill {
    async fn begin() -> io::Result<Self> {
        let launchers: Vec<Launcher> = vec![ours::launcher()?; 3];
        // Snapshots now and then, so that some kills meet one.
        let settings = [("tickTime", "1000"), ("snapCount", "1000")];
        let mut members = Members::prepare(&launchers, &settings)?;
        members.start()?;
        let load = Load::begin(members.addresses(), WRITERS, false).await;
        Ok(Self {
            members,
            load,
            outages: Vec::new(),
        })
    }

    async fn strike(&mut self, blow: Blow) -> io::Result<()> {
        self.load.grown(BETWEEN, LIMIT).await;
        let leader = self.members.wait_for_leader()?;
        let victims = match blow {
            Blow::Leader => vec![leader],
            Blow::Follower => vec![(leader + 1) % 3],
            Blow::OtherFollower => vec![(leader + 2) % 3],
            Blow::TwoFollowers => vec![(leader + 1) % 3, (leader + 2) % 3],
        };
        let killed = Instant::now();
        for victim in &victims {
            self.members.member(*victim).kill()?;
        }
        if victims.len() == 1 {
            let outage = self.load.acknowledged_after(Instant::now(), LIMIT).await;
            if blow == Blow::Leader {
                self.outages.push(killed.elapsed().max(outage));
            }
        }
        self.members.start()?;
        self.load.acknowledged_after(Instant::now(), LIMIT).await;
        Ok(())
    }

    /// Ends the load; everything must be there, everywhere.
    async fn end(mut self) {
        self.members.start().unwrap();
        let count = self.load.acknowledged();
        let ledgers = self.load.pause();
        assert_nothing_lost(&self.members, &ledgers).await;
        let resumed: u64 = ledgers.iter().map(Ledger::resumed).sum();
        self.outages.sort_unstable();
        println!(
            "{count} writes acknowledged, {resumed} times a session moved; without a leader at most {:?} of {}",
            self.outages.last(),
            self.outages.len(),
        );
    }
}

/// All members come to hold the same, on their disks, too: everything that was acknowledged, and no gap.
pub(crate) async fn assert_nothing_lost(members: &Members, ledgers: &[Ledger]) {
    let (seen, _) = assert_all_the_same(members).await;
    let logs = members.iter().map(|member| files(&member.data_dir()));
    let logs = logs.collect::<io::Result<Vec<_>>>().unwrap();
    for (member, files) in logs.iter().enumerate() {
        files.assert_gap_free(&format!("member {}", member + 1));
    }
    assert_same_records(&logs);
    check_zxids(ledgers, &logs);
    ledgers.iter().for_each(|ledger| ledger.check(&seen));
}

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().unwrap())
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_members_are_killed() {
    let mut drill = Drill::begin().await.unwrap();
    for kill in 0..number("ZK_ENSEMBLE_KILLS", 4) {
        let blow = match kill % 4 {
            0 | 2 => Blow::Leader,
            1 => Blow::Follower,
            _ => Blow::OtherFollower,
        };
        drill.strike(blow).await.unwrap();
    }
    drill.end().await;
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_in_the_official_drill() {
    let mut drill = Drill::begin().await.unwrap();
    for _ in 0..number("ZK_ENSEMBLE_DRILLS", 1) {
        for blow in [
            Blow::Follower,
            Blow::OtherFollower,
            Blow::Leader,
            Blow::TwoFollowers,
            Blow::Leader,
        ] {
            drill.strike(blow).await.unwrap();
        }
    }
    drill.end().await;
}

#[tokio::test]
async fn what_is_missing_at_rest_is_caught() {
    let mut drill = Drill::begin().await.unwrap();
    drill.load.grown(100, LIMIT).await;
    let ledgers = drill.load.pause();
    let (seen, _) = assert_all_the_same(&drill.members).await;
    let logs = drill.members.iter().map(|member| files(&member.data_dir()));
    let mut logs = logs.collect::<io::Result<Vec<_>>>().unwrap();
    for ledger in &ledgers {
        ledger.check(&seen);
        let mut poorer = seen.clone();
        poorer.retain(|path, _| !path.starts_with(ledger.home()) || path.len() < 5);
        assert!(catch_unwind(|| ledger.check(&poorer)).is_err());
    }
    check_zxids(&ledgers, &logs);
    assert_same_records(&logs);
    let whole = logs[0].clone();
    whole.assert_gap_free("whole");
    let half = whole.records.len() / 2;
    logs[0].records.truncate(half);
    assert!(catch_unwind(|| check_zxids(&ledgers, &logs[..1])).is_err());
    logs[0] = whole.clone();
    logs[0].records.remove(half);
    assert!(catch_unwind(|| logs[0].assert_gap_free("with a gap")).is_err());
    logs[0] = whole;
    let record = &mut logs[0].records[half].1;
    *record = record.iter().map(|byte| byte ^ 1).collect();
    assert!(catch_unwind(|| assert_same_records(&logs)).is_err());
}

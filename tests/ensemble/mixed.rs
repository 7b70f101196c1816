//! Ensembles of which some members are ours and some are Apache's: leaders change, clients write all the while, and
//! after every change all members hold the same, for their clients and on their disks.
//!
//! `ZK_MIXED_CHANGES=n` changes the leader so many times in each ensemble.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers of which it says what they did"
)]

use std::{
    fs::{self, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{runtime::Handle, sync::oneshot};
use zk_proto::{
    Acl, Encode as _, OpCode, SessionId, Xid, Zxid,
    persist::{FileHeader, LogCursor, LogStep, put_record},
    txn::{CreateTxn, Txn, TxnHeader, TxnLogEntry},
};
use zk_tests::{
    apache::{self, Heap},
    ensemble::Members,
    ours,
    process::{Launcher, ServerProcess},
};

use crate::{
    dump::{assert_all_the_same, assert_same_records, files},
    load::{Ledger, Load, check_zxids},
};

/// A JVM on a busy machine takes its time.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

const WRITERS: usize = 3;

/// An Apache leader says only then that it sends TRUNC.
pub(crate) const TELL_PLANS: &str =
    "org.slf4j.simpleLogger.log.org.apache.zookeeper.server.quorum.LearnerHandler=debug";

/// So many transactions a leader keeps in memory for who comes back (`commitLogCount`).
const BEYOND_MEMORY: u64 = 500;

/// How many writes are acknowledged between two changes.
pub(crate) const BETWEEN: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Ours,
    Theirs,
}
use Make::{Ours, Theirs};

/// How a leader brings a learner up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Diff,
    /// Nothing has been agreed on since the learner led: its tail alone must go.
    Trunc,
    Snap,
    /// Something has: no cut goes across the beginning of an epoch.
    SnapOverTail,
}

/// One ensemble under load; members of equal history elect the last of them.
pub(crate) struct Mixed {
    pub(crate) makes: Vec<Make>,
    pub(crate) members: Members,
    pub(crate) load: Load,
    /// How often each make came to lead.
    pub(crate) led: [u32; 2],
}

impl Mixed {
    async fn begin(test: &str, makes: [Make; 3]) -> Option<Self> {
        Self::begin_with(test, &makes, &[], &[]).await
    }

    /// With settings beside the usual ones, and with observers behind the voters.
    pub(crate) async fn begin_with(
        test: &str,
        voters: &[Make],
        observers: &[Make],
        further: &[(&str, &str)],
    ) -> Option<Self> {
        apache::launcher_or_skip(test)?;
        // What Apache takes from its command line alone.
        let mut properties = vec![TELL_PLANS.to_owned()];
        for (key, value) in further {
            match *key {
                "skipACL" => properties.push(format!("zookeeper.skipACL={value}")),
                "znode.container.checkIntervalMs" => properties.push(format!("{key}={value}")),
                _ => {}
            }
        }
        let properties: Vec<_> = properties.iter().map(String::as_str).collect();
        let theirs = apache::launcher_with(Heap::SMALL, &properties)?;
        let launcher = |make: &Make| match make {
            Ours => ours::launcher().unwrap(),
            Theirs => theirs.clone(),
        };
        let makes = [voters, observers].concat();
        let launchers: Vec<Launcher> = makes.iter().map(launcher).collect();
        let mut settings = vec![
            ("tickTime", "1000"),
            ("snapCount", "1000"),
            ("preAllocSize", "512"),
            ("extendedTypesEnabled", "true"),
            ("sessionPasswords", "apache"),
            // Nothing is to change by itself between two dumps.
            ("znode.container.checkIntervalMs", "100000000"),
        ];
        settings.retain(|(key, _)| further.iter().all(|(given, _)| given != key));
        settings.extend(further);
        let (voting, observing) = launchers.split_at(voters.len());
        let prepared = Members::prepare_with_observers(voting, observing, &settings);
        let mut members = prepared.unwrap();
        members.start().unwrap();
        let load = Load::begin(members.addresses(), WRITERS, true).await;
        Some(Self {
            makes,
            members,
            load,
            led: [0; 2],
        })
    }

    /// The leader dies under load, another one takes over, and the dead one comes back.
    async fn change_leader(&mut self) -> io::Result<()> {
        self.load.grown(BETWEEN, LIMIT).await;
        let old = self.members.wait_for_leader()?;
        self.members.member(old).kill()?;
        let new = self.members.wait_for_leader_but(old)?;
        self.led[self.makes[new] as usize] += 1;
        self.load.acknowledged_after(Instant::now(), LIMIT).await;
        self.load.grown(BETWEEN, LIMIT).await;
        self.members.start()?;
        self.load.grown(BETWEEN, LIMIT).await;
        let ledgers = self.assert_well().await;
        self.load.go_on(ledgers);
        Ok(())
    }

    pub(crate) async fn assert_well(&mut self) -> Vec<Ledger> {
        assert_well(&self.members, &mut self.load).await
    }

    /// At rest, has a member of this make lead: whoever leads is killed until it does.
    pub(crate) fn elect(&mut self, make: Make) -> io::Result<usize> {
        for _ in 0..4 {
            let leader = self.members.wait_for_leader()?;
            if self.makes[leader] == make {
                return Ok(leader);
            }
            self.members.member(leader).kill()?;
            self.members.wait_for_leader_but(leader)?;
            self.members.start()?;
        }
        Err(io::Error::other(format!("no member of {make:?} leads")))
    }

    /// Has a leader of the other make bring a member of this make up to date in this way, and looks whether it was.
    async fn catch_up(&mut self, plan: Plan, learner: Make) -> io::Result<()> {
        let ledgers = self.assert_well().await;
        let other = match learner {
            Ours => Theirs,
            Theirs => Ours,
        };
        let (leader, victim) = match plan {
            // Only a leader's own transactions are nobody else's.
            Plan::Trunc | Plan::SnapOverTail => {
                let victim = self.elect(learner)?;
                self.members.member(victim).kill()?;
                add_tail(&self.members.member(victim).data_dir())?;
                (self.members.wait_for_leader_but(victim)?, victim)
            }
            Plan::Diff | Plan::Snap => {
                let leader = self.elect(other)?;
                let follower = |at: &usize| *at != leader && self.makes[*at] == learner;
                let victim = (0..3).find(follower).unwrap();
                self.members.member(victim).kill()?;
                if plan == Plan::Snap {
                    fs::remove_dir_all(self.members.member(victim).data_dir().join("version-2"))?;
                }
                (leader, victim)
            }
        };
        assert_eq!(
            self.makes[leader], other,
            "who leads {plan:?} of {learner:?}"
        );
        let witness = match learner {
            Theirs => victim,
            Ours => leader,
        };
        let before = self.members.member(witness).log().len();
        if plan == Plan::Trunc {
            self.members.start()?;
        }
        self.load.go_on(ledgers);
        // What a leader has in memory would do to bring it up to date.
        let between = match plan {
            Plan::SnapOverTail => 2 * BEYOND_MEMORY,
            _ => BETWEEN,
        };
        self.load.grown(between, LIMIT).await;
        if plan == Plan::Diff {
            // While a JVM starts, more is written than a leader keeps in memory.
            let ledgers = self.load.pause();
            self.members.start()?;
            self.load.go_on(ledgers);
        }
        self.members.start()?;
        self.load.grown(BETWEEN, LIMIT).await;
        let log = self.members.member(witness).log();
        let said = match (plan, learner) {
            (Plan::Diff, Theirs) => "Getting a diff from the leader",
            (Plan::Trunc, Theirs) => "Truncating log to get in sync with the leader",
            (Plan::Snap | Plan::SnapOverTail, Theirs) => "Getting a snapshot from leader",
            (Plan::Diff, Ours) => "Sending DIFF zxid=",
            (Plan::Trunc, Ours) => "Sending TRUNC",
            (Plan::Snap | Plan::SnapOverTail, Ours) => "Sending snapshot last zxid of peer",
        };
        assert!(
            log[before..].contains(said),
            "{plan:?} of {learner:?}: no \u{ab}{said}\u{bb} in:\n{}",
            &log[before..]
        );
        println!("{plan:?} of {learner:?} by {other:?}: {said}");
        let ledgers = self.assert_well().await;
        self.load.go_on(ledgers);
        Ok(())
    }
}

/// Lets everything come to rest; everything must be there, everywhere.
pub(crate) async fn assert_well(members: &Members, load: &mut Load) -> Vec<Ledger> {
    let all: Vec<_> = members.iter().collect();
    assert_processes_well(&all, &all, load).await
}

/// As [`assert_well`], of the members among all these processes; what others have logged counts as well.
pub(crate) async fn assert_processes_well(
    members: &[&ServerProcess],
    all: &[&ServerProcess],
    load: &mut Load,
) -> Vec<Ledger> {
    let ledgers = load.pause();
    let (seen, _) = assert_all_the_same(members.iter().copied()).await;
    let logs = all.iter().map(|process| files(&process.data_dir()));
    let logs = logs.collect::<io::Result<Vec<_>>>().unwrap();
    for (process, files) in all.iter().zip(&logs) {
        files.assert_gap_free(&process.data_dir().display().to_string());
    }
    assert_same_records(&logs);
    check_zxids(&ledgers, &logs);
    ledgers.iter().for_each(|ledger| ledger.check(&seen));
    ledgers
}

/// A runtime on a thread of its own, until what is given with it is dropped: a client on it goes on while a test blocks its
/// own thread and waits for processes.
pub(crate) fn runtime_apart() -> (Handle, oneshot::Sender<()>) {
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(ended));
    (handle, end)
}

/// The seeds of a test that draws lots: `ZK_MIXED_SEEDS`, `3` or `1..=10`.
pub(crate) fn seeds() -> Vec<u64> {
    let text = std::env::var("ZK_MIXED_SEEDS").unwrap_or_else(|_| "1".into());
    match text.split_once("..=") {
        Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).collect(),
        None => vec![text.parse().unwrap()],
    }
}

/// Adds what a leader has logged and nobody else has, to the log of a member that is down.
fn add_tail(data_dir: &Path) -> io::Result<()> {
    let dir = data_dir.join("version-2");
    let mut logs: Vec<_> = fs::read_dir(&dir)?
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("log."))
        .collect();
    logs.sort_by_key(|name| i64::from_str_radix(&name[4..], 16).unwrap());
    let path = dir.join(logs.last().unwrap());
    let bytes = fs::read(&path)?;
    let mut cursor = LogCursor::new(bytes.len() as u64);
    cursor.feed(&bytes[FileHeader::LEN..]);
    while let LogStep::Record(_) = cursor.next_record().map_err(io::Error::other)? {}
    let last = files(data_dir)?.records.last().unwrap().0;
    let mut out = BytesMut::new();
    for number in 1..=3 {
        let txn = Txn::Create(CreateTxn {
            path: format!("/tail{number}").into(),
            data: Some(Bytes::from_static(b"nobody else has it")),
            acl: Acl::open(),
            ephemeral: false,
            parent_cversion: -1,
        });
        let entry = TxnLogEntry {
            header: TxnHeader {
                client_id: SessionId(77),
                cxid: Xid(number),
                zxid: Zxid(last.0 + i64::from(number)),
                time: 1_700_000_000_000,
                kind: OpCode::Create.code(),
            },
            txn,
            digest: None,
        };
        put_record(&mut out, &entry.to_bytes());
    }
    let mut file = OpenOptions::new().write(true).open(&path)?;
    file.seek(SeekFrom::Start(cursor.offset()))?;
    file.write_all(&out)?;
    file.sync_all()
}

async fn changes(test: &str, makes: [Make; 3]) {
    let Some(mut mixed) = Mixed::begin(test, makes).await else {
        return;
    };
    let changes = std::env::var("ZK_MIXED_CHANGES").map_or(4, |count| count.parse().unwrap());
    for _ in 0..changes {
        mixed.change_leader().await.unwrap();
    }
    let count = mixed.load.acknowledged();
    let ledgers = mixed.load.pause();
    let resumed: u64 = ledgers.iter().map(Ledger::resumed).sum();
    let [ours, theirs] = mixed.led;
    println!(
        "{test}: ours led {ours} times, Apache's {theirs}; {count} writes acknowledged, {resumed} times a session moved"
    );
    let least = (changes / 4).max(1);
    assert!(ours >= least && theirs >= least, "each make leads");
    assert_ne!(resumed, 0, "a session goes on at another member");
}

#[tokio::test]
async fn one_of_ours_among_two_of_apaches() {
    changes("one of ours among two of Apache's", [Theirs, Theirs, Ours]).await;
}

#[tokio::test]
async fn one_of_apaches_among_two_of_ours() {
    changes("one of Apache's among two of ours", [Ours, Ours, Theirs]).await;
}

#[tokio::test]
async fn observers_of_each_make_see_what_leaders_of_each_make_do() {
    let test = "observers of ours and of Apache's";
    let voters = [Theirs, Theirs, Ours];
    let Some(mut mixed) = Mixed::begin_with(test, &voters, &[Ours, Theirs], &[]).await else {
        return;
    };
    while mixed.led.contains(&0) {
        mixed.change_leader().await.unwrap();
    }
    // An observer that was away, too: of each make, and with a leader of each.
    for leader in [Ours, Theirs] {
        let ledgers = mixed.assert_well().await;
        mixed.elect(leader).unwrap();
        mixed.load.go_on(ledgers);
        for observer in [3, 4] {
            mixed.members.member(observer).kill().unwrap();
        }
        mixed.load.grown(BETWEEN, LIMIT).await;
        mixed.members.start().unwrap();
        mixed.load.grown(BETWEEN, LIMIT).await;
    }
    mixed.assert_well().await;
    let [ours, theirs] = mixed.led;
    println!("{test}: ours led {ours} times, Apache's {theirs}");
}

#[tokio::test]
async fn each_make_brings_the_other_up_to_date_in_every_way() {
    let test = "DIFF, TRUNC and SNAP between ours and Apache's";
    let Some(mut mixed) = Mixed::begin(test, [Theirs, Theirs, Ours]).await else {
        return;
    };
    for plan in [Plan::Diff, Plan::Snap, Plan::Trunc, Plan::SnapOverTail] {
        for learner in [Ours, Theirs] {
            mixed.load.grown(BETWEEN, LIMIT).await;
            mixed.catch_up(plan, learner).await.unwrap();
        }
    }
    mixed.assert_well().await;
}

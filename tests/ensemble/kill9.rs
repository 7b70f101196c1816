//! No acknowledged write is lost when the server is killed with SIGKILL under write load (guarantee G5).
//!
//! A process that is killed loses what it had not handed to the kernel. (What the kernel had not handed to the
//! disk is the subject of the power cuts over a simulated disk.)

#![allow(
    clippy::disallowed_methods,
    reason = "kills real processes at random moments"
)]

use std::{
    env, fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use zk_proto::Zxid;
use zk_tests::{
    apache,
    history::{History, Nodes, Violation, check_zxids},
    ours,
    process::ServerProcess,
};

use crate::writer::{Writer, look, make_home, session};

const WRITERS: usize = 3;

/// The most acknowledgements before a kill.
const ACKNOWLEDGED_MAX: u32 = 3000;

/// More than what is in doubt at any time (three pipelines of writes of at most 400 bytes), so that acknowledged
/// writes are among what a cut log loses.
const LOG_CUT: usize = 64 * 1024;

/// Far more than a cycle takes; a server that hangs is a failure, not a wait.
const CYCLE_LIMIT: Duration = Duration::from_secs(120);

/// Many snapshots, so that some kills meet one; no server's answer depends on them.
const SETTINGS: [(&str, &str); 1] = [("snapCount", "2000")];

/// What some cycles came to.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    survived_unacknowledged: usize,
    in_doubt: usize,
}

/// One server, killed and started again and again.
struct Trial {
    server: ServerProcess,
    rng: fastrand::Rng,
    found: Vec<Nodes>,
    tally: Tally,
    after_kill: AfterKill,
}

/// What happens to the data of a killed server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterKill {
    /// Nothing: the kernel has what the process wrote.
    KeepAll,
    /// The log loses its end, as if the process had kept it to itself: proof that the check can fail.
    CutLog,
}

impl Trial {
    async fn new(mut server: ServerProcess, after_kill: AfterKill, seed: u64) -> io::Result<Self> {
        server.start()?;
        for writer in 0..WRITERS {
            make_home(server.addr(), writer).await?;
        }
        Ok(Self {
            server,
            rng: fastrand::Rng::with_seed(seed),
            found: vec![Nodes::new(); WRITERS],
            tally: Tally::default(),
            after_kill,
        })
    }

    /// Writes, kills, starts, looks; `number` makes the data of every cycle its own.
    async fn cycle(&mut self, number: u64) -> io::Result<Result<(), Violation>> {
        let histories = self.write_until_killed(number).await?;
        if self.after_kill == AfterKill::CutLog {
            cut_log(&self.server.data_dir())?;
        }
        self.start_perhaps_twice().await?;
        let last = self.look().await?;
        Ok(self.judge(&histories, last))
    }

    async fn write_until_killed(&mut self, number: u64) -> io::Result<Vec<History>> {
        let addr: SocketAddr = self.server.addr();
        let acknowledged = Arc::new(Semaphore::new(0));
        let mut writers = JoinSet::new();
        for (index, before) in self.found.iter().enumerate() {
            let writer = Writer::new(index, self.rng.u64(..), number << 32, before.clone());
            let acknowledged = Arc::clone(&acknowledged);
            writers.spawn(async move { (index, writer.run(addr, acknowledged).await) });
        }
        // After some number of acknowledgements, and not just when one has come in.
        let fewest = match self.after_kill {
            AfterKill::KeepAll => 1,
            // The homes themselves must not be among what is lost.
            AfterKill::CutLog => ACKNOWLEDGED_MAX / 2,
        };
        let enough = acknowledged.acquire_many(self.rng.u32(fewest..=ACKNOWLEDGED_MAX));
        tokio::select! {
            enough = enough => drop(enough.map_err(io::Error::other)?),
            early = writers.join_next() => panic!("a writer lost a server that lives: {early:?}"),
        }
        sleep(Duration::from_micros(self.rng.u64(0..4000))).await;
        self.server.kill()?;
        let mut histories = writers.join_all().await;
        histories.sort_by_key(|(index, _)| *index);
        Ok(histories.into_iter().map(|(_, history)| history).collect())
    }

    /// Every fourth time the server is killed once more while it starts.
    async fn start_perhaps_twice(&mut self) -> io::Result<()> {
        if self.rng.u8(0..4) == 0 {
            self.server.spawn()?;
            sleep(Duration::from_micros(self.rng.u64(0..40_000))).await;
            self.server.kill()?;
        }
        self.server.start()
    }

    /// Reads every home; returns the last zxid of the time before this look.
    async fn look(&mut self) -> io::Result<Zxid> {
        let (mut client, own) = session(self.server.addr()).await?;
        for (writer, found) in self.found.iter_mut().enumerate() {
            *found = look(&mut client, writer).await?;
        }
        // The session's own creation took one.
        Ok(Zxid(own.0 - 1))
    }

    fn judge(&mut self, histories: &[History], last: Zxid) -> Result<(), Violation> {
        for (history, found) in histories.iter().zip(&self.found) {
            let survived = history.check(found)?;
            self.tally.acknowledged += history.acks.len();
            self.tally.survived_unacknowledged += survived - history.acks.len();
            self.tally.in_doubt += history.writes.len() - history.acks.len();
        }
        check_zxids(histories, last)
    }
}

/// Runs cycles until one violates the guarantee; tells which and how.
async fn first_violation(
    server: ServerProcess,
    after_kill: AfterKill,
    cycles: u64,
) -> Option<(u64, Violation)> {
    let seed = number_from_env("ZK_KILL9_SEED").unwrap_or(9);
    let mut trial = Trial::new(server, after_kill, seed)
        .await
        .expect("a server to kill");
    for number in 1..=cycles {
        let cycle = timeout(CYCLE_LIMIT, trial.cycle(number)).await;
        let verdict = cycle.expect("a cycle hangs").expect("a cycle");
        if let Err(violation) = verdict {
            return Some((number, violation));
        }
    }
    let Tally {
        acknowledged,
        in_doubt,
        survived_unacknowledged,
    } = trial.tally;
    // Past the harness's capture: these figures say whether the test tested anything.
    let _ = writeln!(
        io::stderr(),
        "kill -9, seed {seed}: {cycles} cycles, {acknowledged} acknowledged writes all there, \
         {survived_unacknowledged} of {in_doubt} in doubt carried out"
    );
    None
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Overwrites the last records of the newest log with the zeros that stand after them.
fn cut_log(data_dir: &Path) -> io::Result<()> {
    let logs = fs::read_dir(data_dir.join("version-2"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"log."))
        });
    // Names of one length, in hexadecimal: the longest and last is the newest.
    let newest = logs.max_by_key(|path| (path.as_os_str().len(), path.clone()));
    let newest = newest.ok_or_else(|| io::Error::other("no log"))?;
    let mut bytes = fs::read(&newest)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let header = 16;
    bytes[end.saturating_sub(LOG_CUT).max(header)..end].fill(0);
    fs::write(newest, bytes)
}

#[tokio::test]
async fn our_server_loses_no_acknowledged_write() {
    let launcher = ours::launcher().expect("our server");
    let server = ServerProcess::prepare(launcher, &SETTINGS).expect("a directory");
    let cycles = number_from_env("ZK_KILL9_CYCLES").unwrap_or(20);
    assert_eq!(
        first_violation(server, AfterKill::KeepAll, cycles).await,
        None
    );
}

#[tokio::test]
async fn a_server_that_replies_before_it_writes_is_caught() {
    let launcher = ours::launcher().expect("our server");
    let fault = [("testing.replyBeforeWrite", "true")];
    let server = ServerProcess::prepare(launcher, &fault).expect("a directory");
    let caught = first_violation(server, AfterKill::KeepAll, 50).await;
    assert!(
        matches!(caught, Some((_, Violation::LostAcknowledged { .. }))),
        "{caught:?}"
    );
}

#[tokio::test]
async fn a_log_without_its_end_is_caught() {
    let launcher = ours::launcher().expect("our server");
    let server = ServerProcess::prepare(launcher, &[]).expect("a directory");
    let caught = first_violation(server, AfterKill::CutLog, 5).await;
    assert!(
        matches!(caught, Some((_, Violation::LostAcknowledged { .. }))),
        "{caught:?}"
    );
}

#[tokio::test]
async fn apache_loses_no_acknowledged_write() {
    let Some(launcher) = apache::launcher_or_skip("kill -9 of Apache") else {
        return;
    };
    let server = ServerProcess::prepare(launcher, &SETTINGS).expect("a directory");
    let cycles = number_from_env("ZK_KILL9_APACHE_CYCLES").unwrap_or(3);
    assert_eq!(
        first_violation(server, AfterKill::KeepAll, cycles).await,
        None
    );
}

#[tokio::test]
async fn a_log_without_its_end_is_caught_with_apache() {
    let Some(launcher) = apache::launcher_or_skip("a log without its end, with Apache") else {
        return;
    };
    let server = ServerProcess::prepare(launcher, &[]).expect("a directory");
    let caught = first_violation(server, AfterKill::CutLog, 5).await;
    assert!(
        matches!(caught, Some((_, Violation::LostAcknowledged { .. }))),
        "{caught:?}"
    );
}

//! Two servers, one script: whatever a random client can see must be the same on both.
//!
//! A seeded script of every operation, several sessions interleaved, runs against two fresh servers in step: a
//! request goes to both, both answers are awaited, and every field of every reply and every event, in order, is
//! compared. Only what no two servers can share is made neutral first: times (whose relation to zxids is
//! checked instead), session ids, and orders that ZooKeeper leaves open ([`neutral`]).
//!
//! * `ZK_DIFF_SEED=<n>` replays one seed.
//! * `ZK_DIFF_OPS=<n>` sets the length; the long run is 200 000, and prints how often everything was tried.
//!
//! Invariant: the script depends on the seed and on what the first server answers, times and session ids
//! excepted; so a seed repeats itself.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "every function here is part of a test, and prints what it did"
)]

mod neutral;
mod pair;
mod report;
mod script;
mod side;
mod tally;

use std::{env, net::SocketAddr};

use zk_server::Server;
use zk_tests::{
    apache,
    process::{ServerProcess, four_letter_word},
};

use crate::pair::Pair;

/// What both servers are told: everything that can be switched on is, and nothing happens by the clock.
const SETTINGS: &[(&str, &str)] = &[
    ("tickTime", "2000"),
    ("maxSessionTimeout", "36000000"),
    ("extendedTypesEnabled", "true"),
    ("enforceQuota", "true"),
    // super:secret
    (
        "DigestAuthenticationProvider.superDigest",
        "super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
    ),
];

/// Containers are never reaped: when would be a matter of time.
const NO_REAPER: &str = "znode.container.checkIntervalMs=100000000";

/// What is run of ours against Apache when nothing is said.
const SHORT_RUN: usize = 20_000;

/// What is run of Apache against itself: the harness, not the servers, is tried.
const HARNESS_RUN: usize = 3000;

/// From here on everything must have come up five hundred times.
const LONG_RUN: usize = 200_000;

#[tokio::test]
async fn ours_agrees_with_apache() {
    let Some(apache) = apache("differential::ours_agrees_with_apache", SETTINGS) else {
        return;
    };
    let mut builder = Server::builder()
        .set("znode.container.checkIntervalMs", "100000000")
        .set("4lw.commands.whitelist", "mntr");
    for (key, value) in SETTINGS {
        builder = builder.set(key, value);
    }
    let ours = builder.start().await.unwrap();
    agree(apache.addr(), ours.local_addr(), ops(SHORT_RUN)).await;
    // What nobody saw: the digest of every transaction was that of the tree after it.
    let addr = ours.local_addr();
    let metrics = tokio::task::spawn_blocking(move || four_letter_word(addr, "mntr"));
    let metrics = metrics.await.unwrap().unwrap();
    assert!(
        metrics.contains("\nzk_digest_mismatches_count\t0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn apache_agrees_with_itself() {
    let test = "differential::apache_agrees_with_itself";
    let (Some(left), Some(right)) = (apache(test, SETTINGS), apache(test, SETTINGS)) else {
        return;
    };
    agree(left.addr(), right.addr(), ops(HARNESS_RUN)).await;
}

/// The harness itself: a server that differs in one setting, one that matters seldom, is found out.
#[tokio::test]
async fn a_planted_difference_is_found() {
    let test = "differential::a_planted_difference_is_found";
    let mut planted = SETTINGS.to_vec();
    planted.retain(|(key, _)| *key != "enforceQuota");
    let (Some(left), Some(right)) = (apache(test, SETTINGS), apache(test, &planted)) else {
        return;
    };
    let result = Pair::new(left.addr(), right.addr())
        .run(seed(), LONG_RUN)
        .await;
    let difference = result
        .expect_err("no quota is enforced on one side")
        .to_string();
    assert!(
        difference.contains("QuotaExceeded") || difference.contains("-125"),
        "{difference}"
    );
    println!("{difference}");
}

/// Runs the script; it must have tried everything often enough for its length.
async fn agree(left: SocketAddr, right: SocketAddr, ops: usize) {
    let tally = Pair::new(left, right).run(seed(), ops).await;
    let tally = tally.unwrap_or_else(|difference| panic!("{difference}"));
    assert!(tally.percent_multi() >= 20);
    let least = match ops {
        LONG_RUN.. => 500,
        SHORT_RUN.. => 20,
        _ => 0,
    };
    assert_eq!(tally.rare(least), [""; 0]);
}

fn apache(test: &str, settings: &[(&str, &str)]) -> Option<ServerProcess> {
    apache::launcher_or_skip(test)?;
    let launcher = apache::launcher_with(apache::Heap::SMALL, &[NO_REAPER]).unwrap();
    Some(ServerProcess::launch(launcher, settings).unwrap())
}

fn seed() -> u64 {
    number("ZK_DIFF_SEED").unwrap_or(1)
}

fn ops(default: usize) -> usize {
    number("ZK_DIFF_OPS").map_or(default, |ops| usize::try_from(ops).unwrap())
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

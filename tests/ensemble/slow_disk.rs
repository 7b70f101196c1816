//! Learners that take in no more from their leader than their disks have taken: with a limit of a few transactions they
//! are at it all the time.

#![allow(clippy::disallowed_methods, reason = "real servers")]

use std::time::Duration;

use zk_tests::{
    apache::{self, Heap},
    ensemble::{Members, mode},
    ours,
    process::Launcher,
};

use crate::{
    drills::assert_nothing_lost,
    load::{Ledger, Load},
};

const LIMIT: Duration = Duration::from_secs(90);

/// Room for two or three transactions.
const NARROW: (&str, &str) = ("testing.aheadOfDisk", "2048");

/// How many writes are acknowledged before anything happens, and again after it.
const WRITES: u64 = 1000;

/// Clients write at all members; a member is away meanwhile, and comes back.
async fn all_keep_up(launchers: &[Launcher]) {
    let settings = [("tickTime", "1000"), NARROW];
    let mut members = Members::prepare(launchers, &settings).unwrap();
    members.start().unwrap();
    let leader = members.wait_for_leader().unwrap();
    let mut load = Load::begin(members.addresses(), 4, false).await;
    load.grown(WRITES, LIMIT).await;
    let away = (leader + 1) % 3;
    members.member(away).kill().unwrap();
    load.grown(WRITES, LIMIT).await;
    members.start().unwrap();
    load.grown(WRITES, LIMIT).await;
    let ledgers = load.pause();
    for (member, address) in members.addresses().into_iter().enumerate() {
        let expected = ["follower", "leader"][usize::from(member == leader)];
        assert_eq!(mode(address).as_deref(), Some(expected), "nobody has gone");
    }
    assert_nothing_lost(&members, &ledgers).await;
    let lost: u64 = ledgers.iter().map(Ledger::lost_sessions).sum();
    assert_eq!(lost, 0, "sessions ended though their clients were there");
}

#[tokio::test]
async fn learners_of_ours_keep_up_with_a_leader_of_ours() {
    all_keep_up(&vec![ours::launcher().unwrap(); 3]).await;
}

/// The last of equals leads.
#[tokio::test]
async fn learners_of_ours_keep_up_with_a_leader_of_apaches() {
    let test = "learners with little room under a leader of Apache's";
    if apache::launcher_or_skip(test).is_none() {
        return;
    }
    let theirs = apache::launcher_with(Heap::SMALL, &[]).unwrap();
    let ours = ours::launcher().unwrap();
    all_keep_up(&[ours.clone(), ours, theirs]).await;
}

//! A log that is damaged while its member is down: the member comes back, is synced, and has its vote again.

#![allow(
    clippy::disallowed_methods,
    reason = "spoils the files of real servers"
)]

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::time::{sleep, timeout};
use zk_proto::{
    ErrorCode, OpCode,
    op::Response,
    persist::{FileHeader, LogCursor, LogStep},
};
use zk_tests::{
    apache::{self, Heap},
    ensemble::Members,
    ours,
    process::{Launcher, ServerProcess, four_letter_word},
    raw::RawClient,
    requests::{children, create, sync},
};

use crate::mixed::LIMIT;

const SETTINGS: [(&str, &str); 3] = [
    ("tickTime", "1000"),
    ("preAllocSize", "64"),
    ("sessionPasswords", "apache"),
];

fn version(member: &ServerProcess) -> PathBuf {
    member.data_dir().join("version-2")
}

fn names(member: &ServerProcess) -> Vec<String> {
    let files = fs::read_dir(version(member)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn awaits_sync(member: &ServerProcess) -> bool {
    member.data_dir().join("awaitingSync").exists()
}

/// Changes a byte of a record in the middle of the longest log.
fn spoil(member: &ServerProcess) {
    let logs = names(member)
        .into_iter()
        .filter(|name| name.starts_with("log."));
    let paths = logs.map(|name| version(member).join(name));
    let path = paths.max_by_key(|path| records(path).len()).unwrap();
    let records = records(&path);
    assert!(records.len() > 20, "{}", records.len());
    let mut bytes = fs::read(&path).unwrap();
    bytes[records[records.len() / 2] + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
}

/// Where the records of a log begin.
fn records(path: &PathBuf) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let mut log = LogCursor::new(bytes.len() as u64);
    log.feed(bytes.get(FileHeader::LEN..).unwrap_or_default());
    let mut found = Vec::new();
    while let Ok(LogStep::Record(record)) = log.next_record() {
        found.push(usize::try_from(record.offset).unwrap());
    }
    found
}

async fn client(member: SocketAddr) -> io::Result<RawClient> {
    let mut client = RawClient::connect(member).await?;
    client.open_session(10_000).await?;
    Ok(client)
}

/// Writes these nodes, at a member that may not serve yet.
async fn write(member: SocketAddr, prefix: &str, count: usize) {
    let try_once = async |done: &mut usize| -> io::Result<()> {
        let mut client = client(member).await?;
        while *done < count {
            let path = format!("/{prefix}{done}");
            let code = client.call(create(&path, b"x")).await?.code();
            assert!(
                matches!(code, ErrorCode::Ok | ErrorCode::NodeExists),
                "{path}: {code:?}"
            );
            *done += 1;
        }
        Ok(())
    };
    let mut done = 0;
    let all = async {
        while try_once(&mut done).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, all).await.unwrap();
}

async fn count(member: SocketAddr) -> usize {
    let mut client = client(member).await.unwrap();
    client.call(sync("/")).await.unwrap();
    let answer = client.call(children("/")).await.unwrap();
    match answer.response(OpCode::GetChildren) {
        Ok(Response::GetChildren(found)) => found.children.len() - 1,
        other => panic!("{other:?}"),
    }
}

async fn a_follower_is_damaged_and_comes_back(launchers: &[Launcher]) {
    let mut members = Members::prepare(launchers, &SETTINGS).unwrap();
    members.start().unwrap();
    let addresses = members.addresses();
    let leader = members.wait_for_leader().unwrap();
    assert_ne!(leader, 0, "of equal histories the larger number leads");
    write(addresses[leader], "before", 40).await;
    members.member(0).kill().unwrap();
    write(addresses[leader], "meanwhile", 10).await;
    spoil(members.member(0));
    members.member(0).start().unwrap();
    let log = members.member(0).log();
    assert!(log.contains("is damaged at offset"), "{log}");
    assert!(log.contains("no vote until"), "{log}");
    assert!(
        !awaits_sync(members.member(0)),
        "it serves, so it is synced"
    );
    let left = names(members.member(0));
    let aside = left.iter().find(|name| name.starts_with("damaged.log."));
    assert!(aside.is_some(), "{left:?}");
    assert_eq!(count(addresses[0]).await, 50);

    // Its vote is needed now, and counts.
    members.member(leader).kill().unwrap();
    members.wait_for_leader_but(leader).unwrap();
    write(addresses[0], "after", 10).await;
    members.member(leader).start().unwrap();
    for address in addresses {
        assert_eq!(count(address).await, 60);
    }
}

#[tokio::test]
async fn a_damaged_follower_is_synced_and_votes_again() {
    a_follower_is_damaged_and_comes_back(&vec![ours::launcher().unwrap(); 3]).await;
}

#[tokio::test]
async fn a_damaged_follower_is_synced_by_apaches_leader() {
    let Some(_) = apache::launcher_or_skip("a damaged follower of Apache's leader") else {
        return;
    };
    let theirs = apache::launcher_with(Heap::SMALL, &[]).unwrap();
    let launchers = [ours::launcher().unwrap(), theirs.clone(), theirs];
    a_follower_is_damaged_and_comes_back(&launchers).await;
}

/// The other members hear of a candidate from it no more than from an observer.
async fn what_the_absent_one_knows_is_waited_for(third: Launcher) {
    let launchers = [ours::launcher().unwrap(), ours::launcher().unwrap(), third];
    let mut members = Members::prepare(&launchers, &SETTINGS).unwrap();
    members.start().unwrap();
    let addresses = members.addresses();
    write(addresses[2], "all", 30).await;
    members.member(2).kill().unwrap();
    write(addresses[1], "two", 30).await;
    members.member(0).kill().unwrap();
    members.member(1).kill().unwrap();
    spoil(members.member(0));
    members.member(2).spawn().unwrap();
    members.member(0).spawn().unwrap();
    // As long as an election takes when it comes to an end, several times.
    let told = "no vote until a leader has synced it";
    let mut waits = 0;
    while waits < 100 {
        sleep(Duration::from_millis(50)).await;
        waits += usize::from(
            four_letter_word(addresses[0], "srvr").is_ok_and(|answer| answer.contains(told)),
        );
        assert_eq!(
            members.leader(),
            None,
            "the third lacks what the first has lost"
        );
    }
    assert!(awaits_sync(members.member(0)));
    members.member(1).start().unwrap();
    members.wait_until_serving().unwrap();
    for address in addresses {
        assert_eq!(count(address).await, 60);
    }
    assert!(!awaits_sync(members.member(0)));
}

#[tokio::test]
async fn nobody_is_elected_without_the_one_that_has_what_was_lost() {
    what_the_absent_one_knows_is_waited_for(ours::launcher().unwrap()).await;
}

#[tokio::test]
async fn apaches_member_does_not_lead_one_that_has_lost_what_it_lacks() {
    let Some(_) = apache::launcher_or_skip("a damaged member beside Apache's") else {
        return;
    };
    let theirs = apache::launcher_with(Heap::SMALL, &[]).unwrap();
    what_the_absent_one_knows_is_waited_for(theirs).await;
}

/// Whoever goes back to Apache in that state must not get a voter that has forgotten what it acknowledged.
#[tokio::test]
async fn apache_does_not_start_on_what_is_left_of_a_damaged_log() {
    let Some(_) = apache::launcher_or_skip("Apache on what is left of a damaged log") else {
        return;
    };
    let theirs = apache::launcher_with(Heap::SMALL, &[]).unwrap();
    let ours = ours::launcher().unwrap();
    let launchers = [ours.clone(), theirs.clone(), theirs.clone()];
    let mut members = Members::prepare(&launchers, &SETTINGS).unwrap();
    members.start().unwrap();
    let addresses = members.addresses();
    write(addresses[0], "before", 40).await;
    for member in 0..3 {
        members.member(member).kill().unwrap();
    }
    let damaged = members.member(0);
    spoil(damaged);
    damaged.spawn().unwrap();
    let told = "no vote until a leader has synced";
    let waits = async {
        while !four_letter_word(addresses[0], "srvr").is_ok_and(|answer| answer.contains(told)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, waits).await.unwrap();
    let damaged = members.member(0);
    assert!(awaits_sync(damaged));
    damaged.kill().unwrap();
    damaged.launch_as(theirs.clone());
    let refused = damaged.start().unwrap_err().to_string();
    assert!(refused.contains("ended with"), "{refused}");
    let log = damaged.log();
    let tells = |line: &str| line.contains("Found ") && line.contains("awaitingSync in ");
    assert!(log.lines().any(tells), "{log}");

    // A leader of Apache's has synced it: now it may be Apache's again.
    members.member(0).launch_as(ours);
    members.start().unwrap();
    assert_eq!(count(addresses[0]).await, 40);
    let synced = members.member(0);
    assert!(!awaits_sync(synced));
    synced.terminate().unwrap();
    synced.launch_as(theirs);
    synced.start().unwrap();
    assert_eq!(count(addresses[0]).await, 40);
}

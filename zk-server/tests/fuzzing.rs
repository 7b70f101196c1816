//! The bodies of the fuzz targets, over inputs made from what Apache and we have written, with a stable compiler.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::panic::catch_unwind;

use zk_proto::persist::{FileHeader, LogCursor, LogStep, SnapshotTrailer};
use zk_server::fuzzing::{TARGETS, Target};

const LOG: &[u8] = include_bytes!("../../zk-proto/testdata/disk/log.1");
const SNAPSHOT: &[u8] = include_bytes!("../../zk-proto/testdata/disk/snapshot.40");
const ZOO_CFG: &[u8] =
    b"# a comment\ntickTime=2000\ndataDir = /var/lib/zk\\\n/data\nclientPort: 2181\n\
    clientPortAddress=::1\nserver.1=h:2888:3888:participant;[::1]:2181\nautopurge.purgeInterval=1\n\
    4lw.commands.whitelist=stat, mntr\nzookeeper.skipACL=yes\nminSessionTimeout=-1\nkey\\u0041=\\t";

/// How many inputs are made for each target.
const ROUNDS: usize = 1500;

/// How many changes an input has at most.
const CHANGES_MAX: usize = 5;

/// The payloads of the first records, in the form that the target takes.
fn records(count: usize) -> Vec<u8> {
    let mut cursor = LogCursor::new(LOG.len() as u64);
    cursor.feed(&LOG[FileHeader::LEN..]);
    let mut out = Vec::new();
    for _ in 0..count {
        let Ok(LogStep::Record(record)) = cursor.next_record() else {
            break;
        };
        out.extend(u16::try_from(record.payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&record.payload);
    }
    assert!(out.len() > 100);
    out
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    // The string "/" and the trailer are put behind it again.
    let snapshot_end = SNAPSHOT.len() - SnapshotTrailer::MAX_LEN - 5;
    match target {
        "recovery_log" => vec![Vec::new(), LOG[FileHeader::LEN..].to_vec()],
        "recovery_records" => vec![records(6), records(40)],
        "recovery_snapshot" => vec![SNAPSHOT.to_vec()],
        "recovery_nodes" => vec![SNAPSHOT[FileHeader::LEN..snapshot_end].to_vec()],
        "zoo_cfg" => vec![ZOO_CFG.to_vec()],
        _ => panic!("{target} has no seeds"),
    }
}

/// One change of the kind that libFuzzer makes.
fn change(input: &mut Vec<u8>, dice: &mut fastrand::Rng) {
    let at = dice.usize(..=input.len());
    match dice.u8(..6) {
        0 => input.truncate(at),
        1 => input.insert(at, dice.u8(..)),
        2 => {
            let odd = [-2, -1, 0, 1, 2, 0x7f, 0xffff, i32::MIN, i32::MAX];
            let end = input.len().min(at + 4);
            input.splice(at..end, dice.choice(odd).unwrap().to_be_bytes());
        }
        3 => {
            let piece = input[at..].to_vec();
            input.extend_from_slice(&piece);
        }
        4 => drop(input.drain(at..input.len().min(at + dice.usize(..9)))),
        _ if at < input.len() => input[at] ^= 1 << dice.u8(..8),
        _ => {}
    }
}

fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        panic!("target {name} fails for {}", input.escape_ascii());
    }
}

#[test]
fn no_target_fails_for_any_input() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| run(name, *target, seed));
        let mut dice = fastrand::Rng::with_seed(7);
        for _ in 0..ROUNDS {
            let mut input = dice.choice(&seeds).unwrap().clone();
            for _ in 0..dice.usize(1..=CHANGES_MAX) {
                change(&mut input, &mut dice);
            }
            run(name, *target, &input);
        }
    }
}

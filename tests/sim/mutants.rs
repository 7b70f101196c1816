//! Bugs of the past, put back one by one: every one of them must be found.

use zk_server::zab::mutants;

use crate::run;

/// The bug, and what it was.
const BUGS: [(&str, &str); 8] = [
    ("1291", "an epoch is promised before it is written"),
    ("2418", "a gap before the leader's memory is sent as DIFF"),
    ("2845", "memory and log disagree after an election"),
    ("4643", "the current epoch is written before its history"),
    (
        "4646",
        "NEWLEADER is acknowledged before the history is written",
    ),
    ("5094", "the tree is not built again after TRUNC"),
    (
        "commit-without-quorum",
        "the leader commits what it alone has",
    ),
    (
        "follower-acks-before-fsync",
        "a proposal is acknowledged before it is written",
    ),
];

#[test]
fn every_bug_put_back_is_found() {
    let mut missed = Vec::new();
    for (name, what) in BUGS {
        mutants::set(Some(name));
        let found = (0..400).find_map(|seed| run(seed).err().map(|failure| (seed, failure)));
        mutants::set(None);
        match found {
            None => missed.push(name),
            Some((seed, failure)) => {
                let line = failure.lines().rfind(|line| line.starts_with("seed"));
                println!("{name} ({what}): seed {seed}: {}", line.unwrap_or_default());
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

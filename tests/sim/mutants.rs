//! Bugs of the past, put back one by one: every one of them must be found.

use zk_server::zab::mutants;

use crate::{damage, museum, reconfig, run};

/// The bug, and what it was. Not here are those that only scenarios find: 3642, whose crash within a snapshot no seed of the
/// first thousands meets; what a learner mends by beginning anew (4394, 4685); a name without a log beside it, a fault at
/// the cut itself, and what happens in the middle of a reconfiguration.
const BUGS: [(&str, &str); 24] = [
    ("335", "the epochs are not written durably"),
    (
        "962",
        "what is written between NEWLEADER and UPTODATE is lost",
    ),
    ("1154", "a learner's log is cut too far"),
    ("1192", "the promises of a quorum are not waited for"),
    (
        "1367",
        "what comes between SNAP and NEWLEADER is not logged",
    ),
    (
        "3104",
        "what comes between SNAP and UPTODATE, behind NEWLEADER, is not logged",
    ),
    ("3911", "what comes with DIFF is not logged"),
    ("damaged-votes", "who has lost some of its log votes"),
    ("790", "a leader serves before a quorum has its history"),
    ("1282", "the current epoch is written when it is all over"),
    ("1343", "an epoch is used twice"),
    ("1675", "a sync is answered without asking a quorum"),
    ("2846", "a tail that was never agreed on is not cut"),
    ("4352", "a leader without memory sends a new member nothing"),
    (
        "leader-acks-before-fsync",
        "the leader counts itself before it has written",
    ),
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
        "joint-quorum",
        "one quorum is enough while a reconfiguration is on its way",
    ),
    (
        "commit-without-quorum",
        "the leader commits what it alone has",
    ),
    (
        "follower-acks-before-fsync",
        "a proposal is acknowledged before it is written",
    ),
];

/// Scenarios of the museum, and the bugs that they find: each its own, or one like it.
const SCENARIOS: [(&str, fn()); 32] = [
    (
        "follows-as-observer",
        reconfig::observers_that_are_to_become_voters_help_to_establish_an_epoch,
    ),
    (
        "335",
        museum::zookeeper_335_a_member_that_forgets_the_new_epoch_does_not_lead_with_the_old_one,
    ),
    (
        "name-not-durable",
        museum::an_epoch_that_was_read_is_there_after_any_power_cut,
    ),
    (
        "962",
        museum::zookeeper_962_1264_1319_a_learner_misses_nothing_that_is_written_while_it_catches_up,
    ),
    (
        "962",
        museum::zookeeper_1551_an_observer_misses_nothing_that_is_written_while_it_catches_up,
    ),
    (
        "1154",
        museum::zookeeper_1154_1156_what_is_cut_is_what_nobody_agreed_on_and_nothing_else,
    ),
    (
        "1192",
        museum::zookeeper_1192_1194_links_that_break_while_epochs_are_agreed_on,
    ),
    (
        "1367",
        museum::zookeeper_1367_a_learner_that_is_just_in_sync_keeps_it_over_a_power_cut,
    ),
    (
        "3104",
        museum::zookeeper_3104_writes_while_a_snapshot_is_sent_are_neither_lost_nor_twice_there,
    ),
    (
        "3911",
        museum::zookeeper_3911_what_a_leader_was_established_with_survives_the_loss_of_all_power,
    ),
    (
        "4394",
        museum::zookeeper_4394_a_commit_before_uptodate_does_not_keep_a_learner_out,
    ),
    (
        "4685",
        museum::zookeeper_4685_acknowledgements_of_proposals_do_not_overtake_that_of_newleader,
    ),
    (
        "1282",
        museum::zookeeper_1282_the_current_epoch_is_written_before_anybody_hears_of_it,
    ),
    (
        "4643",
        museum::zookeeper_4643_the_current_epoch_is_written_after_the_history_that_it_stands_for,
    ),
    (
        "4646",
        museum::zookeeper_3023_4646_newleader_is_acknowledged_when_the_history_is_on_a_slow_disk,
    ),
    (
        "cut-goes-unnoticed",
        museum::zookeeper_3701_a_cut_that_fails_ends_the_member,
    ),
    (
        "voters-to-be-observe",
        reconfig::observers_that_are_to_become_voters_help_to_establish_an_epoch,
    ),
    (
        "comes-back-as-voter",
        reconfig::a_voter_to_be_is_not_kept_out_by_what_it_has_promised,
    ),
    (
        "damaged-votes",
        damage::what_only_a_damaged_member_and_an_absent_one_know_is_waited_for,
    ),
    (
        "790",
        museum::zookeeper_790_a_leader_that_never_was_leaves_nothing_behind,
    ),
    (
        "2845",
        museum::zookeeper_2845_a_leader_that_comes_back_has_nothing_in_memory_that_is_not_agreed_on,
    ),
    (
        "3642",
        museum::zookeeper_3642_a_leader_that_dies_behind_its_snapshot_leaves_no_learner_ahead_of_its_disk,
    ),
    (
        "only-voters-stand",
        reconfig::a_voter_to_be_with_the_longest_history_is_elected,
    ),
    (
        "nobody-steps-aside",
        reconfig::a_configuration_that_one_knows_and_whose_new_voters_are_gone_holds_nobody_up,
    ),
    (
        "in-force-forgotten",
        reconfig::a_configuration_in_force_is_not_forgotten_where_no_file_can_be_written,
    ),
    (
        "next-always-asked",
        reconfig::a_configuration_that_cannot_have_come_into_force_holds_nobody_up,
    ),
    (
        "observers-not-asked",
        reconfig::an_observer_that_is_to_become_a_voter_helps_to_begin_an_epoch,
    ),
    ("1343", museum::zookeeper_1291_1343_no_epoch_is_begun_twice),
    (
        "1675",
        museum::zookeeper_1675_a_sync_at_a_deposed_leader_is_not_answered,
    ),
    (
        "2845",
        museum::zookeeper_4712_4541_nothing_of_an_old_role_reaches_the_disk_in_a_new_one,
    ),
    (
        "2845",
        museum::zookeeper_4785_a_learner_bounced_within_a_diff_has_what_it_said_it_has,
    ),
    (
        "5094",
        museum::zookeeper_5094_an_interrupted_cut_leaves_no_memory_ahead_of_the_log,
    ),
];

/// How many seeds each may take.
const LIMIT: u64 = 4_000;

#[test]
fn every_bug_put_back_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("ZK_SIM_BUG").ok();
    for (name, what) in BUGS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        mutants::set(Some(name));
        let found = (0..LIMIT).find_map(|seed| run(seed).err().map(|failure| (seed, failure)));
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

#[test]
fn scenarios_find_the_bugs_that_they_are_about() {
    let mut blind = Vec::new();
    let only = std::env::var("ZK_SIM_BUG").ok();
    for (name, scenario) in SCENARIOS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        println!("{name}:");
        mutants::set(Some(name));
        let found = std::panic::catch_unwind(scenario);
        mutants::set(None);
        if found.is_ok() {
            blind.push(name);
        }
    }
    assert!(blind.is_empty(), "not found: {blind:?}");
}

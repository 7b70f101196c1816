//! What actually broke in Apache ZooKeeper, as scenarios: leader activation, bringing learners up to date, failing disks.
//!
//! Nobody knows the one moment at which a new server would break. So a scenario strikes at every moment in turn: in
//! a world without chance, in which a message takes a millisecond, once for every millisecond of what goes on. In each
//! of these runs the oracle looks at every step, and in the end everything must be well.
//!
//! The numbers are those of Apache's issues; `docs/MUSEUM.md` has all of them. What stands here finds the bugs that
//! `mutants` puts back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use zk_server::storage::mem_disk::FaultyCall;

use crate::{transcripts::quiet, world::World};

const LEADER: usize = 2;

/// How many milliseconds an election and what follows it take in this world, and some more.
const ESTABLISHING: u64 = 70;

/// More transactions than this memory keeps come with a snapshot.
const FORGETFUL: usize = 2;
const MINDFUL: usize = 500;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three members of which the last leads, and three writes.
fn founded(observers: usize, memory: usize) -> World {
    let mut world = without_a_log(observers, memory);
    write(&mut world, LEADER, 3);
    world
}

/// As [`founded`], before the first write.
fn without_a_log(observers: usize, memory: usize) -> World {
    let mut world = quiet(3, observers, memory, false);
    (0..3 + observers).for_each(|node| world.restart(node));
    world.run_for(ms(150));
    assert_eq!(world.leader(), Some(LEADER));
    world
}

/// Writes, and lets them be agreed on.
fn write(world: &mut World, node: usize, count: usize) {
    (0..count).for_each(|_| world.write_at(node));
    world.run_for(ms(30));
}

/// Runs a scenario once for every moment of so many milliseconds; then everything must become well.
fn at_every_moment(moments: u64, scenario: impl Fn(&mut World, u64), begin: impl Fn() -> World) {
    for moment in 0..moments {
        let mut world = begin();
        let run = catch_unwind(AssertUnwindSafe(|| {
            scenario(&mut world, moment);
            world.come_to_rest();
        }));
        if let Err(panic) = run {
            let trace: Vec<_> = world.trace.iter().map(String::as_str).collect();
            println!("{}\nat {moment} ms", trace.join("\n"));
            resume_unwind(panic);
        }
    }
}

/// The leader logs so many writes that nobody else hears of, and dies with them.
fn die_with_a_tail(world: &mut World, count: usize) {
    world.cut(LEADER, 0);
    world.cut(LEADER, 1);
    (0..count).for_each(|_| world.write_at(LEADER));
    world.run_for(ms(20));
    world.stop(LEADER, false);
}

/// A follower misses so many writes.
fn fall_behind(world: &mut World, node: usize, count: usize) {
    world.stop(node, false);
    write(world, LEADER, count);
}

#[test]
pub(crate) fn zookeeper_335_a_member_that_forgets_the_new_epoch_does_not_lead_with_the_old_one() {
    let scenario = |world: &mut World, moment| {
        world.stop(LEADER, false);
        world.run_for(ms(moment));
        (0..2).for_each(|node| world.stop(node, true));
        // The old leader meets one of those who were about to begin an epoch without it.
        world.restart(LEADER);
        world.restart(0);
        world.run_for(ms(200));
        world.write_at(LEADER);
        world.run_for(ms(50));
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_790_a_leader_that_never_was_leaves_nothing_behind() {
    let scenario = |world: &mut World, moment| {
        die_with_a_tail(world, 2);
        (0..2).for_each(|node| world.stop(node, false));
        world.heal();
        // It has more than anybody else, and is cut short while it takes over; who follows it needs time to write.
        (0..3).for_each(|node| world.restart(node));
        (0..2).for_each(|node| world.slow_disk(node));
        world.run_for(ms(moment * 10));
        world.stop(LEADER, true);
        world.run_for(ms(900));
        world.write_at(1);
        world.write_at(0);
        world.run_for(ms(50));
    };
    at_every_moment(50, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_962_1264_1319_a_learner_misses_nothing_that_is_written_while_it_catches_up()
{
    for memory in [MINDFUL, FORGETFUL] {
        let scenario = |world: &mut World, moment| {
            fall_behind(world, 0, 5);
            world.restart(0);
            world.run_for(ms(moment));
            for _ in 0..10 {
                world.write_at(LEADER);
                world.run_for(ms(1));
            }
            if moment % 2 == 0 {
                world.snapshot(LEADER);
            }
        };
        at_every_moment(40, scenario, || founded(0, memory));
    }
}

#[test]
pub(crate) fn zookeeper_1082_a_later_epoch_beats_any_number_of_writes_in_an_earlier_one() {
    let mut world = founded(0, MINDFUL);
    die_with_a_tail(&mut world, 20);
    world.run_for(ms(900));
    let leader = world.leader().unwrap();
    write(&mut world, leader, 1);
    (0..2).for_each(|node| world.stop(node, true));
    world.heal();
    // Twenty-three writes of the first epoch against four, of which the last is of the second.
    world.restart(LEADER);
    world.restart(0);
    world.run_for(ms(300));
    assert_eq!(world.leader(), Some(0));
    world.come_to_rest();
}

#[test]
pub(crate) fn zookeeper_1154_1156_what_is_cut_is_what_nobody_agreed_on_and_nothing_else() {
    for tail in 1..5 {
        for later in 0..4 {
            let mut world = founded(0, MINDFUL);
            die_with_a_tail(&mut world, tail);
            world.run_for(ms(900));
            let leader = world.leader().unwrap();
            write(&mut world, leader, later);
            world.heal();
            world.restart(LEADER);
            world.run_for(ms(200));
            assert_eq!(world.report.plans.get("TRUNC"), Some(&1), "{tail} {later}");
            world.come_to_rest();
        }
    }
}

#[test]
pub(crate) fn zookeeper_1192_1194_links_that_break_while_epochs_are_agreed_on() {
    let scenario = |world: &mut World, moment| {
        world.stop(LEADER, false);
        world.run_for(ms(moment));
        world.reset_links();
        world.run_for(ms(moment / 2));
        world.reset_links();
        world.restart(LEADER);
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_1282_the_current_epoch_is_written_before_anybody_hears_of_it() {
    let scenario = |world: &mut World, moment| {
        world.stop(LEADER, false);
        world.run_for(ms(moment));
        world.stop(0, true);
        world.stop(1, true);
        world.restart(0);
        world.restart(1);
        world.run_for(ms(200));
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_1291_1343_no_epoch_is_begun_twice() {
    let scenario = |world: &mut World, moment| {
        world.stop(LEADER, false);
        world.run_for(ms(moment));
        (0..2).for_each(|node| world.stop(node, true));
        // Another pair elects; the epoch that was on its way must not be used again with another history.
        world.restart(LEADER);
        world.restart(1);
        world.run_for(ms(moment));
        world.stop(1, true);
        world.restart(0);
        world.run_for(ms(300));
        world.write_at(LEADER);
        world.write_at(0);
        world.run_for(ms(50));
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_1367_a_learner_that_is_just_in_sync_keeps_it_over_a_power_cut() {
    // The power goes before it is in sync, and when it has just said that it has what was written.
    for (memory, later) in [MINDFUL, FORGETFUL]
        .into_iter()
        .flat_map(|memory| [(memory, 3), (memory, 20)])
    {
        let scenario = |world: &mut World, moment| {
            fall_behind(world, 0, 5);
            world.restart(0);
            world.run_for(ms(moment));
            world.write_at(LEADER);
            world.run_for(ms(later));
            world.stop(0, true);
            world.restart(0);
            world.run_for(ms(100));
            world.stop(LEADER, true);
            world.run_for(ms(200));
        };
        at_every_moment(40, scenario, || founded(0, memory));
    }
}

#[test]
pub(crate) fn zookeeper_1549_1558_no_snapshot_holds_what_was_never_agreed_on() {
    for tail in 1..4 {
        let mut world = founded(0, MINDFUL);
        world.cut(LEADER, 0);
        world.cut(LEADER, 1);
        (0..tail).for_each(|_| world.write_at(LEADER));
        world.run_for(ms(20));
        world.snapshot(LEADER);
        world.run_for(ms(20));
        world.stop(LEADER, false);
        world.run_for(ms(900));
        let leader = world.leader().unwrap();
        write(&mut world, leader, 2);
        world.heal();
        world.restart(LEADER);
        world.run_for(ms(200));
        world.come_to_rest();
    }
}

#[test]
pub(crate) fn zookeeper_1551_an_observer_misses_nothing_that_is_written_while_it_catches_up() {
    const OBSERVER: usize = 3;
    for memory in [MINDFUL, FORGETFUL] {
        let scenario = |world: &mut World, moment| {
            fall_behind(world, OBSERVER, 5);
            world.restart(OBSERVER);
            world.run_for(ms(moment));
            for _ in 0..10 {
                world.write_at(LEADER);
                world.run_for(ms(1));
            }
        };
        at_every_moment(40, scenario, || founded(1, memory));
    }
}

#[test]
pub(crate) fn zookeeper_1675_a_sync_at_a_deposed_leader_is_not_answered() {
    let scenario = |world: &mut World, moment| {
        // It does not notice what goes on without it, and is asked before it notices anything.
        world.pause(LEADER, ms(2_000));
        world.run_for(ms(1_000 + moment));
        let leaders = (0..2).find(|node| world.leads(*node));
        write(world, leaders.unwrap(), 2);
        world.heal();
        world.sync_at(LEADER);
        world.run_for(ms(100));
    };
    at_every_moment(60, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_1277_4883_2789_epochs_whose_zxids_are_used_up_follow_each_other() {
    let mut world = quiet_with_few_zxids();
    (0..3).for_each(|node| world.restart(node));
    for round in 0..30 {
        world.run_for(ms(200));
        (0..3).for_each(|node| world.write_at(node));
        if round % 7 == 6 {
            world.stop(round % 3, true);
            world.restart(round % 3);
        }
    }
    world.come_to_rest();
    assert!(world.report.established > 5, "{}", world.report.established);
}

fn quiet_with_few_zxids() -> World {
    crate::transcripts::quiet_up_to(3, 6)
}

#[test]
pub(crate) fn zookeeper_2247_a_leader_that_cannot_write_is_followed_by_another_one() {
    for call in [FaultyCall::Write, FaultyCall::Sync] {
        let mut world = founded(0, MINDFUL);
        world.fail_disk(LEADER, call, 1);
        world.write_at(LEADER);
        // Within a tick.
        world.run_for(ms(100));
        assert!(!world.is_running(LEADER), "{call:?}");
        let doing = "writing the transaction log";
        assert!(world.died_of(LEADER).starts_with(doing), "{call:?}");
        assert!(world.leader().is_some(), "{call:?}");
        world.come_to_rest();
    }
}

#[test]
pub(crate) fn zookeeper_2845_a_leader_that_comes_back_has_nothing_in_memory_that_is_not_agreed_on()
{
    let scenario = |world: &mut World, moment| {
        world.cut(LEADER, 0);
        world.cut(LEADER, 1);
        world.write_at(LEADER);
        world.run_for(ms(20));
        (0..2).for_each(|node| world.stop(node, false));
        world.heal();
        // It finds out by itself that nobody follows, keeps running, and has more than anybody who comes back.
        world.run_for(ms(moment * 20));
        (0..2).for_each(|node| world.restart(node));
        world.run_for(ms(300));
        (0..3).for_each(|node| world.write_at(node));
        world.run_for(ms(50));
        // What it comes back with is what the others have.
        world.stop(LEADER, false);
        world.restart(LEADER);
        world.run_for(ms(300));
    };
    at_every_moment(40, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_2872_a_snapshot_from_the_leader_is_durable_before_it_is_relied_on() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 6);
        world.restart(0);
        world.run_for(ms(moment));
        world.stop(0, true);
        // It and the one that knows the least must not make a quorum of what is left.
        world.stop(LEADER, true);
        world.restart(0);
        world.run_for(ms(200));
        world.write_at(0);
        world.write_at(1);
        world.run_for(ms(50));
    };
    at_every_moment(50, scenario, || founded(0, FORGETFUL));
}

#[test]
pub(crate) fn zookeeper_3023_4646_newleader_is_acknowledged_when_the_history_is_on_a_slow_disk() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 5);
        world.slow_disk(0);
        world.restart(0);
        world.run_for(ms(moment * 5));
        // It may be the one whose word was needed.
        (0..3).for_each(|node| world.stop(node, true));
        world.heal();
        world.restart(0);
        world.restart(1);
        world.run_for(ms(200));
        world.write_at(0);
        world.write_at(1);
        world.run_for(ms(50));
    };
    at_every_moment(60, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_3104_writes_while_a_snapshot_is_sent_are_neither_lost_nor_twice_there() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 6);
        world.restart(0);
        for _ in 0..moment {
            world.write_at(LEADER);
            world.run_for(ms(1));
        }
        world.stop(0, true);
        world.restart(0);
        world.run_for(ms(100));
    };
    at_every_moment(40, scenario, || founded(0, FORGETFUL));
}

#[test]
pub(crate) fn zookeeper_3598_members_stopped_under_load_leave_nothing_half_done() {
    let scenario = |world: &mut World, moment| {
        for at in 0..30 {
            (0..3).for_each(|node| world.write_at(node));
            world.run_for(ms(1));
            if at == moment {
                world.stop(usize::try_from(moment % 3).unwrap(), false);
            }
        }
        world.run_for(ms(300));
    };
    at_every_moment(30, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_3642_a_leader_that_dies_behind_its_snapshot_leaves_no_learner_ahead_of_its_disk()
 {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 6);
        // One that has just come back has nothing in memory and sends a snapshot; the next leader remembers everything.
        world.stop(LEADER, false);
        world.restart(LEADER);
        world.run_for(ms(900));
        assert_eq!(world.leader(), Some(LEADER));
        world.slow_disk(0);
        world.restart(0);
        world.run_for(ms(moment * 3));
        world.stop(LEADER, true);
        world.run_for(ms(900));
        write(world, 1, 2);
        world.stop(0, true);
        world.restart(0);
        world.run_for(ms(100));
    };
    at_every_moment(100, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_3701_a_cut_that_fails_ends_the_member() {
    for (call, nth, doing) in [
        (FaultyCall::SyncDir, 1, "syncing version-2/"),
        (FaultyCall::Read, 1, "reading version-2/log."),
        (FaultyCall::SetLen, 1, "cutting version-2/log."),
        (FaultyCall::Sync, 1, "cutting version-2/log."),
        (FaultyCall::SyncDir, 2, "syncing version-2/"),
        (FaultyCall::Remove, 1, "removing version-2/log."),
    ] {
        let mut world = founded(0, MINDFUL);
        if call == FaultyCall::Remove {
            // A file that has nothing but the tail.
            world.roll_log(LEADER);
        }
        die_with_a_tail(&mut world, 2);
        world.run_for(ms(900));
        world.heal();
        world.restart(LEADER);
        world.fail_cut(LEADER, call, nth);
        world.run_for(ms(200));
        assert!(!world.is_running(LEADER), "{call:?}");
        assert_eq!(world.report.plans.get("TRUNC"), Some(&1), "{call:?}");
        assert!(
            world.died_of(LEADER).starts_with(doing),
            "{}",
            world.died_of(LEADER)
        );
        world.come_to_rest();
    }
}

#[test]
pub(crate) fn zookeeper_3911_what_a_leader_was_established_with_survives_the_loss_of_all_power() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 5);
        // The one that lacks them is needed for the quorum of the next epoch.
        world.stop(LEADER, false);
        world.restart(0);
        world.run_for(ms(moment));
        (0..2).for_each(|node| world.stop(node, true));
        (0..3).for_each(|node| world.restart(node));
        world.run_for(ms(200));
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4394_a_commit_before_uptodate_does_not_keep_a_learner_out() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 2);
        let epochs = world.report.established;
        world.run_for(ms(20));
        let departures = world.departures();
        world.restart(0);
        world.run_for(ms(moment));
        world.write_at(LEADER);
        world.write_at(1);
        world.run_for(ms(100));
        assert_eq!(world.report.established, epochs, "nobody gave up");
        assert_eq!(world.departures(), departures, "nobody had to begin anew");
        assert_eq!(world.current_epoch(0), world.current_epoch(LEADER));
    };
    at_every_moment(50, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4643_the_current_epoch_is_written_after_the_history_that_it_stands_for() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 5);
        world.stop(LEADER, false);
        world.restart(0);
        world.run_for(ms(moment));
        world.stop(0, true);
        // With the epoch and without the history it would win.
        world.stop(1, true);
        world.restart(0);
        world.restart(LEADER);
        world.run_for(ms(300));
        world.write_at(LEADER);
        world.run_for(ms(50));
    };
    at_every_moment(ESTABLISHING, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4685_acknowledgements_of_proposals_do_not_overtake_that_of_newleader() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 2);
        let epochs = world.report.established;
        world.slow_disk(0);
        let departures = world.departures();
        world.restart(0);
        world.run_for(ms(moment * 3));
        for _ in 0..5 {
            world.write_at(LEADER);
            world.run_for(ms(1));
        }
        world.run_for(ms(300));
        assert_eq!(world.report.established, epochs, "nobody gave up");
        assert_eq!(world.departures(), departures, "nobody had to begin anew");
    };
    at_every_moment(110, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4712_4541_nothing_of_an_old_role_reaches_the_disk_in_a_new_one() {
    let scenario = |world: &mut World, moment| {
        world.slow_disk(0);
        (0..5).for_each(|_| world.write_at(LEADER));
        world.run_for(ms(moment * 3));
        world.stop(LEADER, false);
        world.run_for(ms(moment));
        world.restart(LEADER);
        world.run_for(ms(200));
        (0..3).for_each(|node| world.write_at(node));
        world.run_for(ms(100));
    };
    at_every_moment(40, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4785_a_learner_bounced_within_a_diff_has_what_it_said_it_has() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 5);
        world.restart(0);
        world.run_for(ms(moment));
        world.stop(0, false);
        world.restart(0);
        world.run_for(ms(moment));
        world.stop(LEADER, true);
        world.run_for(ms(300));
        write(world, 1, 1);
    };
    at_every_moment(40, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_4882_a_disk_that_fails_once_leaves_no_hole_behind() {
    for call in [
        FaultyCall::Create,
        FaultyCall::Write,
        FaultyCall::Sync,
        FaultyCall::SyncDir,
    ] {
        let scenario = |world: &mut World, moment| {
            world.fail_disk(0, call, u32::try_from(moment / 4 + 1).unwrap());
            for _ in 0..4 {
                // What is written next makes a file, and a name.
                world.roll_log(0);
                write(world, LEADER, 2);
            }
            assert!(!world.is_running(0), "{call:?}");
            let doing = "writing the transaction log";
            assert!(world.died_of(0).starts_with(doing), "{}", world.died_of(0));
            world.restart(0);
            world.run_for(ms(100));
            // It leads, as the only one with all of it.
            world.stop(1, false);
            write(world, LEADER, 2);
            world.stop(LEADER, false);
            world.restart(1);
            world.run_for(ms(300));
            assert_eq!(world.leader(), Some(0), "{call:?}");
        };
        at_every_moment(12, scenario, || founded(0, MINDFUL));
    }
}

#[test]
pub(crate) fn zookeeper_4925_who_caught_up_and_leads_has_no_hole_in_its_memory() {
    let scenario = |world: &mut World, moment| {
        fall_behind(world, 0, 3);
        world.restart(0);
        world.run_for(ms(moment));
        for _ in 0..5 {
            world.write_at(LEADER);
            world.run_for(ms(1));
        }
        world.run_for(ms(60));
        world.stop(1, false);
        write(world, LEADER, 3);
        world.stop(LEADER, false);
        world.restart(1);
        world.run_for(ms(300));
        assert_eq!(world.leader(), Some(0));
        world.restart(LEADER);
        world.run_for(ms(100));
    };
    at_every_moment(40, scenario, || founded(0, MINDFUL));
}

#[test]
pub(crate) fn zookeeper_5094_an_interrupted_cut_leaves_no_memory_ahead_of_the_log() {
    let scenario = |world: &mut World, moment| {
        die_with_a_tail(world, 2);
        world.run_for(ms(900));
        let leader = world.leader().unwrap();
        write(world, leader, 1);
        world.heal();
        world.restart(LEADER);
        world.run_for(ms(moment));
        world.reset_links();
        world.run_for(ms(moment));
        world.stop(1, false);
        world.run_for(ms(300));
        world.write_at(LEADER);
        world.write_at(0);
        world.run_for(ms(50));
    };
    at_every_moment(40, scenario, || founded(0, MINDFUL));
}

/// A process ends between the rename of an epoch file and the fsync of the directory; the next one reads the new epoch.
/// There is no log yet, whose end recovery would have synced in the same directory.
#[test]
pub(crate) fn an_epoch_that_was_read_is_there_after_any_power_cut() {
    let scenario = |world: &mut World, moment| {
        // Chance takes another course each time: what of the names survives is its choice.
        world.run_for(ms(moment * 7));
        world.fail_disk(0, FaultyCall::SyncDir, 1);
        world.stop(LEADER, false);
        world.run_for(ms(900));
        assert!(!world.is_running(0), "an epoch was to be written");
        let doing = "writing version-2/acceptedEpoch";
        assert!(world.died_of(0).starts_with(doing), "{}", world.died_of(0));
        world.restart(0);
        world.run_for(ms(moment % 3));
        world.stop(0, true);
        world.restart(0);
        world.run_for(ms(100));
    };
    at_every_moment(30, scenario, || without_a_log(0, MINDFUL));
}

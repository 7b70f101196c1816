//! Reconfigurations that nobody finishes.

use std::time::Duration;

use zk_proto::quorum::ServerState;

use crate::{transcripts::quiet_with_spares, world::World};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Server 1 is the only voter, and the others are nothing (for [`World::propose_changes`]).
const ONE_ALONE: [(usize, u8); 2] = [(1, 3), (2, 3)];

/// An ensemble that server 1 leads alone, with server 4 beside it.
fn led_alone() -> World {
    let world = reconfigured(1, &ONE_ALONE);
    assert_eq!(world.leader(), Some(0));
    world
}

/// {1} is in force and {1, 4} is logged by both, and 4 has logged more than 1: nobody can lead but 4, and 4 is no voter
/// yet (simulator, seed 25416).
#[test]
pub(crate) fn a_voter_to_be_with_the_longest_history_is_elected() {
    let mut world = led_alone();
    world.cut_one_way(3, 0);
    world.propose_changes(0, &[(3, 0)]);
    world.run_for(ms(100));
    // Both have the configuration. What comes behind another write now, only 4 writes in time.
    world.slow_disk(0);
    for _ in 0..2 {
        world.write_at(0);
        world.run_for(ms(5));
    }
    world.stop(0, true);
    world.stop(3, false);
    world.come_to_rest();
    assert_eq!(world.leader(), Some(3), "it had the longest history");
}

/// An ensemble after its first reconfiguration, with the servers from 4 on beside it.
fn reconfigured(spares: usize, changes: &[(usize, u8)]) -> World {
    let mut world = quiet_with_spares(3, spares);
    (0..3 + spares).for_each(|node| world.restart(node));
    world.run_for(ms(900));
    world.propose_changes(world.leader().unwrap(), changes);
    world.run_for(ms(900));
    world
}

/// The leader proposes another configuration, which these do not hear of and server 4 does, with a write more than the
/// leader gets on its disk. Then all of them come back.
fn begin_and_lose_power(world: &mut World, changes: &[(usize, u8)], unaware: &[usize]) {
    let leader = world.leader().unwrap();
    for node in unaware {
        world.cut_one_way(leader, *node);
    }
    world.cut_one_way(3, leader);
    world.propose_changes(leader, changes);
    world.run_for(ms(100));
    // What comes behind another write now, only 4 writes in time.
    world.slow_disk(leader);
    for _ in 0..2 {
        world.write_at(leader);
        world.run_for(ms(5));
    }
    world.stop(leader, true);
    world.stop(3, false);
    for node in unaware {
        world.stop(*node, false);
    }
    world.come_to_rest();
    assert_ne!(world.leader(), Some(3), "not everybody knew it");
}

/// {1, 2} is in force and {1, 4} is on its way: 4 has more history than anybody who can be elected, and is needed. But
/// the next configuration cannot have come into force without 2, which never logged it (simulator, seed 56710).
#[test]
pub(crate) fn a_configuration_that_cannot_have_come_into_force_holds_nobody_up() {
    let mut world = reconfigured(1, &[(2, 3)]);
    let other = 1 - world.leader().unwrap();
    begin_and_lose_power(&mut world, &[(1, 3), (3, 0)], &[other]);
}

/// {1} is in force and {1, 3, 4, 5} is on its way: 4 has more history than 1, and neither the observer 3 nor 5 knows 4.
/// So it takes the promise of 3, which does not know that it is to vote (simulator, seed 56710).
#[test]
pub(crate) fn an_observer_that_is_to_become_a_voter_helps_to_begin_an_epoch() {
    let mut world = reconfigured(2, &[(1, 3), (2, 2)]);
    begin_and_lose_power(&mut world, &[(2, 0), (3, 0), (4, 0)], &[4]);
}

/// {2, 3} is in force and {1, 2, 3, 4, 5} is on its way, logged by all but 1 and 4, which observe, and 5 is gone. So 2 and
/// 3 need one of those, and observers' words on what they have logged do not count: who may come to vote follows as soon
/// as it knows that (simulator, seed 85548). Then it is known to others as a follower, so that who comes back joins.
#[test]
pub(crate) fn observers_that_are_to_become_voters_help_to_establish_an_epoch() {
    const OBSERVERS: [usize; 2] = [0, 3];
    let mut world = reconfigured(2, &[(0, 2), (3, 2)]);
    let leader = world.leader().unwrap();
    let other = 3 - leader;
    world.cut_one_way(other, leader);
    world.cut_one_way(4, leader);
    world.propose_changes(leader, &[(0, 0), (3, 0), (4, 0)]);
    world.run_for(ms(50));
    for node in [leader, other, 4] {
        world.stop(node, false);
    }
    world.heal();
    world.restart(leader);
    world.restart(other);
    for _ in 0..50 {
        world.run_for(ms(100));
    }
    let leader = world.leader().expect("without 5, too");
    let other = 3 - leader;
    let established = world.report.established;
    assert_eq!(
        OBSERVERS.map(|node| world.state_of(node)),
        [Some(ServerState::Following); 2]
    );
    // Those who lead and follow now are a quorum without it, and it is told so.
    world.stop(other, false);
    world.run_for(ms(20));
    world.restart(other);
    world.run_for(ms(300));
    assert!(world.is_serving(other), "{:?}", world.states());
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(
        world.report.established, established,
        "nobody elected anybody"
    );
    world.come_to_rest();
}

/// {1, 2, 3} is in force, {1, 2, 3, 4} is logged by 3 and by 4, which observes. 4 has promised 3 epochs that nobody else
/// knows, and 3 is gone: as a follower 4 would wait for ever for an epoch that is as late, as an observer it need not.
#[test]
pub(crate) fn a_voter_to_be_is_not_kept_out_by_what_it_has_promised() {
    const OBSERVER: usize = 3;
    let mut world = reconfigured(1, &[(OBSERVER, 2)]);
    let leader = world.leader().unwrap();
    let [one, other] = [0, 1].map(|at| (leader + 1 + at) % 3);
    world.cut_one_way(leader, one);
    world.cut_one_way(leader, other);
    world.propose_changes(leader, &[(OBSERVER, 0)]);
    world.run_for(ms(20));
    for node in [leader, one, other] {
        world.stop(node, false);
    }
    world.heal();
    let promised = world.accepted_epoch(one);
    let mut rounds = 0;
    while world.accepted_epoch(OBSERVER).0 < promised.0 + 4 {
        rounds += 1;
        assert!(rounds < 20, "{:?}", world.accepted_epoch(OBSERVER));
        world.restart(leader);
        world.restart(one);
        // At first the three begin an epoch, and only 4 hears what it begins with. After that only 4 hears of a new one.
        world.run_until(if rounds == 1 {
            "NEWLEADER"
        } else {
            "LEADERINFO"
        });
        world.cut_one_way(leader, one);
        world.run_for(ms(100));
        world.stop(leader, false);
        world.stop(one, false);
        world.heal();
        world.run_for(ms(100));
    }
    world.restart(one);
    world.restart(other);
    world.run_for(ms(3_000));
    assert!(world.accepted_epoch(one) < world.accepted_epoch(OBSERVER));
    assert!(world.is_serving(OBSERVER), "{:?}", world.states());
    world.come_to_rest();
}

/// The leader alone logs what is to come, and all lose their power; those that would be new never come back. Its history is
/// the longest of the three that are in force: the others must not wait for it for ever.
fn alone_with_what_is_to_come(stays: bool, joining: &[usize]) {
    let mut world = quiet_with_spares(3, 3);
    (0..6).for_each(|node| world.restart(node));
    world.run_for(ms(900));
    let leader = world.leader().unwrap();
    for other in (0..6).filter(|node| *node != leader) {
        world.cut_one_way(leader, other);
    }
    let leaving = (0..3).filter(|node| *node != leader || !stays);
    let joining = joining.iter().map(|node| (*node, 0));
    let changes: Vec<_> = leaving.map(|node| (node, 3)).chain(joining).collect();
    world.propose_changes(leader, &changes);
    assert_eq!(world.report.faults.len(), 1, "it was proposed");
    world.run_for(ms(100));
    (0..6).for_each(|node| world.stop(node, false));
    world.leave(&[3, 4, 5]);
    world.come_to_rest();
    assert_ne!(world.leader(), Some(leader), "one that knows less leads");
}

#[test]
pub(crate) fn a_configuration_that_one_knows_and_whose_new_voters_are_gone_holds_nobody_up() {
    alone_with_what_is_to_come(true, &[3, 4]);
}

#[test]
pub(crate) fn nor_does_one_that_leaves_out_who_knows_it() {
    alone_with_what_is_to_come(false, &[3, 4, 5]);
}

/// Nobody's files can be written. {1, 2, 3, 4, 5} is in force, and its leader, one more of the first three, 6 and 7 have
/// logged that these are members, too; they lose their power, and are no quorum of what is in force.
#[test]
pub(crate) fn a_configuration_in_force_is_not_forgotten_where_no_file_can_be_written() {
    let mut world = quiet_with_spares(3, 4);
    world.write_no_configurations();
    (0..7).for_each(|node| world.restart(node));
    world.run_for(ms(900));
    let leader = world.leader().unwrap();
    world.propose_changes(leader, &[(3, 0), (4, 0)]);
    world.run_for(ms(900));
    assert_eq!(world.leader(), Some(leader));
    let with_it = (leader + 1) % 3;
    let rack = [leader, with_it, 5, 6];
    let others = [(leader + 2) % 3, 3, 4];
    for one in rack {
        others.iter().for_each(|other| world.cut(one, *other));
    }
    world.propose_changes(leader, &[(5, 0), (6, 0)]);
    world.run_for(ms(100));
    rack.iter().for_each(|node| world.stop(*node, true));
    rack.iter().for_each(|node| world.restart(*node));
    world.run_for(ms(5_000));
    let leads = world.leader().unwrap();
    assert!(others.contains(&leads), "the rack is no quorum");
    let before = world.acknowledged();
    world.write_at(leads);
    world.run_for(ms(100));
    assert_eq!(world.acknowledged(), before + 1);
    assert!(rack.iter().all(|node| !world.leads(*node)));
    world.come_to_rest();
}

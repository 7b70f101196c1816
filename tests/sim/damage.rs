//! A member whose log is damaged starts without a vote, and has it again when a leader has synced it.

use std::time::Duration;

use crate::{transcripts::quiet, world::World};

/// The members; C leads at first.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn founded(memory: usize) -> World {
    let mut world = quiet(3, 0, memory, false);
    (0..3).for_each(|node| world.restart(node));
    world.run_for(ms(150));
    assert_eq!(world.leader(), Some(C));
    write(&mut world, C, 3);
    world
}

fn write(world: &mut World, node: usize, count: usize) {
    (0..count).for_each(|_| world.write_at(node));
    world.run_for(ms(50));
}

/// A and B have acknowledged what C has never heard of, and B leads.
fn ahead_of_c(memory: usize) -> World {
    let mut world = founded(memory);
    world.stop(C, false);
    world.run_for(ms(500));
    assert_eq!(world.leader(), Some(B));
    write(&mut world, A, 4);
    world
}

#[test]
fn a_damaged_member_is_synced_and_votes_again() {
    // With DIFF, and with SNAP.
    for memory in [500, 2] {
        let mut world = founded(memory);
        assert!(world.damage(A));
        world.restart(A);
        assert!(world.awaits_sync(A) && world.has_lost(A));
        world.run_for(ms(500));
        assert!(!world.awaits_sync(A), "it is synced");
        assert!(!world.has_lost(A), "and counts with what it has");
        write(&mut world, A, 2);
        // Its vote is needed now.
        world.stop(C, false);
        world.run_for(ms(1_000));
        assert_eq!(world.leader(), Some(B));
        write(&mut world, A, 2);
        world.come_to_rest();
    }
}

#[test]
pub(crate) fn what_only_a_damaged_member_and_an_absent_one_know_is_waited_for() {
    for memory in [500, 2] {
        let mut world = ahead_of_c(memory);
        world.stop(B, false);
        assert!(world.damage(A));
        world.restart(A);
        world.restart(C);
        for _ in 0..50 {
            world.run_for(ms(100));
            assert_eq!(world.leader(), None, "C lacks what A has forgotten");
        }
        assert!(world.awaits_sync(A));
        world.restart(B);
        world.come_to_rest();
        assert!(!world.awaits_sync(A));
    }
}

#[test]
fn a_leader_that_is_damaged_does_not_lead_by_the_votes_of_yesterday() {
    let mut world = founded(500);
    assert!(world.damage(C));
    world.restart(C);
    for _ in 0..100 {
        world.run_for(ms(10));
        assert_ne!(world.leader().filter(|_| world.awaits_sync(C)), Some(C));
    }
    world.come_to_rest();
}

#[test]
fn a_damaged_member_that_dies_while_it_is_synced_has_no_vote_before_it_is() {
    for memory in [500, 2] {
        for moment in 0..100 {
            let mut world = ahead_of_c(memory);
            assert!(world.damage(A));
            world.restart(C);
            world.restart(A);
            world.run_for(ms(moment));
            world.stop(A, true);
            world.restart(A);
            world.run_for(ms(moment % 7));
            world.stop(B, moment % 2 == 0);
            world.run_for(ms(300));
            world.come_to_rest();
        }
    }
}

/// An epoch that was followed was promised, though the file that says so is gone, and the log has nothing of it.
#[test]
fn a_promise_is_not_forgotten_with_its_file() {
    let mut world = founded(500);
    world.stop(C, false);
    world.run_for(ms(500));
    assert_eq!(world.leader(), Some(B));
    world.stop(A, false);
    world.forget_promise(A);
    // What it follows is asserted there, and what it has promised.
    world.restart(A);
    world.come_to_rest();
}

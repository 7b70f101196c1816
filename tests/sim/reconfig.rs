//! Reconfigurations that nobody finishes.

use std::time::Duration;

use crate::{transcripts::quiet_with_spares, world::World};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Server 1 is the only voter, and the others are nothing (for [`World::propose_changes`]).
const ONE_ALONE: [(usize, u8); 2] = [(1, 3), (2, 3)];

/// An ensemble that server 1 leads alone, with server 4 beside it.
fn led_alone() -> World {
    let mut world = quiet_with_spares(3, 1);
    (0..4).for_each(|node| world.restart(node));
    world.run_for(ms(900));
    let leader = world.leader().unwrap();
    world.propose_changes(leader, &ONE_ALONE);
    world.run_for(ms(900));
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

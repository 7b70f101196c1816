//! Every interleaving of a holder, up to three who write into its node, and three faults, with what the holder makes of what it sees.
//!
//! The steps are those of the keeper: it has a watch, is told that the data has changed, and looks again with a watch. Some of those who write
//! ask it to let go, and repeat that until it is answered; others write something else, once. A fault is: an answer to a write is lost, and
//! the write with it or not; the holder's connection is lost, which repeats a look that was on its way and, where the data has changed, fires the watch
//! (`SetWatches`); the holder is told something that has not happened. Checked in every state: nobody is told who was not
//! asked, and the hold goes on. Checked where nobody can take another step: whose node asks was told.

use std::collections::HashSet;

use super::{REQUEST, is_asked};

const OTHER: &[u8] = b"node-1";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Keeper {
    /// About to look; what came in the meantime is seen.
    Looking,
    /// With a watch that was left when the node had been written so often.
    Watching(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Writer {
    Asks,
    Writes,
    Done,
}

/// The writers are interchangeable, so they are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    keeper: Keeper,
    is_told: bool,
    /// Whether the node has ever held a request, and does now.
    was_asked: bool,
    asks: bool,
    written: u8,
    writers: Vec<Writer>,
    faults: u8,
}

impl World {
    fn data(&self) -> &'static [u8] {
        if self.asks { REQUEST } else { OTHER }
    }

    /// The keeper looks, leaving a watch.
    fn look(&mut self) {
        let before = self.is_told;
        self.is_told = is_asked(before, self.data());
        assert!(self.is_told || !before, "told, and not any more: {self:?}");
        self.keeper = Keeper::Watching(self.written);
    }

    fn step_of_keeper(&self) -> Option<Self> {
        let mut next = self.clone();
        match self.keeper {
            Keeper::Looking => next.look(),
            Keeper::Watching(written) if written != self.written => next.keeper = Keeper::Looking,
            Keeper::Watching(_) => return None,
        }
        Some(next)
    }

    fn carry_out(&mut self, writer: usize) {
        self.asks = self.writers[writer] == Writer::Asks;
        self.was_asked |= self.asks;
        self.written += 1;
    }

    fn step(&self, writer: usize) -> Vec<Self> {
        if self.writers[writer] == Writer::Done {
            return vec![];
        }
        let mut done = self.clone();
        done.carry_out(writer);
        done.writers[writer] = Writer::Done;
        if self.faults == 0 {
            return vec![done];
        }
        // Repeated where it asks; nobody repeats what only happens to be written.
        let (mut lost, mut unanswered) = (self.clone(), self.clone());
        unanswered.carry_out(writer);
        for world in [&mut lost, &mut unanswered] {
            world.faults -= 1;
            if world.writers[writer] == Writer::Writes {
                world.writers[writer] = Writer::Done;
            }
        }
        vec![done, lost, unanswered]
    }

    /// The keeper's connection is lost, or it is told of a change that there was not.
    fn hit(&self) -> Self {
        let mut world = self.clone();
        world.faults -= 1;
        world.keeper = Keeper::Looking;
        world
    }
}

fn explore(asking: usize, writing: usize) -> usize {
    let mut writers = vec![Writer::Asks; asking];
    writers.resize(asking + writing, Writer::Writes);
    let start = World {
        keeper: Keeper::Looking,
        is_told: false,
        was_asked: false,
        asks: false,
        written: 0,
        writers,
        faults: 3,
    };
    let (mut known, mut open) = (HashSet::new(), vec![start]);
    while let Some(mut world) = open.pop() {
        world.writers.sort_unstable();
        if !known.insert(world.clone()) {
            continue;
        }
        assert!(world.was_asked || !world.is_told, "nobody asked: {world:?}");
        let writes = (0..world.writers.len()).flat_map(|writer| world.step(writer));
        let steps: Vec<_> = writes.chain(world.step_of_keeper()).collect();
        if steps.is_empty() {
            assert!(
                world.is_told || !world.asks,
                "asked and not told: {world:?}"
            );
            assert!(world.is_told || asking == 0 || writing > 0, "{world:?}");
        }
        open.extend(steps);
        if world.faults > 0 {
            open.push(world.hit());
        }
    }
    known.len()
}

#[test]
fn whoever_is_asked_is_told_and_nobody_else_in_any_interleaving() {
    let mut states = 0;
    for (asking, writing) in [(1, 0), (3, 0), (1, 1), (1, 2), (2, 1), (0, 3)] {
        states += explore(asking, writing);
    }
    assert!(states > 500, "{states}");
}

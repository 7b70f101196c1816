//! How a difference is told.

use std::fmt;

use crate::{neutral::Heard, script::Step};

/// How many of the last steps are shown.
const LAST: usize = 15;
/// How many earlier steps about the same nodes are shown.
const RELATED: usize = 25;

/// The first step that the two servers answered differently, and the way there.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) seed: u64,
    pub(crate) done: Vec<Step>,
    pub(crate) step: Step,
    pub(crate) left: Vec<Heard>,
    pub(crate) right: Vec<Heard>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.done.len();
        let (recent, related) = (at.saturating_sub(LAST), self.related());
        writeln!(f, "a difference at step {at} of ZK_DIFF_SEED={}", self.seed)?;
        writeln!(f, "--- earlier steps about the same nodes")?;
        for n in related.into_iter().filter(|n| *n < recent) {
            writeln!(f, "{n:>6} {}", self.done[n])?;
        }
        writeln!(f, "--- the last steps")?;
        for (n, step) in self.done.iter().enumerate().skip(recent) {
            writeln!(f, "{n:>6} {step}")?;
        }
        writeln!(f, "--- and then\n{at:>6} {}", self.step)?;
        for n in 0..self.left.len().max(self.right.len()) {
            let (left, right) = (self.left.get(n), self.right.get(n));
            if left == right {
                writeln!(f, "  both: {left:?}")?;
            } else {
                writeln!(f, "  left: {left:?}\n right: {right:?}")?;
            }
        }
        Ok(())
    }
}

impl Difference {
    fn related(&self) -> Vec<usize> {
        let paths = self.step.paths();
        let related = self.done.iter().enumerate().rev().filter(|(_, step)| {
            step.paths()
                .iter()
                .any(|path| path.len() > 1 && paths.contains(path))
        });
        let mut related: Vec<usize> = related.map(|(n, _)| n).take(RELATED).collect();
        related.reverse();
        related
    }
}

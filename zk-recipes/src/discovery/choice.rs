//! Which of several instances is next.
//!
//! Pure: given those that may be used, in the order of their nodes, and what was chosen before.

use std::{collections::HashMap, time::Duration};

use fastrand::Rng;

/// How an instance is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    #[default]
    RoundRobin,
    Random,
    Sticky,
}

/// How many errors within how long take an instance out of use, for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct DownPolicy {
    pub(super) errors: u32,
    pub(super) rest: Duration,
}

impl Default for DownPolicy {
    /// Curator's: two errors, 30 s.
    fn default() -> Self {
        let (errors, rest) = (2, Duration::from_secs(30));
        Self { errors, rest }
    }
}

/// What was chosen before, and what went wrong with it.
#[derive(Debug)]
pub(super) struct Choice {
    strategy: Strategy,
    down: DownPolicy,
    rng: Rng,
    next: usize,
    /// To whom one sticks.
    current: Option<String>,
    /// Errors by instance: how many, and since when.
    errors: HashMap<String, (u32, Duration)>,
}

impl Choice {
    pub(super) fn new(strategy: Strategy, down: DownPolicy, seed: u64) -> Self {
        Self {
            strategy,
            down,
            rng: Rng::with_seed(seed),
            next: 0,
            current: None,
            errors: HashMap::new(),
        }
    }

    /// The place of the next one in the list; `None` where there is none that may be used.
    pub(super) fn pick(&mut self, ids: &[&str], now: Duration) -> Option<usize> {
        let rest = self.down.rest;
        self.errors.retain(|id, (_, since)| {
            now.saturating_sub(*since) < rest && ids.contains(&id.as_str())
        });
        let up: Vec<_> = (0..ids.len())
            .filter(|place| ids.get(*place).is_some_and(|id| !self.is_down(id)))
            .collect();
        if up.is_empty() {
            self.current = None;
            return None;
        }
        let place = match self.strategy {
            Strategy::Random => *up.get(self.rng.usize(..up.len()))?,
            Strategy::RoundRobin => self.next_of(&up)?,
            Strategy::Sticky => {
                let current = self.current.as_deref();
                let kept = up
                    .iter()
                    .copied()
                    .find(|place| ids.get(*place).copied() == current);
                match kept {
                    Some(place) => place,
                    None => *up.get(self.rng.usize(..up.len()))?,
                }
            }
        };
        self.current = ids.get(place).map(|id| (*id).to_owned());
        Some(place)
    }

    fn next_of(&mut self, up: &[usize]) -> Option<usize> {
        let place = up.get(self.next % up.len()).copied();
        self.next = self.next.wrapping_add(1);
        place
    }

    /// Something went wrong with this one.
    pub(super) fn note_error(&mut self, id: &str, now: Duration) {
        let (errors, since) = self.errors.entry(id.to_owned()).or_insert((0, now));
        if now.saturating_sub(*since) >= self.down.rest {
            (*errors, *since) = (0, now);
        }
        *errors += 1;
    }

    /// In how long the next one has rested that is left out now.
    pub(super) fn next_rested(&self, now: Duration) -> Option<Duration> {
        let down = self.errors.iter().filter(|(id, _)| self.is_down(id));
        let left =
            down.map(|(_, (_, since))| self.down.rest.saturating_sub(now.saturating_sub(*since)));
        left.min()
    }

    fn is_down(&self, id: &str) -> bool {
        let errors = self.errors.get(id);
        errors.is_some_and(|(errors, _)| *errors >= self.down.errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["a", "b", "c"];

    fn picks(choice: &mut Choice, ids: &[&str], now: u64) -> String {
        let now = Duration::from_secs(now);
        (0..6)
            .filter_map(|_| choice.pick(ids, now).map(|place| ids[place]))
            .collect()
    }

    fn choice(strategy: Strategy) -> Choice {
        Choice::new(strategy, DownPolicy::default(), 7)
    }

    #[test]
    fn round_robin_gives_everybody_a_turn() {
        let mut choice = choice(Strategy::RoundRobin);
        assert_eq!(picks(&mut choice, &IDS, 0), "abcabc");
        assert_eq!(picks(&mut choice, &["a", "c"], 0), "acacac");
        assert_eq!(picks(&mut choice, &[], 0), "");
    }

    #[test]
    fn random_gives_everybody_a_share() {
        let mut choice = choice(Strategy::Random);
        let mut counts = [0_u32; 3];
        for _ in 0..3000 {
            counts[choice.pick(&IDS, Duration::ZERO).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn sticky_stays_until_it_has_to_go() {
        let mut choice = choice(Strategy::Sticky);
        let first = IDS[choice.pick(&IDS, Duration::ZERO).unwrap()];
        assert_eq!(picks(&mut choice, &IDS, 0), first.repeat(6));
        let others: Vec<_> = IDS.into_iter().filter(|id| *id != first).collect();
        let second = others[choice.pick(&others, Duration::ZERO).unwrap()];
        // The first one is back, and nobody moves for that.
        assert_eq!(picks(&mut choice, &IDS, 0), second.repeat(6));
    }

    #[test]
    fn errors_take_an_instance_out_for_a_while() {
        let mut choice = choice(Strategy::RoundRobin);
        choice.note_error("b", Duration::ZERO);
        assert_eq!(picks(&mut choice, &IDS, 1), "abcabc");
        choice.note_error("b", Duration::from_secs(1));
        assert_eq!(picks(&mut choice, &IDS, 2), "acacac");
        assert_eq!(picks(&mut choice, &IDS, 30), "abcabc");
        // Errors that are far apart do not count together.
        for now in [100, 140, 180] {
            choice.note_error("c", Duration::from_secs(now));
        }
        assert_eq!(picks(&mut choice, &IDS, 181), "abcabc");
    }

    #[test]
    fn errors_take_an_instance_out_for_good_where_that_is_asked_for() {
        let (errors, rest) = (2, Duration::MAX);
        let down = DownPolicy { errors, rest };
        let mut choice = Choice::new(Strategy::RoundRobin, down, 7);
        for now in [5, 1_000_000] {
            choice.note_error("b", Duration::from_secs(now));
        }
        assert_eq!(picks(&mut choice, &IDS, 1_000_000_000), "acacac");
    }
}

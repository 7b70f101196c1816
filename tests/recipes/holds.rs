//! Who was certain to hold what, and from when until when: judged after the run.

use std::time::Duration;

use parking_lot::Mutex;

use crate::world::now;

/// What one hold tolerates beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Alone,
    /// Others of this mode.
    Shared,
}

/// Every hold of a run.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    holds: Mutex<Vec<Hold>>,
}

/// From the grant to the last time that its holder asked and was told that it still holds.
#[derive(Debug, Clone)]
struct Hold {
    who: String,
    mode: Mode,
    granted: Duration,
    certain: Duration,
}

/// A hold that goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(usize);

impl Holds {
    pub(crate) fn granted(&self, who: &str, mode: Mode) -> Ticket {
        let mut holds = self.holds.lock();
        let (granted, certain) = (now(), now());
        holds.push(Hold {
            who: who.to_owned(),
            mode,
            granted,
            certain,
        });
        Ticket(holds.len() - 1)
    }

    /// The holder asked, and it still holds.
    pub(crate) fn certain(&self, Ticket(place): Ticket) {
        self.holds.lock()[place].certain = now();
    }

    pub(crate) fn count(&self) -> usize {
        self.holds.lock().len()
    }

    /// Who was certain at this time or later.
    pub(crate) fn certain_since(&self, time: Duration) -> Vec<String> {
        let holds = self.holds.lock();
        let lately = holds.iter().filter(|hold| hold.certain >= time);
        lately.map(|hold| hold.who.clone()).collect()
    }

    /// How many were certain at once, at most.
    pub(crate) fn most(&self) -> usize {
        let holds = self.holds.lock();
        let at_its_end = |hold| holds.iter().filter(|other| other.spans(hold)).count();
        holds.iter().map(at_its_end).max().unwrap_or_default()
    }

    /// Of those granted in this time: every moment at which more than `most` of them were certain.
    pub(crate) fn beyond(&self, most: usize, from: Duration, until: Duration) -> Vec<String> {
        let granted = |hold: &&Hold| hold.granted >= from && hold.granted < until;
        let those = self.holds.lock().iter().filter(granted).cloned().collect();
        let those = Self {
            holds: Mutex::new(those),
        };
        those.violations(most)
    }

    /// Every moment at which more than `most` were certain, or one that has to be alone was not.
    pub(crate) fn violations(&self, most: usize) -> Vec<String> {
        let holds = self.holds.lock();
        let at_its_end = |hold: &Hold| {
            let with: Vec<&Hold> = holds.iter().filter(|other| other.spans(hold)).collect();
            let alone = with.iter().any(|hold| hold.mode == Mode::Alone);
            let told: Vec<_> = with.iter().map(|hold| hold.told()).collect();
            (with.len() > most || alone && with.len() > 1).then(|| told.join(" and "))
        };
        holds.iter().filter_map(at_its_end).collect()
    }
}

impl Hold {
    /// Whether this one was certain when the other one ended; each of a set that overlaps spans the end of the first to end.
    fn spans(&self, other: &Self) -> bool {
        self.granted < other.certain && self.certain >= other.certain
    }

    fn told(&self) -> String {
        let Self {
            who,
            mode,
            granted,
            certain,
        } = self;
        format!("{who} {mode:?} from {granted:?} until {certain:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(spans: &[(u64, u64, Mode)]) -> Holds {
        let hold = |&(granted, certain, mode): &(u64, u64, Mode)| Hold {
            who: String::new(),
            mode,
            granted: Duration::from_millis(granted),
            certain: Duration::from_millis(certain),
        };
        Holds {
            holds: Mutex::new(spans.iter().map(hold).collect()),
        }
    }

    #[test]
    fn overlaps_are_seen() {
        use Mode::{Alone, Shared};
        let one_after_another = holds(&[(0, 5, Alone), (5, 9, Alone)]);
        assert_eq!(one_after_another.violations(1), [""; 0]);
        assert!(
            !holds(&[(0, 5, Alone), (4, 9, Alone)])
                .violations(1)
                .is_empty()
        );
        assert!(
            !holds(&[(0, 9, Alone), (4, 5, Shared)])
                .violations(9)
                .is_empty()
        );
        assert!(
            !holds(&[(4, 5, Shared), (0, 9, Alone)])
                .violations(9)
                .is_empty()
        );
        let shared = [(0, 5, Shared), (4, 9, Shared), (3, 7, Shared)];
        assert_eq!(holds(&shared).violations(3), [""; 0]);
        assert!(!holds(&shared).violations(2).is_empty());
    }
}

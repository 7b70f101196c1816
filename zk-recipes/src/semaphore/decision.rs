//! Whether there is room for one more lease, and whether an existing one counts: pure.
//!
//! Invariant, shown by enumeration: while the count stays the same, never more leases are granted than that, whatever
//! is created in whatever order; so safety does not rest on the mutex, which is there for order and to save wake-ups.
//! (That holds where leases are numbered. kazoo's are not; there the mutex and its fence are all there is.)

use std::cmp::Ordering;

use super::layout::number;

/// What a lease that exists is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is one of those that are allowed.
    Granted,
    /// It is one too many.
    Over,
    /// It does not exist any more.
    Lost,
}

/// Whether one more may be created.
pub(super) fn has_room(leases: usize, count: u32) -> bool {
    leases < allowed(count)
}

/// Whether the lease called `me` is one of the first `count`.
///
/// What was created after it does not matter: it sees this one before it. A child without a number counts as older.
pub(super) fn verdict(leases: &[String], me: &str, count: u32) -> Verdict {
    if !leases.iter().any(|lease| lease == me) {
        return Verdict::Lost;
    }
    let before = leases.iter().filter(|other| is_before(other, me)).count();
    match before < allowed(count) {
        true => Verdict::Granted,
        false => Verdict::Over,
    }
}

fn is_before(other: &str, me: &str) -> bool {
    match (number(other), number(me)) {
        (Some(theirs), Some(mine)) => theirs.order(mine) == Ordering::Less,
        (_, _) => other != me,
    }
}

fn allowed(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[i32]) -> Vec<String> {
        numbers
            .iter()
            .map(|number| format!("_c_x-lease-{number:010}"))
            .collect()
    }

    #[test]
    fn the_first_count_leases_are_granted() {
        let leases = names(&[7, 9, 8]);
        let judge = |place: usize, count| verdict(&leases, &leases[place], count);
        assert_eq!(
            [0, 1, 2].map(|place| judge(place, 2)),
            [Verdict::Granted, Verdict::Over, Verdict::Granted]
        );
        assert_eq!(judge(0, 0), Verdict::Over);
        assert_eq!(verdict(&leases, "_c_x-lease-0000000010", 9), Verdict::Lost);
        assert!(has_room(1, 2) && !has_room(2, 2) && !has_room(0, 0));
    }

    #[test]
    fn a_lease_without_a_number_counts() {
        let mut leases = names(&[1]);
        leases.push("somebody".into());
        assert_eq!(verdict(&leases, &leases[0], 1), Verdict::Over);
        assert_eq!(verdict(&leases, &leases[0], 2), Verdict::Granted);
        assert_eq!(verdict(&leases, "somebody", 2), Verdict::Granted);
    }

    /// Four contenders, each of which creates, looks, gives back or goes, in every order; three of them may vanish
    /// (a session expires, somebody deletes) without a word.
    #[test]
    fn never_more_than_count_are_granted_in_any_order() {
        for count in 1..=3 {
            let start = State {
                held: [Stage::Out; 4],
                next: i32::MAX - 1,
                faults: 3,
            };
            let mut seen = std::collections::HashSet::new();
            let mut open = vec![start];
            while let Some(state) = open.pop() {
                if !seen.insert(state.clone()) {
                    continue;
                }
                let granted = state
                    .held
                    .iter()
                    .filter(|held| matches!(held, Stage::Granted(_)));
                assert!(granted.count() <= allowed(count), "{state:?} with {count}");
                open.extend(state.successors(count));
            }
            assert!(seen.len() > 100, "{}", seen.len());
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum Stage {
        Out,
        Created(i32),
        Granted(i32),
    }

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct State {
        held: [Stage; 4],
        next: i32,
        faults: u8,
    }

    impl State {
        fn leases(&self) -> Vec<String> {
            let number = |held: &Stage| match held {
                Stage::Out => None,
                Stage::Created(number) | Stage::Granted(number) => Some(*number),
            };
            names(&self.held.iter().filter_map(number).collect::<Vec<_>>())
        }

        /// Every step that anybody may take. No mutex holds anybody back; at most six leases are created in all.
        fn successors(&self, count: u32) -> Vec<Self> {
            let mut successors = Vec::new();
            let mut step = |place: usize, to: Stage, next: i32, faults: u8| {
                let mut state = Self {
                    next,
                    faults,
                    ..self.clone()
                };
                state.held[place] = to;
                successors.push(state);
            };
            for (place, held) in self.held.into_iter().enumerate() {
                match held {
                    Stage::Out if self.next.wrapping_sub(i32::MAX - 1) < 6 => {
                        step(
                            place,
                            Stage::Created(self.next),
                            self.next.wrapping_add(1),
                            self.faults,
                        );
                    }
                    Stage::Created(number) => {
                        let me = &names(&[number])[0];
                        match verdict(&self.leases(), me, count) {
                            Verdict::Granted => {
                                step(place, Stage::Granted(number), self.next, self.faults)
                            }
                            _ => step(place, Stage::Out, self.next, self.faults),
                        }
                    }
                    Stage::Granted(_) => step(place, Stage::Out, self.next, self.faults),
                    Stage::Out => {}
                }
                if held != Stage::Out && self.faults > 0 {
                    step(place, Stage::Out, self.next, self.faults - 1);
                }
            }
            successors
        }
    }
}

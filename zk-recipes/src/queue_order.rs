//! Whose turn it is: the decision that every queueing recipe makes from one list of children.
//!
//! A contender owns one sequential node. It holds when no contender that blocks it was created before its own; otherwise
//! it watches the nearest one before it and looks again when that goes away, so that a release wakes one contender only.
//!
//! Invariants: pure and total; exactly one contender of a list is told [`Turn::Holder`]; following the predecessors from
//! any contender leads to the holder.
//! Not here: which children are contenders (a recipe's layout), and waiting.

use std::cmp::Ordering;

use crate::sequential::Sequence;

/// One child of a queueing recipe's directory that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender<'a> {
    pub(crate) name: &'a str,
    pub(crate) sequence: Sequence,
}

/// What a contender does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn<'a> {
    /// Nobody is before it.
    Holder,
    /// This contender is directly before it: look again when it is gone.
    WatchPredecessor(&'a str),
    /// Its own node is not among the children any more.
    Lost,
}

impl Contender<'_> {
    /// The order of the queue: by number, and by name between equal numbers: a server hands them out once, a downgrade uses them again.
    fn order(&self, other: &Self) -> Ordering {
        (self.sequence.order(other.sequence)).then_with(|| self.name.cmp(other.name))
    }
}

/// Whether the contender called `me` holds, waits, or is gone.
///
/// Compares everyone with `me` only, so that a directory with numbers more than 2^31 apart cannot confuse a sort.
pub(crate) fn turn<'a>(contenders: &[Contender<'a>], me: &str) -> Turn<'a> {
    let Some(mine) = contenders.iter().find(|contender| contender.name == me) else {
        return Turn::Lost;
    };
    contenders
        .iter()
        .filter(|other| other.order(mine) == Ordering::Less)
        .max_by(|a, b| nearer(a, b, mine))
        .map_or(Turn::Holder, |before| Turn::WatchPredecessor(before.name))
}

/// Which of two contenders before `mine` is closer to it.
fn nearer(a: &Contender<'_>, b: &Contender<'_>, mine: &Contender<'_>) -> Ordering {
    let distance = |contender: &Contender<'_>| contender.sequence.since(mine.sequence);
    (distance(a).cmp(&distance(b))).then_with(|| a.name.cmp(b.name))
}

/// Puts contenders into the order of the queue, the holder first.
///
/// The numbers are measured from one of the contenders, so that the order is total whatever the directory holds.
pub(crate) fn sort(contenders: &mut [Contender<'_>]) {
    let Some(origin) = contenders.first().map(|contender| contender.sequence) else {
        return;
    };
    contenders.sort_by_key(|contender| (contender.sequence.since(origin), contender.name));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contenders<'a>(names: &[&'a str]) -> Vec<Contender<'a>> {
        let parse = |name: &&'a str| {
            Sequence::after_last(name, ":").map(|sequence| Contender { name, sequence })
        };
        names.iter().filter_map(parse).collect()
    }

    fn check(names: &[&str], me: &str, expected: Turn<'_>) {
        assert_eq!(
            turn(&contenders(names), me),
            expected,
            "{me} among {names:?}"
        );
    }

    #[test]
    fn the_lowest_number_holds_and_each_other_watches_the_one_before_it() {
        let names = ["z:0000000001", "b:0000000010", "a:0000000009"];
        check(&names, "z:0000000001", Turn::Holder);
        check(
            &names,
            "a:0000000009",
            Turn::WatchPredecessor("z:0000000001"),
        );
        check(
            &names,
            "b:0000000010",
            Turn::WatchPredecessor("a:0000000009"),
        );
        check(&names, "c:0000000011", Turn::Lost);
        check(&[], "a:0000000000", Turn::Lost);
        check(&["a:0000000000"], "a:0000000000", Turn::Holder);
    }

    #[test]
    fn the_queue_goes_on_across_the_wrap() {
        let names = [
            "a:2147483646",
            "b:2147483647",
            "c:-2147483648",
            "d:-2147483647",
        ];
        check(&names, "a:2147483646", Turn::Holder);
        check(
            &names,
            "c:-2147483648",
            Turn::WatchPredecessor("b:2147483647"),
        );
        check(
            &names,
            "d:-2147483647",
            Turn::WatchPredecessor("c:-2147483648"),
        );
    }

    #[test]
    fn equal_numbers_are_ordered_by_name() {
        let names = ["b:0000000001", "a:0000000001"];
        check(&names, "a:0000000001", Turn::Holder);
        check(
            &names,
            "b:0000000001",
            Turn::WatchPredecessor("a:0000000001"),
        );
    }

    #[test]
    fn four_contenders_in_every_arrangement_agree_on_the_holder() {
        let starts = [0, 7, i32::MAX - 1, -2, i32::MIN];
        for (start, arrangement) in starts
            .iter()
            .flat_map(|start| permutations(4).into_iter().map(move |p| (start, p)))
        {
            let names: Vec<_> = (arrangement.iter())
                .map(|&place| format!("{}:{:010}", 9 - place, start.wrapping_add(place)))
                .collect();
            let all: Vec<&str> = names.iter().map(String::as_str).collect();
            for present in 0..16_usize {
                let some: Vec<_> = (0..4)
                    .filter(|bit| present >> bit & 1 == 1)
                    .map(|bit| all[bit])
                    .collect();
                assert_queue(&some);
            }
        }
    }

    /// The predecessors form one chain through everybody, in the order of the queue, and end at the only holder.
    fn assert_queue(names: &[&str]) {
        let mut queue = contenders(names);
        sort(&mut queue);
        for (place, contender) in queue.iter().enumerate() {
            let expected = match place.checked_sub(1) {
                None => Turn::Holder,
                Some(before) => Turn::WatchPredecessor(queue[before].name),
            };
            assert_eq!(
                turn(&contenders(names), contender.name),
                expected,
                "{names:?}"
            );
        }
    }

    fn permutations(n: i32) -> Vec<Vec<i32>> {
        if n == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(n - 1);
        shorter
            .iter()
            .flat_map(|rest| {
                (0..=rest.len()).map(|at| {
                    let mut longer = rest.clone();
                    longer.insert(at, n - 1);
                    longer
                })
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_window_of_numbers_makes_one_queue(start: i32, offsets in proptest::collection::btree_set(0..i32::MAX, 0..12)) {
            let names: Vec<_> = offsets.iter().map(|offset| format!("x:{:010}", start.wrapping_add(*offset))).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_queue(&names);
        }

        #[test]
        fn numbers_from_anywhere_never_panic(numbers in proptest::collection::vec(any::<i32>(), 0..12)) {
            let names: Vec<_> = numbers.iter().map(|number| format!("x:{number:010}")).collect();
            let mut queue: Vec<_> = names.iter().map(String::as_str).collect::<Vec<_>>().as_slice().iter().filter_map(|name| {
                Sequence::after_last(name, ":").map(|sequence| Contender { name, sequence })
            }).collect();
            sort(&mut queue);
            for contender in &queue {
                let _ = turn(&queue, contender.name);
            }
        }
    }
}

//! Which items can be taken, and in which order.
//!
//! Pure and total. An item's name is `entry-{priority}-{seq}`; the smallest priority comes first, and of equal ones the one
//! that was put first.

use std::collections::HashSet;

use crate::sequential::Sequence;

/// What the name of an item begins with.
const ENTRY: &str = "entry-";
/// What the name of one begins with that is not to be had yet.
const DUE: &str = "due-";
/// What the items of recipes begin with that keep them in the queue's own directory: kazoo's `Queue`, Curator's
/// `SimpleDistributedQueue` and ZooKeeper's own recipe, Curator's `DistributedQueue`.
const FOREIGN: [&str; 3] = ["entry-", "qn-", "queue-"];

/// An item's name, taken apart.
#[derive(Debug, Clone, Copy)]
struct Item<'n> {
    name: &'n str,
    priority: u16,
    sequence: Sequence,
}

/// An item that is not to be had before a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delayed<'n> {
    /// In milliseconds since 1970, by the leader's clock.
    pub(super) due: i64,
    pub(super) name: &'n str,
    pub(super) priority: u16,
}

/// What the name of an item begins with that is due at `due`; the server completes it.
pub(super) fn delayed_prefix(due: i64, priority: u16) -> String {
    format!("{DUE}{due:013}-{priority:03}-")
}

/// Those that are not to be had yet, the first that is due first, and of equal ones the one that was put first.
pub(super) fn delayed(names: &[String]) -> Vec<Delayed<'_>> {
    let mut all: Vec<_> = (names.iter().filter_map(|name| delayed_item(name))).collect();
    all.sort();
    all
}

fn delayed_item(name: &str) -> Option<Delayed<'_>> {
    let (due, rest) = name.strip_prefix(DUE)?.split_once('-')?;
    let (priority, _) = number(rest)?;
    let digits = due.bytes().all(|byte| byte.is_ascii_digit());
    Some(Delayed {
        due: digits.then(|| due.parse().ok())??,
        name,
        priority,
    })
}

/// What the name of an item with this priority begins with; the server completes it.
pub(super) fn prefix(priority: u16) -> String {
    format!("{ENTRY}{priority:03}-")
}

/// The priority in the name of an item.
pub(super) fn priority(name: &str) -> Option<u16> {
    Some(item(name)?.priority)
}

fn item(name: &str) -> Option<Item<'_>> {
    let (priority, sequence) = number(name.strip_prefix(ENTRY)?)?;
    Some(Item {
        name,
        priority,
        sequence,
    })
}

/// The priority and the number at the end of a name.
fn number(rest: &str) -> Option<(u16, Sequence)> {
    let (priority, sequence) = rest.split_once('-')?;
    let digits = priority.len() == 3 && priority.bytes().all(|byte| byte.is_ascii_digit());
    let priority = digits.then(|| priority.parse().ok())??;
    Some((priority, Sequence::parse(sequence)?))
}

/// A child of the queue's own directory that is another recipe's item.
pub(super) fn foreign(children: &[String]) -> Option<&str> {
    let foreign = |name: &&String| FOREIGN.iter().any(|prefix| name.starts_with(prefix));
    children.iter().find(foreign).map(String::as_str)
}

/// The items that nobody has claimed, in the order in which to take them.
///
/// The numbers are measured from one of the items, so that the order is total whatever the directory holds, and goes on
/// across the wrap of the counter.
pub(super) fn available<'n>(entries: &'n [String], taken: &[String]) -> Vec<&'n str> {
    let taken: HashSet<&str> = taken.iter().map(String::as_str).collect();
    let mut items: Vec<_> = (entries.iter().filter_map(|name| item(name))).collect();
    let Some(origin) = items.first().map(|item| item.sequence) else {
        return Vec::new();
    };
    items.retain(|item| !taken.contains(item.name));
    items.sort_by_key(|item| (item.priority, item.sequence.since(origin), item.name));
    items.into_iter().map(|item| item.name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_smallest_priority_comes_first_and_then_the_oldest() {
        let entries = names(&[
            "entry-100-0000000002",
            "entry-100-0000000001",
            "entry-005-0000000009",
            "entry-999-0000000000",
            "something else",
        ]);
        let taken = names(&["entry-100-0000000001", "0191b1c8"]);
        assert_eq!(
            available(&entries, &taken),
            [
                "entry-005-0000000009",
                "entry-100-0000000002",
                "entry-999-0000000000"
            ]
        );
        assert_eq!(available(&entries, &entries), [""; 0]);
        assert_eq!(available(&[], &taken), [""; 0]);
    }

    #[test]
    fn the_queue_goes_on_across_the_wrap() {
        let entries = names(&["entry-100--2147483648", "entry-100-2147483647"]);
        assert_eq!(
            available(&entries, &[]),
            ["entry-100-2147483647", "entry-100--2147483648"]
        );
    }

    #[test]
    fn every_set_of_claims_leaves_the_others_in_order() {
        let all: Vec<_> = (0..4)
            .map(|n| format!("entry-{:03}-{n:010}", 100 - n / 2))
            .collect();
        let order = [2, 3, 0, 1];
        for claims in 0..16_usize {
            let taken: Vec<_> = (0..4)
                .filter(|n| claims >> n & 1 == 1)
                .map(|n| all[n].clone())
                .collect();
            let left: Vec<_> = (order.into_iter().filter(|n| claims >> n & 1 == 0))
                .map(|n| all[n].as_str())
                .collect();
            assert_eq!(available(&all, &taken), left);
        }
    }

    #[test]
    fn the_first_that_is_due_comes_first() {
        let all = names(&[
            "due-1700000000001-100-0000000001",
            "due-0000000000007-999-0000000003",
            "due-x-100-0000000001",
            "due-1700000000001-100-0000000000",
            "entry-100-0000000001",
        ]);
        let delayed = delayed(&all);
        let found: Vec<_> = (delayed.iter())
            .map(|item| (item.due, item.priority))
            .collect();
        assert_eq!(
            found,
            [(7, 999), (1_700_000_000_001, 100), (1_700_000_000_001, 100)]
        );
        assert_eq!(delayed[1].name, "due-1700000000001-100-0000000000");
    }

    #[test]
    fn items_of_recipes_that_delete_what_they_hand_out_are_foreign() {
        for name in ["entry-100-0000000001", "qn-0000000001", "queue-0000000001"] {
            assert_eq!(foreign(&names(&["taken", name])), Some(name));
        }
        assert_eq!(foreign(&names(&["entries", "taken", "puts", "dead"])), None);
    }

    proptest! {
        #[test]
        fn own_names_are_items(number: u16, sequence: i32) {
            let number = number % 1000;
            let name = format!("{}{sequence:010}", prefix(number));
            prop_assert_eq!(priority(&name), Some(number));
        }

        #[test]
        fn own_names_are_delayed(due in 0..i64::MAX, number in 0..1000_u16, sequence: i32) {
            let all = [format!("{}{sequence:010}", delayed_prefix(due, number))];
            let found: Vec<_> = (delayed(&all).iter()).map(|item| (item.due, item.priority)).collect();
            prop_assert_eq!(found, [(due, number)]);
        }

        #[test]
        fn any_names_are_answered(entries: Vec<String>, taken: Vec<String>) {
            let _ = available(&entries, &taken);
            let _ = foreign(&entries);
            let _ = delayed(&entries);
        }
    }
}

//! Which items are a member's: pure.
//!
//! Invariant: the shares of all members of one set are disjoint, their union is all items, and their sizes differ by one at
//! most. Members that see different sets may be given the same item; that only one of them has it is the locks' work.

use std::{collections::BTreeSet, sync::Arc};

/// The items of this member: every n-th, from its own place among the n members on. None where it is no member.
pub(super) fn share(
    members: &BTreeSet<String>,
    me: &str,
    items: &BTreeSet<Arc<str>>,
) -> Vec<Arc<str>> {
    let Some(place) = members.iter().position(|member| member == me) else {
        return Vec::new();
    };
    let mine = items.iter().skip(place).step_by(members.len());
    mine.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> BTreeSet<String> {
        (0..count).map(|place| format!("member-{place}")).collect()
    }

    /// The subset of six items that the bits of a number choose.
    fn items(bits: u32) -> BTreeSet<Arc<str>> {
        let chosen = (0..6).filter(|place| bits & (1 << place) != 0);
        chosen.map(|place| format!("item-{place}").into()).collect()
    }

    #[test]
    fn shares_are_disjoint_complete_and_balanced() {
        for count in 1..=4 {
            let members = members(count);
            for bits in 0..64 {
                let items = items(bits);
                let shares: Vec<_> = (members.iter())
                    .map(|me| share(&members, me, &items))
                    .collect();
                let all: Vec<_> = shares.iter().flatten().cloned().collect();
                let union: BTreeSet<_> = all.iter().cloned().collect();
                assert_eq!(all.len(), union.len(), "disjoint: {shares:?}");
                assert_eq!(union, items, "complete: {shares:?}");
                let sizes = || shares.iter().map(Vec::len);
                let (least, most) = (sizes().min().unwrap(), sizes().max().unwrap());
                assert!(most - least <= 1, "balanced: {shares:?}");
            }
        }
    }

    #[test]
    fn who_is_no_member_has_nothing() {
        assert!(share(&members(3), "member-3", &items(63)).is_empty());
        assert!(share(&BTreeSet::new(), "member-0", &items(63)).is_empty());
    }
}

//! What a member of a double barrier does next, given what it sees.
//!
//! ```text
//!   /job                          data: the number of the round that members come to now, in decimal; empty counts as 0
//!   /job/0000000007-5-{uuid}      a member of round 7 that waits for 5 to come, ephemeral; its data says who
//! ```
//!
//! Round 7 is open, and its members have entered, when the number is larger than 7.
//!
//! Invariants: pure and total. A round is opened only with the nodes of enough members, the decider's among them; leaving is
//! done only when no member of the round is left.

/// What a member that enters does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Enter<'c> {
    /// The round is open: it has entered.
    Entered,
    /// Its node is gone: it begins anew, in the present round.
    Anew,
    /// There are too few; who comes last opens.
    Wait,
    /// Open the round, if these are still there.
    Open(Vec<&'c str>),
}

/// What a member that leaves does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave<'c> {
    /// Nobody is left.
    Done,
    /// Delete the own node, and look again.
    Delete,
    /// Look again when this one is gone.
    Watch(&'c str),
}

/// The name of a member's node.
pub(super) fn name(round: u64, count: usize, guid: &str) -> String {
    format!("{round:010}-{count}-{guid}")
}

/// The round of a member and the number that it waits for, by the name of its node.
fn member(name: &str) -> Option<(u64, usize)> {
    let (round, rest) = name.split_once('-')?;
    let (count, guid) = rest.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // A guid of Curator's begins with eight digits at most, kazoo's has no dash.
    (round.len() >= 10 && guid.len() == 36 && digits(round) && digits(count))
        .then(|| Some((round.parse().ok()?, count.parse().ok()?)))?
}

/// The round of a member, by the name of its node.
pub(super) fn round_of(name: &str) -> Option<u64> {
    Some(member(name)?.0)
}

/// Another number than `count` that a member of this round waits for.
pub(super) fn other_count(children: &[String], round: u64, count: usize) -> Option<usize> {
    let mut members = children.iter().filter_map(|name| member(name));
    let other = members.find(|(at, told)| *at == round && *told != count);
    other.map(|(_, told)| told)
}

/// The number in the barrier's node.
pub(super) fn parse(data: &[u8]) -> Option<u64> {
    match data {
        [] => Some(0),
        _ => std::str::from_utf8(data).ok()?.parse().ok(),
    }
}

/// A child that is no member of any round.
pub(super) fn foreign(children: &[String]) -> Option<&str> {
    let foreign = |name: &&String| round_of(name).is_none();
    children.iter().find(foreign).map(String::as_str)
}

/// The members of a round, the first one first.
fn members(children: &[String], round: u64) -> Vec<&str> {
    let mut members: Vec<_> = (children.iter().map(String::as_str))
        .filter(|name| round_of(name) == Some(round))
        .collect();
    members.sort_unstable();
    members
}

/// What the member `me` of `round` does, where `present` is the number in the barrier's node.
pub(super) fn enter<'c>(
    (present, round): (u64, u64),
    me: &str,
    children: &'c [String],
    count: usize,
) -> Enter<'c> {
    let members = members(children, round);
    match members.iter().position(|name| *name == me) {
        // Gone, and perhaps before the round was opened: nobody can tell, so it does not count.
        None => Enter::Anew,
        Some(_) if present > round => Enter::Entered,
        Some(_) if present < round => Enter::Anew,
        Some(_) if members.len() < count => Enter::Wait,
        Some(at) => {
            let mut enough = members;
            // The own node first, whoever else is left out.
            enough.swap(0, at);
            enough.truncate(count.max(1));
            Enter::Open(enough)
        }
    }
}

/// What the member `me` of `round`, whose node may be gone, does to leave.
pub(super) fn leave<'c>(round: u64, me: &str, children: &'c [String]) -> Leave<'c> {
    let members = members(children, round);
    match members.as_slice() {
        [] => Leave::Done,
        [first, .., last] if *first == me => Leave::Watch(last),
        members if members.contains(&me) => Leave::Delete,
        [first, ..] => Leave::Watch(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0191b1c8-5d3f-4c0e-9d3a-3f1f5a2b4c6";

    fn guid(member: usize) -> String {
        format!("{GUID}{member}")
    }

    #[test]
    fn members_of_other_recipes_are_foreign() {
        for name in [
            "ready",
            "0191b1c85d3f7c0e9d3a3f1f5a2b4c6d",
            "0191b1c8-5d3f-7c0e-9d3a-3f1f5a2b4c6d",
            "00000000-5d3f-7c0e-9d3a-3f1f5a2b4c6d",
        ] {
            assert_eq!(foreign(&[name.to_owned()]), Some(name));
        }
        assert_eq!(foreign(&[name(7, 3, &guid(1))]), None);
        assert_eq!(
            member(&name(12_345_678_901, 4, &guid(1))),
            Some((12_345_678_901, 4))
        );
    }

    #[test]
    fn another_count_is_seen_in_the_same_round_only() {
        let children = [name(7, 3, &guid(1)), name(8, 2, &guid(2))];
        assert_eq!(other_count(&children, 7, 3), None);
        assert_eq!(other_count(&children, 8, 3), Some(2));
        assert_eq!(other_count(&children, 9, 3), None);
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(parse(b""), Some(0));
        assert_eq!(parse(b"41"), Some(41));
        assert_eq!(parse(b"host"), None);
        assert_eq!(parse(b"-1"), None);
    }
}

//! Sequence numbers: what a server appends to the name of a sequential node.
//!
//! ZooKeeper formats the parent's creation counter, a signed 32-bit number, with `%010d`
//! (`PrepRequestProcessor.pRequest2TxnCreate`) and lets it wrap: after `2147483647` comes `-2147483648`. So names are
//! neither all of one length nor in string order, and numbers are compared by their distance.
//!
//! Invariant: every function is total for any string, ASCII or not.
//! Not here: what stands before the number; that is a recipe's layout.

use std::{cmp::Ordering, fmt};

/// The number at the end of a sequential node's name.
///
/// Has no `Ord`: before and after make sense only for numbers less than 2^31 apart, as those of nodes that live at the
/// same time are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sequence(i32);

impl Sequence {
    /// Reads a whole string as `%010d` prints a number: ten digits or more, or a minus sign and nine or more.
    ///
    /// A number beyond 32 bits is taken modulo 2^32, so that a server with a wider counter (ZOOKEEPER-4706) is still
    /// ordered rightly.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, least) = match text.strip_prefix('-') {
            Some(digits) => (digits, 9),
            None => (text, 10),
        };
        if digits.len() < least || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let wide: i64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the counter wraps at 32 bits"
        )]
        Some(Self(wide as i32))
    }

    /// The number that follows the last `infix` in `name`, if nothing else follows it.
    pub(crate) fn after_last(name: &str, infix: &str) -> Option<Self> {
        name.rsplit_once(infix)
            .and_then(|(_, number)| Self::parse(number))
    }

    /// How many creations `self` is after `earlier`; negative if it came before.
    pub(crate) const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The order of creation, wrap included.
    pub(crate) fn order(self, other: Self) -> Ordering {
        self.since(other).cmp(&0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<i32>) {
        assert_eq!(Sequence::parse(text), expected.map(Sequence), "{text:?}");
    }

    #[test]
    fn numbers_are_read_as_the_server_prints_them() {
        check("0000000000", Some(0));
        check("0000000042", Some(42));
        check("2147483647", Some(i32::MAX));
        check("-2147483648", Some(i32::MIN));
        check("-000000001", Some(-1));
        check("-0000000001", Some(-1));
        check("2147483648", Some(i32::MIN));
        check("00000000004294967301", Some(5));
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in [
            "",
            "-",
            "42",
            "000000001",
            "-00000001",
            "00000000x1",
            "+0000000001",
            "0000000001 ",
            "--000000001",
            "٠٠٠٠٠٠٠٠٠١",
            "99999999999999999999999999",
            "ключ0000000001",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn the_last_infix_counts() {
        assert_eq!(
            Sequence::after_last("a-lock-b-lock-0000000007", "-lock-"),
            Some(Sequence(7))
        );
        assert_eq!(
            Sequence::after_last("_c_x-lock--2147483648", "-lock-"),
            Some(Sequence(i32::MIN))
        );
        assert_eq!(Sequence::after_last("_c_x-lock-", "-lock-"), None);
        assert_eq!(
            Sequence::after_last("замок-lock-0000000001é", "-lock-"),
            None
        );
        assert_eq!(
            Sequence::after_last("замок-lock-0000000001", "-lock-"),
            Some(Sequence(1))
        );
    }

    #[test]
    fn order_survives_the_wrap() {
        let (last, first) = (Sequence(i32::MAX), Sequence(i32::MIN));
        assert_eq!(first.since(last), 1);
        assert_eq!(last.order(first), Ordering::Less);
        assert_eq!(Sequence(-1).order(Sequence(0)), Ordering::Less);
        assert_eq!(Sequence(9).order(Sequence(10)), Ordering::Less);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(number: i32) {
            prop_assert_eq!(Sequence::parse(&Sequence(number).to_string()), Some(Sequence(number)));
        }

        #[test]
        fn any_string_is_answered(text: String, infix in "[-_a-zé]{0,6}") {
            let _ = Sequence::parse(&text);
            let _ = Sequence::after_last(&text, &infix);
        }

        #[test]
        fn later_is_later(start: i32, steps in 1i32..i32::MAX) {
            let (early, late) = (Sequence(start), Sequence(start.wrapping_add(steps)));
            prop_assert_eq!(early.order(late), Ordering::Less);
            prop_assert_eq!(late.order(early), Ordering::Greater);
        }
    }
}

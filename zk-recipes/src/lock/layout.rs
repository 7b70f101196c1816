//! How contenders of a lock are named, and with whose lock recipe that is compatible.
//!
//! | layout | our node | safe in one directory with |
//! |---|---|---|
//! | `Curator` | `_c_{uuid}-lock-{seq}` | Curator's `InterProcessMutex`, go-zookeeper's `Lock`, the crate `zookeeper-client` |
//! | `Kazoo` | `{uuid}__lock__{seq}` | kazoo's `Lock` |
//!
//! Curator puts a kazoo node into its queue by its whole name, random identifier first, and kazoo does not see Curator's
//! nodes at all, so the two never work in one directory. Neither does a mutex beside a read-write lock.
//! A contender of another family is therefore refused, not skipped: skipping it would hand out the lock twice.

use crate::{queue_order::Contender, sequential::Sequence};

/// Whose names the contenders of a lock bear, and so with whose lock recipe it can be shared.
///
/// Everybody who uses one lock must use the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LockLayout {
    /// `_c_{uuid}-lock-{seq}`: shared with Apache Curator's `InterProcessMutex` and what follows it (go-zookeeper,
    /// the crate `zookeeper-client`). The default.
    #[default]
    Curator,
    /// `{uuid}__lock__{seq}`: shared with kazoo's `Lock`.
    Kazoo,
}

/// What stands before the number in the names of lock recipes that queue: a mutex's of either family, read-write locks'
/// of either family, and `WriteLock`'s of ZooKeeper's own recipes (`x-{session}-`).
const FAMILIES: [&str; 5] = ["lock-", "__lock__", "__rlock__", "__READ__", "__WRIT__"];

/// What a child of a lock's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// One of this layout's contenders.
    Contender(Sequence),
    /// A contender of a lock recipe that this layout cannot be mixed with.
    Foreign,
    /// No contender at all.
    Unknown,
}

impl LockLayout {
    /// The name of a contender's node before the server appends the number; also what a lost create is looked up by.
    pub(crate) fn name(self, guid: &str) -> String {
        match self {
            Self::Curator => format!("_c_{guid}-lock-"),
            Self::Kazoo => format!("{}__lock__", guid.replace('-', "")),
        }
    }

    /// Tells contenders, foreign contenders and everything else apart.
    pub(crate) fn classify(self, child: &str) -> Child {
        let mine = match self {
            Self::Curator => "lock-",
            Self::Kazoo => "__lock__",
        };
        match Sequence::after_last(child, mine) {
            Some(sequence) => Child::Contender(sequence),
            None if is_foreign(child) => Child::Foreign,
            None => Child::Unknown,
        }
    }

    /// The contenders among `children`, in no order, or the name of a foreign one.
    pub(crate) fn contenders(self, children: &[String]) -> Result<Vec<Contender<'_>>, &str> {
        let mut contenders = Vec::with_capacity(children.len());
        for name in children {
            match self.classify(name) {
                Child::Contender(sequence) => contenders.push(Contender { name, sequence }),
                Child::Foreign => return Err(name),
                Child::Unknown => {}
            }
        }
        Ok(contenders)
    }
}

/// Whether the name is a contender's in one of the lock recipes that are known.
fn is_foreign(child: &str) -> bool {
    let family = |infix: &&str| Sequence::after_last(child, infix).is_some();
    let write_lock = || child.starts_with("x-") && Sequence::after_last(child, "-").is_some();
    FAMILIES.iter().any(family) || write_lock()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUID: &str = "0191b1c8-5d3f-7c0e-9d3a-3f1f5a2b4c6d";

    fn check(layout: LockLayout, name: &str, contender: Option<i64>) {
        let expected = contender.and_then(|number| Sequence::parse(&format!("{number:010}")));
        match layout.classify(name) {
            Child::Contender(sequence) => assert_eq!(Some(sequence), expected, "{name}"),
            other => assert_eq!(expected, None, "{name} is {other:?}"),
        }
    }

    #[test]
    fn each_family_is_ordered_by_its_own_layout() {
        check(
            LockLayout::Curator,
            &format!("_c_{GUID}-lock-0000000003"),
            Some(3),
        );
        check(
            LockLayout::Curator,
            "_c_f3b1c85d3f7c0e9d3a3f1f5a2b4c6d00-lock-0000000004",
            Some(4),
        );
        check(LockLayout::Curator, "lock-0000000005", Some(5));
        check(
            LockLayout::Curator,
            &format!("_c_{GUID}-lock--2147483648"),
            Some(-2_147_483_648),
        );
        check(
            LockLayout::Kazoo,
            "f3b1c85d3f7c0e9d3a3f1f5a2b4c6d00__lock__0000000006",
            Some(6),
        );
        check(
            LockLayout::Kazoo,
            "f3b1c85d3f7c0e9d3a3f1f5a2b4c6d00__lock__-2147483648",
            Some(-2_147_483_648),
        );
    }

    #[test]
    fn contenders_of_another_family_are_foreign() {
        for name in [
            "ab__lock__0000000001",
            "ab__rlock__0000000001",
            "_c_x-__READ__0000000001",
            "x-72057594-0000000001",
        ] {
            assert_eq!(LockLayout::Curator.classify(name), Child::Foreign, "{name}");
        }
        for name in [
            "_c_x-lock-0000000001",
            "ab__rlock__0000000001",
            "_c_x-__WRIT__0000000001",
        ] {
            assert_eq!(LockLayout::Kazoo.classify(name), Child::Foreign, "{name}");
        }
    }

    #[test]
    fn everything_else_is_ignored() {
        for name in [
            "",
            "leases",
            "lock-",
            "lock-12",
            "config0000000001x",
            "замок",
            "ключ__lock__1",
            "x-files",
        ] {
            assert_eq!(LockLayout::Curator.classify(name), Child::Unknown, "{name}");
            assert_eq!(LockLayout::Kazoo.classify(name), Child::Unknown, "{name}");
        }
    }

    #[test]
    fn a_foreign_contender_is_named() {
        let children = ["leases", "_c_x-lock-0000000001", "ab__lock__0000000002"].map(String::from);
        assert_eq!(
            LockLayout::Curator.contenders(&children),
            Err("ab__lock__0000000002")
        );
        assert_eq!(
            LockLayout::Curator
                .contenders(&children[..2])
                .map(|all| all.len()),
            Ok(1)
        );
    }

    #[test]
    fn our_names_are_those_of_the_recipes_we_share_with() {
        assert_eq!(
            LockLayout::Curator.name(GUID),
            "_c_0191b1c8-5d3f-7c0e-9d3a-3f1f5a2b4c6d-lock-"
        );
        assert_eq!(
            LockLayout::Kazoo.name(GUID),
            "0191b1c85d3f7c0e9d3a3f1f5a2b4c6d__lock__"
        );
    }

    proptest! {
        #[test]
        fn own_names_are_contenders(guid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", number: i32) {
            for layout in [LockLayout::Curator, LockLayout::Kazoo] {
                let name = format!("{}{number:010}", layout.name(&guid));
                prop_assert!(matches!(layout.classify(&name), Child::Contender(_)));
            }
        }

        #[test]
        fn any_name_is_answered(name: String) {
            let _ = LockLayout::Curator.classify(&name);
            let _ = LockLayout::Kazoo.classify(&name);
        }
    }
}

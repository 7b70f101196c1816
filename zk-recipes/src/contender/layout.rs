//! How contenders are named, who blocks whom, and with whose recipes that is compatible.
//!
//! | recipe | `Curator` | `Kazoo` |
//! |---|---|---|
//! | mutex | `_c_{uuid}-lock-{seq}`: `InterProcessMutex`, `LeaderSelector`, go-zookeeper's `Lock`, the crate `zookeeper-client` | `{uuid}__lock__{seq}`: `Lock` |
//! | read-write lock | `_c_{uuid}-__READ__{seq}`, `_c_{uuid}-__WRIT__{seq}`: `InterProcessReadWriteLock` | `{uuid}__rlock__{seq}`, `{uuid}__lock__{seq}`: `ReadLock`, `WriteLock` |
//! | leadership | `_c_{uuid}-latch-{seq}`: `LeaderLatch` | `{uuid}__lock__{seq}`: `Election` |
//!
//! Curator puts a kazoo node into its queue by its whole name, random identifier first, and kazoo does not see Curator's
//! nodes at all, so the two never work in one directory. Neither does a mutex beside a read-write lock.
//! A contender of another family is therefore refused, not skipped: skipping it would hand out the lock twice.
//! What cannot be told apart cannot be refused: kazoo's mutex, writer and candidate bear the same name.

use crate::{queue_order::Contender, sequential::Sequence};

/// Whose names the contenders bear, and so with whose recipe of the same kind a path can be shared.
///
/// Everybody who uses one path must use the same layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LockLayout {
    /// Apache Curator's names, as of `InterProcessMutex`, `InterProcessReadWriteLock`, `InterProcessSemaphoreV2` and
    /// `LeaderLatch`; go-zookeeper and the crate `zookeeper-client` follow them. The default.
    #[default]
    Curator,
    /// kazoo's names, as of `Lock`, `ReadLock`, `WriteLock`, `Semaphore` and `Election`.
    Kazoo,
}

/// What a contender in a queue wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The only holder.
    Mutex,
    /// One of the readers.
    Read,
    /// The only writer, without readers.
    Write,
    /// The only leader.
    Leader,
}

/// The names of one role in one layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    role: Role,
    layout: LockLayout,
}

/// What stands before the number in the names of recipes that queue: mutexes', read-write locks' and latches' of either
/// family. (`WriteLock` of ZooKeeper's own recipes is called `x-{session}-`.)
const FAMILIES: [&str; 6] = [
    "lock-",
    "__lock__",
    "__rlock__",
    "__READ__",
    "__WRIT__",
    "latch-",
];

/// What a child of a queue's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// One of this recipe's contenders, and whether it blocks those behind it that have the asking role.
    Contender { sequence: Sequence, blocks: bool },
    /// A contender of a recipe that this one cannot be mixed with.
    Foreign,
    /// No contender at all.
    Unknown,
}

impl LockLayout {
    /// What a name begins with, before the mark: the random identifier that a lost create is looked up by.
    pub(crate) fn protection(self, guid: &str) -> String {
        match self {
            Self::Curator => format!("_c_{guid}-"),
            Self::Kazoo => guid.replace('-', ""),
        }
    }

    /// What stands between the identifier and the number.
    const fn mark(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::Curator, Role::Mutex) => "lock-",
            (Self::Curator, Role::Read) => "__READ__",
            (Self::Curator, Role::Write) => "__WRIT__",
            (Self::Curator, Role::Leader) => "latch-",
            (Self::Kazoo, Role::Mutex | Role::Write | Role::Leader) => "__lock__",
            (Self::Kazoo, Role::Read) => "__rlock__",
        }
    }
}

impl Naming {
    pub(crate) const fn new(role: Role, layout: LockLayout) -> Self {
        Self { role, layout }
    }

    pub(crate) const fn layout(self) -> LockLayout {
        self.layout
    }

    /// The name of a contender's node before the server appends the number; also what a lost create is looked up by.
    pub(crate) fn name(self, guid: &str) -> String {
        let Self { role, layout } = self;
        format!("{}{}", layout.protection(guid), layout.mark(role))
    }

    /// Whether a child with this name is one of this recipe's contenders.
    pub(crate) fn is_contender(self, child: &str) -> bool {
        matches!(self.classify(child), Child::Contender { .. })
    }

    /// Tells contenders, foreign contenders and everything else apart.
    pub(crate) fn classify(self, child: &str) -> Child {
        let marked = |role| Sequence::after_last(child, self.layout.mark(role));
        let (own, other) = match self.role {
            Role::Read => (marked(Role::Read), marked(Role::Write)),
            Role::Write => (marked(Role::Write), marked(Role::Read)),
            role => (marked(role), None),
        };
        match (own, other) {
            (Some(sequence), _) => Child::Contender {
                sequence,
                blocks: self.role != Role::Read,
            },
            // Readers and writers block each other, whoever asks.
            (None, Some(sequence)) => Child::Contender {
                sequence,
                blocks: true,
            },
            (None, None) if is_foreign(child) => Child::Foreign,
            (None, None) => Child::Unknown,
        }
    }

    /// Those among `children` that may block `me`, and `me` itself, in no order; or the name of a foreign one.
    pub(crate) fn contenders<'c>(
        self,
        children: &'c [String],
        me: &str,
    ) -> Result<Vec<Contender<'c>>, &'c str> {
        let mut contenders = Vec::with_capacity(children.len());
        for name in children {
            match self.classify(name) {
                Child::Contender { sequence, blocks } if blocks || name == me => {
                    contenders.push(Contender { name, sequence });
                }
                Child::Foreign => return Err(name),
                Child::Contender { .. } | Child::Unknown => {}
            }
        }
        Ok(contenders)
    }
}

/// What a writer's node is called when it becomes a reader's: the same identifier and number, so that it keeps its place.
pub(crate) fn downgraded(writer: &str) -> Option<String> {
    [LockLayout::Curator, LockLayout::Kazoo]
        .into_iter()
        .find_map(|layout| {
            let mark = layout.mark(Role::Write);
            Sequence::after_last(writer, mark)?;
            let (protection, number) = writer.rsplit_once(mark)?;
            Some(format!("{protection}{}{number}", layout.mark(Role::Read)))
        })
}

/// Whether the name is a contender's in one of the recipes that are known.
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

    const fn mutex(layout: LockLayout) -> Naming {
        Naming::new(Role::Mutex, layout)
    }

    fn check(layout: LockLayout, name: &str, contender: Option<i64>) {
        let expected = contender.and_then(|number| Sequence::parse(&format!("{number:010}")));
        match mutex(layout).classify(name) {
            Child::Contender { sequence, .. } => assert_eq!(Some(sequence), expected, "{name}"),
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
            "_c_x-latch-0000000001",
            "x-72057594-0000000001",
        ] {
            assert_eq!(
                mutex(LockLayout::Curator).classify(name),
                Child::Foreign,
                "{name}"
            );
        }
        for name in [
            "_c_x-lock-0000000001",
            "ab__rlock__0000000001",
            "_c_x-__WRIT__0000000001",
        ] {
            assert_eq!(
                mutex(LockLayout::Kazoo).classify(name),
                Child::Foreign,
                "{name}"
            );
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
            assert_eq!(
                mutex(LockLayout::Curator).classify(name),
                Child::Unknown,
                "{name}"
            );
            assert_eq!(
                mutex(LockLayout::Kazoo).classify(name),
                Child::Unknown,
                "{name}"
            );
        }
    }

    #[test]
    fn a_foreign_contender_is_named() {
        let children = ["leases", "_c_x-lock-0000000001", "ab__lock__0000000002"].map(String::from);
        assert_eq!(
            mutex(LockLayout::Curator).contenders(&children, ""),
            Err("ab__lock__0000000002")
        );
        assert_eq!(
            mutex(LockLayout::Curator)
                .contenders(&children[..2], "")
                .map(|all| all.len()),
            Ok(1)
        );
    }

    #[test]
    fn our_names_are_those_of_the_recipes_we_share_with() {
        assert_eq!(
            mutex(LockLayout::Curator).name(GUID),
            "_c_0191b1c8-5d3f-7c0e-9d3a-3f1f5a2b4c6d-lock-"
        );
        assert_eq!(
            mutex(LockLayout::Kazoo).name(GUID),
            "0191b1c85d3f7c0e9d3a3f1f5a2b4c6d__lock__"
        );
    }

    fn blockers(naming: Naming, me: &str) -> Vec<String> {
        let children = [1, 2, 3, 4].map(|place| {
            let role = [Role::Read, Role::Write][place % 2];
            format!(
                "{}{place:010}",
                Naming::new(role, naming.layout()).name(GUID)
            )
        });
        let found = naming.contenders(&children, me).unwrap();
        found
            .iter()
            .map(|contender| contender.name[contender.name.len() - 1..].to_owned())
            .collect()
    }

    #[test]
    fn a_downgraded_writer_keeps_its_place() {
        let names = [
            "_c_x-__WRIT__0000000003",
            "ab__lock__-2147483648",
            "ab__rlock__0000000001",
        ];
        let downgraded = names.map(downgraded);
        assert_eq!(downgraded[0].as_deref(), Some("_c_x-__READ__0000000003"));
        assert_eq!(downgraded[1].as_deref(), Some("ab__rlock__-2147483648"));
        assert_eq!(downgraded[2], None);
    }

    #[test]
    fn writers_are_blocked_by_all_and_readers_by_writers() {
        for layout in [LockLayout::Curator, LockLayout::Kazoo] {
            let (read, write) = (
                Naming::new(Role::Read, layout),
                Naming::new(Role::Write, layout),
            );
            let me = format!("{}{:010}", read.name(GUID), 4);
            assert_eq!(
                blockers(read, &me),
                ["1", "3", "4"],
                "the writers, and the asking reader"
            );
            assert_eq!(blockers(write, ""), ["1", "2", "3", "4"]);
        }
    }

    proptest! {
        #[test]
        fn own_names_are_contenders(guid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", number: i32) {
            for layout in [LockLayout::Curator, LockLayout::Kazoo] {
                for role in [Role::Mutex, Role::Read, Role::Write, Role::Leader] {
                    let naming = Naming::new(role, layout);
                    let name = format!("{}{number:010}", naming.name(&guid));
                    let is_contender = matches!(naming.classify(&name), Child::Contender { .. });
                    prop_assert!(is_contender);
                }
            }
        }

        #[test]
        fn any_name_is_answered(name: String) {
            let _ = mutex(LockLayout::Curator).classify(&name);
            let _ = mutex(LockLayout::Kazoo).classify(&name);
        }
    }
}

//! Where a semaphore keeps its mutex and its leases.
//!
//! | | mutex | lease | count |
//! |---|---|---|---|
//! | `Curator` | `{path}/locks`, Curator's mutex | `{path}/leases/_c_{uuid}-lease-{seq}` | everybody's own, or a `SharedCount` |
//! | `Kazoo` | `{path}-__lock__`, kazoo's mutex | `{path}/{uuid}` | text in `{path}` |

use std::sync::Arc;

use crate::{contender::EntryName, lock::LockLayout, parents::child, sequential::Sequence};

/// What stands before the number in the name of a lease of Curator's.
const LEASE: &str = "lease-";

/// The directories of one semaphore.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) mutex: String,
    pub(super) leases: Arc<str>,
}

impl Paths {
    pub(super) fn new(path: &str, layout: LockLayout) -> Self {
        match layout {
            LockLayout::Curator => Self {
                mutex: child(path, "locks"),
                leases: child(path, "leases").into(),
            },
            LockLayout::Kazoo => Self {
                mutex: format!("{path}-__lock__"),
                leases: path.into(),
            },
        }
    }
}

/// The name of a lease's node.
pub(super) fn lease(layout: LockLayout, guid: &str) -> EntryName {
    match layout {
        LockLayout::Curator => EntryName::Sequential(format!("{}{LEASE}", layout.protection(guid))),
        LockLayout::Kazoo => EntryName::Exact(layout.protection(guid)),
    }
}

/// The number of a lease of Curator's.
pub(super) fn number(lease: &str) -> Option<Sequence> {
    Sequence::after_last(lease, LEASE)
}

/// Whether the node's name is that of a lease of Curator's.
pub(super) fn is_lease(name: &str) -> bool {
    number(name).is_some()
}

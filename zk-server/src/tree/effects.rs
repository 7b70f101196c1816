//! What a transaction leaves behind besides the new tree: events for those who watch, and the answer.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::{ErrorCode, Perms, Stat, Utf8Bytes, watch::EventType};

use super::{acl_cache::AclList, path::last_slash};
use crate::auth::Credentials;

/// Something happened to a node.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    path: Utf8Bytes,
    /// How much of `path` is the node's own: events about a parent share the child's path.
    len: usize,
    acl: Arc<AclList>,
}

impl Event {
    /// The node's path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.len {
            0 => "/",
            len => &self.path[..len],
        }
    }

    /// Whether a watcher with these credentials may hear of it: whether it may read the node, by the ACL that the
    /// node had when this happened (CVE-2024-23944).
    #[must_use]
    pub fn readable_by(&self, credentials: &Credentials) -> bool {
        self.acl.allows(Perms::READ, credentials)
    }
}

/// The events of one transaction, in the order in which Apache fires them; a buffer to be used again.
#[derive(Debug, Default)]
pub struct Effects {
    events: Vec<Event>,
}

impl Effects {
    /// No events yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The events, first to last.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Forgets the events and keeps the memory.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    pub(super) fn push(&mut self, kind: EventType, path: &Utf8Bytes, acl: Arc<AclList>) {
        self.events.push(Event {
            kind,
            path: path.clone(),
            len: path.len(),
            acl,
        });
    }

    /// The children of the parent of `path` changed.
    pub(super) fn push_parent(&mut self, path: &Utf8Bytes, acl: Arc<AclList>) {
        self.events.push(Event {
            kind: EventType::NodeChildrenChanged,
            path: path.clone(),
            len: last_slash(path).unwrap_or(0),
            acl,
        });
    }
}

/// What became of a transaction: the matter of the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// A node was created.
    Created {
        /// Its path.
        path: Utf8Bytes,
        /// Its Stat, where the answer has one: not for create (type 1).
        stat: Option<Stat>,
    },
    /// A node was deleted.
    Deleted,
    /// A node's data or ACL was set.
    Set {
        /// Its Stat afterwards.
        stat: Stat,
    },
    /// The ensemble's configuration was set (`reconfig`).
    Reconfigured {
        /// Its text.
        data: Option<Bytes>,
        /// Its node's Stat afterwards.
        stat: Stat,
    },
    /// A version was checked, inside a multi.
    Checked,
    /// A session began.
    SessionCreated,
    /// A session ended.
    SessionClosed,
    /// Several changes, or, if any is an error, none: then all of them are.
    Multi(Vec<Self>),
    /// Nothing was changed.
    Error(ErrorCode),
}

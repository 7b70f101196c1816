//! Who owns nodes: sessions their ephemerals, and the server those it removes itself.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::{SessionId, create_mode::EphemeralOwner};

/// The sessions, and the nodes that will go without a client's delete.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Timeouts in milliseconds. Ordered, so that snapshots of equal trees are equal.
    pub(super) sessions: BTreeMap<SessionId, i32>,
    ephemerals: BTreeMap<SessionId, BTreeSet<u32>>,
    containers: BTreeSet<u32>,
    ttls: BTreeSet<u32>,
    ephemeral_count: usize,
}

impl Owners {
    /// Enters a node that was created.
    pub(super) fn add(&mut self, owner: EphemeralOwner, id: u32) {
        match owner {
            EphemeralOwner::Persistent => {}
            EphemeralOwner::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(id);
                self.ephemeral_count += 1;
            }
            EphemeralOwner::Container => {
                self.containers.insert(id);
            }
            EphemeralOwner::Ttl { .. } => {
                self.ttls.insert(id);
            }
        }
    }

    /// Strikes a node that was deleted.
    pub(super) fn remove(&mut self, owner: EphemeralOwner, id: u32) {
        match owner {
            EphemeralOwner::Persistent => {}
            EphemeralOwner::Session(session) => {
                if let Some(nodes) = self.ephemerals.get_mut(&session) {
                    self.ephemeral_count -= usize::from(nodes.remove(&id));
                    if nodes.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            EphemeralOwner::Container => {
                self.containers.remove(&id);
            }
            EphemeralOwner::Ttl { .. } => {
                self.ttls.remove(&id);
            }
        }
    }

    /// A session's ephemeral nodes.
    pub(super) fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = u32> + '_ {
        self.ephemerals.get(&session).into_iter().flatten().copied()
    }

    /// The sessions that own ephemeral nodes.
    pub(super) fn ephemeral_sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.ephemerals.keys().copied()
    }

    /// How many ephemeral nodes there are.
    pub(super) const fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// The container nodes, then the TTL nodes.
    pub(super) fn reapable(&self) -> impl Iterator<Item = u32> + '_ {
        self.containers.iter().chain(&self.ttls).copied()
    }
}

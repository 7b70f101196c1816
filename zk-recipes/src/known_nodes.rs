//! Whose the nodes are that have a path which others want, too: a shared lock's, a name's, a claim's.
//!
//! Such a node's data tells its creator, who has lost the answer, that it is the creator's; but anybody who is let may change
//! the data. Then only the session that owns the node is left as a sign, and in that session several may have asked for
//! the path. So each of them takes note here of the node that is its own, by the transaction that created it, and a node
//! of the session whose data was changed is for whoever is missing an answer and comes first. It does not matter which
//! of them: it holds what it has, the others wait for it, and it is the one that deletes the node.
//!
//! Invariant: of all in this process who work with one client, at most one takes a node for its own.
//! Not here: what another process left behind in a session that was resumed, and what others create in this session
//! by themselves at a recipe's path; that they have to keep apart.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use zk_client::{Client, Node, Session, SessionId, Stat, Zxid};

/// A path, and the transaction that created the node there.
type Key = (Arc<str>, Zxid);

/// Those of one client.
#[derive(Debug, Default)]
struct KnownNodes {
    nodes: Mutex<HashSet<Key>>,
}

/// The node of whoever has this; nobody's when it is dropped.
#[derive(Debug)]
pub(crate) struct KnownNode {
    all: Arc<KnownNodes>,
    key: Key,
}

impl KnownNode {
    /// Takes a node; `None` where somebody else of this client has it.
    pub(crate) fn take(client: &Client, path: &Arc<str>, czxid: Zxid) -> Option<Self> {
        KnownNodes::take(&client.shared_state(), path, czxid)
    }
}

impl KnownNodes {
    fn take(this: &Arc<Self>, path: &Arc<str>, czxid: Zxid) -> Option<KnownNode> {
        let (all, key) = (Arc::clone(this), (Arc::clone(path), czxid));
        let is_free = this.nodes.lock().insert(key.clone());
        is_free.then_some(KnownNode { all, key })
    }
}

impl Drop for KnownNode {
    fn drop(&mut self) {
        self.all.nodes.lock().remove(&self.key);
    }
}

/// Whether a node that was found at the path is one's own; `known` is what was known of that, and is from now on.
///
/// While nothing is known the data tells, as long as it is what the node was created with.
pub(crate) fn recognize(
    (session, path): (&Session, &Arc<str>),
    known: &mut Option<KnownNode>,
    node: &Node,
    is_marked: impl FnOnce(&[u8]) -> bool,
) -> bool {
    let claimed = known.as_ref().map(|known| known.key.1);
    let is_marked = || is_marked(&node.data);
    match whose(session.id(), claimed, &node.stat, is_marked) {
        Whose::Mine => true,
        Whose::Others => false,
        Whose::OfTheFirst => {
            *known = KnownNode::take(session, path, node.stat.czxid);
            known.is_some()
        }
    }
}

/// Whose a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Mine,
    Others,
    /// Of the first in this session that takes it.
    OfTheFirst,
}

/// Whose a node with this Stat is to one in the session `me`, who created that of the transaction `known` or does not know which one.
pub(crate) fn whose(
    me: SessionId,
    known: Option<Zxid>,
    stat: &Stat,
    is_marked: impl FnOnce() -> bool,
) -> Whose {
    if stat.ephemeral_owner != me {
        return Whose::Others;
    }
    match known {
        Some(known) if known == stat.czxid => Whose::Mine,
        Some(_) => Whose::Others,
        None if stat.version == 0 && !is_marked() => Whose::Others,
        None => Whose::OfTheFirst,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_owner_at_a_time() {
        let all = Arc::<KnownNodes>::default();
        let (path, czxid): (Arc<str>, _) = ("/a".into(), Zxid(7));
        let first = KnownNodes::take(&all, &path, czxid).unwrap();
        assert!(KnownNodes::take(&all, &path, czxid).is_none());
        // Another node at the same path, and one of the same transaction elsewhere.
        assert!(KnownNodes::take(&all, &path, Zxid(8)).is_some());
        assert!(KnownNodes::take(&all, &"/b".into(), czxid).is_some());
        drop(first);
        assert!(KnownNodes::take(&all, &path, czxid).is_some());
        assert!(all.nodes.lock().is_empty());
    }
}

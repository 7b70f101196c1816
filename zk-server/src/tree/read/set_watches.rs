//! The watches of a client that comes back.

use parking_lot::Mutex;
use zk_proto::{Stat, Zxid, op::Request, watch::EventType};

use crate::tree::{
    DataTree, NodeRef,
    watches::{ConnId, WatchKinds, WatchTable},
};

/// Leaves a client's watches again after it reconnected (setWatches, setWatches2), and tells `fire` what happened
/// to them since the last zxid it saw, in the order in which it lists them; a watch that fires is not left.
///
/// These events are told whatever the node's ACL says, and their header has the zxid -1. Persistent watches catch
/// up on nothing. A request of another kind does nothing.
pub fn set_watches(
    tree: &DataTree,
    watches: &Mutex<WatchTable>,
    conn: ConnId,
    request: &Request,
    mut fire: impl FnMut(EventType, &str),
) {
    let (since, data, exist, child, persistent, recursive) = match request {
        Request::SetWatches(r) => (r.relative_zxid, &r.data, &r.exist, &r.child, None, None),
        Request::SetWatches2(r) => (
            r.relative_zxid,
            &r.data,
            &r.exist,
            &r.child,
            Some(&r.persistent),
            Some(&r.persistent_recursive),
        ),
        _ => return,
    };
    let mut table = watches.lock();
    let mut leave = |path: &str, missed: Option<EventType>, kinds| match missed {
        Some(event) => fire(event, path),
        None => table.register(conn, path, kinds),
    };
    for path in data {
        let missed = changed(tree.node(path), since, EventType::NodeDataChanged, |s| {
            s.mzxid
        });
        leave(path, missed, WatchKinds::DATA);
    }
    for path in exist {
        let missed = tree.node(path).map(|_| EventType::NodeCreated);
        leave(path, missed, WatchKinds::DATA);
    }
    for path in child {
        let changes = EventType::NodeChildrenChanged;
        let missed = changed(tree.node(path), since, changes, |s| s.pzxid);
        leave(path, missed, WatchKinds::CHILD);
    }
    for path in persistent.into_iter().flatten() {
        leave(path, None, WatchKinds::PERSISTENT);
    }
    for path in recursive.into_iter().flatten() {
        leave(path, None, WatchKinds::RECURSIVE);
    }
}

fn changed(
    node: Option<NodeRef<'_>>,
    since: Zxid,
    event: EventType,
    last_change: fn(Stat) -> Zxid,
) -> Option<EventType> {
    match node {
        None => Some(EventType::NodeDeleted),
        Some(node) => (last_change(node.stat()) > since).then_some(event),
    }
}

//! Who watches what: `wchs`, `wchc`, `wchp`. Of data watches only, as in Apache.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    sync::Arc,
};

use zk_proto::SessionId;

use crate::{conn::handle::ConnHandle, driver::Hub, tree::watches::ConnId};

/// `WatchManager.toString`.
pub(super) fn wchs(hub: &Hub, out: &mut String) -> fmt::Result {
    let watches = hub.shared.watches.lock();
    let mut conns = BTreeSet::new();
    let mut paths = BTreeSet::new();
    let mut total = 0;
    for (conn, path) in watches.data_watches() {
        conns.insert(conn);
        paths.insert(path);
        total += 1;
    }
    let (conns, paths) = (conns.len(), paths.len());
    writeln!(out, "{conns} connections watching {paths} paths")?;
    writeln!(out, "Total watches:{total}")
}

/// Watches by session.
pub(super) fn wchc(hub: &Hub, out: &mut String) -> fmt::Result {
    let sessions = sessions_by_conn(hub);
    let watches = hub.shared.watches.lock();
    let mut before = None;
    for (conn, path) in watches.data_watches() {
        if before.replace(conn) != Some(conn) {
            let session = sessions.get(&conn).copied().unwrap_or_default();
            writeln!(out, "{session}")?;
        }
        writeln!(out, "\t{path}")?;
    }
    writeln!(out)
}

/// Watches by path.
pub(super) fn wchp(hub: &Hub, out: &mut String) -> fmt::Result {
    let sessions = sessions_by_conn(hub);
    let watches = hub.shared.watches.lock();
    let mut by_path = BTreeMap::<&str, Vec<ConnId>>::new();
    for (conn, path) in watches.data_watches() {
        by_path.entry(path).or_default().push(conn);
    }
    for (path, conns) in by_path {
        writeln!(out, "{path}")?;
        for conn in conns {
            let session = sessions.get(&conn).copied().unwrap_or_default();
            writeln!(out, "\t{session}")?;
        }
    }
    writeln!(out)
}

fn sessions_by_conn(hub: &Hub) -> BTreeMap<ConnId, SessionId> {
    let conns = hub.shared.conns.all();
    let session = |conn: &Arc<ConnHandle>| (conn.id, conn.stats.session());
    conns.iter().map(session).collect()
}

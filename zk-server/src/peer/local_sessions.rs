//! Sessions that only this member knows (`localSessionsEnabled`, `UpgradeableSessionTracker.java`).
//!
//! Beginning and ending one costs no transaction. It can do whatever a session can but own nodes: for that it is
//! made one of the whole ensemble's first, where `localSessionsUpgradingEnabled` allows it.
//!
//! Members of an ensemble have them. A standalone server has not, as with Apache, whatever its configuration says.

use std::{sync::Arc, time::Duration};

use zk_proto::{
    CreateMode, ErrorCode, SessionId, Xid,
    op::{MultiOp, Request},
};

use super::{Peer, leader::Origin};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    prep::{Standing, WriteOp, WriteRequest},
    time::Now,
    tree::DataTree,
};

/// Whether new sessions are local.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalSessions {
    /// They are the whole ensemble's from the start.
    #[default]
    Off,
    /// They are local, and stay so.
    On,
    /// They are local until they want a node of their own.
    Upgrading,
}

impl Peer {
    /// Begins a local session, if sessions are: nothing is logged, and the client is answered at once.
    pub(super) fn begin_local_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        timeout_ms: u32,
        read_only: Option<bool>,
    ) -> bool {
        if self.options.local_sessions == LocalSessions::Off {
            return false;
        }
        self.open_local_session(now, conn, timeout_ms, read_only);
        true
    }

    pub(super) fn open_local_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        timeout_ms: u32,
        read_only: Option<bool>,
    ) {
        let session = self.sessions.new_id();
        let timeout = Duration::from_millis(timeout_ms.into());
        self.sessions.track_local(session, timeout, now);
        self.count_sessions();
        if self.sessions.attach(session, conn, timeout, now).is_ok() {
            self.establish(conn, session, timeout_ms, read_only);
        }
    }

    /// What a session may do with its next write; one that may and has to become the ensemble's does so first.
    pub(super) fn standing(
        &mut self,
        now: Now,
        tree: &DataTree,
        session: SessionId,
        request: Option<&Request>,
    ) -> Standing {
        if !self.sessions.is_local(session) || !request.is_some_and(wants_own_node) {
            return Standing::GOOD;
        }
        if self.options.local_sessions == LocalSessions::Upgrading {
            self.upgrade(now, tree, session);
            return Standing::GOOD;
        }
        Standing {
            ephemeral: Err(ErrorCode::EphemeralOnLocalSession),
            ..Standing::GOOD
        }
    }

    fn upgrade(&mut self, now: Now, tree: &DataTree, session: SessionId) {
        let timeout = self.sessions.make_global(session).as_millis();
        let timeout_ms = i32::try_from(timeout).unwrap_or(i32::MAX);
        let write = WriteRequest {
            session,
            cxid: Xid(0),
            credentials: &Credentials::none(),
            standing: Standing::GOOD,
            op: WriteOp::CreateSession { timeout_ms },
        };
        let Some(zxid) = self.next_zxid() else {
            return;
        };
        let prepared = self.prep.prepare(tree, &write, zxid, now);
        self.propose(now, prepared, Origin::Internal, now.mono);
        self.count_sessions();
    }

    /// Ends a session without a transaction, if it is local.
    pub(super) fn end_local_session(&mut self, session: SessionId) -> bool {
        if !self.sessions.is_local(session) {
            return false;
        }
        if let Some(conn) = self.sessions.remove(session) {
            self.close(&conn);
        }
        self.count_sessions();
        true
    }

    /// Tells how many sessions there are of either kind.
    pub(super) fn count_sessions(&self) {
        let (all, local) = (self.sessions.len(), self.sessions.local_len());
        self.shared.metrics.global_sessions.set(all - local);
        self.shared.metrics.local_sessions.set(local);
    }
}

/// Whether it creates an ephemeral node.
fn wants_own_node(request: &Request) -> bool {
    let is_ephemeral =
        |flags: i32| CreateMode::from_flags(flags).is_some_and(CreateMode::is_ephemeral);
    match request {
        Request::Create(create) | Request::Create2(create) => is_ephemeral(create.flags),
        Request::Multi(multi) => multi.ops.iter().any(|op| match op {
            MultiOp::Create(create) | MultiOp::Create2(create) => is_ephemeral(create.flags),
            _ => false,
        }),
        _ => false,
    }
}

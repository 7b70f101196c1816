//! Sessions that only this member knows (`localSessionsEnabled`, `UpgradeableSessionTracker.java`).
//!
//! Beginning and ending one costs no transaction. It can do whatever a session can but own nodes: for that it is
//! made one of the whole ensemble's first, where `localSessionsUpgradingEnabled` allows it.
//!
//! Members of an ensemble have them. A standalone server has not, as with Apache, whatever its configuration says.

use std::{sync::Arc, time::Duration};

use zk_proto::{
    CreateMode, ErrorCode, ServerId, SessionId, Xid,
    op::{MultiOp, Request},
};

use super::{Peer, waiting::Origin};
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

    /// When a member that does not lead has to look for local sessions that are over.
    pub(super) fn local_deadline(&self) -> Option<Duration> {
        let has_them = self.options.local_sessions != LocalSessions::Off && self.serves();
        has_them.then(|| self.sessions.next_deadline()).flatten()
    }

    /// Ends the local sessions whose time has come; the leader sees to the others.
    pub(super) fn expire_local_due(&mut self, now: Now) {
        let expired = self.sessions.expire_local(now);
        let metrics = &self.shared.metrics;
        metrics.stale_sessions_expired.add(expired.len() as u64);
        for session in expired {
            tracing::info!(%session, "local session expired");
            self.end_local_session(session);
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
        if !self.has_to_become_global(session, request) {
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

    fn has_to_become_global(&self, session: SessionId, request: Option<&Request>) -> bool {
        self.sessions.is_local(session) && request.is_some_and(wants_own_node)
    }

    /// At a member that does not lead: has the leader make a session of the next request's local one where it has to,
    /// or tells what the client will be refused with.
    ///
    /// A request that cannot be carried out goes to the leader all the same, as with Apache: it refuses it too, by
    /// another name. That name stays where the request is a multi, whose answer is the transaction's.
    pub(super) fn standing_at_learner(
        &mut self,
        now: Now,
        session: SessionId,
        request: Option<&Request>,
    ) -> Option<ErrorCode> {
        if !self.has_to_become_global(session, request) {
            return None;
        }
        if self.options.local_sessions == LocalSessions::Upgrading {
            let timeout_ms = self.make_global(session);
            self.forward_upgrade(now, session, timeout_ms);
            return None;
        }
        let is_multi = matches!(request, Some(Request::Multi(_)));
        (!is_multi).then_some(ErrorCode::EphemeralOnLocalSession)
    }

    /// What a session of another member may do: one that the leader does not know may be that member's own, unless
    /// this member once made it (`LeaderSessionTracker.checkSession`).
    pub(super) fn standing_elsewhere(
        &self,
        session: SessionId,
        as_global: Result<(), ErrorCode>,
    ) -> Standing {
        let may_be_local = self.options.local_sessions != LocalSessions::Off
            && !self.sessions.contains(session)
            && maker(session) != self.options.server;
        Standing {
            session: match may_be_local {
                true => Ok(()),
                false => as_global,
            },
            ephemeral: as_global,
        }
    }

    fn make_global(&mut self, session: SessionId) -> i32 {
        let timeout = self.sessions.make_global(session).as_millis();
        self.count_sessions();
        i32::try_from(timeout).unwrap_or(i32::MAX)
    }

    fn upgrade(&mut self, now: Now, tree: &DataTree, session: SessionId) {
        let Some(zxid) = self.next_zxid() else {
            return;
        };
        let timeout_ms = self.make_global(session);
        let write = WriteRequest {
            session,
            cxid: Xid(0),
            credentials: &Credentials::none(),
            standing: Standing::GOOD,
            op: WriteOp::CreateSession { timeout_ms },
        };
        let prepared = self.prep.prepare(tree, &write, zxid, now);
        self.propose(now, prepared, Origin::Internal, now.mono);
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

/// The member that gave the session its id.
pub(super) const fn maker(session: SessionId) -> ServerId {
    ServerId((session.0.cast_unsigned() >> 56).cast_signed())
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

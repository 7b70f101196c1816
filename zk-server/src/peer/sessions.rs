//! Sessions beginning, resumed and ending (`ZooKeeperServer.processConnectRequest`).

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use zk_proto::{
    Password, SessionId,
    connect::{ConnectRequest, ConnectResponse},
    txn::{Txn, TxnHeader},
};

use super::{Output, Peer, waiting::Origin};
use crate::{
    conn::{handle::ConnHandle, outbox::Established, reply as frames},
    frames::Frames,
    prep::WriteOp,
    time::Now,
};

/// Most sessions ended by one input.
pub(super) const END_AT_ONCE: usize = 500;

impl Peer {
    /// A connection's first frame.
    ///
    /// A client that has seen more than this server has applied is sent away without a word, as Apache does.
    /// A wrong password is refused *before* the session's connection is touched: Apache closes that one first,
    /// and so lets anybody who knows a session's id cut it off.
    pub(super) fn connect(&mut self, now: Now, conn: &Arc<ConnHandle>, request: &ConnectRequest) {
        self.shared.metrics.connection_requests.add(1);
        let last = self.shared.tree.read().last_zxid();
        if request.last_zxid_seen > last {
            tracing::info!(remote = %conn.remote, seen = %request.last_zxid_seen, %last, "client is ahead");
            self.close(conn);
            return;
        }
        let timeout_ms = self.granted_timeout(request);
        if request.session_id == SessionId::NONE {
            self.begin_session(now, conn, request, timeout_ms);
        } else {
            self.resume_session(now, conn, request, timeout_ms);
        }
    }

    pub(super) fn granted_timeout(&self, request: &ConnectRequest) -> u32 {
        let asked = u32::try_from(request.timeout_ms).unwrap_or_default();
        let options = &self.options;
        asked.clamp(
            options.min_session_timeout_ms,
            options.max_session_timeout_ms,
        )
    }

    fn begin_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
        timeout_ms: u32,
    ) {
        if self.begin_local_session(now, conn, timeout_ms, request.read_only) {
            return;
        }
        if !self.leads() {
            let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
            return self.forward_session(now, conn, request, timeout_ms);
        }
        let session = self.sessions.new_id();
        let origin = Origin::Connect {
            conn: conn.clone(),
            read_only: request.read_only,
        };
        let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        let op = WriteOp::CreateSession { timeout_ms };
        self.propose_internal(now, session, op, origin);
    }

    fn resume_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
        timeout_ms: u32,
    ) {
        let session = request.session_id;
        let valid = self.options.passwords.verify(session, &request.password);
        if !valid {
            tracing::warn!(remote = %conn.remote, %session, "wrong session password");
        } else if !self.leads() && !self.sessions.is_local(session) {
            return self.ask_for_session(now, conn, request, timeout_ms);
        }
        self.attach(now, conn, request, timeout_ms, valid);
    }

    /// Gives a session to the connection that came for it, if that is right.
    pub(super) fn attach(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
        timeout_ms: u32,
        valid: bool,
    ) {
        let session = request.session_id;
        let timeout = Duration::from_millis(timeout_ms.into());
        let attached = match valid {
            true => self.sessions.attach(session, conn, timeout, now).ok(),
            false => None,
        };
        let Some(attached) = attached else {
            let mut out = Frames::new();
            frames::put_bare(
                &mut out,
                &ConnectResponse::expired(request.read_only.map(|_| false)),
            );
            conn.outbox.append(&mut out, 1);
            self.close(conn);
            return;
        };
        // And not before: a wrong password must not make anybody forget who has the session.
        self.disown(session);
        self.shared.metrics.connections_revalidated.add(1);
        if let Some(before) = attached
            .before
            .filter(|before| before.serial != conn.serial)
        {
            self.close(&before);
        }
        self.establish(conn, session, timeout_ms, request.read_only);
    }

    /// The transaction that makes a session is applied.
    pub(super) fn session_created(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        header: TxnHeader,
        txn: &Txn,
        read_only: Option<bool>,
    ) {
        let Txn::CreateSession(txn) = txn else { return };
        let session = header.client_id;
        let timeout_ms = u32::try_from(txn.timeout_ms).unwrap_or_default();
        let timeout = Duration::from_millis(timeout_ms.into());
        self.sessions.commit(session, timeout, now);
        self.count_sessions();
        if !conn.outbox.is_closing() && self.sessions.attach(session, conn, timeout, now).is_ok() {
            self.establish(conn, session, timeout_ms, read_only);
        }
    }

    /// A session was made for another member's client, or of a local one.
    pub(super) fn session_learned(&mut self, now: Now, header: TxnHeader, txn: &Txn) {
        if let Txn::CreateSession(txn) = txn {
            let timeout = u64::try_from(txn.timeout_ms).unwrap_or_default();
            self.sessions
                .commit(header.client_id, Duration::from_millis(timeout), now);
            self.count_sessions();
        }
    }

    pub(super) fn establish(
        &mut self,
        conn: &Arc<ConnHandle>,
        session: SessionId,
        timeout_ms: u32,
        read_only: Option<bool>,
    ) {
        let password: Password = self.options.passwords.password(session);
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
            session_id: session,
            password,
            read_only: read_only.map(|_| self.is_read_only()),
        };
        let mut out = Frames::new();
        frames::put_bare(&mut out, &response);
        let established = Established {
            session,
            timeout_ms,
        };
        conn.outbox.establish(&mut out, established);
        conn.stats.sent.fetch_add(1, Relaxed);
        self.shared.metrics.packets_sent.add(1);
        self.replies.add(conn.clone(), session);
        self.outputs.push_back(Output::Wake(conn.clone()));
    }

    /// The transaction that ends a session is applied: its connection, if it has one here, goes too.
    pub(super) fn session_closed(&mut self, session: SessionId) {
        if let Some(conn) = self.sessions.remove(session) {
            self.replies.close(&conn);
        }
        self.disown(session);
        self.count_sessions();
    }

    /// Ends the sessions whose time has come, so many at a time that others get their turn; the next deadline has
    /// passed already while there are more.
    pub(super) fn expire_due(&mut self, now: Now) {
        let expired = self.sessions.expire(now);
        self.shared
            .metrics
            .stale_sessions_expired
            .add(expired.len() as u64);
        self.ending.extend(expired);
        let some = self.ending.len().min(END_AT_ONCE);
        let ending: Vec<SessionId> = self.ending.drain(..some).collect();
        for session in ending {
            tracing::info!(%session, "session expired");
            if !self.end_local_session(session) {
                self.propose_internal(now, session, WriteOp::CloseSession, Origin::Internal);
            }
        }
    }

    /// Ends one session as if its time had come.
    pub(super) fn expire(&mut self, now: Now, session: SessionId) {
        let ours = self.leads() || self.sessions.is_local(session);
        if ours && self.sessions.set_closing(session) && !self.end_local_session(session) {
            self.propose_internal(now, session, WriteOp::CloseSession, Origin::Internal);
        }
    }

    /// A connection's task has ended.
    pub(super) fn closed(&mut self, conn: &Arc<ConnHandle>) {
        if let Some(session) = self.replies.remove(conn) {
            self.sessions.detach(session, conn);
        }
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.held.remove(&conn.id);
        }
        conn.outbox.close();
        self.shared.watches.lock().remove_conn(conn.id);
        self.shared.conns.forget(conn);
    }

    /// Ends a connection, behind whatever its outbox holds.
    pub(super) fn close(&mut self, conn: &Arc<ConnHandle>) {
        conn.outbox.close();
        self.outputs.push_back(Output::Wake(conn.clone()));
    }
}

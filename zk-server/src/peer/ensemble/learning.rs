//! A learner's part: what its clients ask goes to the leader, what the leader has committed is applied.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use zk_proto::{
    Encode, ErrorCode, OpCode, Password, SessionId, Utf8Bytes, Xid, Zxid, connect::ConnectRequest,
    op::Request, quorum::SessionTouch, txn::TxnLogEntry,
};

use super::{Comer, Held, Peer};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    peer::waiting::{Asker, Origin},
    time::Now,
    zab::{self, ForwardedRequest, LeaderInput, LearnerInput, Transaction},
};

impl Peer {
    /// Sends a write to the leader; it is answered when it comes back as a transaction.
    pub(in crate::peer) fn forward(
        &mut self,
        now: Now,
        session: SessionId,
        cxid: Xid,
        credentials: &Credentials,
        op: OpCode,
        request: Option<&Request>,
    ) {
        let body = request.map(Encode::to_bytes).unwrap_or_default();
        let identities = Some(credentials.ids().to_vec());
        self.forward_raw(now, session, cxid, op, body, identities);
    }

    fn forward_raw(
        &mut self,
        now: Now,
        session: SessionId,
        cxid: Xid,
        op: OpCode,
        body: Bytes,
        identities: Option<Vec<zk_proto::acl::Id>>,
    ) {
        let request = ForwardedRequest {
            session,
            cxid,
            op: op.code(),
            body,
            identities,
        };
        self.agree(now, zab::Input::Learner(LearnerInput::Forward(request)));
    }

    /// A client wants a session, which only the leader can make.
    pub(in crate::peer) fn forward_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
        timeout_ms: i32,
    ) {
        let session = self.sessions.new_id();
        let origin = Origin::Connect {
            conn: conn.clone(),
            read_only: request.read_only,
        };
        self.wait_for_leader(session, Xid(0), origin, now.mono);
        let body = timeout_ms.to_bytes();
        self.forward_raw(now, session, Xid(0), OpCode::CreateSession, body, None);
    }

    /// A local session has to become the whole ensemble's, which only the leader can do.
    pub(in crate::peer) fn forward_upgrade(
        &mut self,
        now: Now,
        session: SessionId,
        timeout_ms: i32,
    ) {
        self.wait_for_leader(session, Xid(0), Origin::Internal, now.mono);
        let body = timeout_ms.to_bytes();
        self.forward_raw(now, session, Xid(0), OpCode::CreateSession, body, None);
    }

    /// A client comes with a session: is it alive?
    pub(in crate::peer) fn ask_for_session(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
        timeout_ms: u32,
    ) {
        let session = request.session_id;
        // What still arrives over the connection that it had here is older than what its client was told elsewhere.
        if let Ok(Some(before)) = self.sessions.take_conn(session) {
            self.close(&before);
        }
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.comers.push_back(Comer {
                conn: conn.clone(),
                session,
                timeout_ms,
                read_only: request.read_only,
            });
        }
        let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        let touch = SessionTouch {
            session,
            timeout_ms,
        };
        self.agree(now, zab::Input::Learner(LearnerInput::Revalidate(touch)));
    }

    pub(super) fn revalidated(&mut self, now: Now, session: SessionId, valid: bool) {
        let comers = self.ensemble.as_mut().map(|ensemble| &mut ensemble.comers);
        let Some(comer) = comers.and_then(|comers| {
            let at = comers.iter().position(|comer| comer.session == session)?;
            comers.remove(at)
        }) else {
            return;
        };
        // Its id may be another one's by now.
        if comer.conn.outbox.is_closing() {
            return;
        }
        let timeout = Duration::from_millis(comer.timeout_ms.into());
        if valid && self.sessions.check_remote(session) == Err(ErrorCode::SessionExpired) {
            self.sessions.track(session, timeout, now);
        }
        let request = ConnectRequest {
            session_id: session,
            read_only: comer.read_only,
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 0,
            password: Password::default(),
        };
        self.attach(now, &comer.conn, &request, comer.timeout_ms, valid);
    }

    /// Has a `sync` answered when the leader says so; what its connection asks meanwhile is held back.
    pub(in crate::peer) fn ask_for_sync(
        &mut self,
        now: Now,
        session: SessionId,
        asker: Asker,
        path: Utf8Bytes,
        held: Held,
    ) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        ensemble.syncs.push_back((asker, path));
        let waiting = ensemble.held.entry(asker.conn).or_default();
        waiting.push_front(held);
        match ensemble.leads() {
            true => self.agree(now, zab::Input::Leader(LeaderInput::Sync(None))),
            false => {
                self.forward_raw(now, session, asker.xid, OpCode::Sync, Bytes::new(), None);
            }
        }
    }

    /// The oldest `sync` is done.
    pub(super) fn synced_client(&mut self, now: Now) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        let Some((asker, path)) = ensemble.syncs.pop_front() else {
            return;
        };
        let waits = ensemble.held.get(&asker.conn).and_then(VecDeque::front);
        let held = match waits.is_some_and(|held| held.conn.serial == asker.serial) {
            true => ensemble.held.remove(&asker.conn).unwrap_or_default(),
            false => VecDeque::new(),
        };
        let shared = self.shared.clone();
        let tree = shared.tree.read();
        self.answer_short(asker, Ok(Some(&path)), tree.last_zxid());
        self.deliver();
        drop(tree);
        for Held {
            conn,
            credentials,
            received,
            requests,
        } in held
        {
            if conn.serial == asker.serial {
                self.take_requests(now, &conn, &credentials, received, requests);
            }
        }
    }

    /// Applies what a quorum has, and answers this member's clients.
    pub(super) fn apply_learned(&mut self, now: Now, transactions: &[Transaction]) {
        let shared = self.shared.clone();
        let mut tree = shared.tree.write();
        for transaction in transactions {
            let Some(TxnLogEntry {
                header,
                txn,
                digest,
            }) = self.decode(transaction)
            else {
                break;
            };
            self.apply_one_learned(now, &mut tree, header, txn, digest);
        }
        self.deliver();
        drop(tree);
        self.carry_out_due(now);
    }
}

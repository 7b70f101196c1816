//! Taking clients' requests in: what becomes a proposal, what goes to the leader, what has to wait and what is refused.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use zk_proto::{ErrorCode, OpCode, SessionId, Xid, op::Request};

use super::{
    Peer,
    ensemble::{Held, needs_quorum},
    space::needs_room,
    waiting::{Asker, Behind, Origin, Work},
};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    prep::{Standing, WriteOp, WriteRequest},
    time::Now,
    tree::DataTree,
};

impl Peer {
    /// Takes a batch of one connection's requests in.
    pub(super) fn take_requests(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        credentials: &Arc<Credentials>,
        received: Duration,
        requests: Vec<(Xid, Option<Request>)>,
    ) {
        let Some(session) = self
            .replies
            .of(conn.id, conn.serial)
            .map(|slot| slot.session)
        else {
            return;
        };
        let held = |requests| Held {
            conn: conn.clone(),
            credentials: credentials.clone(),
            received,
            requests,
        };
        if let Some(queue) = self.held(conn) {
            return queue.push_back(held(requests));
        }
        let shared = self.shared.clone();
        let tree = shared.tree.read();
        let mut requests = requests.into_iter();
        while let Some((xid, request)) = requests.next() {
            if self.sessions.check(session, conn).is_err() {
                // Closing, or resumed elsewhere: what came too late is dropped with its connection.
                break;
            }
            let asker = Asker {
                conn: conn.id,
                serial: conn.serial,
                xid,
            };
            if let Some(error) = self.refusal(request.as_ref()) {
                self.wait(Work::Refused { asker, error });
                continue;
            }
            match request {
                Some(Request::Sync(request)) if self.ensemble.is_some() => {
                    let rest = held(requests.collect());
                    self.ask_for_sync(now, session, asker, request.path, rest);
                    break;
                }
                Some(Request::Sync(request)) => {
                    let path = request.path;
                    self.wait(Work::Sync { asker, path });
                }
                Some(request) if !request.op_code().is_write() => {
                    let read = Behind {
                        asker,
                        session,
                        credentials: credentials.clone(),
                        request,
                        received,
                    };
                    self.read_behind(now, &tree, read);
                }
                Some(Request::CloseSession) if self.sessions.is_local(session) => {
                    self.sessions.set_closing(session);
                    self.wait(Work::CloseLocal { asker, session });
                }
                request => {
                    let write = write_request(session, xid, credentials, request.as_ref());
                    self.take_write(now, &tree, &write, asker, received);
                }
            }
        }
        self.deliver();
        drop(tree);
        self.carry_out_due(now);
        self.commit_early(now);
    }

    /// What this member cannot carry out now, whatever it is; `None` for a multi that could not be decoded.
    pub(super) fn refusal(&self, request: Option<&Request>) -> Option<ErrorCode> {
        if self.is_read_only() {
            return needs_quorum(request).then_some(ErrorCode::NotReadOnly);
        }
        let is_full = self.low_space && request.is_some_and(needs_room);
        is_full.then_some(ErrorCode::SystemError)
    }

    /// Proposes a client's write, or has the leader propose it.
    pub(super) fn take_write(
        &mut self,
        now: Now,
        tree: &DataTree,
        write: &WriteRequest<'_>,
        asker: Asker,
        received: Duration,
    ) {
        let request = match write.op {
            WriteOp::Request(request) => Some(request),
            WriteOp::CloseSession => Some(&Request::CloseSession),
            _ => None,
        };
        let op = request.map_or(OpCode::Multi, Request::op_code);
        let session = write.session;
        let leads = self.leads();
        let refusal = match leads {
            true => None,
            false => self.standing_at_learner(now, session, request),
        };
        let origin = Origin::Request { asker, op, refusal };
        if !leads {
            self.wait_for_leader(session, asker.xid, origin, received);
            self.forward(now, session, asker.xid, write.credentials, op, request);
        } else {
            // It may take a zxid of its own: for a session that becomes a global one.
            let standing = self.standing(now, tree, session, request);
            let write = WriteRequest { standing, ..*write };
            if let Some(zxid) = self.next_zxid() {
                let next = self.next_configuration(request, zxid);
                let op = next.as_ref().map_or(write.op, WriteOp::Reconfig);
                let write = WriteRequest { op, ..write };
                let prepared = self.prep.prepare(tree, &write, zxid, now);
                self.propose(now, prepared, origin, received);
            }
        }
        if op == OpCode::CloseSession {
            self.sessions.set_closing(session);
        }
    }

    /// What is held back of a connection that waits for a `sync`.
    pub(super) fn held(&mut self, conn: &ConnHandle) -> Option<&mut VecDeque<Held>> {
        self.ensemble.as_mut()?.held.get_mut(&conn.id)
    }
}

/// A client's write, as `prep` wants it.
fn write_request<'a>(
    session: SessionId,
    cxid: Xid,
    credentials: &'a Credentials,
    request: Option<&'a Request>,
) -> WriteRequest<'a> {
    WriteRequest {
        session,
        cxid,
        credentials,
        standing: Standing::GOOD,
        op: match request {
            Some(Request::CloseSession) => WriteOp::CloseSession,
            Some(request) => WriteOp::Request(request),
            None => WriteOp::Malformed,
        },
    }
}

//! What waits: proposals for a quorum, forwarded requests for the leader, and syncs and reads behind them, in the order in
//! which they came.

use std::{sync::Arc, time::Duration};

use zk_proto::{
    ErrorCode, OpCode, SessionId, Utf8Bytes, Xid, Zxid,
    op::Request,
    txn::{Txn, TxnDigest, TxnHeader},
};

use super::Peer;
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    time::Now,
    tree::{DataTree, watches::ConnId},
};

/// What waits for the disk, in the order in which it came.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) work: Work,
    /// Reads of the same connection that came after it and before its next entry; carried out right behind it.
    pub(super) reads: Vec<Behind>,
}

#[derive(Debug)]
pub(super) enum Work {
    /// A transaction on its way into the log.
    Proposal(Proposal),
    /// A request on its way to the leader and back.
    Forwarded {
        session: SessionId,
        cxid: Xid,
        origin: Origin,
        received: Duration,
    },
    /// A sync, behind everything that was proposed before it came in; of a server that serves alone.
    Sync { asker: Asker, path: Utf8Bytes },
    /// A write for which there is no room, or no quorum.
    Refused { asker: Asker, error: ErrorCode },
    /// The end of a session that only this member knows, behind everything that it asked for before.
    CloseLocal { asker: Asker, session: SessionId },
}

/// A read that waits for an earlier request of its session.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) asker: Asker,
    pub(super) session: SessionId,
    pub(super) credentials: Arc<Credentials>,
    pub(super) request: Request,
    pub(super) received: Duration,
}

/// A transaction that is not committed yet.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) header: TxnHeader,
    pub(super) txn: Txn,
    pub(super) digest: Option<TxnDigest>,
    pub(super) origin: Origin,
    pub(super) received: Duration,
}

/// Who gets the answer.
#[derive(Debug)]
pub(super) enum Origin {
    /// A client's request; where it is refused, for a reason of this member's own if there is one.
    Request {
        asker: Asker,
        op: OpCode,
        refusal: Option<ErrorCode>,
    },
    /// A client that wants a session.
    Connect {
        conn: Arc<ConnHandle>,
        read_only: Option<bool>,
    },
    /// The server itself.
    Internal,
}

/// A request's connection and number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) conn: ConnId,
    pub(super) serial: u64,
    pub(super) xid: Xid,
}

impl Peer {
    /// Has a request wait for the transaction that the leader makes of it.
    pub(super) fn wait_for_leader(
        &mut self,
        session: SessionId,
        cxid: Xid,
        origin: Origin,
        received: Duration,
    ) {
        self.wait(Work::Forwarded {
            session,
            cxid,
            origin,
            received,
        });
    }

    /// Puts something at the end of the queue.
    pub(super) fn wait(&mut self, work: Work) {
        let place = self.popped + self.waiting.len() as u64 + 1;
        let asker = match &work {
            Work::Sync { asker, .. }
            | Work::Refused { asker, .. }
            | Work::CloseLocal { asker, .. } => Some(*asker),
            Work::Proposal(Proposal { origin, .. }) | Work::Forwarded { origin, .. } => {
                match origin {
                    Origin::Request { asker, .. } => Some(*asker),
                    Origin::Connect { .. } | Origin::Internal => None,
                }
            }
        };
        if let Some(slot) = asker.and_then(|asker| self.replies.of(asker.conn, asker.serial)) {
            slot.last_waiting = place;
        }
        let reads = Vec::new();
        self.waiting.push_back(Waiting { work, reads });
    }

    /// Has a read carried out behind the last request of its connection that waits, at once if none does.
    pub(super) fn read_behind(&mut self, now: Now, tree: &DataTree, read: Behind) {
        let Asker { conn, serial, .. } = read.asker;
        let Some(slot) = self.replies.of(conn, serial) else {
            return;
        };
        let ahead = slot.last_waiting.checked_sub(self.popped + 1);
        let ahead = ahead.and_then(|at| usize::try_from(at).ok());
        match ahead.and_then(|at| self.waiting.get_mut(at)) {
            Some(waiting) => {
                waiting.reads.push(read);
                self.reads_behind += 1;
            }
            None => self.answer_read(now, tree, read),
        }
    }

    pub(super) fn is_due(&self, committed: Zxid) -> bool {
        match self.waiting.front().map(|waiting| &waiting.work) {
            Some(Work::Proposal(proposal)) => proposal.header.zxid <= committed,
            Some(Work::Sync { .. } | Work::Refused { .. } | Work::CloseLocal { .. }) => true,
            Some(Work::Forwarded { .. }) | None => false,
        }
    }
}

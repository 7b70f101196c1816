//! Proposing, committing, applying: the leader's write path.
//!
//! Order of zxids = order of log = order of commits = order of applying. Nothing that a reply or an event
//! could reveal happens before the commit, and a reply enters its outbox under the lock that applied it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use zk_proto::{
    Decode, Encode, ErrorCode, OpCode, SessionId, Utf8Bytes, Xid, Zxid,
    op::Request,
    txn::{Txn, TxnDigest, TxnHeader},
    watch::EventType,
};

use super::{
    Output, Peer,
    ensemble::{Held, needs_quorum},
    space::needs_room,
};
use crate::{
    auth::Credentials,
    conn::{handle::ConnHandle, reads::put_read, reply as frames},
    frames::Frames,
    metrics::Metrics,
    prep::{Prepared, Standing, WriteOp, WriteRequest},
    storage::DiskOp,
    time::Now,
    tree::{Applied, DataTree, read::Caller, watches::ConnId},
};

/// Most transactions applied under one lock; readers get their turn in between.
const APPLY_AT_ONCE: usize = 512;

/// The size of the allocation that records share.
const RECORDS: usize = 64 << 10;

/// What waits for the disk, in the order in which it came.
#[derive(Debug)]
pub(super) struct Waiting {
    work: Work,
    /// Reads of the same connection that came after it and before its next entry; carried out right behind it.
    reads: Vec<Behind>,
}

#[derive(Debug)]
enum Work {
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
struct Behind {
    asker: Asker,
    session: SessionId,
    credentials: Arc<Credentials>,
    request: Request,
    received: Duration,
}

/// A transaction that is not committed yet.
#[derive(Debug)]
pub(super) struct Proposal {
    header: TxnHeader,
    txn: Txn,
    digest: Option<TxnDigest>,
    origin: Origin,
    received: Duration,
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
    fn refusal(&self, request: Option<&Request>) -> Option<ErrorCode> {
        if self.is_read_only() {
            return needs_quorum(request).then_some(ErrorCode::NotReadOnly);
        }
        let is_full = self.low_space && self.leads() && request.is_some_and(needs_room);
        is_full.then_some(ErrorCode::SystemError)
    }

    /// Proposes a client's write, or has the leader propose it.
    fn take_write(
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
                let prepared = self.prep.prepare(tree, &write, zxid, now);
                self.propose(now, prepared, origin, received);
            }
        }
        if op == OpCode::CloseSession {
            self.sessions.set_closing(session);
        }
    }

    /// What is held back of a connection that waits for a `sync`.
    fn held(&mut self, conn: &ConnHandle) -> Option<&mut VecDeque<Held>> {
        self.ensemble.as_mut()?.held.get_mut(&conn.id)
    }

    /// The next zxid, while this server may give one.
    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        match &self.ensemble {
            None => Some(next(self.last_proposed)),
            Some(ensemble) => ensemble.next_zxid(),
        }
    }

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

    /// Applies a transaction that the leader made, and answers whoever asked for it here: the requests that wait
    /// come back in the order in which they were forwarded.
    pub(super) fn apply_one_learned(
        &mut self,
        now: Now,
        tree: &mut DataTree,
        header: TxnHeader,
        txn: Txn,
        digest: Option<TxnDigest>,
    ) {
        let is_mine = matches!(
            self.waiting.front().map(|waiting| &waiting.work),
            Some(Work::Forwarded { session, cxid, .. })
                if (*session, *cxid) == (header.client_id, header.cxid)
        );
        let waiting = match is_mine {
            true => self.waiting.pop_front(),
            false => None,
        };
        self.popped += u64::from(is_mine);
        let mut reads = Vec::new();
        let (mut origin, mut received) = (Origin::Internal, now.mono);
        if let Some(waiting) = waiting {
            self.reads_behind -= waiting.reads.len();
            reads = waiting.reads;
            if let Work::Forwarded {
                origin: of,
                received: at,
                ..
            } = waiting.work
            {
                (origin, received) = (of, at);
            }
        }
        let proposal = Proposal {
            header,
            txn,
            digest,
            origin,
            received,
        };
        self.apply(now, tree, proposal);
        for read in reads {
            self.answer_read(now, tree, read);
        }
    }

    /// Puts something at the end of the queue.
    fn wait(&mut self, work: Work) {
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
    fn read_behind(&mut self, now: Now, tree: &DataTree, read: Behind) {
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

    /// Proposes something of the server's own: sessions beginning and ending.
    pub(super) fn propose_internal(
        &mut self,
        now: Now,
        session: SessionId,
        op: WriteOp<'_>,
        origin: Origin,
    ) {
        let write = WriteRequest {
            session,
            cxid: Xid(0),
            credentials: &Credentials::none(),
            standing: Standing::GOOD,
            op,
        };
        let Some(zxid) = self.next_zxid() else {
            return;
        };
        let shared = self.shared.clone();
        let prepared = self.prep.prepare(&shared.tree.read(), &write, zxid, now);
        self.propose(now, prepared, origin, now.mono);
    }

    /// Encodes the transaction once and sends it to the log.
    pub(super) fn propose(
        &mut self,
        now: Now,
        prepared: Prepared,
        origin: Origin,
        received: Duration,
    ) {
        let Prepared {
            header,
            txn,
            digest,
        } = prepared;
        assert_eq!(
            Some(header.zxid),
            self.next_zxid(),
            "zxids have no gaps (I4)"
        );
        // Records share large allocations: the log thread, which drops them, would else free one for each.
        let len = header.encoded_len() + txn.encoded_len() + TxnDigest::MIN_LEN;
        if self.encoder.capacity() < len {
            self.encoder.reserve(len.max(RECORDS));
        }
        header.encode(&mut self.encoder);
        txn.encode(&mut self.encoder);
        if let Some(digest) = &digest {
            digest.encode(&mut self.encoder);
        }
        let record = self.encoder.split().freeze();
        self.last_proposed = header.zxid;
        self.shared.metrics.proposals.add(1);
        let zxid = header.zxid;
        match self.ensemble.is_some() {
            true => self.propose_to_quorum(now, zxid, record),
            false => self
                .outputs
                .push_back(Output::Disk(DiskOp::Append { zxid, record })),
        }
        self.wait(Work::Proposal(Proposal {
            header,
            txn,
            digest,
            origin,
            received,
        }));
    }

    #[cfg(feature = "testing")]
    fn commit_early(&mut self, now: Now) {
        if self.options.reply_before_write {
            self.commit(now, self.last_proposed);
        }
    }

    #[cfg(not(feature = "testing"))]
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "as under `testing`"
    )]
    fn commit_early(&mut self, _now: Now) {}

    /// A quorum has everything up to `zxid`: apply it, answer, tell.
    pub(super) fn commit(&mut self, now: Now, zxid: Zxid) {
        assert!(
            zxid <= self.last_proposed,
            "only what was proposed is committed"
        );
        if zxid < self.last_committed {
            return;
        }
        self.last_committed = zxid;
        self.carry_out_due(now);
    }

    /// Carries out what waits for nothing more.
    pub(super) fn carry_out_due(&mut self, now: Now) {
        while self.is_due(self.last_committed) {
            self.apply_some(now, self.last_committed);
        }
    }

    fn is_due(&self, committed: Zxid) -> bool {
        match self.waiting.front().map(|waiting| &waiting.work) {
            Some(Work::Proposal(proposal)) => proposal.header.zxid <= committed,
            Some(Work::Sync { .. } | Work::Refused { .. } | Work::CloseLocal { .. }) => true,
            Some(Work::Forwarded { .. }) | None => false,
        }
    }

    /// Applies up to [`APPLY_AT_ONCE`] transactions under one lock, and delivers their replies and events
    /// before the lock is released.
    fn apply_some(&mut self, now: Now, committed: Zxid) {
        let shared = self.shared.clone();
        let mut tree = shared.tree.write();
        for _ in 0..APPLY_AT_ONCE {
            if !self.is_due(committed) {
                break;
            }
            let Some(Waiting { work, reads }) = self.waiting.pop_front() else {
                break;
            };
            self.popped += 1;
            self.reads_behind -= reads.len();
            match work {
                Work::Proposal(proposal) => self.apply(now, &mut tree, proposal),
                Work::Forwarded { .. } => {}
                Work::Sync { asker, path } => {
                    self.answer_short(asker, Ok(Some(&path)), tree.last_zxid());
                }
                Work::CloseLocal { asker, session } => {
                    self.answer_short(asker, Ok(None), tree.last_zxid());
                    self.session_closed(session);
                }
                Work::Refused { asker, error } => {
                    self.answer_short(asker, Err(error), tree.last_zxid());
                }
            }
            for read in reads {
                self.answer_read(now, &tree, read);
            }
        }
        self.deliver();
        drop(tree);
    }

    /// Moves what is to be sent into the outboxes; whoever calls it holds the tree's lock.
    pub(super) fn deliver(&mut self) {
        let outputs = &mut self.outputs;
        let sent = self
            .replies
            .deliver(|conn| outputs.push_back(Output::Wake(conn)));
        if sent > 0 {
            self.shared.metrics.packets_sent.add(sent);
        }
    }

    fn apply(&mut self, now: Now, tree: &mut DataTree, proposal: Proposal) {
        let Proposal {
            header,
            txn,
            digest,
            origin,
            received,
        } = proposal;
        self.effects.clear();
        let applied = tree.apply(&header, &txn, &mut self.effects);
        self.prep.applied(header.zxid);
        self.verify(tree, header.zxid, digest);
        self.tell(header.zxid);
        let waited = millis_since(received, now);
        match origin {
            Origin::Request { asker, op, refusal } => {
                let error = match applied.error() {
                    ErrorCode::Ok => ErrorCode::Ok,
                    error => refusal.unwrap_or(error),
                };
                self.answer(now, asker, op, header, (&applied, error), waited);
            }
            Origin::Connect { conn, read_only } => {
                self.session_created(now, &conn, header, &txn, read_only)
            }
            Origin::Internal => self.session_learned(now, header, &txn),
        }
        if matches!(applied, Applied::SessionClosed) {
            self.session_closed(header.client_id);
        }
        let metrics = &self.shared.metrics;
        metrics.latency.add(waited);
        metrics.update_latency.add(waited);
        metrics.commits.add(1);
    }

    /// The tree must be what the proposer said it would be; a difference is counted and told, as in Apache's
    /// server, which has such differences of its own making.
    fn verify(&self, tree: &DataTree, zxid: Zxid, expected: Option<TxnDigest>) {
        let Some(expected) = expected else { return };
        let found = tree.digest().to_i64();
        if found != expected.tree_digest {
            self.shared.metrics.digest_mismatches.add(1);
            tracing::error!(%zxid, found, expected = expected.tree_digest, "digest mismatch");
        }
    }

    /// Hands every event to those who wait for it and may read the node.
    fn tell(&mut self, zxid: Zxid) {
        if self.effects.events().is_empty() {
            return;
        }
        let replies = &mut self.replies;
        let mut watches = self.shared.watches.lock();
        let metrics = &self.shared.metrics;
        for event in self.effects.events() {
            let mut frame = Frames::new();
            let mut told = 0;
            watches.trigger(event.kind, event.path(), |id| {
                let Some(slot) = replies.watcher(id) else {
                    return;
                };
                if !event.readable_by(&slot.conn.credentials()) {
                    return;
                }
                if frame.is_empty() {
                    frames::put_event(&mut frame, zxid, event.kind, event.path());
                }
                slot.frames.own_mut().extend_from_slice(frame.own_mut());
                slot.sent += 1;
                told += 1;
            });
            count_events(metrics, event.kind, told);
            metrics.watch_bytes.add(told * frame.len() as u64);
        }
    }

    fn answer(
        &mut self,
        now: Now,
        asker: Asker,
        op: OpCode,
        header: TxnHeader,
        (applied, error): (&Applied, ErrorCode),
        waited: u64,
    ) {
        let Some(slot) = self.replies.frame_to(asker.conn, asker.serial) else {
            self.shared.metrics.stale_replies.add(1);
            return;
        };
        let before = slot.frames.len();
        let _ = frames::put_reply(&mut slot.frames, asker.xid, header.zxid, |out| {
            applied.encode_reply(out.own_mut());
            match error {
                ErrorCode::Ok => Ok(()),
                error => Err(error),
            }
        });
        slot.answered += 1;
        slot.sent += 1;
        slot.conn
            .stats
            .replied(asker.xid, op.code(), header.zxid, now);
        slot.conn.stats.took(waited, 1);
        let size = slot.frames.len() - before;
        self.shared.metrics.response_sizes.add(size);
    }

    fn answer_read(&mut self, now: Now, tree: &DataTree, read: Behind) {
        let Behind {
            asker,
            session,
            credentials,
            request,
            received,
        } = read;
        let Some(slot) = self.replies.frame_to(asker.conn, asker.serial) else {
            return;
        };
        let caller = Caller {
            conn: asker.conn,
            session,
            credentials: &credentials,
        };
        let shared = &self.shared;
        put_read(
            &mut slot.frames,
            tree,
            &shared.watches,
            &caller,
            asker.xid,
            &request,
        );
        slot.answered += 1;
        slot.sent += 1;
        let op = request.op_code().code();
        slot.conn
            .stats
            .replied(asker.xid, op, tree.last_zxid(), now);
        let waited = millis_since(received, now);
        slot.conn.stats.took(waited, 1);
        shared.metrics.latency.add(waited);
        shared.metrics.read_latency.add(waited);
    }

    /// Answers what is no transaction: a sync, or a refusal.
    pub(super) fn answer_short(
        &mut self,
        asker: Asker,
        answer: Result<Option<&Utf8Bytes>, ErrorCode>,
        last: Zxid,
    ) {
        let Some(slot) = self.replies.frame_to(asker.conn, asker.serial) else {
            return;
        };
        let _ = frames::put_reply(&mut slot.frames, asker.xid, last, |out| {
            answer.map(|path| {
                if let Some(path) = path {
                    path.encode(out.own_mut());
                }
            })
        });
        slot.answered += 1;
        slot.sent += 1;
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

fn millis_since(then: Duration, now: Now) -> u64 {
    let millis = now.mono.saturating_sub(then).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn count_events(metrics: &Metrics, event: EventType, told: u64) {
    let summary = match event {
        EventType::NodeCreated => &metrics.created_events,
        EventType::NodeDeleted => &metrics.deleted_events,
        EventType::NodeDataChanged => &metrics.changed_events,
        _ => &metrics.children_events,
    };
    if told > 0 {
        summary.add(told);
    }
}

/// A standalone server counts on through the epoch's end, as Apache's does.
const fn next(zxid: Zxid) -> Zxid {
    Zxid(zxid.0 + 1)
}

//! Applying what was agreed on, and telling everybody whom it concerns: under one lock of the tree, so that no reply and no
//! event is overtaken by what it reveals.

use std::time::Duration;

use zk_proto::{
    Encode, ErrorCode, OpCode, Utf8Bytes, Zxid,
    txn::{Txn, TxnDigest, TxnHeader},
    watch::EventType,
};

use super::{
    Output, Peer,
    waiting::{Asker, Behind, Origin, Proposal, Waiting, Work},
};
use crate::{
    conn::{reads::put_read, reply as frames},
    frames::Frames,
    metrics::Metrics,
    time::Now,
    tree::{Applied, DataTree, read::Caller},
};

/// Most transactions applied under one lock; readers get their turn in between.
const APPLY_AT_ONCE: usize = 512;

impl Peer {
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

    /// Applies up to [`APPLY_AT_ONCE`] transactions under one lock, and delivers their replies and events
    /// before the lock is released.
    pub(super) fn apply_some(&mut self, now: Now, committed: Zxid) {
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

    pub(super) fn apply(&mut self, now: Now, tree: &mut DataTree, proposal: Proposal) {
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

    /// The tree must be what the proposer said it would be; a difference is counted and told, as in Apache's
    /// server, which has such differences of its own making. A snapshot that Apache's leader sends is one of them: it goes
    /// on applying meanwhile, and until its end is reached here the tree is ahead.
    pub(super) fn verify(&mut self, tree: &DataTree, zxid: Zxid, expected: Option<TxnDigest>) {
        let Some(expected) = expected else { return };
        let found = tree.digest().to_i64();
        if found == expected.tree_digest {
            self.tree_is_ahead = 0;
        } else if self.tree_is_ahead > 0 {
            self.tree_is_ahead -= 1;
        } else {
            self.shared.metrics.digest_mismatches.add(1);
            tracing::error!(%zxid, found, expected = expected.tree_digest, "digest mismatch");
        }
    }

    /// Hands every event to those who wait for it and may read the node.
    pub(super) fn tell(&mut self, zxid: Zxid) {
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

    pub(super) fn answer(
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
        if has_moved(applied, error) {
            // No answer, but the end of this connection (`FinalRequestProcessor`, ZOOKEEPER-710): where the leader heard late of
            // a connection that the client has given up since, only its coming anew tells the leader where it is.
            let conn = slot.conn.clone();
            return self.replies.cut_off(&conn);
        }
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

    pub(super) fn answer_read(&mut self, now: Now, tree: &DataTree, read: Behind) {
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

/// Whether the session was the business of another server when it asked for this; a multi is told that of each of its operations.
fn has_moved(applied: &Applied, error: ErrorCode) -> bool {
    let moved = |part: &Applied| matches!(part, Applied::Error(ErrorCode::SessionMoved));
    let in_multi = matches!(applied, Applied::Multi(parts) if parts.iter().any(moved));
    in_multi || error == ErrorCode::SessionMoved
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

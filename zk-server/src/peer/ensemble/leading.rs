//! The leader's part for the clients of its learners.

use std::time::Duration;

use zk_proto::{
    Decode, ErrorCode, OpCode, Reader, SessionId, Xid, Zxid, op::Request, quorum::SessionTouch,
};

use super::{Order, Peer};
use crate::{
    auth::Credentials,
    peer::{space::needs_room, waiting::Origin},
    prep::{Standing, WriteOp, WriteRequest},
    time::Now,
    zab::{self, ForwardedRequest, LeaderInput, LinkId, LoggedSpan},
};

/// Most bytes of the log that are held in memory for a learner, also where `snapshotSizeFactor` is 0.
const HISTORY_MAX: u64 = 1 << 30;

/// What a node takes in a snapshot beside its path and data.
const NODE_OVERHEAD: u64 = 80;

impl Peer {
    /// A learner's client wants something written: it takes its place among the proposals, whatever comes of it.
    pub(super) fn forwarded(&mut self, now: Now, link: LinkId, request: ForwardedRequest) {
        let ForwardedRequest {
            session,
            cxid,
            op,
            body,
            identities,
        } = request;
        let op = OpCode::from_i32(op);
        // It was sent no longer ago than what the learner's next answer to a ping will tell: a client that has an answer
        // to a `sync` may count on its session from the moment it asked.
        if self.is_owner(session, link) {
            self.sessions.heard(session, now);
        }
        if op == Some(OpCode::Sync) {
            let input = LeaderInput::Sync(Some(link));
            return self.agree(now, zab::Input::Leader(input));
        }
        if op == Some(OpCode::CreateSession) {
            let timeout_ms = i32::decode(&mut Reader::new(body)).unwrap_or_default();
            self.own(session, link);
            // From now on, and not from its commit: what was a local session sends requests behind this one.
            self.sessions.commit(session, duration(timeout_ms), now);
            let op = WriteOp::CreateSession { timeout_ms };
            return self.propose_internal(now, session, op, Origin::Internal);
        }
        let as_global = self.standing_of_remote(session, link);
        let mut standing = self.standing_elsewhere(session, as_global);
        let identities = identities.unwrap_or_default();
        let credentials = Credentials::of_forwarded(identities, &self.shared.auth);
        let request = op.and_then(|op| Request::decode(op, &mut Reader::new(body)).ok());
        // The learner waits for a transaction, and this one is small: the refusal.
        if self.low_space && request.as_ref().is_some_and(needs_room) {
            standing = Standing {
                session: standing.session.and(Err(ErrorCode::SystemError)),
                ephemeral: standing.ephemeral.and(Err(ErrorCode::SystemError)),
            };
        }
        if op == Some(OpCode::CloseSession) && standing.session.is_ok() {
            self.sessions.set_closing(session);
        }
        self.propose_forwarded(now, session, cxid, &credentials, standing, request.as_ref());
    }

    fn propose_forwarded(
        &mut self,
        now: Now,
        session: SessionId,
        cxid: Xid,
        credentials: &Credentials,
        standing: Standing,
        request: Option<&Request>,
    ) {
        let Some(zxid) = self.next_zxid() else {
            return;
        };
        let next = self.next_configuration(request, zxid);
        let write = WriteRequest {
            session,
            cxid,
            credentials,
            standing,
            op: match request {
                Some(Request::Reconfig(_)) if let Some(next) = &next => WriteOp::Reconfig(next),
                Some(Request::CloseSession) => WriteOp::CloseSession,
                Some(request) => WriteOp::Request(request),
                None => WriteOp::Malformed,
            },
        };
        let shared = self.shared.clone();
        let prepared = self.prep.prepare(&shared.tree.read(), &write, zxid, now);
        self.propose(now, prepared, Origin::Internal, now.mono);
    }

    fn own(&mut self, session: SessionId, link: LinkId) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.owners.insert(session, link);
        }
    }

    fn is_owner(&self, session: SessionId, link: LinkId) -> bool {
        let ensemble = self.ensemble.as_ref();
        ensemble.is_some_and(|ensemble| ensemble.owners.get(&session) == Some(&link))
    }

    /// Whether this learner may speak for this session (`checkSession`): it has made it, or was the last one to ask
    /// whether it is alive. A session that has been here since is nobody's until somebody asks again: what a client
    /// sent over an older connection must not come after what it was answered here.
    fn standing_of_remote(&self, session: SessionId, link: LinkId) -> Result<(), ErrorCode> {
        self.sessions.check_remote(session)?;
        match self.is_owner(session, link) {
            true => Ok(()),
            false => Err(ErrorCode::SessionMoved),
        }
    }

    /// A learner lacks more than is in memory: the log may tell it, if that takes less than a snapshot would
    /// (`ZKDatabase.calculateTxnLogSizeLimit`, which measures the newest snapshot's file).
    pub(super) fn read_log(&mut self, now: Now, link: LinkId, from: Zxid) {
        let factor = self.options.snapshot_size_factor;
        if factor < 0.0 {
            return self.log_read(now, link, None);
        }
        let tree = self.shared.tree.read();
        let nodes = u64::try_from(tree.node_count()).unwrap_or(u64::MAX);
        let snapshot = tree.approximate_data_size() + nodes * NODE_OVERHEAD;
        drop(tree);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "about a third of a size"
        )]
        let worth_it = (factor > 0.0).then_some((snapshot as f64 * factor) as u64);
        let limit = Some(worth_it.unwrap_or(HISTORY_MAX).min(HISTORY_MAX));
        self.order(Order::ReadLog { link, from, limit });
    }

    pub(super) fn log_read(&mut self, now: Now, link: LinkId, span: Option<LoggedSpan>) {
        let input = LeaderInput::LogRead { link, span };
        self.agree(now, zab::Input::Leader(input));
    }

    /// A learner's client has come with a session: it is that learner's from now on.
    pub(super) fn revalidate(&mut self, now: Now, link: LinkId, touch: SessionTouch) {
        let SessionTouch {
            session,
            timeout_ms,
        } = touch;
        let valid = self.sessions.move_away(session, duration(timeout_ms), now);
        if let Ok(before) = &valid {
            self.own(session, link);
            if let Some(conn) = before {
                self.close(conn);
            }
        }
        let input = LeaderInput::Revalidated {
            link,
            session,
            valid: valid.is_ok(),
        };
        self.agree(now, zab::Input::Leader(input));
    }

    /// Clients of a learner were heard of.
    pub(super) fn touched(&mut self, now: Now, sessions: &[SessionTouch]) {
        for touch in sessions {
            self.sessions
                .touch(touch.session, duration(touch.timeout_ms), now);
        }
    }

    /// A client of the leader's own has this session now, or it is over: it is no learner's.
    pub(in crate::peer) fn disown(&mut self, session: SessionId) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.owners.remove(&session);
        }
    }
}

fn duration(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default())
}

//! Read-only mode (`ReadOnlyZooKeeperServer.java`, `readonlymode.enabled`): a member that has looked for a leader for
//! a while serves what it has to clients that have said that they can do with that.
//!
//! Invariants: nothing is proposed, logged or applied, and no zxid moves (ZOOKEEPER-3526); sessions are this member's
//! own and in memory only (ZOOKEEPER-3864), so no client of the ensemble's is expired here; the moment a leader is
//! elected every connection is closed, since what its client saw may be older than what it saw elsewhere.
//!
//! What is served is this member's log to its end: also what no quorum may ever have had.

use std::{sync::Arc, time::Duration};

use zk_proto::{SessionId, connect::ConnectRequest, op::Request};

use super::Peer;
use crate::{conn::handle::ConnHandle, peer::local_sessions::maker, time::Now};

/// How long a member looks for a leader before it serves reads, if a tick is not longer (`QuorumPeer.run`).
const GRACE: Duration = Duration::from_secs(2);

/// When to look again whether the disk is drained and the election has begun.
const GLANCE: Duration = Duration::from_millis(10);

/// Whether a member without a leader serves reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ReadOnly {
    /// It does not, and will not.
    #[default]
    Off,
    /// It will, if there is no leader by then.
    From(Duration),
    /// It does.
    On,
}

impl Peer {
    /// Whether clients are served reads, and nothing else.
    pub(in crate::peer) fn is_read_only(&self) -> bool {
        let ensemble = self.ensemble.as_ref();
        ensemble.is_some_and(|ensemble| ensemble.read_only == ReadOnly::On)
    }

    /// The search for a leader begins. A history that lacks something is not shown to anybody.
    pub(super) fn await_read_only(&mut self, now: Now) {
        let grace = GRACE.max(self.options.tick);
        if let Some(ensemble) = self.ensemble.as_mut().filter(|_| self.options.read_only)
            && !ensemble.member.epochs().awaits_sync
        {
            ensemble.read_only = ReadOnly::From(now.mono + grace);
        }
    }

    pub(in crate::peer) fn read_only_deadline(&self) -> Option<Duration> {
        match self.ensemble.as_ref()?.read_only {
            ReadOnly::Off => None,
            ReadOnly::From(at) => Some(at),
            ReadOnly::On => self.sessions.next_deadline(),
        }
    }

    pub(in crate::peer) fn meet_read_only_deadline(&mut self, now: Now) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        match ensemble.read_only {
            ReadOnly::From(at) if at <= now.mono => match ensemble.member.is_looking() {
                true => self.begin_read_only(now),
                false => ensemble.read_only = ReadOnly::From(now.mono + GLANCE),
            },
            ReadOnly::On => self.expire_due(now),
            _ => {}
        }
    }

    fn begin_read_only(&mut self, now: Now) {
        tracing::warn!("no quorum: serving reads, to clients that can do with that");
        self.begin_book(now, false);
        let last = self.shared.tree.read().last_zxid();
        (self.last_proposed, self.last_committed) = (last, last);
        self.set_read_only(ReadOnly::On);
        *self.shared.mode.write() = Some("read-only");
    }

    /// There is a leader: the clients find a member that takes writes, maybe this one in a moment.
    pub(super) fn end_read_only(&mut self) {
        if self.is_read_only() {
            *self.shared.mode.write() = None;
            self.hang_up();
        }
        self.set_read_only(ReadOnly::Off);
    }

    fn set_read_only(&mut self, read_only: ReadOnly) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.read_only = read_only;
        }
    }

    /// A connection's first frame. One that needs writes, or has a session that may be the ensemble's, is sent away
    /// without a word: only another member can tell whether that session is alive. It may be, where it is in this tree,
    /// and where another member made it, maybe after this one was cut off.
    pub(in crate::peer) fn connect_read_only(
        &mut self,
        now: Now,
        conn: &Arc<ConnHandle>,
        request: &ConnectRequest,
    ) {
        self.shared.metrics.connection_requests.add(1);
        let session = request.session_id;
        let tree = self.shared.tree.read();
        let is_ahead = request.last_zxid_seen > tree.last_zxid();
        let is_global = tree.session_timeout(session).is_some();
        drop(tree);
        let is_ours = session == SessionId::NONE || maker(session) == self.options.server;
        if request.read_only != Some(true) || is_ahead || is_global || !is_ours {
            return self.close(conn);
        }
        let timeout_ms = self.granted_timeout(request);
        if session == SessionId::NONE {
            self.open_local_session(now, conn, timeout_ms, request.read_only);
        } else {
            let valid = self.options.passwords.verify(session, &request.password)
                && self.sessions.is_local(session);
            self.attach(now, conn, request, timeout_ms, valid);
        }
    }
}

/// Whether a request is answered with NOTREADONLY (`ReadOnlyRequestProcessor`); `None` is a multi that could not be
/// decoded. The end of a session is that of one in memory only.
pub(in crate::peer) fn needs_quorum(request: Option<&Request>) -> bool {
    match request {
        None | Some(Request::Sync(_)) => true,
        Some(Request::CloseSession) => false,
        Some(request) => request.op_code().is_write(),
    }
}

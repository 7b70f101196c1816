//! Writes and syncs.

use bytes::Bytes;
use zk_proto::{
    OpCode, SessionId, Xid, Zxid,
    quorum::{ServerState, SessionTouch},
};
use zk_server::zab::{ForwardedRequest, Input, LeaderInput, LearnerInput, LinkId, Transaction};

use super::{Event, World, disks, id};
use crate::node::{entry, write_of};

/// How many sessions read.
const SESSIONS: i64 = 6;

/// Whether the leader knows a session.
const fn is_valid(session: SessionId) -> bool {
    session.0 % 3 != 0
}

impl World {
    pub(super) fn client(&mut self) {
        let interval = self.swarm.write_interval;
        let next = self.random_duration(interval / 10, interval * 2);
        self.schedule(next, Event::Client);
        if self.has_progressed() {
            return;
        }
        let node = self.random.usize(0..self.nodes.len());
        match self.random.u8(0..8) {
            0 | 1 => self.sync_at(node),
            2 | 3 => self.read_at(node),
            _ => self.write_at(node),
        }
    }

    /// A session comes to this member, or is there already, and reads everything.
    fn read_at(&mut self, node: usize) {
        let Some(state) = self.serves(node) else {
            return;
        };
        let session = SessionId(self.random.i64(0..SESSIONS));
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if self.oracle.read(session, &process.applied) {
            self.report.reads += 1;
        }
        if state == ServerState::Leading {
            return;
        }
        let timeout_ms = 4_000;
        let touch = SessionTouch {
            session,
            timeout_ms,
        };
        process.touched.push(touch);
        process.revalidating.push_back(session);
        self.input(node, Input::Learner(LearnerInput::Revalidate(touch)));
    }

    pub(super) fn touched(&mut self, sessions: &[SessionTouch]) {
        for touch in sessions {
            assert!((0..SESSIONS).contains(&touch.session.0), "{touch:?}");
        }
        self.report.touched += sessions.len();
    }

    pub(super) fn revalidate(&mut self, node: usize, link: LinkId, session: SessionId) {
        let valid = is_valid(session);
        let answer = LeaderInput::Revalidated {
            link,
            session,
            valid,
        };
        self.todo(node, Input::Leader(answer));
    }

    pub(super) fn revalidated(&mut self, node: usize, session: SessionId, valid: bool) {
        assert_eq!(valid, is_valid(session), "{session:?}");
        if let Some(process) = &mut self.nodes[node].process {
            let asked = process.revalidating.pop_front();
            assert_eq!(asked, Some(session), "answers have the order of questions");
            self.report.revalidated += 1;
        }
    }

    fn serves(&self, node: usize) -> Option<ServerState> {
        let process = self.nodes[node].process.as_ref()?;
        let serves = process.serving && self.nodes[node].paused_until <= self.now;
        serves.then(|| process.member.state())
    }

    /// A client of this member writes.
    pub(crate) fn write_at(&mut self, node: usize) {
        let Some(state) = self.serves(node) else {
            return;
        };
        self.last_write += 1;
        let write = self.last_write;
        if let Some(process) = &mut self.nodes[node].process {
            process.pending.insert(write);
        }
        self.oracle.submit(node, write);
        if state == ServerState::Leading {
            self.propose(node, write);
            self.pump(node);
        } else {
            self.forward(node, write, OpCode::Create);
        }
    }

    /// A client of this member asks to be brought up to date.
    pub(crate) fn sync_at(&mut self, node: usize) {
        let Some(state) = self.serves(node) else {
            return;
        };
        let acknowledged = self.oracle.acknowledged.len();
        if let Some(process) = &mut self.nodes[node].process {
            process.syncs.push_back(acknowledged);
        }
        if state == ServerState::Leading {
            self.input(node, Input::Leader(LeaderInput::Sync(None)));
        } else {
            self.forward(node, 0, OpCode::Sync);
        }
    }

    pub(super) fn forward(&mut self, node: usize, write: u64, op: OpCode) {
        let request = ForwardedRequest {
            session: SessionId(write as i64),
            cxid: Xid(0),
            op: op.code(),
            body: Bytes::new(),
            identities: None,
        };
        self.input(node, Input::Learner(LearnerInput::Forward(request)));
    }

    pub(super) fn forwarded(&mut self, node: usize, link: LinkId, request: &ForwardedRequest) {
        if request.op == OpCode::Sync.code() {
            self.todo(node, Input::Leader(LeaderInput::Sync(Some(link))));
        } else {
            self.propose(node, request.session.0 as u64);
        }
    }

    pub(super) fn propose(&mut self, node: usize, write: u64) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let Some(next) = process
            .member
            .leader()
            .and_then(|leader| leader.next_zxid())
        else {
            return;
        };
        // Several may be waiting for their turn.
        let queued = process
            .todo
            .iter()
            .filter(|input| matches!(input, Input::Leader(LeaderInput::Propose(_))));
        let zxid = Zxid(next.0 + queued.count() as i64);
        let entry = entry(zxid, write);
        self.oracle.propose(node, zxid, &entry, write);
        process
            .todo
            .push_back(Input::Leader(LeaderInput::Propose(Transaction {
                zxid,
                entry,
            })));
    }

    /// Hands over what is to be done.
    pub(super) fn pump(&mut self, node: usize) {
        if let Some(first) = self.nodes[node]
            .process
            .as_mut()
            .and_then(|p| p.todo.pop_front())
        {
            let process = self.nodes[node].process.as_mut();
            let rest: Vec<_> = process
                .map(|p| p.todo.drain(..).collect())
                .unwrap_or_default();
            self.input(node, first);
            for input in rest {
                self.input(node, input);
            }
        }
    }

    pub(super) fn commit(&mut self, node: usize, transaction: &Transaction) {
        self.trace(format_args!("{}  commits {}", id(node).0, transaction.zxid));
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.apply(&transaction.entry);
        let write = write_of(&transaction.entry);
        let first = process.pending.first().copied();
        let mine = process.pending.remove(&write);
        assert!(
            !mine || first == Some(write),
            "G6: {write} before {first:?}"
        );
        let applied = std::mem::take(&mut process.applied);
        let electorate = self.electorate(&applied);
        let disks = disks(&self.nodes);
        self.oracle
            .commit(&applied, &transaction.entry, &disks, &electorate);
        if mine {
            self.oracle.acknowledge(write, &applied);
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.applied = applied;
        }
    }

    pub(super) fn synced(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if let Some(acknowledged) = process.syncs.pop_front() {
            self.oracle.check_sync(&process.applied, acknowledged);
            self.trace(format_args!("{}  answers a sync", id(node).0));
            self.report.syncs += 1;
        }
    }
}

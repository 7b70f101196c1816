//! Writes and syncs.

use bytes::Bytes;
use zk_proto::{OpCode, SessionId, Xid, Zxid, quorum::ServerState};
use zk_server::zab::{ForwardedRequest, Input, LeaderInput, LearnerInput, LinkId, Transaction};

use super::{Event, World, disks, id};
use crate::node::{entry, write_of};

impl World {
    pub(super) fn client(&mut self) {
        let interval = self.swarm.write_interval;
        let next = self.random_duration(interval / 10, interval * 2);
        self.schedule(next, Event::Client);
        if self.has_progressed() {
            return;
        }
        let node = self.random.usize(0..self.nodes.len());
        match self.random.u8(0..4) {
            0 => self.sync_at(node),
            _ => self.write_at(node),
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
        self.oracle.propose(node, zxid, &entry);
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
        let mine = process.pending.remove(&write);
        let applied = std::mem::take(&mut process.applied);
        let (disks, quorum) = disks(&self.nodes, self.swarm.voters);
        self.oracle
            .commit(&applied, &transaction.entry, &disks, quorum);
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

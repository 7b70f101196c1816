//! Disks.

use zk_proto::Zxid;
use zk_server::{
    storage::{DiskDone, DiskOp, EpochKind, HistoryPieces, survey_history},
    zab::{Input, LearnerInput, LoggedSpan, Transaction, follows},
};

use super::{Event, World, disks, id};
use crate::{
    node::{Done, Running, Work},
    swarm::Fault,
};

impl World {
    pub(super) fn ask_disk(&mut self, node: usize, op: DiskOp) {
        let known = disks(&self.nodes);
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        match (&op, process.member.leader()) {
            (DiskOp::SaveEpoch { kind, epoch }, Some(leader)) if *kind == EpochKind::Current => {
                let in_force = leader.configurations().committed().verifier();
                self.oracle
                    .begin(*epoch, &process.applied, &known, in_force);
            }
            (DiskOp::Truncate { to }, None) => {
                let disk = &self.nodes[node].durable;
                self.oracle.check_cut(disk, *to, process.leader_epoch);
            }
            _ => {}
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.ops.push(Work::Op(op));
        }
    }

    pub(super) fn ask_install(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.ops.push(Work::Install);
        }
    }

    pub(super) fn start_disk(&mut self, node: usize) {
        let at_once = self.random.bool();
        let slow = self.nodes[node].slow_until > self.now;
        let base = if slow {
            self.swarm.sync_time * 50
        } else {
            self.swarm.sync_time
        };
        let took = self.random_duration(base / 4, base * 2);
        let target = &mut self.nodes[node];
        let incarnation = target.incarnation;
        let Some(process) = &mut target.process else {
            return;
        };
        if process.running.is_some() || process.ops.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut process.ops);
        // A crash in between finds it done or not.
        let running = match at_once {
            true => Running::Executed(self.execute(node, batch)),
            false => Running::Planned(batch),
        };
        if let Some(process) = &mut self.nodes[node].process {
            process.running = Some(running);
        }
        self.schedule(took, Event::Disk { node, incarnation });
    }

    pub(super) fn execute(&mut self, node: usize, batch: Vec<Work>) -> Vec<Done> {
        let done = self.nodes[node].execute(batch);
        if let Some(tried) = &mut self.nodes[node].unwritten {
            for _ in 0..std::mem::take(tried) {
                self.report.struck(Fault::Unwritten);
            }
        }
        for done in &done {
            if let Done::Op(DiskDone::EpochSaved {
                kind: EpochKind::Current,
                epoch,
            }) = done
            {
                self.oracle
                    .check_current(&self.nodes[node].durable, epoch.get());
            }
        }
        done
    }

    pub(super) fn disk(&mut self, node: usize, incarnation: u32) {
        let Some(process) = self.process(node, incarnation) else {
            return;
        };
        let done = match process.running.take() {
            None => return,
            Some(Running::Executed(done)) => done,
            Some(Running::Planned(batch)) => self.execute(node, batch),
        };
        for done in done {
            let done = match done {
                Done::Op(done) => done,
                Done::NotInstalled => return self.stop(node, false),
                Done::Installed => {
                    self.installed(node);
                    continue;
                }
            };
            if let DiskDone::Failed(fatal) = &done {
                self.trace(format_args!("{}  stops: {fatal}", id(node).0));
                self.nodes[node].died_of = Some(fatal.to_string());
                if let Some(fault) = self.nodes[node].broken {
                    self.report.struck(fault);
                }
                return self.stop(node, false);
            }
            self.trace_disk(node, &done);
            self.input(node, Input::Disk(done));
        }
        self.start_disk(node);
    }

    fn trace_disk(&mut self, node: usize, done: &DiskDone) {
        let id = id(node).0;
        match done {
            DiskDone::Synced { zxid, .. } => {
                self.trace(format_args!("{id}  disk: log up to {}", zxid.get()));
            }
            DiskDone::Truncated { to, .. } => {
                self.trace(format_args!("{id}  disk: log cut after {}", to.get()));
            }
            DiskDone::EpochSaved { kind, epoch } => {
                let file = match kind {
                    EpochKind::Accepted => "acceptedEpoch",
                    EpochKind::Current => "currentEpoch",
                };
                self.trace(format_args!("{id}  disk: {file} {}", epoch.get().0));
            }
            DiskDone::HistoryComplete => self.trace(format_args!("{id}  disk: history complete")),
            DiskDone::Barrier { .. } | DiskDone::Failed(_) => {}
        }
    }

    fn installed(&mut self, node: usize) {
        self.trace(format_args!("{}  disk: snapshot", id(node).0));
        let process = self.nodes[node].process.as_ref();
        let learner = process.and_then(|process| process.member.learner());
        // Another role may have begun since.
        if learner.is_some_and(|learner| learner.is_installing()) {
            self.input(node, Input::Learner(LearnerInput::SnapshotInstalled));
        }
    }

    /// What the log has from the last record not after `from` on.
    pub(super) fn survey_log(&self, node: usize, from: Zxid) -> Option<LoggedSpan> {
        if !self.swarm.reads_log {
            return None;
        }
        let process = self.nodes[node].process.as_ref()?;
        // A disk that fails here is of no use to the learner; the log finds out by itself.
        let span = survey_history(&process.directories, from, None, follows, || true);
        let (first, last) = span.unwrap_or(None)?;
        Some(LoggedSpan { first, last })
    }

    /// What the log has after the first one of these and up to the second; `None` if it cannot be read.
    pub(super) fn read_log(
        &self,
        node: usize,
        (after, until): (Zxid, Zxid),
    ) -> Option<Vec<Transaction>> {
        let process = self.nodes[node].process.as_ref()?;
        let mut history = HistoryPieces::open(&process.directories, after, until, follows).ok()?;
        let mut all = Vec::new();
        while let Some(piece) = history.next_piece(100).ok()? {
            let transaction = |(zxid, entry)| Transaction { zxid, entry };
            all.extend(piece.into_iter().map(transaction));
        }
        Some(all)
    }
}

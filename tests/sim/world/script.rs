//! What a scripted scenario may ask for, and how it ends.

use std::time::Duration;

use zk_proto::{Epoch, quorum::ServerState};
use zk_server::storage::{DiskOp, mem_disk::FaultyCall};

use super::World;
use crate::{node::Work, swarm::Fault};

/// A fault that a scenario has planned.
#[derive(Debug)]
pub(super) struct Planned {
    node: usize,
    call: FaultyCall,
    /// Whether the disk has failed so.
    struck: bool,
}

impl World {
    /// Breaks every link of the quorum port; of what is on them, only a part arrives.
    pub(crate) fn reset_links(&mut self) {
        let links: Vec<_> = self.net.links.keys().copied().collect();
        for link in links {
            self.reset(link);
        }
    }

    /// Nothing gets from one member to the other for a long time; the other way it does.
    pub(crate) fn cut_one_way(&mut self, from: usize, to: usize) {
        let until = self.now + Duration::from_secs(3_600);
        self.net.cut(from, to, until);
    }

    /// From now on this member's disk takes its time.
    pub(crate) fn slow_disk(&mut self, node: usize) {
        self.nodes[node].slow_until = self.now + Duration::from_secs(3_600);
    }

    /// The `nth` call of this kind fails, and with it the disk and the process; it is to strike before all comes to rest.
    pub(crate) fn fail_disk(&mut self, node: usize, call: FaultyCall, nth: u32) {
        let kind = std::io::ErrorKind::Other;
        self.nodes[node].disk.fail(call, nth, kind);
        self.plan(node, call);
    }

    /// As [`fail_disk`](Self::fail_disk), and the calls are counted from where the log is next cut.
    pub(crate) fn fail_cut(&mut self, node: usize, call: FaultyCall, nth: u32) {
        self.nodes[node].fails_at_cut = Some((call, nth));
        self.plan(node, call);
    }

    fn plan(&mut self, node: usize, call: FaultyCall) {
        self.nodes[node].broken = Some(Fault::DiskError);
        self.planned.push(Planned {
            node,
            call,
            struck: false,
        });
    }

    /// Notes which faults of this disk have struck, before it forgets them.
    pub(super) fn note_struck(&mut self, node: usize) {
        let disk = &self.nodes[node].disk;
        let of_node = self.planned.iter_mut().filter(|plan| plan.node == node);
        of_node.for_each(|plan| plan.struck |= disk.has_failed(plan.call));
    }

    /// What the disk said when this member ended because of it, the last time.
    pub(crate) fn died_of(&self, node: usize) -> &str {
        self.nodes[node].died_of.as_deref().unwrap_or("nothing")
    }

    /// Its next record begins another log file.
    pub(crate) fn roll_log(&mut self, node: usize) {
        if let Some(process) = &mut self.nodes[node].process {
            process.ops.push(Work::Op(DiskOp::RollLog));
        }
    }

    /// How often anybody left a role.
    pub(crate) fn departures(&self) -> u32 {
        self.report.departures.values().sum()
    }

    /// This member stands still for a while.
    pub(crate) fn pause(&mut self, node: usize, time: Duration) {
        self.nodes[node].paused_until = self.now + time;
    }

    /// Lets time pass until somebody does or says something like this.
    pub(crate) fn run_until(&mut self, text: &str) {
        let limit = self.now + Duration::from_secs(60);
        self.awaited = Some(text.to_owned());
        while self.awaited.is_some() {
            assert!(self.now < limit, "nobody says {text:?}");
            self.step();
        }
    }

    /// The next message of this name that a leader sends arrives in part, and its link breaks.
    pub(crate) fn break_off_within(&mut self, message: &str) {
        self.breaks_off = Some(message.to_owned());
    }

    /// What it is, as it tells others.
    pub(crate) fn state_of(&self, node: usize) -> Option<ServerState> {
        let process = self.nodes[node].process.as_ref()?;
        Some(process.member.state())
    }

    /// The epoch that this member's disk knows it has promised.
    pub(crate) fn accepted_epoch(&self, node: usize) -> Epoch {
        self.nodes[node].durable.accepted
    }

    pub(crate) fn is_serving(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.serving)
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// Whether it runs without a vote.
    pub(crate) fn awaits_sync(&self, node: usize) -> bool {
        self.nodes[node].awaits_sync()
    }

    /// Whether its loss is made good by others, as far as the oracle knows.
    pub(crate) fn has_lost(&self, node: usize) -> bool {
        !self.nodes[node].durable.lost.is_empty()
    }

    /// Somebody removes `acceptedEpoch` while the member does not run.
    pub(crate) fn forget_promise(&self, node: usize) {
        assert!(!self.is_running(node));
        self.nodes[node].forget_promise();
    }

    /// Whether it believes that it leads.
    pub(crate) fn leads(&self, node: usize) -> bool {
        self.leaders().contains(&node)
    }

    /// The only one that leads and serves.
    pub(crate) fn leader(&self) -> Option<usize> {
        match self.leaders()[..] {
            [leader] => Some(leader),
            _ => None,
        }
    }

    /// The epoch that this member's disk knows as its current one.
    pub(crate) fn current_epoch(&self, node: usize) -> Epoch {
        self.nodes[node].durable.current
    }

    /// From now on these do not come back; nor are they asked for anything.
    pub(crate) fn leave(&mut self, nodes: &[usize]) {
        self.left.extend(nodes);
    }

    /// From now on nobody's configuration files can be written.
    pub(crate) fn write_no_configurations(&mut self) {
        for node in &mut self.nodes {
            node.unwritten = Some(0);
        }
    }

    /// How many writes were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.oracle.acknowledged.len()
    }

    /// Ends every fault, brings everybody back, and demands that everything becomes well: all serve, all writes are
    /// answered, all members hold the same, and everything acknowledged is there.
    pub(crate) fn come_to_rest(&mut self) {
        self.heal();
        let missed: Vec<_> = self.planned.iter().filter(|plan| !plan.struck).collect();
        assert!(missed.is_empty(), "planned and never struck: {missed:?}");
        let all: Vec<_> = (0..self.nodes.len())
            .filter(|node| !self.left.contains(node))
            .collect();
        for node in &all {
            if !self.is_running(*node) {
                self.restart(*node);
            }
        }
        self.become_well();
        for node in all {
            self.write_at(node);
            self.sync_at(node);
        }
        self.become_well();
        assert!(
            !self.oracle.acknowledged.is_empty(),
            "something was written"
        );
        self.check_quiescence();
    }

    fn become_well(&mut self) {
        for _ in 0..600 {
            if self.is_well() {
                return;
            }
            self.run_for(Duration::from_millis(100));
        }
        panic!("liveness: {:?}", self.states());
    }
}

//! What a scripted scenario may ask for, and how it ends.

use std::time::Duration;

use zk_proto::Epoch;
use zk_server::storage::mem_disk::FaultyCall;

use super::World;
use crate::swarm::Fault;

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

    /// The `nth` call of this kind fails, and with it the disk and the process.
    pub(crate) fn fail_disk(&mut self, node: usize, call: FaultyCall, nth: u32) {
        let kind = std::io::ErrorKind::Other;
        self.nodes[node].disk.fail(call, nth, kind);
        self.nodes[node].broken = Some(Fault::DiskError);
    }

    /// This member stands still for a while.
    pub(crate) fn pause(&mut self, node: usize, time: Duration) {
        self.nodes[node].paused_until = self.now + time;
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// Whether it runs without a vote.
    pub(crate) fn awaits_sync(&self, node: usize) -> bool {
        self.nodes[node].awaits_sync()
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

    /// Ends every fault, brings everybody back, and demands that everything becomes well: all serve, all writes are
    /// answered, all members hold the same, and everything acknowledged is there.
    pub(crate) fn come_to_rest(&mut self) {
        self.heal();
        for node in 0..self.nodes.len() {
            if !self.is_running(node) {
                self.restart(node);
            }
        }
        self.become_well();
        for node in 0..self.nodes.len() {
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

//! Faults.

use std::time::Duration;

use zk_server::{
    reconfig::{Configuration, Configurations},
    storage::{DiskOp, MemDisk, mem_disk::FaultyCall},
    zab::{Input, ZabConfig},
};

use super::{Event, World, id};
use crate::{
    node::{DurableState, Node, Work},
    swarm::Fault,
};

impl World {
    pub(super) fn chaos(&mut self) {
        if self.now >= self.chaos_until {
            if self.swarm.leaves_some {
                self.leave_some();
            }
            return self.heal();
        }
        let fault = self.swarm.faults[self.random.usize(0..self.swarm.faults.len())];
        let node = self.random.usize(0..self.nodes.len());
        let other = (node + self.random.usize(1..self.nodes.len())) % self.nodes.len();
        let lasting = self.random_duration(Duration::from_millis(20), Duration::from_millis(1_500));
        self.trace(format_args!(
            "chaos: {fault:?} {node} {other} {}",
            lasting.as_micros()
        ));
        if !fault.may_miss() {
            self.report.struck(fault);
        }
        let until = self.now + lasting;
        match fault {
            Fault::Kill => self.stop(node, false),
            Fault::PowerCut => self.stop(node, true),
            Fault::PowerCutAll => (0..self.nodes.len()).for_each(|node| self.stop(node, true)),
            Fault::Pause => self.nodes[node].paused_until = until,
            Fault::Cut => {
                self.net.cut(node, other, until);
                self.net.cut(other, node, until);
            }
            Fault::OneWayCut => self.net.cut(node, other, until),
            Fault::Isolate => {
                for other in 0..self.nodes.len() {
                    self.net.cut(node, other, until);
                    self.net.cut(other, node, until);
                }
            }
            Fault::Reset => {
                let links: Vec<_> = self.net.links.keys().copied().collect();
                if !links.is_empty() {
                    let at = self.random.usize(0..links.len());
                    self.reset(links[at]);
                }
            }
            Fault::BreakOff => {
                let links: Vec<_> = self.net.links.keys().copied().collect();
                let to_leader = self.random.bool();
                let at = self.random.usize(0..links.len().max(1));
                let link = links.get(at).and_then(|id| self.net.links.get_mut(id));
                if let Some(link) = link {
                    link.end(to_leader).breaks_off = true;
                }
            }
            Fault::SlowDisk => self.nodes[node].slow_until = until,
            Fault::DiskError => self.break_disk(node),
            Fault::DiskFull => {
                if self.nodes[node].process.is_some() {
                    self.nodes[node].disk.set_capacity(0);
                    self.nodes[node].broken = Some(fault);
                }
            }
            Fault::Wipe => self.wipe(node),
            Fault::Damage => self.damage_one(node),
            Fault::Snapshot => self.snapshot(node),
            Fault::Reconfig => self.reconfig(node, other),
            Fault::Unwritten | Fault::Left => {}
        }
        let interval = self.swarm.fault_interval;
        let next = self.random_duration(interval / 10, interval);
        self.schedule(next, Event::Chaos);
    }

    /// One of the next calls of a kind fails, and with it the disk.
    fn break_disk(&mut self, node: usize) {
        const CALLS: [FaultyCall; 6] = [
            FaultyCall::Sync,
            FaultyCall::Write,
            FaultyCall::Create,
            FaultyCall::Rename,
            FaultyCall::SetLen,
            FaultyCall::SyncDir,
        ];
        let call = CALLS[self.random.usize(0..CALLS.len())];
        let nth = self.random.u32(1..6);
        let broken = &mut self.nodes[node];
        if broken.process.is_some() {
            broken.disk.fail(call, nth, std::io::ErrorKind::Other);
            broken.broken = Some(Fault::DiskError);
        }
    }

    fn wipe(&mut self, node: usize) {
        // Who votes, and so who may lose what, is not the same for ever.
        if self.swarm.faults.contains(&Fault::Reconfig) {
            return;
        }
        let is_spoiled = |(at, other): (usize, &Node)| at != node && other.spoiled;
        if self.nodes.iter().enumerate().any(is_spoiled) {
            return;
        }
        let voters = &self.nodes[..self.swarm.voters];
        let accepted = voters.iter().map(|node| node.durable.accepted).max();
        // What it has acknowledged may be committed yet.
        let own = self.nodes[node].durable.log.clone();
        let has_everything = |other: &Node| {
            other.durable.log.starts_with(&self.oracle.committed)
                && other.durable.log.starts_with(&own)
                && Some(other.durable.accepted) == accepted
        };
        let mut others = voters.iter().enumerate().filter(|(at, _)| *at != node);
        // Where some voters weigh more, the rest may be no quorum: what it has is then on no quorum's disks.
        let loses_nothing =
            self.can_do_without(node) && others.all(|(_, other)| has_everything(other));
        if node < self.swarm.voters && !loses_nothing {
            return;
        }
        self.report.struck(Fault::Wipe);
        self.stop(node, false);
        self.nodes[node].disk = MemDisk::new();
        self.nodes[node].durable = DurableState::default();
    }

    /// Whether the others are a quorum of the first configuration.
    fn can_do_without(&self, node: usize) -> bool {
        let others = (0..self.swarm.voters).filter(|other| *other != node);
        let known = self.first_configuration(0);
        known.verifier().contains_quorum(&others.map(id).collect())
    }

    fn damage_one(&mut self, node: usize) {
        let spoiled = self.nodes.iter().position(|other| other.spoiled);
        let node = spoiled.unwrap_or(node);
        // Who votes is not the same for ever.
        let may_be = self.can_do_without(node) && !self.swarm.faults.contains(&Fault::Reconfig);
        if may_be && self.damage(node) {
            self.report.struck(Fault::Damage);
        }
    }

    /// Stops a member and spoils a record in its log that another one follows; false if there is none.
    pub(crate) fn damage(&mut self, node: usize) -> bool {
        self.stop(node, false);
        let choice = self.random.usize(..);
        self.nodes[node].spoil(choice)
    }

    pub(crate) fn snapshot(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let installing = process
            .member
            .learner()
            .is_some_and(|learner| !learner.is_active());
        if !installing && process.serving {
            process.ops.push(Work::Op(DiskOp::RollLog));
            process.write_snapshot();
        }
    }

    /// Nothing gets from one member to the other for a long time.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        let until = self.now + Duration::from_secs(3_600);
        self.net.cut(one, other, until);
        self.net.cut(other, one, until);
    }

    /// Ends a member's process; in chaos it comes back after a while.
    pub(crate) fn stop(&mut self, node: usize, power_cut: bool) {
        let seed = self.random.u64(..);
        let after = self.random_duration(Duration::from_millis(5), Duration::from_millis(800));
        self.close_all(node);
        let stopped = &mut self.nodes[node];
        if stopped.process.take().is_none() {
            return;
        }
        self.note_struck(node);
        let stopped = &mut self.nodes[node];
        stopped.disk.heal();
        stopped.fails_at_cut = None;
        stopped.broken = None;
        self.oracle.hang_up(node);
        let stopped = &mut self.nodes[node];
        match power_cut {
            true => stopped.disk.power_cut(seed),
            false => stopped.disk.kill(),
        }
        self.announce(node, false);
        if self.restarts {
            self.schedule(after, Event::Restart { node });
        }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let config = self.member_config(node);
        let committed_log = self.swarm.committed_log;
        self.nodes[node].start(config, committed_log);
        self.trace(format_args!("{}  starts", id(node).0));
        self.announce(node, true);
        for server in (0..self.nodes.len()).filter(|server| *server != node) {
            let up = self.nodes[server].process.is_some();
            let after = self.delay();
            self.schedule(
                after,
                Event::Reachability {
                    at: node,
                    server,
                    up,
                },
            );
        }
        self.input(node, Input::Start);
    }

    /// The configuration that everything begins with; a spare adds itself to its own.
    pub(super) fn first_configuration(&self, node: usize) -> Configuration {
        let settled = self.swarm.voters + self.swarm.observers;
        let mut lines = String::new();
        for server in (0..settled).chain((node >= settled).then_some(node)) {
            let is_observer = (self.swarm.voters..settled).contains(&server);
            lines += &line(server, is_observer, "0");
        }
        // Who is a voter more than that is in no group: a spare observes, where there are groups.
        let quorums = self.swarm.quorums.lines(self.swarm.voters);
        if !quorums.is_empty() {
            lines = lines.replace(
                &line(node, false, "0"),
                &line(node, node >= self.swarm.voters, "0"),
            );
        }
        Configuration::parse(&(lines + &quorums)).unwrap()
    }

    pub(super) fn member_config(&self, node: usize) -> ZabConfig {
        let known = self.nodes[node].configuration.clone();
        let known = known.unwrap_or_else(|| self.first_configuration(node));
        let enabled = self.swarm.faults.contains(&Fault::Reconfig);
        let tick = self.swarm.tick;
        ZabConfig {
            me: id(node),
            configurations: Configurations::new(id(node), known, enabled),
            tick,
            init_limit: tick * 10,
            sync_limit: tick * 5,
            connect_retry: Duration::from_millis(5),
            counter_max: self.swarm.counter_max,
        }
    }

    pub(crate) fn heal(&mut self) {
        self.trace(format_args!("chaos is over"));
        self.healed_at = Some(self.oracle.acknowledged.len());
        self.net.heal();
        (0..self.nodes.len()).for_each(|node| self.note_struck(node));
        for node in &mut self.nodes {
            node.disk.heal();
            node.fails_at_cut = None;
            node.broken = None;
            node.paused_until = self.now;
            node.slow_until = self.now;
        }
    }
}

/// A server's line of a configuration; the client's address remembers what `client` says.
pub(super) fn line(server: usize, is_observer: bool, client: &str) -> String {
    let role = if is_observer {
        "observer"
    } else {
        "participant"
    };
    format!("server.{}=h{server}:1:2:{role};{client}:3\n", id(server).0)
}

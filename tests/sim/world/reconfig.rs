//! Reconfigurations: any change that the ensemble takes, at any time.

use std::fmt::Write as _;

use zk_proto::{ServerId, Zxid, op::ReconfigRequest, quorum::ServerState};
use zk_server::{
    quorum::QuorumVerifier,
    reconfig::{Circumstances, Configuration, next},
    zab::{Input, LeaderInput, Transaction},
};

use super::{World, faults::line, id, index};
use crate::{
    node::{reconfig_entry, reconfigurations},
    swarm::Fault,
};

impl World {
    /// One member, or two, join, leave or change their role; one that moves is reached at another port.
    pub(super) fn reconfig(&mut self, one: usize, other: usize) {
        let leader = (0..self.nodes.len()).find(|node| {
            let process = self.nodes[*node].process.as_ref();
            process.is_some_and(|process| {
                process.serving && process.member.state() == ServerState::Leading
            })
        });
        let Some(leader) = leader.filter(|leader| self.nodes[*leader].paused_until <= self.now)
        else {
            return;
        };
        let both = self.random.bool();
        let roles = [self.random.u8(0..4), self.random.u8(0..4)];
        let changes = [(one, roles[0]), (other, roles[1])];
        self.propose_changes(leader, &changes[..=usize::from(both)]);
    }

    /// Asks this leader for a configuration in which some servers are voters (0; 1: at another port), observers (2) or
    /// nothing (3).
    pub(crate) fn propose_changes(&mut self, leader: usize, changes: &[(usize, u8)]) {
        let Some((zxid, configuration)) = self.next_configuration(leader, changes) else {
            return;
        };
        self.trace(format_args!(
            "{}  proposes {}",
            id(leader).0,
            configuration.to_string().replace('\n', " ")
        ));
        self.report.struck(Fault::Reconfig);
        self.last_write += 1;
        let write = self.last_write;
        let entry = reconfig_entry(zxid, write, &configuration);
        self.oracle.submit(leader, write);
        self.oracle.propose(leader, zxid, &entry, write);
        self.configurations.insert(zxid, configuration);
        if let Some(process) = &mut self.nodes[leader].process {
            process.pending.insert(write);
        }
        let transaction = Transaction { zxid, entry };
        self.input(leader, Input::Leader(LeaderInput::Propose(transaction)));
    }

    /// What the leader makes of it, as a server's peer would ask it to.
    fn next_configuration(
        &self,
        leader: usize,
        changes: &[(usize, u8)],
    ) -> Option<(Zxid, Configuration)> {
        let process = self.nodes[leader].process.as_ref()?;
        let leader = process.member.leader()?;
        let zxid = leader.next_zxid()?;
        let known = leader.configurations();
        let mut text = String::new();
        let past: Vec<_> = reconfigurations(known.committed());
        let past: Vec<_> = past.iter().map(|zxid| format!("{:x}", zxid.0)).collect();
        let past = if past.is_empty() {
            "0".to_owned()
        } else {
            past.join(".")
        };
        for server in 0..self.nodes.len() {
            let spec = known.committed().servers().get(&id(server));
            let change = changes.iter().find(|(changed, _)| *changed == server);
            let mut line = match (spec, change) {
                (_, Some((_, 0 | 1))) => line(server, false, &past),
                (_, Some((_, 2))) => line(server, true, &past),
                (_, Some(_)) | (None, None) => continue,
                (Some(_), None) => line(server, known.committed().is_observer(id(server)), &past),
            };
            // Another quorum port: whoever leads there must hand over.
            let port = spec.map_or(1, |spec| spec.addresses[0].quorum_port);
            let port = if matches!(change, Some((_, 1))) {
                port + 10
            } else {
                port
            };
            line = line.replacen(":1:2:", &format!(":{port}:2:"), 1);
            let _ = write!(text, "{line}");
        }
        let request = ReconfigRequest {
            joining: None,
            leaving: None,
            new_members: Some(text.as_str().into()),
            config_id: -1,
        };
        let at = Circumstances {
            current: known.committed(),
            in_progress: known.in_progress(),
            standalone_enabled: false,
            synced: &leader.synced_voters(),
        };
        Some((zxid, next(&request, at, zxid).ok()?))
    }

    /// Whose quorums must have what was applied last: that of the last configuration in this history, and if it is
    /// itself the last transaction, also that of the one before.
    pub(super) fn electorate(&self, applied: &[Zxid]) -> Vec<QuorumVerifier> {
        let mut past = self.configurations.iter().rev();
        let mut verifiers = Vec::new();
        for (zxid, configuration) in past.by_ref() {
            if applied.binary_search(zxid).is_ok() {
                verifiers.push(configuration.verifier().clone());
                if applied.last() != Some(zxid) || verifiers.len() == 2 {
                    return verifiers;
                }
            }
        }
        verifiers.push(self.first_configuration(0).verifier().clone());
        verifiers
    }

    /// Who belongs to the last configuration that is committed; the others may find their way, or not.
    pub(super) fn members(&self) -> Vec<usize> {
        let last = self.in_force();
        let all = last.servers().keys();
        let all = all.map(|server: &ServerId| index(*server));
        all.filter(|node| !self.left.contains(node)).collect()
    }

    /// The last configuration that is committed.
    fn in_force(&self) -> Configuration {
        let committed = &self.oracle.committed;
        let mut past = self.configurations.iter().rev();
        let last = past.find(|(zxid, _)| committed.binary_search(zxid).is_ok());
        last.map_or_else(|| self.first_configuration(0), |(_, last)| last.clone())
    }

    /// Ends everybody, and some of them for good: none that votes, and none that the others cannot do without.
    pub(super) fn leave_some(&mut self) {
        let in_force = self.in_force();
        let voters = in_force.verifier();
        for node in 0..self.nodes.len() {
            self.stop(node, false);
            if !voters.is_voter(id(node)) && self.random.u8(0..4) > 0 {
                self.left.insert(node);
            }
        }
        if self.left.is_empty() || !self.can_do_without_those_that_left(&in_force) {
            return self.left.clear();
        }
        let left: Vec<_> = self.left.iter().map(|node| id(*node).0).collect();
        self.trace(format_args!("{left:?} are left behind"));
        self.report.struck(Fault::Left);
    }

    /// Whether those that come back must find a leader. They know what is in force by their files or logs, and are a quorum
    /// of it and of each that they may still count on; and so of each that may come into force, unless a quorum of
    /// the one in force can tell that it did not.
    fn can_do_without_those_that_left(&self, in_force: &Configuration) -> bool {
        let rest: Vec<_> = (0..self.nodes.len())
            .filter(|node| !self.left.contains(node))
            .collect();
        let is_quorum = |known: &Configuration, nodes: &[usize]| {
            let servers = nodes.iter().map(|node| id(*node)).collect();
            known.verifier().contains_quorum(&servers)
        };
        let written = rest.iter().map(|node| {
            let written = self.nodes[*node].configuration.clone();
            written.unwrap_or_else(|| self.first_configuration(*node))
        });
        let past = self.configurations.range(..=in_force.version());
        if !past
            .map(|(_, past)| past.clone())
            .chain(written)
            .all(|known| is_quorum(&known, &rest))
        {
            return false;
        }
        let mut to_come = self
            .configurations
            .iter()
            .filter(|(zxid, _)| **zxid > in_force.version());
        to_come.all(|(zxid, next)| {
            let (with, without): (Vec<_>, Vec<_>) = rest
                .iter()
                .partition(|node| self.nodes[**node].durable.may_have(*zxid));
            with.is_empty() || is_quorum(next, &rest) || is_quorum(in_force, &without)
        })
    }
}

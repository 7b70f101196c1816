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
        let committed = &self.oracle.committed;
        let mut past = self.configurations.iter().rev();
        let last = past.find(|(zxid, _)| committed.binary_search(zxid).is_ok());
        let last = last.map_or_else(|| self.first_configuration(0), |(_, last)| last.clone());
        let all = last.servers().keys();
        all.map(|server: &ServerId| index(*server)).collect()
    }
}

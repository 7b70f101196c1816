//! The network.

use std::{collections::VecDeque, fmt, time::Duration};

use bytes::BytesMut;
use zk_proto::{
    ServerId,
    quorum::{LearnerMessage, Notification, take_packet},
};
use zk_server::{
    election,
    zab::{Input, LeaderInput, LearnerInput, LinkId},
};

use super::{Event, World, id, index};
use crate::{
    net::{End, Link, Wire},
    node::{Node, configuration_of},
    swarm::Fault,
};

/// The longest message of the quorum port.
const PACKET_MAX: usize = 64 << 20;

impl World {
    pub(super) fn notify(&mut self, from: usize, to: ServerId, notification: Notification) {
        let to = index(to);
        self.trace(format_args!(
            "{} => {}  {:?} votes {} ({}, {}) round {}",
            id(from).0,
            id(to).0,
            notification.state,
            notification.leader.0,
            notification.peer_epoch.0,
            notification.zxid,
            notification.round
        ));
        if self.net.cut_until(self.now, from, to).is_some() || self.nodes[to].process.is_none() {
            return;
        }
        let arrival = self.now + self.delay();
        let last = self.net.last_notification.entry((from, to)).or_default();
        *last = (*last).max(arrival);
        let at = *last;
        self.schedule_at(
            at,
            Event::Notify {
                from,
                to,
                notification,
            },
        );
    }

    /// Tells a member whether another one can be reached, as its links would show it.
    pub(super) fn reachability(&mut self, at: usize, server: usize, up: bool) {
        let blocked = [(at, server), (server, at)]
            .into_iter()
            .find_map(|(from, to)| self.net.cut_until(self.now, from, to));
        if let Some(until) = blocked {
            return self.schedule_at(until, Event::Reachability { at, server, up });
        }
        if self.nodes[server].process.is_some() != up {
            return;
        }
        let server = id(server);
        self.input(
            at,
            Input::Election(match up {
                true => election::Input::Reachable(server),
                false => election::Input::Unreachable(server),
            }),
        );
    }

    pub(super) fn announce(&mut self, server: usize, up: bool) {
        for at in (0..self.nodes.len()).filter(|at| *at != server) {
            let after = self.delay();
            self.schedule(after, Event::Reachability { at, server, up });
        }
    }

    pub(super) fn connect(&mut self, node: usize, leader: ServerId) {
        let incarnation = self.nodes[node].incarnation;
        let after = self.delay() * 2;
        let leader = index(leader);
        self.schedule(
            after,
            Event::Connected {
                node,
                incarnation,
                leader,
            },
        );
    }

    pub(super) fn connected(&mut self, node: usize, incarnation: u32, leader: usize) {
        if self.process(node, incarnation).is_none() {
            return;
        }
        let cut = [(node, leader), (leader, node)]
            .iter()
            .any(|(from, to)| self.net.cut_until(self.now, *from, *to).is_some());
        let paused = self.nodes[leader].paused_until > self.now;
        let accepts = self.nodes[leader]
            .process
            .as_ref()
            .is_some_and(|process| process.member.leader().is_some());
        if cut || paused || !accepts {
            return self.input(node, Input::Learner(LearnerInput::Disconnected));
        }
        self.net.last_link += 1;
        let link = LinkId(self.net.last_link);
        let end = |at: usize, nodes: &[Node]| End {
            node: at,
            incarnation: nodes[at].incarnation,
            open: true,
            incoming: VecDeque::new(),
            received: BytesMut::new(),
            breaks_off: false,
            last_arrival: Duration::ZERO,
        };
        self.net.links.insert(
            link,
            Link {
                learner: end(node, &self.nodes),
                leader: end(leader, &self.nodes),
                broken: false,
            },
        );
        self.trace(format_args!(
            "{} -> {} connects, link {}",
            id(node).0,
            id(leader).0,
            link.0
        ));
        self.input(leader, Input::Leader(LeaderInput::Opened(link)));
        self.input(node, Input::Learner(LearnerInput::Connected));
    }

    /// The learner's open link.
    pub(super) fn own_link(&self, node: usize) -> Option<LinkId> {
        let incarnation = self.nodes[node].incarnation;
        let found = self.net.links.iter().rev().find(|(_, link)| {
            link.learner.node == node
                && link.learner.incarnation == incarnation
                && link.learner.open
        });
        found.map(|(id, _)| *id)
    }

    pub(super) fn tell(&mut self, node: usize, message: LearnerMessage) {
        self.trace(format_args!(
            "{} -> leader  {}",
            id(node).0,
            Short(&message)
        ));
        let disk = &self.nodes[node].durable;
        match &message {
            LearnerMessage::AckEpoch { .. } => self.oracle.check_promise(disk, disk.accepted),
            LearnerMessage::Ack(zxid) if zxid.counter() == 0 => {
                self.oracle.check_new_leader_ack(disk, zxid.epoch());
            }
            LearnerMessage::Ack(zxid) => self.oracle.check_ack(disk, *zxid),
            _ => {}
        }
        if let Some(link) = self.own_link(node) {
            self.put(link, true, Wire::message(&message));
        }
    }

    pub(super) fn send_to_learner(&mut self, node: usize, link: LinkId, message: LearnerMessage) {
        let to = self
            .net
            .links
            .get(&link)
            .map_or(0, |link| id(link.learner.node).0);
        self.trace(format_args!("{} -> {to}  {}", id(node).0, Short(&message)));
        if let Some(name) = &self.breaks_off
            && Short(&message).to_string().starts_with(name)
            && let Some(link) = self.net.links.get_mut(&link)
        {
            link.end(false).breaks_off = true;
            self.breaks_off = None;
        }
        let plan = match &message {
            LearnerMessage::LeaderInfo { epoch, .. } => {
                self.oracle.check_promise(&self.nodes[node].durable, *epoch);
                None
            }
            LearnerMessage::Diff(_) => Some("DIFF"),
            LearnerMessage::Trunc(_) => Some("TRUNC"),
            LearnerMessage::Snap(_) => Some("SNAP"),
            _ => None,
        };
        if let Some(plan) = plan {
            *self.report.plans.entry(plan).or_default() += 1;
        }
        self.put(link, false, Wire::message(&message));
    }

    pub(super) fn put(&mut self, id: LinkId, to_leader: bool, wire: Wire) {
        let arrival = self.now + self.delay();
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        if link.broken {
            return;
        }
        if link.end(to_leader).breaks_off && !matches!(wire, Wire::Close) {
            return self.break_off(id, to_leader, wire);
        }
        let end = link.end(to_leader);
        end.last_arrival = end.last_arrival.max(arrival);
        end.incoming.push_back(wire);
        let at = end.last_arrival;
        self.schedule_at(
            at,
            Event::Deliver {
                link: id,
                at_leader: to_leader,
            },
        );
    }

    pub(super) fn deliver(&mut self, id: LinkId, at_leader: bool) {
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        let (from, to) = match at_leader {
            true => (link.learner.node, link.leader.node),
            false => (link.leader.node, link.learner.node),
        };
        if let Some(until) = self.net.cut_until(self.now, from, to) {
            return self.schedule_at(
                until,
                Event::Deliver {
                    link: id,
                    at_leader,
                },
            );
        }
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        let end = link.end(at_leader);
        let Some(wire) = end.incoming.pop_front() else {
            return;
        };
        let (node, incarnation) = (end.node, end.incarnation);
        if !end.open || self.nodes[node].incarnation != incarnation {
            return;
        }
        if matches!(wire, Wire::Close) {
            end.open = false;
        }
        match (wire, at_leader) {
            (Wire::Bytes(bytes), _) => {
                end.received.extend_from_slice(&bytes);
                let Some(packet) = take_packet(&mut end.received, PACKET_MAX).unwrap() else {
                    return self.report.struck(Fault::BreakOff);
                };
                let message = LearnerMessage::from_packet(packet).unwrap();
                if let (LearnerMessage::LeaderInfo { epoch, .. }, Some(process)) =
                    (&message, &mut self.nodes[node].process)
                {
                    process.leader_epoch = *epoch;
                }
                self.input(
                    node,
                    match at_leader {
                        true => Input::Leader(LeaderInput::Message { link: id, message }),
                        false => Input::Learner(LearnerInput::Message(message)),
                    },
                );
            }
            (Wire::Snapshot(copy), _) => {
                let mut configuration = None;
                if let Some(process) = &mut self.nodes[node].process {
                    process.take_tree(&copy);
                    configuration = configuration_of(&process.tree);
                }
                let received = LearnerInput::SnapshotReceived(configuration);
                self.input(node, Input::Learner(received));
            }
            (Wire::SomeOfASnapshot, _) => {
                self.report.struck(Fault::BreakOff);
                self.input(node, Input::Learner(LearnerInput::Progress));
            }
            (Wire::Close, true) => self.input(node, Input::Leader(LeaderInput::Closed(id))),
            (Wire::Close, false) => self.input(node, Input::Learner(LearnerInput::Disconnected)),
        }
    }

    pub(super) fn close(&mut self, id: LinkId, by_leader: bool) {
        if let Some(link) = self.net.links.get_mut(&id) {
            link.end(by_leader).open = false;
            link.end(by_leader).incoming.clear();
        }
        self.put(id, !by_leader, Wire::Close);
    }

    pub(super) fn close_all(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        let mut closing = Vec::new();
        for (id, link) in &self.net.links {
            for (end, at_leader) in [(&link.leader, true), (&link.learner, false)] {
                if end.node == node && end.incarnation == incarnation && end.open {
                    closing.push((*id, at_leader));
                }
            }
        }
        for (id, at_leader) in closing {
            self.close(id, at_leader);
        }
        self.net
            .links
            .retain(|_, link| link.leader.open || link.learner.open);
    }

    /// Sends the beginning of a message, and breaks the link.
    fn break_off(&mut self, id: LinkId, to_leader: bool, wire: Wire) {
        let random = &mut self.random;
        let beginning = wire.cut_short(|len| random.usize(1..len));
        self.trace(format_args!("link {} breaks within a message", id.0));
        if let Some(link) = self.net.links.get_mut(&id) {
            link.end(to_leader).breaks_off = false;
        }
        self.put(id, to_leader, beginning);
        self.put(id, to_leader, Wire::Close);
        self.put(id, !to_leader, Wire::Close);
        if let Some(link) = self.net.links.get_mut(&id) {
            link.broken = true;
        }
    }

    /// Breaks a link: of what is on it, only a part arrives.
    pub(super) fn reset(&mut self, id: LinkId) {
        for at_leader in [true, false] {
            let keep = self.random.usize(0..4);
            if let Some(link) = self.net.links.get_mut(&id) {
                link.end(at_leader).incoming.truncate(keep);
            }
            self.put(id, at_leader, Wire::Close);
        }
        if let Some(link) = self.net.links.get_mut(&id) {
            link.broken = true;
        }
    }
}

/// A message on one line of a trace.
struct Short<'a>(&'a LearnerMessage);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LearnerMessage::Request { session, .. } => write!(f, "REQUEST of {}", session.0),
            LearnerMessage::Proposal { zxid, .. } => write!(f, "PROPOSAL {zxid}"),
            LearnerMessage::Ack(zxid) => write!(f, "ACK {zxid}"),
            LearnerMessage::Commit(zxid) => write!(f, "COMMIT {zxid}"),
            LearnerMessage::Ping { zxid, .. } => write!(f, "PING {zxid}"),
            LearnerMessage::Sync(_) => f.write_str("SYNC"),
            LearnerMessage::Inform { zxid, .. } => write!(f, "INFORM {zxid}"),
            LearnerMessage::NewLeader { zxid, .. } => write!(f, "NEWLEADER {zxid}"),
            LearnerMessage::FollowerInfo { accepted_epoch, .. } => {
                write!(f, "FOLLOWERINFO accepted {}", accepted_epoch.0)
            }
            LearnerMessage::ObserverInfo { accepted_epoch, .. } => {
                write!(f, "OBSERVERINFO accepted {}", accepted_epoch.0)
            }
            LearnerMessage::LeaderInfo { epoch, .. } => write!(f, "LEADERINFO epoch {}", epoch.0),
            LearnerMessage::AckEpoch {
                last_zxid,
                current_epoch: Some(current),
            } => write!(f, "ACKEPOCH last {last_zxid} current {current}"),
            LearnerMessage::AckEpoch { last_zxid, .. } => {
                write!(f, "ACKEPOCH last {last_zxid}, accepted before")
            }
            LearnerMessage::UpToDate => f.write_str("UPTODATE"),
            LearnerMessage::Diff(zxid) => write!(f, "DIFF {zxid}"),
            LearnerMessage::Trunc(zxid) => write!(f, "TRUNC {zxid}"),
            LearnerMessage::Snap(zxid) => write!(f, "SNAP {zxid}"),
            LearnerMessage::CommitAndActivate {
                zxid,
                designated_leader,
            } => write!(f, "COMMITANDACTIVATE {zxid} leader {}", designated_leader.0),
            LearnerMessage::InformAndActivate {
                zxid,
                designated_leader,
                ..
            } => write!(f, "INFORMANDACTIVATE {zxid} leader {}", designated_leader.0),
            other => write!(f, "{other:?}"),
        }
    }
}

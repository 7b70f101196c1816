//! Links between servers.

use std::{collections::BTreeMap, time::Duration};

use zk_proto::{Zxid, quorum::LearnerMessage};
use zk_server::{
    election,
    peer::{Input, Order, QuorumInput},
    storage::HistoryPieces,
    tree::DataTree,
    zab::{LeaderInput, LearnerInput, LinkId, Transaction, follows},
};

use super::{MS, World, id};

/// A link of the quorum port, by each end's own number for it.
#[derive(Debug, Clone, Copy)]
struct Link {
    learner: (usize, LinkId),
    leader: (usize, LinkId),
    incarnations: (u32, u32),
}

/// What is between the servers.
#[derive(Debug, Default)]
pub(super) struct Network {
    links: Vec<Link>,
    last_link: u64,
    cuts: BTreeMap<(usize, usize), Duration>,
    last: BTreeMap<(usize, usize), Duration>,
}

impl Network {
    /// Until then, nothing gets through; what is sent arrives after it.
    pub(super) fn cut(&mut self, a: usize, b: usize, until: Duration) {
        for pair in [(a, b), (b, a)] {
            let cut = self.cuts.entry(pair).or_default();
            *cut = (*cut).max(until);
        }
    }

    /// Whether a leader has not closed this link of its own.
    pub(super) fn is_open(&self, leader: usize, link: LinkId) -> bool {
        let mut links = self.links.iter();
        links.any(|known| known.leader == (leader, link))
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// When something arrives that was sent behind everything before it on the same way.
    pub(super) fn after_last(&mut self, way: (usize, usize), at: Duration) -> Duration {
        let last = self.last.entry(way).or_default();
        let cut = self.cuts.get(&way).copied().unwrap_or_default();
        *last = at.max(*last + MS / 100).max(cut);
        *last
    }
}

impl World {
    /// What a server wants of its links.
    pub(super) fn order(&mut self, server: usize, order: Order) {
        match order {
            Order::Notify { to, notification } => {
                let to = to.0 as usize - 1;
                if self.servers[to].process.is_some() {
                    let from = id(server);
                    let input = election::Input::Notification { from, notification };
                    self.election(to, server, input);
                }
            }
            Order::Connect { link, leader } => self.connect(server, link, leader.0 as usize - 1),
            Order::Send { link, message } => self.say(server, link, &message),
            Order::SendHistory {
                link,
                logged,
                records,
            } => {
                let older = logged.map(|part| self.read_log(server, part));
                let all = older.into_iter().flatten().chain(records);
                for message in all.flat_map(Transaction::into_messages) {
                    self.say(server, link, &message);
                }
            }
            Order::Tell(message) => self.tell_leader(server, &message),
            Order::Close { link } => {
                let input = LearnerInput::Disconnected;
                self.tell_learner(server, link, |link| QuorumInput::Learner { link, input });
                let links = &mut self.network.links;
                links.retain(|known| known.leader != (server, link));
            }
            Order::CloseLinks => self.close_links(server),
            Order::InstallSnapshot { .. }
            | Order::Recover { .. }
            | Order::ReadLog { .. }
            | Order::AbandonSnapshot
            | Order::SendSnapshot { .. }
            | Order::Configure(_) => {}
        }
    }

    /// What a server's log has after the first one of these and up to the second.
    fn read_log(&self, server: usize, (after, until): (Zxid, Zxid)) -> Vec<Transaction> {
        let process = self.servers[server].process.as_ref().unwrap();
        let mut history = HistoryPieces::open(&process.directories, after, until, follows).unwrap();
        let pieces = std::iter::from_fn(|| history.next_piece(100).unwrap());
        let transaction = |(zxid, entry)| Transaction { zxid, entry };
        pieces.flatten().map(transaction).collect()
    }

    fn say(&mut self, server: usize, link: LinkId, message: &LearnerMessage) {
        // Through the bytes, as on a real link.
        let message = LearnerMessage::from_packet(message.to_packet()).unwrap();
        self.note_new_leader(&message);
        let input = LearnerInput::Message(message);
        self.tell_learner(server, link, |link| QuorumInput::Learner { link, input });
    }

    fn connect(&mut self, server: usize, link: LinkId, leader: usize) {
        let told = |input| Input::Quorum(QuorumInput::Learner { link, input });
        let at = self.soon(2);
        let there = self.network.after_last((server, leader), at);
        let back = self.network.after_last((leader, server), there);
        if self.servers[leader].process.is_none() {
            return self.later(back, server, told(LearnerInput::Disconnected));
        }
        self.network.last_link += 1;
        let at_leader = LinkId(self.network.last_link);
        self.network.links.push(Link {
            learner: (server, link),
            leader: (leader, at_leader),
            incarnations: (
                self.servers[server].incarnation,
                self.servers[leader].incarnation,
            ),
        });
        let opened = QuorumInput::Leader(LeaderInput::Opened(at_leader));
        self.later(there, leader, Input::Quorum(opened));
        self.later(back, server, told(LearnerInput::Connected));
    }

    fn tell_learner(
        &mut self,
        leader: usize,
        link: LinkId,
        input: impl FnOnce(LinkId) -> QuorumInput,
    ) {
        let links = &self.network.links;
        let Some(found) = links
            .iter()
            .find(|known| known.leader == (leader, link))
            .copied()
        else {
            return;
        };
        let (learner, its_link) = found.learner;
        if self.servers[learner].incarnation != found.incarnations.0 {
            return;
        }
        let at = self.soon(2);
        let at = self.network.after_last((leader, learner), at);
        self.later(at, learner, Input::Quorum(input(its_link)));
    }

    pub(super) fn send_tree(&mut self, leader: usize, link: LinkId, tree: Box<DataTree>) {
        self.tell_learner(leader, link, |link| QuorumInput::Snapshot { link, tree });
    }

    fn tell_leader(&mut self, learner: usize, message: &LearnerMessage) {
        let mut links = self.network.links.iter().rev();
        let Some(link) = links.find(|known| known.learner.0 == learner).copied() else {
            return;
        };
        let (leader, its_link) = link.leader;
        if self.servers[leader].incarnation != link.incarnations.1 {
            return;
        }
        let message = LearnerMessage::from_packet(message.to_packet()).unwrap();
        let input = LeaderInput::Message {
            link: its_link,
            message,
        };
        let at = self.soon(2);
        let at = self.network.after_last((learner, leader), at);
        self.later(at, leader, Input::Quorum(QuorumInput::Leader(input)));
    }

    /// Every link of a server breaks; both ends hear of it.
    pub(super) fn reset_links(&mut self, server: usize) {
        let at = self.soon(2);
        for Link {
            learner, leader, ..
        } in self.network.links.clone()
        {
            if learner.0 == server {
                let (link, input) = (learner.1, LearnerInput::Disconnected);
                self.later(
                    at,
                    server,
                    Input::Quorum(QuorumInput::Learner { link, input }),
                );
            } else if leader.0 == server {
                let closed = QuorumInput::Leader(LeaderInput::Closed(leader.1));
                self.later(at, server, Input::Quorum(closed));
            }
        }
        self.close_links(server);
    }

    /// Every link of a server ends; the other ends hear of it.
    pub(super) fn close_links(&mut self, server: usize) {
        let links = std::mem::take(&mut self.network.links);
        let (closing, staying) = links
            .into_iter()
            .partition(|link| link.learner.0 == server || link.leader.0 == server);
        self.network.links = staying;
        let closing: Vec<Link> = closing;
        for Link {
            learner, leader, ..
        } in closing
        {
            let at = self.soon(2);
            if learner.0 == server {
                let at = self.network.after_last((server, leader.0), at);
                let closed = QuorumInput::Leader(LeaderInput::Closed(leader.1));
                self.later(at, leader.0, Input::Quorum(closed));
            } else {
                let at = self.network.after_last((server, learner.0), at);
                let input = LearnerInput::Disconnected;
                let link = learner.1;
                self.later(
                    at,
                    learner.0,
                    Input::Quorum(QuorumInput::Learner { link, input }),
                );
            }
        }
    }
}

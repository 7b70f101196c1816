//! The leader: one epoch, from its discovery to its end (`Leader.lead`).
//!
//! Invariants: nobody hears of the epoch before it is on this disk; nothing is proposed before a quorum has the
//! whole history of this server on disk; everything a learner is sent has the order of zxids, each proposal once.

mod broadcast;
mod establish;
mod reconfigure;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use zk_proto::{
    Epoch, ServerId, SessionId, Zxid,
    quorum::{LearnerMessage, ServerState},
};

#[cfg(doc)]
use super::ForwardedRequest;
use super::{
    CommittedLog, Departure, Epochs, LinkId, LoggedHistory, LoggedSpan, Output, Proposals, Remains,
    Transaction, ZabConfig,
    discovery::{EpochAcks, EpochProposal},
    learner_link::{LearnerLink, LinkPhase},
    syncs::Syncs,
};
use crate::{
    quorum::QuorumTracker,
    reconfig::Configurations,
    storage::{DiskDone, DiskOp, Durable},
    time::Now,
};

/// What happens to a leader.
#[derive(Debug, Clone)]
pub enum Input {
    /// A learner has connected.
    Opened(LinkId),
    /// A learner said something.
    Message {
        /// On which link.
        link: LinkId,
        /// What.
        message: LearnerMessage,
    },
    /// A learner's link has ended.
    Closed(LinkId),
    /// A learner has taken another piece of what it is sent, or more of the log is read for it: it goes on, however long
    /// the rest takes.
    Progress(LinkId),
    /// The disk has done something.
    Disk(DiskDone),
    /// The next transaction; its zxid is [`Leader::next_zxid`].
    Propose(Transaction),
    /// A `sync`, in its place among the writes: a learner's ([`ForwardedRequest`] with that operation), or this
    /// member's own. Answered with SYNC on the link, or with [`Output::Synced`].
    Sync(Option<LinkId>),
    /// The log was looked through as [`Output::ReadLog`] asked; `None` if it is of no use.
    LogRead {
        /// For which learner.
        link: LinkId,
        /// What there is.
        span: Option<LoggedSpan>,
    },
    /// The answer to [`Output::Revalidate`].
    Revalidated {
        /// To whom.
        link: LinkId,
        /// Which session.
        session: SessionId,
        /// Whether it is alive, and now that learner's.
        valid: bool,
    },
    /// The time asked for with [`Leader::next_deadline`] has come.
    Deadline,
}

#[derive(Debug)]
enum Phase {
    /// A quorum is to be heard of, to find an epoch that nobody has promised yet.
    ChoosingEpoch(EpochProposal),
    /// The epoch is being written.
    Promising(Epoch),
    /// A quorum is to accept the epoch.
    CollectingAcks(Durable<Epoch>, EpochAcks),
    /// A quorum is to have the history on disk.
    Synchronizing(Durable<Epoch>, QuorumTracker),
    /// The epoch is established.
    Broadcasting(Durable<Epoch>),
    /// The role has ended.
    Departed,
}

/// A leader's learners, counted as Apache's `mntr` does (`LeaderZooKeeperServer.registerMetrics`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// All that have a link (`learners`).
    pub learners: usize,
    /// Followers that are sent every proposal (`synced_followers`).
    pub followers: usize,
    /// Those of them that the configuration does not name as voters (`synced_non_voting_followers`).
    pub non_voting: usize,
    /// Observers that are sent every transaction (`synced_observers`).
    pub observers: usize,
}

/// A server that leads, or is about to.
#[derive(Debug)]
pub struct Leader {
    config: ZabConfig,
    phase: Phase,
    epochs: Epochs,
    /// The history this server was elected with.
    history: Durable<Zxid>,
    generation: u64,
    committed: CommittedLog,
    proposals: Proposals,
    links: BTreeMap<LinkId, LearnerLink>,
    syncs: Syncs,
    /// When the phase must be over; while broadcasting, never.
    give_up_at: Option<Duration>,
    /// Since when no quorum can come of those who are there, while one is awaited.
    alone_since: Option<Duration>,
    next_ping: Duration,
    /// Every other ping the quorum is counted.
    count_quorum: bool,
    /// Another server leads the configuration that was committed last: who, and when this one gives up waiting for
    /// its learners to leave.
    handing_over: Option<(Option<ServerId>, Duration)>,
    outputs: VecDeque<Output>,
}

impl Leader {
    /// A server that was elected with this history, all of it applied to the tree.
    ///
    /// `generation` is larger than that of any role before, and the new epoch will be larger than `seen`.
    #[must_use]
    pub fn new(
        now: Now,
        config: ZabConfig,
        epochs: Epochs,
        seen: Epoch,
        history: Durable<Zxid>,
        committed: CommittedLog,
        generation: u64,
    ) -> Self {
        let chosen = EpochProposal::new(config.me, epochs.accepted.max(seen), &config.verifiers());
        let mut leader = Self {
            phase: Phase::ChoosingEpoch(chosen),
            epochs,
            history,
            generation,
            committed,
            proposals: Proposals::new(Epoch(0), config.me, config.verifiers(), 0),
            links: BTreeMap::new(),
            syncs: Syncs::default(),
            give_up_at: Some(now.mono + config.discovery_limit()),
            alone_since: None,
            next_ping: now.mono + config.tick / 2,
            count_quorum: false,
            handing_over: None,
            outputs: VecDeque::new(),
            config,
        };
        leader.output(Output::Disk(DiskOp::NewGeneration(generation)));
        leader.choose_epoch(now);
        leader
    }

    /// Takes one input; take every output before the next.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(
            self.outputs.is_empty(),
            "a leader is drained before its next input"
        );
        if matches!(self.phase, Phase::Departed) {
            return;
        }
        match input {
            Input::Opened(link) => {
                self.links.insert(link, LearnerLink::new(now.mono));
            }
            Input::Message { link, message } => self.hear(now, link, message),
            Input::Closed(link) => {
                self.links.remove(&link);
                self.end_keeping();
                self.advance_syncs();
                self.finish_handover(now);
            }
            Input::Progress(link) => self.progress(now, link),
            Input::Disk(done) => self.disk_done(now, done),
            Input::Propose(transaction) => self.propose(now, transaction),
            Input::Sync(link) => {
                self.syncs.push(link, self.proposals.last());
                self.advance_syncs();
            }
            Input::LogRead { link, span } => {
                self.progress(now, link);
                let read = span.map_or(LoggedHistory::Unusable, LoggedHistory::Read);
                if let Some(LinkPhase::ReadingLog { last }) = self.phase_of(link) {
                    self.synchronize(now, link, last, read);
                    self.end_keeping();
                }
            }
            Input::Revalidated {
                link,
                session,
                valid,
            } => {
                if self.links.contains_key(&link) {
                    self.send(link, LearnerMessage::Revalidated { session, valid });
                }
            }
            Input::Deadline => self.deadline(now),
        }
        self.note_hope(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`], on the clock of [`Now::mono`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if matches!(self.phase, Phase::Departed) {
            return None;
        }
        let handover = self.handing_over.map(|(_, until)| until);
        let at = self.give_up_at.into_iter().chain(handover);
        at.chain(self.alone_until()).chain([self.next_ping]).min()
    }

    /// The zxid of the next proposal; `None` while nothing can be proposed.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        match self.phase {
            Phase::Broadcasting(_) if self.handing_over.is_none() => self.proposals.next_zxid(),
            _ => None,
        }
    }

    /// The configurations it knows.
    #[must_use]
    pub const fn configurations(&self) -> &Configurations {
        &self.config.configurations
    }

    /// This server, and who follows it in sync; observers do not count.
    #[must_use]
    pub fn synced_voters(&self) -> BTreeSet<ServerId> {
        let links = self.links.values();
        let synced = links.filter(|link| link.phase == LinkPhase::Active && !link.observes);
        let synced = synced.map(|link| link.server);
        synced.chain([self.config.me]).collect()
    }

    /// How many `sync`s are not answered (`pending_syncs`).
    #[must_use]
    pub fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    /// Who is linked to this leader, in numbers.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census {
            learners: self.links.len(),
            ..Census::default()
        };
        for link in self
            .links
            .values()
            .filter(|link| link.phase.is_forwarding())
        {
            if link.observes {
                census.observers += 1;
            } else {
                census.followers += 1;
                census.non_voting += usize::from(!self.is_voter(link.server));
            }
        }
        census
    }

    /// Ends the role.
    #[must_use]
    pub fn end(mut self) -> Remains {
        self.committed.keep_few();
        Remains {
            committed: self.committed,
            unapplied: self.proposals.into_outstanding(),
            in_step: true,
            generation: self.generation,
        }
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn send(&mut self, link: LinkId, message: LearnerMessage) {
        self.output(Output::Send { link, message });
    }

    fn close(&mut self, link: LinkId, reason: &'static str) {
        self.links.remove(&link);
        self.end_keeping();
        self.output(Output::Close { link, reason });
    }

    fn depart(&mut self, departure: Departure) {
        self.phase = Phase::Departed;
        self.output(Output::State {
            state: ServerState::Looking,
            departure: Some(departure),
        });
    }

    fn phase_of(&self, link: LinkId) -> Option<LinkPhase> {
        self.links.get(&link).map(|link| link.phase)
    }

    fn set_phase(&mut self, link: LinkId, phase: LinkPhase) {
        if let Some(link) = self.links.get_mut(&link) {
            link.phase = phase;
        }
    }

    fn links_in(&self, wanted: impl Fn(LinkPhase) -> bool) -> Vec<LinkId> {
        let found = self.links.iter().filter(|(_, link)| wanted(link.phase));
        found.map(|(id, _)| *id).collect()
    }

    fn epoch(&self) -> Option<Durable<Epoch>> {
        match &self.phase {
            Phase::CollectingAcks(epoch, _)
            | Phase::Synchronizing(epoch, _)
            | Phase::Broadcasting(epoch) => Some(*epoch),
            Phase::ChoosingEpoch(_) | Phase::Promising(_) | Phase::Departed => None,
        }
    }
}

#[cfg(test)]
mod tests;

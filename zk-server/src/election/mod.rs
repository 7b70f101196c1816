//! Leader election: `FastLeaderElection` as a function of notifications and deadlines.
//!
//! Each server that looks for a leader votes for itself, tells everybody, and changes its vote whenever it
//! hears a better one. When a quorum votes alike, and nobody who might know better is still to be heard, the
//! vote is settled.
//!
//! ```text
//!              start                         quorum agrees, and everybody was heard
//!                |                           or FINALIZE_WAIT passed
//!                v                                  |
//!            LOOKING  ------------------------------+--> LEADING | FOLLOWING | OBSERVING
//!                |                                  |
//!                +-- a quorum follows, and the leader says it leads --+
//! ```
//!
//! Invariants: a settled vote had a quorum of the configuration behind it, and, where it elected the leader, of the
//! next one too during a reconfiguration; a server that weighs nothing in any of them is never elected. Who stands for
//! leader during a reconfiguration, and why that is no matter of safety, is in `candidature.rs`; who has no vote because
//! its disk has lost some of what it knew, in `abstention.rs`.
//! Loss, duplication and reordering of notifications are legal. Two servers may settle on different leaders when
//! notifications are lost: discovery finds out, since only one of them can get a quorum of followers.
//!
//! Apache waits 200 ms for a better vote in every election (`finalizeWait`). This core waits only while some
//! voter that can answer has not: one whose election link was refused or reset counts as heard.
//!
//! Deliberately not here: sockets and links ([`Input::Unreachable`] is all that is known of them), epoch files,
//! and what a leader or follower does next.

mod abstention;
mod candidature;
mod vote;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use zk_proto::{
    Epoch, ServerId, Utf8Bytes, Zxid,
    quorum::{Notification, ServerState},
};

pub use self::vote::Vote;
use self::{candidature::Aside, vote::Ballot};
use crate::{
    quorum::{QuorumTracker, QuorumVerifier},
    time::Now,
};

/// How long to wait for a better vote while a voter is unheard (`FastLeaderElection.finalizeWait`).
pub const FINALIZE_WAIT: Duration = Duration::from_millis(200);
/// When to tell everybody again, at first (`fastleader.minNotificationInterval`).
pub const NOTIFICATION_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// When to tell everybody again, at most (`fastleader.maxNotificationInterval`).
pub const NOTIFICATION_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What happens to an election.
#[derive(Debug, Clone)]
pub enum Input {
    /// The server looks for a leader, from now on and with this history.
    Look {
        /// Its last logged zxid.
        last_zxid: Zxid,
        /// The epoch of its history (`currentEpoch`).
        epoch: Epoch,
    },
    /// A server told its vote.
    Notification {
        /// Who.
        from: ServerId,
        /// What.
        notification: Notification,
    },
    /// The link to a server was refused or reset: it cannot answer now.
    Unreachable(ServerId),
    /// There is a link to a server: it may answer.
    Reachable(ServerId),
    /// The leader's new epoch is established, so the vote that this server tells late joiners has it too
    /// (ZOOKEEPER-1732).
    EpochEstablished(Epoch),
    /// The time asked for with [`Election::next_deadline`] has come.
    Deadline,
}

/// What an election wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell a server. Only the newest for each server matters.
    Send {
        /// Whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// There is a leader.
    Settled {
        /// What this server is from now on.
        state: ServerState,
        /// The vote that won.
        vote: Vote,
    },
}

/// What an election needs to know of the ensemble.
#[derive(Debug, Clone)]
pub struct ElectionConfig {
    /// This server.
    pub me: ServerId,
    /// Everybody to tell, this server and observers included.
    pub members: BTreeSet<ServerId>,
    /// The quorum of the configuration in force, which is first, and during a reconfiguration the next one's.
    pub verifiers: Vec<QuorumVerifier>,
    /// The configuration in the text form that notifications carry.
    pub text: Option<Utf8Bytes>,
    /// Whether this server observes when another one leads; one that is in no configuration, or may come to vote, follows.
    pub observes: bool,
}

/// One server's part in electing a leader.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    /// Whether it was ever told to look: before that it has no history to vote with, and says nothing.
    started: bool,
    state: ServerState,
    /// `logicalclock`: which election this is.
    round: i64,
    /// Its history, as a vote for itself would have it.
    history: Vote,
    /// This server's own candidature.
    own: Vote,
    /// What it votes for, or, once settled, what won.
    vote: Vote,
    /// The ballots of this round.
    received: BTreeMap<ServerId, Ballot>,
    /// The ballots of servers that have settled, whatever the round.
    settled: BTreeMap<ServerId, Ballot>,
    unreachable: BTreeSet<ServerId>,
    /// What each server asked last, what it was told, and until when that will do.
    answers: BTreeMap<ServerId, (Ballot, Ballot, Duration)>,
    /// Whether it stands for leader where only a configuration to come would have that.
    stands: bool,
    /// Whether, and until when, it leaves the lead to those who know less.
    aside: Aside,
    /// Whether it has no vote, whatever a configuration says.
    abstains: bool,
    looks_since: Duration,
    resend_after: Duration,
    resend_at: Duration,
    finalize_at: Option<Duration>,
    outputs: VecDeque<Output>,
}

impl Election {
    /// A server that has not looked for a leader yet.
    #[must_use]
    pub fn new(config: ElectionConfig) -> Self {
        let nobody = Vote {
            leader: config.me,
            zxid: Zxid::ZERO,
            epoch: Epoch(0),
        };
        Self {
            config,
            started: false,
            state: ServerState::Looking,
            round: 0,
            history: nobody,
            own: nobody,
            vote: nobody,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            answers: BTreeMap::new(),
            stands: false,
            aside: Aside::new(),
            abstains: false,
            looks_since: Duration::ZERO,
            resend_after: NOTIFICATION_INTERVAL_MIN,
            resend_at: Duration::ZERO,
            finalize_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input; take every output before the next.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(
            self.outputs.is_empty(),
            "an election is drained before its next input"
        );
        match input {
            Input::Look { last_zxid, epoch } => {
                self.history = Vote {
                    leader: self.config.me,
                    zxid: last_zxid,
                    epoch,
                };
                self.is_not_held_up();
                self.look(now);
            }
            Input::Notification { from, notification } => self.hear(now, from, &notification),
            Input::Unreachable(server) => {
                self.unreachable.insert(server);
                self.consider(now);
            }
            Input::Reachable(server) => {
                self.unreachable.remove(&server);
                self.answers.remove(&server);
                if self.is_looking() {
                    self.send(server);
                }
            }
            Input::EpochEstablished(epoch) => {
                self.vote.epoch = epoch;
                self.forget_candidatures();
            }
            Input::Deadline => self.deadline(now),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Deadline`], on the clock of [`Now::mono`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let at = [self.finalize_at, self.withdraw_at(), self.stand_again_at()];
        let at = at.into_iter().flatten().chain([self.resend_at]).min();
        at.filter(|_| self.is_looking())
    }

    /// Who belongs to the ensemble has changed. An election that is on is to be begun anew, with [`Input::Look`].
    pub fn reconfigure(&mut self, config: ElectionConfig) {
        self.unreachable
            .retain(|server| config.members.contains(server));
        self.config = config;
    }

    /// Settles without an election: a new configuration says who leads.
    pub fn assume(&mut self, vote: Vote) {
        self.started = true;
        self.vote = vote;
        self.finalize_at = None;
        self.state = self.role_under(vote.leader);
    }

    /// What this server is when that one leads.
    fn role_under(&self, leader: ServerId) -> ServerState {
        match self.config.observes {
            _ if leader == self.config.me => ServerState::Leading,
            true => ServerState::Observing,
            false => ServerState::Following,
        }
    }

    /// What this server is.
    #[must_use]
    pub const fn state(&self) -> ServerState {
        self.state
    }

    /// Its vote, or, once settled, the one that won.
    #[must_use]
    pub const fn vote(&self) -> Vote {
        self.vote
    }

    fn is_looking(&self) -> bool {
        self.started && self.state == ServerState::Looking
    }

    fn look(&mut self, now: Now) {
        self.started = true;
        self.state = ServerState::Looking;
        self.round = self.next_round();
        self.looks_since = now.mono;
        self.own = self.candidature(now);
        self.vote = self.own;
        self.received.clear();
        self.settled.clear();
        self.answers.clear();
        self.finalize_at = None;
        self.resend_after = NOTIFICATION_INTERVAL_MIN;
        self.resend_at = now.mono + self.resend_after;
        self.count_own_ballot();
        self.tell_everybody();
        self.consider(now);
    }

    fn hear(&mut self, now: Now, from: ServerId, notification: &Notification) {
        self.unreachable.remove(&from);
        if !self.started {
            return;
        }
        if !self.config.is_voter(from) {
            // An observer asks where the leader is, or somebody who was left out of the ensemble; another one that looks
            // for it does not know.
            let knows = self.state != ServerState::Looking;
            let asks = notification.state == ServerState::Looking;
            if asks && (knows || self.has_vote()) {
                self.answer(now, from, notification);
            }
            return;
        }
        if self.state != ServerState::Looking {
            if notification.state == ServerState::Looking {
                self.answer(now, from, notification);
            }
            return;
        }
        if !self.config.is_voter(notification.leader) {
            return self.hear_candidateless(now, from, notification);
        }
        match notification.state {
            ServerState::Looking => self.hear_looking(now, from, notification),
            ServerState::Following | ServerState::Leading => self.hear_settled(from, notification),
            ServerState::Observing => {}
        }
    }

    /// A voter that abstains, or does not know yet that it is one: the reconfiguration that makes it one is logged here and
    /// not there. It votes for nobody before it hears a vote of its own round, which may be later than this one.
    fn hear_candidateless(&mut self, now: Now, from: ServerId, notification: &Notification) {
        if notification.state != ServerState::Looking {
            return;
        }
        if notification.round > self.round {
            self.begin_round(notification.round, self.own);
            self.count_own_ballot();
            self.consider(now);
        } else if notification.round < self.round && self.has_vote() {
            self.answer(now, from, notification);
        }
    }

    fn begin_round(&mut self, round: i64, vote: Vote) {
        self.round = round;
        self.received.clear();
        self.finalize_at = None;
        self.vote = vote;
        self.tell_everybody();
    }

    fn hear_looking(&mut self, now: Now, from: ServerId, notification: &Notification) {
        let ballot = Ballot::of(notification);
        if ballot.round < self.round {
            // It lags behind; what this server knows brings it up. An observer knows nothing, and voters answer
            // whatever it sends: the two would never stop.
            if self.has_vote() {
                self.answer(now, from, notification);
            }
            return;
        }
        if ballot.round > self.round {
            self.begin_round(ballot.round, self.better(ballot.vote, self.own));
        } else if self.better(ballot.vote, self.vote) != self.vote {
            self.vote = ballot.vote;
            self.finalize_at = None;
            self.tell_everybody();
        } else if self.prefers(self.vote, ballot.vote) && self.has_vote() {
            // It may have come late, and this server's next word to everybody be a minute away.
            self.answer(now, from, notification);
        }
        // Votes only get better within a round: a worse one is an old message, sent twice or overtaken.
        let old = self.received.get(&from).is_some_and(|known| {
            known.round == ballot.round && self.prefers(known.vote, ballot.vote)
        });
        if !old {
            self.received.insert(from, ballot);
        }
        self.count_own_ballot();
        self.consider(now);
    }

    /// A server has a leader already: join when a quorum follows it and the leader itself says that it leads
    /// (`checkLeader`: else everybody would go on electing one that has crashed).
    ///
    /// Only the configuration in force counts. Where this server has logged the next one and it was never agreed on, those
    /// who follow know nothing of it, and what it would make voters may never follow anybody: with Apache's
    /// `getVoteTracker`, which wants both quorums here too, such a server looks for a leader for ever. To elect takes
    /// both. To join is safe with any leader: discovery demands every quorum that the leader knows of, and refuses a
    /// leader that lacks what a quorum has logged, the next configuration included.
    fn hear_settled(&mut self, from: ServerId, notification: &Notification) {
        let ballot = Ballot::of(notification);
        self.settled.insert(from, ballot);
        if ballot.round == self.round {
            self.received.insert(from, ballot);
            if self.is_followed(&self.received, &ballot) {
                return self.settle(ballot);
            }
        }
        if self.is_followed(&self.settled, &ballot) {
            self.round = ballot.round;
            self.settle(ballot);
        }
    }

    /// Whether a quorum of the configuration in force stands behind a leader, and it says itself that it leads. Who
    /// would lead itself is being elected by that, and needs every quorum.
    fn is_followed(&self, ballots: &BTreeMap<ServerId, Ballot>, ballot: &Ballot) -> bool {
        let all = &self.config.verifiers;
        let count = match ballot.vote.leader == self.config.me {
            true if self.abstains => return false,
            true => all.len(),
            false => all.len().min(1),
        };
        agreeing(&all[..count], ballots, ballot).has_quorum() && self.leads(ballots, ballot)
    }

    fn leads(&self, ballots: &BTreeMap<ServerId, Ballot>, ballot: &Ballot) -> bool {
        let leader = ballot.vote.leader;
        if leader == self.config.me {
            return ballot.round == self.round;
        }
        ballots
            .get(&leader)
            .is_some_and(|told| told.state == ServerState::Leading)
    }

    fn better(&self, candidate: Vote, than: Vote) -> Vote {
        match self.prefers(candidate, than) {
            true => candidate,
            false => than,
        }
    }

    /// Who weighs nothing begins with a vote for itself, too; whoever can be elected is better. Under the next
    /// configuration its vote may be one that is needed.
    fn prefers(&self, candidate: Vote, than: Vote) -> bool {
        let may_lead = |vote: Vote| self.may_elect(vote.leader);
        may_lead(candidate) && (candidate.beats(&than) || !may_lead(than))
    }

    fn count_own_ballot(&mut self) {
        if !self.abstains {
            let ballot = self.own_ballot();
            self.received.insert(self.config.me, ballot);
        }
    }

    const fn own_ballot(&self) -> Ballot {
        Ballot {
            vote: self.vote,
            round: self.round,
            state: ServerState::Looking,
        }
    }

    /// Settles the vote when a quorum agrees and nobody who can answer is still to be heard; else sees to it
    /// that it is settled when the wait is over.
    fn consider(&mut self, now: Now) {
        if !self.is_looking() {
            return;
        }
        let own = self.own_ballot();
        let mut tracker = agreeing(&self.config.verifiers, &self.received, &own);
        if !tracker.has_quorum() || !self.may_elect(self.vote.leader) {
            self.finalize_at = None;
            self.note_held_up(now);
            return;
        }
        self.is_not_held_up();
        tracker.add(self.config.me);
        for server in &self.unreachable {
            tracker.add(*server);
        }
        let at = *self.finalize_at.get_or_insert(now.mono + FINALIZE_WAIT);
        if tracker.has_everybody() || now.mono >= at {
            self.settle(own);
        }
    }

    fn settle(&mut self, ballot: Ballot) {
        self.vote = ballot.vote;
        self.state = self.role_under(self.vote.leader);
        self.finalize_at = None;
        self.outputs.push_back(Output::Settled {
            state: self.state,
            vote: self.vote,
        });
    }

    fn deadline(&mut self, now: Now) {
        self.consider(now);
        if !self.is_looking() {
            return;
        }
        if self.withdraw_at().is_some_and(|at| now.mono >= at) {
            return self.withdraw(now);
        }
        if self.stand_again_at().is_some_and(|at| now.mono >= at) {
            return self.stand_again(now);
        }
        if now.mono >= self.resend_at {
            self.resend_after = (self.resend_after * 2).min(NOTIFICATION_INTERVAL_MAX);
            self.resend_at = now.mono + self.resend_after;
            self.tell_everybody();
        }
    }

    /// Answers a notification, unless the same was answered with the same a moment ago: two servers that do not agree
    /// on who is a voter would go on for ever. What is lost, whoever asks will ask for again.
    fn answer(&mut self, now: Now, to: ServerId, notification: &Notification) {
        let asked = Ballot::of(notification);
        let said = Ballot {
            state: self.state,
            ..self.own_ballot()
        };
        let until = now.mono + NOTIFICATION_INTERVAL_MIN;
        if let Some((before, answer, at)) = self.answers.get(&to)
            && (*before, *answer) == (asked, said)
            && now.mono < *at
        {
            return;
        }
        self.answers.insert(to, (asked, said, until));
        self.send(to);
    }

    fn tell_everybody(&mut self) {
        let others: Vec<_> = self
            .config
            .members
            .iter()
            .copied()
            .filter(|member| *member != self.config.me)
            .collect();
        for member in others {
            self.send(member);
        }
    }

    fn send(&mut self, to: ServerId) {
        let vote = self.told_vote();
        let notification = Notification {
            state: self.state,
            leader: vote.leader,
            zxid: vote.zxid,
            round: self.round,
            peer_epoch: vote.epoch,
            config: self.config.text.clone(),
        };
        self.outputs.push_back(Output::Send { to, notification });
    }
}

/// Who votes as `ballot` does, counted under these configurations.
fn agreeing(
    verifiers: &[QuorumVerifier],
    ballots: &BTreeMap<ServerId, Ballot>,
    ballot: &Ballot,
) -> QuorumTracker {
    let mut tracker = QuorumTracker::new(verifiers.iter().cloned());
    for (&server, other) in ballots {
        if other.agrees_with(ballot) {
            tracker.add(server);
        }
    }
    tracker
}

#[cfg(test)]
mod tests;

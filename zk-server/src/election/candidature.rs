//! Who stands for leader while a reconfiguration is on its way.
//!
//! In Apache's ensembles only voters of the configuration in force stand (`FastLeaderElection.getInitId`), while
//! votes of the next one's voters count, and both quorums are needed (`getVoteTracker`). So an ensemble can come to a
//! stop: with {1} in force and {1, 4} logged, and 4's log longer than 1's, nothing goes without 4, 4 does not stand,
//! and 4 has more history than the only one that does, which must not lead it.
//!
//! Who leads is no matter of safety: whoever it is, discovery demands that a quorum of every configuration it knows
//! accepts its epoch and has no more history than it has (except of one that cannot have come into force:
//! `discovery.rs`). What was committed under the configuration in force is logged by one in each of its quorums, so a
//! leader that lacks it is refused; and a configuration that it does not know was committed by a quorum of the one
//! before, so one of those that it asks has it logged, has more history, and refuses, too. That holds for a server that
//! votes nowhere as for any other, and no promise counts twice: only voters are counted, each under the configurations
//! that have it. Who stands is a matter of coming to an end.
//!
//! And there it cuts both ways: who has not logged the next configuration does not know those that it brings, neither
//! as candidates nor where they are, and will not vote for them. Therefore a server that only a configuration to come
//! makes electable ([`ElectionConfig::is_electable_later`])
//!
//! * does not stand at first, as in Apache's ensembles;
//! * stands after a leader let it go in discovery ([`Election::stand`]): it may be the one with the longest history;
//! * withdraws if that election is not settled within [`WITHDRAW_AFTER`], if it was elected and not followed, or once
//!   there is a leader with an established epoch.
//!
//! The same holds for a server that can be elected now, and alone, or with a few, has logged a configuration whose new
//! voters are gone. Its history is the longest, so the others vote for it and wait for it, and it waits for a quorum that
//! never comes. So whoever has logged a configuration to come, has seen the quorum of the one in force agree for
//! [`WITHDRAW_AFTER`], and not the quorums to come, steps aside: it proposes nobody and votes for the best of the
//! others. Where those who have not logged it are a quorum of the one in force, they elect one of themselves, and that one
//! takes the promises of a quorum in which nobody has logged it: then no quorum of the one in force has, it was never
//! committed, nothing was under it, and whoever stepped aside joins and is cut. Where they are no quorum, whoever they elect
//! is refused in discovery by one that has more history, as any other would be; for that reason, and since the new voters
//! may come after all, it stands again after a while: [`ASIDE_MIN`], twice as long each time, [`ASIDE_MAX`] at most.

use std::time::Duration;

use zk_proto::ServerId;

use super::{Election, ElectionConfig, NOTIFICATION_INTERVAL_MIN, Vote, agreeing};
use crate::{time::Now, zab::mutants};

/// How long a server stands that not everybody may know, before it lets others be elected.
pub(super) const WITHDRAW_AFTER: Duration = NOTIFICATION_INTERVAL_MIN.saturating_mul(5);

/// How long one steps aside at first: those who wait for it have to notice, and to elect another one.
pub(super) const ASIDE_MIN: Duration = WITHDRAW_AFTER.saturating_mul(2);
/// How long it steps aside at most.
pub(super) const ASIDE_MAX: Duration = WITHDRAW_AFTER.saturating_mul(16);

/// A candidate without the quorums of the configurations to come.
#[derive(Debug)]
pub(super) struct Aside {
    /// Since when a quorum of the configuration in force agrees, and one to come does not.
    held_up_since: Option<Duration>,
    /// Until when it does not stand.
    until: Option<Duration>,
    /// How long it steps aside next time.
    next: Duration,
}

impl Aside {
    pub(super) const fn new() -> Self {
        Self {
            held_up_since: None,
            until: None,
            next: ASIDE_MIN,
        }
    }

    /// Steps aside.
    fn step(&mut self, now: Now) {
        self.held_up_since = None;
        self.until = Some(now.mono + self.next);
        self.next = (self.next * 2).min(ASIDE_MAX);
    }
}

impl ElectionConfig {
    /// Whether any configuration has it as a voter.
    pub(super) fn is_voter(&self, server: ServerId) -> bool {
        let mut verifiers = self.verifiers.iter();
        verifiers.any(|verifier| verifier.is_voter(server))
    }

    /// Whether it can be elected under any configuration.
    pub(super) fn may_lead(&self, server: ServerId) -> bool {
        let known = match mutants::active("only-voters-stand") {
            true => self.verifiers.len().min(1),
            false => self.verifiers.len(),
        };
        let mut verifiers = self.verifiers[..known].iter();
        verifiers.any(|verifier| verifier.weight(server) > 0)
    }

    /// Whether this server can be elected, but not under the configuration in force.
    pub(super) fn is_electable_later(&self) -> bool {
        let now = self.verifiers.first();
        let is_electable_now = now.is_some_and(|verifier| verifier.weight(self.me) > 0);
        !is_electable_now && self.may_lead(self.me)
    }

    /// Whether the configuration in force has this server as a voter.
    fn is_elector(&self) -> bool {
        let now = self.verifiers.first();
        now.is_some_and(|verifier| verifier.is_voter(self.me))
    }
}

impl Election {
    /// Whether this server stands for leader where only a configuration to come has it as a voter. One that can be
    /// elected now stands anyway.
    pub fn stand(&mut self, stands: bool) {
        self.stands = stands;
    }

    /// What this server votes for at the beginning: itself, or what loses against everybody.
    pub(super) fn candidature(&self, now: Now) -> Vote {
        let stands = match self.config.is_electable_later() {
            _ if self.abstains => false,
            true => self.stands,
            false => self.config.is_elector() && !self.is_aside(now),
        };
        match stands {
            true => Vote {
                leader: self.config.me,
                ..self.history
            },
            false => Vote::NOBODY,
        }
    }

    /// Whether a configuration is on its way for all that is known here.
    const fn is_amid_a_reconfiguration(&self) -> bool {
        self.config.verifiers.len() > 1
    }

    fn is_aside(&self, now: Now) -> bool {
        let until = self.aside.until.filter(|until| now.mono < *until);
        until.is_some() && self.is_amid_a_reconfiguration()
    }

    /// Notes that there is no quorum of every configuration for this server's vote.
    pub(super) fn note_held_up(&mut self, now: Now) {
        let stands = self.own.leader == self.config.me;
        if self.aside.held_up_since.is_some() || !stands || !self.is_amid_a_reconfiguration() {
            return;
        }
        let ballot = self.own_ballot();
        let in_force = agreeing(&self.config.verifiers[..1], &self.received, &ballot);
        if in_force.has_quorum() && !mutants::active("nobody-steps-aside") {
            self.aside.held_up_since = Some(now.mono);
        }
    }

    /// A quorum of every configuration agrees, or the election begins anew.
    pub(super) const fn is_not_held_up(&mut self) {
        self.aside.held_up_since = None;
    }

    /// There is a leader with an established epoch: no candidate of before matters.
    pub(super) const fn forget_candidatures(&mut self) {
        self.stands = false;
        self.aside = Aside::new();
    }

    /// When this server, which stands, withdraws.
    pub(super) fn withdraw_at(&self) -> Option<Duration> {
        let since = match self.config.is_electable_later() {
            true => self.stands.then_some(self.looks_since),
            false => self.aside.held_up_since,
        };
        since.map(|since| since + WITHDRAW_AFTER)
    }

    /// When this server, which stepped aside, stands again.
    pub(super) const fn stand_again_at(&self) -> Option<Duration> {
        self.aside.until
    }

    /// Begins another round without this server as a candidate.
    pub(super) fn withdraw(&mut self, now: Now) {
        match self.config.is_electable_later() {
            true => self.stands = false,
            false => self.aside.step(now),
        }
        self.look(now);
    }

    /// Begins another round with this server as a candidate.
    pub(super) fn stand_again(&mut self, now: Now) {
        self.aside.until = None;
        self.look(now);
    }
}

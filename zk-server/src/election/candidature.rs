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

use std::time::Duration;

use zk_proto::{Epoch, ServerId, Zxid};

use super::{Election, ElectionConfig, NOTIFICATION_INTERVAL_MIN, Vote};
use crate::{time::Now, zab::mutants};

/// How long a server stands that not everybody may know, before it lets others be elected.
pub(super) const WITHDRAW_AFTER: Duration = NOTIFICATION_INTERVAL_MIN.saturating_mul(5);

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
    pub(super) fn candidature(&self, last_zxid: Zxid, epoch: Epoch) -> Vote {
        let stands = match self.config.is_electable_later() {
            _ if self.abstains => false,
            true => self.stands,
            false => self.config.is_elector(),
        };
        match stands {
            true => Vote {
                leader: self.config.me,
                zxid: last_zxid,
                epoch,
            },
            false => Vote::NOBODY,
        }
    }

    /// When this server, which stands, withdraws.
    pub(super) fn withdraw_at(&self) -> Option<Duration> {
        let stands = self.stands && self.config.is_electable_later();
        stands.then(|| self.looks_since + WITHDRAW_AFTER)
    }

    /// Begins another round without this server as a candidate.
    pub(super) fn withdraw(&mut self, now: Now) {
        self.stands = false;
        let Vote { zxid, epoch, .. } = self.own;
        self.look(now, zxid, epoch);
    }
}

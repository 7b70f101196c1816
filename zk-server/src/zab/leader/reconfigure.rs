//! A leader through a reconfiguration: who must agree, and to whom it hands over (`Leader.tryToCommit`,
//! `startZkServer`).

use zk_proto::{Epoch, ServerId, Utf8Bytes, Zxid, quorum::LearnerMessage};

use super::{Leader, Phase};
use crate::{
    reconfig::designated_leader,
    time::Now,
    zab::{Departure, Output, Transaction},
};

impl Leader {
    /// A configuration that an operator wrote has no version; the first leader gives it that of its epoch, so that it
    /// wins against others that were written and never led to anything (ZOOKEEPER-1783).
    pub(super) fn name_first_configuration(&mut self, epoch: Epoch) {
        let configurations = &mut self.config.configurations;
        if configurations.last_seen().version() == Zxid::ZERO {
            let first = (**configurations.committed()).clone();
            if configurations.see(first.with_version(Zxid::new(epoch, 0))) {
                self.configured();
            }
        }
    }

    /// What NEWLEADER says: the configuration that the epoch begins with. What is proposed since then, a learner gets as
    /// the proposal that it is.
    pub(super) fn configuration_for_learners(&self) -> Utf8Bytes {
        let configurations = &self.config.configurations;
        match self.phase {
            Phase::Broadcasting(_) => configurations.text(),
            _ => Utf8Bytes::from(configurations.last_seen().to_string().as_str()),
        }
    }

    /// A quorum of every configuration has this leader's history: with the last one in it the epoch begins.
    pub(super) fn establish_configuration(&mut self) {
        let configurations = &mut self.config.configurations;
        let last = configurations.last_seen().version();
        if configurations.commit(last) {
            self.proposals
                .decide_alone(configurations.committed().verifier().clone());
            self.configured();
        }
    }

    /// One that is no voter of its own configuration finishes what was begun under the old one, and leaves.
    pub(super) fn step_down_if_no_voter(&mut self) {
        let voters = self.config.configurations.committed().verifier();
        if matches!(self.phase, Phase::Broadcasting(_))
            && self.handing_over.is_none()
            && self.config.configurations.enabled()
            && !voters.is_voter(self.config.me)
        {
            self.depart(Departure::Reconfigured(None));
        }
    }

    /// Notes the configuration in a transaction that is about to be proposed.
    pub(super) fn propose_configuration(&mut self, transaction: &Transaction) {
        if let Some(next) = transaction.configuration() {
            let verifier = next.verifier().clone();
            if self.config.configurations.see_next(next) {
                self.proposals.begin_reconfig(verifier);
                self.configured();
            }
        }
    }

    /// Both quorums have the configuration: it is in force, and everybody hears who leads it.
    pub(super) fn commit_configuration(&mut self, now: Now, transaction: Transaction) {
        let Transaction { zxid, entry } = transaction.clone();
        let old = self.config.configurations.committed().clone();
        self.config.configurations.commit(zxid);
        self.proposals.end_reconfig();
        let new = self.config.configurations.committed();
        let leader = designated_leader(self.config.me, &old, new, self.proposals.logged());
        // One that nobody is: an election finds out.
        let designated_leader = leader.unwrap_or(ServerId(-1));
        for (link, learner) in &self.links {
            if !learner.phase.is_forwarding() {
                continue;
            }
            let message = match learner.observes {
                false => LearnerMessage::CommitAndActivate {
                    zxid,
                    designated_leader,
                },
                true => LearnerMessage::InformAndActivate {
                    zxid,
                    designated_leader,
                    entry: entry.clone(),
                },
            };
            let link = *link;
            self.outputs.push_back(Output::Send { link, message });
        }
        self.committed.push(transaction.clone());
        self.configured();
        self.output(Output::Commit(transaction));
        if leader != Some(self.config.me) {
            // Learners leave by themselves once they have read this; those that do not are not waited for.
            let until = now.mono + self.config.discovery_limit();
            self.handing_over = Some((leader, until));
            self.finish_handover(now);
        }
    }

    /// Ends the role of a leader that has handed over, when its learners have left or had time enough.
    pub(super) fn finish_handover(&mut self, now: Now) {
        if let Some((leader, until)) = self.handing_over
            && !matches!(self.phase, Phase::Departed)
            && (self.links.is_empty() || now.mono >= until)
        {
            self.depart(Departure::Reconfigured(leader));
        }
    }

    fn configured(&mut self) {
        let configurations = self.config.configurations.clone();
        self.output(Output::Configured(configurations));
    }
}

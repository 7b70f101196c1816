//! A learner through a reconfiguration (`QuorumPeer.processReconfig`).

use zk_proto::{ServerId, Zxid};

use super::{Learner, Phase};
use crate::{
    reconfig::Configuration,
    zab::{Departure, Output, Transaction},
};

impl Learner {
    /// Notes the configuration in a transaction that goes into the log.
    pub(super) fn see_configuration(&mut self, transaction: &Transaction) {
        if !self.config.configurations.enabled() || !transaction.is_reconfig() {
            return;
        }
        match transaction.configuration() {
            Some(configuration) => {
                if self.config.configurations.see_next(configuration) {
                    self.configured();
                }
            }
            None => self.misbehaved("a reconfiguration that cannot be read"),
        }
    }

    /// Takes in the configuration that NEWLEADER carries: it is in force when the epoch is established.
    pub(super) fn take_configuration(&mut self, text: Option<&str>) {
        let Some(text) = text.filter(|text| text.len() > 1) else {
            return;
        };
        match Configuration::parse(text) {
            Ok(configuration) => {
                self.brought = configuration.version();
                if self.config.configurations.see(configuration) {
                    self.configured();
                }
            }
            Err(_) if self.config.configurations.enabled() => {
                self.misbehaved("NEWLEADER with a configuration that cannot be read");
            }
            // It is the one in everybody's file, whatever the leader makes of it.
            Err(_) => {}
        }
    }

    /// UPTODATE: what the epoch began with is committed. What the leader proposed since then and has not committed is
    /// not, though Apache's leader sends it with NEWLEADER. Returns whether anything came into force.
    pub(super) fn establish_configuration(&mut self) -> bool {
        let is_on_its_way = self.brought > self.commit && self.brought <= self.logged;
        let version = match is_on_its_way {
            true => self.commit,
            false => self.commit.max(self.brought),
        };
        let is_new = self.config.configurations.commit(version);
        if is_new {
            self.configured();
        }
        is_new
    }

    /// After [`establish_configuration`](Self::establish_configuration): another role, or a leader that is none of the
    /// voters, means another election.
    pub(super) fn leave_if_changed(&mut self) {
        let configurations = &self.config.configurations;
        let leader_votes = configurations.committed().verifier().is_voter(self.leader);
        let changed = configurations.votes() != self.votes || !leader_votes;
        if configurations.enabled() && self.phase == Phase::Active && changed {
            self.depart(Departure::Reconfigured(None));
        }
    }

    /// The leader says that a configuration is in force, and who leads it.
    pub(super) fn activate_configuration(&mut self, zxid: Zxid, leader: ServerId) {
        let configurations = &mut self.config.configurations;
        if !configurations.enabled() || self.phase == Phase::Departed {
            return;
        }
        if configurations.commit(zxid) {
            let changed = configurations.votes() != self.votes || leader != self.leader;
            let is_voter = configurations.committed().verifier().is_voter(leader);
            self.configured();
            if changed {
                self.depart(Departure::Reconfigured(is_voter.then_some(leader)));
            }
        }
    }

    /// The log was cut: what was in it does not count.
    pub(super) fn forget_configurations(&mut self) {
        if self.config.configurations.forget_after(self.logged) {
            self.configured();
        }
    }

    /// The leader's tree takes the place of everything that was logged here.
    pub(super) fn replace_configurations(&mut self, of_tree: Option<Configuration>) {
        let configurations = &mut self.config.configurations;
        let forgotten = configurations.forget_after(configurations.version());
        let seen = of_tree.is_some_and(|configuration| configurations.see(configuration));
        if forgotten || seen {
            self.configured();
        }
    }

    fn configured(&mut self) {
        let configurations = self.config.configurations.clone();
        self.output(Output::Configured(configurations));
    }
}

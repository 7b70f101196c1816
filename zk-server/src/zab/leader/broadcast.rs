//! The established epoch: proposals, commits, pings, and what learners ask for.

use std::collections::BTreeMap;

use zk_proto::{ServerId, Zxid, quorum::LearnerMessage};

use super::{Leader, Phase};
#[cfg(zkmut)]
use crate::storage::Durable;
use crate::{
    quorum::QuorumTracker,
    storage::{DiskDone, DiskOp},
    time::Now,
    zab::{
        Departure, ForwardedRequest, LinkId, Output, Transaction, UNASKED, learner_link::LinkPhase,
        mutants,
    },
};

impl Leader {
    pub(super) fn hear(&mut self, now: Now, link: LinkId, message: LearnerMessage) {
        let Some(learner) = self.links.get_mut(&link) else {
            return; // It was closed before the message was read.
        };
        learner.last_heard = now.mono;
        match (learner.phase, message) {
            (
                LinkPhase::Connected,
                LearnerMessage::FollowerInfo {
                    accepted_epoch,
                    info,
                },
            ) => {
                self.introduce(now, link, info, accepted_epoch, false);
            }
            (
                LinkPhase::Connected,
                LearnerMessage::ObserverInfo {
                    accepted_epoch,
                    info,
                },
            ) => {
                self.introduce(now, link, info, accepted_epoch, true);
            }
            (
                LinkPhase::Promising,
                LearnerMessage::AckEpoch {
                    last_zxid,
                    current_epoch,
                },
            ) => {
                self.epoch_acked(now, link, last_zxid, current_epoch);
            }
            (LinkPhase::Syncing, LearnerMessage::Ack(zxid)) => {
                self.learner_synced(now, link, zxid);
            }
            (LinkPhase::Synced | LinkPhase::Active, LearnerMessage::Ack(zxid)) => {
                self.acked(now, link, zxid);
            }
            (LinkPhase::Active, message) => self.hear_active(link, message),
            _ => self.close(link, "said something that it may not say now"),
        }
    }

    pub(super) fn hear_active(&mut self, link: LinkId, message: LearnerMessage) {
        match message {
            LearnerMessage::Ping { zxid, touched } => {
                if let Some(learner) = self.links.get_mut(&link).filter(|_| zxid != UNASKED) {
                    learner.pings_answered = (learner.pings_answered + 1).min(learner.pings_sent);
                }
                if let Some(touched) = touched.filter(|touched| !touched.is_empty()) {
                    self.output(Output::Touched(touched));
                }
                self.advance_syncs();
            }
            LearnerMessage::Revalidate(session) => {
                self.output(Output::Revalidate { link, session })
            }
            LearnerMessage::Request {
                session,
                cxid,
                op,
                body,
                identities,
            } => {
                let request = ForwardedRequest {
                    session,
                    cxid,
                    op,
                    body,
                    identities,
                };
                self.output(Output::Forwarded { link, request });
            }
            _ => self.close(link, "said something that it may not say now"),
        }
    }

    /// A learner has a proposal on disk. The acknowledgement of UPTODATE names no transaction.
    pub(super) fn acked(&mut self, now: Now, link: LinkId, zxid: Zxid) {
        let Some(learner) = self.links.get_mut(&link) else {
            return;
        };
        if zxid.counter() == 0 || learner.observes {
            return;
        }
        learner.acked(zxid);
        let server = learner.server;
        if !self.proposals.ack(server, zxid) {
            return self.close(link, "acknowledged what was not proposed");
        }
        self.commit(now);
    }

    pub(super) fn propose(&mut self, now: Now, transaction: Transaction) {
        assert!(
            matches!(self.phase, Phase::Broadcasting(_)),
            "proposed before the epoch was established"
        );
        self.propose_configuration(&transaction);
        self.proposals.propose(transaction.clone());
        let Transaction { zxid, entry } = transaction;
        for (link, learner) in &mut self.links {
            if learner.phase.is_forwarding() && !learner.observes {
                learner.proposed(zxid, now.mono);
                let entry = entry.clone();
                self.outputs.push_back(Output::Send {
                    link: *link,
                    message: LearnerMessage::Proposal { zxid, entry },
                });
            }
        }
        self.output(Output::Disk(DiskOp::Append {
            zxid,
            record: entry,
        }));
        #[cfg(zkmut)]
        if mutants::active("leader-acks-before-fsync") {
            self.proposals.ack_own(Durable::forge(zxid));
        }
        self.commit(now);
    }

    pub(super) fn commit(&mut self, now: Now) {
        while self.handing_over.is_none()
            && let Some(transaction) = self.proposals.pop_committed()
        {
            let zxid = transaction.zxid;
            if self.config.configurations.enabled() && transaction.is_reconfig() {
                self.commit_configuration(now, transaction);
                continue;
            }
            for (link, learner) in &self.links {
                if learner.phase.is_forwarding() {
                    let message = match learner.observes {
                        false => LearnerMessage::Commit(zxid),
                        true => LearnerMessage::Inform {
                            zxid,
                            entry: transaction.entry.clone(),
                        },
                    };
                    self.outputs.push_back(Output::Send {
                        link: *link,
                        message,
                    });
                }
            }
            self.committed.push(transaction.clone());
            self.output(Output::Commit(transaction));
        }
        self.advance_syncs();
        let used_up = self.proposals.next_zxid().is_none()
            && self.proposals.committed() == self.proposals.last();
        if used_up && matches!(self.phase, Phase::Broadcasting(_)) {
            self.depart(Departure::ZxidsUsedUp);
        }
    }

    pub(super) fn disk_done(&mut self, now: Now, done: DiskDone) {
        match done {
            DiskDone::Synced {
                generation, zxid, ..
            } if generation == self.generation => {
                self.proposals.ack_own(zxid);
                self.commit(now);
            }
            DiskDone::EpochSaved { kind, epoch } => self.epoch_saved(now, kind, epoch),
            _ => {}
        }
    }

    pub(super) fn advance_syncs(&mut self) {
        if !matches!(self.phase, Phase::Broadcasting(_)) {
            return;
        }
        loop {
            if self.syncs.wants_round() {
                let pinged = self.ping();
                self.syncs.begin(pinged);
            }
            if !(self.syncs.is_asking() && self.round_has_quorum()) {
                break;
            }
            self.syncs.confirm();
        }
        while let Some(link) = self.syncs.pop(self.proposals.committed()) {
            match link {
                None => self.output(Output::Synced),
                Some(link) if self.links.contains_key(&link) => {
                    self.send(link, LearnerMessage::Sync(Zxid::ZERO));
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn round_has_quorum(&self) -> bool {
        let mut tracker = QuorumTracker::new(self.config.verifiers());
        tracker.add(self.config.me);
        let answered = |link| self.links.get(&link).map_or(0, |link| link.pings_answered);
        for link in self.syncs.answered(answered) {
            if let Some(link) = self.links.get(&link).filter(|link| !link.observes) {
                tracker.add(link.server);
            }
        }
        tracker.has_quorum() || mutants::active("1675")
    }

    /// Pings every learner that has begun to sync; returns the numbers of those pings that will be answered.
    pub(super) fn ping(&mut self) -> BTreeMap<LinkId, u64> {
        let mut pinged = BTreeMap::new();
        let zxid = self.proposals.last();
        for (link, learner) in &mut self.links {
            if learner.phase == LinkPhase::Active {
                learner.pings_sent += 1;
                pinged.insert(*link, learner.pings_sent);
            }
            if learner.phase.is_forwarding() {
                self.outputs.push_back(Output::Send {
                    link: *link,
                    message: LearnerMessage::Ping {
                        zxid,
                        touched: None,
                    },
                });
            }
        }
        pinged
    }

    pub(super) fn deadline(&mut self, now: Now) {
        let mut ends = self.give_up_at.into_iter().chain(self.alone_until());
        if ends.any(|at| now.mono >= at) {
            return self.depart(Departure::NotEstablished);
        }
        self.finish_handover(now);
        if now.mono < self.next_ping || matches!(self.phase, Phase::Departed) {
            return;
        }
        self.next_ping = now.mono + self.config.tick / 2;
        self.drop_overdue(now);
        self.count_quorum = !self.count_quorum;
        if self.count_quorum && self.give_up_at.is_none() && !self.has_synced_quorum(now) {
            return self.depart(Departure::QuorumLost);
        }
        let pinged = self.ping();
        self.syncs.extend(pinged);
    }

    pub(super) fn drop_overdue(&mut self, now: Now) {
        let (init, sync) = (self.config.init_limit, self.config.sync_limit);
        let overdue: Vec<_> = self
            .links
            .iter()
            .filter_map(|(id, link)| Some((*id, link.overdue(now.mono, init, sync)?)))
            .collect();
        for (link, reason) in overdue {
            self.close(link, reason);
        }
    }

    pub(super) fn has_synced_quorum(&self, now: Now) -> bool {
        let mut tracker = QuorumTracker::new(self.config.verifiers());
        tracker.add(self.config.me);
        for link in self.links.values().filter(|link| !link.observes) {
            let heard = now.mono.saturating_sub(link.last_heard) <= self.config.sync_limit;
            if link.phase == LinkPhase::Active && heard {
                tracker.add(link.server);
            }
        }
        tracker.has_quorum()
    }

    /// Who follows this leader in sync, by id.
    pub fn synced(&self) -> impl Iterator<Item = ServerId> + '_ {
        let active = self
            .links
            .values()
            .filter(|link| link.phase == LinkPhase::Active);
        active.map(|link| link.server)
    }
}

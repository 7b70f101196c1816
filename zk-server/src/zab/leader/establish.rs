//! From the election to an established epoch: discovery and synchronization.

use std::time::Duration;

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{LearnerInfo, LearnerMessage},
};

use super::{Leader, Phase};
use crate::{
    quorum::QuorumTracker,
    storage::{Durable, EpochKind},
    time::Now,
    zab::{
        Departure, LinkId, LoggedHistory, Output, Proposals, SyncPlan, Transaction,
        discovery::{EpochAcks, StateSummary, leader_info, promise},
        learner_link::{LearnerLink, LinkPhase},
        mutants, plan,
        synchronization::save_current_epoch,
    },
};

/// By how many epochs a learner may be ahead of its leader: far more than there are leaders while a server is away.
const EPOCHS_AHEAD_MAX: i64 = 1 << 20;

impl Leader {
    /// initLimit is for a learner that does nothing, and not for one whose snapshot or history is large
    /// (ZOOKEEPER-1465, 1697).
    pub(super) fn progress(&mut self, now: Now, link: LinkId) {
        let Some(learner) = self.links.get_mut(&link) else {
            return;
        };
        if !matches!(
            learner.phase,
            LinkPhase::Syncing | LinkPhase::ReadingLog { .. }
        ) {
            return;
        }
        learner.moved = now.mono;
        if matches!(self.phase, Phase::Synchronizing(..)) {
            self.give_up_at = Some(now.mono + self.config.init_limit);
        }
    }

    pub(super) fn introduce(
        &mut self,
        now: Now,
        link: LinkId,
        info: LearnerInfo,
        accepted: Epoch,
        observes: bool,
    ) {
        // Who wants to join must have been here before: then anybody may come, as in Apache's ensembles.
        let known = &self.config.configurations;
        if !known.enabled() && !known.members().contains(&info.server_id) {
            return self.close(link, "is no member of this ensemble");
        }
        if info.config_version > self.config.configurations.version() {
            return self.close(link, "has a later configuration");
        }
        // Whoever believed it could promise no later epoch itself, or none at all.
        let reached = self.epochs.accepted.max(self.epochs.current);
        if accepted.0.saturating_sub(reached.0) > EPOCHS_AHEAD_MAX {
            return self.close(link, "claims an epoch that nobody can have reached");
        }
        let server = info.server_id;
        let older = self.links.iter().find(|(id, other)| {
            **id != link && other.phase != LinkPhase::Connected && other.server == server
        });
        if let (Some(older), true) = (older.map(|(id, _)| *id), server.0 >= 0) {
            self.close(older, "has connected anew");
        }
        if accepted > self.chosen_epoch() && self.is_voter(server) {
            return self.depart(Departure::EpochOutdated(accepted));
        }
        if let Some(learner) = self.links.get_mut(&link) {
            learner.server = server;
            learner.observes = observes;
            learner.phase = LinkPhase::Introduced;
        }
        let is_asked = self.is_asked(server, observes);
        if let (Phase::ChoosingEpoch(proposal), true) = (&mut self.phase, is_asked) {
            proposal.hear(server, accepted);
            self.choose_epoch(now);
        }
        self.tell_epoch();
    }

    /// Whether discovery asks this learner: everybody but those who only observe. One that observes and is a voter of a
    /// configuration that is on its way does not know that yet; its promise is on its disk like any other, and without
    /// it each quorum may have somebody with more history than anybody who can be elected (`tests/sim/reconfig.rs`). Its
    /// word on what it has logged since (NEWLEADER, proposals) does not count: Apache's observers give it unwritten.
    fn is_asked(&self, server: ServerId, observes: bool) -> bool {
        !observes || (self.is_voter(server) && !mutants::active("observers-not-asked"))
    }

    /// The epoch that was chosen; while none is, any may be.
    fn chosen_epoch(&self) -> Epoch {
        match &self.phase {
            Phase::ChoosingEpoch(_) | Phase::Departed => Epoch(i64::MAX),
            Phase::Promising(epoch) => *epoch,
            _ => self.epoch().map_or(Epoch(0), |epoch| epoch.get()),
        }
    }

    pub(super) fn is_voter(&self, server: ServerId) -> bool {
        let verifiers = self.config.verifiers();
        let mut verifiers = verifiers.iter();
        verifiers.any(|verifier| verifier.is_voter(server))
    }

    pub(super) fn choose_epoch(&mut self, now: Now) {
        let Phase::ChoosingEpoch(proposal) = &self.phase else {
            return;
        };
        if let Some(epoch) = proposal.chosen() {
            self.enter(now, Phase::Promising(epoch));
            self.output(Output::Disk(promise(epoch)));
        }
    }

    /// Tells the epoch to everybody who waits for it, once it is on the disk.
    pub(super) fn tell_epoch(&mut self) {
        let Some(epoch) = self.epoch() else {
            return;
        };
        for link in self.links_in(|phase| phase == LinkPhase::Introduced) {
            self.set_phase(link, LinkPhase::Promising);
            self.send(link, leader_info(epoch));
        }
    }

    pub(super) fn promised(&mut self, now: Now, epoch: Durable<Epoch>) {
        self.epochs.accepted = epoch.get();
        let own = StateSummary {
            current: self.epochs.current,
            last: self.history.get(),
        };
        self.name_first_configuration(epoch.get());
        let verifiers = self.config.verifiers();
        let acks = EpochAcks::new(
            self.config.me,
            own,
            epoch,
            &verifiers,
            self.config.configurations.next_version(),
        );
        let counter_max = self.config.counter_max;
        self.proposals = Proposals::new(epoch.get(), self.config.me, verifiers, counter_max);
        self.enter(now, Phase::CollectingAcks(epoch, acks));
        self.tell_epoch();
        self.count_epoch_acks(now);
    }

    pub(super) fn epoch_acked(&mut self, now: Now, link: LinkId, last: Zxid, current: Option<i32>) {
        let Some(learner) = self.links.get(&link) else {
            return;
        };
        let server = learner.server;
        let is_asked = self.is_asked(server, learner.observes);
        if let (Phase::CollectingAcks(_, acks), true) = (&mut self.phase, is_asked)
            && !acks.hear(server, last, current)
        {
            return self.close(link, "has more history than its leader");
        }
        self.set_phase(link, LinkPhase::Accepted { last });
        match self.phase {
            Phase::CollectingAcks(..) => self.count_epoch_acks(now),
            _ => self.synchronize(now, link, last, LoggedHistory::Unread),
        }
    }

    pub(super) fn count_epoch_acks(&mut self, now: Now) {
        let Phase::CollectingAcks(epoch, acks) = &self.phase else {
            return;
        };
        if !acks.has_quorum() && !mutants::active("1192") {
            return;
        }
        let epoch = *epoch;
        let acks = QuorumTracker::new(self.config.verifiers());
        self.enter(now, Phase::Synchronizing(epoch, acks));
        self.output(Output::Disk(save_current_epoch(self.history, epoch.get())));
        for link in self.links_in(|phase| matches!(phase, LinkPhase::Accepted { .. })) {
            if let Some(LinkPhase::Accepted { last }) = self.phase_of(link) {
                self.synchronize(now, link, last, LoggedHistory::Unread);
            }
        }
    }

    /// Sends a learner what it lacks, and from now on everything.
    pub(super) fn synchronize(&mut self, now: Now, link: LinkId, last: Zxid, disk: LoggedHistory) {
        let plan = plan(last, &self.committed, disk);
        let after = match plan {
            SyncPlan::ReadLog => {
                self.set_phase(link, LinkPhase::ReadingLog { last });
                self.committed.keep_all();
                return self.output(Output::ReadLog { link, from: last });
            }
            SyncPlan::Diff { after } => {
                self.send(link, LearnerMessage::Diff(self.committed.last()));
                after
            }
            SyncPlan::Trunc { to } => {
                let short = i64::from(mutants::active("1154"));
                self.send(link, LearnerMessage::Trunc(Zxid(to.0 - short)));
                to
            }
            SyncPlan::Snap => {
                let at = self.committed.last();
                self.send(link, LearnerMessage::Snap(at));
                self.output(Output::SendSnapshot { link, at });
                at
            }
        };
        self.send_history(link, after, disk);
        self.start_forwarding(now, link);
    }

    /// What is in memory is kept for as long as the log is read for anybody.
    pub(super) fn end_keeping(&mut self) {
        let is_reading = |phase| matches!(phase, LinkPhase::ReadingLog { .. });
        if self.links_in(is_reading).is_empty() {
            self.committed.keep_few();
        }
    }

    pub(super) fn send_history(&mut self, link: LinkId, after: Zxid, disk: LoggedHistory) {
        let floor = self.committed.floor();
        let is_read = matches!(disk, LoggedHistory::Read(_));
        let logged = (is_read && after < floor).then_some((after, floor));
        let records: Vec<_> = self.committed.after(after).cloned().collect();
        if logged.is_some() || !records.is_empty() {
            self.output(Output::SendHistory {
                link,
                logged,
                records,
            });
        }
    }

    pub(super) fn start_forwarding(&mut self, now: Now, link: LinkId) {
        let Some(epoch) = self.epoch() else {
            return;
        };
        let Some(learner) = self.links.get_mut(&link) else {
            return;
        };
        learner.phase = LinkPhase::Syncing;
        if !learner.observes {
            self.proposals.forget(learner.server);
            let outstanding: Vec<_> = self.proposals.outstanding().cloned().collect();
            for Transaction { zxid, entry } in outstanding {
                learner.proposed(zxid, now.mono);
                let message = LearnerMessage::Proposal { zxid, entry };
                self.outputs.push_back(Output::Send { link, message });
            }
        }
        let new_leader = LearnerMessage::NewLeader {
            zxid: Zxid::new(epoch.get(), 0),
            config: Some(self.configuration_for_learners()),
        };
        self.send(link, new_leader);
    }

    /// A learner has the history on disk.
    pub(super) fn learner_synced(&mut self, now: Now, link: LinkId, zxid: Zxid) {
        let Some(epoch) = self.epoch() else {
            return;
        };
        if zxid != Zxid::new(epoch.get(), 0) {
            return self.close(link, "acknowledged something else than NEWLEADER");
        }
        self.set_phase(link, LinkPhase::Synced);
        let server = self.links.get(&link).map(|learner| learner.server);
        let observes = self
            .links
            .get(&link)
            .is_some_and(|learner| learner.observes);
        if let (Phase::Synchronizing(_, acks), Some(server), false) =
            (&mut self.phase, server, observes)
        {
            acks.add(server);
        }
        self.establish();
        self.activate_learners(now);
    }

    pub(super) fn establish(&mut self) {
        let Phase::Synchronizing(epoch, acks) = &self.phase else {
            return;
        };
        if acks.has_quorum() || mutants::active("790") {
            let epoch = *epoch;
            self.phase = Phase::Broadcasting(epoch);
            self.give_up_at = None;
            self.establish_configuration();
            self.output(Output::Serve { epoch: epoch.get() });
        }
    }

    pub(super) fn activate_learners(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Broadcasting(_)) {
            return;
        }
        for link in self.links_in(|phase| phase == LinkPhase::Synced) {
            if let Some(learner) = self.links.get_mut(&link) {
                learner.activate(now.mono);
            }
            self.send(link, LearnerMessage::UpToDate);
        }
        self.step_down_if_no_voter();
    }

    /// Notes whether a quorum can still come of those who have answered and those who have a link and may. One that has
    /// promised the epoch over an earlier link answers in a way that does not count.
    pub(super) fn note_hope(&mut self, now: Now) {
        let servers = |is_awaited: fn(&LearnerLink) -> bool| -> Vec<_> {
            let links = self.links.values().filter(|link| is_awaited(link));
            links.map(|link| link.server).collect()
        };
        let has_hope = match &self.phase {
            Phase::CollectingAcks(_, acks) => acks.may_have_quorum(&servers(|link| {
                matches!(link.phase, LinkPhase::Introduced | LinkPhase::Promising)
            })),
            Phase::Synchronizing(_, acks) => {
                let mut hoped_for = acks.clone();
                hoped_for.add(self.config.me);
                servers(|link| !link.observes && link.phase != LinkPhase::Connected)
                    .into_iter()
                    .for_each(|server| hoped_for.add(server));
                hoped_for.has_quorum()
            }
            _ => true,
        };
        self.alone_since = match has_hope {
            true => None,
            false => self.alone_since.or(Some(now.mono)),
        };
    }

    /// How long it waits for the others then: they may elect somebody, this server included, and cannot join it.
    pub(super) fn alone_until(&self) -> Option<Duration> {
        Some(self.alone_since? + self.config.discovery_limit())
    }

    pub(super) fn enter(&mut self, now: Now, phase: Phase) {
        self.phase = phase;
        self.give_up_at = Some(now.mono + self.config.init_limit);
    }

    pub(super) fn epoch_saved(&mut self, now: Now, kind: EpochKind, epoch: Durable<Epoch>) {
        match (&mut self.phase, kind) {
            (Phase::Promising(awaited), EpochKind::Accepted) if *awaited == epoch.get() => {
                self.promised(now, epoch);
            }
            (Phase::Synchronizing(awaited, acks), EpochKind::Current) if *awaited == epoch => {
                self.epochs.current = epoch.get();
                acks.add(self.config.me);
                self.establish();
                self.activate_learners(now);
            }
            _ => {}
        }
    }
}

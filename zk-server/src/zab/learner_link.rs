//! One learner as its leader sees it (`LearnerHandler`).

use std::time::Duration;

use zk_proto::{ServerId, Zxid};

/// How far a learner has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkPhase {
    /// Nothing was heard yet.
    Connected,
    /// It has introduced itself and waits for the epoch.
    Introduced,
    /// It was told the epoch.
    Promising,
    /// It has accepted the epoch; its log ends here.
    Accepted { last: Zxid },
    /// The log on disk is being read for it.
    ReadingLog { last: Zxid },
    /// It was sent the history and NEWLEADER, and is sent everything from now on.
    Syncing,
    /// It has the history on disk.
    Synced,
    /// It was told to serve.
    Active,
}

impl LinkPhase {
    /// Whether it is sent proposals and commits.
    pub(super) const fn is_forwarding(self) -> bool {
        matches!(self, Self::Syncing | Self::Synced | Self::Active)
    }
}

/// A link to a learner.
#[derive(Debug)]
pub(super) struct LearnerLink {
    pub(super) phase: LinkPhase,
    /// Who it is, once it has said so.
    pub(super) server: ServerId,
    /// Whether it may only observe.
    pub(super) observes: bool,
    /// When it was opened, or what it needs to get in sync last moved.
    pub(super) moved: Duration,
    pub(super) last_heard: Duration,
    /// Pings since UPTODATE: those before are not answered.
    pub(super) pings_sent: u64,
    pub(super) pings_answered: u64,
    /// A proposal that it has not acknowledged, and when it was sent (`SyncLimitCheck`).
    watched: Option<(Zxid, Duration)>,
    /// The last proposal sent, and when.
    newest: Option<(Zxid, Duration)>,
}

impl LearnerLink {
    pub(super) const fn new(now: Duration) -> Self {
        Self {
            phase: LinkPhase::Connected,
            server: ServerId(-1),
            observes: true,
            moved: now,
            last_heard: now,
            pings_sent: 0,
            pings_answered: 0,
            watched: None,
            newest: None,
        }
    }

    pub(super) fn proposed(&mut self, zxid: Zxid, now: Duration) {
        self.newest = Some((zxid, now));
        self.watched.get_or_insert((zxid, now));
    }

    /// It was told to serve, and its part of the bargain begins: what it was sent while it synced it could not
    /// acknowledge, and while it waited for a quorum it had nothing to say (Apache starts `SyncLimitCheck` here, too).
    pub(super) fn activate(&mut self, now: Duration) {
        self.phase = LinkPhase::Active;
        self.last_heard = now;
        self.watched = self.watched.map(|(zxid, _)| (zxid, now));
        self.newest = self.newest.map(|(zxid, _)| (zxid, now));
    }

    pub(super) fn acked(&mut self, zxid: Zxid) {
        if self.watched.is_some_and(|(watched, _)| zxid >= watched) {
            self.watched = self.newest.filter(|(newest, _)| *newest > zxid);
        }
    }

    /// What is wrong with this learner by now, if anything.
    pub(super) fn overdue(
        &self,
        now: Duration,
        init_limit: Duration,
        sync_limit: Duration,
    ) -> Option<&'static str> {
        let since = |moment: Duration| now.saturating_sub(moment);
        match self.phase {
            LinkPhase::Synced => None, // It waits for the leader.
            LinkPhase::Active if since(self.last_heard) > sync_limit => {
                Some("silent for syncLimit")
            }
            LinkPhase::Active => self
                .watched
                .is_some_and(|(_, sent)| since(sent) > sync_limit)
                .then_some("a proposal is not acknowledged within syncLimit"),
            _ => (since(self.moved) > init_limit).then_some("not in sync within initLimit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn overdue(link: &LearnerLink, now: Duration) -> bool {
        link.overdue(now, 10 * SECOND, 5 * SECOND).is_some()
    }

    #[test]
    fn a_learner_must_get_in_sync_and_then_keep_up_and_be_heard_of() {
        let mut link = LearnerLink::new(SECOND);
        assert!(!overdue(&link, 11 * SECOND));
        assert!(overdue(&link, 12 * SECOND), "not in sync");
        link.phase = LinkPhase::Synced;
        assert!(!overdue(&link, 30 * SECOND), "it waits for its leader");
        link.phase = LinkPhase::Active;
        link.last_heard = 20 * SECOND;
        assert!(overdue(&link, 26 * SECOND), "silent");

        link.proposed(Zxid(1), 20 * SECOND);
        link.proposed(Zxid(2), 24 * SECOND);
        link.last_heard = 26 * SECOND;
        assert!(overdue(&link, 26 * SECOND), "the first is not acknowledged");
        link.acked(Zxid(1));
        assert!(!overdue(&link, 26 * SECOND));
        link.last_heard = 30 * SECOND;
        assert!(overdue(&link, 30 * SECOND), "nor is the second");
        link.acked(Zxid(2));
        assert!(!overdue(&link, 30 * SECOND));
    }

    #[test]
    fn sync_limit_begins_when_a_learner_is_told_to_serve() {
        let mut link = LearnerLink::new(SECOND);
        link.phase = LinkPhase::Syncing;
        link.proposed(Zxid(1), 2 * SECOND);
        link.proposed(Zxid(2), 3 * SECOND);
        link.phase = LinkPhase::Synced;
        link.activate(30 * SECOND);
        assert!(!overdue(&link, 35 * SECOND), "neither late nor silent");
        link.last_heard = 36 * SECOND;
        assert!(overdue(&link, 36 * SECOND), "now the first is late");
        link.acked(Zxid(1));
        assert!(overdue(&link, 36 * SECOND), "and the second");
        link.acked(Zxid(2));
        assert!(!overdue(&link, 36 * SECOND));
        assert!(overdue(&link, 42 * SECOND), "silent");
    }
}

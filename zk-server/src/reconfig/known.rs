//! The configurations that a member knows (`QuorumPeer.quorumVerifier` and `lastSeenQuorumVerifier`).

use std::{collections::BTreeSet, sync::Arc};

use zk_proto::{ServerId, Utf8Bytes, Zxid};

use super::Configuration;
use crate::{config::ServerSpec, quorum::QuorumVerifier, zab::mutants};

/// The configuration in force, and those that may come into force: they are logged, and nobody here knows yet
/// whether they are committed.
#[derive(Debug, Clone)]
pub struct Configurations {
    me: ServerId,
    enabled: bool,
    committed: Arc<Configuration>,
    /// By version, each larger than the committed one's.
    pending: Vec<Pending>,
    /// Whether the last leader was of an epoch before the one that this member has promised.
    turned_away: bool,
}

/// A configuration that may come into force.
#[derive(Debug, Clone)]
struct Pending {
    configuration: Arc<Configuration>,
    /// The version of the one that it takes the place of, where that is known.
    after: Option<Zxid>,
}

/// A configuration as it stands in a log.
#[derive(Debug, Clone)]
pub struct LoggedConfiguration {
    /// What it says.
    pub configuration: Configuration,
    /// The version of the one that it took the place of, where that is known; zero where it was one that an operator wrote.
    pub after: Option<Zxid>,
}

impl Configurations {
    /// Nothing but the configuration in force.
    ///
    /// `enabled` is `reconfigEnabled`: without it nothing ever changes, whatever other members say.
    #[must_use]
    pub fn new(me: ServerId, committed: Configuration, enabled: bool) -> Self {
        Self {
            me,
            enabled,
            committed: Arc::new(committed),
            pending: Vec::new(),
            turned_away: false,
        }
    }

    /// Whether the ensemble may be reconfigured.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// The configuration in force.
    #[must_use]
    pub const fn committed(&self) -> &Arc<Configuration> {
        &self.committed
    }

    /// The latest configuration that was heard of, committed or not.
    #[must_use]
    pub fn last_seen(&self) -> &Arc<Configuration> {
        let last = self.pending.last();
        last.map_or(&self.committed, |last| &last.configuration)
    }

    /// Whether one is on its way.
    #[must_use]
    pub fn in_progress(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether this member follows as one that votes. One that is in no configuration does so too, and is not
    /// counted.
    #[must_use]
    pub fn votes(&self) -> bool {
        !self.committed.is_observer(self.me)
    }

    /// As [`votes`](Self::votes), or as one that votes as soon as a configuration on its way is in force: its quorum may
    /// need this member's word before that. Not under a leader that comes before its promise: as an observer it can take
    /// part, and hear that nothing is on its way any more.
    #[must_use]
    pub fn may_come_to_vote(&self) -> bool {
        let turned_away = self.turned_away && !mutants::active("comes-back-as-voter");
        let next = self.pending.iter();
        let mut next = next.map(|next| next.configuration.verifier());
        let may = !turned_away && next.any(|next| next.is_voter(self.me));
        self.votes() || may && !mutants::active("voters-to-be-observe")
    }

    /// Whether the last leader was of an epoch before the one that this member has promised.
    pub const fn set_turned_away(&mut self, turned_away: bool) {
        self.turned_away = turned_away;
    }

    /// Whose quorums count: the one in force and every one that may come into force.
    #[must_use]
    pub fn verifiers(&self) -> Vec<QuorumVerifier> {
        let count = match mutants::active("joint-quorum") {
            true => 1,
            false => usize::MAX,
        };
        self.all()
            .take(count)
            .map(|configuration| configuration.verifier().clone())
            .collect()
    }

    /// Everybody who belongs to any of them.
    #[must_use]
    pub fn members(&self) -> BTreeSet<ServerId> {
        self.all()
            .flat_map(|configuration| configuration.servers().keys().copied())
            .collect()
    }

    /// Where everybody is reached who belongs to any of them, some more than once: the one in force comes first, then the
    /// others, the latest first.
    pub fn servers(&self) -> impl Iterator<Item = (&ServerId, &ServerSpec)> {
        let pending = self.pending.iter().rev();
        let pending = pending.map(|pending| &pending.configuration);
        let all = std::iter::once(&self.committed).chain(pending);
        all.flat_map(|configuration| configuration.servers())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Configuration>> {
        let pending = self.pending.iter().map(|pending| &pending.configuration);
        std::iter::once(&self.committed).chain(pending)
    }

    /// The version of the configuration that takes the place of the one in force, if it is committed, and only if
    /// there is certainly none in between: then a quorum of the one in force has it logged, or it is not committed.
    #[must_use]
    pub fn next_version(&self) -> Option<Zxid> {
        let next = self.pending.first()?;
        (next.after? == self.position()).then(|| next.configuration.version())
    }

    /// Where the configuration in force stands in the log; zero: before all reconfigurations.
    fn position(&self) -> Zxid {
        position(self.version())
    }

    /// The version of the one in force.
    #[must_use]
    pub fn version(&self) -> Zxid {
        self.committed.version()
    }

    /// The text of the one in force.
    #[must_use]
    pub fn text(&self) -> Utf8Bytes {
        Utf8Bytes::from(self.committed.to_string().as_str())
    }

    /// Takes one in that was logged, or that a leader sent; false if it is not news.
    pub fn see(&mut self, configuration: Configuration) -> bool {
        self.see_after(configuration, None)
    }

    /// Takes one in as the transaction that goes into the log behind everything that was seen; false if it is not news.
    pub fn see_next(&mut self, configuration: Configuration) -> bool {
        let after = self.last_seen().version();
        self.see_after(configuration, Some(after))
    }

    /// Takes one in that takes the place of that version in the log, if that is known; zero: it is the first one in the
    /// log. False if it is not news.
    pub fn see_after(&mut self, configuration: Configuration, after: Option<Zxid>) -> bool {
        let version = configuration.version();
        let is_news = self.enabled && version > self.last_seen().version();
        if is_news {
            self.pending.push(Pending {
                configuration: Arc::new(configuration),
                after: after.map(position),
            });
        }
        is_news
    }

    /// Takes one in that stands in the own log, behind all that do so before it; false if it is not news.
    ///
    /// Who proposed it had the one that it takes the place of in force: a leader has one reconfiguration on its way at most,
    /// and what it finds in its log comes into force with its epoch. So of all in a log only the last one may be on its way.
    pub fn see_logged(&mut self, logged: LoggedConfiguration) -> bool {
        let is_news = self.see_after(logged.configuration, logged.after);
        if let Some(before) = logged.after.filter(|_| is_news) {
            self.commit(before);
        }
        is_news
    }

    /// Everything up to this version is committed; whether that changed anything.
    pub fn commit(&mut self, version: Zxid) -> bool {
        let done = self
            .pending
            .partition_point(|pending| pending.configuration.version() <= version);
        match self.pending.drain(..done).next_back() {
            Some(last) => {
                self.committed = last.configuration;
                true
            }
            None => false,
        }
    }

    /// Somebody knows that this one is committed; whether that was news.
    pub fn learn(&mut self, configuration: Configuration) -> bool {
        let version = configuration.version();
        if !self.enabled || version <= self.version() {
            return false;
        }
        self.pending
            .retain(|pending| pending.configuration.version() > version);
        self.committed = Arc::new(configuration);
        true
    }

    /// What is not committed and lies behind this zxid was cut off the log; whether there was anything.
    pub fn forget_after(&mut self, zxid: Zxid) -> bool {
        let before = self.pending.len();
        self.pending
            .retain(|pending| pending.configuration.version() <= zxid);
        self.pending.len() != before
    }
}

/// The zxid of the reconfiguration that this version is of. A configuration that an operator wrote has none: its
/// version is zero, or says with which epoch it began.
fn position(version: Zxid) -> Zxid {
    match version.counter() {
        0 => Zxid::ZERO,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[i64], version: i64) -> Configuration {
        let lines = ids.iter().map(|id| format!("server.{id}=h{id}:1:2;3\n"));
        let text = lines.collect::<String>() + &format!("version={version:x}");
        Configuration::parse(&text).unwrap()
    }

    #[test]
    fn what_is_seen_counts_until_it_is_committed_or_cut_off() {
        let mut known = Configurations::new(ServerId(1), of(&[1, 2, 3], 4), true);
        assert!(known.see(of(&[3, 4, 5], 7)) && !known.see(of(&[9], 7)));
        assert_eq!(known.verifiers().len(), 2);
        assert_eq!(known.members().len(), 5);
        assert!(known.in_progress() && !known.commit(Zxid(6)));
        assert!(known.see(of(&[5], 9)) && known.forget_after(Zxid(8)));
        assert!(known.commit(Zxid(8)));
        assert_eq!((known.version(), known.verifiers().len()), (Zxid(7), 1));
        assert!(known.votes(), "who is nowhere follows, uncounted");
        assert!(!known.learn(of(&[1], 7)) && known.learn(of(&[1], 8)));
    }

    /// {2, 3} is in force and {1, 2, 3, 4} on everybody's disk: without 1 or 4 its quorum cannot be had, and both observe
    /// (simulator, seed 85548).
    #[test]
    fn who_observes_may_come_to_vote_as_long_as_what_says_so_may_come_into_force() {
        let text = "server.1=h:1:2:observer;3\nserver.2=h:4:5;6\nserver.3=h:7:8;9\nversion=4";
        let known = Configuration::parse(text).unwrap();
        let mut known = Configurations::new(ServerId(1), known, true);
        assert!(!known.votes() && !known.may_come_to_vote());
        assert!(known.see(of(&[2, 3], 6)) && !known.may_come_to_vote());
        assert!(known.see(of(&[1, 2, 3, 4], 8)));
        assert!(!known.votes() && known.may_come_to_vote());
        known.set_turned_away(true);
        assert!(!known.may_come_to_vote());
        known.set_turned_away(false);
        assert!(known.forget_after(Zxid(7)) && !known.may_come_to_vote());
    }

    #[test]
    fn what_comes_next_is_known_where_nothing_can_be_in_between() {
        let of = |version| of(&[1, 2, 3], version);
        let known = |version| Configurations::new(ServerId(1), of(version), true);
        let epoch = 1 << 32;

        let mut heard_of = known(0);
        assert!(heard_of.see(of(7)) && heard_of.next_version().is_none());
        let mut logged = known(5);
        assert!(logged.see_next(of(7)) && logged.see_next(of(9)));
        assert_eq!(logged.next_version(), Some(Zxid(7)));
        assert!(logged.commit(Zxid(7)));
        assert_eq!(logged.next_version(), Some(Zxid(9)));
        assert!(logged.commit(Zxid(9)) && logged.next_version().is_none());

        let mut behind_an_unknown = known(5);
        assert!(behind_an_unknown.see(of(7)) && behind_an_unknown.see_next(of(9)));
        assert!(behind_an_unknown.next_version().is_none());
        assert!(behind_an_unknown.learn(of(8)) && behind_an_unknown.next_version().is_none());

        for (in_force, after, is_next) in [
            (5, Some(5), true),
            (5, Some(6), false),
            (5, None, false),
            (0, Some(0), true),
            (epoch, Some(0), true),
            (5, Some(0), false),
        ] {
            let mut recovered = known(in_force);
            assert!(recovered.see_after(of(epoch + 7), after.map(Zxid)));
            let next = is_next.then_some(Zxid(epoch + 7));
            assert_eq!(recovered.next_version(), next, "{in_force} {after:?}");
        }
    }

    #[test]
    fn nothing_changes_where_it_is_switched_off() {
        let mut known = Configurations::new(ServerId(1), of(&[1, 2, 3], 0), false);
        assert!(!known.see(of(&[1], 7)) && !known.learn(of(&[1], 7)));
        assert_eq!(known.version(), Zxid::ZERO);
    }
}

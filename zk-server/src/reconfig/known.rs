//! The configurations that a member knows (`QuorumPeer.quorumVerifier` and `lastSeenQuorumVerifier`).

use std::{collections::BTreeSet, sync::Arc};

use zk_proto::{ServerId, Utf8Bytes, Zxid};

use super::Configuration;
use crate::{quorum::QuorumVerifier, zab::mutants};

/// The configuration in force, and those that may come into force: they are logged, and nobody here knows yet
/// whether they are committed.
#[derive(Debug, Clone)]
pub struct Configurations {
    me: ServerId,
    enabled: bool,
    committed: Arc<Configuration>,
    /// By version, each larger than the committed one's.
    pending: Vec<Arc<Configuration>>,
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
        self.pending.last().unwrap_or(&self.committed)
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

    /// Whose quorums count: the one in force and every one that may come into force.
    #[must_use]
    pub fn verifiers(&self) -> Vec<QuorumVerifier> {
        let all = std::iter::once(&self.committed).chain(&self.pending);
        let count = match mutants::active("joint-quorum") {
            true => 1,
            false => usize::MAX,
        };
        all.take(count)
            .map(|configuration| configuration.verifier().clone())
            .collect()
    }

    /// Everybody who belongs to any of them.
    #[must_use]
    pub fn members(&self) -> BTreeSet<ServerId> {
        let all = std::iter::once(&self.committed).chain(&self.pending);
        all.flat_map(|configuration| configuration.servers().keys().copied())
            .collect()
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
        let version = configuration.version();
        let is_news = self.enabled && version > self.last_seen().version();
        if is_news {
            self.pending.push(Arc::new(configuration));
        }
        is_news
    }

    /// Everything up to this version is committed; whether that changed anything.
    pub fn commit(&mut self, version: Zxid) -> bool {
        let done = self
            .pending
            .partition_point(|pending| pending.version() <= version);
        match self.pending.drain(..done).next_back() {
            Some(last) => {
                self.committed = last;
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
        self.pending.retain(|pending| pending.version() > version);
        self.committed = Arc::new(configuration);
        true
    }

    /// What is not committed and lies behind this zxid was cut off the log; whether there was anything.
    pub fn forget_after(&mut self, zxid: Zxid) -> bool {
        let before = self.pending.len();
        self.pending.retain(|pending| pending.version() <= zxid);
        self.pending.len() != before
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

    #[test]
    fn nothing_changes_where_it_is_switched_off() {
        let mut known = Configurations::new(ServerId(1), of(&[1, 2, 3], 0), false);
        assert!(!known.see(of(&[1], 7)) && !known.learn(of(&[1], 7)));
        assert_eq!(known.version(), Zxid::ZERO);
    }
}

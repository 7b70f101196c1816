//! What a watcher knows of its node, and what each observer still has to be told.
//!
//! Invariants: the last good value is never replaced by a bad one, nor by an older one; an observer that asks late is told
//! the newest value first and then what is wrong now, and never a state that has passed.
//! Not here: reading the node, and waiting.

use std::sync::Arc;

use zk_client::{Stat, Zxid};

use crate::error::{BadContent, Error};

/// One change of a configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigChange<T> {
    /// There is a new good value; it is the current one.
    Updated(Arc<T>),
    /// The node was deleted. The last good value stays current.
    Deleted,
    /// The node's content is not acceptable. The last good value stays current.
    Invalid(BadContent),
}

impl<T> Clone for ConfigChange<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Updated(value) => Self::Updated(Arc::clone(value)),
            Self::Deleted => Self::Deleted,
            Self::Invalid(bad) => Self::Invalid(bad.clone()),
        }
    }
}

/// Why the node does not hold the current value.
#[derive(Debug, Clone)]
pub(super) enum Problem {
    Missing,
    Bad(BadContent),
}

/// Everything known of the node. Shared with the observers through a watch channel.
#[derive(Debug)]
pub(super) struct Known<T> {
    value: Option<Arc<T>>,
    values: u64,
    problem: Option<Problem>,
    problems: u64,
    stat: Option<Stat>,
    newest: Zxid,
    stale: bool,
    ended: Option<Error>,
}

/// How far one observer has been told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    values: u64,
    problems: u64,
}

impl<T> Known<T> {
    /// Nothing read yet; `initial` is current until something is.
    pub(super) fn new(initial: Option<Arc<T>>) -> Self {
        Self {
            value: initial,
            values: 0,
            problem: None,
            problems: 0,
            stat: None,
            newest: Zxid::ZERO,
            stale: true,
            ended: None,
        }
    }

    /// Whether there was no node at the last look.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self.problem, Some(Problem::Missing))
    }

    /// Whether a node with this stat is news: written later than everything seen so far.
    pub(super) fn is_news(&self, stat: &Stat) -> bool {
        stat.mzxid > self.newest
    }

    /// The node was read, with this result of decoding it. Says whether an observer has to be told.
    pub(super) fn read(&mut self, stat: Stat, content: Result<T, BadContent>) -> bool {
        self.stale = false;
        if !self.is_news(&stat) {
            return false;
        }
        self.newest = stat.mzxid;
        self.stat = Some(stat);
        match content {
            Ok(value) => {
                self.value = Some(Arc::new(value));
                self.values += 1;
                self.problem = None;
            }
            Err(bad) => self.has_problem(Problem::Bad(bad)),
        }
        true
    }

    /// The node was read again and is the one already known.
    pub(super) fn confirmed(&mut self) {
        self.stale = false;
    }

    /// There is no node. Says whether an observer has to be told.
    pub(super) fn missing(&mut self) -> bool {
        self.stale = false;
        let known = matches!(self.problem, Some(Problem::Missing));
        if !known {
            self.stat = None;
            self.has_problem(Problem::Missing);
        }
        !known
    }

    fn has_problem(&mut self, problem: Problem) {
        self.problem = Some(problem);
        self.problems += 1;
    }

    /// The connection is gone: the node may have changed unseen.
    pub(super) fn suspended(&mut self) {
        self.stale = true;
    }

    /// Nothing will be read any more.
    pub(super) fn end(&mut self, error: Error) {
        self.stale = true;
        self.ended.get_or_insert(error);
    }

    /// Whether the node, or that there is none, was seen at least once.
    pub(super) fn was_read(&self) -> bool {
        self.newest > Zxid::ZERO || self.problem.is_some()
    }

    /// The last good value; `None` only before the first.
    pub(super) fn value(&self) -> Option<&Arc<T>> {
        self.value.as_ref()
    }

    pub(super) const fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The node's stat as last read; `None` while there is no node.
    pub(super) const fn stat(&self) -> Option<&Stat> {
        self.stat.as_ref()
    }

    /// The write that made the node what it is; `None` while there is no node.
    pub(super) fn written(&self) -> Option<Zxid> {
        self.stat.map(|stat| stat.mzxid)
    }

    /// The zxid of the newest write that was read.
    pub(super) const fn newest(&self) -> Zxid {
        self.newest
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.stale
    }

    pub(super) const fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    /// What an observer that starts now counts as told: the value, but not what is wrong.
    pub(super) const fn told(&self) -> Told {
        Told {
            values: self.values,
            problems: 0,
        }
    }

    /// The next thing this observer has to be told, if any: a new value before what is wrong now.
    pub(super) fn next(&self, told: &mut Told) -> Option<ConfigChange<T>> {
        if told.values < self.values {
            told.values = self.values;
            return self.value.clone().map(ConfigChange::Updated);
        }
        if told.problems < self.problems {
            told.problems = self.problems;
            return self.problem.clone().map(|problem| match problem {
                Problem::Missing => ConfigChange::Deleted,
                Problem::Bad(bad) => ConfigChange::Invalid(bad),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mzxid: i64) -> Stat {
        Stat {
            mzxid: Zxid(mzxid),
            ..Stat::default()
        }
    }

    fn bad() -> BadContent {
        BadContent::new(&"/c".into(), Some(1), "bad".into())
    }

    /// Everything the observer is told now, in short.
    fn drain(known: &Known<u32>, told: &mut Told) -> Vec<String> {
        std::iter::from_fn(|| known.next(told))
            .map(|change| match change {
                ConfigChange::Updated(value) => format!("updated {value}"),
                ConfigChange::Deleted => "deleted".into(),
                ConfigChange::Invalid(_) => "invalid".into(),
            })
            .collect()
    }

    #[test]
    fn a_late_observer_is_told_the_newest_value_and_then_what_is_wrong_now() {
        let mut known = Known::new(None);
        assert!(known.read(stat(1), Ok(1)));
        let mut told = known.told();
        assert!(known.read(stat(2), Ok(2)));
        assert!(known.read(stat(3), Err(bad())));
        assert!(known.read(stat(4), Ok(4)));
        assert!(known.read(stat(5), Err(bad())));
        assert!(known.missing());
        assert_eq!(drain(&known, &mut told), ["updated 4", "deleted"]);
        assert_eq!(drain(&known, &mut told), [""; 0]);
        assert_eq!(known.value().map(|value| **value), Some(4));
    }

    #[test]
    fn a_problem_that_has_passed_is_not_told() {
        let mut known = Known::new(None);
        known.read(stat(1), Ok(1));
        let mut told = known.told();
        known.missing();
        known.read(stat(2), Ok(2));
        assert_eq!(drain(&known, &mut told), ["updated 2"]);
    }

    #[test]
    fn a_passed_problem_does_not_hide_the_next_one() {
        let mut known = Known::new(None);
        known.read(stat(1), Ok(1));
        let mut told = known.told();
        known.missing();
        known.read(stat(2), Ok(2));
        assert_eq!(drain(&known, &mut told), ["updated 2"]);
        assert!(known.missing());
        assert_eq!(drain(&known, &mut told), ["deleted"]);
    }

    #[test]
    fn older_and_equal_reads_change_nothing() {
        let mut known = Known::new(None);
        assert!(known.read(stat(5), Ok(5)));
        assert!(!known.read(stat(5), Ok(6)));
        assert!(!known.read(stat(4), Ok(4)));
        assert_eq!(known.value().map(|value| **value), Some(5));
    }

    #[test]
    fn a_deletion_is_told_once_and_again_after_a_new_node() {
        let mut known: Known<u32> = Known::new(Some(Arc::new(0)));
        let mut told = known.told();
        assert!(known.missing());
        assert!(!known.missing());
        assert_eq!(drain(&known, &mut told), ["deleted"]);
        assert!(known.read(stat(9), Ok(9)));
        assert!(known.missing());
        assert_eq!(drain(&known, &mut told), ["updated 9", "deleted"]);
    }
}

//! Containers and TTL nodes that are not needed any more (`ContainerManager`).
//!
//! The tree is looked over at fixed intervals. A look deletes at most its share of what a minute may delete; the
//! rest waits for the next. Whether a node may go is decided once more when its deletion is prepared.

use std::time::Duration;

use zk_proto::SessionId;

use super::{Peer, waiting::Origin};
use crate::{prep::WriteOp, time::Now};

const MINUTE: Duration = Duration::from_secs(60);

/// How nodes are deleted that nobody needs any more.
#[derive(Debug, Clone, Copy)]
pub struct ReaperOptions {
    /// How often the tree is looked over (`znode.container.checkIntervalMs`); zero: never.
    pub interval: Duration,
    /// How many nodes a minute may delete (`znode.container.maxPerMinute`).
    pub per_minute: u32,
    /// After how long a container goes that never had a child, in milliseconds; 0: never
    /// (`znode.container.maxNeverUsedIntervalMs`).
    pub never_used_ms: i64,
}

impl Default for ReaperOptions {
    /// Apache's.
    fn default() -> Self {
        Self {
            interval: MINUTE,
            per_minute: 10_000,
            never_used_ms: 0,
        }
    }
}

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Reaper {
    options: ReaperOptions,
    next: Duration,
}

impl Reaper {
    pub(super) fn new(options: ReaperOptions, now: Now) -> Self {
        Self {
            options,
            next: now.mono + options.interval,
        }
    }

    /// The interval begins anew.
    pub(super) fn begin(&mut self, now: Now) {
        self.next = now.mono + self.options.interval;
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        (!self.options.interval.is_zero()).then_some(self.next)
    }

    /// How many nodes a look may delete, if one is due; the next is an interval away then.
    fn look(&mut self, now: Now) -> Option<usize> {
        if self.next_deadline()? > now.mono {
            return None;
        }
        self.next = now.mono + self.options.interval;
        let share = self.options.interval.as_millis() * u128::from(self.options.per_minute);
        let share = share / MINUTE.as_millis();
        Some(usize::try_from(share).unwrap_or(usize::MAX).max(1))
    }
}

impl Peer {
    /// Proposes the deletion of what is due for it.
    pub(super) fn reap_due(&mut self, now: Now) {
        let Some(at_most) = self.reaper.look(now) else {
            return;
        };
        let never_used_ms = self.options.reaper.never_used_ms;
        let tree = self.shared.tree.read();
        let due = tree.reapable(now.wall_ms, never_used_ms);
        let due: Vec<String> = due.take(at_most).collect();
        drop(tree);
        for path in &due {
            tracing::debug!(path, "container or TTL node is not needed any more");
            let op = WriteOp::DeleteContainer(path);
            self.propose_internal(now, SessionId::NONE, op, Origin::Internal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Now {
        Now {
            mono: Duration::from_secs(seconds),
            wall_ms: 0,
        }
    }

    #[test]
    fn a_look_takes_its_share_of_a_minute() {
        let options = ReaperOptions {
            interval: Duration::from_secs(6),
            per_minute: 100,
            never_used_ms: 0,
        };
        let mut reaper = Reaper::new(options, at(10));
        assert_eq!(reaper.next_deadline(), Some(at(16).mono));
        assert_eq!(reaper.look(at(15)), None);
        assert_eq!(reaper.look(at(16)), Some(10));
        assert_eq!(reaper.look(at(16)), None);
        assert_eq!(reaper.look(at(40)), Some(10), "a late look is one look");
        assert_eq!(reaper.next_deadline(), Some(at(46).mono));
    }

    #[test]
    fn an_interval_of_zero_means_never() {
        let options = ReaperOptions {
            interval: Duration::ZERO,
            per_minute: 100,
            never_used_ms: 0,
        };
        let mut reaper = Reaper::new(options, at(0));
        assert_eq!((reaper.next_deadline(), reaper.look(at(9))), (None, None));
    }
}

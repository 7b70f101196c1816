//! One-shot watches at the server that nobody waits for any more, on their way to be removed.
//!
//! Removing one costs a request, and most need none: the watch fires soon (who releases a lock deletes the node
//! that it watched), or somebody reads the node again. So a removal waits a moment, and is sent only if the watch
//! is still there and still unwanted.

use std::{collections::BTreeSet, time::Duration};

use zk_proto::watch::{EventType, WatcherType};

use super::Moment;

/// How long an unwanted watch may stay at the server.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Unwanted {
    /// By path and the server's kind of watch: whether it is a child watch.
    watches: BTreeSet<(String, bool)>,
    due: Option<Moment>,
}

impl Unwanted {
    pub(crate) fn add(&mut self, now: Moment, path: &str, kind: WatcherType) {
        self.watches.insert((path.to_owned(), is_child(kind)));
        self.due.get_or_insert(now + LINGER);
    }

    /// The server told an event, and forgot the watches that it told.
    pub(crate) fn fired(&mut self, event: EventType, path: &str) {
        if self.watches.is_empty() {
            return;
        }
        let told: &[bool] = match event {
            EventType::NodeDeleted => &[false, true],
            EventType::NodeChildrenChanged => &[true],
            _ => &[false],
        };
        for child in told {
            self.watches.remove(&(path.to_owned(), *child));
        }
        if self.watches.is_empty() {
            self.due = None;
        }
    }

    /// The connection is gone, and every watch at the server with it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) const fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Takes everything, once it is due.
    pub(crate) fn take(
        &mut self,
        now: Moment,
    ) -> impl Iterator<Item = (String, WatcherType)> + use<> {
        let due = self.due.is_some_and(|due| due <= now);
        let taken = if due {
            std::mem::take(self)
        } else {
            Self::default()
        };
        taken.watches.into_iter().map(|(path, child)| match child {
            true => (path, WatcherType::Children),
            false => (path, WatcherType::Data),
        })
    }
}

const fn is_child(kind: WatcherType) -> bool {
    matches!(kind, WatcherType::Children)
}

//! Persistent watches, and who reads their events.
//!
//! The server keeps them until they are removed or the connection ends; on the next connection they are added
//! again, but what happened in between is not told (`DataTree.setWatches` only registers them). So a reader is
//! told of the gap and of its end.
//!
//! One server-side watch serves all readers of the same path and mode.

use std::{collections::BTreeMap, sync::Arc};

use zk_proto::watch::{AddWatchMode, EventType};

use crate::watcher::{EventQueue, WatchEvent};

type Readers = BTreeMap<String, Vec<Arc<EventQueue>>>;

#[derive(Debug, Default)]
pub(crate) struct Streams {
    persistent: Readers,
    recursive: Readers,
}

impl Streams {
    pub(crate) fn add(&mut self, path: String, mode: AddWatchMode, queue: Arc<EventQueue>) {
        self.readers_mut(mode).entry(path).or_default().push(queue);
    }

    /// Forgets readers of a path that have gone; true when the last of them went.
    pub(crate) fn prune(&mut self, path: &str, mode: AddWatchMode) -> bool {
        let readers = self.readers_mut(mode);
        let Some(queues) = readers.get_mut(path) else {
            return false;
        };
        queues.retain(|queue| !queue.is_abandoned());
        let last = queues.is_empty();
        if last {
            readers.remove(path);
        }
        last
    }

    pub(crate) fn is_watched(&self, path: &str, mode: AddWatchMode) -> bool {
        self.readers(mode).contains_key(path)
    }

    /// Everybody whom an event is for: readers of the node, and of the subtrees it is in.
    pub(crate) fn told_of(&self, event: EventType, path: &str) -> Vec<Arc<EventQueue>> {
        let mut told = self.persistent.get(path).cloned().unwrap_or_default();
        if event != EventType::NodeChildrenChanged && !self.recursive.is_empty() {
            for place in self_and_ancestors(path) {
                told.extend(self.recursive.get(place).into_iter().flatten().cloned());
            }
        }
        told
    }

    pub(crate) fn all(&self) -> Vec<Arc<EventQueue>> {
        self.persistent
            .values()
            .chain(self.recursive.values())
            .flatten()
            .cloned()
            .collect()
    }

    pub(crate) fn take_all(&mut self) -> Vec<Arc<EventQueue>> {
        let all = self.all();
        self.persistent.clear();
        self.recursive.clear();
        all
    }

    pub(crate) fn paths(&self, mode: AddWatchMode) -> impl Iterator<Item = &String> {
        self.readers(mode).keys()
    }

    const fn readers(&self, mode: AddWatchMode) -> &Readers {
        match mode {
            AddWatchMode::Persistent => &self.persistent,
            AddWatchMode::PersistentRecursive => &self.recursive,
        }
    }

    const fn readers_mut(&mut self, mode: AddWatchMode) -> &mut Readers {
        match mode {
            AddWatchMode::Persistent => &mut self.persistent,
            AddWatchMode::PersistentRecursive => &mut self.recursive,
        }
    }
}

impl Drop for Streams {
    /// Whoever drives the session may be gone without its end, with the runtime for one: nobody waits for ever.
    fn drop(&mut self) {
        for queue in self.all() {
            queue.push(WatchEvent::SessionEnded);
        }
    }
}

/// `/a/b`, `/a`, `/`.
fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    })
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_path_is_in_the_subtrees_of_its_ancestors() {
        let places = |path| self_and_ancestors(path).collect::<Vec<_>>();
        assert_eq!(places("/a/b/c"), ["/a/b/c", "/a/b", "/a", "/"]);
        assert_eq!(places("/"), ["/"]);
    }

    #[test]
    fn a_recursive_reader_is_told_of_everything_below_but_lists() {
        let mut streams = Streams::default();
        let queue = || Arc::new(EventQueue::default());
        streams.add("/a".to_owned(), AddWatchMode::Persistent, queue());
        streams.add("/a".to_owned(), AddWatchMode::PersistentRecursive, queue());
        let told = |event, path| streams.told_of(event, path).len();
        assert_eq!(told(EventType::NodeCreated, "/a"), 2);
        assert_eq!(told(EventType::NodeCreated, "/a/b"), 1);
        assert_eq!(told(EventType::NodeChildrenChanged, "/a"), 1);
        assert_eq!(told(EventType::NodeChildrenChanged, "/a/b"), 0);
        assert_eq!(told(EventType::NodeDeleted, "/ab"), 0);
    }

    #[test]
    fn readers_are_told_the_end_also_when_nobody_ends_it() {
        let mut streams = Streams::default();
        let queue = Arc::new(EventQueue::default());
        streams.add(
            "/a".to_owned(),
            AddWatchMode::Persistent,
            Arc::clone(&queue),
        );
        drop(streams);
        let next = queue.poll_next(&mut Context::from_waker(Waker::noop()));
        assert_eq!(next, Poll::Ready(Some(WatchEvent::SessionEnded)));
    }
}

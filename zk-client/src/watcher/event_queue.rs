//! Events on their way to a reader who may be slow.
//!
//! Bounded: a queue that is full drops what comes, says so once in its place, and takes events again when its
//! reader has read that.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::WatchEvent;

/// How many events wait at most.
const EVENTS_MAX: usize = 16 * 1024;

/// The events of one persistent watch.
#[derive(Debug, Default)]
pub struct EventQueue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<WatchEvent>,
    reader: Option<Waker>,
    /// Whether the last event in the queue is the mark of those that were dropped.
    lagged: bool,
    end: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The last event is in the queue.
    Finished,
    /// Nobody reads any more.
    Abandoned,
}

impl EventQueue {
    /// Adds an event; the end of the session is the last one.
    pub fn push(&self, event: WatchEvent) {
        let mut inner = self.inner.lock();
        if inner.end != End::Open {
            return;
        }
        let last = event.is_session_ended();
        if last {
            inner.end = End::Finished;
        }
        if !inner.lagged || last {
            inner.lagged = !last && inner.events.len() + 1 >= EVENTS_MAX;
            let event = if inner.lagged {
                WatchEvent::Lagged
            } else {
                event
            };
            inner.events.push_back(event);
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// Whether its reader has gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.inner.lock().end == End::Abandoned
    }

    /// The next event; `None` after the last.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let mut inner = self.inner.lock();
        match inner.events.pop_front() {
            Some(event) => {
                if event == WatchEvent::Lagged {
                    inner.lagged = false;
                }
                Poll::Ready(Some(event))
            }
            None if inner.end != End::Open => Poll::Ready(None),
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Nobody reads any more.
    pub fn abandon(&self) {
        let mut inner = self.inner.lock();
        inner.end = End::Abandoned;
        inner.events = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watcher::NodeChange;

    fn event(n: usize) -> WatchEvent {
        WatchEvent::Created(NodeChange {
            path: format!("/{n}"),
            zxid: None,
        })
    }

    fn take(queue: &EventQueue) -> Poll<Option<WatchEvent>> {
        queue.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_reader_that_lags_is_told_where_events_are_missing() {
        let queue = EventQueue::default();
        for n in 0..2 * EVENTS_MAX {
            queue.push(event(n));
        }
        for n in 0..EVENTS_MAX - 1 {
            assert_eq!(take(&queue), Poll::Ready(Some(event(n))));
        }
        assert_eq!(take(&queue), Poll::Ready(Some(WatchEvent::Lagged)));
        assert_eq!(take(&queue), Poll::Pending);
        queue.push(event(7));
        assert_eq!(take(&queue), Poll::Ready(Some(event(7))));
    }

    #[test]
    fn the_end_of_the_session_is_the_last_event_also_of_a_full_queue() {
        let queue = EventQueue::default();
        for n in 0..EVENTS_MAX {
            queue.push(event(n));
        }
        queue.push(WatchEvent::SessionEnded);
        queue.push(event(1));
        let mut last = None;
        while let Poll::Ready(Some(event)) = take(&queue) {
            last = Some(event);
        }
        assert_eq!(last, Some(WatchEvent::SessionEnded));
        assert_eq!(take(&queue), Poll::Ready(None));
    }
}

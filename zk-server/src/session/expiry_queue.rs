//! Deadlines in buckets of one tick (`ExpiryQueue.java`).
//!
//! A deadline is rounded *up* to the end of its tick, so that nothing falls due early, and at most one tick
//! late. Touching costs nothing here: an entry is looked at again only when its bucket falls due.

use std::{collections::BTreeMap, time::Duration};

/// Entries by the tick at whose end they fall due.
#[derive(Debug)]
pub struct ExpiryQueue<T> {
    tick: Duration,
    buckets: BTreeMap<u64, Vec<T>>,
}

impl<T> ExpiryQueue<T> {
    /// An empty queue; a `tick` below a millisecond counts as one.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        Self {
            tick: tick.max(Duration::from_millis(1)),
            buckets: BTreeMap::new(),
        }
    }

    /// The bucket of a deadline: the end of the tick the deadline lies in.
    #[must_use]
    pub fn bucket_of(&self, deadline: Duration) -> u64 {
        let ticks = deadline.as_millis() / self.tick.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX - 1) + 1
    }

    /// Files an entry; the caller remembers the bucket if it wants to tell stale entries from current ones.
    pub fn push(&mut self, bucket: u64, entry: T) {
        self.buckets.entry(bucket).or_default().push(entry);
    }

    /// When the first bucket falls due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let (bucket, _) = self.buckets.first_key_value()?;
        Some(self.end_of(*bucket))
    }

    /// When a bucket falls due.
    #[must_use]
    pub fn end_of(&self, bucket: u64) -> Duration {
        let millis = u128::from(bucket) * self.tick.as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Takes the first bucket out if it is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<(u64, Vec<T>)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.buckets.pop_first()
    }

    /// Every bucket and its entries, the first to fall due first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[T])> {
        self.buckets
            .iter()
            .map(|(bucket, entries)| (*bucket, entries.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_deadline_falls_due_at_the_end_of_its_tick_and_never_before() {
        for deadline in [0, 1, 1999, 2000, 2001, 3999, 4000] {
            let mut queue = ExpiryQueue::new(ms(2000));
            queue.push(queue.bucket_of(ms(deadline)), ());
            let due = queue.next_deadline().unwrap();
            assert!(due > ms(deadline), "{due:?} is not early for {deadline}");
            assert!(due <= ms(deadline + 2000), "{due:?} is at most a tick late");
            assert!(queue.pop_due(due - ms(1)).is_none());
            assert!(queue.pop_due(due).is_some());
        }
    }

    #[test]
    fn buckets_come_out_in_order_with_all_their_entries() {
        let mut queue = ExpiryQueue::new(ms(10));
        for deadline in [25, 5, 21, 7] {
            queue.push(queue.bucket_of(ms(deadline)), deadline);
        }
        assert_eq!(queue.pop_due(ms(100)), Some((1, vec![5, 7])));
        assert_eq!(queue.pop_due(ms(100)), Some((3, vec![25, 21])));
        assert_eq!(queue.pop_due(ms(100)), None);
    }
}

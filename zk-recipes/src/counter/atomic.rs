//! The distributed atomic long: read, and change exactly once.

use std::sync::Arc;

use zk_client::Client;

use super::{
    CounterLayout,
    change::{Place, Verdict},
};
use crate::{attempt::Attempt, error::Result};

/// A number in a node that many change and nobody loses: [`ClientExt::atomic_long`](crate::ClientExt::atomic_long).
///
/// What it guarantees and what not: [`counter`](super). Cheap to clone.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until one of its methods is awaited"]
pub struct AtomicLong {
    place: Place,
}

/// A change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterChange {
    /// The value that was found.
    pub before: i64,
    /// The value that took its place.
    pub after: i64,
}

impl AtomicLong {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            place: Place {
                client: client.clone(),
                path: path.into(),
                layout: CounterLayout::default(),
                marked: true,
            },
        }
    }

    /// How the value is written; everybody who uses the counter must use the same.
    pub const fn layout(mut self, layout: CounterLayout) -> Self {
        self.place.layout = layout;
        self
    }

    /// Changes the counter with one write each and without a marker.
    ///
    /// After a lost answer a change is then [`Error::Unknown`](crate::Error::Unknown) unless the counter is unchanged.
    pub const fn without_marker(mut self) -> Self {
        self.place.marked = false;
        self
    }

    /// The counter's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.place.path
    }

    /// The value as the leader has it; 0 where there is no node.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::BadContent`](crate::Error::BadContent) for content of another layout, and with what
    /// the client reports.
    pub fn get(&self) -> Attempt<i64> {
        let place = self.place.clone();
        self.attempt("get", async move { place.value().await })
    }

    /// Adds a number, which may be negative.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Unknown`](crate::Error::Unknown) when it cannot be told whether the change was made; with
    /// [`Error::Overflow`](crate::Error::Overflow), [`Error::BadContent`](crate::Error::BadContent) and what the client
    /// reports when it was not made.
    pub fn add(&self, number: i64) -> Attempt<CounterChange> {
        self.change(move |value| {
            value
                .checked_add(number)
                .map_or(Verdict::Overflow, Verdict::Set)
        })
    }

    /// Adds one; fails as [`add`](Self::add).
    pub fn increment(&self) -> Attempt<CounterChange> {
        self.add(1)
    }

    /// Takes one away; fails as [`add`](Self::add).
    pub fn decrement(&self) -> Attempt<CounterChange> {
        self.add(-1)
    }

    /// Sets the value, whatever it was; fails as [`add`](Self::add).
    pub fn set(&self, value: i64) -> Attempt<CounterChange> {
        self.change(move |_| Verdict::Set(value))
    }

    /// Changes the value to a function of it, which may be called several times; fails as [`add`](Self::add).
    pub fn update(
        &self,
        change: impl Fn(i64) -> i64 + Send + Sync + 'static,
    ) -> Attempt<CounterChange> {
        self.change(move |value| Verdict::Set(change(value)))
    }

    /// Sets the value if it is the expected one; whether it was. Fails as [`add`](Self::add).
    pub fn compare_and_set(&self, expected: i64, value: i64) -> Attempt<bool> {
        let decide = move |found| match found == expected {
            true => Verdict::Set(value),
            false => Verdict::Leave,
        };
        self.run(decide, |made| made.is_some())
    }

    fn change(
        &self,
        decide: impl Fn(i64) -> Verdict + Send + Sync + 'static,
    ) -> Attempt<CounterChange> {
        // Nothing is left alone here, so a change was made.
        self.run(decide, |made| {
            made.unwrap_or(CounterChange {
                before: 0,
                after: 0,
            })
        })
    }

    fn run<T: Send + 'static>(
        &self,
        decide: impl Fn(i64) -> Verdict + Send + Sync + 'static,
        finish: impl FnOnce(Option<CounterChange>) -> T + Send + 'static,
    ) -> Attempt<T> {
        let place = self.place.clone();
        let span = tracing::debug_span!("counter", path = %self.place.path);
        Attempt::new(
            (&self.place.client, &self.place.path, span),
            move |mut answer| async move {
                let mut marker = None;
                let made = tokio::select! {
                    biased;
                    () = answer.closed() => None,
                    made = place.change(&mut marker, &decide) => Some(made),
                };
                if let Some(made) = made {
                    // Whoever waited may be gone by now.
                    let _ = answer.send(made.map(finish));
                }
                if let Some(mut marker) = marker {
                    marker.withdraw().await;
                }
            },
        )
    }

    fn attempt<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("counter", path = %self.place.path, op);
        Attempt::plain(
            (&self.place.client, &Arc::clone(&self.place.path), span),
            work,
        )
    }
}

//! Items that are not to be had before a time.
//!
//! ```text
//!   /q/delayed/due-{ms}-{priority}-{seq}   becomes an item at that time, in milliseconds since 1970 by the leader's clock
//! ```
//!
//! It is the leader's clock on both sides, so whose of the clients' goes wrong does not matter: a `set` of the directory,
//! which changes nothing, is answered with the time. Between two of them a client counts on by its own monotonic clock, from
//! the moment when the answer was there; so it may lag behind the leader, and is never ahead of it.
//!
//! An item becomes due by one transaction that deletes it here and creates it among the others, made by whoever looks. That it
//! is not here any more means that somebody did.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use zk_client::{Client, ErrorKind};

use super::{Place, order, take::is_refused};
use crate::parents;

/// How long a client counts on by itself.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The leader's clock, as last told.
#[derive(Debug, Default)]
pub(super) struct LeaderClock {
    told: Mutex<Option<(i64, Instant)>>,
}

/// What became of the items that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// There are none.
    None,
    /// They are among the others now.
    Brought,
    /// The server does not let this client bring one of them.
    Refused,
}

impl LeaderClock {
    fn now(&self) -> Option<i64> {
        let (ms, at) = (*self.told.lock())?;
        let age = at.elapsed();
        (age < AGE_MAX).then(|| ms.saturating_add(whole_ms(age)))
    }
}

/// In the milliseconds of the names, rounded down: a clock must not be ahead.
fn whole_ms(delay: Duration) -> i64 {
    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
}

impl Place {
    /// When an item is due that is put now and to be had after `delay`.
    pub(super) async fn due_after(
        &self,
        client: &Client,
        delay: Duration,
    ) -> zk_client::Result<i64> {
        // Rounded up: it must not come too soon.
        let delay = whole_ms(delay.saturating_add(Duration::from_nanos(999_999)));
        Ok(self.ask_the_time(client).await?.saturating_add(delay))
    }

    async fn ask_the_time(&self, client: &Client) -> zk_client::Result<i64> {
        loop {
            match client.set(&self.delayed, "").await {
                Ok(stat) => {
                    *self.clock.told.lock() = Some((stat.mtime, Instant::now()));
                    return Ok(stat.mtime);
                }
                Err(error) if error.kind() == ErrorKind::NoNode => self.create(client).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// How long it is until the first of these is due; zero when it is, `None` without any.
    pub(super) async fn until_due(
        &self,
        client: &Client,
        delayed: &[String],
    ) -> zk_client::Result<Option<Duration>> {
        let Some(first) = order::delayed(delayed).first().map(|item| item.due) else {
            return Ok(None);
        };
        let now = match self.clock.now() {
            Some(now) => Ok(now),
            None => self.ask_the_time(client).await,
        };
        let now = match now {
            Err(error) if is_refused(&error) => {
                tracing::warn!(queue = %self.path, %error, "delayed items are left to others");
                return Ok(None);
            }
            now => now?,
        };
        let left = u64::try_from(first.saturating_sub(now)).unwrap_or_default();
        Ok(Some(Duration::from_millis(left)))
    }

    /// Makes items of those that are due.
    pub(super) async fn bring_due(
        &self,
        client: &Client,
        delayed: &[String],
    ) -> zk_client::Result<Due> {
        if self.until_due(client, delayed).await? != Some(Duration::ZERO) {
            return Ok(Due::None);
        }
        let now = self.clock.now().unwrap_or_default();
        let mut due = Due::None;
        for item in order::delayed(delayed) {
            if item.due > now {
                break;
            }
            match self.bring(client, &item).await {
                Ok(()) if due == Due::None => due = Due::Brought,
                Ok(()) => {}
                Err(error) if is_refused(&error) => {
                    tracing::warn!(queue = %self.path, item = item.name, %error, "an item stays delayed");
                    due = Due::Refused;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(due)
    }

    /// Makes an item of one, unless somebody has.
    async fn bring(&self, client: &Client, item: &order::Delayed<'_>) -> zk_client::Result<()> {
        let path = parents::child(&self.delayed, item.name);
        let Some(node) = client.get_opt(&path).await? else {
            return Ok(());
        };
        let entry = parents::child(&self.entries, &order::prefix(item.priority));
        let multi = client.multi().delete(&path).create(&entry, node.data);
        let multi = multi.sequential();
        loop {
            match multi.clone().commit().await {
                Ok(_) => {
                    tracing::debug!(item = %path, "due");
                    return Ok(());
                }
                Err(error) if error.kind() != ErrorKind::NoNode => return Err(error),
                // Somebody was faster, or it was an attempt of ours whose answer was lost.
                Err(error) if error.path() == Some(&path) => return Ok(()),
                Err(_) => self.create(client).await?,
            }
        }
    }
}

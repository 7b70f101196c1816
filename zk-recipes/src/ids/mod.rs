//! Unique, growing numbers for everybody who asks.
//!
//! **What it guarantees.** As long as nobody deletes or sets the node, no number is ever handed out twice, and a number that [`Ids::next`] returns is larger than every number
//! that was returned, by anybody, before its block was reserved. With blocks of one, which is the default, that is before it was
//! called. It does **not** guarantee that no number is missing: a block that is not used up, or whose reservation was not
//! answered, is never handed out.
//!
//! **Fairness**: none, as with the counter beneath. **CONNECTIONLOSS** of unknown outcome: another block is reserved, and the one
//! in question is left alone. **Suspension**: calls wait, unless there is a number left of the present block. **Expiry**: nothing is
//! bound to a session. **Cancellation** may lose numbers, and never hands out one twice.
//!
//! The node is an [`AtomicLong`] without a marker, and as interoperable as that. What is handed out of a change is its value before,
//! and those that follow it: Curator's `preValue` and kazoo's `pre_value`. Who uses `postValue` or `post_value` as a number of its own
//! has the next one of everybody else.

use std::{ops::Range, sync::Arc};

use parking_lot::Mutex;
use zk_client::Client;

use crate::{
    attempt::Attempt,
    counter::{AtomicLong, CounterLayout},
    error::{Error, Result},
};

/// Unique, growing numbers: [`ClientExt::ids`](crate::ClientExt::ids). Clones share the present block.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until `next` is awaited"]
pub struct Ids {
    client: Client,
    path: Arc<str>,
    counter: AtomicLong,
    size: u32,
    block: Arc<Mutex<Range<i64>>>,
}

impl Ids {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            counter: AtomicLong::new(client, path).without_marker(),
            size: 1,
            block: Arc::default(),
        }
    }

    /// Reserves this many numbers at once: one write for so many, and so many are lost with the process.
    pub fn block(mut self, size: u32) -> Self {
        self.size = size.max(1);
        self
    }

    /// How the number is written; see [`counter`](crate::counter).
    pub fn layout(mut self, layout: CounterLayout) -> Self {
        self.counter = self.counter.layout(layout);
        self
    }

    /// The next number: 0 from a new node.
    ///
    /// # Errors
    ///
    /// The future fails as [`AtomicLong::add`], but never with [`Error::Unknown`].
    pub fn next(&self) -> Attempt<i64> {
        let ids = self.clone();
        let span = tracing::debug_span!("ids", path = %self.path);
        Attempt::plain((&self.client, &self.path, span), async move {
            let ready = ids.block.lock().next();
            match ready {
                Some(number) => Ok(number),
                None => ids.reserve().await,
            }
        })
    }

    /// The first number of a new block; the others are left for later calls, unless there are some already.
    async fn reserve(&self) -> Result<i64> {
        loop {
            match self.counter.add(i64::from(self.size)).await {
                Ok(change) => {
                    let mut block = self.block.lock();
                    if block.is_empty() {
                        *block = change.before + 1..change.after;
                    }
                    return Ok(change.before);
                }
                Err(Error::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

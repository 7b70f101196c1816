//! One item in the hands of one consumer.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use zk_client::{Multi, Stat};

use super::order;
use crate::{error::Result, held::Held, lock::Lost, parents};

/// An item that was taken, and has to be acknowledged.
///
/// Dropping it gives the item back, also outside a runtime; it is delivered again. The claim can be lost while the delivery
/// lives, and then somebody else is given the item: ask [`ensure`](Self::ensure) before a side effect, or let
/// [`run`](Self::run) stop the work.
#[derive(Debug)]
#[must_use = "dropping it gives the item back"]
pub struct Delivery {
    held: Held,
    item: Item,
}

/// An item as it was read.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: Arc<str>,
    pub(super) data: Bytes,
    /// How often it had been claimed before.
    pub(super) delivered: u32,
    pub(super) stat: Stat,
}

impl Delivery {
    pub(super) const fn new(held: Held, item: Item) -> Self {
        Self { held, item }
    }

    /// What was put.
    #[must_use]
    pub const fn data(&self) -> &Bytes {
        &self.item.data
    }

    /// The name of the item in the queue: the same in every delivery of it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.item.path.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Its priority; 0 comes first.
    #[must_use]
    pub fn priority(&self) -> u16 {
        order::priority(self.id()).unwrap_or(super::DEFAULT_PRIORITY)
    }

    /// Which claim on the item this is, counted from 1; a claim counts even if it came to no delivery.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.item.delivered.saturating_add(1)
    }

    /// When it was put, by the leader's clock; of a delayed item, when it was due and brought to the others, and of a dead letter,
    /// when it was put back.
    #[must_use]
    pub fn put_at(&self) -> SystemTime {
        let put_ms = u64::try_from(self.item.stat.ctime).unwrap_or_default();
        UNIX_EPOCH + Duration::from_millis(put_ms)
    }

    /// The path of the claim: it exists as long as the item is this consumer's.
    #[must_use]
    pub fn claim_path(&self) -> &str {
        self.held.node_path()
    }

    /// Whether the item is still this consumer's, and for how long that is certain without another sign of life.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`](crate::Error::Lost), from the first time on that it is lost.
    pub fn ensure(&self) -> Result<Duration> {
        self.held.ensure()
    }

    /// Resolves when the item is not this consumer's any more, with the reason.
    pub fn lost(&self) -> Lost {
        self.held.lost()
    }

    /// Runs `work` as long as the item is this consumer's; drops it when that is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`](crate::Error::Lost) when it was lost before `work` was done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        self.held.run(work).await
    }

    /// Acknowledges: the item is processed, and does not come back.
    ///
    /// Dropping the future does not stop the acknowledgement.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`](crate::Error::Lost) when the claim was lost before, so that the item comes back, or somebody deleted the item;
    /// [`Error::Unknown`](crate::Error::Unknown) when the session ended, or may have, before the outcome was known.
    pub async fn ack(self) -> Result<()> {
        let multi = self.held.session().multi();
        self.ack_with(multi).await
    }

    /// Acknowledges and commits a multi, in one transaction: either both happen, or neither.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack); and [`Error::Client`](crate::Error::Client) when an operation of the multi failed: then the
    /// item is given back.
    pub async fn ack_with<S>(self, multi: Multi<S>) -> Result<()> {
        let Self { held, item } = self;
        held.consume(multi.any(), item.path).await
    }

    /// Gives the item back, and returns when others can take it.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`](crate::Error::Lost) when the claim was lost before; the item comes back all the same.
    pub async fn nack(self) -> Result<()> {
        self.held.release().await
    }
}

impl Item {
    /// The path of the claim on it.
    pub(super) fn claim(&self, taken: &str) -> String {
        let name = self.path.rsplit_once('/').map_or("", |(_, name)| name);
        parents::child(taken, name)
    }
}

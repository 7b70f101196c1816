//! What is known of every registration, and what happened.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zk_recipes::prelude::*;

use super::SERVICE;

/// What an instance says about itself: which registration it is, and what it said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) number: usize,
    pub(super) version: u64,
}

impl Said {
    /// Now and then an instance does not want to be used.
    pub(super) const fn enabled(self) -> bool {
        self.version % 4 != 3
    }

    pub(super) fn instance(self, id: &str) -> ServiceInstance<Self> {
        let mut instance = ServiceInstance::new(SERVICE).id(id).payload(self);
        instance.enabled = self.enabled();
        instance
    }
}

/// What is known of one registration.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    /// The newest that it may have said.
    pub(super) version: u64,
    /// When it had unregistered, for certain.
    pub(super) gone: Option<Duration>,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) entries: Vec<Entry>,
    /// What is registered at rest.
    pub(super) live: BTreeMap<String, Said>,
    /// How many processes have come to rest, how many providers agree with them, and how many processes have left.
    pub(super) rests: usize,
    pub(super) agree: usize,
    pub(super) left: usize,
    pub(super) tally: Tally,
}

/// In numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) offers: u64,
    pub(super) left: u64,
    pub(super) cancelled: u64,
    /// Instances that are registered in another session than at first.
    pub(super) returned: u64,
    /// Offers by a provider that knows itself stale, of instances that had left.
    pub(super) stale: u64,
    /// The same without knowing it, and how late the latest was.
    pub(super) late: u64,
    pub(super) latest: Duration,
}

impl Book {
    pub(super) fn begin(&mut self, id: &str) -> Said {
        let (id, version, gone) = (id.to_owned(), 1, None);
        self.entries.push(Entry { id, version, gone });
        let number = self.entries.len() - 1;
        Said { number, version }
    }
}

pub(super) type Shared = Arc<Mutex<Book>>;

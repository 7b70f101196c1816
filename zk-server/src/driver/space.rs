//! How much room there is for the log, looked at beside it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::storage::Disk;

/// How often it is looked at, at least.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// With less than so many times the limit left, it is looked at after every batch.
const NEAR: u64 = 16;

/// The room for the log, and what was last said about it.
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    /// `minFreeSpaceInKb`, in bytes.
    limit: Option<u64>,
    looked: Option<(Instant, u64)>,
    low: bool,
}

impl Space {
    pub(super) fn new(disk: Arc<dyn Disk>, limit: Option<u64>) -> Self {
        Self {
            disk,
            limit,
            looked: None,
            low: false,
        }
    }

    /// Whether there is too little; then it should be looked at even when nothing is logged.
    pub(super) const fn is_low(&self) -> bool {
        self.low
    }

    /// Looks, if it is time to; gives the answer when it is another one than before.
    pub(super) fn look(&mut self) -> Option<bool> {
        let limit = self.limit?;
        let fresh = |(at, free): (Instant, u64)| at.elapsed() < GLANCE && free / NEAR > limit;
        if self.looked.is_some_and(fresh) {
            return None;
        }
        // A disk that cannot say it is not held against it.
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        self.looked = Some((Instant::now(), free));
        let low = free < limit;
        if low == std::mem::replace(&mut self.low, low) {
            return None;
        }
        let path = self.disk.path_of("");
        match low {
            true => tracing::error!(
                free,
                limit,
                path,
                "little room is left: writes are refused until there is more"
            ),
            false => tracing::info!(free, path, "there is room again: writes are accepted"),
        }
        Some(low)
    }
}

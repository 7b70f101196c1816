//! Where [`Now`] comes from.

#![allow(
    clippy::disallowed_methods,
    reason = "the driver is where the clocks are read"
)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

use super::net::Net;
use crate::time::Now;

/// The machine's clocks, or those of a [`Net`].
#[derive(Clone)]
pub(crate) enum Clock {
    /// `CLOCK_BOOTTIME`, which counts while the machine sleeps, and the wall clock.
    Machine,
    /// The clock of a simulated network.
    Net(Arc<dyn Net>),
}

impl Clock {
    /// The current time.
    pub(crate) fn now(&self) -> Now {
        match self {
            Self::Machine => Now {
                mono: boot_time(),
                wall_ms: wall_ms(),
            },
            Self::Net(net) => net.now(),
        }
    }
}

fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

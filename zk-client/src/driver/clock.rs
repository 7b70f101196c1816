//! The one clock of a client.
//!
//! CLOCK_BOOTTIME, which keeps counting while the machine sleeps: a session does not wait for a laptop to wake
//! up, and neither may the deadline of a lock. Over a network of the caller's own (a test's) it is tokio's
//! clock, which can be paused.

#![allow(clippy::disallowed_methods, reason = "the driver owns the clock")]

use crate::core::Moment;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The time since boot, sleep included.
    Boot,
    /// tokio's clock, since this instant.
    Tokio(tokio::time::Instant),
    /// So many milliseconds, which go on as a test wants it.
    #[cfg(test)]
    Test(&'static std::sync::atomic::AtomicU64),
}

impl Clock {
    pub(crate) fn tokio() -> Self {
        Self::Tokio(tokio::time::Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        match self {
            Self::Boot => boot_time(),
            Self::Tokio(origin) => Moment(origin.elapsed()),
            #[cfg(test)]
            Self::Test(millis) => Moment(std::time::Duration::from_millis(
                millis.load(std::sync::atomic::Ordering::Relaxed),
            )),
        }
    }

    /// Whether it stands still while the machine sleeps, as tokio's timers do.
    pub(crate) const fn sleeps(self) -> bool {
        matches!(self, Self::Tokio(_))
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Moment(std::time::Duration::new(seconds, nanos))
}

/// Elsewhere the monotonic clock has to do; on some systems it stops while the machine sleeps.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> Moment {
    use std::{sync::OnceLock, time::Instant};

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Moment(ORIGIN.get_or_init(Instant::now).elapsed())
}

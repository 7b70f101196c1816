//! Time, as it is handed to the cores.

use std::time::Duration;

/// The moment at which an input is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since an arbitrary origin, never going back, and counting while the machine sleeps: deadlines and
    /// expiry are measured on it.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch; goes into transaction headers and nowhere else.
    pub wall_ms: i64,
}

impl Now {
    /// [`mono`](Self::mono) in whole milliseconds.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        u64::try_from(self.mono.as_millis()).unwrap_or(u64::MAX)
    }
}

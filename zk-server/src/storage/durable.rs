//! Proof that something is on the disk.

/// A value that survives a power cut, by the disk's own word.
///
/// Only this crate's storage makes one, as the result of an fsync of the current log generation; `ack()` and
/// the epoch saves take it as an argument, so that a promise cannot be given before the disk has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(value)
    }

    /// A lie, to put bugs back.
    #[cfg(zkmut)]
    pub(crate) const fn forge(value: T) -> Self {
        Self(value)
    }

    /// What is durable.
    #[must_use]
    pub const fn get(&self) -> T {
        self.0
    }
}

//! Adler-32, the checksum of log records and snapshot seals.

use std::fmt;

use simd_adler32::Adler32 as State;

/// A running Adler-32, for snapshots, whose seals cover everything before them.
#[derive(Clone)]
pub struct Adler32(State);

impl Adler32 {
    /// The checksum of no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(State::new())
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The checksum of everything taken in so far.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.0.finish()
    }
}

impl Default for Adler32 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Adler32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adler32({:#010x})", self.value())
    }
}

/// The Adler-32 of these bytes.
#[must_use]
pub fn adler32(bytes: &[u8]) -> u32 {
    let mut state = State::new();
    state.write(bytes);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_whole_and_in_pieces() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        let mut running = Adler32::new();
        running.update(b"Wiki");
        running.update(b"");
        running.update(b"pedia");
        assert_eq!(running.value(), 0x11e6_0398);
    }
}

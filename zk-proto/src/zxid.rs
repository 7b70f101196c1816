//! The transaction id: ZooKeeper's clock.

use std::fmt;

use bytes::BytesMut;

use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader, fixed},
};

/// Names a transaction: the leader's epoch in the high 32 bits, a counter in the low 32.
///
/// Every change of the tree has one, they are totally ordered, and a later change has a larger one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

/// A leader's term; grows with every leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Self = Self(0);

    /// The zxid with this epoch and counter.
    #[must_use]
    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self((epoch.0 << 32) | counter as i64)
    }

    /// The leader's epoch that made it.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        Epoch(self.0 >> 32)
    }

    /// Its place within the epoch; 0 is the epoch's start and no transaction's.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is the counter"
    )]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of the same epoch, or `None` when its counter is used up and a new epoch is due.
    #[must_use]
    pub const fn successor(self) -> Option<Self> {
        match self.counter() {
            u32::MAX => None,
            _ => Some(Self(self.0 + 1)),
        }
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zxid({:#x})", self.0)
    }
}

impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

fixed!(Zxid(i64));

impl Encode for Zxid {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn encoded_len(&self) -> usize {
        8
    }
}

impl Decode for Zxid {
    const MIN_LEN: usize = 8;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.i64().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_splits_into_epoch_and_counter() {
        let zxid = Zxid::new(Epoch(5), u32::MAX);
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch(5), u32::MAX));
        assert_eq!(zxid.successor(), None);
        assert_eq!(
            Zxid::new(Epoch(5), 7).successor(),
            Some(Zxid(0x5_0000_0008))
        );
        assert_eq!(zxid.to_string(), "0x5ffffffff");
    }
}

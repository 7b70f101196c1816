//! Newtypes for the numbers that name things.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader, fixed},
};

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl Encode for $name {
            fn encode(&self, out: &mut BytesMut) {
                self.0.encode(out);
            }

            fn encoded_len(&self) -> usize {
                self.0.encoded_len()
            }
        }

        impl Decode for $name {
            const MIN_LEN: usize = <$inner>::MIN_LEN;

            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                <$inner>::decode(input).map(Self)
            }
        }
    };
}

number! {
    /// Names a session across the whole ensemble; 0 stands for none.
    ///
    /// The high byte is the id of the server that made it (`SessionTrackerImpl.initializeNextSessionId`).
    SessionId(i64)
}

number! {
    /// Numbers a request within its connection; replies carry it back.
    Xid(i32)
}

number! {
    /// A member's `myid`.
    ServerId(i64)
}

fixed!(SessionId(i64), Xid(i32));

impl SessionId {
    /// "No session": what a client without one sends and a server that refuses one answers.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl Xid {
    /// A watch event, not a reply (`ClientCnxn.NOTIFICATION_XID`).
    pub const NOTIFICATION: Self = Self(-1);
    /// A ping and its answer (`ClientCnxn.PING_XID`).
    pub const PING: Self = Self(-2);
    /// An auth packet and its answer (`ClientCnxn.AUTHPACKET_XID`).
    pub const AUTH: Self = Self(-4);
    /// Re-registration of watches and its answer (`ClientCnxn.SET_WATCHES_XID`).
    pub const SET_WATCHES: Self = Self(-8);

    /// The xid after this one; wraps to 1, past every reserved value.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) if next > 0 => Self(next),
            _ => Self(1),
        }
    }
}

/// A session's password: with the id, the right to resume the session.
///
/// Never printed. Compared in constant time.
#[derive(Clone, Default)]
pub struct Password(Option<Bytes>);

impl Password {
    /// How many bytes ZooKeeper's own passwords have.
    pub const LEN: usize = 16;

    /// A password of these bytes.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }

    /// The sixteen zero bytes that stand for "no session yet" or "refused".
    #[must_use]
    pub const fn zero() -> Self {
        Self(Some(Bytes::from_static(&[0; Self::LEN])))
    }

    /// The secret itself; empty where the peer sent null.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.as_bytes(), other.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Encode for Password {
    fn encode(&self, out: &mut BytesMut) {
        match &self.0 {
            None => out.put_i32(-1),
            bytes => bytes.encode(out),
        }
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }
}

impl Decode for Password {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Decode::decode(input).map(Self)
    }
}

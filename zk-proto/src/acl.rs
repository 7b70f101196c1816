//! Who may do what to a node.

use std::{fmt, ops::BitOr};

use bytes::BytesMut;

use crate::{
    error::DecodeError,
    jute::{Decode, Encode, Reader, Utf8Bytes},
    record,
};

/// A set of permissions (`ZooDefs.Perms`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Perms(pub i32);

impl Perms {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read the node's data and list its children.
    pub const READ: Self = Self(1);
    /// Set the node's data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the node's ACL.
    pub const ADMIN: Self = Self(16);
    /// Everything.
    pub const ALL: Self = Self(31);

    /// Whether every permission of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some permission is in both sets.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Perms {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Perms {
    /// The letters Apache's shell uses: `cdrwa`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (perm, letter) in [
            (Self::CREATE, "c"),
            (Self::DELETE, "d"),
            (Self::READ, "r"),
            (Self::WRITE, "w"),
            (Self::ADMIN, "a"),
        ] {
            if self.contains(perm) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl Encode for Perms {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn encoded_len(&self) -> usize {
        4
    }
}

impl Decode for Perms {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.i32().map(Self)
    }
}

/// An identity: a scheme and a name within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// `world`, `auth`, `digest`, `ip`, `sasl`, `x509`, ...
    pub scheme: Utf8Bytes,
    /// What the scheme makes of it: `anyone`, `user:hash`, `10.0.0.0/8`, ...
    pub id: Utf8Bytes,
}

impl Encode for Id {
    fn encode(&self, out: &mut BytesMut) {
        self.scheme.encode(out);
        self.id.encode(out);
    }

    fn encoded_len(&self) -> usize {
        self.scheme.encoded_len() + self.id.encoded_len()
    }
}

impl Decode for Id {
    const MIN_LEN: usize = 8;

    /// Null reads as empty: kazoo writes every empty string as null, and so the id of scheme `auth`.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let mut text = || <Option<Utf8Bytes>>::decode(input).map(Option::unwrap_or_default);
        Ok(Self {
            scheme: text()?,
            id: text()?,
        })
    }
}

record! {
    /// One entry of an access control list: these permissions for this identity.
    #[derive(Hash)]
    pub struct Acl {
        /// What is allowed.
        pub perms: Perms,
        /// To whom.
        pub id: Id,
    }
}

impl Acl {
    /// An entry of one's own making.
    #[must_use]
    pub fn new(perms: Perms, scheme: impl Into<Utf8Bytes>, id: impl Into<Utf8Bytes>) -> Self {
        Self {
            perms,
            id: Id {
                scheme: scheme.into(),
                id: id.into(),
            },
        }
    }

    /// Everything for everybody (`ZooDefs.Ids.OPEN_ACL_UNSAFE`).
    #[must_use]
    pub fn open() -> Vec<Self> {
        vec![Self::world(Perms::ALL)]
    }

    /// Reading for everybody (`ZooDefs.Ids.READ_ACL_UNSAFE`).
    #[must_use]
    pub fn read_only() -> Vec<Self> {
        vec![Self::world(Perms::READ)]
    }

    /// Everything for the identities the creator has authenticated as (`ZooDefs.Ids.CREATOR_ALL_ACL`).
    #[must_use]
    pub fn creator_all() -> Vec<Self> {
        vec![Self::new(
            Perms::ALL,
            Utf8Bytes::from_static("auth"),
            Utf8Bytes::default(),
        )]
    }

    fn world(perms: Perms) -> Self {
        Self::new(
            perms,
            Utf8Bytes::from_static("world"),
            Utf8Bytes::from_static("anyone"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_id_reads_as_an_empty_one() {
        let bytes = b"\0\0\0\x04auth\xff\xff\xff\xff";
        let id = Id::from_bytes(bytes.as_slice().into()).unwrap();
        assert_eq!(id, Acl::creator_all()[0].id);
    }
}

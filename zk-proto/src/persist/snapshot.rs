//! The records of a snapshot.
//!
//! The sessions and the ACL cache are vectors (a count, then the records), so `Vec<SessionEntry>` and
//! `Vec<AclEntry>` read and write them. Nodes have no count: they come in preorder, each after its parent, until
//! the string "/" ([`TREE_END`]), which no node can have for its path, since the root's is empty.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Adler32, DIGEST_VERSION, TreeDigest};
use crate::{
    acl::Acl,
    error::DecodeError,
    ids::SessionId,
    jute::{Decode, Encode, Reader, Utf8Bytes, put_buffer, put_string},
    record,
    stat::StatPersisted,
    zxid::Zxid,
};

/// What stands in a node's place after the last node.
pub const TREE_END: &str = "/";

/// The ACL id of "everything for everybody", which is not in the ACL cache.
pub const OPEN_ACL_ID: i64 = -1;

record! {
    /// A session that was alive.
    #[derive(Copy)]
    pub struct SessionEntry {
        /// Its id.
        pub id: SessionId,
        /// Its timeout in milliseconds.
        pub timeout_ms: i32,
    }
}

record! {
    /// An entry of the ACL cache: nodes name their ACL by number.
    pub struct AclEntry {
        /// The number; 1 and up.
        pub id: i64,
        /// The ACL.
        pub acl: Vec<Acl>,
    }
}

record! {
    /// A node of the tree (`DataNode`), with its path.
    pub struct NodeRecord {
        /// The full path; the root's is empty.
        pub path: Utf8Bytes,
        /// Its data; null is kept as null.
        pub data: Option<Bytes>,
        /// The number of its ACL, or [`OPEN_ACL_ID`].
        pub acl: i64,
        /// Its metadata.
        pub stat: StatPersisted,
    }
}

impl NodeRecord {
    /// Reads the next node; `None` at the end of the tree.
    ///
    /// # Errors
    /// What the record finds wrong.
    pub fn decode_next(input: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let path = Utf8Bytes::decode(input)?;
        if path == TREE_END {
            return Ok(None);
        }
        Ok(Some(Self {
            path,
            data: Decode::decode(input)?,
            acl: Decode::decode(input)?,
            stat: Decode::decode(input)?,
        }))
    }
}

/// Appends a [`NodeRecord`] from its borrowed parts; nothing is copied but into `out`.
pub fn put_node(
    out: &mut BytesMut,
    path: &str,
    data: Option<&[u8]>,
    acl: i64,
    stat: &StatPersisted,
) {
    put_string(out, path);
    match data {
        Some(data) => put_buffer(out, data),
        None => out.put_i32(-1),
    }
    acl.encode(out);
    stat.encode(out);
}

record! {
    /// Certifies everything before it (`SnapStream.sealStream`).
    pub struct Seal {
        /// The Adler-32 of every byte before it, earlier seals included.
        pub checksum: i64,
        /// [`TREE_END`]: a snapshot is complete only if it ends with these five bytes.
        pub end: Utf8Bytes,
    }
}

impl Seal {
    /// How many bytes it takes.
    pub const LEN: usize = 13;

    /// The seal of what this checksum has taken in.
    #[must_use]
    pub fn of(checksum: &Adler32) -> Self {
        Self {
            checksum: checksum.value().into(),
            end: Utf8Bytes::from_static(TREE_END),
        }
    }

    /// Reads a seal and compares it with the checksum of the bytes before it.
    ///
    /// # Errors
    /// [`DecodeError::BadChecksum`], [`DecodeError::BadMagic`] for a seal without its end, and what the record
    /// finds wrong.
    pub fn check(input: &mut Reader, checksum: &Adler32) -> Result<(), DecodeError> {
        let seal = Self::decode(input)?;
        if seal.end != TREE_END {
            return Err(DecodeError::BadMagic { expected: TREE_END });
        }
        match seal.checksum == i64::from(checksum.value()) {
            true => Ok(()),
            false => Err(DecodeError::BadChecksum),
        }
    }
}

record! {
    /// The digest of the tree, after its seal (`DataTree.ZxidDigest`); since 3.6.
    ///
    /// A snapshot is taken while transactions go on: the tree in it has this digest only once the log is replayed
    /// up to `zxid`. Apache writes zxid 0 and digest 0 where it has applied nothing yet.
    #[derive(Copy)]
    pub struct DigestSection {
        /// The transaction after which the tree has the digest.
        pub zxid: Zxid,
        /// [`DIGEST_VERSION`].
        pub version: i32,
        /// The digest, as [`TreeDigest::to_i64`] gives it.
        pub digest: i64,
    }
}

impl DigestSection {
    /// The tree has this digest after this transaction.
    #[must_use]
    pub const fn new(zxid: Zxid, digest: TreeDigest) -> Self {
        Self {
            zxid,
            version: DIGEST_VERSION,
            digest: digest.to_i64(),
        }
    }
}

/// What follows the tree's seal; each part has a seal of its own, and either may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotTrailer {
    /// The tree's digest (`digest.enabled`; since 3.6).
    pub digest: Option<DigestSection>,
    /// The last transaction applied when the snapshot ended (`serializeLastProcessedZxid.enabled`; since 3.9).
    pub last_processed: Option<Zxid>,
}

impl SnapshotTrailer {
    /// The most bytes the seal of the tree and the trailer take together.
    pub const MAX_LEN: usize = Seal::LEN + DIGEST_LEN + Seal::LEN + ZXID_LEN + Seal::LEN;

    /// Appends the seal of the tree and the trailer's parts, each with its seal.
    ///
    /// `checksum` has taken in every byte of the file up to and including the end of the tree.
    pub fn put(&self, out: &mut BytesMut, checksum: &mut Adler32) {
        put_sealed(out, checksum, &[]);
        if let Some(digest) = &self.digest {
            put_sealed(out, checksum, &digest.to_bytes());
        }
        if let Some(zxid) = &self.last_processed {
            put_sealed(out, checksum, &zxid.to_bytes());
        }
    }

    /// Reads the seal of the tree and everything after it, up to the end of the file.
    ///
    /// Which parts are there shows in how many bytes are left. `checksum` has taken in every byte of the file up
    /// to and including the end of the tree.
    ///
    /// # Errors
    /// [`DecodeError::BadChecksum`] for a broken seal, [`DecodeError::Truncated`] and
    /// [`DecodeError::TrailingBytes`] for a file that ends too early or too late.
    pub fn take(input: &mut Reader, checksum: &mut Adler32) -> Result<Self, DecodeError> {
        take_sealed(input, checksum, 0)?;
        let mut trailer = Self::default();
        if input.remaining() >= DIGEST_LEN + Seal::LEN {
            trailer.digest = Some(Decode::from_bytes(take_sealed(
                input, checksum, DIGEST_LEN,
            )?)?);
        }
        if input.remaining() > 0 {
            trailer.last_processed =
                Some(Decode::from_bytes(take_sealed(input, checksum, ZXID_LEN)?)?);
        }
        input.finish()?;
        Ok(trailer)
    }
}

const DIGEST_LEN: usize = DigestSection::MIN_LEN;
const ZXID_LEN: usize = Zxid::MIN_LEN;

fn put_sealed(out: &mut BytesMut, checksum: &mut Adler32, part: &[u8]) {
    out.put_slice(part);
    checksum.update(part);
    let seal = Seal::of(checksum).to_bytes();
    out.put_slice(&seal);
    checksum.update(&seal);
}

fn take_sealed(
    input: &mut Reader,
    checksum: &mut Adler32,
    len: usize,
) -> Result<Bytes, DecodeError> {
    let part = input.take(len)?;
    checksum.update(&part);
    let seal = input.rest().slice(..Seal::LEN.min(input.remaining()));
    Seal::check(input, checksum)?;
    checksum.update(&seal);
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_from_its_parts_is_the_record() {
        let stat = StatPersisted {
            version: 3,
            cversion: -2,
            ..StatPersisted::default()
        };
        for data in [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))] {
            let mut out = BytesMut::new();
            put_node(&mut out, "/a", data.as_deref(), 7, &stat);
            let node = NodeRecord {
                path: "/a".into(),
                data,
                acl: 7,
                stat,
            };
            assert_eq!(out, node.to_bytes());
            put_string(&mut out, TREE_END);
            let mut input = Reader::new(out.freeze());
            assert_eq!(NodeRecord::decode_next(&mut input), Ok(Some(node)));
            assert_eq!(NodeRecord::decode_next(&mut input), Ok(None));
            assert_eq!(input.finish(), Ok(()));
        }
    }

    #[test]
    fn every_combination_of_trailer_parts_reads_back_and_no_bit_of_it_may_change() {
        let digest = DigestSection::new(Zxid(7), TreeDigest(0x51c6_d660));
        for (digest, last_processed) in [
            (None, None),
            (Some(digest), None),
            (None, Some(Zxid(9))),
            (Some(digest), Some(Zxid(9))),
        ] {
            let trailer = SnapshotTrailer {
                digest,
                last_processed,
            };
            let mut before = Adler32::new();
            before.update(b"the tree");
            let mut out = BytesMut::new();
            trailer.put(&mut out, &mut before.clone());
            let read = |bytes: &[u8]| {
                SnapshotTrailer::take(
                    &mut Reader::new(Bytes::copy_from_slice(bytes)),
                    &mut before.clone(),
                )
            };
            assert!(out.len() <= SnapshotTrailer::MAX_LEN && out.ends_with(b"\0\0\0\x01/"));
            assert_eq!(read(&out), Ok(trailer));
            for bit in 0..out.len() * 8 {
                let mut bad = out.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&bad).is_err(), "bit {bit} may change");
            }
        }
    }
}

//! A snapshot's way back into a tree.

use std::io::{self, Read};

use bytes::Bytes;
use thiserror::Error;
use zk_proto::{
    DecodeError, Reader,
    persist::{Adler32, FileHeader, SnapshotCursor, SnapshotStep, SnapshotTrailer},
};

use super::packed::{self, Unpacked};
use crate::{
    storage::{disk::Disk, layout::SnapshotFile},
    tree::{CutNode, DataTree, TreeBuilder, TreeOptions},
};

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Why a snapshot cannot be used; another one may do.
#[derive(Debug, Error)]
pub(in crate::storage) enum LoadError {
    /// The disk failed, or the packing is damaged.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not a snapshot's, or a seal does not hold.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The nodes do not make a tree.
    #[error("{0}")]
    Tree(String),
}

/// Reads a snapshot: the tree in it, and what follows the tree.
pub(in crate::storage) fn load(
    disk: &dyn Disk,
    file: &SnapshotFile,
    options: &TreeOptions,
) -> Result<(DataTree, SnapshotTrailer), LoadError> {
    let mut input = Input::new(packed::open(disk, file)?);
    let mut cursor = input.begin()?;
    let mut builder = TreeBuilder::new(options);
    let refused = |error: &dyn std::fmt::Display| LoadError::Tree(error.to_string());
    loop {
        match cursor.next_step()? {
            SnapshotStep::Session(session) => builder.session(session.id, session.timeout_ms),
            SnapshotStep::Acl(entry) => builder.acl(entry.id, entry.acl),
            SnapshotStep::Node(node) => {
                let node = CutNode {
                    path: &node.path,
                    data: node.data.as_deref(),
                    acl: node.acl,
                    stat: node.stat,
                };
                builder.node(&node).map_err(|error| refused(&error))?;
            }
            SnapshotStep::NeedsBytes(count) => cursor.feed(input.take(count)?),
            SnapshotStep::End => break,
        }
    }
    let (checksum, behind) = cursor.finish();
    let trailer = input.trailer(checksum, &behind)?;
    let tree = builder.finish(file.zxid);
    Ok((tree.map_err(|error| refused(&error))?, trailer))
}

/// The unpacked bytes, a piece at a time.
struct Input {
    source: Unpacked,
    taken: u64,
}

impl Input {
    const fn new(source: Unpacked) -> Self {
        Self { source, taken: 0 }
    }

    fn begin(&mut self) -> Result<SnapshotCursor, LoadError> {
        let mut header = vec![0; FileHeader::LEN];
        self.source.bytes.read_exact(&mut header)?;
        self.taken = header.len() as u64;
        let mut checksum = Adler32::new();
        checksum.update(&header);
        FileHeader::decode_snapshot(&mut Reader::new(Bytes::from(header)))?;
        let limit = usize::try_from(self.source.limit).unwrap_or(usize::MAX);
        Ok(SnapshotCursor::new(checksum, limit))
    }

    /// At least `count` bytes more. Memory grows with what is really there, whatever a length claims.
    fn take(&mut self, count: usize) -> Result<Bytes, LoadError> {
        let mut piece = Vec::new();
        let wanted = count.max(PIECE) as u64;
        let left = self.source.limit.saturating_sub(self.taken);
        if count as u64 > left {
            return Err(ended());
        }
        if wanted.min(left) <= PIECE as u64 {
            piece.reserve_exact(PIECE);
        }
        let source = self.source.bytes.by_ref();
        let got = source.take(wanted.min(left)).read_to_end(&mut piece)?;
        self.taken += got as u64;
        match got < count {
            true => Err(ended()),
            false => Ok(Bytes::from(piece)),
        }
    }

    fn trailer(
        &mut self,
        mut checksum: Adler32,
        behind: &[u8],
    ) -> Result<SnapshotTrailer, LoadError> {
        let mut rest = behind.to_vec();
        // One byte more than there can be shows that the file does not end where it should.
        let room = (SnapshotTrailer::MAX_LEN + 1).saturating_sub(rest.len());
        self.source
            .bytes
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut rest)?;
        let mut rest = Reader::new(Bytes::from(rest));
        Ok(SnapshotTrailer::take(&mut rest, &mut checksum)?)
    }
}

fn ended() -> LoadError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}

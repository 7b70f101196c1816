//! A snapshot's way back into a tree.
//!
//! A large one takes two threads: one reads, checks and decodes, and computes what it can for each node alone; the
//! other puts the tree together.

use std::{
    io::{self, Read},
    sync::mpsc,
    thread,
};

use bytes::Bytes;
use thiserror::Error;
use zk_proto::{
    DecodeError, Reader,
    persist::{Adler32, FileHeader, SnapshotCursor, SnapshotStep, SnapshotTrailer},
};

use super::packed::{self, Unpacked};
use crate::{
    storage::{disk::Disk, layout::SnapshotFile},
    tree::{BuildError, CutNode, DataTree, NodeBatch, TreeBuilder, TreeOptions},
};

/// How much is read at once.
const PIECE: usize = 256 << 10;

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
    #[error(transparent)]
    Tree(#[from] BuildError),
}

/// From this length of a file on, reading and building take a thread each.
const WORTH_A_THREAD: u64 = 4 << 20;

/// How much the one is ahead of the other at most: so many batches of this size.
const BATCHES: usize = 4;
const BATCH: usize = 512 << 10;

/// Something to be put into the tree.
enum Portion {
    Step(SnapshotStep),
    Nodes(NodeBatch),
}

/// Reads a snapshot: the tree in it, and what follows the tree.
pub(in crate::storage) fn load(
    disk: &dyn Disk,
    file: &SnapshotFile,
    options: &TreeOptions,
) -> Result<(DataTree, SnapshotTrailer), LoadError> {
    let input = Input::new(packed::open(disk, file)?);
    let mut builder = TreeBuilder::new(options);
    let put = |portion| match portion {
        Portion::Step(step) => Ok(builder.take(step)?),
        Portion::Nodes(batch) => Ok(builder.batch(&batch)?),
    };
    let trailer = match input.source.file_len < WORTH_A_THREAD {
        true => walk(input, options, put),
        false => walk_ahead(input, options, put),
    }?;
    Ok((builder.finish(file.zxid)?, trailer))
}

/// As [`walk`], on a thread of its own; `put` is called on this one.
fn walk_ahead(
    input: Input,
    options: &TreeOptions,
    put: impl FnMut(Portion) -> Result<(), LoadError>,
) -> Result<SnapshotTrailer, LoadError> {
    let broken_off = || io::Error::from(io::ErrorKind::BrokenPipe).into();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES);
        let send = move |portion| sender.send(portion).map_err(|_| broken_off());
        let walker = thread::Builder::new()
            .name("zk-snapshot-in".to_owned())
            .spawn_scoped(scope, move || walk(input, options, send))?;
        // Breaking off drops the receiver, which ends the walk.
        let put = receiver.into_iter().try_for_each(put);
        let walked = walker.join().unwrap_or_else(|_| Err(broken_off()));
        put.and(walked)
    })
}

/// Goes over a snapshot from its first byte to its last.
fn walk(
    mut input: Input,
    options: &TreeOptions,
    mut put: impl FnMut(Portion) -> Result<(), LoadError>,
) -> Result<SnapshotTrailer, LoadError> {
    let mut cursor = input.begin()?;
    let mut batch = NodeBatch::new(options);
    loop {
        match cursor.next_step()? {
            SnapshotStep::Node(node) => {
                batch.push(&CutNode::of(&node));
                if batch.size() >= BATCH {
                    let full = std::mem::replace(&mut batch, NodeBatch::new(options));
                    put(Portion::Nodes(full))?;
                }
            }
            SnapshotStep::NeedsBytes(count) => cursor.feed(input.take(count)?),
            SnapshotStep::End => break,
            step => put(Portion::Step(step))?,
        }
    }
    put(Portion::Nodes(batch))?;
    let (checksum, behind) = cursor.finish();
    input.trailer(checksum, &behind)
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use zk_proto::{
        Encode, Zxid,
        jute::put_string,
        persist::{OPEN_ACL_ID, TREE_END, put_node},
        stat::StatPersisted,
    };

    use super::*;
    use crate::storage::{MemDisk, disk::Access, layout::Packing};

    /// A snapshot with these nodes of 4 KiB.
    fn snapshot(paths: impl Iterator<Item = String>) -> BytesMut {
        let mut out = BytesMut::new();
        FileHeader::SNAPSHOT.encode(&mut out);
        // Neither sessions nor ACLs.
        0_i32.encode(&mut out);
        0_i32.encode(&mut out);
        for path in [String::new()].into_iter().chain(paths) {
            let stat = StatPersisted::default();
            put_node(&mut out, &path, Some(&[7; 4096]), OPEN_ACL_ID, &stat);
        }
        put_string(&mut out, TREE_END);
        let mut checksum = Adler32::new();
        checksum.update(&out);
        SnapshotTrailer::default().put(&mut out, &mut checksum);
        out
    }

    fn load_bytes(bytes: &[u8]) -> Result<DataTree, LoadError> {
        let disk = MemDisk::new();
        let file = SnapshotFile {
            name: "snapshot.1".to_owned(),
            zxid: Zxid(1),
            packing: Packing::Plain,
        };
        let mut out = disk.create(&file.name, Access::Default).unwrap();
        out.write_at(0, bytes).unwrap();
        load(&disk, &file, &TreeOptions::default()).map(|(tree, _)| tree)
    }

    fn paths() -> impl Iterator<Item = String> {
        let parents = (0..50).map(|parent| format!("/p{parent}"));
        let children = (0..2000).map(|child| format!("/p{}/c{child}", child % 50));
        parents.chain(children)
    }

    #[test]
    fn a_large_snapshot_is_read_whole_or_not_at_all() {
        let bytes = snapshot(paths());
        assert!(bytes.len() as u64 > WORTH_A_THREAD);
        let tree = load_bytes(&bytes).unwrap();
        // The root has two names.
        assert_eq!(tree.node_count(), 2052);
        assert_eq!(
            tree.node("/p7/c57").unwrap().data().map(<[u8]>::len),
            Some(4096)
        );
        for at in [100, bytes.len() / 2, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(load_bytes(&bad).is_err(), "byte {at} changed");
            assert!(load_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_tree_ends_the_reading_of_it() {
        // The one that is refused comes first, the rest waits for its turn.
        for bad in ["/none/x", "/p1"] {
            let nodes = paths()
                .take(60)
                .chain([bad.to_owned()])
                .chain(paths().skip(60));
            assert!(
                matches!(load_bytes(&snapshot(nodes)), Err(LoadError::Tree(_))),
                "{bad}"
            );
        }
    }
}

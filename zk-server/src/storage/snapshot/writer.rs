//! A tree's way into a snapshot.

use std::{io, sync::Arc};

use bytes::BytesMut;
use zk_proto::{
    Encode, Zxid,
    jute::put_string,
    persist::{
        AclEntry, Adler32, DigestSection, FileHeader, SessionEntry, SnapshotTrailer, TREE_END,
        put_node,
    },
};

use crate::{
    config::Config,
    storage::{
        Directories,
        disk::{Access, Disk, DiskFile},
        layout::{TMP_SUFFIX, snapshot_name},
    },
    tree::{Cut, DataTree},
};

/// A piece of the tree is written when it is about this long.
const PIECE: usize = 256 << 10;

/// How much is written before it is synced: a larger backlog would make the log's fdatasync wait for it, since
/// file systems write data before the journal that refers to it.
const SYNC_EVERY: u64 = 1 << 20;

/// What a snapshot ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// `digest.enabled`: the tree's digest.
    pub digest: bool,
    /// `serializeLastProcessedZxid.enabled`: the zxid once more.
    pub last_processed: bool,
}

impl SnapshotOptions {
    /// As configured.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        Self {
            digest: config.digest_enabled,
            last_processed: config.serialize_last_processed_zxid,
        }
    }
}

/// A snapshot that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDone {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The file's length.
    pub bytes: u64,
}

/// Writes a cut of the tree as a snapshot; blocks for as long as that takes.
///
/// `next_piece` calls [`put_piece`] under the tree's read lock, for each piece anew, and passes its answer on.
/// An error from it abandons the snapshot.
///
/// # Errors
/// What the disk says. Nothing is left behind under a snapshot's name then; serving may go on and the next
/// snapshot be tried.
pub fn write_snapshot(
    directories: &Directories,
    cut: &Cut,
    next_piece: &mut dyn FnMut(&mut BytesMut) -> io::Result<bool>,
    options: &SnapshotOptions,
) -> io::Result<SnapshotDone> {
    let mut writer = Writer::create(directories.snapshots.clone(), cut.zxid)?;
    let written = writer.write(cut, next_piece, options);
    if written.is_err() {
        writer.abandon();
    }
    written
}

/// Appends the next nodes of a cut to what is being written, and tells whether there are more.
pub fn put_piece(tree: &DataTree, cut: &Cut, out: &mut BytesMut) -> bool {
    tree.walk_cut(cut, PIECE, |node| {
        put_node(out, node.path, node.data, node.acl, &node.stat);
    })
}

/// Appends what comes before the nodes: the sessions and the ACLs.
pub fn put_head(cut: &Cut, out: &mut BytesMut) {
    let sessions = cut.sessions.iter();
    let sessions: Vec<_> = sessions
        .map(|(id, timeout_ms)| SessionEntry {
            id: *id,
            timeout_ms: *timeout_ms,
        })
        .collect();
    let acls = cut.acls.iter().map(|(id, list)| AclEntry {
        id: *id,
        acl: list.entries().to_vec(),
    });
    sessions.encode(out);
    acls.collect::<Vec<_>>().encode(out);
}

/// Writes a tree that nobody else uses yet.
pub(in crate::storage) fn write_tree(
    directories: &Directories,
    tree: &mut DataTree,
    options: &SnapshotOptions,
) -> io::Result<SnapshotDone> {
    let cut = tree.begin_cut();
    let mut next_piece = |out: &mut BytesMut| Ok(put_piece(tree, &cut, out));
    let done = write_snapshot(directories, &cut, &mut next_piece, options);
    tree.end_cut(cut);
    done
}

/// A snapshot in the making, under a name that nobody takes for one.
struct Writer {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    tmp: String,
    zxid: Zxid,
    buffer: BytesMut,
    checksum: Adler32,
    position: u64,
    synced: u64,
}

impl Writer {
    fn create(disk: Arc<dyn Disk>, zxid: Zxid) -> io::Result<Self> {
        let tmp = format!("{}{TMP_SUFFIX}", snapshot_name(zxid));
        Ok(Self {
            file: disk.create(&tmp, Access::Default)?,
            disk,
            tmp,
            zxid,
            buffer: BytesMut::with_capacity(2 * PIECE),
            checksum: Adler32::new(),
            position: 0,
            synced: 0,
        })
    }

    fn write(
        &mut self,
        cut: &Cut,
        next_piece: &mut dyn FnMut(&mut BytesMut) -> io::Result<bool>,
        options: &SnapshotOptions,
    ) -> io::Result<SnapshotDone> {
        self.put_head(cut)?;
        loop {
            let more = next_piece(&mut self.buffer)?;
            self.put_piece()?;
            if !more {
                break;
            }
        }
        put_string(&mut self.buffer, TREE_END);
        self.put_piece()?;
        let trailer = SnapshotTrailer {
            digest: options
                .digest
                .then(|| DigestSection::new(cut.zxid, cut.digest)),
            last_processed: options.last_processed.then_some(cut.zxid),
        };
        trailer.put(&mut self.buffer, &mut self.checksum);
        self.put_sealed()?;
        self.publish()
    }

    fn put_head(&mut self, cut: &Cut) -> io::Result<()> {
        FileHeader::SNAPSHOT.encode(&mut self.buffer);
        put_head(cut, &mut self.buffer);
        self.put_piece()
    }

    fn put_piece(&mut self) -> io::Result<()> {
        self.checksum.update(&self.buffer);
        self.put_sealed()
    }

    /// Writes what the checksum has already taken in.
    fn put_sealed(&mut self) -> io::Result<()> {
        self.file.write_at(self.position, &self.buffer)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        if self.position - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.position;
        }
        Ok(())
    }

    fn publish(&mut self) -> io::Result<SnapshotDone> {
        self.file.sync_data()?;
        self.disk.rename(&self.tmp, &snapshot_name(self.zxid))?;
        self.disk.sync_dir()?;
        Ok(SnapshotDone {
            zxid: self.zxid,
            bytes: self.position,
        })
    }

    fn abandon(self) {
        // If even that fails, recovery removes the file; the failure that matters is reported already.
        let _ = self.disk.remove(&self.tmp);
    }
}

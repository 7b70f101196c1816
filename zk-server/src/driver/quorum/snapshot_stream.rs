//! A tree on its way to a learner.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zk_proto::{
    Zxid,
    jute::put_string,
    persist::{Adler32, SnapshotCursor, SnapshotStep, TREE_END},
    quorum::SNAP_SIGNATURE,
};

use super::Hub;
use crate::{
    peer::{Input, QuorumInput},
    storage::{put_head, put_piece},
    tree::{Cut, DataTree, TreeBuilder, TreeOptions},
};

/// A cut that is to be sent; however that ends, the peer gets it back.
pub(super) struct Outgoing {
    cut: Option<Cut>,
    hub: Arc<Hub>,
}

impl Outgoing {
    pub(super) fn new(cut: Cut, hub: &Arc<Hub>) -> Self {
        Self {
            cut: Some(cut),
            hub: hub.clone(),
        }
    }

    /// Sends it, and the signature behind it; `progress` is called whenever some of it is gone.
    pub(super) async fn write(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        progress: impl Fn(),
    ) -> io::Result<()> {
        let Some(cut) = &self.cut else {
            return Ok(());
        };
        let mut out = BytesMut::new();
        put_head(cut, &mut out);
        loop {
            let more = put_piece(&self.hub.shared.tree.read(), cut, &mut out);
            to.write_all(&out).await?;
            out.clear();
            progress();
            if !more {
                break;
            }
        }
        put_string(&mut out, TREE_END);
        put_string(&mut out, SNAP_SIGNATURE);
        to.write_all(&out).await
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            let input = QuorumInput::Sent { cut };
            self.hub.mailbox.push(Input::Quorum(input));
        }
    }
}

/// Reads a tree off a link, whose next bytes are in `buffer`; `progress` is called now and then.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    options: &TreeOptions,
    zxid: Zxid,
    mut progress: impl FnMut(),
) -> io::Result<DataTree> {
    /// No node is longer.
    const RECORD_MAX: usize = 64 << 20;
    let mut cursor = SnapshotCursor::new(Adler32::new(), RECORD_MAX);
    let mut builder = TreeBuilder::new(options);
    cursor.feed(buffer.split().freeze());
    loop {
        match cursor.next_step().map_err(io::Error::other)? {
            SnapshotStep::NeedsBytes(count) => {
                let piece = take(from, count).await?;
                progress();
                cursor.feed(piece);
            }
            SnapshotStep::End => break,
            step => builder.take(step).map_err(io::Error::other)?,
        }
    }
    let (_, behind) = cursor.finish();
    buffer.extend_from_slice(&behind);
    signature(from, buffer).await?;
    builder.finish(zxid).map_err(io::Error::other)
}

async fn take(from: &mut (impl AsyncRead + Unpin), at_least: usize) -> io::Result<Bytes> {
    let mut piece = BytesMut::with_capacity(64 << 10);
    while piece.len() < at_least {
        if from.read_buf(&mut piece).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(piece.freeze())
}

async fn signature(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<()> {
    let mut expected = BytesMut::new();
    put_string(&mut expected, SNAP_SIGNATURE);
    while buffer.len() < expected.len() {
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match buffer.split_to(expected.len()) == expected {
        true => Ok(()),
        false => Err(io::Error::other("no signature behind the snapshot")),
    }
}

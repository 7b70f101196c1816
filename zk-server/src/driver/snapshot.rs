//! Writing snapshots beside the log: on a thread of its own, or as a task where nothing may block.

#![allow(
    clippy::disallowed_methods,
    reason = "the driver owns the snapshot thread and looks at the clock for its metric"
)]

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use crate::{
    peer::{Input, Shared},
    storage::{Directories, SnapshotOptions, put_piece, write_snapshot},
    tree::Cut,
};

/// Writes one snapshot at a time; the peer sees to that.
pub(super) struct Snapshots {
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox<Input>>,
    pub(super) directories: Directories,
    pub(super) options: SnapshotOptions,
    pub(super) may_block: bool,
    pub(super) running: Option<oneshot::Receiver<()>>,
}

impl Snapshots {
    /// Begins to write a snapshot; the peer hears of its end.
    pub(super) fn take(&mut self, cut: Cut) {
        let (tell, told) = oneshot::channel();
        let job = Job {
            shared: self.shared.clone(),
            mailbox: self.mailbox.clone(),
            directories: Some(self.directories.clone()),
            options: self.options,
            cut: Some(cut),
            tell: Some(tell),
        };
        self.running = Some(told);
        if !self.may_block {
            tokio::spawn(async move { job.run() });
            return;
        }
        let thread = std::thread::Builder::new().name("zk-snapshot".to_owned());
        if let Err(error) = thread.spawn(move || job.run()) {
            tracing::error!(%error, "no thread to write a snapshot");
        }
    }

    /// Waits until no snapshot is being written.
    pub(super) async fn ended(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
    }
}

/// One snapshot. However it ends, the peer hears of it and the directories are let go.
struct Job {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox<Input>>,
    directories: Option<Directories>,
    options: SnapshotOptions,
    cut: Option<Cut>,
    tell: Option<oneshot::Sender<()>>,
}

impl Job {
    /// A failed snapshot is reported and serving goes on: the log has everything.
    fn run(self) {
        let (Some(cut), Some(directories)) = (&self.cut, &self.directories) else {
            return;
        };
        let begun = Instant::now();
        let shared = &self.shared;
        let mut next_piece = |out: &mut BytesMut| put_piece(&shared.tree.read(), cut, out);
        match write_snapshot(directories, cut, &mut next_piece, &self.options) {
            Ok(done) => {
                let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                shared.metrics.snapshot_time.add(millis);
                tracing::info!(zxid = %done.zxid, bytes = done.bytes, millis, "snapshot written");
            }
            Err(error) => {
                shared.metrics.snapshot_errors.add(1);
                tracing::error!(zxid = %cut.zxid, %error, "snapshot failed; the log is kept");
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.directories = None;
        if let Some(cut) = self.cut.take() {
            self.mailbox.push(Input::SnapshotDone { cut });
        }
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(());
        }
    }
}

//! Writing snapshots beside the log, and purging old ones: on a thread of its own, or as a task where nothing may block.

#![allow(
    clippy::disallowed_methods,
    reason = "the driver owns the snapshot thread and looks at the clock for its metric"
)]

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};
use zk_proto::Zxid;

use super::{
    Hub,
    log_reads::{LogReads, Piece, Wanted, next_piece},
    mailbox::Mailbox,
};
use crate::{
    peer::{Input, Shared},
    storage::{
        Directories, HistoryPieces, SnapshotOptions, purge, put_piece, survey_history,
        write_snapshot,
    },
    tree::Cut,
    zab::{LinkId, LoggedSpan, follows},
};

/// Writes one snapshot at a time; the peer sees to that.
pub(super) struct Snapshots {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox<Input>>,
    directories: Directories,
    options: SnapshotOptions,
    may_block: bool,
    running: Vec<oneshot::Receiver<()>>,
    pace: Arc<Pace>,
    reads: LogReads,
}

impl Snapshots {
    pub(super) fn new(hub: &Hub, directories: Directories, may_block: bool) -> Self {
        Self {
            shared: hub.shared.clone(),
            mailbox: hub.mailbox.clone(),
            directories,
            options: SnapshotOptions::of(&hub.config),
            may_block,
            running: Vec::new(),
            pace: Arc::new(Pace {
                may_rest: may_block,
                ..Pace::default()
            }),
            reads: LogReads::new(&hub.mailbox),
        }
    }

    /// Begins to write a snapshot; the peer hears of its end.
    pub(super) fn take(&mut self, cut: Cut) {
        self.pace.state.lock().given_up = false;
        let (tell, told) = oneshot::channel();
        let job = Job {
            shared: self.shared.clone(),
            mailbox: self.mailbox.clone(),
            directories: Some(self.directories.clone()),
            options: self.options,
            cut: Some(cut),
            tell: Some(tell),
            pace: self.pace.clone(),
        };
        self.start(told, move || job.run());
    }

    /// Removes old snapshots, and the logs that only they need.
    pub(super) fn purge(&mut self, retain: usize) {
        let (tell, told) = oneshot::channel();
        let directories = self.directories.clone();
        self.start(told, move || {
            match purge(&directories, retain) {
                Ok(purged) if purged.files.is_empty() => {}
                Ok(purged) => tracing::info!(files = ?purged.files, "purged"),
                Err(error) => tracing::error!(%error, "could not purge; it is tried again"),
            }
            drop(directories);
            let _ = tell.send(());
        });
    }

    /// Looks through the log for a learner, behind those that came before; the peer hears of its end.
    pub(super) fn read_log(&mut self, link: LinkId, from: Zxid, limit: Option<u64>) {
        let wanted = Wanted { link, from, limit };
        let Some(reader) = self.reads.want(wanted) else {
            return;
        };
        let (tell, told) = oneshot::channel();
        let directories = self.directories.clone();
        self.start(told, move || {
            reader.run(|wanted, goes_on| {
                let Wanted { from, limit, .. } = *wanted;
                let span = survey_history(&directories, from, limit, follows, goes_on);
                let (first, last) = span.unwrap_or_else(|error| {
                    tracing::warn!(%error, "could not read the log back; a learner gets a snapshot");
                    None
                })?;
                Some(LoggedSpan { first, last })
            });
            drop(directories);
            let _ = tell.send(());
        });
    }

    /// Reads what the log has after the first of these and up to the second one, piece by piece, as fast as somebody
    /// takes the pieces.
    pub(super) fn stream_log(&mut self, after: Zxid, until: Zxid) -> mpsc::Receiver<Piece> {
        let (pieces, taken) = mpsc::channel(1);
        let (tell, told) = oneshot::channel();
        let (directories, mut history) = (self.directories.clone(), None);
        let mut next = move || match &mut history {
            Some(history) => next_piece(history),
            none => {
                let history = HistoryPieces::open(&directories, after, until, follows)?;
                next_piece(none.insert(history))
            }
        };
        let is_more = |piece: &Piece| matches!(piece, Ok(Some(_)));
        if !self.may_block {
            self.running.push(told);
            tokio::spawn(async move {
                let mut goes_on = true;
                while goes_on {
                    let piece = next();
                    goes_on = is_more(&piece) & pieces.send(piece).await.is_ok();
                }
                drop(next);
                let _ = tell.send(());
            });
            return taken;
        }
        self.start(told, move || {
            let mut goes_on = true;
            while goes_on {
                let piece = next();
                goes_on = is_more(&piece) & pieces.blocking_send(piece).is_ok();
            }
            drop(next);
            let _ = tell.send(());
        });
        taken
    }

    /// A learner's link has ended: nothing is read for it any more.
    pub(super) fn forget_read(&self, link: LinkId) {
        self.reads.forget(link);
    }

    /// As [`forget_read`](Self::forget_read), for all.
    pub(super) fn forget_reads(&self) {
        self.reads.forget_all();
    }

    fn start(&mut self, told: oneshot::Receiver<()>, work: impl FnOnce() + Send + 'static) {
        self.running
            .retain_mut(|running| running.try_recv() == Err(TryRecvError::Empty));
        self.running.push(told);
        if !self.may_block {
            tokio::spawn(async move { work() });
            return;
        }
        let thread = std::thread::Builder::new().name("zk-snapshot".to_owned());
        if let Err(error) = thread.spawn(work) {
            tracing::error!(%error, "no thread to write a snapshot, to purge or to read the log back");
        }
    }

    /// Abandons the snapshot that is being written, if one is, and every later one, and what is read for learners.
    pub(super) fn abandon(&self) {
        self.forget_reads();
        self.pace.stop();
    }

    /// Abandons the snapshot that is being written, if one is.
    pub(super) fn give_up(&self) {
        self.pace.state.lock().given_up = true;
        self.pace.stop.notify_all();
    }

    /// Waits until nothing uses the disk.
    pub(super) async fn ended(&mut self) {
        for running in self.running.drain(..) {
            let _ = running.await;
        }
    }
}

/// Keeps a snapshot out of the way of the log, and ends it early when the server stops.
#[derive(Default)]
struct Pace {
    state: Mutex<Ending>,
    stop: Condvar,
    may_rest: bool,
}

/// Why there is no more of a snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Ending {
    stopped: bool,
    given_up: bool,
}

impl Ending {
    const fn is_there(self) -> bool {
        self.stopped || self.given_up
    }
}

impl Pace {
    /// Rests twice as long as the last piece took: the log has the disk, and the tasks their core, for two thirds of
    /// the time, whatever the disk's speed. Returns whether to end.
    fn rest(&self, worked: Duration) -> bool {
        let mut state = self.state.lock();
        if self.may_rest && !state.is_there() {
            self.stop.wait_for(&mut state, 2 * worked);
        }
        state.is_there()
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.stop.notify_all();
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
    pace: Arc<Pace>,
}

impl Job {
    /// A failed snapshot is reported and serving goes on: the log has everything.
    fn run(self) {
        let (Some(cut), Some(directories)) = (&self.cut, &self.directories) else {
            return;
        };
        let begun = Instant::now();
        let shared = &self.shared;
        let mut worked = Instant::now();
        let mut next_piece = |out: &mut BytesMut| {
            if self.pace.rest(worked.elapsed()) {
                return Err(io::Error::other("it is not wanted any more"));
            }
            worked = Instant::now();
            Ok(put_piece(&shared.tree.read(), cut, out))
        };
        match write_snapshot(directories, cut, &mut next_piece, &self.options) {
            Ok(done) => {
                let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                shared.metrics.snapshot_time.add(millis);
                tracing::info!(zxid = %done.zxid, bytes = done.bytes, millis, "snapshot written");
            }
            Err(_) if self.pace.state.lock().is_there() => {
                tracing::info!(zxid = %cut.zxid, "snapshot abandoned; the log is kept");
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

//! Who appends to the log: a thread of its own, or a task where nothing may block.
//!
//! What is asked for while an fsync runs makes the next batch, and so the next fsync: group commit.

#![allow(clippy::disallowed_methods, reason = "the driver owns the log thread")]

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};
use tokio::{sync::oneshot, time::timeout};

use super::{
    mailbox::Mailbox,
    space::{GLANCE, Space},
};
use crate::{
    config::dynamic::Files,
    error::Fatal,
    peer::{Input, QuorumInput, Shared},
    reconfig::Configurations,
    storage::{
        BackgroundJob, Directories, DiskDone, DiskOp, LogExecutor, RecoveryOptions, put_piece,
        recover, write_snapshot,
    },
    tree::Cut,
};

/// Something for the log to do, in order.
#[derive(Debug)]
pub(super) enum LogWork {
    Op(DiskOp),
    /// Write the tree as the newest snapshot.
    Install(Cut),
    /// Read the disk anew, and go on with this generation.
    Recover(u64),
    /// Write down the ensemble's configuration.
    Configure(Box<Configurations>),
}

/// What the log has still to do.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    ops: Vec<LogWork>,
    closed: bool,
    task: Option<Waker>,
}

impl LogQueue {
    /// Hands over a batch, leaving it empty.
    pub(super) fn append(&self, ops: &mut Vec<LogWork>) {
        if ops.is_empty() {
            return;
        }
        self.change(|inner| inner.ops.append(ops));
    }

    /// Ends the log once everything handed over is done.
    pub(super) fn close(&self) {
        self.change(|inner| inner.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        change(&mut inner);
        let task = inner.task.take();
        drop(inner);
        self.ready.notify_one();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Waits for a batch, blocking, and no longer than `limit`; `false` at the end.
    fn wait(&self, batch: &mut Vec<LogWork>, limit: Option<Duration>) -> bool {
        let mut inner = self.inner.lock();
        while inner.ops.is_empty() && !inner.closed {
            match limit {
                None => self.ready.wait(&mut inner),
                Some(limit) => {
                    if self.ready.wait_for(&mut inner, limit).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::swap(&mut inner.ops, batch);
        !(batch.is_empty() && inner.closed)
    }

    /// Waits for a batch; `false` at the end.
    async fn next(&self, batch: &mut Vec<LogWork>) -> bool {
        poll_fn(|cx| {
            let mut inner = self.inner.lock();
            if inner.ops.is_empty() && !inner.closed {
                inner.task = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut inner.ops, batch);
            Poll::Ready(!batch.is_empty())
        })
        .await
    }
}

/// The log and the way its answers go.
pub(super) struct Log {
    pub(super) executor: LogExecutor,
    pub(super) queue: Arc<LogQueue>,
    pub(super) mailbox: Arc<Mailbox<Input>>,
    pub(super) shared: Arc<Shared>,
    pub(super) space: Space,
    /// What is worth a warning (`fsync.warningthresholdms`).
    pub(super) slow_fsync: Duration,
    /// Held so that nobody else takes them before the log has ended.
    pub(super) directories: Directories,
    /// The files with the ensemble's configuration; none where it does not change, or the disk is no directory.
    pub(super) files: Option<Files>,
    /// How to read the disk anew.
    pub(super) recovery: RecoveryOptions,
}

impl Log {
    /// Runs on a thread of its own, and tells when it has ended.
    pub(super) fn spawn_thread(mut self, ended: oneshot::Sender<()>) -> io::Result<()> {
        let run = move || {
            let mut batch = Vec::new();
            self.look_at_space();
            self.try_files();
            while self.queue.wait(&mut batch, self.patience()) {
                self.execute(&mut batch);
                if let Some(job) = self.executor.background_job() {
                    in_background(job);
                }
            }
            self.executor.close();
            drop(self);
            let _ = ended.send(());
        };
        let thread = std::thread::Builder::new().name("zk-log".to_owned());
        thread.spawn(run).map(drop)
    }

    /// Runs as a task, for disks that do not block.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        self.look_at_space();
        loop {
            let next = self.queue.next(&mut batch);
            let goes_on = match self.patience() {
                None => next.await,
                Some(limit) => timeout(limit, next).await.unwrap_or(true),
            };
            if !goes_on {
                break;
            }
            self.execute(&mut batch);
            if let Some(job) = self.executor.background_job() {
                job.run();
            }
        }
        self.executor.close();
    }

    /// How long to wait for work before the room is looked at again.
    fn patience(&self) -> Option<Duration> {
        self.space.is_low().then_some(GLANCE)
    }

    fn look_at_space(&mut self) {
        if let Some(low) = self.space.look() {
            self.mailbox.push(Input::LowSpace(low));
        }
    }

    fn note(&self, done: &DiskDone) {
        let DiskDone::Synced { sync_time, .. } = done else {
            return;
        };
        let millis = u64::try_from(sync_time.as_millis()).unwrap_or(u64::MAX);
        self.shared.metrics.fsync_time.add(millis);
        if *sync_time >= self.slow_fsync {
            tracing::warn!(millis, "an fsync of the log took long: clients wait for it");
        }
    }

    fn execute(&mut self, batch: &mut Vec<LogWork>) {
        let mut ops = Vec::new();
        for work in batch.drain(..) {
            match work {
                LogWork::Op(op) => ops.push(op),
                LogWork::Install(cut) => {
                    self.execute_ops(std::mem::take(&mut ops));
                    self.install(cut);
                }
                LogWork::Recover(generation) => {
                    self.execute_ops(std::mem::take(&mut ops));
                    self.recover(generation);
                }
                LogWork::Configure(known) => {
                    self.execute_ops(std::mem::take(&mut ops));
                    self.configure(&known);
                }
            }
        }
        match ops.is_empty() {
            // Nothing is logged while there is little room, and there may be more by now.
            true => self.look_at_space(),
            false => self.execute_ops(ops),
        }
    }

    fn install(&self, cut: Cut) {
        let shared = &self.shared;
        let mut next_piece = |out: &mut BytesMut| Ok(put_piece(&shared.tree.read(), &cut, out));
        let options = &self.recovery.snapshot;
        let written = write_snapshot(&self.directories, &cut, &mut next_piece, options);
        let written = written
            .map(drop)
            .map_err(|error| Fatal::io("writing the leader's snapshot", &error));
        let input = QuorumInput::Installed { cut, written };
        self.mailbox.push(Input::Quorum(input));
    }

    /// A member whose files cannot be written starts with an older configuration next time, and with all that its log has
    /// since; as a leader it begins no reconfiguration.
    fn configure(&mut self, known: &Configurations) {
        if let Some(files) = &mut self.files {
            let result = files.write(known);
            self.configured(&result);
        }
    }

    fn try_files(&self) {
        if let Some(files) = &self.files {
            self.configured(&files.can_be_written());
        }
    }

    fn configured(&self, result: &io::Result<()>) {
        if let Err(error) = result {
            tracing::error!(%error, "the configuration files cannot be written");
        }
        let written = result.is_ok();
        let input = QuorumInput::Configured { written };
        self.mailbox.push(Input::Quorum(input));
    }

    fn recover(&mut self, generation: u64) {
        self.executor.close();
        let awaited = self.executor.awaits_sync();
        let recovered = recover(&self.directories, &self.recovery).and_then(|recovered| {
            if recovered.awaits_sync && !awaited {
                // It has taken part with a vote: only a new process does so without.
                return Err(Fatal::new("the log was damaged meanwhile: start again"));
            }
            self.executor = recovered.log;
            let generation = [DiskOp::NewGeneration(generation)];
            self.executor.execute(generation, &mut Vec::new());
            Ok(Box::new(recovered.tree))
        });
        let input = QuorumInput::Recovered(recovered);
        self.mailbox.push(Input::Quorum(input));
    }

    fn execute_ops(&mut self, ops: Vec<DiskOp>) {
        let mut done = Vec::new();
        self.executor.execute(ops, &mut done);
        let mut inputs = done
            .into_iter()
            .inspect(|done| self.note(done))
            .map(Input::Disk)
            .collect();
        self.mailbox.append(&mut inputs);
        self.look_at_space();
    }
}

/// Log space is made by a thread of its own; without one, the log makes it itself when it gets there.
fn in_background(job: BackgroundJob) {
    let thread = std::thread::Builder::new().name("zk-log-space".to_owned());
    if let Err(error) = thread.spawn(move || job.run()) {
        tracing::warn!(%error, "no thread to make log space ahead of need");
    }
}

impl Drop for Log {
    /// A server whose log has died must not look alive.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let fatal = Fatal::new("the log died of a panic");
            self.mailbox.push(Input::Disk(DiskDone::Failed(fatal)));
        }
    }
}

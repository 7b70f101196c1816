//! The peer's task: wait, handle, drain, hand over. If a bug can live here, the seam is wrong.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{Hub, log::LogQueue, snapshot::Snapshots};
use crate::{
    conn::handle::ConnHandle,
    peer::{Input, Output, Peer},
    storage::DiskOp,
    time::Now,
};

/// Drives one peer until the server stops.
pub(super) struct Member {
    pub(super) peer: Peer,
    pub(super) hub: Arc<Hub>,
    pub(super) log: Arc<LogQueue>,
    pub(super) snapshots: Snapshots,
    ops: Vec<DiskOp>,
    wakes: Vec<Arc<ConnHandle>>,
}

impl Member {
    pub(super) fn new(peer: Peer, hub: Arc<Hub>, log: Arc<LogQueue>, snapshots: Snapshots) -> Self {
        Self {
            peer,
            hub,
            log,
            snapshots,
            ops: Vec::new(),
            wakes: Vec::new(),
        }
    }

    /// Runs until the server is told to stop, and then does what was asked for before that.
    pub(super) async fn run(mut self) {
        let mut inputs = Vec::new();
        let hub = self.hub.clone();
        loop {
            tokio::select! {
                () = hub.mailbox.take(&mut inputs) => {}
                () = self.deadline() => inputs.push(Input::Deadline),
                () = hub.stop.cancelled() => break,
            }
            let now = hub.clock.now();
            for input in inputs.drain(..) {
                self.step(now, input);
            }
            self.hand_over().await;
        }
        self.end().await;
    }

    /// Lets the log and the snapshot finish, and every connection's task see that the server stops.
    async fn end(&mut self) {
        self.log.close();
        for conn in self.hub.shared.conns.all() {
            conn.outbox.close();
            conn.outbox.wake();
        }
        self.snapshots.stop().await;
    }

    fn step(&mut self, now: Now, input: Input) {
        self.peer.handle(now, input);
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Disk(op) => self.ops.push(op),
                Output::Wake(conn) => self.wakes.push(conn),
                Output::TakeSnapshot { cut } => self.snapshots.take(cut),
                Output::Stop(fatal) => self.hub.fail(fatal),
            }
        }
    }

    /// First the disk gets its work, then the tasks theirs.
    #[cfg(not(feature = "testing"))]
    async fn hand_over(&mut self) {
        self.log.append(&mut self.ops);
        self.wake();
    }

    /// Under `testing.replyBeforeWrite` the tasks come first, and the disk some time later.
    #[cfg(feature = "testing")]
    async fn hand_over(&mut self) {
        if self.hub.reply_before_write {
            self.wake();
            if !self.ops.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        self.log.append(&mut self.ops);
        self.wake();
    }

    fn wake(&mut self) {
        for conn in self.wakes.drain(..) {
            conn.outbox.wake();
        }
    }

    async fn deadline(&self) {
        match self.peer.next_deadline() {
            Some(at) => {
                let wait = at.saturating_sub(self.hub.clock.now().mono);
                sleep_until(Instant::now() + wait).await;
            }
            None => std::future::pending().await,
        }
    }
}

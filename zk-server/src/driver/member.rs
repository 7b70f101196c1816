//! The peer's task: wait, handle, drain, hand over. If a bug can live here, the seam is wrong.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Hub,
    clock::Clock,
    log::{LogQueue, LogWork},
    quorum::QuorumPorts,
    snapshot::Snapshots,
};
use crate::{
    conn::handle::ConnHandle,
    error::Fatal,
    peer::{Input, Order, Output, Peer, QuorumInput},
    time::Now,
    zab::LeaderInput,
};

/// Drives one peer until the server stops.
pub(super) struct Member {
    pub(super) peer: Peer,
    pub(super) hub: Arc<Hub>,
    pub(super) log: Arc<LogQueue>,
    pub(super) snapshots: Snapshots,
    ops: Vec<LogWork>,
    /// The ports of an ensemble's member.
    quorum: Option<QuorumPorts>,
    wakes: Vec<Arc<ConnHandle>>,
    /// When old snapshots and logs are purged next, if they are.
    next_purge: Option<Duration>,
}

impl Member {
    pub(super) fn new(
        peer: Peer,
        hub: Arc<Hub>,
        log: Arc<LogQueue>,
        snapshots: Snapshots,
        quorum: Option<QuorumPorts>,
    ) -> Self {
        // Apache purges at the start, too.
        let next_purge = hub.config.purge_interval.map(|_| Duration::ZERO);
        Self {
            peer,
            hub,
            log,
            snapshots,
            ops: Vec::new(),
            quorum,
            wakes: Vec::new(),
            next_purge,
        }
    }

    /// Runs until the server is told to stop, and then does what was asked for before that.
    pub(super) async fn run(mut self) {
        let hub = self.hub.clone();
        let mut inputs = Vec::new();
        let mut alarm = Alarm::new();
        let mut stopped = pin!(hub.stop.cancelled());
        if self.quorum.is_some() {
            inputs.push(Input::Quorum(QuorumInput::Start));
        }
        loop {
            alarm.set(self.next_deadline(), &hub.clock);
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = hub.mailbox.take(&mut inputs), if inputs.is_empty() => {}
                () = std::future::ready(()), if !inputs.is_empty() => {}
                () = alarm.rings() => {}
            }
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = hub.wiring.runs() => {}
            }
            let now = hub.clock.now();
            for input in inputs.drain(..) {
                self.step(now, input);
            }
            // Looked at every time: a mailbox that is never empty must not keep sessions from expiring.
            self.meet_deadlines(now);
            if let Some(quorum) = &self.quorum {
                quorum.settle(self.peer.settled());
            }
            self.hand_over().await;
            if self.has_more_to_do(now) {
                // The connections and the port of this thread must not wait until there is nothing to do.
                yield_now().await;
            }
        }
        self.end().await;
    }

    fn has_more_to_do(&self, now: Now) -> bool {
        let is_due = self.next_deadline().is_some_and(|at| at <= now.mono);
        is_due || !self.hub.mailbox.is_empty()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let purge = self.next_purge;
        self.peer.next_deadline().into_iter().chain(purge).min()
    }

    fn meet_deadlines(&mut self, now: Now) {
        if self.peer.next_deadline().is_some_and(|at| at <= now.mono) {
            self.step(now, Input::Deadline);
        }
        if self.next_purge.is_some_and(|at| at <= now.mono) {
            let config = &self.hub.config;
            self.next_purge = config.purge_interval.map(|interval| now.mono + interval);
            self.snapshots.purge(config.snap_retain_count as usize);
        }
    }

    /// Lets the log and the snapshot finish, and every connection's task see that the server stops.
    async fn end(&mut self) {
        self.let_go();
        self.snapshots.ended().await;
    }

    /// Tells everybody that nothing more comes from here; may be repeated.
    fn let_go(&self) {
        self.hub.stop();
        self.log.close();
        self.snapshots.abandon();
        for conn in self.hub.shared.conns.all() {
            conn.outbox.close();
            conn.outbox.wake();
        }
    }

    fn step(&mut self, now: Now, input: Input) {
        if let Input::Quorum(QuorumInput::Leader(LeaderInput::Closed(link))) = &input {
            self.snapshots.forget_read(*link);
        }
        self.peer.handle(now, input);
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Disk(op) => self.ops.push(LogWork::Op(op)),
                Output::Quorum(Order::InstallSnapshot { cut }) => {
                    self.ops.push(LogWork::Install(cut));
                }
                Output::Quorum(Order::Recover { generation }) => {
                    self.ops.push(LogWork::Recover(generation));
                }
                Output::Quorum(Order::AbandonSnapshot) => self.snapshots.give_up(),
                Output::Quorum(Order::ReadLog { link, from, limit }) => {
                    self.snapshots.read_log(link, from, limit);
                }
                Output::Quorum(Order::SendHistory {
                    link,
                    logged,
                    records,
                }) => {
                    let logged =
                        logged.map(|(after, until)| self.snapshots.stream_log(after, until));
                    if let Some(quorum) = &self.quorum {
                        quorum.send_history(link, logged, records);
                    }
                }
                Output::Quorum(Order::Configure(known)) => {
                    if let Some(quorum) = &mut self.quorum {
                        quorum.configure(&known);
                    }
                    self.ops.push(LogWork::Configure(Box::new(known)));
                }
                Output::Quorum(order) => {
                    match &order {
                        Order::Close { link } => self.snapshots.forget_read(*link),
                        Order::CloseLinks => self.snapshots.forget_reads(),
                        _ => {}
                    }
                    if let Some(quorum) = &mut self.quorum {
                        quorum.carry_out(order);
                    }
                }
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
                tokio::time::sleep(Duration::from_millis(5)).await;
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
}

impl Drop for Member {
    /// A server whose peer has died, or was dropped with its runtime, must neither look alive nor keep its log's
    /// thread and directories.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.hub.fail(Fatal::new("the peer died of a panic"));
        }
        self.let_go();
    }
}

/// A timer that is touched only when the deadline moves.
struct Alarm {
    at: Option<Duration>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            at: None,
            sleep: Box::pin(sleep_until(Instant::now())),
        }
    }

    fn set(&mut self, at: Option<Duration>, clock: &Clock) {
        if let Some(at) = at
            && self.at != Some(at)
        {
            let wait = at.saturating_sub(clock.now().mono);
            self.sleep.as_mut().reset(Instant::now() + wait);
        }
        self.at = at;
    }

    /// Resolves at the deadline; never without one. Once it has, the next [`set`](Self::set) winds it up again.
    async fn rings(&mut self) {
        if self.at.is_none() {
            return std::future::pending().await;
        }
        self.sleep.as_mut().await;
        self.at = None;
    }
}

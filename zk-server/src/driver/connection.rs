//! The task of one connection: one read syscall, decode everything, one tree lock, one write syscall.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use super::{Hub, alarm::Alarm, four_letter, intake::Intake, net::Transport};
use crate::{
    conn::{
        CloseReason, Connection,
        handle::ConnHandle,
        outbox::{Collected, Established},
        reads::Reads,
    },
    frames::Frames,
    peer::{Input, Submit},
    time::Now,
};

/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;
/// How long the other side may take to notice that the connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Above this, an empty buffer is given back.
const KEEP: usize = 64 << 10;

/// One connection, from its first byte to its last.
pub(super) struct ConnectionTask {
    io: Transport,
    core: Connection,
    handle: Arc<ConnHandle>,
    hub: Arc<Hub>,
    input: Intake,
    output: Frames,
    reads: Reads,
    seen: Collected,
    session: Option<Established>,
    phase: Phase,
    stuck_since: Option<Duration>,
    alarm: Alarm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Send what is left, then say that nothing follows.
    Flushing {
        /// How long the other side may take none of it.
        until: Duration,
    },
    /// Wait for the other side to close too, so that our last frame is not lost to a reset.
    Lingering {
        until: Duration,
    },
}

impl ConnectionTask {
    pub(super) fn new(io: Transport, handle: Arc<ConnHandle>, hub: Arc<Hub>) -> Self {
        Self {
            core: Connection::new(hub.conn_limits, hub.clock.now()),
            io,
            handle,
            hub,
            input: Intake::default(),
            output: Frames::new(),
            reads: Reads::default(),
            seen: Collected::default(),
            session: None,
            phase: Phase::Serving,
            stuck_since: None,
            alarm: Alarm::default(),
        }
    }

    /// Serves the connection to its end, and tells the peer.
    pub(super) async fn run(mut self) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        let (remote, session) = (self.handle.remote, self.handle.stats.session());
        tracing::debug!(%remote, %session, %reason, "connection closed");
        self.count_end(reason);
        let conn = self.handle.clone();
        self.hub
            .mailbox
            .push(Input::Submit(Submit::Closed { conn }));
    }

    fn count_end(&self, reason: CloseReason) {
        let metrics = &self.hub.shared.metrics;
        match reason {
            CloseReason::NoSession => metrics.sessionless_expired.add(1),
            CloseReason::ByPeer => metrics.connections_dropped.add(1),
            _ => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.handle.outbox.register(cx.waker());
        if self.hub.is_stopping() {
            return Poll::Ready(CloseReason::ByServer);
        }
        if self.hub.wiring.poll_runs(cx).is_pending() {
            return Poll::Pending;
        }
        let now = self.hub.clock.now();
        for _ in 0..ROUNDS {
            match self.round(cx, now) {
                Ok(true) => {}
                Ok(false) => return self.poll_alarm(cx, now),
                Err(reason) => return Poll::Ready(reason),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, decodes, carries out and writes once; returns whether there may be more to do at once.
    fn round(&mut self, cx: &mut Context<'_>, now: Now) -> Result<bool, CloseReason> {
        self.collect(now)?;
        let was_reading = self.wants_read();
        self.core.hold(!was_reading);
        let read = self.read(cx, now)?;
        let frames = self.core.receive(now, &mut self.input.bytes)?;
        self.input.settle();
        if frames > 0 {
            self.hub.shared.metrics.packets_received.add(frames);
            self.handle.stats.received.fetch_add(frames, Relaxed);
        }
        let was_short = self.is_output_short();
        let more = was_short && self.carry_out(now)?;
        let answered = self.seen.answered;
        self.collect(now)?;
        self.write(cx, now)?;
        self.shut_down(cx, now)?;
        let answers = self.seen.answered != answered && self.core.queued() > 0;
        // Where there was no room to read, nothing wakes this task for what waits in the socket.
        let room = !was_reading && self.wants_read();
        // And nothing but the socket wakes it for what had to stay in the outbox.
        let left = self.seen.more && self.is_output_short();
        // Nor for requests that were decoded and not carried out because the output was full, and is no more.
        let due = !was_short && self.is_output_short() && self.core.queued() > 0;
        Ok(read || answers || more || room || left || due)
    }

    /// Takes over what the outbox holds.
    fn collect(&mut self, now: Now) -> Result<(), CloseReason> {
        let most = self.hub.conn_limits.max_outbox;
        self.seen = self.handle.outbox.collect(&mut self.output, most);
        if self.seen.overflowed {
            return Err(CloseReason::NotReading);
        }
        if self.session.is_none()
            && let Some(established) = self.seen.established
        {
            self.session = Some(established);
            self.core
                .established(Duration::from_millis(established.timeout_ms.into()));
            let stats = &self.handle.stats;
            stats.session.store(established.session.0, Relaxed);
            stats.timeout_ms.store(established.timeout_ms, Relaxed);
        }
        if self.seen.closing && self.phase == Phase::Serving {
            self.core.end();
            self.phase = self.flushing(now);
        }
        Ok(())
    }

    fn flushing(&self, now: Now) -> Phase {
        let until = now.mono + self.hub.conn_limits.stuck_timeout;
        Phase::Flushing { until }
    }

    /// Whether there is room for more requests and their answers.
    fn wants_read(&self) -> bool {
        self.core.wants_input() && self.is_output_short() && !self.is_throttled()
    }

    /// Whether the client takes its answers.
    fn is_output_short(&self) -> bool {
        self.output.len() < self.hub.conn_limits.max_outbox
    }

    /// Whether the server has enough to do (`globalOutstandingLimit`): whoever awaits an answer is not read from
    /// until one comes, which wakes this task.
    fn is_throttled(&self) -> bool {
        self.core.awaits_answers() && self.hub.shared.is_over_limit()
    }

    /// Reads once, if more may come in; returns whether it did.
    fn read(&mut self, cx: &mut Context<'_>, now: Now) -> Result<bool, CloseReason> {
        let wanted = match self.phase {
            Phase::Serving => self.wants_read(),
            Phase::Flushing { .. } => false,
            Phase::Lingering { .. } => true,
        };
        if !wanted {
            return Ok(false);
        }
        match self.input.poll_read(Pin::new(&mut self.io), cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => Err(match self.phase {
                Phase::Serving => CloseReason::ByPeer,
                _ => CloseReason::ByServer,
            }),
            Poll::Ready(Ok(n)) => {
                self.handle.heard(now);
                self.hub.shared.metrics.bytes_received.add(n as u64);
                if self.phase != Phase::Serving {
                    self.input.clear();
                }
                Ok(true)
            }
        }
    }

    /// Carries out what is due; returns whether more may be due at once.
    fn carry_out(&mut self, now: Now) -> Result<bool, CloseReason> {
        let shared = &self.hub.shared;
        let answered = self.seen.answered;
        let handed = self
            .reads
            .carry_out(&mut self.core, answered, shared, &self.handle, now)?;
        if let Some(request) = handed.connect {
            let conn = self.handle.clone();
            let submit = Submit::Connect { conn, request };
            self.hub.mailbox.push(Input::Submit(submit));
        }
        if let Some((word, argument)) = handed.word {
            four_letter::answer(&self.hub, &self.handle, word, argument, now);
        }
        if !handed.requests.is_empty() {
            let submit = Submit::Requests {
                conn: self.handle.clone(),
                credentials: self.handle.credentials(),
                received: now.mono,
                requests: handed.requests,
            };
            self.hub.mailbox.push(Input::Submit(submit));
        }
        Ok(handed.more)
    }

    /// Writes as much as the socket takes.
    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> Result<(), CloseReason> {
        while !self.output.is_empty() {
            let was_full = !self.is_output_short();
            match poll_write_buf(Pin::new(&mut self.io), cx, &mut self.output) {
                Poll::Pending => {
                    self.stuck_since = match self.stuck_since {
                        Some(since) if was_full => Some(since),
                        None if was_full => Some(now.mono),
                        _ => None,
                    };
                    return Ok(());
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.stuck_since = None;
                    if let Phase::Flushing { .. } = self.phase {
                        self.phase = self.flushing(now);
                    }
                    if was_full {
                        // Its pings are not read meanwhile; that it takes its answers shows that it lives.
                        self.handle.heard(now);
                    }
                    self.hub.shared.metrics.response_bytes.add(n as u64);
                }
                Poll::Ready(_) => return Err(CloseReason::ByPeer),
            }
        }
        if self.output.capacity() > KEEP {
            self.output = Frames::new();
        }
        Ok(())
    }

    /// Once everything is out and nothing may follow: says so, and waits for the other side to do the same.
    fn shut_down(&mut self, cx: &mut Context<'_>, now: Now) -> Result<(), CloseReason> {
        let Phase::Flushing { .. } = self.phase else {
            return Ok(());
        };
        if self.seen.more || !self.output.is_empty() {
            return Ok(());
        }
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Err(_)) => Err(CloseReason::ByServer),
            Poll::Ready(Ok(())) => {
                self.input.clear();
                let until = now.mono + LINGER;
                self.phase = Phase::Lingering { until };
                cx.waker().wake_by_ref();
                Ok(())
            }
        }
    }

    /// Looks at the deadlines, and sets the alarm for the next one.
    fn poll_alarm(&mut self, cx: &mut Context<'_>, now: Now) -> Poll<CloseReason> {
        match self.next_deadline() {
            Some(at) => self.alarm.poll(cx, at, now).map(|()| self.late(now)),
            None => Poll::Pending,
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Flushing { until } | Phase::Lingering { until } => Some(until),
            Phase::Serving => [self.core.next_deadline(), self.stuck_until()]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    fn stuck_until(&self) -> Option<Duration> {
        Some(self.stuck_since? + self.hub.conn_limits.stuck_timeout)
    }

    /// What the deadline that has passed means.
    fn late(&self, now: Now) -> CloseReason {
        match self.phase {
            Phase::Flushing { .. } | Phase::Lingering { .. } => CloseReason::ByServer,
            Phase::Serving => self
                .core
                .check_deadline(now)
                .unwrap_or(CloseReason::NotReading),
        }
    }
}

//! The loop: every connection in one epoll set, on one thread.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use super::{
    Result,
    connection::Connection,
    session::{ANSWER_LIMIT, Session},
    usage::{self, Usage},
    work::{Shape, created_by},
};

/// How long the loop sleeps at most without an answer.
const NAP: Duration = Duration::from_millis(500);

/// What has been answered since the last reset.
#[derive(Debug)]
pub(crate) struct Tally {
    latency_ns: Histogram<u64>,
}

/// A measured window.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) ops: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latency_ns: Histogram<u64>,
    /// Of the server processes, where any were given.
    pub(crate) servers: Option<Usage>,
    /// Of this process.
    pub(crate) client_cpu: Duration,
}

/// The loaded connections.
#[derive(Debug)]
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    tally: Tally,
}

impl Tally {
    fn new() -> Result<Self> {
        // From a microsecond to a minute, three digits.
        let latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
        Ok(Self { latency_ns })
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(nanos);
    }
}

impl Engine {
    /// Opens the sessions, spread evenly over `targets`, and starts the load.
    pub(crate) fn connect(targets: &[SocketAddr], shape: &Shape) -> Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(shape.connections);
        for (index, target) in targets.iter().cycle().take(shape.connections).enumerate() {
            let mut session = Session::open(*target)?;
            session.ensure(&created_by(session.id))?;
            session.sync()?;
            let mut connection = Connection::new(session, shape, index as u64)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(connection.stream_mut(), Token(index), interest)?;
            connections.push(connection);
        }
        let now = Instant::now();
        for connection in &mut connections {
            connection.start(now)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(shape.connections.clamp(16, 1024)),
            connections,
            tally: Tally::new()?,
        })
    }

    /// Loads for `warmup`, then for `duration`, and reports the second.
    pub(crate) fn measure(
        &mut self,
        warmup: Duration,
        duration: Duration,
        pids: &[u32],
    ) -> Result<Measured> {
        self.run_for(warmup)?;
        self.tally = Tally::new()?;
        let own = [std::process::id()];
        let (servers, client) = (usage::of(pids)?, usage::of(&own)?);
        let started = Instant::now();
        self.run_for(duration)?;
        let elapsed = started.elapsed();
        let (servers_after, client_after) = (usage::of(pids)?, usage::of(&own)?);
        let latency_ns = std::mem::replace(&mut self.tally, Tally::new()?).latency_ns;
        Ok(Measured {
            ops: latency_ns.len(),
            elapsed,
            latency_ns,
            servers: (!pids.is_empty()).then(|| servers_after.since(&servers)),
            client_cpu: client_after.since(&client).cpu,
        })
    }

    /// Loads for this long.
    pub(crate) fn run_for(&mut self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for the answers still to come and closes the sessions.
    pub(crate) fn finish(mut self) -> Result<()> {
        for connection in &mut self.connections {
            connection.drain();
        }
        while self.connections.iter().any(Connection::is_waiting) {
            self.turn()?;
        }
        for connection in &mut self.connections {
            connection.close()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(NAP)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        if self.events.is_empty() {
            return self.check_for_silence();
        }
        for event in &self.events {
            if let Some(connection) = self.connections.get_mut(event.token().0) {
                connection.pump(&mut self.tally)?;
            }
        }
        Ok(())
    }

    fn check_for_silence(&self) -> Result<()> {
        let oldest = self
            .connections
            .iter()
            .filter_map(Connection::waiting_since)
            .min();
        match oldest {
            Some(since) if since.elapsed() > ANSWER_LIMIT => {
                Err("the server has stopped answering".into())
            }
            _ => Ok(()),
        }
    }
}

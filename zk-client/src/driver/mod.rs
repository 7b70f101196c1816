//! The one task that owns a client's socket: wait, handle, drain.
//!
//! What is ready is handled before anything is written, so that the requests of one turn leave in one write.
//! Every decision is the [`Session`]'s.

mod clock;
mod dial;
mod inbox;
#[cfg(feature = "sasl")]
mod sasl;
mod shared;
#[cfg(feature = "tls-no-provider")]
pub(crate) mod tls;
mod transport;

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use fastrand::Rng;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep};

use crate::{
    core::{Batch, Config, Host, Input, Moment, Output, Session},
    observe,
};

pub(crate) use clock::Clock;
pub(crate) use dial::Dialer;
pub(crate) use inbox::Ticket;
pub(crate) use shared::{Settings, Shared};
use transport::Transport;
pub use transport::{Net, Stream, TcpNet};

/// Above so many unwritten bytes, writing comes before reading and taking commands.
const BACKLOG_MAX: usize = 64 * 1024;
/// Every so many turns writing comes first.
const TURNS_PER_WRITE: u32 = 16;
/// Every so many turns other tasks get theirs.
const TURNS_PER_YIELD: u32 = 64;

/// The task's state.
pub(crate) struct Driver {
    session: Session,
    shared: Arc<Shared>,
    dialer: Dialer,
    rng: Rng,
    /// Whom the last dial was to.
    dialed: Vec<Host>,
    link: Link,
    search: Option<BoxFuture<'static, Option<Host>>>,
    #[cfg(feature = "sasl")]
    sasl: sasl::Sasl,
    batch: Batch,
    timer: Timer,
}

enum Link {
    Down,
    Dialing(BoxFuture<'static, io::Result<(usize, Box<dyn Stream>)>>),
    Up(Transport),
}

/// What woke the driver up.
enum Event {
    Commands,
    Dialed(io::Result<(usize, Box<dyn Stream>)>),
    Received,
    LinkClosed(Option<io::Error>),
    Searched(Option<Host>),
    #[cfg(feature = "sasl")]
    Sasl(crate::core::SaslStep),
    Deadline,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, dialer: Dialer, config: Config) -> Self {
        let rng = Rng::with_seed(config.seed.wrapping_add(1));
        let session = Session::new(shared.clock.now(), config);
        let (link, batch, timer) = (Link::Down, Batch::default(), Timer::default());
        Self {
            session,
            shared,
            dialer,
            rng,
            dialed: Vec::new(),
            link,
            search: None,
            #[cfg(feature = "sasl")]
            sasl: sasl::Sasl::default(),
            batch,
            timer,
        }
    }

    /// The same with a mechanism for the conversations that the session asks for.
    #[cfg(feature = "sasl")]
    pub(crate) fn with_sasl(mut self, mechanism: Option<Arc<dyn crate::sasl::Mechanism>>) -> Self {
        self.sasl = sasl::Sasl::new(mechanism);
        self
    }

    /// Runs until the client is closed.
    pub(crate) async fn run(mut self) {
        let mut turn = 0_u32;
        while self.drain() {
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(TURNS_PER_YIELD) {
                tokio::task::yield_now().await;
            }
            let hurry = turn.is_multiple_of(TURNS_PER_WRITE);
            let event = std::future::poll_fn(|cx| self.poll_event(cx, hurry)).await;
            self.handle(event);
        }
        // The last bytes are the request to close, written before its answer came: nothing is left to write.
    }

    /// Does everything the session wants; false when it wants nothing any more.
    fn drain(&mut self) -> bool {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Dial(hosts) => self.dial(hosts),
                Output::Hangup => self.hang_up(),
                Output::Write(bytes) => {
                    if let Link::Up(transport) = &mut self.link {
                        transport.write(bytes);
                    }
                }
                Output::Search(hosts) => {
                    let search = dial::search(self.dialer.clone(), hosts, self.rng.fork());
                    self.search = Some(Box::pin(search));
                }
                Output::SaslBegin | Output::SaslChallenge(_) => self.converse(output),
                // A caller that does not wait any more is no failure.
                Output::Complete { slot, result } => slot.send(result),
                Output::Notify { watcher, event } => drop(watcher.send(event)),
                Output::Stream { queue, event } => queue.push(event),
                Output::Session(info) => self.shared.set_session(info),
                Output::SessionEnded { generation, reason } => {
                    self.shared.session_ended(generation, reason);
                }
                Output::State(state) => {
                    observe::state(&self.shared, state);
                    self.shared.states.announce(state);
                }
                Output::Evidence(state) => {
                    observe::evidence(&self.shared, state);
                    self.shared.evidence.send_replace(state);
                }
                Output::Release { commands, bytes } => self.shared.inbox.release(commands, bytes),
                Output::Stop => return false,
            }
        }
        true
    }

    fn dial(&mut self, hosts: Vec<Host>) {
        self.dialed.clone_from(&hosts);
        let attempt = dial::dial(self.dialer.clone(), hosts, self.rng.fork());
        self.link = Link::Dialing(Box::pin(attempt));
    }

    fn hang_up(&mut self) {
        self.link = Link::Down;
        self.search = None;
        #[cfg(feature = "sasl")]
        self.sasl.end();
    }

    #[cfg(feature = "sasl")]
    fn converse(&mut self, output: Output) {
        match output {
            Output::SaslChallenge(challenge) => self.sasl.challenge(challenge),
            _ => self.sasl.begin(self.dialed.first()),
        }
    }

    /// Without the feature no session is told to ask for a conversation.
    #[cfg(not(feature = "sasl"))]
    fn converse(&mut self, _: Output) {}

    fn handle(&mut self, event: Event) {
        let now = self.shared.clock.now();
        if matches!(event, Event::Received) {
            self.shared.heard(now);
        }
        if matches!(event, Event::Deadline) {
            self.shared.inbox.expire(now);
        }
        let input = match (event, &mut self.link) {
            (Event::Commands, _) => Input::Commands(&mut self.batch),
            (Event::Received, Link::Up(transport)) => Input::Received(&mut transport.input),
            (Event::Dialed(Ok((place, stream))), _) => {
                self.link = Link::Up(Transport::new(stream));
                self.dialed.drain(..place);
                Input::Dialed(place)
            }
            (Event::Dialed(Err(error)), _) => Input::DialFailed(Arc::new(error)),
            (Event::Searched(found), _) => Input::Searched(found),
            #[cfg(feature = "sasl")]
            (Event::Sasl(step), _) => Input::Sasl(step),
            (Event::LinkClosed(error), _) => Input::LinkClosed(error.map(source)),
            (Event::Deadline | Event::Received, _) => Input::Deadline,
        };
        self.session.handle(now, input);
    }

    fn poll_event(&mut self, cx: &mut Context<'_>, hurry: bool) -> Poll<Event> {
        if let Link::Up(transport) = &mut self.link
            && (hurry || transport.backlog() > BACKLOG_MAX)
            && let Poll::Ready(Err(error)) = transport.poll_write(cx)
        {
            return Poll::Ready(Event::LinkClosed(Some(error)));
        }
        if let Poll::Ready(event) = self.poll_link(cx) {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.poll_aside(cx) {
            return Poll::Ready(event);
        }
        if self.shared.inbox.poll_take(cx, &mut self.batch).is_ready() {
            return Poll::Ready(Event::Commands);
        }
        if let Link::Up(transport) = &mut self.link
            && let Poll::Ready(Err(error)) = transport.poll_write(cx)
        {
            return Poll::Ready(Event::LinkClosed(Some(error)));
        }
        let waiting = self.shared.inbox.next_deadline();
        match self
            .session
            .next_deadline()
            .into_iter()
            .chain(waiting)
            .min()
        {
            None => Poll::Pending,
            Some(deadline) => self
                .timer
                .poll(cx, deadline, self.shared.clock)
                .map(|()| Event::Deadline),
        }
    }

    /// What goes on beside the connection, rarely.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        #[cfg(feature = "sasl")]
        if let Poll::Ready(step) = self.sasl.poll(cx) {
            return Poll::Ready(Event::Sasl(step));
        }
        let Some(search) = &mut self.search else {
            return Poll::Pending;
        };
        let found = ready!(search.as_mut().poll(cx));
        self.search = None;
        Poll::Ready(Event::Searched(found))
    }

    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match &mut self.link {
            Link::Down => Poll::Pending,
            Link::Dialing(attempt) => {
                let result = ready!(attempt.as_mut().poll(cx));
                self.link = Link::Down;
                Poll::Ready(Event::Dialed(result))
            }
            Link::Up(transport) => Poll::Ready(match ready!(transport.poll_read(cx)) {
                Ok(0) => Event::LinkClosed(None),
                Ok(_) => Event::Received,
                Err(error) => Event::LinkClosed(Some(error)),
            }),
        }
    }
}

impl Drop for Driver {
    /// Also when the runtime is shut down under the task: nobody waits for ever.
    fn drop(&mut self) {
        self.shared.driver_gone();
    }
}

fn source(error: io::Error) -> Arc<dyn StdError + Send + Sync> {
    Arc::new(error)
}

/// A timer that is only moved when it would ring too late; ringing early is harmless and rare.
#[derive(Default)]
struct Timer {
    armed: Option<(Moment, Pin<Box<Sleep>>)>,
}

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Moment, clock: Clock) -> Poll<()> {
        match &mut self.armed {
            Some((at, _)) if *at <= deadline => {}
            Some((at, sleep)) => {
                sleep
                    .as_mut()
                    .reset(Instant::now() + delay(deadline, clock));
                *at = deadline;
            }
            None => {
                let sleep = tokio::time::sleep(delay(deadline, clock));
                self.armed = Some((deadline, Box::pin(sleep)));
            }
        }
        let Some((_, sleep)) = &mut self.armed else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(cx));
        self.armed = None;
        Poll::Ready(())
    }
}

/// Not longer than a day: to ring early is harmless, and clocks cannot add any duration.
fn delay(deadline: Moment, clock: Clock) -> Duration {
    deadline.since(clock.now()).min(Duration::from_secs(86_400))
}

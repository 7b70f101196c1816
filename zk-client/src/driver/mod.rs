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
    /// The time of the last event.
    now: Moment,
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
        let now = shared.clock.now();
        let session = Session::new(now, config);
        let (link, batch, timer) = (Link::Down, Batch::default(), Timer::default());
        Self {
            session,
            shared,
            now,
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

    /// The same with its first request numbered so.
    #[cfg(feature = "testing")]
    pub(crate) fn numbering_from(mut self, xid: Option<zk_proto::Xid>) -> Self {
        if let Some(xid) = xid {
            self.session.number_from(xid);
        }
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
                Output::Complete { slot, result } => slot.send(result, self.now),
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
                    self.timer.hurry(state.until.is_some());
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
            Output::SaslChallenge(challenge) => self.sasl.challenge(challenge.0),
            _ => self.sasl.begin(self.dialed.first()),
        }
    }

    /// Without the feature no session is told to ask for a conversation.
    #[cfg(not(feature = "sasl"))]
    fn converse(&mut self, _: Output) {}

    fn handle(&mut self, event: Event) {
        let now = self.shared.clock.now();
        self.now = now;
        let received = matches!(event, Event::Received);
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
        if received {
            self.shared.proved(self.session.last_proof());
        }
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
        self.shared.driver_gone(self.now);
    }
}

fn source(error: io::Error) -> Arc<dyn StdError + Send + Sync> {
    Arc::new(error)
}

/// How long a timer sleeps at most. tokio's timers stand still while the machine sleeps and the client's clock does not, so
/// after waking up a deadline is noticed so late; as long as somebody holds evidence, less.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
const LONGEST_SLEEP_WITH_EVIDENCE: Duration = Duration::from_millis(500);

/// A timer that is only moved when it would ring too late; ringing early is harmless and rare.
#[derive(Default)]
struct Timer {
    armed: Option<(Moment, Pin<Box<Sleep>>)>,
    hurried: bool,
}

impl Timer {
    /// Looks at the clock more often, or less, from now on.
    fn hurry(&mut self, hurried: bool) {
        if hurried && !self.hurried {
            self.armed = None;
        }
        self.hurried = hurried;
    }

    /// Ringing early is harmless.
    fn delay(&self, deadline: Moment, clock: Clock) -> Duration {
        let longest = match (clock.sleeps(), self.hurried) {
            // Clocks cannot add any duration.
            (true, _) => Duration::from_secs(86_400),
            (false, true) => LONGEST_SLEEP_WITH_EVIDENCE,
            (false, false) => LONGEST_SLEEP,
        };
        deadline.since(clock.now()).min(longest)
    }

    fn poll(&mut self, cx: &mut Context<'_>, deadline: Moment, clock: Clock) -> Poll<()> {
        if !matches!(&self.armed, Some((at, _)) if *at <= deadline) {
            let delay = self.delay(deadline, clock);
            match &mut self.armed {
                Some((at, sleep)) => {
                    sleep.as_mut().reset(Instant::now() + delay);
                    *at = deadline;
                }
                None => {
                    let sleep = tokio::time::sleep(delay);
                    self.armed = Some((deadline, Box::pin(sleep)));
                }
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicU64};

    use super::*;

    /// tokio's clock is paused, and advances by what the timer sleeps.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_passed_while_the_machine_slept_is_noticed_soon() {
        for (hurried, longest) in [(true, LONGEST_SLEEP_WITH_EVIDENCE), (false, LONGEST_SLEEP)] {
            let millis = Box::leak(Box::new(AtomicU64::new(0)));
            let clock = Clock::Test(millis);
            let deadline = Moment(Duration::from_secs(19));
            let mut timer = Timer::default();
            let armed = poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline, clock))).await;
            assert!(armed.is_pending());
            timer.hurry(hurried);
            let armed = poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline, clock))).await;
            assert!(armed.is_pending());
            // The machine sleeps for an hour: the client's clock goes on, tokio's does not.
            millis.store(3_600_000, std::sync::atomic::Ordering::Relaxed);
            let awake = Instant::now();
            poll_fn(|cx| timer.poll(cx, deadline, clock)).await;
            assert!(awake.elapsed() <= longest + Duration::from_millis(1));
        }
    }
}

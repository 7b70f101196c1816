//! Where callers leave their commands for the driver's task.
//!
//! One mutex around one [`Batch`]: callers encode straight into its buffer, and the driver takes the whole
//! batch at once, giving an empty one with its memory back. The order of submission is the order of taking the
//! mutex.
//!
//! Requests are bounded, in number and in bytes: beyond the limit of unanswered ones a caller waits, first come, first served. What
//! must not wait (the release of a watch or of evidence, closing) is not counted. Waiting counts towards the
//! request timeout.

use std::{
    collections::{BTreeSet, VecDeque},
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::{
    core::{Batch, Command, Moment},
    error::{ErrorKind, Failure},
};

#[derive(Debug)]
pub(crate) struct Inbox {
    limit: usize,
    byte_limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    batch: Batch,
    driver: Option<Waker>,
    closed: bool,
    /// Requests handed in and not answered.
    outstanding: usize,
    /// The bytes of their frames.
    outstanding_bytes: usize,
    /// In the order of arrival.
    waiting: VecDeque<(Ticket, Waker)>,
    /// When each of them gives up: not in the order of arrival, since an operation may have a limit of its own.
    deadlines: BTreeSet<(Moment, u64)>,
    next_ticket: u64,
}

/// A place in the queue before the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    number: u64,
    /// When its holder gives up.
    pub(crate) deadline: Moment,
}

impl Inbox {
    pub(crate) fn new(limit: usize, byte_limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            byte_limit: byte_limit.max(1),
            inner: Mutex::default(),
        }
    }

    /// Submits one request as soon as there is room.
    ///
    /// `ticket` keeps the caller's place between polls; a caller that gives up hands it to
    /// [`leave`](Self::leave). A caller that waited submits with the deadline of its ticket.
    pub(crate) fn poll_submit<T>(
        &self,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
        deadline: impl FnOnce() -> Moment,
        push: impl FnOnce(&mut Batch, Option<Moment>) -> Result<T, Failure>,
    ) -> Poll<Result<T, Failure>> {
        let mut inner = self.inner.lock();
        if inner.closed {
            *ticket = None;
            return Poll::Ready(Err(Failure::not_applied(ErrorKind::Closed)));
        }
        let place = match ticket {
            None => Some(inner.waiting.len()),
            Some(ticket) => inner.place_of(*ticket),
        };
        let Some(place) = place else {
            *ticket = None;
            return Poll::Ready(Err(Failure::not_applied(ErrorKind::OperationTimeout)));
        };
        if place >= self.room(&inner) {
            inner.wait(ticket, deadline, waker);
            return Poll::Pending;
        }
        let waited = ticket.take();
        if waited.is_some() {
            inner.remove(place);
        }
        let result = push(&mut inner.batch, waited.map(|ticket| ticket.deadline));
        if result.is_ok() {
            inner.outstanding += 1;
            inner.outstanding_bytes += inner.batch.last_frame_len();
            inner.wake_driver();
        } else {
            // Its place is somebody else's now.
            self.wake_waiting(&mut inner);
        }
        Poll::Ready(result)
    }

    /// Submits what is not counted. Whether anybody is there to take it does not matter to the caller.
    pub(crate) fn push(&self, command: Command) -> Result<(), Failure> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Failure::not_applied(ErrorKind::Closed));
        }
        inner.batch.push(command);
        inner.wake_driver();
        Ok(())
    }

    /// Gives up a place in the queue.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut inner = self.inner.lock();
        if let Some(place) = inner.place_of(ticket) {
            inner.remove(place);
        }
        self.wake_waiting(&mut inner);
    }

    /// Makes room for as many requests as were answered.
    pub(crate) fn release(&self, answered: usize, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.outstanding_bytes = inner.outstanding_bytes.saturating_sub(bytes);
        inner.outstanding = inner.outstanding.saturating_sub(answered);
        self.wake_waiting(&mut inner);
    }

    /// When the first caller has waited long enough.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let inner = self.inner.lock();
        inner.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Sends those away who have waited long enough.
    pub(crate) fn expire(&self, now: Moment) {
        let mut inner = self.inner.lock();
        let mut expired = false;
        while let Some(&(deadline, number)) = inner.deadlines.first()
            && deadline <= now
        {
            expired = true;
            match inner.place_of(Ticket { number, deadline }) {
                Some(place) => inner.remove(place).into_iter().for_each(Waker::wake),
                None => drop(inner.deadlines.pop_first()),
            }
        }
        if expired {
            self.wake_waiting(&mut inner);
        }
    }

    /// Exchanges what was submitted for `batch`, which must be empty.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.batch.is_empty() {
            inner.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut inner.batch, batch);
        Poll::Ready(())
    }

    /// Nobody takes anything any more: what is left was sent to no server, and who waits is told so.
    pub(crate) fn close(&self, now: Moment) {
        let (batch, waiting) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            inner.deadlines.clear();
            (
                std::mem::take(&mut inner.batch),
                std::mem::take(&mut inner.waiting),
            )
        };
        for slot in batch
            .commands
            .into_iter()
            .filter_map(|command| command.slot)
        {
            slot.send(Err(Failure::not_applied(ErrorKind::Closed)), now);
        }
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    fn room(&self, inner: &Inner) -> usize {
        match inner.outstanding_bytes < self.byte_limit {
            true => self.limit.saturating_sub(inner.outstanding),
            false => 0,
        }
    }

    fn wake_waiting(&self, inner: &mut Inner) {
        for (_, waker) in inner.waiting.iter().take(self.room(inner)) {
            waker.wake_by_ref();
        }
    }
}

impl Inner {
    fn place_of(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.iter().position(|(other, _)| *other == ticket)
    }

    fn remove(&mut self, place: usize) -> Option<Waker> {
        let (ticket, waker) = self.waiting.remove(place)?;
        self.deadlines.remove(&(ticket.deadline, ticket.number));
        Some(waker)
    }

    fn wait(
        &mut self,
        ticket: &mut Option<Ticket>,
        deadline: impl FnOnce() -> Moment,
        waker: &Waker,
    ) {
        match ticket {
            None => {
                let (number, deadline) = (self.next_ticket, deadline());
                self.next_ticket += 1;
                let new = Ticket { number, deadline };
                self.waiting.push_back((new, waker.clone()));
                self.deadlines.insert((deadline, number));
                // The driver looks after the deadlines.
                if self.deadlines.first() == Some(&(deadline, number)) {
                    self.wake_driver();
                }
                *ticket = Some(new);
            }
            Some(ticket) => {
                if let Some((_, known)) = self.waiting.iter_mut().find(|(other, _)| other == ticket)
                {
                    known.clone_from(waker);
                }
            }
        }
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

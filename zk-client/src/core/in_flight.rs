//! Requests in the order of their submission: first those sent and not answered, then those not sent yet.
//!
//! ```text
//!   front                                        back
//!   | sent, sent, (dead), sent | unsent, unsent, (dead), unsent |
//!                              ^ boundary        frames: their bytes, in this order
//! ```
//! A server answers the requests of a connection in the order it got them, so an answer belongs to the first
//! sent entry or the link is broken. A request that timed out stays in its place without a slot: its answer
//! still comes and must be consumed. One that timed out before it was sent is *dead*: never sent, and skipped.
//!
//! Deadlines: all requests have the same timeout unless told otherwise, so their deadlines are in order, too,
//! and the few exceptions are kept apart.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Buf, BytesMut};
use zk_proto::{
    ErrorCode, OpCode, Xid,
    watch::{AddWatchMode, WatcherType},
};

use super::{Leaves, Moment, Slot, watches::WatchKind};

/// One request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) op: OpCode,
    pub(crate) purpose: Purpose,
    pub(crate) slot: Option<Slot>,
    /// What it leaves at the server, if it succeeds.
    pub(crate) leaves: Option<Box<Leaves>>,
    /// When it was sent; `None` before that, and for ever if it is dead.
    pub(crate) sent_at: Option<Moment>,
    xid: Xid,
    deadline: Moment,
    exceptional: bool,
    pub(crate) frame_len: usize,
    dead: bool,
}

/// A request that nobody waits for any longer.
#[derive(Debug)]
pub(crate) struct Expired {
    pub(crate) slot: Option<Slot>,
    pub(crate) purpose: Purpose,
    /// The operation, if it was sent: its answer is still to come.
    pub(crate) sent: Option<OpCode>,
    pub(crate) frame_len: usize,
}

/// Why a request was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A caller's request.
    Request,
    /// A caller's `sync` for evidence of life.
    Evidence,
    /// The session's own `sync` for evidence of life.
    Heartbeat,
    /// The session's own removal of a watch that nobody reads.
    RemoveWatch,
    /// The end of the session.
    Close,
}

impl Entry {
    #[inline]
    pub(crate) const fn new(op: OpCode, purpose: Purpose, deadline: Moment) -> Self {
        Self {
            op,
            purpose,
            slot: None,
            leaves: None,
            sent_at: None,
            xid: Xid(0),
            deadline,
            exceptional: false,
            frame_len: 0,
            dead: false,
        }
    }

    /// From now on it is sent; how many watches it may leave.
    fn mark_sent(&mut self, now: Moment, xid: Xid) -> usize {
        self.xid = xid;
        self.sent_at = Some(now);
        usize::from(self.leaves.is_some())
    }

    /// Its number on the connection, once it is sent.
    pub(crate) const fn xid(&self) -> Xid {
        self.xid
    }

    /// When its caller gives up.
    pub(crate) const fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Marks a deadline that is not in the order of submission.
    pub(crate) const fn exceptional(mut self) -> Self {
        self.exceptional = true;
        self
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct InFlight {
    entries: VecDeque<Entry>,
    /// How many entries at the front are sent.
    sent: usize,
    /// The frames of the entries that are not sent.
    frames: BytesMut,
    /// The number of the front entry, counted over the session's life.
    front: u64,
    /// Entries before this number have no regular deadline ahead.
    regular: u64,
    exceptions: BTreeSet<(Moment, u64)>,
    next_xid: Xid,
    /// How many sent entries will leave a watch.
    watching: usize,
    /// How many unsent entries are dead, and the bytes of their frames.
    dead: usize,
    dead_bytes: usize,
}

/// So much of the dead is not worth a sweep.
const SWEPT_MIN: usize = 512;
const SWEPT_BYTES_MIN: usize = 64 * 1024;

impl InFlight {
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            sent: 0,
            frames: BytesMut::new(),
            front: 0,
            regular: 0,
            exceptions: BTreeSet::new(),
            next_xid: Xid(1),
            watching: 0,
            dead: 0,
            dead_bytes: 0,
        }
    }

    /// Whether nothing is sent and not answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.entries.iter().take(self.sent).all(|entry| entry.dead)
    }

    /// Whether nothing is to be sent or answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.dead)
    }

    /// Whether a caller waits for an answer, or for its request to be sent.
    pub(crate) fn has_callers(&self) -> bool {
        let is_caller =
            |entry: &Entry| matches!(entry.purpose, Purpose::Request | Purpose::Evidence);
        self.entries
            .iter()
            .any(|entry| !entry.dead && is_caller(entry))
    }

    /// Whether something waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.entries.len()
    }

    /// Whether some request that was sent will leave a watch.
    pub(crate) const fn is_watching_anything(&self) -> bool {
        self.watching > 0
    }

    /// Whether a read that may leave such a one-shot watch is under way.
    pub(crate) fn is_watching(&self, path: &str, server_side: WatcherType) -> bool {
        self.entries
            .iter()
            .filter(|entry| !entry.dead)
            .any(|entry| {
                let kind = WatchKind::left_by(entry.op, ErrorCode::Ok).map(WatchKind::server_side);
                match entry.leaves.as_deref() {
                    Some(Leaves::Watch(request)) => {
                        request.path == path && kind == Some(server_side)
                    }
                    _ => false,
                }
            })
    }

    /// Whether a request for this persistent watch is under way.
    pub(crate) fn is_adding(&self, path: &str, mode: AddWatchMode) -> bool {
        self.entries
            .iter()
            .filter(|entry| !entry.dead)
            .any(|entry| match entry.leaves.as_deref() {
                Some(Leaves::Stream(request)) => request.path == path && request.mode == mode,
                _ => false,
            })
    }

    /// Queues a request with its frame, xid 0.
    pub(crate) fn queue(&mut self, mut entry: Entry, frame: &[u8]) {
        entry.frame_len = frame.len();
        self.frames.extend_from_slice(frame);
        self.admit(entry);
    }

    /// Appends a request to what is written now; nothing may wait to be sent.
    #[inline]
    pub(crate) fn send(&mut self, now: Moment, mut entry: Entry, frame: &[u8], out: &mut BytesMut) {
        debug_assert!(!self.has_unsent(), "requests are sent in order");
        entry.frame_len = frame.len();
        let at = out.len();
        out.extend_from_slice(frame);
        let xid = self.take_xid(&mut out[at..]);
        self.watching += entry.mark_sent(now, xid);
        self.admit(entry);
        self.sent += 1;
    }

    /// Appends everything that waits to what is written now.
    pub(crate) fn send_unsent(&mut self, now: Moment, out: &mut BytesMut) {
        let mut frames = std::mem::take(&mut self.frames);
        while let Some(entry) = self.entries.get(self.sent) {
            let (dead, len) = (entry.dead, entry.frame_len);
            if dead {
                self.sent += 1;
            } else {
                let at = out.len();
                out.extend_from_slice(&frames[..len]);
                self.mark_sent(now, &mut out[at..]);
            }
            frames.advance(len);
        }
        frames.clear();
        self.frames = frames;
        (self.dead, self.dead_bytes) = (0, 0);
    }

    /// The request that an answer with this xid belongs to; `None` means that the server is confused.
    #[inline]
    pub(crate) fn answered(&mut self, xid: Xid) -> Option<Entry> {
        while self.sent > 0 && self.entries.front()?.dead {
            self.pop();
        }
        if self.sent == 0 || self.entries.front()?.xid != xid {
            return None;
        }
        self.pop()
    }

    /// Everything that was sent, when the link is lost.
    pub(crate) fn take_sent(&mut self) -> Vec<Entry> {
        let mut lost = Vec::with_capacity(self.sent);
        while self.sent > 0 {
            lost.extend(self.pop().filter(|entry| !entry.dead));
        }
        lost
    }

    /// Everything that waits to be sent; nothing may be sent and unanswered.
    pub(crate) fn take_unsent(&mut self) -> Vec<Entry> {
        debug_assert_eq!(self.sent, 0, "what was sent is taken first");
        self.frames.clear();
        (self.dead, self.dead_bytes) = (0, 0);
        self.sent = self.entries.len();
        self.take_sent()
    }

    /// The requests whose deadline has come.
    pub(crate) fn take_expired(&mut self, now: Moment) -> Vec<Expired> {
        let mut expired = Vec::new();
        while let Some(entry) = self.first_regular() {
            if entry.deadline > now {
                break;
            }
            let at = self.regular;
            self.regular += 1;
            expired.extend(self.abandon(at));
        }
        while let Some(&(deadline, number)) = self.exceptions.first() {
            if deadline > now {
                break;
            }
            self.exceptions.pop_first();
            expired.extend(self.abandon(number));
        }
        self.forget_dead();
        self.sweep();
        expired
    }

    /// Drops the dead requests at the front, which an outage would pile up.
    fn forget_dead(&mut self) {
        while self.sent == 0 && self.entries.front().is_some_and(|entry| entry.dead) {
            let len = self.entries.pop_front().map_or(0, |entry| entry.frame_len);
            self.frames.advance(len);
            self.front += 1;
            self.dead -= 1;
            self.dead_bytes -= len;
        }
    }

    /// Drops the dead requests behind one that somebody still waits for, once they are most of what there is.
    fn sweep(&mut self) {
        let unsent = self.entries.len() - self.sent;
        let many = self.dead > SWEPT_MIN.max(unsent / 2);
        let large = self.dead_bytes > SWEPT_BYTES_MIN.max(self.frames.len() / 2);
        if !many && !large {
            return;
        }
        let all = self.frames.len() - self.dead_bytes;
        let frames = std::mem::replace(&mut self.frames, BytesMut::with_capacity(all));
        let unsent = self.entries.split_off(self.sent);
        let regular = self.regular;
        let (mut number, mut at) = (self.front + self.sent as u64, 0);
        for entry in unsent {
            let frame = at..at + entry.frame_len;
            at = frame.end;
            if entry.dead {
                self.regular -= u64::from(number < regular);
            } else {
                self.frames.extend_from_slice(&frames[frame]);
                let new = self.front + self.entries.len() as u64;
                if entry.exceptional && self.exceptions.remove(&(entry.deadline, number)) {
                    self.exceptions.insert((entry.deadline, new));
                }
                self.entries.push_back(entry);
            }
            number += 1;
        }
        (self.dead, self.dead_bytes) = (0, 0);
    }

    /// When the next request is due.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        let regular = self.first_regular().map(|entry| entry.deadline);
        let exceptional = self.exceptions.first().map(|(deadline, _)| *deadline);
        match (regular, exceptional) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn first_regular(&mut self) -> Option<&Entry> {
        self.regular = self.regular.max(self.front);
        loop {
            let at = usize::try_from(self.regular - self.front).ok()?;
            if !self.entries.get(at)?.exceptional {
                return self.entries.get(at);
            }
            self.regular += 1;
        }
    }

    /// Takes the slot of a request that nobody waits for any longer.
    fn abandon(&mut self, number: u64) -> Option<Expired> {
        let at = usize::try_from(number.checked_sub(self.front)?).ok()?;
        let entry = self.entries.get_mut(at)?;
        // An end of the session is not called off by a timeout: the session core has its own deadline for it.
        let dead = entry.sent_at.is_none() && entry.purpose != Purpose::Close;
        if dead && !entry.dead {
            self.dead += 1;
            self.dead_bytes += entry.frame_len;
        }
        entry.dead = dead;
        Some(Expired {
            slot: entry.slot.take(),
            purpose: entry.purpose,
            sent: entry.sent_at.map(|_| entry.op),
            frame_len: entry.frame_len,
        })
    }

    #[inline]
    fn admit(&mut self, entry: Entry) {
        if entry.exceptional {
            let number = self.front + self.entries.len() as u64;
            self.exceptions.insert((entry.deadline, number));
        }
        self.entries.push_back(entry);
    }

    /// Gives the first unsent entry its xid; `frame` is its copy in the write buffer.
    fn mark_sent(&mut self, now: Moment, frame: &mut [u8]) {
        let xid = self.take_xid(frame);
        if let Some(entry) = self.entries.get_mut(self.sent) {
            self.watching += entry.mark_sent(now, xid);
            self.sent += 1;
        }
    }

    /// The next xid, written into a frame.
    fn take_xid(&mut self, frame: &mut [u8]) -> Xid {
        let xid = self.next_xid;
        self.next_xid = xid.next();
        if let Some(field) = frame.get_mut(4..8) {
            field.copy_from_slice(&xid.0.to_be_bytes());
        }
        xid
    }

    #[inline]
    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if entry.exceptional {
            self.exceptions.remove(&(entry.deadline, self.front));
        }
        if entry.leaves.is_some() && entry.sent_at.is_some() {
            self.watching -= 1;
        }
        self.front += 1;
        self.sent -= 1;
        Some(entry)
    }

    /// How many requests are kept, and how many bytes of them.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.entries.len(), self.frames.len())
    }

    /// Numbers what is sent from here on beginning with this.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn number_from(&mut self, xid: Xid) {
        self.next_xid = xid;
    }
}

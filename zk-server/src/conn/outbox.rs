//! What a connection still has to send, in the one order that keeps ZooKeeper's promises.
//!
//! Every connection has exactly one outbox. A read's reply enters it while the reader still holds the tree's
//! read lock; a write's reply and every watch event enter it while the applier still holds the write lock.
//! So an event never overtakes the reply that registered its watch, and always precedes a reply that could
//! reveal its cause. The connection's task is woken only after the tree is unlocked.
//!
//! Order of locks: tree, watch table, outbox; nothing else is locked while an outbox is.

use std::task::Waker;

use parking_lot::Mutex;

use crate::{frames::Frames, limits::MAX_BACKLOG};

/// Frames waiting for one connection, and how far its requests have been answered.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: Frames,
    answered: u64,
    established: Option<Established>,
    closing: bool,
    overflowed: bool,
    waker: Option<Waker>,
}

/// The session that the peer attached to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Established {
    /// Its id.
    pub session: zk_proto::SessionId,
    /// Its timeout in milliseconds.
    pub timeout_ms: u32,
}

/// What a connection's task finds in its outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many of the requests handed to the peer have been answered since the connection began.
    pub answered: u64,
    /// The session, once the peer has attached one.
    pub established: Option<Established>,
    /// Whether the connection ends once everything is sent.
    pub closing: bool,
    /// Whether frames stay here until those collected before are sent.
    pub more: bool,
    /// Whether more was to be sent than may wait, so that the connection has to end at once.
    pub overflowed: bool,
}

impl Outbox {
    /// Appends `frames` (left empty) and counts `answered` requests of the peer's as answered.
    ///
    /// Call it under the tree's lock that made the frames, and [`wake`](Self::wake) after unlocking.
    pub fn append(&self, frames: &mut Frames, answered: u64) {
        let mut inner = self.inner.lock();
        inner.answered += answered;
        inner.put(frames);
    }

    /// Tells the connection that it has a session now; `frames` is the connect response.
    pub fn establish(&self, frames: &mut Frames, established: Established) {
        let mut inner = self.inner.lock();
        inner.answered += 1;
        inner.established = Some(established);
        inner.put(frames);
    }

    /// Ends the connection once everything appended so far is sent; what comes later is dropped.
    pub fn close(&self) {
        self.inner.lock().closing = true;
    }

    /// Ends the connection at once: nobody reads what is sent.
    pub fn overflow(&self) {
        self.inner.lock().overflow();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closing(&self) -> bool {
        self.inner.lock().closing
    }

    /// Moves every frame to the end of `to`, if that holds less than `most` bytes.
    pub fn collect(&self, to: &mut Frames, most: usize) -> Collected {
        let mut inner = self.inner.lock();
        if to.len() < most {
            to.append(&mut inner.frames);
        }
        Collected {
            answered: inner.answered,
            established: inner.established,
            closing: inner.closing,
            more: !inner.frames.is_empty(),
            overflowed: inner.overflowed,
        }
    }

    /// Has `waker` woken by the next [`wake`](Self::wake).
    ///
    /// Register first and [`collect`](Self::collect) afterwards: what is appended in between wakes.
    pub fn register(&self, waker: &Waker) {
        let mut inner = self.inner.lock();
        match &mut inner.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Wakes the connection's task. Call it with no lock held.
    pub fn wake(&self) {
        let waker = self.inner.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    fn put(&mut self, frames: &mut Frames) {
        if self.frames.own_len() > MAX_BACKLOG {
            self.overflow();
        }
        match self.closing {
            true => frames.clear(),
            false => self.frames.append(frames),
        }
    }

    fn overflow(&mut self) {
        self.frames = Frames::new();
        (self.closing, self.overflowed) = (true, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_the_order_in_which_they_went_in() {
        let outbox = Outbox::default();
        outbox.append(&mut frames("a"), 0);
        outbox.append(&mut frames("b"), 2);
        let mut out = frames("_");
        assert_eq!(outbox.collect(&mut out, 9).answered, 2);
        outbox.append(&mut frames("c"), 1);
        assert_eq!(outbox.collect(&mut out, 9).answered, 3);
        assert_eq!(&out.own_mut()[..], b"_abc");
    }

    #[test]
    fn nothing_follows_a_close() {
        let outbox = Outbox::default();
        outbox.append(&mut frames("last"), 1);
        outbox.close();
        outbox.append(&mut frames("late"), 1);
        let mut out = Frames::new();
        assert!(outbox.collect(&mut out, 9).closing);
        assert_eq!(&out.own_mut()[..], b"last");
    }

    #[test]
    fn a_full_hand_takes_no_more() {
        let outbox = Outbox::default();
        outbox.append(&mut frames("waits"), 1);
        let mut out = frames("full");
        let seen = outbox.collect(&mut out, 4);
        assert!(seen.more && seen.answered == 1 && out.len() == 4);
        assert!(!outbox.collect(&mut out, 5).more);
        assert_eq!(&out.own_mut()[..], b"fullwaits");
    }

    #[test]
    fn what_nobody_collects_ends_the_connection() {
        let outbox = Outbox::default();
        let piece = "x".repeat(MAX_BACKLOG / 2);
        for _ in 0..3 {
            outbox.append(&mut frames(&piece), 0);
        }
        assert!(!outbox.is_closing(), "the last one may exceed it");
        outbox.append(&mut frames("y"), 0);
        let mut out = Frames::new();
        let seen = outbox.collect(&mut out, 9);
        assert!(seen.overflowed && seen.closing && out.is_empty());
    }

    fn frames(text: &str) -> Frames {
        let mut frames = Frames::new();
        frames.own_mut().extend_from_slice(text.as_bytes());
        frames
    }
}

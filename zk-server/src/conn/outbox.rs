//! What a connection still has to send, in the one order that keeps ZooKeeper's promises.
//!
//! Every connection has exactly one outbox. A read's reply enters it while the reader still holds the tree's
//! read lock; a write's reply and every watch event enter it while the applier still holds the write lock.
//! So an event never overtakes the reply that registered its watch, and always precedes a reply that could
//! reveal its cause. The connection's task is woken only after the tree is unlocked.
//!
//! Order of locks: tree, watch table, outbox; nothing else is locked while an outbox is.

use std::task::Waker;

use bytes::BytesMut;
use parking_lot::Mutex;

/// Frames waiting for one connection, and how far its requests have been answered.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: BytesMut,
    answered: u64,
    established: Option<Established>,
    closing: bool,
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
    /// Whether the connection ends once the frames collected are sent.
    pub closing: bool,
}

impl Outbox {
    /// Appends `frames` (left empty) and counts `answered` requests of the peer's as answered.
    ///
    /// Call it under the tree's lock that made the frames, and [`wake`](Self::wake) after unlocking.
    pub fn append(&self, frames: &mut BytesMut, answered: u64) {
        let mut inner = self.inner.lock();
        inner.answered += answered;
        inner.put(frames);
    }

    /// Tells the connection that it has a session now; `frames` is the connect response.
    pub fn establish(&self, frames: &mut BytesMut, established: Established) {
        let mut inner = self.inner.lock();
        inner.answered += 1;
        inner.established = Some(established);
        inner.put(frames);
    }

    /// Ends the connection once everything appended so far is sent; what comes later is dropped.
    pub fn close(&self) {
        self.inner.lock().closing = true;
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closing(&self) -> bool {
        self.inner.lock().closing
    }

    /// Moves every frame to the end of `to`.
    pub fn collect(&self, to: &mut BytesMut) -> Collected {
        let mut inner = self.inner.lock();
        if to.is_empty() {
            std::mem::swap(&mut inner.frames, to);
        } else {
            to.extend_from_slice(&inner.frames);
            inner.frames.clear();
        }
        Collected {
            answered: inner.answered,
            established: inner.established,
            closing: inner.closing,
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
    fn put(&mut self, frames: &mut BytesMut) {
        if self.closing {
            frames.clear();
        } else if self.frames.is_empty() {
            std::mem::swap(&mut self.frames, frames);
        } else {
            self.frames.extend_from_slice(frames);
            frames.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_the_order_in_which_they_went_in() {
        let outbox = Outbox::default();
        outbox.append(&mut BytesMut::from("a"), 0);
        outbox.append(&mut BytesMut::from("b"), 2);
        let mut out = BytesMut::from("_");
        assert_eq!(outbox.collect(&mut out).answered, 2);
        outbox.append(&mut BytesMut::from("c"), 1);
        assert_eq!(outbox.collect(&mut out).answered, 3);
        assert_eq!(&out[..], b"_abc");
    }

    #[test]
    fn nothing_follows_a_close() {
        let outbox = Outbox::default();
        outbox.append(&mut BytesMut::from("last"), 1);
        outbox.close();
        outbox.append(&mut BytesMut::from("late"), 1);
        let mut out = BytesMut::new();
        assert!(outbox.collect(&mut out).closing);
        assert_eq!(&out[..], b"last");
    }
}

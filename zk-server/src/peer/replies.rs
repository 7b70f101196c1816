//! Replies and events of one batch, gathered per connection.
//!
//! They are written here without any lock but the tree's and the watch table's, and enter the outboxes all
//! at once, just before the tree's write lock is released: one lock per connection and batch.

use std::sync::Arc;

use zk_proto::SessionId;

use crate::{conn::handle::ConnHandle, frames::Frames, limits::MAX_BACKLOG, tree::watches::ConnId};

/// Above this, a connection's buffer here is given back after use.
const KEEP: usize = 64 << 10;

/// The connections that the peer knows, by id, each with its part of the current batch.
#[derive(Debug, Default)]
pub(super) struct Replies {
    slots: Vec<Option<Slot>>,
    touched: Vec<u32>,
}

/// A connection with a session.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) conn: Arc<ConnHandle>,
    pub(super) session: SessionId,
    pub(super) frames: Frames,
    pub(super) answered: u64,
    pub(super) sent: u64,
    /// The place in the peer's queue of the last request that waits there, and 0 before the first.
    pub(super) last_waiting: u64,
    close: bool,
    /// Whether one of its requests gets no answer: then nothing behind that one may get one.
    is_cut_off: bool,
    /// Whether more was to be sent in one batch than may wait.
    overflows: bool,
    is_touched: bool,
}

impl Replies {
    /// Enters a connection, unless a newer one has its id.
    pub(super) fn add(&mut self, conn: Arc<ConnHandle>, session: SessionId) {
        let index = conn.id.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let newest = self.slots[index].as_ref().map(|slot| slot.conn.serial);
        if newest.is_some_and(|newest| newest > conn.serial) {
            return;
        }
        self.slots[index] = Some(Slot {
            conn,
            session,
            frames: Frames::new(),
            answered: 0,
            sent: 0,
            last_waiting: 0,
            close: false,
            is_cut_off: false,
            overflows: false,
            is_touched: false,
        });
    }

    /// Strikes a connection off.
    pub(super) fn remove(&mut self, conn: &ConnHandle) -> Option<SessionId> {
        let slot = self.slots.get_mut(conn.id.0 as usize)?;
        if slot.as_ref()?.conn.serial != conn.serial {
            return None;
        }
        slot.take().map(|slot| slot.session)
    }

    /// The connection with this id, if it is still the one with this serial.
    pub(super) fn of(&mut self, id: ConnId, serial: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.0 as usize)?.as_mut()?;
        (slot.conn.serial == serial).then_some(slot)
    }

    /// The place for a frame to a connection; `None` when it is gone or another one has its id now.
    pub(super) fn frame_to(&mut self, id: ConnId, serial: u64) -> Option<&mut Slot> {
        self.touch(id).filter(|slot| slot.conn.serial == serial)
    }

    /// The place for an event to whoever has this id.
    pub(super) fn watcher(&mut self, id: ConnId) -> Option<&mut Slot> {
        self.touch(id)
    }

    /// Has a connection closed behind what it gets in this batch.
    pub(super) fn close(&mut self, conn: &ConnHandle) {
        if let Some(slot) = self.frame_to(conn.id, conn.serial) {
            slot.close = true;
        }
    }

    /// Has a connection closed behind what it got up to here: the next answer is not for what its client takes it for.
    pub(super) fn cut_off(&mut self, conn: &ConnHandle) {
        if let Some(slot) = self.frame_to(conn.id, conn.serial) {
            (slot.close, slot.is_cut_off) = (true, true);
        }
    }

    fn touch(&mut self, id: ConnId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.0 as usize)?.as_mut()?;
        if !slot.is_touched {
            slot.is_touched = true;
            self.touched.push(id.0);
        }
        slot.overflows |= slot.frames.own_len() > MAX_BACKLOG;
        (!slot.overflows && !slot.is_cut_off).then_some(slot)
    }

    /// Moves everything into the outboxes, and passes every connection touched to `wake`, which must not
    /// wake before the tree is unlocked.
    ///
    /// Returns how many frames that was.
    pub(super) fn deliver(&mut self, mut wake: impl FnMut(Arc<ConnHandle>)) -> u64 {
        let mut frames = 0;
        for id in self.touched.drain(..) {
            let Some(Some(slot)) = self.slots.get_mut(id as usize) else {
                continue;
            };
            slot.is_touched = false;
            slot.conn.outbox.append(&mut slot.frames, slot.answered);
            if slot.overflows {
                slot.conn.outbox.overflow();
            }
            if slot.frames.capacity() > KEEP {
                slot.frames = Frames::new();
            }
            frames += slot.sent;
            slot.conn
                .stats
                .sent
                .fetch_add(slot.sent, std::sync::atomic::Ordering::Relaxed);
            (slot.answered, slot.sent) = (0, 0);
            if std::mem::take(&mut slot.close) {
                slot.conn.outbox.close();
            }
            wake(slot.conn.clone());
        }
        frames
    }
}

//! What callers want.

use bytes::BytesMut;
use zk_proto::{
    OpCode, Utf8Bytes, Xid,
    frame::put_frame,
    header::RequestHeader,
    jute::Encode,
    op::{RemoveWatchesRequest, SyncRequest},
    watch::{AddWatchMode, WatcherType},
};

use super::{Closing, Phase, Session};
use crate::{
    core::{
        Batch, Command, Kind, WhileDisconnected,
        auth::Credential,
        in_flight::{Entry, Purpose},
    },
    error::{ErrorKind, Failure},
};

/// Up to how many bytes of frames a batch keeps its buffer.
const FRAMES_KEPT: usize = 256 * 1024;

impl Session {
    /// Takes every command of a batch, in order.
    pub(super) fn absorb(&mut self, batch: &mut Batch) {
        let mut at = 0;
        for command in batch.commands.drain(..) {
            let frame = &batch.frames[at..at + command.frame_len];
            at += command.frame_len;
            match self.admit(&command) {
                Ok(()) => self.take(command, frame),
                Err(failure) => self.refuse(command, failure),
            }
        }
        // Memory is kept for the next batch, but not that of an exceptional one.
        match at > FRAMES_KEPT {
            true => batch.frames = BytesMut::new(),
            false => batch.frames.clear(),
        }
    }

    fn admit(&self, command: &Command) -> Result<(), Failure> {
        if matches!(
            command.kind,
            Kind::Close
                | Kind::Detach
                | Kind::ReleaseEvidence
                | Kind::PruneWatchers(_)
                | Kind::RemoveStreams(..)
        ) {
            return Ok(());
        }
        match self.phase {
            Phase::Stopped => return Err(Failure::not_applied(ErrorKind::Closed)),
            Phase::Ended(kind) => return Err(Failure::not_applied(kind)),
            _ if self.closing.is_some() => return Err(Failure::not_applied(ErrorKind::Closed)),
            _ => {}
        }
        if command
            .generation
            .is_some_and(|generation| generation != self.generation)
        {
            return Err(Failure::not_applied(ErrorKind::SessionChanged));
        }
        let impatient = self.config.while_disconnected == WhileDisconnected::FailFast;
        if impatient
            && !self.is_live()
            && !self.moving
            && matches!(command.kind, Kind::Request(..) | Kind::Evidence)
        {
            let source = self.last_error.clone();
            return Err(Failure::not_applied(ErrorKind::ConnectionLoss).because(source));
        }
        Ok(())
    }

    /// A timeout that the server had to raise is the shortest that it grants: two of its ticks, unless configured. Evidence needs
    /// four.
    fn warn_of_short_session(&mut self) {
        let (asked, granted) = (self.config.session_timeout, self.timeout());
        if granted > asked && self.evidence.is_to_be_warned_of(self.generation) {
            tracing::warn!(
                ?asked,
                ?granted,
                "the session timeout was raised to the server's shortest, mostly two ticks: too short for locks, which need four"
            );
        }
    }

    fn refuse(&mut self, command: Command, failure: Failure) {
        match command.kind {
            Kind::Request(..) => self.count_released(Purpose::Request, command.frame_len),
            Kind::Evidence => {
                self.count_released(Purpose::Evidence, command.frame_len);
                // Its holder exists, and will be released.
                self.evidence.hold();
            }
            _ => {}
        }
        self.complete(command.slot, Err(failure));
    }

    fn take(&mut self, command: Command, frame: &[u8]) {
        let deadline = command
            .deadline
            .unwrap_or(self.now + self.config.request_timeout);
        let exceptional = command.deadline.is_some();
        match command.kind {
            Kind::Request(op, leaves) => {
                let mut entry = Entry::new(op, Purpose::Request, deadline);
                entry.slot = command.slot;
                entry.leaves = leaves;
                self.enqueue(
                    if exceptional {
                        entry.exceptional()
                    } else {
                        entry
                    },
                    frame,
                );
            }
            Kind::Evidence => {
                self.evidence.hold();
                self.warn_of_short_session();
                let mut entry = Entry::new(OpCode::Sync, Purpose::Evidence, deadline);
                entry.slot = command.slot;
                self.enqueue(
                    if exceptional {
                        entry.exceptional()
                    } else {
                        entry
                    },
                    frame,
                );
            }
            Kind::ReleaseEvidence => {
                let lost = self.evidence.release();
                self.announce_evidence(lost);
            }
            Kind::PruneWatchers(path) => {
                for kind in self.watches.prune(&path) {
                    // Without a connection there is nothing at the server, and nothing is registered again.
                    if self.is_live() {
                        self.unwanted.add(self.now, &path, kind);
                    }
                }
            }
            Kind::RemoveStreams(path, mode) => {
                if self.streams.prune(&path, mode) {
                    self.remove_unread(&path, mode);
                }
            }
            Kind::Auth(credential) => self.present(*credential, command.slot, command.deadline),
            Kind::Ready => {
                self.ready.extend(command.slot.map(|slot| (slot, deadline)));
                self.complete_ready();
            }
            Kind::UpdateHosts(hosts) => {
                self.update_hosts(hosts);
                self.complete_empty(command.slot);
            }
            Kind::Close | Kind::Detach => self.close(command),
        }
    }

    /// Sends a request now if nothing is before it, or as soon as there is a connection.
    pub(super) fn enqueue(&mut self, entry: Entry, frame: &[u8]) {
        if !self.is_live() || self.is_leaving() {
            self.requests.queue(entry, frame);
            return;
        }
        if matches!(entry.purpose, Purpose::Evidence | Purpose::Heartbeat) {
            self.evidence.sent(self.now);
        }
        self.requests.send(self.now, entry, frame, &mut self.out);
    }

    /// Sends the session's own `sync`, for those who hold evidence.
    pub(super) fn send_heartbeat(&mut self) {
        let deadline = self.now + self.config.request_timeout;
        self.enqueue(
            Entry::new(OpCode::Sync, Purpose::Heartbeat, deadline),
            &sync_frame(),
        );
    }

    /// Removes the one-shot watches that have been unwanted for a while.
    pub(super) fn remove_unwanted(&mut self) {
        for (path, kind) in self.unwanted.take(self.now) {
            self.remove_unwatched(&path, kind);
        }
    }

    /// Removes a one-shot watch from the server, unless somebody waits for it or is about to.
    ///
    /// Not beside a persistent watch: servers before 3.9 do not tell the two apart.
    fn remove_unwatched(&mut self, path: &str, kind: WatcherType) {
        let streamed = [AddWatchMode::Persistent, AddWatchMode::PersistentRecursive]
            .into_iter()
            .any(|mode| self.streams.is_watched(path, mode) || self.requests.is_adding(path, mode));
        let wanted = self.watches.is_watched(path, kind) || self.requests.is_watching(path, kind);
        if self.is_live() && !wanted && !streamed {
            self.send_removal(path, kind);
        }
    }

    /// Removes a persistent watch from the server, unless somebody reads it or is about to.
    pub(super) fn remove_unread(&mut self, path: &str, mode: AddWatchMode) {
        let wanted = self.streams.is_watched(path, mode) || self.requests.is_adding(path, mode);
        if self.is_live() && !wanted {
            self.send_removal(
                path,
                match mode {
                    AddWatchMode::Persistent => WatcherType::Persistent,
                    AddWatchMode::PersistentRecursive => WatcherType::PersistentRecursive,
                },
            );
        }
    }

    fn send_removal(&mut self, path: &str, kind: WatcherType) {
        let deadline = self.now + self.config.request_timeout;
        let entry = Entry::new(OpCode::RemoveWatches, Purpose::RemoveWatch, deadline);
        let path = path.into();
        let request = RemoveWatchesRequest { path, kind };
        self.enqueue(entry, &frame_of(OpCode::RemoveWatches, &[&request]));
    }

    pub(super) fn enqueue_close(&mut self) {
        let deadline = self.now + self.config.request_timeout;
        let entry = Entry::new(OpCode::CloseSession, Purpose::Close, deadline);
        self.enqueue(entry, &frame_of(OpCode::CloseSession, &[]));
    }

    fn present(
        &mut self,
        credential: Credential,
        slot: Option<crate::core::Slot>,
        deadline: Option<crate::core::Moment>,
    ) {
        let deadline = deadline.unwrap_or(self.now + self.config.request_timeout);
        let out = match self.phase {
            Phase::Live(_) => Some(&mut self.out),
            _ => None,
        };
        self.auth
            .present(credential, slot.map(|slot| (slot, deadline)), out);
    }

    /// Whether closing has nothing to do: there is no session and none that a server may be granting right now, and nobody
    /// has submitted anything that is to be carried out in one that is still to come.
    pub(super) fn has_nothing_to_end(&self) -> bool {
        self.session.is_none() && !self.is_handshaking() && !self.requests.has_callers()
    }

    fn close(&mut self, command: Command) {
        let deadline = command
            .deadline
            .unwrap_or(self.now + self.config.request_timeout);
        match (&self.phase, &mut self.closing) {
            (Phase::Stopped, _) => self.complete_empty(command.slot),
            (_, Some(closing)) => {
                closing.deadline = closing.deadline.min(deadline);
                closing.slots.extend(command.slot);
            }
            (phase, None) => {
                let ended = matches!(phase, Phase::Ended(_));
                let over = ended || self.has_nothing_to_end();
                let detached = matches!(command.kind, Kind::Detach);
                self.closing = Some(Closing {
                    deadline,
                    slots: command.slot.into_iter().collect(),
                    detached,
                });
                match (over, detached) {
                    (true, _) => self.stop(Ok(())),
                    // Over as soon as nothing is under way any more.
                    (false, true) => {}
                    (false, false) => {
                        // From here on the server may end the session at any moment, long before its answer arrives.
                        let lost = self.evidence.close();
                        self.announce_evidence(lost);
                        self.enqueue_close();
                    }
                }
            }
        }
    }
}

fn sync_frame() -> BytesMut {
    let path = Utf8Bytes::from_static("/");
    frame_of(OpCode::Sync, &[&SyncRequest { path }])
}

/// A whole frame with xid 0.
fn frame_of(op: OpCode, record: &[&dyn Encode]) -> BytesMut {
    let header = RequestHeader {
        xid: Xid(0),
        op: op.code(),
    };
    let mut out = BytesMut::new();
    let mut parts: Vec<&dyn Encode> = vec![&header];
    parts.extend_from_slice(record);
    put_frame(&mut out, &parts);
    out
}

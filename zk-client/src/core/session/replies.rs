//! What the server says.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::{
    Decode, DecodeError, ErrorCode, OpCode, Reader, Xid, Zxid,
    header::ReplyHeader,
    op::Response,
    watch::{EventType, WatcherEvent, WatcherType},
};

use super::{Phase, Session, Source, link::broken};
use crate::{
    core::{
        Body, Leaves, Moment, Output, Reply, StreamRequest,
        auth::Verdict,
        in_flight::{Entry, Purpose},
        watches::{Registered, WatchKind, event_of},
    },
    error::{ErrorKind, Failure},
    state::SessionState,
    watcher::WatchEvent,
};

impl Session {
    /// Handles one frame after the handshake; what makes no sense ends the connection.
    #[inline]
    pub(super) fn frame(&mut self, frame: Bytes) {
        if let Err(error) = self.handle_frame(frame) {
            tracing::warn!(%error, "the server's reply makes no sense");
            self.link_lost(error);
        }
    }

    #[inline]
    fn handle_frame(&mut self, frame: Bytes) -> Result<(), Source> {
        let mut input = Reader::new(frame);
        let header = ReplyHeader::decode(&mut input).map_err(sourced)?;
        match header.xid {
            Xid::NOTIFICATION => self.event(header.zxid, &mut input).map_err(sourced),
            Xid::PING => {
                self.pinged();
                Ok(())
            }
            Xid::AUTH => self.auth_answer(header.err == 0),
            Xid::SET_WATCHES if header.err == 0 => {
                self.watches_registered();
                Ok(())
            }
            Xid::SET_WATCHES => Err(broken("the server did not take the watches")),
            _ => self.reply(header, &mut input),
        }
    }

    #[inline]
    fn reply(&mut self, header: ReplyHeader, input: &mut Reader) -> Result<(), Source> {
        let entry = self
            .requests
            .answered(header.xid)
            .ok_or_else(|| broken("the server answered a request that was not the oldest one"))?;
        let code = ErrorCode::from_i32(header.err);
        let body = match code {
            ErrorCode::Ok => Body::take(entry.op, input),
            _ => Ok(Body::Empty),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return Err(self.undecodable(entry, error)),
        };
        self.proved(entry.sent_at.unwrap_or_default());
        if header.zxid > Zxid::ZERO {
            self.last_zxid = self.last_zxid.max(header.zxid);
        }
        self.count_released(entry.purpose, entry.frame_len);
        self.answer(
            entry,
            Reply {
                xid: header.xid,
                zxid: header.zxid,
                code,
                body,
            },
        );
        Ok(())
    }

    /// Pings are answered in the order of their sending, too.
    fn pinged(&mut self) {
        if let Phase::Live(live) = &mut self.phase
            && let Some(sent) = live.pings.pop_front()
        {
            self.proved(sent);
        }
    }

    /// What was sent at this moment told a server that the client lives. One without a quorum tells nobody else, and counts
    /// only for a session that it alone knows.
    #[inline]
    fn proved(&mut self, sent: Moment) {
        if self.state != SessionState::ReadOnly || !self.known_to_quorum {
            self.last_proof = self.last_proof.max(sent);
        }
    }

    #[inline]
    fn answer(&mut self, mut entry: Entry, reply: Reply) {
        tracing::trace!(
            session = %self.session_id(),
            xid = entry.xid().0,
            op = ?entry.op,
            zxid = %reply.zxid,
            code = ?reply.code,
            latency = ?entry.sent_at.map(|sent| self.now.since(sent)),
            "answered"
        );
        match entry.purpose {
            Purpose::Request => {
                let leaves = entry.leaves.take();
                let told = leaves.and_then(|leaves| self.register(entry.op, *leaves, &reply));
                let zxid = reply.zxid;
                self.complete(entry.slot, Ok(reply));
                self.outputs.extend(told);
                self.forget_early_events(zxid);
            }
            // Whether there was such a watch does not matter.
            Purpose::RemoveWatch => {}
            Purpose::Evidence | Purpose::Heartbeat => {
                self.evidence_answered(&entry, reply.code);
                self.complete(entry.slot, Ok(reply));
            }
            Purpose::Close => self.stop(Ok(())),
        }
    }

    /// What a request that succeeded left at the server.
    fn register(&mut self, op: OpCode, leaves: Leaves, reply: &Reply) -> Option<Output> {
        match leaves {
            Leaves::Watch(request) => {
                let kind = WatchKind::left_by(op, reply.code)?;
                match self.watches.register(kind, request, reply.zxid) {
                    Registered::Waiting => None,
                    Registered::Told(watcher, event) => Some(Output::Notify { watcher, event }),
                    Registered::Unwanted(path) => {
                        self.unwanted.add(self.now, &path, kind.server_side());
                        None
                    }
                }
            }
            Leaves::Stream(StreamRequest { path, mode, queue }) => {
                let added = matches!(
                    &reply.body,
                    Body::Decoded(body) if matches!(&**body, Response::Error(answer) if answer.err == 0)
                );
                if added && queue.is_abandoned() {
                    self.remove_unread(&path, mode);
                } else if added {
                    self.streams.add(path, mode, queue);
                }
                None
            }
        }
    }

    /// One re-registration is answered; after the last one persistent watches are whole again.
    fn watches_registered(&mut self) {
        self.re_registrations = self.re_registrations.saturating_sub(1);
        if self.re_registrations == 0 {
            self.tell_streams(self.streams.all(), &WatchEvent::SessionReconnected);
        }
    }

    fn evidence_answered(&mut self, entry: &Entry, code: ErrorCode) {
        if let (Some(sent), ErrorCode::Ok) = (entry.sent_at, code) {
            let timeout = self.timeout();
            let change = self
                .evidence
                .answered(self.now, sent, timeout, self.generation);
            self.announce_evidence(change);
        }
    }

    fn forget_early_events(&mut self, answered: Zxid) {
        match self.requests.is_watching_anything() {
            true => self.watches.forget_early_until(answered),
            false => self.watches.forget_early(),
        }
    }

    /// The request is off the queue already: its caller is told here, before the connection is given up. It is not
    /// repeated, not even if it only reads: the next answer would cost everybody the next connection.
    fn undecodable(&mut self, entry: Entry, error: DecodeError) -> Source {
        let source: Source = Arc::new(error);
        let failure = Failure::in_flight(ErrorKind::ConnectionLoss, entry.op)
            .because(Some(Arc::clone(&source)));
        self.count_released(entry.purpose, entry.frame_len);
        self.complete(entry.slot, Err(failure));
        source
    }

    fn event(&mut self, zxid: Zxid, input: &mut Reader) -> Result<(), DecodeError> {
        let event = WatcherEvent::decode(input)?;
        tracing::trace!(kind = ?event.event_type, path = %event.path, zxid = %zxid, "event");
        if event.event_type == EventType::None {
            return Ok(());
        }
        self.unwanted.fired(event.event_type, &event.path);
        let keep = self.may_be_early(&event, zxid);
        let queues = self.streams.told_of(event.event_type, &event.path);
        self.tell_streams(queues, &event_of(event.event_type, &event.path, zxid));
        for (watcher, event) in self.watches.fire(event, zxid, keep) {
            self.outputs.push_back(Output::Notify { watcher, event });
        }
        Ok(())
    }

    /// Whether an event may be for a read that is not answered yet.
    fn may_be_early(&self, event: &WatcherEvent, zxid: Zxid) -> bool {
        let watching = |kind| self.requests.is_watching(&event.path, kind);
        self.requests.is_watching_anything()
            && (zxid > Zxid::ZERO || watching(WatcherType::Data) || watching(WatcherType::Children))
    }

    fn auth_answer(&mut self, accepted: bool) -> Result<(), Source> {
        match self.auth.answered(accepted) {
            Verdict::Unexpected => {
                return Err(broken("the server answered credentials that nobody sent"));
            }
            Verdict::Accepted(slot) => {
                self.complete_empty(slot);
                self.complete_ready();
            }
            Verdict::RefusedNew(slot) => self.fail_auth(slot),
            Verdict::RefusedEstablished => {
                self.last_error = Some(broken("the server refused the credentials"));
                self.auth_failed();
            }
        }
        Ok(())
    }

    fn fail_auth(&mut self, slot: Option<crate::core::Slot>) {
        self.complete(slot, Err(Failure::not_applied(ErrorKind::AuthFailed)));
    }
}

fn sourced(error: DecodeError) -> Source {
    Arc::new(error)
}

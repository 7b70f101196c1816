//! What is due.

use zk_proto::{OpCode, Xid, frame::put_frame, header::RequestHeader};

use super::{Phase, Session, link::broken};
use crate::{
    core::Moment,
    error::{ErrorKind, Failure, Outcome},
};

impl Session {
    /// Does everything whose time has come.
    pub(super) fn meet_deadlines(&mut self) {
        if self
            .closing
            .as_ref()
            .is_some_and(|closing| closing.deadline <= self.now)
        {
            let mut failure =
                Failure::not_applied(ErrorKind::OperationTimeout).because(self.last_error.clone());
            failure.outcome = Outcome::Unknown;
            self.stop(Err(failure));
        }
        self.meet_request_deadlines();
        self.stop_if_closed();
        self.remove_unwanted();
        self.meet_moving_deadlines();
        match &self.phase {
            Phase::Idle { redial_at } if *redial_at <= self.now => self.dial(),
            Phase::Dialing { give_up } if *give_up <= self.now => {
                self.dial_failed(broken("no server could be connected in time"));
            }
            Phase::Handshaking(handshake) if handshake.give_up <= self.now => {
                self.link_lost(broken(
                    "the server did not answer the connect request in time",
                ));
                self.stop_if_closed();
            }
            Phase::Authenticating { give_up, .. } if *give_up <= self.now => {
                self.link_lost(broken("the SASL conversation took too long"));
            }
            Phase::Live(live) => {
                let third = self.timeout() / 3;
                let idle = self.now.since(live.last_sent) >= third;
                if self.now.since(live.last_heard) >= third * 2 {
                    self.link_lost(broken("the server was silent for too long"));
                } else if self.impatient_at().is_some_and(|at| at <= self.now) {
                    self.link_lost(broken("the leader does not answer through this server"));
                } else {
                    self.keep_alive(idle);
                }
            }
            _ => {}
        }
    }

    /// A client that closes is over as soon as nothing is left to end; one that leaves its session to others, as soon as
    /// nothing is under way.
    fn stop_if_closed(&mut self) {
        let over = match &self.closing {
            Some(closing) if closing.detached => {
                // A session of the quorum may be about to take a read-only server's place.
                let granting = !self.known_to_quorum && self.is_handshaking();
                self.requests.is_empty() && !granting
            }
            Some(_) => self.has_nothing_to_end(),
            None => false,
        };
        if over {
            self.stop(Ok(()));
        }
    }

    /// Evidence is running out while another server might still reach the leader.
    fn impatient_at(&self) -> Option<Moment> {
        match (&self.phase, self.hosts.has_choice()) {
            (Phase::Live(_), true) => self.evidence.impatient_at(self.timeout()),
            _ => None,
        }
    }

    /// When the next heartbeat goes out, on a connection that is there to stay.
    fn heartbeat_due(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Live(live) if live.leaving.is_none() => {
                self.evidence.heartbeat_due(self.timeout())
            }
            _ => None,
        }
    }

    fn keep_alive(&mut self, idle: bool) {
        if self.heartbeat_due().is_some_and(|due| due <= self.now) {
            self.send_heartbeat();
        } else if idle && self.out.is_empty() {
            let header = RequestHeader {
                xid: Xid::PING,
                op: OpCode::Ping.code(),
            };
            put_frame(&mut self.out, &[&header]);
            if let Phase::Live(live) = &mut self.phase {
                live.pings.push_back(self.now);
            }
        }
    }

    fn meet_request_deadlines(&mut self) {
        let now = self.now;
        for expired in self.requests.take_expired(now) {
            let failure = match expired.sent {
                Some(op) => Failure::in_flight(ErrorKind::OperationTimeout, op),
                None => {
                    self.count_released(expired.purpose, expired.frame_len);
                    let source = self.last_error.clone();
                    Failure::not_applied(ErrorKind::OperationTimeout).because(source)
                }
            };
            self.complete(expired.slot, Err(failure));
        }
        while let Some(at) = self.ready.iter().position(|(_, deadline)| *deadline <= now) {
            let (slot, _) = self.ready.swap_remove(at);
            self.fail(Some(slot), ErrorKind::ConnectFailed);
        }
        for slot in self.auth.take_expired(now) {
            self.fail(Some(slot), ErrorKind::OperationTimeout);
        }
    }

    /// When something is due next.
    pub(super) fn earliest_deadline(&mut self) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Idle { redial_at } => Some(*redial_at),
            Phase::Dialing { give_up } | Phase::Authenticating { give_up, .. } => Some(*give_up),
            Phase::Handshaking(handshake) => Some(handshake.give_up),
            Phase::Live(live) => {
                let third = self.timeout() / 3;
                Some((live.last_heard + third * 2).min(live.last_sent + third))
            }
            Phase::Ended(_) | Phase::Stopped => None,
        };
        let requests = self.requests.next_deadline();
        let closing = self.closing.as_ref().map(|closing| closing.deadline);
        let ready = self.ready.iter().map(|(_, deadline)| *deadline).min();
        [
            phase,
            self.heartbeat_due(),
            self.moving_deadline(),
            self.impatient_at(),
            requests,
            closing,
            ready,
            self.auth.next_deadline(),
            self.unwanted.due(),
            self.evidence.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

//! What operators see: a span for every request and, with the feature `metrics`, numbers.
//!
//! Spans are of the level `debug` and have OpenTelemetry's field names (database client spans). Without a
//! subscriber that wants them they cost one load. No field ever holds data, credentials or a session's password.
//!
//! Deliberately not here: what is logged where it happens (connections, attempts, answers).

#![cfg_attr(
    feature = "metrics",
    allow(clippy::disallowed_methods, reason = "a gauge is a time of the day")
)]

use tracing::{Span, field::Empty};
use zk_proto::{ErrorCode, OpCode};

use crate::{
    core::{EvidenceState, Moment, Reply},
    driver::{Clock, Shared},
    error::{ErrorKind, Failure, op_name},
    state::SessionState,
};

/// A request on its way; small where nobody wants to know of it.
pub(crate) struct Request(Option<Box<Observed>>);

struct Observed {
    span: Span,
    #[cfg(feature = "metrics")]
    op: OpCode,
    clock: Clock,
    since: Moment,
    #[cfg(feature = "metrics")]
    client: std::sync::Arc<str>,
}

impl Request {
    #[inline]
    pub(crate) fn submitted(op: OpCode, path: &str, shared: &Shared) -> Self {
        let span = tracing::debug_span!(
            target: "zk_client::request",
            "request",
            otel.name = op_name(op),
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "zookeeper",
            db.operation.name = op_name(op),
            db.response.status_code = Empty,
            error.r#type = Empty,
            zookeeper.path = path,
            zookeeper.session_id = %shared.session().id,
            zookeeper.xid = Empty,
            zookeeper.zxid = Empty,
            zookeeper.latency_us = Empty,
        );
        if !cfg!(feature = "metrics") && span.is_disabled() {
            return Self(None);
        }
        Self(Some(Box::new(Observed {
            span,
            #[cfg(feature = "metrics")]
            op,
            clock: shared.clock,
            since: shared.clock.now(),
            #[cfg(feature = "metrics")]
            client: std::sync::Arc::clone(&shared.settings.identity),
        })))
    }

    /// Whether somebody wants to know its end, which has not come.
    #[inline]
    pub(crate) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Nobody waits for the answer, which has not come.
    pub(crate) fn given_up(&mut self) {
        if let Some(observed) = self.0.take() {
            observed.span.record("error.type", "cancelled");
            #[cfg(feature = "metrics")]
            numbers::cancelled(observed.op);
        }
    }

    /// It was answered at this time, whoever looked at it when; now unless given.
    #[inline]
    pub(crate) fn answered(&mut self, result: &Result<Reply, Failure>, at: Option<Moment>) {
        if let Some(observed) = self.0.take() {
            observed.answered(result, at);
        }
    }
}

impl Observed {
    fn answered(&self, result: &Result<Reply, Failure>, at: Option<Moment>) {
        let latency = at.unwrap_or_else(|| self.clock.now()).since(self.since);
        let error = match result {
            Ok(reply) if reply.code == ErrorCode::Ok => None,
            Ok(reply) => Some(ErrorKind::from_code(reply.code)),
            Err(failure) => Some(failure.kind),
        };
        if let Ok(reply) = result {
            self.span.record("zookeeper.xid", reply.xid.0);
            let zxid = tracing::field::display(reply.zxid);
            self.span.record("zookeeper.zxid", zxid);
            let code = reply.code.code();
            self.span.record("db.response.status_code", code);
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.span.record("zookeeper.latency_us", micros);
        if let Some(kind) = error {
            self.span.record("otel.status_code", "ERROR");
            let kind = tracing::field::debug(kind);
            self.span.record("error.type", kind);
        }
        #[cfg(feature = "metrics")]
        {
            numbers::request(self.op, latency, result, error.is_none());
            let leader = self.op.is_write() || self.op == OpCode::Sync;
            if leader && error.is_none() {
                numbers::leader_heard(&self.client);
            }
        }
    }
}

/// The client's state is another one.
#[cfg_attr(
    not(feature = "metrics"),
    allow(unused_variables, reason = "nobody counts")
)]
pub(crate) fn state(shared: &Shared, state: SessionState) {
    #[cfg(feature = "metrics")]
    numbers::state(&shared.settings.identity, shared.states.current(), state);
}

/// There is other evidence of life than before.
#[cfg_attr(
    not(feature = "metrics"),
    allow(unused_variables, reason = "nobody counts")
)]
pub(crate) fn evidence(shared: &Shared, evidence: EvidenceState) {
    #[cfg(feature = "metrics")]
    if evidence.until > shared.evidence.borrow().until {
        numbers::leader_heard(&shared.settings.identity);
    }
}

/// The counters, by the `metrics` facade. Their names are part of the crate's documentation.
#[cfg(feature = "metrics")]
mod numbers {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use metrics::{counter, gauge, histogram};
    use zk_proto::OpCode;

    use crate::{
        core::Reply,
        error::{Failure, op_name},
        state::SessionState,
    };

    pub(super) fn request(
        op: OpCode,
        latency: Duration,
        result: &Result<Reply, Failure>,
        ok: bool,
    ) {
        let op = op_name(op);
        let outcome = match result {
            Ok(_) if ok => "ok",
            Ok(_) => "refused",
            Err(_) => "failed",
        };
        counter!("zk_client_requests_total", "operation" => op, "outcome" => outcome).increment(1);
        histogram!("zk_client_request_duration_seconds", "operation" => op).record(latency);
    }

    pub(super) fn cancelled(op: OpCode) {
        let op = op_name(op);
        counter!("zk_client_requests_total", "operation" => op, "outcome" => "cancelled")
            .increment(1);
    }

    pub(super) fn state(client: &str, before: SessionState, after: SessionState) {
        let client = || client.to_owned();
        match after {
            SessionState::Suspended => {
                counter!("zk_client_connections_lost_total", "client" => client()).increment(1);
            }
            SessionState::Expired => {
                counter!("zk_client_sessions_expired_total", "client" => client()).increment(1);
            }
            _ if after.is_connected() && before == SessionState::Suspended => {
                counter!("zk_client_reconnects_total", "client" => client()).increment(1);
            }
            _ => {}
        }
        let connected = f64::from(u8::from(after.is_connected()));
        gauge!("zk_client_connected", "client" => client()).set(connected);
    }

    pub(super) fn leader_heard(client: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        gauge!("zk_client_leader_heard_timestamp_seconds", "client" => client.to_owned()).set(now);
    }
}

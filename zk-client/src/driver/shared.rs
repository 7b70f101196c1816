//! What a client's handles and its driver have in common.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::sync::watch;
use zk_proto::{Acl, Password, SessionId};

use super::{Clock, inbox::Inbox};
use crate::{
    core::{EvidenceState, Moment, OnExpiry, SessionInfo, chroot::Chroot},
    retry::RetryPolicy,
    state::{SessionEnd, SessionState, StateHub},
};

pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) states: StateHub,
    pub(crate) evidence: watch::Sender<EvidenceState>,
    pub(crate) clock: Clock,
    pub(crate) chroot: Chroot,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    session: Mutex<SessionInfo>,
    /// Which sessions are over, and why.
    ended: watch::Sender<Ended>,
    /// The session's last proof of life, in nanoseconds on the client's clock.
    last_proof: AtomicU64,
    rng: Mutex<Rng>,
    /// What recipes keep for all handles of this client together, by its type.
    state: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// How far a client's sessions are over, and why the last ones are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended {
    /// The reason for every session with a smaller generation than this, and not smaller than the one before.
    below: VecDeque<(u64, SessionEnd)>,
}

/// How many reasons are remembered; an older session is said to have ended as the oldest of these.
const REASONS: usize = 32;

impl Ended {
    /// Why the session with this generation is over; `None` while it is not.
    pub(crate) fn reason_of(&self, generation: u64) -> Option<SessionEnd> {
        let over = |(below, _): &&(u64, SessionEnd)| generation < *below;
        self.below.iter().find(over).map(|(_, reason)| *reason)
    }

    fn end(&mut self, below: u64, reason: SessionEnd) {
        if self.below.len() == REASONS {
            self.below.pop_front();
        }
        self.below.push_back((below, reason));
    }
}

/// What a client's operations need to know of its options.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_in_flight: usize,
    pub(crate) max_in_flight_bytes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) max_request_len: usize,
    pub(crate) read_attempts: u32,
    pub(crate) default_acl: Vec<Acl>,
    pub(crate) identity: Arc<str>,
    pub(crate) on_expiry: OnExpiry,
}

impl Shared {
    pub(crate) fn new(
        clock: Clock,
        runtime: tokio::runtime::Handle,
        chroot: Chroot,
        settings: Settings,
        rng: Rng,
    ) -> Self {
        let session = SessionInfo {
            generation: 0,
            id: SessionId::NONE,
            password: Password::default(),
            timeout: Duration::ZERO,
            last_proof: Moment::default(),
        };
        Self {
            inbox: Inbox::new(settings.max_in_flight, settings.max_in_flight_bytes),
            states: StateHub::new(),
            evidence: watch::Sender::default(),
            clock,
            chroot,
            settings,
            runtime,
            session: Mutex::new(session),
            ended: watch::Sender::default(),
            last_proof: AtomicU64::new(0),
            rng: Mutex::new(rng),
            state: Mutex::default(),
        }
    }

    /// The value of this type that belongs to the client, made at the first call.
    pub(crate) fn state<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut state = self.state.lock();
        let value = state
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::<T>::default());
        // It stands under its own type.
        Arc::clone(value).downcast().unwrap_or_default()
    }

    pub(crate) fn session(&self) -> SessionInfo {
        let last_proof = Moment(Duration::from_nanos(
            self.last_proof.load(Ordering::Relaxed),
        ));
        SessionInfo {
            last_proof,
            ..self.session.lock().clone()
        }
    }

    pub(super) fn set_session(&self, info: SessionInfo) {
        self.proved(info.last_proof);
        *self.session.lock() = info;
    }

    pub(crate) fn ended(&self) -> watch::Receiver<Ended> {
        self.ended.subscribe()
    }

    pub(super) fn session_ended(&self, generation: u64, reason: SessionEnd) {
        self.ended
            .send_modify(|ended| ended.end(generation + 1, reason));
    }

    pub(super) fn proved(&self, at: Moment) {
        let nanos = u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX);
        self.last_proof.store(nanos, Ordering::Relaxed);
    }

    /// How long to wait before a repetition, the first being number 0.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        RetryPolicy::default().delay(attempt, &mut self.rng.lock())
    }

    /// A name that nobody else has: a version 4 UUID from the client's generator.
    pub(crate) fn guid(&self) -> String {
        let random = self.rng.lock().u128(..);
        let version = (random & !(0xf << 76)) | (4 << 76);
        let variant = (version & !(0x3 << 62)) | (0x2 << 62);
        let hex = format!("{variant:032x}");
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    }

    /// The driver has ended, whatever the reason.
    pub(super) fn driver_gone(&self, now: Moment) {
        self.inbox.close(now);
        self.ended
            .send_modify(|ended| ended.end(u64::MAX, SessionEnd::Closed));
        self.evidence
            .send_if_modified(|evidence| evidence.lose(true).is_some());
        if self.states.current() != SessionState::Closed {
            self.states.announce(SessionState::Closed);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("session", &*self.session.lock())
            .field("state", &self.states.current())
            .finish_non_exhaustive()
    }
}

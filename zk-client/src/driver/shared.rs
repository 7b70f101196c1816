//! What a client's handles and its driver have in common.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
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
    /// Which sessions are over, and why the last of them is.
    ended: watch::Sender<Ended>,
    /// When the server was last heard, in nanoseconds on the client's clock.
    last_heard: AtomicU64,
    rng: Mutex<Rng>,
    /// What recipes keep for all handles of this client together, by its type.
    state: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// How far a client's sessions are over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    /// Every session with a smaller generation.
    below: u64,
    reason: Option<SessionEnd>,
}

impl Ended {
    /// Why the session with this generation is over; `None` while it is not.
    pub(crate) fn reason_of(&self, generation: u64) -> Option<SessionEnd> {
        self.reason.filter(|_| generation < self.below)
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
    pub(crate) identity: String,
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
            last_heard: Moment::default(),
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
            last_heard: AtomicU64::new(0),
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
        let last_heard = Moment(Duration::from_nanos(
            self.last_heard.load(Ordering::Relaxed),
        ));
        SessionInfo {
            last_heard,
            ..self.session.lock().clone()
        }
    }

    pub(super) fn set_session(&self, info: SessionInfo) {
        *self.session.lock() = info;
    }

    pub(crate) fn ended(&self) -> watch::Receiver<Ended> {
        self.ended.subscribe()
    }

    pub(super) fn session_ended(&self, generation: u64, reason: SessionEnd) {
        let (below, reason) = (generation + 1, Some(reason));
        self.ended.send_replace(Ended { below, reason });
    }

    pub(super) fn heard(&self, now: Moment) {
        let nanos = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
        self.last_heard.store(nanos, Ordering::Relaxed);
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
    pub(super) fn driver_gone(&self) {
        self.inbox.close();
        let (below, reason) = (u64::MAX, Some(SessionEnd::Closed));
        self.ended.send_replace(Ended { below, reason });
        let lost = EvidenceState {
            until: None,
            session_ended: true,
            ..*self.evidence.borrow()
        };
        self.evidence.send_replace(lost);
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

//! What the peer and a connection's task share about one connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;
use zk_proto::{SessionId, Xid, Zxid};

use super::{heard::Beacon, outbox::Outbox};
use crate::{auth::Credentials, metrics::Summary, time::Now, tree::watches::ConnId};

/// One client connection, as seen from everywhere but its own task.
#[derive(Debug)]
pub struct ConnHandle {
    /// Its id; given again to another connection once the peer has forgotten this one.
    pub id: ConnId,
    /// Never given twice.
    pub serial: u64,
    /// The client's address.
    pub remote: SocketAddr,
    /// What it still has to send.
    pub outbox: Outbox,
    /// Who the client has shown to be. Written by the connection's task only.
    pub credentials: RwLock<Arc<Credentials>>,
    /// The session clock: when bytes last came in, in milliseconds of [`Now::mono`]. Written without a hop
    /// for every read of the socket; the peer samples it when the session's bucket falls due.
    pub last_heard_ms: AtomicU64,
    /// Tells that this clock has moved, to who wants to know it.
    pub beacon: Beacon,
    /// What the words of four letters tell about it.
    pub stats: ConnStats,
}

/// A connection's counters; for people, so every access is relaxed.
#[derive(Debug)]
pub struct ConnStats {
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub established_ms: i64,
    /// Its session, 0 before there is one.
    pub session: AtomicI64,
    /// Its session timeout in milliseconds.
    pub timeout_ms: AtomicU32,
    /// Frames received.
    pub received: AtomicU64,
    /// Frames sent.
    pub sent: AtomicU64,
    /// Requests received and not yet answered.
    pub queued: AtomicU32,
    /// The last operation's number, 0 before the first.
    pub last_op: AtomicI32,
    /// The last request's xid, -1 before the first.
    pub last_cxid: AtomicI32,
    /// The last reply's zxid.
    pub last_zxid: AtomicI64,
    /// When the last reply was made, in milliseconds of [`Now::mono`].
    pub last_response_ms: AtomicU64,
    /// How long the last reply took, in milliseconds.
    pub last_latency_ms: AtomicU64,
    /// How long replies took, in milliseconds.
    pub latency: Summary,
}

impl ConnHandle {
    /// A connection accepted at `now`.
    #[must_use]
    pub fn new(
        id: ConnId,
        serial: u64,
        remote: SocketAddr,
        credentials: Credentials,
        now: Now,
    ) -> Self {
        Self {
            id,
            serial,
            remote,
            outbox: Outbox::default(),
            credentials: RwLock::new(Arc::new(credentials)),
            last_heard_ms: AtomicU64::new(now.mono_ms()),
            beacon: Beacon::default(),
            stats: ConnStats {
                established_ms: now.wall_ms,
                session: AtomicI64::new(0),
                timeout_ms: AtomicU32::new(0),
                received: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                queued: AtomicU32::new(0),
                last_op: AtomicI32::new(0),
                last_cxid: AtomicI32::new(-1),
                last_zxid: AtomicI64::new(-1),
                last_response_ms: AtomicU64::new(0),
                last_latency_ms: AtomicU64::new(0),
                latency: Summary::default(),
            },
        }
    }

    /// Notes that the client is alive.
    pub fn heard(&self, now: Now) {
        self.last_heard_ms.store(now.mono_ms(), Relaxed);
        self.beacon.light();
    }

    /// Who the client is now.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.read().clone()
    }
}

impl ConnStats {
    /// Notes that so many replies took so many milliseconds each.
    pub fn took(&self, latency_ms: u64, count: u64) {
        self.latency.add_many(latency_ms, count);
        self.last_latency_ms.store(latency_ms, Relaxed);
    }

    /// Notes the last reply of a batch.
    pub fn replied(&self, xid: Xid, op: i32, zxid: Zxid, now: Now) {
        if xid.0 >= 0 {
            self.last_cxid.store(xid.0, Relaxed);
        }
        self.last_op.store(op, Relaxed);
        self.last_zxid.store(zxid.0, Relaxed);
        self.last_response_ms.store(now.mono_ms(), Relaxed);
    }

    /// The session the client has, or [`SessionId::NONE`].
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(Relaxed))
    }

    /// Forgets what was counted (`crst`).
    pub fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.last_op.store(0, Relaxed);
        self.last_cxid.store(-1, Relaxed);
        self.last_zxid.store(-1, Relaxed);
        self.last_response_ms.store(0, Relaxed);
        self.last_latency_ms.store(0, Relaxed);
        self.latency.reset();
    }
}

/// The address that ACLs know: an IPv4 client on an IPv6 socket is an IPv4 client.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

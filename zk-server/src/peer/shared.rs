//! What the peer and the connections' tasks hold together.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    auth::{AuthConfig, Credentials},
    conn::handle::{ConnHandle, canonical},
    metrics::Metrics,
    reconfig::{Configuration, Configurations},
    time::Now,
    tree::{
        DataTree,
        watches::{ConnId, WatchTable},
    },
};

/// The tree and everything that is read beside it.
///
/// Order of locks: `tree`, `watches`, then one connection's outbox. Nothing blocks, awaits or does IO while it
/// holds any of them.
#[derive(Debug)]
pub struct Shared {
    /// The replicated state. The peer is its only writer.
    pub tree: RwLock<DataTree>,
    /// Who wants to be told of what.
    pub watches: Mutex<WatchTable>,
    /// Every connection there is.
    pub conns: ConnTable,
    /// How clients authenticate.
    pub auth: AuthConfig,
    /// Counters.
    pub metrics: Metrics,
    /// What the server is, in one word of the answer to `srvr`; `None`: nobody is served.
    pub mode: RwLock<Option<&'static str>>,
    configuration: RwLock<Option<Arc<Configuration>>>,
    /// Whether this member leads an ensemble, with a quorum in sync.
    leads: AtomicBool,
    /// How many requests the peer has and has not answered.
    outstanding: AtomicUsize,
    outstanding_limit: usize,
}

impl Shared {
    /// Around a recovered tree.
    #[must_use]
    pub fn new(tree: DataTree, hash_seed: u64, auth: AuthConfig, max_conns: MaxConns) -> Self {
        Self {
            tree: RwLock::new(tree),
            watches: Mutex::new(WatchTable::new(hash_seed)),
            conns: ConnTable::new(max_conns),
            auth,
            metrics: Metrics::default(),
            mode: RwLock::new(Some("standalone")),
            configuration: RwLock::new(None),
            leads: AtomicBool::new(false),
            outstanding: AtomicUsize::new(0),
            outstanding_limit: usize::MAX,
        }
    }

    /// With a limit to how much may be outstanding before clients are read from more slowly
    /// (`globalOutstandingLimit`).
    #[must_use]
    pub const fn with_outstanding_limit(mut self, limit: usize) -> Self {
        self.outstanding_limit = limit;
        self
    }

    /// The configuration of the ensemble that is in force as far as this member knows; `None` for a server alone.
    #[must_use]
    pub fn configuration(&self) -> Option<Arc<Configuration>> {
        self.configuration.read().clone()
    }

    pub(super) fn configured(&self, configurations: &Configurations) {
        *self.configuration.write() = Some(configurations.committed().clone());
    }

    /// Whether this member leads an ensemble, with a quorum in sync.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads.load(Relaxed)
    }

    pub(super) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Relaxed);
    }

    /// How many requests the peer has not answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    /// Whether that is more than the limit.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.outstanding() > self.outstanding_limit
    }

    /// The peer says how many there are; connections held back look again when they are woken by an answer.
    pub(super) fn set_outstanding(&self, count: usize) {
        self.outstanding.store(count, Relaxed);
    }
}

/// How many connections there may be; 0 stands for any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxConns {
    /// From one address (`maxClientCnxns`).
    pub per_address: usize,
    /// In all (`maxCnxns`).
    pub total: usize,
}

/// Every open connection, by id.
///
/// An id is free again once the peer has forgotten the connection that had it, so that no watch of the old
/// one can be told to the new one.
#[derive(Debug)]
pub struct ConnTable {
    max: MaxConns,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Option<Arc<ConnHandle>>>,
    free: Vec<u32>,
    by_address: HashMap<IpAddr, usize>,
    opened: u64,
}

impl ConnTable {
    fn new(max: MaxConns) -> Self {
        Self {
            max,
            inner: Mutex::default(),
        }
    }

    /// Enters a connection with the credentials that its address gives it; `None` when its address or the server has
    /// too many already.
    pub fn open(&self, remote: SocketAddr, auth: &AuthConfig, now: Now) -> Option<Arc<ConnHandle>> {
        let mut inner = self.inner.lock();
        let address = canonical(remote.ip());
        let of_address = inner.by_address.get(&address).copied().unwrap_or_default();
        let in_all = inner.slots.len() - inner.free.len();
        if is_full(of_address, self.max.per_address) || is_full(in_all, self.max.total) {
            return None;
        }
        let index = inner.free.pop().unwrap_or_else(|| {
            inner.slots.push(None);
            u32::try_from(inner.slots.len() - 1).unwrap_or(u32::MAX)
        });
        inner.opened += 1;
        let credentials = Credentials::of_peer(address, auth);
        let handle = ConnHandle::new(ConnId(index), inner.opened, remote, credentials, now);
        let handle = Arc::new(handle);
        inner.slots[index as usize] = Some(handle.clone());
        inner.by_address.insert(address, of_address + 1);
        Some(handle)
    }

    /// Strikes a connection off; its id may be given to another one from now on.
    pub fn forget(&self, handle: &ConnHandle) {
        let mut inner = self.inner.lock();
        let index = handle.id.0 as usize;
        let known = inner.slots.get(index).and_then(Option::as_ref);
        if known.is_none_or(|known| known.serial != handle.serial) {
            return;
        }
        inner.slots[index] = None;
        inner.free.push(handle.id.0);
        let address = canonical(handle.remote.ip());
        if let Some(count) = inner.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                inner.by_address.remove(&address);
            }
        }
    }

    /// Every open connection, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ConnHandle>> {
        self.inner.lock().slots.iter().flatten().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.slots.len() - inner.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const fn is_full(count: usize, max: usize) -> bool {
    max > 0 && count >= max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_more_connections_than_it_may() {
        let max = MaxConns {
            per_address: 2,
            total: 0,
        };
        let table = ConnTable::new(max);
        let from = |ip: &str| {
            let remote = SocketAddr::new(ip.parse().unwrap(), 1);
            table.open(remote, &AuthConfig::default(), Now::default())
        };
        let first = from("10.0.0.1").unwrap();
        assert!(from("::ffff:10.0.0.1").is_some());
        assert!(from("10.0.0.1").is_none());
        assert!(from("10.0.0.2").is_some());
        table.forget(&first);
        table.forget(&first);
        assert_eq!(table.len(), 2);
        let next = from("10.0.0.1").unwrap();
        assert_eq!(next.id, first.id, "ids are used again");
        assert_ne!(next.serial, first.serial, "serials are not");
        assert!(from("10.0.0.1").is_none());
    }
}

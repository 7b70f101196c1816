//! Connections that have not said yet who they are: places for whoever comes first, and some beside them for those that come
//! from where a configured member is.
//!
//! Deliberately not here: any trust in such an address. Who has taken a place must still say who it is, and soon.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    net::lookup_host,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How many there may be: whoever opens more takes descriptors from those who have said who they are.
const NEWCOMERS_MAX: usize = 256;

/// How many more where members are.
const MEMBERS_MAX: usize = 64;

/// How old an answer of the name service may be before somebody who finds no place has it asked again.
const RESOLVED_FOR: Duration = Duration::from_secs(5);

/// Where the configured members are, as far as is known.
#[derive(Default)]
pub(super) struct MemberAddresses {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    hosts: BTreeSet<String>,
    /// Whether names may be looked up.
    asks: bool,
    found: BTreeSet<IpAddr>,
    asked: Option<Instant>,
}

impl MemberAddresses {
    /// Takes in which hosts the members are at; `asks`: whether names may be looked up.
    pub(super) fn set(self: &Arc<Self>, hosts: BTreeSet<String>, asks: bool) {
        let mut inner = self.inner.lock();
        if inner.hosts == hosts {
            return;
        }
        inner.found = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        inner.hosts = hosts;
        (inner.asks, inner.asked) = (asks, None);
        drop(inner);
        self.look_up();
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.inner.lock().found.contains(&address.to_canonical())
    }

    /// Asks where the members are that are known by name, unless that was asked just now.
    fn look_up(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let is_new = inner
            .asked
            .is_some_and(|asked| asked.elapsed() < RESOLVED_FOR);
        let names: Vec<_> = inner
            .hosts
            .iter()
            .filter(|host| !is_address(host))
            .cloned()
            .collect();
        if is_new || !inner.asks || names.is_empty() {
            return;
        }
        inner.asked = Some(Instant::now());
        let known = self.clone();
        tokio::spawn(async move {
            for name in names {
                let Ok(found) = lookup_host((name.as_str(), 0)).await else {
                    continue;
                };
                let mut inner = known.inner.lock();
                if inner.hosts.contains(&name) {
                    inner.found.extend(found.map(|at| at.ip().to_canonical()));
                }
            }
        });
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// The places of one port.
pub(super) struct Newcomers {
    anybody: Arc<Semaphore>,
    members: Arc<Semaphore>,
    known: Arc<MemberAddresses>,
}

impl Newcomers {
    pub(super) fn new(known: &Arc<MemberAddresses>) -> Self {
        Self {
            anybody: Arc::new(Semaphore::new(NEWCOMERS_MAX)),
            members: Arc::new(Semaphore::new(MEMBERS_MAX)),
            known: known.clone(),
        }
    }

    /// A place for a connection from this address, until it has said who it is.
    pub(super) fn admit(&self, from: IpAddr) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.anybody.clone().try_acquire_owned() {
            return Some(place);
        }
        if !self.known.contains(from) {
            // It may be a member that has moved.
            self.known.look_up();
            return None;
        }
        self.members.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn silent_strangers_keep_no_member_out() {
        let known = Arc::<MemberAddresses>::default();
        known.set(hosts(&["10.0.0.1", "10.0.0.2"]), true);
        let newcomers = Newcomers::new(&known);
        let [stranger, member, mapped] =
            ["10.0.0.9", "10.0.0.2", "::ffff:10.0.0.1"].map(|ip| ip.parse().unwrap());
        let strangers: Vec<_> = std::iter::from_fn(|| newcomers.admit(stranger)).collect();
        assert_eq!(strangers.len(), NEWCOMERS_MAX);
        let there = [newcomers.admit(member), newcomers.admit(mapped)];
        assert!(there.iter().all(Option::is_some));
        let members: Vec<_> = std::iter::from_fn(|| newcomers.admit(member)).collect();
        assert_eq!(
            members.len(),
            MEMBERS_MAX - 2,
            "nor are they without number"
        );
        known.set(hosts(&["10.0.0.3"]), true);
        drop(members);
        assert!(newcomers.admit(member).is_none(), "it is a member no more");
        drop(strangers);
        assert!(newcomers.admit(stranger).is_some());
    }

    #[tokio::test]
    async fn a_member_is_known_by_name_where_names_may_be_looked_up() {
        let here: IpAddr = [127, 0, 0, 1].into();
        let [silent, asking] = [false, true].map(|asks| {
            let known = Arc::<MemberAddresses>::default();
            known.set(hosts(&["localhost"]), asks);
            known
        });
        while !asking.contains(here) {
            tokio::task::yield_now().await;
        }
        let newcomers = Newcomers::new(&silent);
        let all: Vec<_> = std::iter::from_fn(|| newcomers.admit(here)).collect();
        assert_eq!(all.len(), NEWCOMERS_MAX);
        assert!(silent.inner.lock().asked.is_none());
    }
}

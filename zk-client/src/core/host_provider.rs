//! The servers, and whom to try next.
//!
//! The list is shuffled once, so that a thousand clients with the same connect string spread over the servers.
//! One dial offers all of them in turn to the driver, which takes the first that connects; so a host that does
//! not resolve or does not answer costs little. After a lost connection the next server comes first. Names are
//! resolved by the driver, at every attempt.
//!
//! When the list changes, just so many clients move that all servers end up with equally many (the rule of
//! `StaticHostProvider.updateServerList`); each decides for itself, by chance.

use std::{fmt, time::Duration};

use fastrand::Rng;

use crate::{error::Failure, retry::RetryPolicy};

/// The client port of a server that the connect string does not say.
const DEFAULT_PORT: u16 = 2181;

/// How long a candidate is dialed alone before the next one joins.
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// A server's name or address, and its port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Host {
    /// A DNS name or an IP address.
    pub name: String,
    /// The client port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Splits a connect string, `host[:port],...[/chroot]`, into its hosts and its chroot.
///
/// # Errors
/// [`ErrorKind::BadArguments`](crate::ErrorKind::BadArguments) for a port that is no number and where no host
/// is named.
pub fn parse_connect_string(text: &str) -> Result<(Vec<Host>, &str), Failure> {
    let (hosts, chroot) = match text.find('/') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let hosts = hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(parse_host)
        .collect::<Result<Vec<_>, _>>()?;
    match hosts.is_empty() {
        true => Err(Failure::bad_arguments(format!(
            "no host in connect string {text:?}"
        ))),
        false => Ok((hosts, chroot.trim_end())),
    }
}

fn parse_host(text: &str) -> Result<Host, Failure> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, port.strip_prefix(':').or(Some(port))),
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => Ok(DEFAULT_PORT),
        Some(port) => port
            .parse()
            .map_err(|_| Failure::bad_arguments(format!("bad port in {text:?}"))),
    }?;
    match name {
        "" => Err(Failure::bad_arguments(format!("no host name in {text:?}"))),
        name => Ok(Host {
            name: name.to_owned(),
            port,
        }),
    }
}

/// The servers in the order in which this client tries them.
#[derive(Debug)]
pub(crate) struct HostProvider {
    hosts: Vec<Host>,
    /// Whom to offer first.
    first: usize,
    /// Attempts since a connection last proved good.
    failures: u32,
}

impl HostProvider {
    pub(crate) fn new(mut hosts: Vec<Host>, rng: &mut Rng) -> Self {
        rng.shuffle(&mut hosts);
        Self {
            hosts,
            first: 0,
            failures: 0,
        }
    }

    /// All servers, the preferred one first.
    pub(crate) fn candidates(&self) -> Vec<Host> {
        let (later, sooner) = self.hosts.split_at(self.first.min(self.hosts.len()));
        [sooner, later].concat()
    }

    /// The candidate at this place is connected: if it fails, the one after it is next.
    pub(crate) fn connected(&mut self, place: usize) {
        self.first = (self.first + place + 1) % self.hosts.len().max(1);
    }

    /// The server that was connected last.
    pub(crate) fn current(&self) -> Option<&Host> {
        let current = (self.first + self.hosts.len()).saturating_sub(1) % self.hosts.len().max(1);
        self.hosts.get(current)
    }

    /// Offers this server first.
    pub(crate) fn prefer(&mut self, host: &Host) {
        if let Some(place) = self.hosts.iter().position(|other| other == host) {
            self.first = place;
        }
    }

    /// Takes another list; true where a client that is connected should leave its server for the one that is
    /// offered first now.
    pub(crate) fn update(&mut self, mut hosts: Vec<Host>, rng: &mut Rng) -> bool {
        rng.shuffle(&mut hosts);
        let current = self.current().cloned();
        let old = std::mem::replace(&mut self.hosts, hosts);
        self.failures = 0;
        let listed = current.filter(|current| self.hosts.contains(current));
        let to_new = match (&listed, self.chance_of_new(&old, listed.is_some())) {
            (Some(_), chance) if rng.f64() < chance => true,
            (Some(current), _) => {
                // Stays; if that server fails, the one after it is next.
                let place = self.hosts.iter().position(|host| host == current);
                self.first = place.map_or(0, |place| (place + 1) % self.hosts.len());
                return false;
            }
            (None, chance) => rng.f64() < chance,
        };
        let wanted = |host: &Host| old.contains(host) != to_new;
        self.first = self.hosts.iter().position(wanted).unwrap_or(0);
        true
    }

    /// With which probability a client goes to a server that is new in the list: as many as it takes for every
    /// server to have the same share.
    fn chance_of_new(&self, old: &[Host], listed: bool) -> f64 {
        let count = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
        let (before, now) = (count(old.len()), count(self.hosts.len()));
        let kept = count(self.hosts.iter().filter(|host| old.contains(host)).count());
        match (now > before, listed) {
            // The share of the new ones in what there is now.
            (true, true) => 1.0 - before / now,
            (false, true) => 0.0,
            (true, false) => 1.0,
            // Those who kept their servers take up what they can; the rest is for the new ones.
            (false, false) => 1.0 - kept * (before - now) / (now * (before - kept)),
        }
    }

    /// How long it takes until the last candidate joins the race.
    pub(crate) fn head_starts(&self) -> Duration {
        let later = self.hosts.len().saturating_sub(1);
        HEAD_START * u32::try_from(later).unwrap_or(u32::MAX)
    }

    /// How many servers have not failed in this round; at least one.
    pub(crate) fn left_in_round(&self) -> u32 {
        let round = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        round - self.failures % round
    }

    /// Whether there is another server to turn to.
    pub(crate) const fn has_choice(&self) -> bool {
        self.hosts.len() > 1
    }

    /// A connection lasted; what failed before does not count any more.
    pub(crate) const fn proved_good(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one server failed: only after a whole round.
    pub(crate) fn delay_after_failure(&mut self, retry: &RetryPolicy, rng: &mut Rng) -> Duration {
        let round = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        self.failures = self.failures.saturating_add(1);
        match self.failures % round {
            0 => retry.delay(self.failures / round - 1, rng),
            _ => Duration::ZERO,
        }
    }

    /// How long to wait after every server failed.
    pub(crate) fn delay_after_round(&mut self, retry: &RetryPolicy, rng: &mut Rng) -> Duration {
        let round = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        let rounds = self.failures / round;
        self.failures = (rounds.saturating_add(1)).saturating_mul(round);
        retry.delay(rounds, rng)
    }
}

impl fmt::Display for HostProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        f.write_str(&hosts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host {
            name: name.to_owned(),
            port,
        }
    }

    #[test]
    fn a_connect_string_names_hosts_and_a_chroot() {
        let cases = [
            ("zk1", vec![host("zk1", 2181)], ""),
            (
                "zk1:1,zk2:2/app/x",
                vec![host("zk1", 1), host("zk2", 2)],
                "/app/x",
            ),
            (" a:1 , b ,", vec![host("a", 1), host("b", 2181)], ""),
            (
                "[::1]:7,[fe80::2],::3/",
                vec![host("::1", 7), host("fe80::2", 2181), host("::3", 2181)],
                "/",
            ),
        ];
        for (text, hosts, chroot) in cases {
            assert_eq!(
                parse_connect_string(text).unwrap(),
                (hosts, chroot),
                "{text}"
            );
        }
        for bad in [
            "",
            ",",
            "/app",
            "zk1:x",
            "zk1:99999",
            ":2181",
            "[]:1",
            "[::1]x",
        ] {
            assert!(parse_connect_string(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_server_is_offered_and_a_failed_one_comes_last() {
        let mut rng = Rng::with_seed(3);
        let all: Vec<_> = (1..=4).map(|n| host("h", n)).collect();
        let mut provider = HostProvider::new(all.clone(), &mut rng);
        for place in [0, 2, 3, 1] {
            let offered = provider.candidates();
            let chosen = offered[place].clone();
            provider.connected(place);
            assert_eq!(provider.candidates().last(), Some(&chosen));
            assert!(all.iter().all(|host| offered.contains(host)));
        }
    }

    #[test]
    fn a_pause_comes_after_a_whole_round_only() {
        let mut rng = Rng::with_seed(3);
        let retry =
            RetryPolicy::exponential(Duration::from_millis(10), Duration::from_secs(1)).jitter(0.0);
        let mut provider = HostProvider::new(vec![host("a", 1), host("b", 1)], &mut rng);
        let mut delays = |n| {
            (0..n)
                .map(|_| provider.delay_after_failure(&retry, &mut rng).as_millis())
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(6), [0, 10, 0, 20, 0, 40]);
        assert_eq!(provider.delay_after_round(&retry, &mut rng).as_millis(), 80);
        provider.proved_good();
        assert_eq!(provider.delay_after_round(&retry, &mut rng).as_millis(), 10);
    }

    /// How many of 30 000 clients each server has after a change of the list.
    fn loads(old: &[u16], new: &[u16]) -> Vec<(u16, usize)> {
        let hosts = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| host("h", *port))
                .collect::<Vec<_>>()
        };
        let mut loads = std::collections::BTreeMap::new();
        for seed in 0..30_000 {
            let mut rng = Rng::with_seed(seed);
            let mut provider = HostProvider::new(hosts(old), &mut rng);
            provider.connected(0);
            if provider.update(hosts(new), &mut rng) {
                provider.connected(0);
            }
            let current = provider.current().unwrap().clone();
            assert_eq!(provider.candidates().last(), Some(&current));
            *loads.entry(current.port).or_default() += 1;
        }
        loads.into_iter().collect()
    }

    #[test]
    fn a_changed_list_moves_as_many_clients_as_it_takes() {
        let lists: [(&[u16], &[u16]); 6] = [
            (&[1, 2, 3], &[1, 2, 3, 4, 5]),
            (&[1, 2, 3, 4, 5], &[1, 2, 3]),
            (&[1, 2, 3], &[2, 3, 4]),
            (&[1, 2, 3, 4], &[3, 5]),
            (&[1, 2], &[3, 4, 5]),
            (&[1, 2, 3], &[3, 2, 1]),
        ];
        for (old, new) in lists {
            let loads = loads(old, new);
            assert_eq!(loads.len(), new.len(), "{old:?} {new:?}");
            let share = 30_000 / new.len();
            for (port, load) in loads {
                let even = (share * 95 / 100..=share * 105 / 100).contains(&load);
                assert!(even, "{old:?} {new:?}: {port} has {load} of {share}");
            }
        }
    }

    #[test]
    fn a_client_stays_where_it_is_when_nothing_is_gained() {
        let mut rng = Rng::with_seed(1);
        let hosts = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| host("h", *port))
                .collect::<Vec<_>>()
        };
        for place in 0..3 {
            let mut provider = HostProvider::new(hosts(&[1, 2, 3]), &mut rng);
            provider.connected(place);
            let current = provider.current().unwrap().clone();
            assert!(!provider.update(hosts(&[1, 2, 3]), &mut rng));
            assert_eq!(provider.current(), Some(&current));
            let fewer = [current.port, 9];
            assert!(!provider.update(hosts(&fewer), &mut rng));
            assert_eq!(provider.current(), Some(&current));
        }
    }
}
